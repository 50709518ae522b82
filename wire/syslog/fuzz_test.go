package syslog

import (
	"testing"
	"time"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// FuzzDecode: no byte of a message may be lost, whatever it says of itself.
func FuzzDecode(f *testing.F) {
	for _, m := range corpus5424(2) {
		f.Add([]byte(m), uint8(7), false)
	}
	f.Add([]byte("<189>237: R1: *Mar  1 18:46:11.123 UTC: %SYS-5-X: y"), uint8(1), false)
	f.Add([]byte("5 <13>a\n<13>b\x00<13>c"), uint8(2), false)
	f.Add([]byte("99999999 <13>a"), uint8(2), true)
	f.Add([]byte("Nov 22 10:00:01 h a[1]: b"), uint8(200), true)
	f.Fuzz(func(t *testing.T, p []byte, step uint8, local bool) {
		began := time.Now()
		fr := Framer{Max: 64}
		d := NewDecoder(wire.Limits{}, new(wire.StreamCache))
		d.Local = local
		b := record.NewBatch(nil)
		d.Begin(b, "peer", "t", now.UnixNano())
		base := int(b.Append(p).Off)
		from, taken := 0, 0
		for to := 0; ; to = min(to+int(step)+1, len(p)) {
			for {
				f, ok := fr.Next(p[from:to], to == len(p))
				if !ok {
					from += f.Next
					break
				}
				if f.Next <= 0 || f.From > f.To || f.To > f.Next && f.Next > to-from || f.To-f.From > 64 {
					t.Fatalf("%+v of %q", f, p[from:to])
				}
				if f.To > f.From {
					if err := d.Message(record.Span{Off: uint32(base + from + f.From), Len: uint32(f.To - f.From)}, f.Flags); err != nil {
						t.Fatal(err)
					}
					taken += f.To - f.From
				}
				from += f.Next
			}
			if to == len(p) {
				break
			}
		}
		if from != len(p) {
			t.Fatalf("%d bytes of %d were looked at", from, len(p))
		}
		out := d.End()
		if b.NumRecords() != out.Records {
			t.Fatalf("%d records of %+v", b.NumRecords(), out)
		}
		for i := range b.NumRecords() {
			r := b.Record(i)
			b.Bytes(r.Body)
			if r.Body.Len > r.Source.Len || r.Source.Len == 0 {
				t.Fatalf("%+v", r)
			}
			for _, f := range b.Fields(i) {
				b.Bytes(f.Val)
			}
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Fatal(d)
		}
	})
}

// FuzzEncode: a record is one message, whatever is in it.
func FuzzEncode(f *testing.F) {
	f.Add("body\n<13>x", "name", "value", false)
	f.Add("\x00\xff", "]", "\"\\]\n", true)
	f.Fuzz(func(t *testing.T, body, name, value string, counted bool) {
		b := record.NewBatch(nil)
		st := record.NewStream([]record.Attr{{Name: "node", Value: value}, {Name: "app", Value: name}, {Name: name, Value: value}}, nil, nil)
		s := b.AppendString(body)
		i := b.Add(record.Record{Time: 1, Body: s, Source: s, Stream: b.AddStream(record.StreamRef{Stream: st})})
		k, _ := b.Key([]byte(name))
		b.AddField(i, record.Field{Key: k, Val: b.AppendString(value)})
		for _, c := range []Config{{StructuredData: "weir@1", Counted: counted}, {Format: RFC3164, Counted: counted}} {
			out := encode(t, c, b)
			fr := Framer{Max: 1 << 30}
			got, ok := fr.Next([]byte(out), true)
			if !ok || got.Next != len(out) {
				t.Fatalf("%q is not one message: %+v", out, got)
			}
			if c.Format == RFC3164 {
				continue
			}
			b2 := record.NewBatch(nil)
			if o, err := decoder().Decode(b2, b2.AppendString(out), "", 1); err != nil || o.Records != 1 || b2.Record(0).Flags != 0 {
				t.Fatalf("%q: %+v %v %s", out, o, err, text(b2))
			}
			if string(b2.Body(0)) != string(appendText(nil, []byte(body))) && body != "" && !hasBOM(body) {
				if last := body[len(body)-1]; last != 0 && last != '\n' && last != '\r' {
					t.Fatalf("%q became %q", body, b2.Body(0))
				}
			}
		}
	})
}

func hasBOM(s string) bool { return len(s) >= 3 && s[:3] == bom }
