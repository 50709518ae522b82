package gateway

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/otlp"
)

// shown is everything of a record that a destination sees.
func shown(b *record.Batch, i int) string {
	r := b.Record(i)
	s := b.Stream(i)
	ref := b.Streams()[r.Stream]
	text := fmt.Sprintf("%v %v %v gen=%v %d-%d t=%d o=%d sev=%d flags=%v id=%v %q", s.Attrs(), s.Labels(), s.Annotations(), ref.Generation, r.Start, r.End,
		r.Time, r.Observed, r.Severity, r.Flags&wire.Notable, wire.RecordID(b, i), b.Body(i))
	var fields []string
	for _, f := range b.Fields(i) {
		fields = append(fields, fmt.Sprintf("%s=%d:%s", b.KeyName(f.Key), f.Kind, b.Bytes(f.Val)))
	}
	slices.Sort(fields)
	return text + " " + strings.Join(fields, " ")
}

// anyBatch is a batch as an agent makes it: several containers and files, records
// of all kinds.
func anyBatch(r *rand.Rand) *record.Batch {
	b := record.NewBatch(nil)
	for range 1 + r.IntN(30) {
		pod := fmt.Sprintf("web-%d", r.IntN(3))
		s := record.NewStream([]record.Attr{
			{Name: record.AttrCluster, Value: "prod"}, {Name: record.AttrNode, Value: "n1"}, {Name: record.AttrNamespace, Value: "shop"},
			{Name: record.AttrPod, Value: pod}, {Name: record.AttrPodUID, Value: "u-" + pod}, {Name: record.AttrContainer, Value: "c"},
			{Name: record.AttrRestart, Value: "3"}, {Name: record.AttrWorkload, Value: "deployment/web"}, {Name: record.AttrInput, Value: "kubernetes"},
			{Name: record.AttrStream, Value: []string{"stdout", "stderr"}[r.IntN(2)]},
		}, []record.Attr{{Name: "app.kubernetes.io/name", Value: "web"}}, []record.Attr{{Name: "team", Value: "größe"}})
		ref := b.AddStream(record.StreamRef{Stream: s, Generation: record.ID{Hi: uint64(1 + r.IntN(3)), Lo: r.Uint64()}})
		sp := b.AppendString(strings.Repeat("line ", r.IntN(5)) + `{"x":1}`)
		at := 1795000000e9 + r.Int64N(1e15)
		start := r.Int64N(1 << 40)
		rec := record.Record{Time: at, Observed: at + r.Int64N(1e9), Start: start, End: start + int64(sp.Len) + 1, Body: sp, Source: sp, Stream: ref,
			Severity: record.Severity(1 + r.IntN(24))}
		for _, f := range []record.Flags{record.Partial, record.Continued, record.Gap, record.ParseError} {
			if r.IntN(4) == 0 {
				rec.Flags |= f
			}
		}
		i := b.Add(rec)
		if r.IntN(2) == 0 {
			b.SetField(i, "user", record.String, b.AppendString("ann"))
			b.SetField(i, "n", record.Int, b.AppendString("-7"))
			b.SetField(i, "ok", record.Bool, b.AppendString("true"))
		}
		if r.IntN(5) == 0 {
			b.SetID(i, record.ID{Hi: r.Uint64(), Lo: 1})
		}
	}
	return b
}

// hop sends a batch by OTLP to a gateway and returns what comes out of it.
func hop(t *testing.T, from *record.Batch, cfg Config) *record.Batch {
	t.Helper()
	var out *record.Batch
	cfg.IDs = true
	store := &pushStore{answer: func(_ context.Context, parts []record.Part) (ack.Result, error) {
		out = parts[0].Batch()
		out.Retain()
		return ack.Result{}, nil
	}}
	cfg.Sink = &StoreSink{Append: store.Append}
	h, err := NewHTTP(cfg, "otlp")
	if err != nil {
		t.Fatal(err)
	}
	body := otlp.New(otlp.Config{Labels: []string{"*"}, Annotations: []string{"*"}, Version: "x"}).Append(nil, []record.Part{record.NewPart(from, from.Live())})
	w := post(t, h, "/v1/logs", bytes.NewReader(body), "Content-Type", pbType, "Authorization", "Bearer agent")
	if w.Code != 200 || out == nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return out
}

// What an agent sends arrives over two gateways as it would have directly: ids,
// where it was read, names, levels and flags.
func TestTwoHops(t *testing.T) {
	relay := newAuth(t, AuthConfig{Users: []User{{Name: "agents", Secret: NewSecret("agent"), Relay: true, Tenant: "ops"}}})
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, seed))
		b := anyBatch(r)
		b.Freeze()
		one := hop(t, b, Config{Auth: relay})
		two := hop(t, one, Config{})
		for _, c := range []*record.Batch{one, two} {
			// Requests have their records in the order of their streams.
			var got, want []string
			for i := range b.NumRecords() {
				want = append(want, shown(b, i))
				got = append(got, shown(c, i))
			}
			slices.Sort(got)
			slices.Sort(want)
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("seed %d: arrived as\n%s\nwas\n%s", seed, got[i], want[i])
				}
			}
		}
	}
}

// Somebody who is not trusted claims neither other records' ids nor their places.
func TestUntrustedHop(t *testing.T) {
	ids := make(map[record.ID]bool)
	for _, tenant := range []string{"blue", "red"} {
		b := anyBatch(rand.New(rand.NewPCG(1, 1)))
		b.Freeze()
		auth := newAuth(t, AuthConfig{Tenants: true, Users: []User{{Name: "x", Secret: NewSecret("agent"), Tenant: tenant}}})
		c := hop(t, b, Config{Auth: auth})
		for i := range c.NumRecords() {
			r := c.Record(i)
			if !c.Streams()[r.Stream].Generation.IsZero() || r.Start != 0 || r.End != 0 || r.Flags.Has(record.Gap) {
				t.Fatalf("believed: %s", shown(c, i))
			}
			id := wire.RecordID(c, i)
			if ids[id] || id.IsZero() || id == wire.RecordID(b, i) {
				t.Fatalf("id %v of %s", id, tenant)
			}
			ids[id] = true
		}
	}
}
