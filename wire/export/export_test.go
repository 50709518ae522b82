package export

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlog/weir/record"
)

func attrs(kv ...string) []record.Attr {
	var out []record.Attr
	for i := 0; i < len(kv); i += 2 {
		out = append(out, record.Attr{Name: kv[i], Value: kv[i+1]})
	}
	return out
}

func testRows() []*Row {
	a := NewStream(attrs("app", "shop", "pod", "web-1"))
	b := NewStream(attrs("app", `q"uo\te`, "detected_level", "error", "path", "/a b,c"))
	c := NewStream(nil)
	return []*Row{
		{Time: 1_700_000_000_000_000_000, Line: []byte("plain"), Stream: a},
		{Time: 1_700_000_000_120_000_000, Line: []byte(`{"a":"b"}`), Stream: a, Meta: attrs("detected_level", "info", "trace", "4bf9")},
		{Time: 1_700_000_000_000_000_001, Line: nil, Stream: b, Meta: attrs("level", "warn"), Parsed: attrs("app", "other", "z", "é\n")},
		{Time: -5, Line: []byte("a\nb\r,\t\x00\x1b\u2028é\xff"), Stream: c, Meta: attrs("detected_level", "unknown")},
		{Time: 0, Line: []byte(` leading, "space"`), Stream: c, Parsed: attrs("pod", "x")},
		{Time: 9_000_000_000_000_000_000, Line: []byte(`\.`), Stream: a, Meta: attrs("pod", "own"), Parsed: attrs("", "")},
	}
}

func encode(t *testing.T, format string, columns []string, rows []*Row) []byte {
	t.Helper()
	e, err := New(format, columns)
	if err != nil {
		t.Fatal(err)
	}
	out := e.Head(nil)
	for _, r := range rows {
		out = e.Append(out, r)
	}
	return out
}

func toMap(lists ...[]record.Attr) map[string]string {
	m := map[string]string{}
	for _, ls := range lists {
		for _, l := range ls {
			m[l.Name] = l.Value
		}
	}
	return m
}

// What encoding/json reads is what was meant.
func TestJSONLines(t *testing.T) {
	rows := testRows()
	dec := json.NewDecoder(bytes.NewReader(encode(t, JSONL, nil, rows)))
	dec.DisallowUnknownFields()
	for i, r := range rows {
		var got struct {
			Time                     string
			Line                     string
			Labels, Metadata, Parsed map[string]string
		}
		if err := dec.Decode(&got); err != nil {
			t.Fatalf("row %d: %v", i, err)
		}
		line, _ := json.Marshal(string(r.Line))
		var want string
		_ = json.Unmarshal(line, &want)
		if got.Line != want || got.Time != time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano) || !maps.Equal(got.Labels, toMap(r.Stream.Labels)) ||
			!maps.Equal(got.Metadata, toMap(r.Meta)) || !maps.Equal(got.Parsed, toMap(r.Parsed)) {
			t.Errorf("row %d: %+v", i, got)
		}
	}
}

// The bytes are those of encoding/csv.
func TestCSV(t *testing.T) {
	rows := testRows()
	var want bytes.Buffer
	w := csv.NewWriter(&want)
	_ = w.Write(Columns)
	for _, r := range rows {
		all := toMap(r.Stream.Labels, r.Meta, r.Parsed)
		delete(all, "detected_level")
		_ = w.Write([]string{time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano), r.Level(), labelText(all), string(r.Line)})
	}
	w.Flush()
	if d := cmp.Diff(want.String(), string(encode(t, CSV, nil, rows))); d != "" {
		t.Error(d)
	}
	got := string(encode(t, CSV, []string{"pod", "trace", "a,b", "line", "level"}, rows[1:3]))
	if want := "pod,trace,\"a,b\",line,level\nweb-1,4bf9,,\"{\"\"a\"\":\"\"b\"\"}\",info\n,,,,error\n"; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func labelText(m map[string]string) string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	for i := range names {
		for k := range i {
			if names[i] < names[k] {
				names[i], names[k] = names[k], names[i]
			}
		}
	}
	for i, n := range names {
		names[i] = n + "=" + strconv.Quote(m[n])
	}
	return "{" + strings.Join(names, ", ") + "}"
}

func FuzzCSV(f *testing.F) {
	for _, s := range []string{"", `"`, ",", " x", "a\nb", `\.`, "\u00a0x", "\xff\"\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var want bytes.Buffer
		w := csv.NewWriter(&want)
		_ = w.Write([]string{"x", string(line)})
		w.Flush()
		if got := string(appendField([]byte("x,"), line)) + "\n"; got != want.String() {
			t.Errorf("%q, encoding/csv writes %q", got, want.String())
		}
	})
}

func TestRaw(t *testing.T) {
	if got := string(encode(t, Raw, nil, testRows()[:3])); got != "plain\n{\"a\":\"b\"}\n\n" {
		t.Errorf("%q", got)
	}
}

func TestFormats(t *testing.T) {
	for _, f := range Formats {
		if _, err := New(f, nil); err != nil || ContentType(f) == "" {
			t.Errorf("%s: %v", f, err)
		}
	}
	if _, err := New("xml", nil); err == nil || !strings.Contains(err.Error(), "jsonl, csv, raw, rows") {
		t.Error(err)
	}
}

func TestRowsRoundTrip(t *testing.T) {
	rows := testRows()
	e, _ := New(Rows, nil)
	var d Decoder
	var got []string
	show := func(r *Row) string {
		return fmt.Sprintf("%d %q %v %v %v", r.Time, r.Line, r.Stream.Labels, r.Meta, r.Parsed)
	}
	var want []string
	for range 3 { // pieces
		var p []byte
		for _, r := range rows {
			p = e.Append(p, r)
			want = append(want, show(r))
		}
		err := d.Decode(p, func(r *Row) error { got = append(got, show(r)); return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	norm := func(list []string) []string {
		for i := range list {
			list[i] = strings.ReplaceAll(list[i], "<nil>", "[]")
		}
		return list
	}
	if d := cmp.Diff(norm(want), norm(got)); d != "" {
		t.Error(d)
	}
	stop := errors.New("stop")
	e, _ = New(Rows, nil)
	p := e.Append(nil, &Row{Stream: NewStream(nil)})
	if err := new(Decoder).Decode(p, func(*Row) error { return stop }); err != stop {
		t.Error(err)
	}
}

func FuzzRows(f *testing.F) {
	e, _ := New(Rows, nil)
	var p []byte
	for _, r := range testRows() {
		p = e.Append(p, r)
	}
	f.Add(p)
	f.Add([]byte{0, 0, 1, 2})
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, p []byte) {
		var d Decoder
		var again []byte
		enc, _ := New(Rows, nil)
		var rows int
		err := d.Decode(p, func(r *Row) error {
			again = enc.Append(again, r)
			rows++
			return nil
		})
		if err != nil {
			return
		}
		n := 0
		var e Decoder
		if err := e.Decode(again, func(*Row) error { n++; return nil }); err != nil || n != rows {
			t.Errorf("%d rows, want %d: %v", n, rows, err)
		}
	})
}

func TestFrames(t *testing.T) {
	list := []Frame{
		{Kind: Data, Safe: true, Rows: 3, Raw: 1 << 40, First: -5, Last: 1 << 62, Data: []byte("some rows")},
		{Kind: Data, Rows: 1, Data: []byte{}},
		{Kind: Error, Rows: 500, Data: []byte("no")},
		{Kind: End, Data: []byte{}},
	}
	var b []byte
	for i := range list {
		b = append(list[i].AppendHeader(b, len(list[i].Data)), list[i].Data...)
	}
	r := bytes.NewReader(b)
	for i := range list {
		var f Frame
		if err := ReadFrame(r, &f, make([]byte, 0, 4)); err != nil || !reflect.DeepEqual(f, list[i]) {
			t.Errorf("frame %d: %+v, %v", i, f, err)
		}
	}
	var f Frame
	if err := ReadFrame(r, &f, nil); err != io.ErrUnexpectedEOF {
		t.Errorf("at the end: %v", err)
	}
	for i := range len(b) - 1 {
		r := bytes.NewReader(b[:i])
		var err error
		for err == nil {
			err = ReadFrame(r, &f, nil)
		}
		if err != io.ErrUnexpectedEOF {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if err := ReadFrame(strings.NewReader(strings.Repeat("<html>", 20)), &f, nil); err == nil {
		t.Error("a page of a proxy is taken for a frame")
	}
}

func TestStreams(t *testing.T) {
	var s Streams
	a := attrs("app", "shop", "pod", "web-1")
	one := s.Get(a)
	a[1].Value = "web-2" // the caller's to use again
	two := s.Get(a)
	a[1].Value = "web-1"
	if one == two || s.Get(a) != one || one.Labels[1].Value != "web-1" {
		t.Errorf("%v %v", one.Labels, two.Labels)
	}
	for i := range 2000 {
		s.Get(attrs("pod", strconv.Itoa(i)))
	}
	if s.Get(a) != one {
		t.Error("a stream is known no more")
	}
}

func BenchmarkEncode(b *testing.B) {
	row := &Row{
		Time: 1_700_000_000_000_000_000, Stream: NewStream(attrs("app", "shop", "container", "web", "namespace", "shop", "node", "node-1", "pod", "web-7d9c5b6f4-x1")),
		Line: []byte(`{"ts":"2026-11-22T10:00:00.000Z","level":"info","logger":"checkout.cart","msg":"order 5 accepted","order_id":5,"amount":12.5,"user":"u-5","path":"/cart/5"}`),
		Meta: attrs("detected_level", "info", "trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
	}
	for _, format := range Formats {
		b.Run(format, func(b *testing.B) {
			e, _ := New(format, nil)
			var buf []byte
			b.SetBytes(int64(len(row.Line)))
			b.ReportAllocs()
			for b.Loop() {
				row.Time += 1_000_000
				buf = e.Append(buf[:0], row)
			}
		})
	}
}
