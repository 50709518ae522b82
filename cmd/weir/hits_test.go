package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/gateway"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/store"
)

// pushed returns a client of a new store with lines of two levels at these times.
func pushed(t *testing.T, times []int64) *read.Client {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(store.Config{Dir: dir, MinFree: -1, Check: -1})
	if err != nil {
		t.Fatal(err)
	}
	servers, err := newAPI(&keeper{Store: s, dir: dir}, &config.Listen{Limits: config.ListenLimits{QueryTime: config.Forever}}, nil, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		servers.close(slog.New(slog.DiscardHandler))
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &read.Client{HTTP: &http.Client{Transport: read.InProcess(servers.own)}, Base: "http://weir", What: "the store", Page: 1000, Local: true}
	type stream struct {
		Stream map[string]string `json:"stream"`
		Values [][2]string       `json:"values"`
	}
	streams := []stream{{Stream: map[string]string{"app": "a"}}, {Stream: map[string]string{"app": "b"}}}
	for i, at := range times {
		st := &streams[i%2]
		st.Values = append(st.Values, [2]string{strconv.FormatInt(at, 10), fmt.Sprint("line ", i)})
	}
	body, err := json.Marshal(map[string]any{"streams": streams})
	if err != nil {
		t.Fatal(err)
	}
	h, err := gateway.NewHTTP(gateway.Config{Sink: &gateway.StoreSink{Append: s.Append}})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/loki/api/v1/push", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusNoContent {
		t.Fatalf("push: %d %s", w.Code, w.Body)
	}
	return c
}

// Counts are those of the lines in [from, to), each in its step: compared with
// counting them one by one, also as a Loki is asked, which knows no nanoseconds.
func TestHitsCount(t *testing.T) {
	const seed = 11
	r := rand.New(rand.NewPCG(seed, seed))
	began := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).UnixNano()
	var times []int64
	for range 600 {
		at := began + r.Int64N(7200)*1e9 // at the edges of steps
		if r.IntN(2) == 0 {
			at += r.Int64N(1000) * 1e6
		}
		times = append(times, at)
	}
	c := pushed(t, times)
	expr, err := logql.ParseLog(`{app=~".+"}`)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 150 {
		from := began + r.Int64N(7200_000)*1e6
		to := from + (1+r.Int64N(7200_000))*1e6
		step := []time.Duration{time.Second, 7 * time.Second, 30 * time.Second, 5 * time.Minute, time.Hour, 24 * time.Hour}[r.IntN(6)]
		if int64(to-from)/int64(step) > 3000 {
			continue
		}
		zone := time.FixedZone("", []int{0, 5*3600 + 1800, -8 * 3600}[r.IntN(3)])
		c.Local = i%2 == 0
		a := &asking{timeRange: timeRange{from: time.Unix(0, from), to: time.Unix(0, to)}, c: c, expr: expr, query: expr, moved: expr.String(), names: []string{"app"}}
		h, err := a.count(t.Context(), []string{"app"}, step, zone)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string][]int64{"a": make([]int64, len(h.edges)-1), "b": make([]int64, len(h.edges)-1)}
		for k, at := range times {
			for j := range len(h.edges) - 1 {
				if at >= h.edges[j] && at < h.edges[j+1] {
					want["ab"[k%2:k%2+1]][j]++
				}
			}
		}
		got := map[string][]int64{}
		for _, row := range h.rows {
			got[row.labels["app"]] = row.counts
		}
		for app, w := range want {
			g := got[app]
			if g == nil {
				g = make([]int64, len(w))
			}
			if fmt.Sprint(g) != fmt.Sprint(w) {
				t.Fatalf("seed %d, local %v, step %v, zone %v, from %s to %s, %s:\n%v\nwant\n%v", seed, c.Local, step, zone, a.from.UTC(), a.to.UTC(), app, g, w)
			}
		}
	}
}
