package wire

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// one returns a frozen batch of one record with that body. A body that is a
// JSON object is flagged as the parsing step does it.
func one(t testing.TB, s *record.Stream, body string, fields ...field) *record.Batch {
	t.Helper()
	b := record.NewBatch(nil)
	sp := b.AppendString(body)
	r := record.Record{Body: sp, Source: sp, End: int64(sp.Len), Time: 1763805600123456789}
	r.Stream = b.AddStream(record.StreamRef{Stream: s, Generation: record.ID{Hi: 1, Lo: 2}})
	var sc json.Scanner
	if sc.Object([]byte(body)) {
		r.Flags |= record.JSONObject | record.ValidUTF8
		r.KnownKeys = sc.Known
	}
	i := b.Add(r)
	for _, f := range fields {
		k, ok := b.Key([]byte(f.name))
		if !ok {
			t.Fatal("no key")
		}
		b.AddField(i, record.Field{Key: k, Kind: f.kind, Val: b.AppendString(f.val)})
	}
	b.Freeze()
	return b
}

type field struct {
	name string
	kind record.Kind
	val  string
}

var shop = record.NewStream([]record.Attr{
	{Name: record.AttrNamespace, Value: "shop"}, {Name: record.AttrPod, Value: "Cart-1"}, {Name: "team", Value: "Blue/Green"},
}, []record.Attr{{Name: "app.kubernetes.io/name", Value: "cart"}}, nil)

var generation = record.ID{Hi: 0x0123456789abcdef, Lo: 0xfedcba9876543210}

// The vectors were made with libxxhash 0.8.1, not with this code; they stand
// in docs/formats/ids.md, too.
var vectors = []struct {
	start, end int64
	source, id string
}{
	{0, 0, "", "86adf6a7abb386d5ebddfb72e174f7c6"},
	{0, 6, "hello", "d47b7cfeafa78bc2ab36af1bcecd5b37"},
	{6, 12, "hello", "2c7b9671c96ab315f1503671436f4dee"},
	{1 << 40, 1<<40 + 17, "größer\x00\xff", "47b59f08415911712379e18f98ef230e"},
	{0, 1001, strings.Repeat("a", 1000), "9fe84ff1ab0bcb4ca998a25048da6449"},
}

func TestSourceIDVectors(t *testing.T) {
	doc, err := os.ReadFile("../docs/formats/ids.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		if got := SourceID(generation, v.start, v.end, []byte(v.source)).String(); got != v.id {
			t.Errorf("SourceID(%d, %d, %.10q) = %s, want %s", v.start, v.end, v.source, got, v.id)
		}
		if !strings.Contains(string(doc), v.id) {
			t.Errorf("docs/formats/ids.md lacks %s", v.id)
		}
	}
}

func TestRecordID(t *testing.T) {
	b := record.NewBatch(nil)
	gen := b.AddStream(record.StreamRef{Stream: shop, Generation: generation})
	none := b.AddStream(record.StreamRef{Stream: shop})
	src := b.AppendString("hello")
	changed := b.AppendString("HELLO")
	b.Add(record.Record{Stream: gen, Start: 0, End: 6, Source: src, Body: src})
	b.Add(record.Record{Stream: gen, Start: 0, End: 6, Source: src, Body: changed})
	b.Add(record.Record{Stream: none, Source: src, Body: src})
	b.Add(record.Record{Stream: gen, Start: 0, End: 6, Source: src, Body: src})
	sent := record.ID{Hi: 7, Lo: 9}
	b.SetID(3, sent)
	b.Freeze()
	want := vectors[1].id
	if got := RecordID(b, 0).String(); got != want {
		t.Errorf("id = %s, want %s", got, want)
	}
	if got := RecordID(b, 1).String(); got != want {
		t.Errorf("id of a rewritten body = %s, want %s: steps must not change ids", got, want)
	}
	if got := RecordID(b, 2); !got.IsZero() {
		t.Errorf("id without generation = %v, want none", got)
	}
	if got := RecordID(b, 3); got != sent {
		t.Errorf("sender's id = %v, want %v", got, sent)
	}
	if n := testing.AllocsPerRun(100, func() { RecordID(b, 0) }); n != 0 {
		t.Errorf("RecordID allocates %v times", n)
	}
}

func TestAppendID(t *testing.T) {
	ids := []record.ID{{}, generation, {Hi: ^uint64(0), Lo: 1}, {Hi: 1 << 63, Lo: 0x00ff00ff00ff00ff}}
	for c := range uint64(256) {
		ids = append(ids, record.ID{Hi: c << (c % 57), Lo: c * 0x0101010101010101})
	}
	for _, id := range ids {
		if got := string(AppendID([]byte("x"), id)); got != "x"+id.String() {
			t.Errorf("AppendID = %s, want x%s", got, id)
		}
	}
}

func BenchmarkRecordID(bm *testing.B) {
	b := one(bm, shop, strings.Repeat("a log line of some length ", 12))
	bm.SetBytes(int64(len(b.Body(0))))
	bm.ReportAllocs()
	for bm.Loop() {
		RecordID(b, 0)
	}
}

func TestStreamsBounded(t *testing.T) {
	built := 0
	s := NewStreams(func(*record.Stream) *int { built++; n := built; return &n })
	b := one(t, shop, "x")
	s.Use(b)
	first := *s.Get(0)
	s.Use(b)
	if again := *s.Get(0); again != first || built != 1 {
		t.Errorf("built %d times, entry %d then %d", built, first, again)
	}
	// A stream that stays in use is made once, however many others come and go.
	for i := range 3 * MaxCachedStreams {
		s.Use(one(t, record.NewStream([]record.Attr{{Name: "pod", Value: fmt.Sprint(i)}}, nil, nil), "x"))
		s.Get(0)
		if n := len(s.known) + len(s.old); n > MaxCachedStreams+1 {
			t.Fatalf("%d streams kept", n)
		}
		if i%100 == 0 {
			s.Use(b)
			if *s.Get(0) != first {
				t.Fatal("made again")
			}
		}
	}
	// A batch that is used again for other streams must not show the old ones.
	b2 := one(t, record.NewStream(nil, nil, nil), "y")
	s.Use(b2)
	if *s.Get(0) == first {
		t.Error("another stream's entry")
	}
}

func TestChoose(t *testing.T) {
	set := []record.Attr{{Name: "app"}, {Name: "app.kubernetes.io/name"}, {Name: "team"}}
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, ""},
		{[]string{"team", "app"}, "app team"},
		{[]string{"app.*"}, "app.kubernetes.io/name"},
		{[]string{"*"}, "app app.kubernetes.io/name team"},
		{[]string{"*", "app"}, "app app.kubernetes.io/name team"},
		{[]string{"nope"}, ""},
	} {
		var got []string
		for _, a := range Choose(set, c.names) {
			got = append(got, a.Name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("Choose(%q) = %q, want %q", c.names, got, c.want)
		}
	}
}

func TestAppendText(t *testing.T) {
	for _, s := range []string{"", "abc", "größer", "a\xffb", "\xff\xfe", "ab\xc3", "\xed\xa0\x80", "\xf0\x9f\x98\x80!", "\xf0\x9f\x98"} {
		want := ""
		for _, r := range s { // range decodes like AppendText must
			want += string(r)
		}
		if got := string(AppendText(nil, []byte(s))); got != want {
			t.Errorf("AppendText(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestAppendFlags(t *testing.T) {
	for f, want := range map[record.Flags]string{
		record.Partial: `"weir":{"partial":true}`,
		record.Continued | record.Partial | record.Gap | record.ParseError | record.JSONObject: `"weir":{"partial":true,"continued":true,"gap":true,"parse_error":true}`,
	} {
		if got := string(AppendFlags(nil, f)); got != want {
			t.Errorf("AppendFlags = %s, want %s", got, want)
		}
	}
}
