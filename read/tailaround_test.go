package read

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/weirlog/weir/logql"
)

// TestAround reads the last matches, and what is around, of lines of which some
// have one time, against what counting finds.
func TestAround(t *testing.T) {
	for _, c := range []struct{ lines, each, same, tail, around int }{
		{40, 5, 1, 2, 1}, {40, 5, 1, 100, 3}, {40, 5, 40, 2, 1}, {9000, 1000, 1, 3, 2}, {9000, 4000, 7, 2, 5},
		{9000, 3, 1, 4, 1}, {9000, 2500, 3, 10, 4}, {30, 100, 1, 5, 2},
	} {
		t.Run(fmt.Sprintf("%d,%d,%d,%d,%d", c.lines, c.each, c.same, c.tail, c.around), func(t *testing.T) {
			at := func(i int) int64 { return int64(1_000_000 + i/c.same) }
			match := func(i int) bool { return i%c.each == c.each-1 }
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				form, _ := url.ParseQuery(readAll(t, r))
				num := func(k string) int64 { n, _ := strconv.ParseInt(form.Get(k), 10, 64); return n }
				var vals []string
				for n := range c.lines {
					i := n
					if form.Get("direction") != "forward" {
						i = c.lines - 1 - n
					}
					if at(i) < num("start") || at(i) >= num("end") || strings.Contains(form.Get("query"), "hit") && !match(i) || int64(len(vals)) >= num("limit") {
						continue
					}
					word := "miss"
					if match(i) {
						word = "hit"
					}
					vals = append(vals, fmt.Sprintf(`["%d","%s %d"]`, at(i), word, i))
				}
				fmt.Fprintf(w, `{"status":"success","data":{"resultType":"streams","result":[{"stream":{"pod":"a"},"values":[%s]}],"stats":{}}}`, strings.Join(vals, ","))
			}))
			defer srv.Close()
			expr, _ := logql.ParseLog(`{pod="a"}`)
			hits, _ := logql.ParseLog(`{pod="a"} |= "hit"`)
			f := Follow{Client: &Client{HTTP: srv.Client(), Base: srv.URL, What: "it", Page: 5000}, Expr: expr, Match: hits, Tail: c.tail, Around: c.around}
			got, err := f.around(context.Background(), expr, hits, 0, 1<<60)
			if err != nil {
				t.Fatal(err)
			}
			have := make(map[string]int)
			for i := range got {
				have[got[i].Line]++
				if i > 0 && got[i].Time > got[i-1].Time {
					t.Fatalf("line %d is newer than the one before", i)
				}
			}
			for line, n := range have {
				if n > 1 {
					t.Errorf("%s comes %d times", line, n)
				}
			}
			last := 0
			for i := c.lines - 1; i >= 0 && last < c.tail; i-- {
				if !match(i) {
					continue
				}
				last++
				for k := max(0, i-c.around); k <= min(c.lines-1, i+c.around); k++ {
					word := "miss"
					if match(k) {
						word = "hit"
					}
					if line := fmt.Sprint(word, " ", k); have[line] == 0 {
						t.Errorf("no %q, which is around %d", line, i)
					}
				}
			}
			if most := c.tail*(4*c.around+4+2*c.same) + aroundAtOnce; len(got) > most {
				t.Errorf("%d lines, at most %d are needed", len(got), most)
			}
		})
	}
}

func readAll(t *testing.T, r *http.Request) string {
	if err := r.ParseForm(); err != nil {
		t.Error(err)
	}
	return r.Form.Encode()
}
