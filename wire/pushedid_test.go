package wire

import (
	"testing"

	"github.com/weirlog/weir/record"
)

// pushedBatch is a request: entries are (stream, time, body, id or "").
func pushedBatch(entries ...[4]any) *record.Batch {
	b := record.NewBatch(nil)
	for _, e := range entries {
		ref := b.AddStream(record.StreamRef{Stream: e[0].(*record.Stream)})
		sp := b.AppendString(e[2].(string))
		i := b.Add(record.Record{Time: int64(e[1].(int)), Body: sp, Source: sp, Stream: ref})
		if e[3] != nil {
			b.SetID(i, e[3].(record.ID))
		}
	}
	return b
}

func pushedIDs(p *PushedIDs, tenant string, b *record.Batch) (out []string) {
	p.Set(b, tenant, 1000)
	for i := range b.Records() {
		id, ok := b.SenderID(i)
		if !ok {
			out = append(out, "none")
			continue
		}
		out = append(out, id.String())
	}
	return out
}

// The ids of docs/formats/ids.md; they must never change.
func TestPushedIDVectors(t *testing.T) {
	web := record.NewStream([]record.Attr{{Name: "app", Value: "web"}}, nil, nil)
	if web.Hash() != 0x8afa144501d0d8b3 {
		t.Errorf("the hash of the stream is %x", web.Hash())
	}
	own := record.ID{Hi: 1, Lo: 2}
	entries := [][4]any{{web, 1, "a", nil}, {web, 1, "a", nil}, {web, 1, "a", nil}, {web, 2, "a", nil}, {web, 1, "", nil}, {web, 1, "a", own}}
	for tenant, want := range map[string][]string{
		"":     pushedVectors[0],
		"blue": pushedVectors[1],
	} {
		got := pushedIDs(new(PushedIDs), tenant, pushedBatch(entries...))
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("tenant %q, record %d: %s, want %s", tenant, i, got[i], want[i])
			}
		}
	}
}

func TestPushedIDs(t *testing.T) {
	web := record.NewStream([]record.Attr{{Name: "app", Value: "web"}}, nil, nil)
	api := record.NewStream([]record.Attr{{Name: "app", Value: "api"}}, nil, nil)
	var p PushedIDs
	first := pushedIDs(&p, "", pushedBatch([4]any{web, 1, "a", nil}, [4]any{web, 1, "a", nil}, [4]any{api, 1, "a", nil}, [4]any{web, 1000, "now", nil}, [4]any{web, 0, "never", nil}))
	seen := make(map[string]bool)
	for i, id := range first[:3] {
		if seen[id] || id == "none" {
			t.Errorf("record %d: %s", i, id)
		}
		seen[id] = true
	}
	if first[3] != "none" || first[4] != "none" {
		t.Errorf("records without a time of their own: %s", first[3:])
	}
	// The same request again; parts of another order get the same ids, as a set.
	again := pushedIDs(&p, "", pushedBatch([4]any{api, 1, "a", nil}, [4]any{web, 1, "a", nil}, [4]any{web, 1, "a", nil}))
	if again[0] != first[2] || again[1] != first[0] || again[2] != first[1] {
		t.Errorf("%s after %s", again, first)
	}
	for _, tenant := range []string{"blue", "red"} {
		if id := pushedIDs(&p, tenant, pushedBatch([4]any{web, 1, "a", nil}))[0]; seen[id] {
			t.Errorf("tenant %s has another's id", tenant)
		} else {
			seen[id] = true
		}
	}
}

func BenchmarkPushedIDs(b *testing.B) {
	web := record.NewStream([]record.Attr{{Name: "app", Value: "web"}}, nil, nil)
	var entries [][4]any
	for i := range 1000 {
		entries = append(entries, [4]any{web, i + 1, `{"time":"2026-11-22T12:31:07.123456789Z","level":"INFO","msg":"request served","method":"GET","path":"/api/v1/orders","status":200}`, nil})
	}
	batch := pushedBatch(entries...)
	var p PushedIDs
	b.ReportAllocs()
	for b.Loop() {
		for i := range batch.Records() {
			batch.Record(i).Flags &^= record.HasID
		}
		p.Set(batch, "", 1000_000)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
}

var pushedVectors = [2][]string{
	{
		"32f2bad9a0277c7504a3f2a126fcb9f3",
		"58f299ba34175522f66d27e7a8421d1b",
		"6f7b733052a81918f6abf371c51b92ee",
		"05869f272d8d7230ed0c025f6581d7c8",
		"701b94be8952661c68ad9d36038fac4f",
		"00000000000000010000000000000002",
	},
	{
		"64a2411108bb9a8b885654ef52d9d887",
		"58a08939ae39f307474f54d706522cef",
		"5662df1f3c9c44098ae3397cb71fca47",
		"767a56ca9111a6ad0837918fca5a2272",
		"cf13d0b041595b6a53bbab3406946bf3",
		"e8755f0f34e2b173b4bda041c9722492",
	},
}
