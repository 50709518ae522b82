package logql

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/weirlog/weir/record"
)

// benchSource hands out the same blocks again and again, as a store with warm
// pages would: what is measured is the engine.
type benchSource struct {
	blocks []*Block
	fields bool
}

type benchCursor struct {
	blocks []*Block
	i      int
}

const benchRows = 1000 // per block: about 256 KiB

// newBenchSource has rows like a web service's, a JSON object each, or logfmt.
func newBenchSource(blocks int, line func(i int) string) *benchSource {
	s := &benchSource{}
	n := 0
	for k := range blocks {
		b := &Block{Streams: []*Stream{{Labels: []Label{{Name: "app", Value: "shop"}, {Name: "namespace", Value: "prod"}, {Name: "pod", Value: fmt.Sprintf("p%d", k%50)}}}}}
		for range benchRows {
			l := line(n)
			b.Times = append(b.Times, int64(n)*1e6)
			b.Severity = append(b.Severity, record.Severity(9+n%3*4))
			b.Body = append(b.Body, record.Span{Off: uint32(len(b.Buf)), Len: uint32(len(l))})
			b.Buf = append(b.Buf, l...)
			n++
		}
		s.blocks = append(s.blocks, b)
	}
	return s
}

func jsonLine(i int) string {
	return fmt.Sprintf(`{"time":"2026-02-28T12:30:%02d.%06dZ","level":"info","msg":"request done","method":"GET","path":"/cart/checkout/%d","user":"%d","took":%d.5,"http":{"status":%d,"bytes":%d},"trace_id":"%032x","agent":"Mozilla/5.0 (X11; Linux x86_64)"}`,
		i%60, i, i%100, i%5000, i%700, 200+i%5*75, i*7%90000, i*2654435761)
}

func logfmtLine(i int) string {
	return fmt.Sprintf(`time=2026-02-28T12:30:%02d.%06dZ level=info msg="request done" method=GET path=/cart/checkout/%d user=%d took=%dms status=%d bytes=%d trace_id=%032x agent="Mozilla/5.0 (X11; Linux x86_64)"`,
		i%60, i, i%100, i%5000, i%700, 200+i%5*75, i*7%90000, i*2654435761)
}

func (s *benchSource) Select(_ context.Context, req *Request) (Cursor, error) {
	c := &benchCursor{}
	for _, b := range s.blocks {
		d := &Block{Streams: b.Streams, Times: b.Times}
		cols := req.ColumnsFor(Yes)
		if cols.Severity {
			d.Severity = b.Severity
		}
		if cols.Body || cols.Fields != nil && !s.fields {
			d.Buf, d.Body = b.Buf, b.Body
		}
		if s.fields && cols.Fields != nil {
			for range cols.Fields {
				f := Field{Values: []string{"200", "275", "350", "425", "500"}}
				for i := range b.Len() {
					f.Index = append(f.Index, int32(i%5))
				}
				d.Fields = append(d.Fields, f)
			}
		}
		c.blocks = append(c.blocks, d)
	}
	return c, nil
}

func (c *benchCursor) Bound() (int64, bool) {
	if c.i == len(c.blocks) {
		return 0, false
	}
	return c.blocks[c.i].Times[0], true
}

func (c *benchCursor) Next(context.Context) (*Block, error) {
	if c.i == len(c.blocks) {
		return nil, io.EOF
	}
	c.i++
	return c.blocks[c.i-1], nil
}

func (c *benchCursor) Stats() SourceStats { return SourceStats{} }
func (c *benchCursor) Close() error       { return nil }

func benchQuery(b *testing.B, s *benchSource, q string) {
	e, err := Parse(q)
	if err != nil {
		b.Fatal(err)
	}
	bytes := 0
	for _, x := range s.blocks {
		bytes += len(x.Buf)
	}
	last := s.blocks[len(s.blocks)-1]
	p := Params{Start: 0, End: last.Times[benchRows-1] + 1, Step: 60e9, Direction: Forward}
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Run(context.Background(), s, e, p); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(s.blocks)*benchRows), "ns/row")
}

func BenchmarkQuery(b *testing.B) {
	js, lf := newBenchSource(100, jsonLine), newBenchSource(100, logfmtLine)
	fields := newBenchSource(100, jsonLine)
	fields.fields = true
	for _, x := range []struct {
		name string
		s    *benchSource
		q    string
	}{
		{"needle", js, `{app="shop"} |= "deadbeefdeadbeefdeadbeefdeadbeef"`},
		{"4bytes", js, `{app="shop"} |= "zzzz"`},
		{"regexp", js, "{app=\"shop\"} |~ `(?i)time(d )?out`"},
		{"regexp-digits", js, "count_over_time({app=\"shop\"} |~ `checkout/9\\d` [1m])"},
		{"count", js, `sum by (pod) (count_over_time({app="shop"}[1m]))`},
		{"severity", js, `sum by (detected_level) (count_over_time({app="shop"}[1m]))`},
		{"json-all", js, `{app="shop"} | json | nothing="x"`},
		{"json-one", js, `sum(count_over_time({app="shop"} | json | http_status="500" [1m]))`},
		{"json-path", js, `sum(count_over_time({app="shop"} | json s="http.status" | s="500" [1m]))`},
		{"json-column", fields, `sum(count_over_time({app="shop"} | json | http_status="500" [1m]))`},
		{"json-group", js, `topk(10, sum by (http_status) (count_over_time({app="shop"} | json [1m])))`},
		{"json-group-column", fields, `topk(10, sum by (http_status) (count_over_time({app="shop"} | json [1m])))`},
		{"logfmt-one", lf, `sum(count_over_time({app="shop"} | logfmt | status="500" [1m]))`},
		{"logfmt-unwrap", lf, `quantile_over_time(0.99, {app="shop"} | logfmt | unwrap duration(took) [1m]) by (app)`},
		{"pattern", lf, `sum(count_over_time({app="shop"} | pattern "<_>status=<status> <_>" | status="500" [1m]))`},
		{"stage-regexp", lf, "sum(count_over_time({app=\"shop\"} | regexp `status=(?P<status>\\d+)` | status=\"500\" [1m]))"},
		{"line_format", lf, `{app="shop"} | logfmt | line_format "{{.method}} {{.path}}" |= "nothing"`},
		{"template", lf, `{app="shop"} | logfmt | line_format "{{.method | lower}}" |= "nothing"`},
	} {
		b.Run(x.name, func(b *testing.B) { benchQuery(b, x.s, x.q) })
	}
}

func BenchmarkParse(b *testing.B) {
	for b.Loop() {
		if _, err := Parse(`topk(10, sum by (status) (rate({namespace="shop", app=~"a|b"} |= "error" | json | took > 100ms | line_format "{{.msg}}" [5m])))`); err != nil {
			b.Fatal(err)
		}
	}
}
