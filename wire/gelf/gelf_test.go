package gelf

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

const now = 1_763_805_600_123_456_789

func decoder() *Decoder { return NewDecoder(wire.Limits{}, new(wire.StreamCache)) }

func text(b *record.Batch) (out []string) {
	for i := range b.NumRecords() {
		r := b.Record(i)
		var sb strings.Builder
		for _, a := range b.Stream(i).Attrs() {
			fmt.Fprintf(&sb, "%s=%s ", a.Name, a.Value)
		}
		fmt.Fprintf(&sb, "%d %d %q", r.Time, r.Severity, b.Body(i))
		for _, f := range b.Fields(i) {
			fmt.Fprintf(&sb, " %s=%q", b.KeyName(f.Key), b.Bytes(f.Val))
		}
		if r.Flags != 0 {
			fmt.Fprintf(&sb, " flags=%d", r.Flags)
		}
		out = append(out, sb.String())
	}
	return out
}

func TestDecode(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"version":"1.1","host":"example.org","short_message":"A short message","full_message":"Backtrace here\n\nmore","timestamp":1385053862.3072,"level":1,"_user_id":9001,"_some_info":"foo","_some_env_var":"b\"ar"}`,
			`node=example.org 1385053862307200000 19 "A short message" user_id="9001" some_info="foo" some_env_var="b\"ar" full_message="Backtrace here\n\nmore"`},
		{` {"host":"h","short_message":"A","full_message":"A\nand more","level":6,"facility":"f","line":3} `, `node=h 1763805600123456789 9 "A\nand more" facility="f" line="3"`},
		{`{"version":"1.1","host":"n","short_message":"x","timestamp":1.5,"level":3,"_command":"sh","_container_id":"cid","_container_name":"/web","_image_name":"img","_tag":"t"}`,
			`container=web container_id=cid image=img node=n 1500000000 17 "x" command="sh" tag="t"`},
		{`{"short_message":"x","timestamp":"soon","level":99,"_o":{"a":[1]},"_n":null,"_":1}`, `1763805600123456789 0 "{\"short_message\":\"x\",\"timestamp\":\"soon\",\"level\":99,\"_o\":{\"a\":[1]},\"_n\":null,\"_\":1}" flags=40`},
		{`{"full_message":"only","timestamp":0}`, `1763805600123456789 0 "only"`},
		{`{"host":"h"}`, `node=h 1763805600123456789 0 "{\"host\":\"h\"}" flags=40`},
		{`{"short_message":"y","_kubernetes_pod_name":"p","_kubernetes_namespace_name":"ns","__tenant__":"evil"}`, `namespace=ns pod=p 1763805600123456789 0 "y" _tenant__="evil"`},
	} {
		b := record.NewBatch(nil)
		b.AppendString("xx")
		out, err := decoder().Decode(b, b.AppendString(c.in), "", now)
		if err != nil || out.Records != 1 {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if got := strings.Join(text(b), "\n"); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
		}
	}
	for _, in := range []string{"", "x", "[]", `{"short_message":"a"} x`, `{"short_message":`} {
		b := record.NewBatch(nil)
		s := b.AppendString(in)
		if _, err := decoder().Decode(b, s, "", now); !errors.Is(err, ErrNoMessage) || b.NumRecords() != 0 {
			t.Errorf("%q: %v", in, err)
		}
		if err := decoder().Raw(b, s, "a", now, 0); err != nil || b.Record(0).Flags != record.ParseError || string(b.Body(0)) != in {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func chunk(id byte, n, of int, body string) []byte {
	return append([]byte{0x1e, 0x0f, id, 0, 0, 0, 0, 0, 0, 0, byte(n), byte(of)}, body...)
}

func TestChunks(t *testing.T) {
	var c Chunks
	add := func(from string, p []byte, now int64) string {
		t.Helper()
		parts, err := c.Add(from, p, now)
		if err != nil {
			return err.Error()
		}
		return string(bytes.Join(parts, nil))
	}
	for _, s := range []struct {
		from string
		p    []byte
		now  int64
		want string
	}{
		{"a", chunk(1, 1, 3, "b"), 0, ""}, {"b", chunk(1, 0, 2, "x"), 0, ""}, {"a", chunk(1, 0, 3, "a"), 1, ""}, {"a", chunk(1, 0, 3, "again"), 1, ""},
		{"a", chunk(1, 2, 3, "c"), 2, "abc"}, {"b", chunk(1, 1, 2, "y"), 3, "xy"}, {"a", chunk(1, 2, 3, "c"), 4, ""}, {"a", chunk(1, 0, 2, "c"), 4, errSource.Error()},
		{"a", chunk(2, 0, 1, "single"), 4, "single"}, {"a", chunk(3, 0, 0, ""), 4, errChunk.Error()}, {"a", chunk(3, 5, 5, ""), 4, errChunk.Error()},
		{"a", chunk(3, 0, 129, ""), 4, errChunk.Error()}, {"a", []byte{0x1e, 0x0f, 1}, 4, errChunk.Error()},
		{"a", chunk(9, 0, 2, "late"), 5, ""}, {"a", chunk(9, 1, 2, "r"), 6e9, ""}, {"a", chunk(9, 0, 2, "late"), 6e9, "later"},
	} {
		if got := add(s.from, s.p, s.now); got != s.want {
			t.Errorf("%s %q: %q, want %q", s.from, s.p[2:], got, s.want)
		}
	}
	if n, bytes := c.Held(); n != 0 || bytes != 0 || c.Lost() != 2 {
		t.Errorf("%d messages of %d bytes are held, %d lost", n, bytes, c.Lost())
	}
}

// Memory, number and age of what is put together are bounded whatever is sent.
func TestFailure108_Chunks(t *testing.T) {
	c := Chunks{MaxMessages: 100, MaxBytes: 1 << 20, MaxMessage: 64 << 10}
	body := strings.Repeat("x", 8000)
	for i := range 100_000 {
		p := chunk(byte(i), i%2, 2+i%126, body)
		p[3], p[4] = byte(i>>8), byte(i>>16)
		if _, err := c.Add(fmt.Sprint(i%1000), p, int64(i)); err != nil {
			t.Fatal(err)
		}
		if n, bytes := c.Held(); n > 100 || bytes > 1<<20 {
			t.Fatalf("%d messages of %d bytes", n, bytes)
		}
	}
	c.Expire(1e12)
	if n, bytes := c.Held(); n != 0 || bytes != 0 || c.Lost() != 100_000 {
		t.Errorf("%d messages of %d bytes, %d lost", n, bytes, c.Lost())
	}
	for i := range 127 {
		if _, err := c.Add("a", chunk(1, i, 128, body), 1e12); err != nil {
			if !errors.Is(err, errLarge) || i < 8 {
				t.Fatal(i, err)
			}
			return
		}
	}
	t.Error("no bound of a message")
}

func TestUnzip(t *testing.T) {
	in := []byte(`{"short_message":"x"}`)
	var g, z bytes.Buffer
	w := gzip.NewWriter(&g)
	w.Write(in)
	w.Close()
	v := zlib.NewWriter(&z)
	v.Write(in)
	v.Close()
	var u Unzipper
	for range 2 {
		for _, p := range [][]byte{g.Bytes(), z.Bytes()} {
			b := record.NewBatch(nil)
			s := b.Append(p)
			if !IsCompressed(p) {
				t.Fatal("not seen")
			}
			out, err := u.Append(b, b.Bytes(s), 1<<20)
			if err != nil || string(b.Bytes(out)) != string(in) {
				t.Fatal(err)
			}
			if _, err := u.Append(b, p, 10); !errors.Is(err, ErrCompressed) {
				t.Error(err)
			}
			if _, err := u.Append(b, p[:len(p)-3], 1<<20); !errors.Is(err, ErrCompressed) {
				t.Error(err)
			}
		}
	}
	if IsCompressed(in) || IsCompressed(nil) {
		t.Error("seen where there is none")
	}
}

func TestFailure107_GelfBomb(t *testing.T) {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	w.Write(make([]byte, 64<<20))
	w.Close()
	b := record.NewBatch(nil)
	if _, err := new(Unzipper).Append(b, z.Bytes(), 8<<20); !errors.Is(err, ErrCompressed) || b.Size() > 32<<20 {
		t.Errorf("%v, %d bytes", err, b.Size())
	}
}

func TestFramer(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"{\"a\":1}\x00{\"b\":\"\n\"}\x00", `{"a":1}|{"b":"` + "\n" + `"}`},
		{"{\"a\":1}\n{\"b\":2}\r\n", "{\"a\":1}|{\"b\":2}\r"},
		{"{\"a\":{\n\"x\":{}\n}\n}\x00{}", "{\"a\":{\n\"x\":{}\n}\n}|{}"},
		{"rubbish\x00\n\x00{}\n", "rubbish|{}"},
		{"{\"long\":\"" + strings.Repeat("x", 100) + "\"}\x00{}\x00", "{\"long\":\"" + strings.Repeat("x", 55) + "…|…" + strings.Repeat("x", 45) + "\"}|{}"},
	} {
		for _, step := range []int{1, 3, 1000} {
			f := Framer{Max: 64}
			var got []string
			from := 0
			for to := 0; ; to = min(to+step, len(c.in)) {
				for {
					a, b, next, flags, ok := f.Next([]byte(c.in[from:to]), to == len(c.in))
					if !ok {
						break
					}
					s := c.in[from+a : from+b]
					if flags&record.Continued != 0 {
						s = "…" + s
					}
					if flags&record.Partial != 0 {
						s += "…"
					}
					got = append(got, s)
					from += next
				}
				if to == len(c.in) {
					break
				}
			}
			if g := strings.Join(got, "|"); g != c.want {
				t.Errorf("%q in steps of %d:\n got %q\nwant %q", c.in, step, g, c.want)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":"1.1","host":"h","short_message":"a\"","full_message":"b","timestamp":1.5,"level":3,"_x":{"y":[]}}`), byte(3))
	f.Add(append(chunk(1, 0, 2, "{"), 0), byte(1))
	f.Add([]byte("{}\n{}\x00"), byte(1))
	f.Add([]byte(strings.Repeat("[", 1000)), byte(1))
	f.Fuzz(func(t *testing.T, p []byte, step byte) {
		began := time.Now()
		d := decoder()
		b := record.NewBatch(nil)
		s := b.Append(p)
		if _, err := d.Decode(b, s, "t", now); err != nil {
			if err := d.Raw(b, s, "t", now, 0); err != nil {
				t.Fatal(err)
			}
		}
		if b.NumRecords() != 1 {
			t.Fatal("lost")
		}
		b.Body(0)
		for _, f := range b.Fields(0) {
			b.Bytes(f.Val)
		}
		if b.Size() > 64<<10+16*len(p) {
			t.Fatalf("%d bytes of memory", b.Size())
		}
		c := Chunks{MaxMessages: 4, MaxBytes: 8 << 10}
		for i := 0; i < len(p); i += int(step) + 1 {
			c.Add("x", p[i:], int64(i))
		}
		if n, bytes := c.Held(); n > 4 || bytes > 8<<10 {
			t.Fatal(n, bytes)
		}
		if IsCompressed(p) {
			new(Unzipper).Append(b, p, 1<<20)
		}
		var f Framer
		f.Max = 100
		from := 0
		for to := 0; ; to = min(to+int(step)+1, len(p)) {
			for {
				a, e, next, _, ok := f.Next(p[from:to], to == len(p))
				if !ok {
					break
				}
				if next <= 0 || a > e || e > next || from+next > to {
					t.Fatal(a, e, next)
				}
				from += next
			}
			if to == len(p) {
				break
			}
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Fatal(d)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	msg := []byte(`{"version":"1.1","host":"node-1","short_message":"GET /cart/12 status=200 duration=12ms bytes=5123 user=ann agent=Mozilla/5.0","timestamp":1385053862.3072,"level":6,"_container_id":"0123456789abcdef","_container_name":"/web","_image_name":"shop/cart:1.2.3","_command":"sh -c run","_created":"2026-11-22T10:00:00Z","_tag":"0123"}`)
	d := decoder()
	bt := record.NewBatch(nil)
	b.SetBytes(int64(len(msg)) * 100)
	b.ReportAllocs()
	for b.Loop() {
		bt.Release()
		bt.Reset(nil)
		for range 100 {
			if _, err := d.Decode(bt, bt.Append(msg), "", now); err != nil {
				b.Fatal(err)
			}
		}
	}
}
