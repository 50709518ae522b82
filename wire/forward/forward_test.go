package forward

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/tinylib/msgp/msgp"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

const now = 1_763_805_600_123_456_789

// mp writes a value as msgpack with msgp's run time. Maps are written as pairs, so
// that their order stands.
func mp(v any) []byte { return appendValue(nil, v) }

type pairs []any
type at int64 // an EventTime

func appendValue(dst []byte, v any) []byte {
	switch v := v.(type) {
	case pairs:
		dst = msgp.AppendMapHeader(dst, uint32(len(v)/2))
		for _, x := range v {
			dst = appendValue(dst, x)
		}
		return dst
	case []any:
		dst = msgp.AppendArrayHeader(dst, uint32(len(v)))
		for _, x := range v {
			dst = appendValue(dst, x)
		}
		return dst
	case at:
		return AppendTime(dst, int64(v))
	}
	out, err := msgp.AppendIntf(dst, v)
	if err != nil {
		panic(err)
	}
	return out
}

func join(p ...[]byte) []byte { return bytes.Join(p, nil) }

func gz(p []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(p)
	w.Close()
	return buf.Bytes()
}

func batchOf(body []byte) (*record.Batch, record.Span) {
	b := record.NewBatch(nil)
	b.AppendString("before it stands something else")
	return b, b.Append(body)
}

func decoder() *Decoder { return NewDecoder(wire.Limits{}, new(wire.StreamCache)) }

func text1(b *record.Batch) (out []string) {
	for i := range b.NumRecords() {
		r := b.Record(i)
		var sb strings.Builder
		sb.WriteByte('{')
		for k, a := range b.Stream(i).Attrs() {
			if k > 0 {
				sb.WriteByte(' ')
			}
			fmt.Fprintf(&sb, "%s=%q", a.Name, a.Value)
		}
		for _, a := range b.Stream(i).Labels() {
			fmt.Fprintf(&sb, " label %s=%q", a.Name, a.Value)
		}
		fmt.Fprintf(&sb, "} %d %s %q", r.Time, r.Severity.Level(), b.Body(i))
		for _, f := range b.Fields(i) {
			fmt.Fprintf(&sb, " %s=%q", b.KeyName(f.Key), b.Bytes(f.Val))
		}
		if id, ok := b.SenderID(i); ok {
			fmt.Fprintf(&sb, " id=%s", id)
		}
		if f := r.Flags &^ record.HasID; f != 0 {
			fmt.Fprintf(&sb, " flags=%d", f)
		}
		out = append(out, sb.String())
	}
	return out
}

func diff(t *testing.T, got []string, want ...string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func TestModes(t *testing.T) {
	e1, e2 := mp([]any{at(5_000000001), pairs{"log", "one\n\xff", "n", 7, "f", 1.5, "yes", true, "none", nil}}), mp([]any{6, pairs{"message", "two", "a", pairs{"b", pairs{"c", "d"}, "e", []any{1, "x"}}}})
	zw, _ := zstd.NewWriter(nil)
	zs := zw.EncodeAll(join(e1, e2), nil)
	want := []string{
		`{tag="app.x"} 5000000001 unknown "one\n\xff" n="7" f="1.5" yes="true"`,
		`{tag="app.x"} 6000000000 unknown "two" a_b_c="d" a_e="[1,\"x\"]"`,
	}
	for _, c := range []struct {
		name   string
		body   []byte
		chunks string
	}{
		{"message", join(
			mp([]any{"app.x", at(5_000000001), pairs{"log", "one\n\xff", "n", 7, "f", 1.5, "yes", true, "none", nil}, pairs{"chunk", "c1"}}),
			mp([]any{"app.x", 6.0, pairs{"message", "two", "a", pairs{"b", pairs{"c", "d"}, "e", []any{1, "x"}}}})), "c1"},
		{"forward", append(append([]byte{0x93}, append(mp("app.x"), append([]byte{0x92}, join(e1, e2)...)...)...), mp(pairs{"size", 2, "chunk", []byte("c2")})...), "c2"},
		{"packed bin", mp([]any{"app.x", join(e1, e2), pairs{"chunk", "a", "size", 2}}), "a"},
		{"packed str", mp([]any{"app.x", string(join(e1, e2))}), ""},
		{"packed, no option", mp([]any{"app.x", join(e1, e2), nil}), ""},
		{"gzip", mp([]any{"app.x", gz(join(e1, e2)), pairs{"compressed", "gzip", "chunk", "z"}}), "z"},
		{"gzip members", mp([]any{"app.x", join(gz(e1), gz(e2)), pairs{"compressed", "gzip"}}), ""},
		{"zstd", mp([]any{"app.x", zs, pairs{"compressed", "zstd"}}), ""},
		{"with metadata", join(
			mp([]any{"app.x", []any{[]any{at(5_000000001), pairs{"m", 1}}, pairs{"log", "one\n\xff", "n", 7, "f", 1.5, "yes", true}}, pairs{}}),
		), ""},
	} {
		if c.name == "with metadata" {
			c.body = mp([]any{"app.x", []any{
				[]any{[]any{-1, pairs{}}, pairs{}}, // a group of Fluent Bit's begins
				[]any{[]any{at(5_000000001), pairs{}}, pairs{"log", "one\n\xff", "n", 7, "f", 1.5, "yes", true}},
				[]any{[]any{at(6_000000000), pairs{}}, pairs{"message", "two", "a", pairs{"b", pairs{"c", "d"}, "e", []any{1, "x"}}}},
			}, pairs{}})
		}
		t.Run(c.name, func(t *testing.T) {
			d := decoder()
			b, s := batchOf(c.body)
			out, err := d.Decode(b, s, "", now)
			if err != nil || out.Refused != 0 || out.Records != 2 {
				t.Fatalf("%+v, %v", out, err)
			}
			diff(t, text1(b), want...)
			var chunks []string
			for _, s := range d.Chunks() {
				chunks = append(chunks, string(b.Bytes(s)))
			}
			if got := strings.Join(chunks, " "); got != c.chunks {
				t.Errorf("chunks %q, want %q", got, c.chunks)
			}
			// The boundaries are found, byte by byte.
			var f Framer
			var ends []int
			from := 0
			for i := 1; i <= len(c.body); i++ {
				n, err := f.Next(c.body[from:i])
				if err != nil {
					t.Fatal(err)
				}
				if n > 0 {
					from += n
					ends = append(ends, from)
				}
			}
			if len(ends) != out.Streams || from != len(c.body) {
				t.Errorf("%d messages end at %v of %d", out.Streams, ends, len(c.body))
			}
		})
	}
}

func TestStreams(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 2)
	body := join(
		mp([]any{"kube.x", 1, pairs{"log", "a", "stream", "stderr", "level", "warn", "kubernetes", pairs{
			"pod_name", "cart-1", "namespace_name", "shop", "pod_id", "u", "host", "n1", "container_name", "c", "docker_id", "d", "container_image", "img",
			"labels", pairs{"app", "cart", "__tenant__", "x"}, "container_hash", "h"}}}),
		mp([]any{"docker", 2, pairs{"container_id", "cid", "container_name", "/web", "source", "stdout", "log", "b"}}),
		mp([]any{"app", 3, pairs{"source", "stdout", "message", "c", "msg", "d", "weir_id", id, "severity", 3}}),
		mp([]any{"app", at(4), pairs{"event", "started", "level", "error", "n", 1, "list", []any{}, "at", at(1)}}),
		mp([]any{"app", nil, pairs{}}),
		mp([]any{"app", 5, pairs{1, "x", "message", "kept"}}),
	)
	d := decoder()
	d.Attrs = []record.Attr{{Name: "input", Value: "forward"}}
	b, s := batchOf(body)
	out, err := d.Decode(b, s, "acme", now)
	if err != nil || out.Refused != 0 || out.Records != 6 {
		t.Fatalf("%+v, %v", out, err)
	}
	diff(t, text1(b),
		`{__tenant__="acme" container="c" container_id="d" image="img" input="forward" kubernetes.container_hash="h" namespace="shop" node="n1" pod="cart-1" pod_uid="u" stream="stderr" tag="kube.x" label __tenant__="x" label app="cart"} 1000000000 warn "a" level="warn"`,
		`{__tenant__="acme" container="web" container_id="cid" input="forward" stream="stdout" tag="docker"} 2000000000 unknown "b"`,
		`{__tenant__="acme" input="forward" tag="app"} 3000000000 error "c" msg="d" severity="3" source="stdout" id=`+id,
		`{__tenant__="acme" input="forward" tag="app"} 4 error "{\"event\":\"started\",\"level\":\"error\",\"n\":1,\"list\":[],\"at\":\"1970-01-01T00:00:00.000000001Z\"}" flags=40`,
		fmt.Sprintf(`{__tenant__="acme" input="forward" tag="app"} %d unknown "{}" flags=40`, int64(now)),
		`{__tenant__="acme" input="forward" tag="app"} 5000000000 unknown "{\"1\":\"x\",\"message\":\"kept\"}" flags=40`,
	)
}

// A chunk that comes again has the same ids, and no two records have one.
func TestChunkIDs(t *testing.T) {
	same := mp([]any{at(5), pairs{"log", "same"}})
	entries := join(same, same, same)
	ids := map[record.ID]int{}
	for _, m := range [][]byte{
		mp([]any{"t", entries, pairs{"chunk", "a"}}), mp([]any{"t", entries, pairs{"chunk", "a"}}), mp([]any{"t", entries, pairs{"chunk", "b"}}),
		mp([]any{"u", entries, pairs{"chunk", "a"}}), mp([]any{"t", entries}),
	} {
		d := decoder()
		d.IDs = true
		b, s := batchOf(m)
		if _, err := d.Decode(b, s, "", now); err != nil {
			t.Fatal(err)
		}
		for i := range b.NumRecords() {
			if id, ok := b.SenderID(i); ok {
				ids[id]++
			}
		}
	}
	twice := 0
	for _, n := range ids {
		if n == 2 {
			twice++
		}
	}
	if len(ids) != 9 || twice != 3 {
		t.Errorf("%d ids, %d of them twice", len(ids), twice)
	}
}

func piece(id, ordinal, last, log string, ack bool) []byte {
	m := []any{"d", 1, pairs{"log", log, "container_id", "c", "partial_message", "true", "partial_id", id, "partial_ordinal", ordinal, "partial_last", last}}
	if ack {
		m = append(m, pairs{"chunk", "x"})
	}
	return mp(m)
}

func TestDockerPieces(t *testing.T) {
	d := decoder()
	d.Join = &Joiner{MaxLine: 20}
	b, s := batchOf(join(
		piece("a", "1", "false", "one ", false), piece("b", "1", "false", "other ", false), mp([]any{"d", 1, pairs{"log", "between"}}),
		piece("a", "2", "false", "two ", false), piece("a", "3", "true", "three", false), piece("b", "2", "false", "a long long line", false),
		piece("b", "3", "true", "!", false), piece("c", "1", "false", "rest", false), piece("q", "2", "true", "late", false),
		piece("e", "1", "false", "acked ", true), piece("e", "2", "true", "piece", true),
	))
	if _, err := d.Decode(b, s, "", now); err != nil {
		t.Fatal(err)
	}
	if n, bytes := d.Join.Open(); n != 1 || bytes != 4 {
		t.Errorf("%d lines of %d bytes are open", n, bytes)
	}
	if n := d.Join.Expire(b, now, now); n != 0 {
		t.Errorf("%d expired early", n)
	}
	if n := d.Join.Expire(b, math.MaxInt64, now); n != 1 {
		t.Errorf("%d expired", n)
	}
	var got []string
	for i := range b.NumRecords() {
		got = append(got, fmt.Sprintf("%s %d", b.Body(i), b.Record(i).Flags))
	}
	diff(t, got, "between 0", "one two three 0", "other a long long line 2", "! 4", "late 4", "acked  2", "piece 4", "rest 2")
	if n, bytes := d.Join.Open(); n != 0 || bytes != 0 {
		t.Errorf("%d lines of %d bytes are open", n, bytes)
	}
}

func TestTooManyFieldsBecomeJSON(t *testing.T) {
	rec := pairs{"log", "text"}
	for i := range 200 {
		rec = append(rec, fmt.Sprint("key", i), i)
	}
	b, s := batchOf(mp([]any{"t", 1, rec}))
	out, err := decoder().Decode(b, s, "", now)
	if err != nil || out.Refused != 0 || b.NumRecords() != 1 {
		t.Fatal(out, err)
	}
	if body := string(b.Body(0)); !strings.HasPrefix(body, `{"log":"text","key0":0,`) || !strings.HasSuffix(body, `"key199":199}`) || len(b.Fields(0)) != 0 {
		t.Error(body)
	}
}

// A message that is no message is an error that says what came before it.
func TestMalformed(t *testing.T) {
	good := mp([]any{"t", 1, pairs{"log", "x"}, pairs{"chunk", "c"}})
	for name, bad := range map[string][]byte{
		"number": {7}, "empty array": {0x90}, "one element": mp([]any{"t"}), "tag is a number": mp([]any{1, 2, pairs{}}),
		"unknown compression": mp([]any{"t", []byte("x"), pairs{"compressed", "lzma"}}), "not gzip": mp([]any{"t", []byte("xxxxxxxxxxxxxxxxxxxx"), pairs{"compressed", "gzip"}}),
		"gzip cut short": mp([]any{"t", gz(mp([]any{1, pairs{"log", "x"}}))[:20], pairs{"compressed", "gzip"}}),
	} {
		d := decoder()
		b, s := batchOf(join(good, bad, good))
		if _, err := d.Decode(b, s, "", now); err == nil || d.Good() != len(good) {
			t.Errorf("%s: %v, %d bytes good", name, err, d.Good())
		}
	}
	// Entries are not whole: those before stand.
	b, s := batchOf(mp([]any{"t", join(mp([]any{1, pairs{"log", "x"}}), []byte("{}"), mp([]any{1, "no map"}), mp([]any{2, pairs{"log", "y"}}), mp([]any{2, pairs{"log", "zzz"}})[:6])}))
	out, err := decoder().Decode(b, s, "", now)
	if err != nil || out.Refused != 4 || out.Records != 6 || b.NumRecords() != 2 {
		t.Errorf("%+v %v", out, err)
	}
}

func TestHandshake(t *testing.T) {
	h := Hello{Nonce: []byte("0123456789abcdef"), Auth: []byte("salt"), KeepAlive: true}
	h2, err := ParseHello(h.Append(nil))
	if err != nil || string(h2.Nonce) != string(h.Nonce) || string(h2.Auth) != "salt" || !h2.KeepAlive {
		t.Fatal(h2, err)
	}
	ping, err := ParsePing(NewPing(h2, "client", []byte("s"), "key", "ann", "pass").Append(nil))
	if err != nil || !ping.KeyMatches(h.Nonce, "key") || ping.KeyMatches(h.Nonce, "other") || ping.KeyMatches([]byte("another"), "key") {
		t.Fatal(ping, err)
	}
	if !ping.PasswordMatches(h.Auth, "pass") || ping.PasswordMatches(h.Auth, "") || ping.User != "ann" {
		t.Error("password")
	}
	pong, err := ParsePong(NewPong(ping, h.Nonce, "server", "key").Append(nil))
	if err != nil || !pong.OK || !pong.KeyMatches([]byte("s"), h.Nonce, "key") || pong.KeyMatches([]byte("s"), h.Nonce, "x") {
		t.Error(pong, err)
	}
	for _, p := range [][]byte{nil, {0x92}, mp([]any{"PING"}), mp([]any{"PING", 1, 2, 3, 4, []any{}}), mp([]any{"HELO", 1})} {
		ParsePing(p)
		ParsePong(p)
		if _, err := ParseHello(p); err == nil {
			t.Errorf("%q taken", p)
		}
	}
	if c, ok := ParseAck(AppendAck(nil, []byte("xyz"))); !ok || string(c) != "xyz" {
		t.Error(c, ok)
	}
}

func TestRoundTrip(t *testing.T) {
	st := record.NewStream([]record.Attr{{Name: "namespace", Value: "shop"}, {Name: "pod", Value: "p"}, {Name: "container", Value: "c"}, {Name: "stream", Value: "stdout"},
		{Name: "input", Value: "kubernetes"}, {Name: "cluster", Value: "eu"}, {Name: "team", Value: "x"}, {Name: "tag", Value: "weir.shop"}, {Name: "restart", Value: "0"}}, []record.Attr{{Name: "app.kubernetes.io/name", Value: "cart"}}, nil)
	b := record.NewBatch(nil)
	add := func(body string, r record.Record, fields ...any) {
		r.Body = b.AppendString(body)
		r.Source = r.Body
		r.Stream = b.AddStream(record.StreamRef{Stream: st})
		i := b.Add(r)
		for k := 0; k < len(fields); k += 3 {
			key, _ := b.Key([]byte(fields[k].(string)))
			b.AddField(i, record.Field{Key: key, Val: b.AppendString(fields[k+1].(string)), Kind: fields[k+2].(record.Kind)})
		}
	}
	add("hello \x00\xff", record.Record{Time: now, Severity: record.Warn}, "a", "1", record.Int, "b", "1.5", record.Float, "j", `{"x":[1,"\u00e4"]}`, record.JSON, "log", "own", record.String, "a", "2", record.Int)
	add(`{"json":1}`, record.Record{Time: -1, Flags: record.Partial}, "level", "error", record.String)
	b.SetID(1, record.ID{Hi: 1, Lo: 2})
	b.Freeze()
	part := record.NewPart(b, b.Live())
	e := NewEncoder(Config{IDs: true, Labels: []string{"*"}})
	entries := e.Append(nil, []record.Part{part})
	msg := append(AppendPacked(nil, "weir.shop", len(entries)), entries...)
	msg = AppendOption(msg, 2, "chunk", "")
	if n, err := new(Framer).Next(msg); n != len(msg) || err != nil {
		t.Fatal(n, err)
	}
	b2, s := batchOf(msg)
	out, err := decoder().Decode(b2, s, "", now)
	if err != nil || out.Refused > 0 {
		t.Fatal(out, err)
	}
	attrs := `{cluster="eu" container="c" input="kubernetes" namespace="shop" pod="p" restart="0" stream="stdout" tag="weir.shop" team="x" label app.kubernetes.io/name="cart"}`
	diff(t, text1(b2),
		attrs+` 1763805600123456789 warn "hello \x00\xff" b="1.5" j_x="[1,\"ä\"]" field_log="own" a="2" level="warn"`,
		attrs+` -1000000000 error "{\"json\":1}" level="error" id=00000000000000010000000000000002 flags=2`,
	)
}

// What is hostile costs no memory that was not sent, and no time.
func TestFailure108_LyingLengths(t *testing.T) {
	for name, bomb := range map[string][]byte{
		"array": {0xdd, 0xff, 0xff, 0xff, 0xff}, "map in entries": {0x92, 0xa1, 't', 0x91, 0x92, 1, 0xdf, 0xff, 0xff, 0xff, 0xff},
		"string": {0x92, 0xdb, 0xff, 0xff, 0xff, 0xff}, "blob": {0x92, 0xa1, 't', 0xc6, 0xff, 0xff, 0xff, 0xff},
		"nesting": append([]byte{0x93, 0xa1, 't', 1}, bytes.Repeat([]byte{0x91}, 100_000)...),
	} {
		if _, err := new(Framer).Next(bomb); err == nil {
			t.Errorf("%s: awaited", name)
		}
		b, s := batchOf(bomb)
		size := b.Size()
		if _, err := decoder().Decode(b, s, "", now); err == nil && b.NumRecords() > 0 {
			t.Errorf("%s: decoded", name)
		}
		if b.Size() > size+4096 {
			t.Errorf("%s: %d bytes for a message of %d", name, b.Size()-size, len(bomb))
		}
	}
}

func TestFailure107_ForwardBombs(t *testing.T) {
	zeros := make([]byte, 100<<20)
	zw, _ := zstd.NewWriter(nil)
	for name, m := range map[string][]byte{
		"gzip":    mp([]any{"t", gz(zeros), pairs{"compressed", "gzip"}}),
		"members": mp([]any{"t", bytes.Repeat(gz(zeros[:1<<20]), 200), pairs{"compressed", "gzip"}}),
		"zstd":    mp([]any{"t", zw.EncodeAll(zeros, nil), pairs{"compressed", "zstd"}}),
	} {
		d := decoder()
		b, s := batchOf(m)
		_, err := d.Decode(b, s, "", now)
		if !errors.Is(err, ErrCompressed) {
			t.Errorf("%s: %v", name, err)
		}
		if b.Size() > 130<<20 {
			t.Errorf("%s: %d bytes in memory", name, b.Size())
		}
	}
}

// A body that is a JSON object becomes members of the entry, which can neither take
// the place of ours nor of a field.
func TestEncoderMerges(t *testing.T) {
	stream := record.NewStream([]record.Attr{{Name: record.AttrStream, Value: "stdout"}, {Name: record.AttrNamespace, Value: "shop"}}, nil, nil)
	for _, c := range []struct{ body, want string }{
		{`{"msg":"hi","n":-3,"f":1.5,"a":[1,"x",null,true],"o":{"k":{}},"level":"warn"}`,
			`"msg":"hi","n":-3,"f":1.5,"a":[1,"x",null,true],"o":{"k":{}},"level":"warn","stream":"stdout","kubernetes":{"namespace_name":"shop"},"user":"ann","weir":{"attrs":{}}`},
		{`{"user":"eve","kubernetes":{"namespace_name":"evil"},"weir_id":"1","s\u0074ream":"x","\u00e9":"\n","big":123456789012345678901}`,
			`"field_kubernetes":{"namespace_name":"evil"},"field_weir_id":"1","field_stream":"x","é":"\n","big":"123456789012345678901","stream":"stdout","kubernetes":{"namespace_name":"shop"},"user":"ann","level":"info","weir":{"attrs":{}}`},
		{`{}`, `"log":"{}","stream":"stdout","kubernetes":{"namespace_name":"shop"},"user":"ann","level":"info","weir":{"attrs":{}}`},
		{`{"user":1}`, `"log":"{\"user\":1}","stream":"stdout","kubernetes":{"namespace_name":"shop"},"user":"ann","level":"info","weir":{"attrs":{}}`},
	} {
		b := record.NewBatch(nil)
		sp := b.AppendString(c.body)
		n := b.Add(record.Record{Time: now, Body: sp, Source: sp, Severity: record.Info, Flags: record.JSONObject | record.ValidUTF8,
			Stream: b.AddStream(record.StreamRef{Stream: stream})})
		key, _ := b.Key([]byte("user"))
		b.AddField(n, record.Field{Key: key, Kind: record.String, Val: b.AppendString("ann")})
		b.Freeze()
		part := record.NewPart(b, b.Live())
		p := NewEncoder(Config{Merge: true}).Append(nil, []record.Part{part})
		part.Finish()
		if n, err := skip(p, 0); err != nil || n != len(p) {
			t.Fatalf("%s: not one value: %d of %d, %v", c.body, n, len(p), err)
		}
		_, p, err := msgp.ReadArrayHeaderBytes(p)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := msgp.UnmarshalAsJSON(&out, p[10:]); err != nil { // behind the time
			t.Fatal(err)
		}
		if got := strings.TrimSpace(out.String()); got != "{"+c.want+"}" {
			t.Errorf("%s:\n got %s\nwant {%s}", c.body, got, c.want)
		}
	}
}
