package columns

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/weirlog/weir/record"
)

// testRow is a Row that owns its bytes.
type testRow struct {
	Row
	fields map[string]string
}

// sample makes rows of a few streams, of all kinds of bodies.
func sample(seed uint64, streams, rows int) ([]Stream, []testRow) {
	r := rand.New(rand.NewPCG(seed, 1))
	var ss []Stream
	for i := range streams {
		s := Stream{ID: uint64(i)*0x9e3779b97f4a7c15 + 1, Labels: []Attr{{Name: "namespace", Value: fmt.Sprint("ns", i%3)}, {Name: "pod", Value: fmt.Sprint("pod-", i)}}}
		if i%2 == 0 {
			s.Labels = append(s.Labels, Attr{Name: "stream", Value: "stdout"}, Attr{Name: "time", Value: "label called time"})
			s.Resource = []Attr{{Name: "pod_uid", Value: fmt.Sprintf("%032x", i)}}
		}
		ss = append(ss, s)
	}
	counts := make([]int, streams)
	for range rows {
		counts[min(r.IntN(streams), r.IntN(streams))]++
	}
	var out []testRow
	for i, n := range counts {
		at := int64(1_700_000_000_000_000_000) + r.Int64N(1e12)
		for range n {
			at += r.Int64N(1e7)
			t := testRow{Row: Row{Stream: uint32(i), Time: at, Severity: record.Severity(r.IntN(25))}}
			switch r.IntN(10) {
			case 0:
				t.Body = []byte("")
			case 1:
				t.Body = []byte("plain text " + strings.Repeat("word ", r.IntN(40)))
			default:
				st := []string{"200", "404", "503"}[r.IntN(3)]
				t.Body = fmt.Appendf(nil, `{"time":"%d","level":"info","id":"%016x","http_status":%s,"msg":%q,"nested":{"a":1},"nested_a":"x"}`, at, r.Uint64(), st, strings.Repeat("lorem ", r.IntN(50)))
				t.fields = members(t.Body)
			}
			switch r.IntN(4) {
			case 0:
				t.Attrs = AppendAttrs(nil, []Attr{{Name: "trace_id", Value: fmt.Sprintf("%032x", r.Uint64())}})
			case 1:
				t.Attrs = AppendAttrs(nil, []Attr{{Name: "team", Value: "a\"b"}})
			}
			out = append(out, t)
		}
	}
	return ss, out
}

// members are the scalar members of an object, without empty ones.
func members(body []byte) map[string]string {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		panic(err)
	}
	out := map[string]string{}
	for k, v := range m {
		if s := fmt.Sprint(v); k != "nested" && s != "" {
			out[k] = s
		}
	}
	return out
}

func write(t testing.TB, w *Writer, ss []Stream, rows []testRow) (file, idx []byte, x *Index) {
	t.Helper()
	var buf bytes.Buffer
	if err := w.Reset(&buf, ss); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if err := w.Add(&rows[i].Row); err != nil {
			t.Fatal(err)
		}
	}
	made, filter, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	idx = AppendIndex(nil, made, filter)
	if x, err = ParseIndex(idx); err != nil {
		t.Fatal(err)
	}
	made.Filter.Off = x.Filter.Off
	if x.FileSize != int64(buf.Len()) || int64(len(idx)) != x.Filter.Off+x.Filter.Size() {
		t.Fatalf("file %d bytes, index says %d; index %d bytes, says %d", buf.Len(), x.FileSize, len(idx), x.Filter.Off+x.Filter.Size())
	}
	return buf.Bytes(), idx, x
}

func newWriter(t testing.TB) *Writer {
	w, err := NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func stored(file []byte, p Page) []byte { return file[p.Off : p.Off+int64(p.Size)] }

func TestRoundTrip(t *testing.T) {
	w := newWriter(t)
	for seed := range uint64(6) {
		ss, rows := sample(seed, 1+int(seed)*7, []int{1, 100, 3000, 9000, 30000, 20000}[seed])
		file, _, x := write(t, w, ss, rows)
		checkPages(t, x, file, rows)
		checkParquet(t, x, file, ss, rows)
	}
}

// checkPages decodes every page by the index.
func checkPages(t *testing.T, x *Index, file []byte, rows []testRow) {
	t.Helper()
	d, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if int(x.Rows) != len(rows) {
		t.Fatalf("%d rows of %d", x.Rows, len(rows))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dictionary, err := d.AttrValues(x, stored(file, x.AttrDict))
	must(err)
	values := make([][]string, len(x.Fields))
	for i, f := range x.Fields {
		values[i], err = Values(f.Dict, f.Values, stored(file, f.Dict))
		must(err)
	}
	if _, ok := x.FindField("nested_a"); ok {
		t.Error("nested_a is promoted although nested has a member a")
	}
	if _, ok := x.FindField("http_status"); !ok && len(rows) > 1000 {
		t.Error("http_status is not promoted")
	}
	n := 0
	for i := range x.Spans {
		s := &x.Spans[i]
		times, err := d.Times(nil, s, stored(file, s.Time))
		must(err)
		sevs, err := d.Severities(nil, s, stored(file, s.Severity))
		must(err)
		refs, texts, err := d.Attrs(nil, x, s, dictionary, stored(file, s.Attrs))
		must(err)
		js, err := d.JSON(s, stored(file, s.JSON))
		must(err)
		var fields [][]int32
		for f := range x.Fields {
			idx, err := d.Field(nil, x, f, s, stored(file, s.Fields[f]))
			must(err)
			fields = append(fields, slices.Clone(idx))
		}
		var buf []byte
		var spans []record.Span
		block := s.Block
		b := &x.Blocks[block]
		buf, spans, err = d.Body(nil, nil, b, stored(file, b.Body))
		must(err)
		for j := range int(s.Rows) {
			want := rows[n]
			if n >= int(b.Row+b.Rows) {
				block++
				b = &x.Blocks[block]
				buf, spans, err = d.Body(nil, nil, b, stored(file, b.Body))
				must(err)
			}
			sp := spans[n-int(b.Row)]
			if body := buf[sp.Off:sp.End()]; !bytes.Equal(body, want.Body) {
				t.Fatalf("row %d: body %q, want %q", n, body, want.Body)
			}
			if times[j] != want.Time || sevs[j] != want.Severity {
				t.Fatalf("row %d: %d %d, want %d %d", n, times[j], sevs[j], want.Time, want.Severity)
			}
			attrs := ""
			if refs[j] != Null {
				attrs = texts[refs[j]]
			}
			if attrs != string(want.Attrs) {
				t.Fatalf("row %d: attributes %q, want %q", n, attrs, want.Attrs)
			}
			if got := js[j>>3]>>(j&7)&1 == 1; got != (want.fields != nil) {
				t.Fatalf("row %d: object %v", n, got)
			}
			for f, name := range x.Fields {
				want, ok := want.fields[name.Name]
				if !ok && fields[f][j] != Null || ok && (fields[f][j] == Null || values[f][fields[f][j]] != want) {
					t.Fatalf("row %d: field %s is %d, want %q", n, name.Name, fields[f][j], want)
				}
			}
			if st := x.Streams[x.StreamAt(uint32(n))]; st.Row > uint32(n) || st.Row+st.Rows <= uint32(n) {
				t.Fatalf("row %d: stream", n)
			}
			n++
		}
	}
	if n != len(rows) {
		t.Fatalf("%d rows of %d in pages", n, len(rows))
	}
}

// checkParquet reads the file with parquet-go's own reader.
func checkParquet(t *testing.T, x *Index, file []byte, ss []Stream, rows []testRow) {
	t.Helper()
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	kv, _ := f.Lookup(rolesKey)
	var roles []role
	if err := json.Unmarshal([]byte(kv), &roles); err != nil {
		t.Fatal(err)
	}
	r := parquet.NewReader(f)
	defer r.Close()
	cols := f.Schema().Columns()
	if len(cols) != len(roles) {
		t.Fatalf("%d columns, %d roles", len(cols), len(roles))
	}
	byName := map[string]role{}
	for _, r := range roles {
		byName[r.Column] = r
	}
	buf := make([]parquet.Row, 100)
	n := 0
	for {
		k, err := r.ReadRows(buf)
		for _, row := range buf[:k] {
			want := rows[n]
			labels := 0
			for _, v := range row {
				role := byName[cols[v.Column()][0]]
				ok := true
				switch role.Role {
				case "body":
					ok = bytes.Equal(v.ByteArray(), want.Body)
				case "time":
					ok = v.Int64() == want.Time
				case "severity":
					ok = v.Int32() == int32(want.Severity)
				case "stream":
					ok = v.Uint64() == ss[want.Stream].ID
				case "attributes":
					ok = v.IsNull() == (want.Attrs == nil) && string(v.ByteArray()) == string(want.Attrs)
				case "json":
					ok = v.Boolean() == (want.fields != nil)
				case "resource":
					ok = string(v.ByteArray()) == string(AppendAttrs(nil, ss[want.Stream].Resource))
				case "label":
					if !v.IsNull() {
						ok = slices.Contains(ss[want.Stream].Labels, Attr{Name: role.Name, Value: string(v.ByteArray())})
						labels++
					}
				case "field":
					w, has := want.fields[role.Name]
					ok = v.IsNull() == !has && string(v.ByteArray()) == w
				default:
					t.Fatalf("column %q has no role", cols[v.Column()])
				}
				if !ok {
					t.Fatalf("row %d: %+v is %v, of %+v", n, role, v, want.Row)
				}
			}
			if labels != len(ss[want.Stream].Labels) {
				t.Fatalf("row %d: %d labels", n, labels)
			}
			n++
		}
		if err != nil {
			break
		}
	}
	if n != len(rows) {
		t.Fatalf("parquet-go read %d rows of %d", n, len(rows))
	}
}

func TestFilterHasNoFalseNegatives(t *testing.T) {
	w := newWriter(t)
	ss, rows := sample(3, 9, 20000)
	_, idx, x := write(t, w, ss, rows)
	read := func(off int64, size int) ([]byte, error) { return idx[off:][:size], nil }
	r := rand.New(rand.NewPCG(5, 5))
	ruled, asked := 0, 0
	for range 3000 {
		row := r.IntN(len(rows))
		body := rows[row].Body
		if len(body) < 9 {
			continue
		}
		off := r.IntN(len(body) - 8)
		text := body[off : off+9+r.IntN(min(40, len(body)-off-8))]
		if r.IntN(2) == 0 {
			text = bytes.ToUpper(text)
		}
		p, ok := NewProbe(text)
		if !ok {
			t.Fatal(len(text))
		}
		blocks, err := p.Blocks(&x.Filter, read)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range x.Blocks {
			in := blocks[i/8]>>(i&7)&1 == 1
			if !in && uint32(row) >= b.Row && uint32(row) < b.Row+b.Rows {
				t.Fatalf("%q stands in block %d, the filter says no", text, i)
			}
			asked++
			if !in {
				ruled++
			}
		}
	}
	p, _ := NewProbe([]byte("0123456789abcdef0123456789abcdef"))
	blocks, err := p.Blocks(&x.Filter, read)
	if err != nil || bytes.Count(blocks, []byte{0}) < len(blocks)-1 {
		t.Errorf("an absent text may stand in %08b, %v", blocks, err)
	}
	if ruled == 0 {
		t.Errorf("nothing ruled out of %d", asked)
	}
}

// TestDamage flips bits everywhere: whatever decodes must be right.
func TestDamage(t *testing.T) {
	w := newWriter(t)
	ss, rows := sample(1, 5, 3000)
	file, idx, x := write(t, w, ss, rows)
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		bad := slices.Clone(idx[:x.Filter.Off])
		bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		if _, err := ParseIndex(bad); err == nil {
			t.Fatal("a damaged index was taken")
		}
		// Past the sums: nothing may panic or ask for the moon.
		d := &decoder{p: bad[IndexHeaderSize:]}
		d.index()
	}
	d, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for i := range x.Blocks {
		p := slices.Clone(stored(file, x.Blocks[i].Body))
		p[r.IntN(len(p))] ^= 4
		if _, _, err := d.Body(nil, nil, &x.Blocks[i], p); err == nil {
			t.Fatal("a damaged page was decoded")
		}
	}
}
