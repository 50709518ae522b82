package loki

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

const testTime = 1763805600123456789

// The oracle: a reader of its own, written from the protobuf encoding's
// documentation and Loki's push.proto.

type rawField struct {
	num   int
	val   []byte
	n     uint64
	bytes bool
}

func varint(p []byte) (n uint64, rest []byte) {
	for sh := uint(0); ; sh += 7 {
		c := p[0]
		p = p[1:]
		n |= uint64(c&0x7f) << sh
		if c < 0x80 {
			return n, p
		}
	}
}

func fieldsOf(t testing.TB, p []byte) (out []rawField) {
	t.Helper()
	defer func() {
		if recover() != nil {
			t.Fatalf("not protobuf")
		}
	}()
	for len(p) > 0 {
		var key uint64
		key, p = varint(p)
		f := rawField{num: int(key >> 3)}
		switch key & 7 {
		case 0:
			f.n, p = varint(p)
		case 2:
			var n uint64
			n, p = varint(p)
			f.val, p, f.bytes = p[:n], p[n:], true
		default:
			t.Fatalf("wire type %d", key&7)
		}
		out = append(out, f)
	}
	return out
}

type gotEntry struct {
	ns   int64
	line string
	meta map[string]string
}

type gotStream struct {
	labels  map[string]string
	entries []gotEntry
}

var labelsRE = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)=("(?:[^"\\]|\\.)*")(, |$)`)

func decode(t testing.TB, p []byte) (out []gotStream) {
	t.Helper()
	for _, f := range fieldsOf(t, p) {
		if f.num != 1 || !f.bytes {
			t.Fatalf("field %d in the request", f.num)
		}
		s := gotStream{labels: map[string]string{}}
		for _, f := range fieldsOf(t, f.val) {
			switch f.num {
			case 1:
				text := string(f.val)
				if !utf8.ValidString(text) || text[0] != '{' || text[len(text)-1] != '}' {
					t.Fatalf("labels %q", text)
				}
				last := ""
				for rest := text[1 : len(text)-1]; rest != ""; {
					m := labelsRE.FindStringSubmatch(rest)
					if m == nil {
						t.Fatalf("labels %q at %q", text, rest)
					}
					v, err := strconv.Unquote(m[2])
					if err != nil || m[1] <= last {
						t.Fatalf("labels %q at %q: %v", text, rest, err)
					}
					s.labels[m[1]], last = v, m[1]
					rest = rest[len(m[0]):]
				}
			case 2:
				e := gotEntry{meta: map[string]string{}}
				for _, f := range fieldsOf(t, f.val) {
					switch f.num {
					case 1:
						for _, f := range fieldsOf(t, f.val) {
							switch f.num {
							case 1:
								e.ns += int64(f.n) * 1e9
							case 2:
								if f.n >= 1e9 {
									t.Fatalf("%d nanoseconds", f.n)
								}
								e.ns += int64(f.n)
							}
						}
					case 2:
						e.line = string(f.val)
					case 3:
						var name, value string
						for _, f := range fieldsOf(t, f.val) {
							switch f.num {
							case 1:
								name = string(f.val)
							case 2:
								value = string(f.val)
							}
						}
						if _, twice := e.meta[name]; twice || !labelsRE.MatchString(name+`=""`) || !utf8.ValidString(value) {
							t.Fatalf("metadata %q=%q", name, value)
						}
						e.meta[name] = value
					default:
						t.Fatalf("field %d in an entry", f.num)
					}
				}
				if !utf8.ValidString(e.line) {
					t.Fatalf("line %q", e.line)
				}
				s.entries = append(s.entries, e)
			default:
				t.Fatalf("field %d in a stream", f.num)
			}
		}
		if len(s.labels) == 0 || len(s.entries) == 0 {
			t.Fatalf("stream %v with %d entries", s.labels, len(s.entries))
		}
		out = append(out, s)
	}
	return out
}

func attrs(kv ...string) (out []record.Attr) {
	for i := 0; i < len(kv); i += 2 {
		out = append(out, record.Attr{Name: kv[i], Value: kv[i+1]})
	}
	return out
}

var (
	cart1 = record.NewStream(attrs("namespace", "shop", "pod", "cart-1", "pod_uid", "u1", "container", "web", "stream", "stdout"), attrs("app.io/x", "1", "9", "2"), nil)
	cart2 = record.NewStream(attrs("namespace", "shop", "pod", "cart-2", "pod_uid", "u2", "container", "web", "stream", "stdout"), nil, nil)
	err1  = record.NewStream(attrs("namespace", "shop", "pod", "cart-1", "container", "web", "stream", "stderr", "team", "a\"b\\\n\xff"), nil, nil)
)

func add(b *record.Batch, s *record.Stream, body string, r record.Record, fields ...string) int {
	sp := b.AppendString(body)
	r.Body, r.Source, r.End = sp, sp, int64(sp.Len)
	r.Stream = b.AddStream(record.StreamRef{Stream: s, Generation: record.ID{Hi: 1, Lo: 2}})
	i := b.Add(r)
	for k := 0; k < len(fields); k += 2 {
		key, _ := b.Key([]byte(fields[k]))
		b.AddField(i, record.Field{Key: key, Val: b.AppendString(fields[k+1])})
	}
	return i
}

func part(b *record.Batch) record.Part {
	if !b.Frozen() {
		b.Freeze()
	}
	return record.NewPart(b, b.Live())
}

func TestAppend(t *testing.T) {
	b := record.NewBatch(nil)
	add(b, cart1, "one", record.Record{Time: testTime, Severity: record.Warn})
	add(b, err1, "two\xff", record.Record{Time: -1})
	add(b, cart2, "three", record.Record{Time: testTime - 5, Flags: record.Partial}, "user.id", "earlier", "user.id", "7", "user_id", "8", "pod", "evil", "9", "x\xff", "weir_id", "evil", "detected_level", "evil", "team", "t")
	b2 := record.NewBatch(nil)
	add(b2, cart1, "four", record.Record{Time: testTime - 5})
	add(b2, err1, "", record.Record{Time: 1e9}, "team", "evil")
	got := decode(t, New(Config{IDs: true, PodLabels: []string{"*"}}).Append(nil, []record.Part{part(b), part(b2)}))
	id := func(b *record.Batch, i int) string { return wire.RecordID(b, i).String() }
	want := []gotStream{
		{map[string]string{"namespace": "shop", "container": "web", "stream": "stdout"}, []gotEntry{
			{testTime - 5, "three", map[string]string{"pod": "cart-2", "pod_uid": "u2", "weir_id": id(b, 2), "weir_partial": "true",
				"user_id": "7", "user_id_": "8", "field_pod": "evil", "_9": "x\ufffd", "field_weir_id": "evil", "field_detected_level": "evil", "team": "t"}},
			{testTime - 5, "four", map[string]string{"pod": "cart-1", "pod_uid": "u1", "weir_id": id(b2, 0), "label_app_io_x": "1", "label_9": "2"}},
			{testTime, "one", map[string]string{"pod": "cart-1", "pod_uid": "u1", "weir_id": id(b, 0), "detected_level": "warn", "label_app_io_x": "1", "label_9": "2"}},
		}},
		{map[string]string{"namespace": "shop", "container": "web", "stream": "stderr", "team": "a\"b\\\n\ufffd"}, []gotEntry{
			{-1, "two\ufffd", map[string]string{"pod": "cart-1", "weir_id": id(b, 1)}},
			{1e9, "", map[string]string{"pod": "cart-1", "weir_id": id(b2, 1), "field_team": "evil"}},
		}},
	}
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("\n got %s\nwant %s", g, w)
	}
}

func TestLabels(t *testing.T) {
	for _, c := range []struct {
		cfg    Config
		stream *record.Stream
		want   map[string]string
	}{
		{Config{}, record.NewStream(nil, nil, nil), map[string]string{"service_name": "unknown_service"}},
		{Config{Labels: []string{"pod", "label_app_io_x", "none"}, Metadata: []string{}}, cart1, map[string]string{"pod": "cart-1", "label_app_io_x": "1"}},
		{Config{}, record.NewStream(attrs("1a.b", "x"), nil, nil), map[string]string{"_1a_b": "x"}},
	} {
		b := record.NewBatch(nil)
		add(b, c.stream, "x", record.Record{})
		got := decode(t, New(c.cfg).Append(nil, []record.Part{part(b)}))
		if fmt.Sprint(got[0].labels) != fmt.Sprint(c.want) {
			t.Errorf("labels %v, want %v", got[0].labels, c.want)
		}
	}
}

func TestTooMuchMetadata(t *testing.T) {
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprint("f", i), "x")
	}
	b := record.NewBatch(nil)
	add(b, cart1, "many", record.Record{}, many...)
	add(b, cart1, "long", record.Record{}, "a", strings.Repeat("x", 100000), "b", "y")
	got := decode(t, New(Config{}).Append(nil, []record.Part{part(b)}))
	if n := len(got[0].entries[0].meta); n != maxMetadata {
		t.Errorf("%d members of metadata", n)
	}
	if n := len(got[0].entries[1].meta); n != 2 {
		t.Errorf("%d members of metadata beside one that is too long", n)
	}
}

func TestEncoderIsUsedAgain(t *testing.T) {
	e := New(Config{IDs: true})
	b := mixed(t)
	first := e.Append(nil, []record.Part{part(b)})
	second := e.Append(nil, []record.Part{part(b)})
	third := e.Clone().Append(nil, []record.Part{part(b)})
	if string(first) != string(second) || string(first) != string(third) {
		t.Error("the same records are encoded in two ways")
	}
	buf := first
	parts := []record.Part{part(b)}
	if n := testing.AllocsPerRun(10, func() { buf = e.Append(buf[:0], parts) }); n > 0 {
		t.Errorf("%v allocations per batch", n)
	}
	n := 0
	for _, s := range decode(t, second) {
		for i, en := range s.entries {
			n++
			if i > 0 && en.ns < s.entries[i-1].ns {
				t.Fatal("entries are out of order")
			}
		}
	}
	if n != b.NumRecords() {
		t.Errorf("%d entries of %d records", n, b.NumRecords())
	}
}

// Label values and metadata come back as they were, whatever is in them, and
// fields cannot claim to be of another pod.
func FuzzFailure111_LabelsStayValues(f *testing.F) {
	f.Add("body", "ns", "name", "value", int64(testTime))
	f.Add("\xff", "\"}, {x=\"", "pod", "evil", int64(-1))
	f.Add("a\nb", "\x00\\", "weir_id", "\xff", int64(1<<63-1))
	f.Fuzz(func(t *testing.T, body, ns, name, val string, at int64) {
		s := record.NewStream(attrs("namespace", ns, "pod", "cart-1", name, val), attrs(name, val), nil)
		b := record.NewBatch(nil)
		add(b, s, body, record.Record{Time: at}, name, val)
		add(b, s, body, record.Record{Time: 0})
		got := decode(t, New(Config{IDs: true, PodLabels: []string{"*"}}).Append(nil, []record.Part{part(b)}))
		if len(got) != 1 || len(got[0].entries) != 2 {
			t.Fatalf("%v", got)
		}
		valid := func(s string) string { return string(wire.AppendText(nil, []byte(s))) }
		if name != "namespace" && got[0].labels["namespace"] != valid(ns) {
			t.Errorf("namespace %q, want %q", got[0].labels["namespace"], ns)
		}
		for _, en := range got[0].entries {
			if en.line != valid(body) || en.ns != at && en.ns != 0 {
				t.Errorf("%q at %d, want %q at %d", en.line, en.ns, body, at)
			}
			if name != "pod" && en.meta["pod"] != "cart-1" {
				t.Errorf("pod %q", en.meta["pod"])
			}
		}
	})
}

// mixed returns a batch as the node agent makes them: 60 % JSON lines of 200
// to 600 bytes, 40 % text, eight containers.
func mixed(t testing.TB) *record.Batch {
	b := record.NewBatch(nil)
	var sc json.Scanner
	for i := range 2000 {
		s := streams[i/10%8]
		pad := strings.Repeat("x", 60+i*7%300)
		body := fmt.Sprintf(`{"ts":"2026-11-22T10:00:00.%06dZ","level":"info","logger":"checkout.cart","msg":"order %d accepted %s","order_id":%d,"user":"u-%d"}`, i, i, pad, i, i)
		if i%5 >= 3 {
			body = fmt.Sprintf(`10.1.2.3 - - [22/Nov/2026:10:00:00 +0000] "GET /cart/%d HTTP/1.1" 200 %d "-" "%s"`, i, i, pad)
		}
		flags := record.ValidUTF8
		if sc.Object([]byte(body)) {
			flags |= record.JSONObject
		}
		add(b, s, body, record.Record{Time: testTime + int64(i^3)*1e6, Flags: flags, Severity: record.Info})
	}
	b.Freeze()
	return b
}

var streams = func() (out []*record.Stream) {
	for i := range 8 {
		out = append(out, record.NewStream(attrs("cluster", "prod", "node", "n1", "namespace", "shop", "pod", fmt.Sprint("cart-", i),
			"container", "web", "workload", fmt.Sprint("deployment/cart", i/2), "stream", "stdout", "input", "kubernetes"), nil, nil))
	}
	return out
}()

func BenchmarkAppend(bm *testing.B) {
	b := mixed(bm)
	n := 0
	for i := range b.NumRecords() {
		n += len(b.Body(i))
	}
	for _, ids := range []bool{false, true} {
		bm.Run(fmt.Sprintf("ids=%v", ids), func(bm *testing.B) {
			e := New(Config{IDs: ids})
			parts := []record.Part{part(b)}
			buf := e.Append(nil, parts)
			bm.SetBytes(int64(n))
			bm.ReportAllocs()
			for bm.Loop() {
				buf = e.Append(buf[:0], parts)
			}
		})
	}
}

func TestParseError(t *testing.T) {
	for _, c := range []struct {
		status         int
		body           string
		kind           Kind
		partial        bool
		ignored, total int
	}{
		{429, "Ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '1' lines totaling '5' bytes, reduce log volume", RateLimited, false, 0, 0},
		{429, "Per stream rate limit exceeded (limit: 3MB/sec) while attempting to ingest for stream '{a=\"b\"}' totaling 5B", RateLimited, false, 0, 0},
		{429, "Maximum active stream limit exceeded when trying to create stream {a=\"b\"}", StreamLimit, false, 0, 0},
		{429, "", RateLimited, false, 0, 0},
		{400, "entry for stream '{a=\"b\"}' has timestamp too old: 2020-01-01T00:00:00Z, oldest acceptable timestamp is: 2026-01-01T00:00:00Z", TooOld, true, 0, 0},
		{400, "entry for stream '{a=\"b\"}' has timestamp too new: 2030-01-01T00:00:00Z", TooNew, true, 0, 0},
		{400, "entry with timestamp 2026-01-12 ignored, reason: 'entry too far behind, oldest acceptable timestamp is: 2026-01-14T20:26:07Z',\nuser 'fake', total ignored: 3 out of 10 for stream: {foo=\"bar\"}", TooFarBehind, true, 3, 10},
		{400, "entry with timestamp x ignored, reason: 'entry out of order' for stream: {a=\"b\"},\ntotal ignored: 1 out of 1", TooFarBehind, true, 1, 1},
		{400, "Max entry size '262144' bytes exceeded for stream '{a=\"b\"}' while adding an entry with length '300000' bytes", LineTooLong, true, 0, 0},
		{400, "stream '{a=\"b\"}' has structured metadata too large: '70000' bytes, limit: '65536' bytes", LineTooLong, true, 0, 0},
		{400, "entry for stream '{a=\"b\"}' has 16 label names; limit 15", InvalidLabels, false, 0, 0},
		{400, "error at least one label pair is required per stream", InvalidLabels, false, 0, 0},
		{500, "<html>oops", Other, false, 0, 0},
	} {
		r := ParseError(c.status, []byte(c.body))
		if r.Kind != c.kind || r.Partial() != c.partial || r.Ignored != c.ignored || r.Total != c.total || !strings.HasPrefix(c.body, r.Message) {
			t.Errorf("%d %s: %+v (%v), partial %v", c.status, c.body, r, r.Kind, r.Partial())
		}
	}
}

func FuzzParseError(f *testing.F) {
	f.Add(400, []byte("total ignored: 99999999999999999999 out of 1"))
	f.Add(429, []byte("\xff"))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		r := ParseError(status, body)
		if r.Ignored > r.Total || r.Ignored < 0 || !utf8.ValidString(r.Message) || len(r.Message) > 3*512 || r.Kind.String() == "" {
			t.Errorf("%+v", r)
		}
	})
}
