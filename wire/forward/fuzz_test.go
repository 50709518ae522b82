package forward

import (
	"testing"
	"time"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// FuzzDecode feeds a stream of bytes to Framer, Decoder and Joiner: nothing may
// panic, take more than some memory per byte, or point out of the batch.
func FuzzDecode(f *testing.F) {
	e1, e2 := mp([]any{at(5), pairs{"log", "one", "n", 7, "kubernetes", pairs{"pod_name", "p", "labels", pairs{"a", "b"}}}}), mp([]any{6, pairs{"a", pairs{"b", []any{1.5, nil}}}})
	f.Add(mp([]any{"t", at(1), pairs{"log", "x", "weir", pairs{"attrs", pairs{"a", "b"}, "partial", true}}, pairs{"chunk", "c"}}))
	f.Add(mp([]any{"t", join(e1, e2), pairs{"size", 2}}))
	f.Add(mp([]any{"t", gz(join(e1, e2)), pairs{"compressed", "gzip"}}))
	f.Add(piece("a", "1", "false", "one", false))
	f.Add((&Hello{Nonce: []byte("n")}).Append(nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		began := time.Now()
		fr := Framer{Max: 1 << 20}
		d := NewDecoder(wire.Limits{Entries: 10000}, new(wire.StreamCache))
		d.Join, d.MaxDecoded = &Joiner{MaxLine: 64}, 1<<20
		b, s := batchOf(p)
		out, err := d.Decode(b, s, "", now)
		if err == nil && b.NumRecords() > out.Records-out.Refused {
			t.Fatalf("%d records of %+v", b.NumRecords(), out)
		}
		for i := range b.NumRecords() {
			b.Body(i)
			for _, f := range b.Fields(i) {
				b.Bytes(f.Val)
				b.KeyName(f.Key)
			}
		}
		d.Join.Expire(b, now+1, now)
		if b.Size() > 16<<20+len(p)*256 {
			t.Fatalf("%d bytes of memory", b.Size())
		}
		for i := 0; i < len(p); {
			n, err := fr.Next(p[i:])
			if n == 0 || err != nil {
				break
			}
			i += n
		}
		ParseHello(p)
		ParsePing(p)
		ParsePong(p)
		ParseAck(p)
		if d := time.Since(began); d > 2*time.Second {
			t.Fatalf("%v", d)
		}
	})
}

// FuzzEncode writes a record with rubbish in it and reads it back.
func FuzzEncode(f *testing.F) {
	f.Add("body", "name", "value", uint8(0), int64(now))
	f.Add("\xff", "log", `{"a":[1,{}]}`, uint8(5), int64(-1))
	f.Fuzz(func(t *testing.T, body, name, value string, kind uint8, ns int64) {
		b := record.NewBatch(nil)
		sp := b.AppendString(body)
		i := b.Add(record.Record{Time: ns, Body: sp, Source: sp, Stream: b.AddStream(record.StreamRef{Stream: record.NewStream([]record.Attr{{Name: "namespace", Value: value}}, nil, nil)})})
		k, _ := b.Key([]byte(name))
		b.AddField(i, record.Field{Key: k, Val: b.AppendString(value), Kind: record.Kind(kind % 6)})
		b.Freeze()
		part := record.NewPart(b, b.Live())
		p := NewEncoder(Config{}).Append(nil, []record.Part{part})
		if end, err := skip(p, 0); err != nil || end != len(p) {
			t.Fatalf("not one value: %v", err)
		}
		b2, s := batchOf(append(AppendPacked(nil, "t", len(p)), append(p, 0xc0)...))
		out, err := decoder().Decode(b2, s, "", now)
		if err != nil || out.Refused != 0 {
			t.Fatal(out, err)
		}
		if b2.NumRecords() == 1 && len(name) > 0 && len(name) < 1000 && len(value) < 1000 && string(b2.Body(0)) != body && b2.Record(0).Flags&record.JSONObject == 0 {
			t.Fatalf("%q became %q", body, b2.Body(0))
		}
	})
}
