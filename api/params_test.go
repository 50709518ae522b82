package api

import (
	"encoding/json"
	"math"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

func TestParseTime(t *testing.T) {
	for s, want := range map[string]int64{
		"1700000000":                     1_700_000_000e9,
		"1700000000123456789":            1_700_000_000_123_456_789,
		"1700000000.123":                 1_700_000_000_123_000_000,
		"1700000000.123456789":           1_700_000_000_123_456_789,
		"1700000000.":                    1_700_000_000e9,
		"1.7e9":                          1_700_000_000e9,
		"-1.5":                           -1_500_000_000,
		"-5":                             -5e9,
		"0":                              0,
		"12345678901":                    12_345_678_901, // nanoseconds
		"2023-11-14T22:13:20Z":           1_700_000_000e9,
		"2023-11-14T22:13:20.5+01:00":    1_700_000_000e9 - 3600e9 + 5e8,
		"9223372036854775807":            math.MaxInt64,
		"2023-11-14T22:13:20.000000001Z": 1_700_000_000_000_000_001,
	} {
		if got, ok := parseTime(s); !ok || got != want {
			t.Errorf("%s: %d %v, wanted %d", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "now", "9223372036854775808", "1e30.0", "NaN.", "2023-11-14", "0000-01-01T00:00:00Z", "9999-01-01T00:00:00Z", "99999999999.5e9", "1.7.0", " 1"} {
		if got, ok := parseTime(s); ok {
			t.Errorf("%q: %d", s, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"15": 15 * time.Second, "0.5": 500 * time.Millisecond, "1h30m": 90 * time.Minute, "1.5h": 90 * time.Minute, "2d": 48 * time.Hour,
		"1w": 168 * time.Hour, "100ms": 100 * time.Millisecond, "-1m": -time.Minute, "1y": 8760 * time.Hour, "3ns": 3, "4µs": 4000, "0": 0,
	} {
		if got, ok := parseDuration(s); !ok || got != want {
			t.Errorf("%s: %v %v, wanted %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "-", "h", "1", "1parsec", "1h-1m", "1..5h", "1000000y", "NaN", "Inf", "1e400", "1h2", "--1h"} {
		if s == "1" {
			continue
		}
		if got, ok := parseDuration(s); ok {
			t.Errorf("%q: %v", s, got)
		}
	}
}

// asked makes a request of parameters alone.
func asked(v url.Values) *request {
	return &request{form: v, now: t0 + int64(time.Hour)}
}

func TestBounds(t *testing.T) {
	s := newServer(t, Config{Store: &memStore{}})
	now := t0 + int64(time.Hour)
	for _, c := range []struct {
		params     string
		start, end int64
	}{
		{"", now - int64(time.Hour), now},
		{"since=10m", now - int64(10*time.Minute), now},
		{"end=1700000000", t0 - int64(time.Hour), t0},
		{"end=1700000000&since=1m", t0 - int64(time.Minute), t0},
		{"end=1800000000&since=1m", now - int64(time.Minute), 1_800_000_000e9}, // the end is to come
		{"start=1700000000&since=1m", t0, now},
		{"start=5&end=6", 5e9, 6e9},
		{"end=-9223372036854775808", math.MinInt64, math.MinInt64},
	} {
		v, err := url.ParseQuery(c.params)
		if err != nil {
			t.Fatal(err)
		}
		if start, end, err := s.bounds(asked(v), time.Hour); err != nil || start != c.start || end != c.end {
			t.Errorf("%s: %d %d %v, wanted %d %d", c.params, start, end, err, c.start, c.end)
		}
	}
	if d, err := step(url.Values{}, t0, t0+int64(time.Hour)); err != nil || d != 14e9 {
		t.Errorf("step of an hour: %d %v", d, err)
	}
	if d, err := step(url.Values{}, t0, t0+1e9); err != nil || d != 1e9 {
		t.Errorf("step of a second: %d %v", d, err)
	}
}

func TestTypeOf(t *testing.T) {
	for v, want := range map[string]valueType{
		"": typeString, "x": typeString, "1": typeInt, "-12": typeInt, "1.5": typeFloat, "1e5": typeFloat, "NaN": typeString, "inf": typeString, "0x1p-2": typeString,
		"true": typeBool, "False": typeBool, "1h": typeDuration, "1.5ms": typeDuration, "10KB": typeBytes, "3 MiB": typeBytes, "5B": typeBytes, "10.0.0.1": typeString,
		"2023-11-14": typeString, "5x": typeString, "1K": typeBytes, "-": typeString, ".": typeString,
	} {
		if got := typeOf(v); got != want {
			t.Errorf("%q: %v, wanted %v", v, got, want)
		}
	}
}

// FuzzParams reads arbitrary parameters: what is accepted keeps its promises.
func FuzzParams(f *testing.F) {
	for _, s := range []string{
		"", "start=1&end=2&step=1&limit=10&direction=forward&interval=1s", "since=1h&end=1700000000.5", "start=2023-11-14T22:13:20Z&step=0.001",
		"query=%7Ba%3D%22b%22%7D&targetLabels=a,b&aggregateBy=labels&limit=5", "start=-9223372036854775808&end=9223372036854775807&step=1y", "delay_for=3&time=1e9.0",
	} {
		f.Add(s)
	}
	s := newServer(f, Config{Store: shop()})
	f.Fuzz(func(t *testing.T, text string) {
		v, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		q := asked(v)
		start, end, err := s.bounds(q, time.Hour)
		if err == nil && start > end {
			t.Fatalf("%d > %d", start, end)
		}
		if err == nil {
			if d, err := step(v, start, end); err == nil && (d <= 0 || sub(end, start)/d > logql.MaxSteps) && v.Get("step") != "" {
				t.Fatalf("step %d of %d to %d", d, start, end)
			}
		}
		if n, err := positive(v, "limit", 100, 5000); err == nil && (n <= 0 || n > 5000) {
			t.Fatalf("limit %d", n)
		}
		if d, err := interval(v); err == nil && d < 0 {
			t.Fatalf("interval %d", d)
		}
		if o, err := direction(v); err == nil && o != logql.Forward && o != logql.Backward {
			t.Fatalf("direction %d", o)
		}
		for _, path := range []string{"query_range", "query", "index/volume_range", "detected_fields", "series", "index/volume", "label/x/values"} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", v1+path, nil)
			r.URL.RawQuery = v.Encode()
			s.ServeHTTP(w, r)
			if w.Code >= 500 {
				t.Fatalf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	})
}

// FuzzLine answers with an arbitrary line, parsed in every way: the answers are
// JSON, and the line is in them as far as it is UTF-8.
func FuzzLine(f *testing.F) {
	for _, s := range []string{
		"", "plain", `{"a":1,"b":{"c":[1,{"d":2}],"e f":"g"},"app":"x"}`, `level=info msg="a \"b\"" x`, "\xff\x00\u2028", `{"a":` + "\xff}", `{"":{"":{"":1}}}`, `{"a_b":1,"a":{"b":2},"a.b":3}`, `a="`,
	} {
		f.Add(s, "value", "name")
	}
	f.Fuzz(func(t *testing.T, line, value, name string) {
		m := &memStore{}
		meta := []logql.Label{{Name: "trace_id", Value: value}}
		if value == "" {
			meta = nil
		}
		m.add("", labelsOf("app", "fuzz", "zone", "z"+value), t0, record.Info, line, meta...)
		s := newServer(t, Config{Store: m})
		for _, q := range []string{`{app="fuzz"}`, `{app="fuzz"} | json | logfmt`} {
			for _, path := range []string{"query_range", "detected_fields", "detected_field/" + url.PathEscape(name) + "/values"} {
				w := get(s, v1+path, form("query", q), categorizeHeader, pickFlag(len(line)))
				if strings.HasPrefix(path, "detected_field/") && w.Code != 200 && (w.Code == 404 || w.Code/100 == 3) {
					continue // a name that is no path
				}
				if w.Code != 200 || !json.Valid(w.Body.Bytes()) {
					t.Fatalf("%s %s: %d %q", path, q, w.Code, w.Body)
				}
				if path == "query_range" && utf8.ValidString(line) {
					if !strings.Contains(decoded(t, w.Body.Bytes()), line) {
						t.Fatalf("%q is not in %s", line, w.Body)
					}
				}
			}
		}
	})
}

func pickFlag(n int) string {
	if n%2 == 0 {
		return categorizeFlag
	}
	return ""
}

// decoded returns the lines of an answer.
func decoded(t *testing.T, body []byte) string {
	var a struct {
		Data struct {
			Result []struct{ Values [][]json.RawMessage }
		}
	}
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range a.Data.Result {
		for _, v := range r.Values {
			var line string
			if err := json.Unmarshal(v[1], &line); err != nil {
				t.Fatal(err)
			}
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}
