package loki

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

const now = testTime + 5

// What is pushed, and how it is written: by protowire, from push.proto alone.

type pushEntry struct {
	ns   int64
	line string
	meta []string
}

type pushStream struct {
	labels  string
	entries []pushEntry
}

func pushBytes(streams ...pushStream) (out []byte) {
	field := func(dst []byte, n protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(dst, n, protowire.BytesType), v)
	}
	for _, s := range streams {
		p := field(nil, 1, []byte(s.labels))
		for _, e := range s.entries {
			sec, nano := split(e.ns)
			ts := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(sec))
			ts = protowire.AppendVarint(protowire.AppendTag(ts, 2, protowire.VarintType), uint64(nano))
			q := field(field(nil, 1, ts), 2, []byte(e.line))
			for k := 0; k < len(e.meta); k += 2 {
				q = field(q, 3, field(field(nil, 1, []byte(e.meta[k])), 2, []byte(e.meta[k+1])))
			}
			q = field(q, 4, field(field(nil, 1, []byte("parsed")), 2, []byte("ignored")))
			p = field(p, 2, q)
		}
		p = protowire.AppendVarint(protowire.AppendTag(p, 3, protowire.VarintType), 1<<63) // hash
		out = field(out, 1, p)
	}
	return out
}

func batchOf(body []byte) (*record.Batch, record.Span) {
	b := record.NewBatch(nil)
	b.AppendString("before it stands something else")
	return b, b.Append(body)
}

func decoder() *Decoder { return NewDecoder(wire.Limits{}, new(wire.StreamCache)) }

// text writes what is in a batch, one line per record.
func text(b *record.Batch) (out []string) {
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

func TestDecodeProtobuf(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 2)
	body := pushBytes(
		pushStream{`{namespace="shop", pod="cart-1"}`, []pushEntry{
			{testTime, "two\nlines \xff", nil},
			{-5, "", []string{"user", "7", "empty", "", "", "nameless"}},
			{testTime, "three", []string{"user", "8", "level", "WARN", "detected_level", "error", "weir_id", id, "weir_partial", "true", "weir_gap", "true", "weir_id", "x"}},
		}},
		pushStream{`{level="debug"}`, []pushEntry{{1, "a", nil}, {2, "b", []string{"severity_number", "13"}}, {3, "c", []string{"detected_level", "odd"}}}},
		pushStream{`{detected_level="fatal", x="\"\u00e4\\"}`, []pushEntry{{1, "d", nil}}},
		pushStream{`{namespace="shop", pod="cart-1"}`, []pushEntry{{7, "again", nil}}},
	)
	b, sp := batchOf(body)
	out, err := decoder().Protobuf(b, sp, "", now)
	if err != nil || out.Refused != 0 || out.Streams != 4 || out.Records != 8 {
		t.Fatalf("%+v, %v", out, err)
	}
	diff(t, text(b),
		`{namespace="shop" pod="cart-1"} 1763805600123456789 unknown "two\nlines \xff"`,
		`{namespace="shop" pod="cart-1"} -5 unknown "" user="7" empty=""`,
		`{namespace="shop" pod="cart-1"} 1763805600123456789 error "three" user="8" level="WARN" weir_gap="true" weir_id="x" id=`+id+` flags=2`,
		`{level="debug"} 1 debug "a"`,
		`{level="debug"} 2 warn "b" severity_number="13"`,
		`{level="debug"} 3 debug "c" detected_level="odd"`,
		`{x="\"ä\\"} 1 fatal "d"`,
		`{namespace="shop" pod="cart-1"} 7 unknown "again"`)
	if b.Stream(0) != b.Stream(7) {
		t.Error("one label set has two Streams")
	}
	r := b.Record(0)
	if r.Observed != now || r.Source != r.Body || r.Body.Off < sp.Off {
		t.Errorf("%+v", r)
	}
}

func TestDecodeJSON(t *testing.T) {
	body := `{"other":[{"a":{}}],"streams":[
	  {"stream":{"namespace":"sh\u006fp","n":1,"n":2},"values":[["1763805600123456789","a \"q\" \ud83d\ude00 \ud800 \n"],["-5","",{"us\u0065r":"\t","b":true}],[7,"x",null,[1]]]},
	  {"values":[["1","lat\u0065"]],"x":null,"stream":{"a":"b"}},
	  {"stream":{},"values":[["2","y",{"level":"info"}]]},
	  {"values":[["3","none"]]},{"stream":{"c":"d"},"values":null},{"stream":{"c":"d"},"values":[]}
	]} `
	b, sp := batchOf([]byte(body))
	out, err := decoder().JSON(b, sp, "t1", now)
	if err != nil || out.Refused != 0 || out.Streams != 6 || out.Records != 6 {
		t.Fatalf("%+v, %v", out, err)
	}
	diff(t, text(b),
		`{__tenant__="t1" n="2" namespace="shop"} 1763805600123456789 unknown "a \"q\" 😀 � \n"`,
		`{__tenant__="t1" n="2" namespace="shop"} -5 unknown "" user="\t" b="true"`,
		`{__tenant__="t1" n="2" namespace="shop"} 7 unknown "x"`,
		`{__tenant__="t1" a="b"} 1 unknown "late"`,
		`{__tenant__="t1"} 2 info "y" level="info"`,
		`{__tenant__="t1"} 3 unknown "none"`)
	if end := sp.End(); b.Len() != int(end) {
		t.Errorf("the buffer has grown from %d to %d bytes", end, b.Len())
	}
}

// A tenant's cached streams are not another's.
func TestDecodeTenants(t *testing.T) {
	d := decoder()
	body := pushBytes(pushStream{`{a="b"}`, []pushEntry{{1, "x", nil}}})
	for _, tenant := range []string{"one", "two", "", "one"} {
		b, sp := batchOf(body)
		if _, err := d.Protobuf(b, sp, tenant, now); err != nil {
			t.Fatal(err)
		}
		if got := b.Stream(0).Get(record.AttrTenant); got != tenant {
			t.Errorf("tenant %q, want %q", got, tenant)
		}
	}
}

func TestParseLabels(t *testing.T) {
	l := wire.Limits{Labels: 3, NameBytes: 5, ValueBytes: 6}.WithDefaults()
	for _, c := range []struct{ text, want, err string }{
		{`{}`, ``, ``},
		{` { a = "b" , c = 'd"' , } `, `a="b" c="d\""`, ``},
		{"{a=`b\\n`}", `a="b\\n"`, ``},
		{`{a="\x41\u00e4\t'"}`, `a="Aä\t'"`, ``},
		{"{a=\"\xff\"}", `a="�"`, ``},
		{`{a="\xff"}`, `a="�"`, ``},
		{`{a="",b="1",a="2"}`, `a="" b="1" a="2"`, ``},
		{``, ``, `labels end at byte 1, expected "{"`},
		{`a`, ``, `labels have 'a' at byte 1, expected "{"`},
		{`{`, ``, `labels end at byte 2, expected "}"`},
		{`{a="b"`, ``, `labels end at byte 7, expected "," or "}"`},
		{`{a="b",`, ``, `labels end at byte 8, expected "}"`},
		{`{a}`, ``, `labels have '}' at byte 3, expected "="`},
		{`{a=b}`, ``, `labels have 'b' at byte 4, expected a quoted value`},
		{`{a="b}`, ``, `labels have '"' at byte 4, expected a quoted value`},
		{`{a="\q"}`, ``, `labels: value of "a" at byte 4: malformed escape`},
		{`{a="b" c="d"}`, ``, `labels have 'c' at byte 8, expected "," or "}"`},
		{`{a.b="c"}`, ``, `labels have '.' at byte 3, expected "="`},
		{`{1="c"}`, ``, `labels have '1' at byte 2, expected a label's name or "}"`},
		{`{"a"="c"}`, ``, `labels have '"' at byte 2, expected a label's name or "}"`},
		{`{a="b"}}`, ``, `labels have '}' at byte 8, expected nothing more`},
		{`{a="1",b="2",c="3",d="4"}`, ``, `more than 3 label names; limit 3`},
		{`{abcdef="1"}`, ``, `label name too long: "abcdef" of 6 bytes; limit 5`},
		{`{a="1234567"}`, ``, `label value too long: "a" has 7 bytes; limit 6`},
	} {
		got, err := parseLabels(nil, []byte(c.text), &l)
		var s []string
		for _, a := range got {
			s = append(s, fmt.Sprintf("%s=%q", a.Name, a.Value))
		}
		if (err != nil || c.err != "") && fmt.Sprint(err) != c.err || strings.Join(s, " ") != c.want {
			t.Errorf("%s: %s, %v; want %s, %s", c.text, s, err, c.want, c.err)
		}
	}
	long := wire.Limits{}.WithDefaults()
	if _, err := parseLabels(nil, []byte(`{__tenant__="x"}`), &long); err == nil || !strings.Contains(err.Error(), "reserved") {
		t.Errorf("__tenant__: %v", err)
	}
}

// What exceeds a limit is left out and named; the rest is taken.
func TestDecodeRefuses(t *testing.T) {
	many := func(n int) (kv []string) {
		for i := range n {
			kv = append(kv, fmt.Sprint("m", i), "x")
		}
		return kv
	}
	body := pushBytes(
		pushStream{`{a="b"}`, []pushEntry{{1, "kept", many(4)}, {2, "", many(5)}, {3, "", []string{"longname", "x"}}, {4, "", []string{"n", strings.Repeat("x", 100)}}, {1 << 62, "kept too", nil}}},
		pushStream{`{a}`, []pushEntry{{1, "x", nil}, {2, "y", nil}}},
		pushStream{`{c="d"}`, []pushEntry{{1, "last", nil}}},
	)
	// A time that no int64 of nanoseconds can say.
	entry := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), protowire.AppendVarint([]byte{8}, 1<<40))
	stream := protowire.AppendBytes(protowire.AppendTag(protowire.AppendBytes([]byte{10}, []byte(`{e="f"}`)), 2, protowire.BytesType), entry)
	body = protowire.AppendBytes(append(body, 10), stream)
	d := NewDecoder(wire.Limits{Metadata: 4, NameBytes: 6, MetadataBytes: 50}, new(wire.StreamCache))
	b, sp := batchOf(body)
	out, err := d.Protobuf(b, sp, "", now)
	if err != nil || out.Refused != 6 || out.Records != 9 || out.Streams != 4 || out.Unlisted != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	diff(t, out.Reasons,
		"stream 1: entry 2: too many structured metadata: 5 pairs; limit 4",
		"stream 1: entry 3: name of structured metadata too long: 8 bytes; limit 6",
		"stream 1: entry 4: structured metadata too large: 101 bytes; limit 50",
		`stream 2: labels have '}' at byte 3, expected "="`,
		"stream 4: entry 1: timestamp is out of the range of years 1678 to 2262")
	diff(t, text(b), `{a="b"} 1 unknown "kept" m0="x" m1="x" m2="x" m3="x"`, `{a="b"} 4611686018427387904 unknown "kept too"`, `{c="d"} 1 unknown "last"`)

	jb, sp := batchOf([]byte(`{"streams":[{"stream":{"a":{}},"values":[["1","x"],["1","y"]]},{"stream":{"a.b":"c"},"values":[["1","x"]]},{"stream":{"__tenant__":"c"},"values":[["1","x"]]},
		{"stream":{"a":"b"},"values":[["99999999999999999999","x"],["1","y",{"a":"1","b":"2","c":"3","d":"4","e":"5","f":"6"}],["1","z"]]}]}`))
	out, err = d.JSON(jb, sp, "", now)
	if err != nil || out.Refused != 6 || out.Records != 7 {
		t.Errorf("%+v, %v", out, err)
	}
	diff(t, out.Reasons, `stream 1: label "a" is not a string`, `stream 2: label name "a.b": byte 2 is not a letter, digit or underscore`,
		`stream 3: label name too long: "__tenant__" of 10 bytes; limit 6`, "stream 4: entry 1: timestamp is out of the range of years 1678 to 2262",
		"stream 4: entry 2: too many structured metadata: 6 pairs; limit 4")
	diff(t, text(jb), `{a="b"} 1 unknown "z"`)
}

func TestDecodeMalformed(t *testing.T) {
	good := pushBytes(pushStream{`{a="b"}`, []pushEntry{{testTime, "line", []string{"k", "v"}}}})
	for n := 1; n < len(good); n++ {
		b, sp := batchOf(good[:n])
		if _, err := decoder().Protobuf(b, sp, "", now); err == nil {
			t.Errorf("cut at %d of %d: taken", n, len(good))
		}
	}
	text := `{"streams":[{"stream":{"a":"b"},"values":[["1","x",{"m":"v"}]]}]}`
	for n := range len(text) {
		b, sp := batchOf([]byte(text[:n]))
		if _, err := decoder().JSON(b, sp, "", now); err == nil {
			t.Errorf("%s: taken", text[:n])
		}
	}
	for _, c := range []struct{ body, err string }{
		{`[]`, "json: unexpected byte at offset 0"},
		{`{"streams":{}}`, "json: unexpected byte at offset 11"},
		{`{"streams":[{"values":[["1"]]}]}`, "stream 1: entry 1: an entry is [timestamp, line], this one has 1 of them"},
		{`{"streams":[{"values":[]},{"values":[["1","x"],["soon","x"]]}]}`, `stream 2: entry 2: timestamp "soon" is not a number of nanoseconds`},
		{`{"streams":[{"values":[["1.5","x"]]}]}`, `stream 1: entry 1: timestamp "1.5" is not a number of nanoseconds`},
		{`{"streams":[{"values":[["1",5]]}]}`, "stream 1: entry 1: line: json: unexpected byte at offset 28"},
		{`{"streams":[{"values":[["1","x",{"a":[]}]]}]}`, `stream 1: entry 1: structured metadata: "a" is not a string`},
		{`{"streams":[{"values":[["1","` + "\n" + `"]]}]}`, "stream 1: json: control byte inside a string at offset 29"},
		{`{"streams":[]}x`, "json: bytes after the object at offset 14"},
		{`{"streams":` + strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100) + `}`, "stream 1: json: unexpected byte at offset 12"},
		{`{"x":` + strings.Repeat(`[`, 1000000), "json: nested deeper than 64 at offset 68"},
	} {
		b, sp := batchOf([]byte(c.body))
		if _, err := decoder().JSON(b, sp, "", now); fmt.Sprint(err) != c.err {
			t.Errorf("%.80s: %v, want %s", c.body, err, c.err)
		}
	}
	for _, c := range []struct{ body, err string }{
		{"\x0a\x02\x12\x05", "stream 1: " + errWire.Error()},
		{"\x0a\x08\x0a\x02{}\x12\x02\x0a\x05", "stream 1: entry 1: " + errWire.Error()},
		{"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "stream 1: " + errWire.Error()},
		{"\x0b", "request: " + errWire.Error()},
		{"\x00", "request: " + errWire.Error()},
	} {
		b, sp := batchOf([]byte(c.body))
		if _, err := decoder().Protobuf(b, sp, "", now); fmt.Sprint(err) != c.err {
			t.Errorf("%x: %v, want %s", c.body, err, c.err)
		}
	}
}

// Requests that are small and say much cost what they are, and no more.
func TestDecodeBombs(t *testing.T) {
	d := NewDecoder(wire.Limits{Entries: 1000}, new(wire.StreamCache))
	// Two bytes per entry.
	entries := strings.Repeat("\x12\x00", 1001)
	for _, labels := range []string{"{}", "{a}"} {
		body := protowire.AppendBytes([]byte{10}, append(protowire.AppendBytes([]byte{10}, []byte(labels)), entries...))
		b, sp := batchOf(body)
		if _, err := d.Protobuf(b, sp, "", now); !errors.Is(err, wire.ErrTooMany) {
			t.Errorf("%s: %v", labels, err)
		}
	}
	// A million labels, a million pairs of metadata, a million streams.
	text := "{" + strings.Repeat(`a="b",`, 1e6) + "}"
	b, sp := batchOf(protowire.AppendBytes([]byte{10}, append(protowire.AppendBytes([]byte{10}, []byte(text)), "\x12\x00"...)))
	out, err := d.Protobuf(b, sp, "", now)
	if err != nil || out.Refused != 1 || !strings.Contains(out.Reasons[0], "more than 64 label names") {
		t.Errorf("%+v, %v", out, err)
	}
	meta := protowire.AppendBytes([]byte{18}, []byte(strings.Repeat("\x1a\x05\x0a\x01a\x12\x00", 1e6)))
	b, sp = batchOf(protowire.AppendBytes([]byte{10}, append(protowire.AppendBytes([]byte{10}, []byte("{}")), meta...)))
	out, err = d.Protobuf(b, sp, "", now)
	if err != nil || out.Refused != 1 || !strings.Contains(out.Reasons[0], "1000000 pairs; limit 128") || len(d.pairs) > 200 {
		t.Errorf("%+v, %v", out, err)
	}
	var streams []byte
	for i := range wire.MaxStreams + 1 {
		streams = protowire.AppendBytes(append(streams, 10), append(protowire.AppendBytes([]byte{10}, fmt.Appendf(nil, `{a="%d"}`, i)), "\x12\x00"...))
	}
	b, sp = batchOf(streams)
	d = decoder()
	if _, err = d.Protobuf(b, sp, "", now); !errors.Is(err, wire.ErrTooMany) {
		t.Errorf("%v", err)
	}
	// Distinct names beyond what a batch has room for.
	var push pushStream
	push.labels = "{}"
	for i := range record.MaxKeys + 1 {
		push.entries = append(push.entries, pushEntry{int64(i), "x", []string{fmt.Sprint("k", i), "v"}})
	}
	b, sp = batchOf(pushBytes(push))
	out, err = d.Protobuf(b, sp, "", now)
	if err != nil || out.Refused != 1 || !strings.Contains(out.Reasons[0], "names of structured metadata in a request") {
		t.Errorf("%+v, %v", out, err)
	}
}

// What weir's own encoder writes comes back.
func TestRoundTrip(t *testing.T) {
	b := record.NewBatch(nil)
	add(b, cart1, "one", record.Record{Time: testTime, Severity: record.Warn})
	add(b, cart2, "two", record.Record{Time: testTime + 1, Flags: record.Partial | record.Continued | record.ParseError}, "user", "7")
	add(b, err1, "three", record.Record{Time: -1})
	body := New(Config{IDs: true, PodLabels: []string{"*"}}).Append(nil, []record.Part{part(b)})
	got, sp := batchOf(body)
	if out, err := decoder().Protobuf(got, sp, "", now); err != nil || out.Refused != 0 {
		t.Fatal(out, err)
	}
	id := func(i int) string { return wire.RecordID(b, i).String() }
	diff(t, text(got),
		`{container="web" namespace="shop" stream="stdout"} 1763805600123456789 warn "one" pod="cart-1" pod_uid="u1" label_9="2" label_app_io_x="1" id=`+id(0),
		`{container="web" namespace="shop" stream="stdout"} 1763805600123456790 unknown "two" pod="cart-2" pod_uid="u2" user="7" id=`+id(1)+` flags=262`,
		`{container="web" namespace="shop" stream="stderr" team="a\"b\\\n�"} -1 unknown "three" pod="cart-1" id=`+id(2))
	all := mixed(t)
	got, sp = batchOf(New(Config{}).Append(nil, []record.Part{part(all)}))
	out, err := decoder().Protobuf(got, sp, "", now)
	if err != nil || out.Records != all.NumRecords() {
		t.Fatal(out, err)
	}
	lines := map[string]int{}
	for i := range all.NumRecords() {
		lines[fmt.Sprint(all.Record(i).Time, string(all.Body(i)))]++
		lines[fmt.Sprint(got.Record(i).Time, string(got.Body(i)))]--
	}
	for l, n := range lines {
		if n != 0 {
			t.Errorf("%d times: %s", n, l)
		}
	}
}

func check(t *testing.T, b *record.Batch, out wire.Outcome, err error) {
	if err != nil {
		return
	}
	if b.NumRecords()+out.Refused != out.Records || len(out.Reasons) > wire.MaxReasons {
		t.Fatalf("%d records, %+v", b.NumRecords(), out)
	}
	text(b) // reads every span
	for i := range b.NumRecords() {
		if b.Stream(i).Get(record.AttrTenant) != "t" {
			t.Fatal("another tenant")
		}
	}
}

func FuzzDecodeProtobuf(f *testing.F) {
	f.Add(pushBytes(pushStream{`{a="b", level="info"}`, []pushEntry{{testTime, "line", []string{"k", "v", "detected_level", "warn"}}, {-1, "", nil}}}))
	f.Add([]byte("\x0a\x04\x12\x02\x0a\x05"))
	f.Fuzz(func(t *testing.T, body []byte) {
		b, sp := batchOf(body)
		out, err := decoder().Protobuf(b, sp, "t", now)
		check(t, b, out, err)
	})
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"streams":[{"stream":{"a":"\u0062"},"values":[["1","x\ud83d\ude00\n",{"m":"v","n":null}],[5,"y"]]},{"values":[["2","\"z"]],"stream":{"level":"warn"}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		b, sp := batchOf(body)
		out, err := decoder().JSON(b, sp, "t", now)
		check(t, b, out, err)
	})
}

func FuzzParseLabels(f *testing.F) {
	f.Add([]byte("{a=\"b\\n\", c='d', e=`f`}"))
	l := wire.Limits{}.WithDefaults()
	f.Fuzz(func(t *testing.T, p []byte) {
		attrs, err := parseLabels(nil, p, &l)
		if err != nil && attrs != nil || len(attrs) > l.Labels {
			t.Fatal(attrs, err)
		}
		for _, a := range attrs {
			if labelName(a.Name) != a.Name || a.Name == record.AttrTenant || !strings.Contains(string(p), a.Name) {
				t.Fatalf("%q", a)
			}
		}
	})
}

func TestDecodeAllocatesNothingPerRecord(t *testing.T) {
	body := New(Config{}).Append(nil, []record.Part{part(mixed(t))})
	d := decoder()
	b := record.NewBatch(nil)
	run := func() {
		b.Reset(nil)
		if _, err := d.Protobuf(b, b.Append(body), "", now); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(10, run); n > 10 { // the batch's key table is made anew
		t.Errorf("%v allocations for %d records", n, b.NumRecords())
	}
}

func BenchmarkDecode(bm *testing.B) {
	pb := New(Config{}).Append(nil, []record.Part{part(mixed(bm))})
	src, sp := batchOf(pb)
	if _, err := decoder().Protobuf(src, sp, "", now); err != nil {
		bm.Fatal(err)
	}
	text := jsonOf(src)
	for _, c := range []struct {
		name   string
		body   []byte
		decode func(d *Decoder, b *record.Batch, s record.Span) error
	}{
		{"protobuf", pb, func(d *Decoder, b *record.Batch, s record.Span) error {
			_, err := d.Protobuf(b, s, "", now)
			return err
		}},
		{"json", text, func(d *Decoder, b *record.Batch, s record.Span) error { _, err := d.JSON(b, s, "", now); return err }},
	} {
		bm.Run(c.name, func(bm *testing.B) {
			d := decoder()
			b := record.NewBatch(nil)
			bm.SetBytes(int64(len(c.body)))
			bm.ReportAllocs()
			for bm.Loop() {
				b.Reset(nil)
				if err := c.decode(d, b, b.Append(c.body)); err != nil {
					bm.Fatal(err)
				}
			}
			bm.ReportMetric(float64(bm.Elapsed().Nanoseconds())/float64(bm.N*b.NumRecords()), "ns/record")
		})
	}
}

// jsonOf writes the records of b as a JSON push, one stream per run of records.
func jsonOf(b *record.Batch) []byte {
	out := []byte(`{"streams":[`)
	for i := range b.NumRecords() {
		if i == 0 || b.Record(i).Stream != b.Record(i-1).Stream {
			if i > 0 {
				out = append(out, `]},`...)
			}
			out = append(out, `{"stream":{`...)
			for k, a := range b.Stream(i).Attrs() {
				if k > 0 {
					out = append(out, ',')
				}
				out = fmt.Appendf(out, "%q:%q", a.Name, a.Value)
			}
			out = append(out, `},"values":[`...)
		} else {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, `["%d",%s,{`, b.Record(i).Time, json.AppendString(nil, b.Body(i)))
		for k, f := range b.Fields(i) {
			if k > 0 {
				out = append(out, ',')
			}
			out = fmt.Appendf(out, "%q:%s", b.KeyName(f.Key), json.AppendString(nil, b.Bytes(f.Val)))
		}
		out = append(out, "}]"...)
	}
	return append(out, "]}]}"...)
}
