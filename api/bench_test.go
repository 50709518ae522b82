package api

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weirlog/weir/logql"
)

// discard is a client that takes everything.
type discard struct {
	h http.Header
	n int64
}

func (d *discard) Header() http.Header { return d.h }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return len(p), nil
}

// benchStreams encodes an answer of about 100 MB in lines of 200 bytes.
func benchStreams(b *testing.B, categorize, zip bool, streams int) {
	s := newServer(b, Config{Store: &memStore{}})
	line := []byte(`{"level":"info","ts":"2026-11-22T18:00:00.123456789Z","msg":"request served","path":"/api/v1/items/123","status":200,"took":"12.3ms","user":"4c5f","trace_id":"0123456789abcdef0123456789abcdef"}`)
	sets := make([][]logql.Label, streams)
	for i := range sets {
		sets[i] = labelsOf("app", "api", "namespace", "shop", "pod", fmt.Sprintf("api-%d", i))
	}
	meta := labelsOf("detected_level", "info", "trace_id", "0123456789abcdef")
	const lines = 420_000
	b.ReportAllocs()
	b.SetBytes(lines * int64(len(line)))
	for b.Loop() {
		r := httptest.NewRequest("GET", "/", nil)
		if zip {
			r.Header.Set("Accept-Encoding", "gzip")
		}
		q := &request{Request: r, w: &discard{h: http.Header{}}}
		set := newStreamSet(categorize, logql.Limits{})
		o := &logql.Processed{Line: line, Meta: meta}
		for i := range lines {
			o.Time = t0 + int64(i)
			o.Stream = sets[i/100%streams]
			o.Labels = o.Stream
			if err := set.add(o); err != nil {
				b.Fatal(err)
			}
		}
		if err := set.answer(s, q, s.queryStats(q, logql.Stats{}, lines)); err != nil {
			b.Fatal(err)
		}
		set.free()
	}
	b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

func BenchmarkStreams100MB(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchStreams(b, false, false, 1) })
	b.Run("categorized", func(b *testing.B) { benchStreams(b, true, false, 50) })
	b.Run("gzip", func(b *testing.B) { benchStreams(b, true, true, 50) })
}

func BenchmarkMatrix(b *testing.B) {
	s := newServer(b, Config{Store: &memStore{}})
	series := make([]logql.Series, 500)
	for i := range series {
		series[i].Labels = labelsOf("app", "api", "pod", fmt.Sprintf("api-%d", i))
		for j := range 1000 {
			series[i].Points = append(series[i].Points, logql.Point{Time: t0 + int64(j)*15e9, Value: float64(i*j) / 8})
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		d := &discard{h: http.Header{}}
		q := &request{Request: httptest.NewRequest("GET", "/", nil), w: d}
		if err := s.writeNumbers(q, logql.Matrix, series, &queryStats{}); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(d.n)
	}
}

// BenchmarkRequest is a small query over HTTP, everything included.
func BenchmarkRequest(b *testing.B) {
	s := newServer(b, Config{Store: shop()})
	srv := httptest.NewServer(s)
	defer srv.Close()
	url := srv.URL + v1 + "query_range?" + form("query", `{app="web"}`).Encode()
	b.ReportAllocs()
	for b.Loop() {
		resp, err := http.Get(url)
		if err != nil {
			b.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(body), "success") {
			b.Fatal(err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
