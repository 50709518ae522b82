package output

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

func newPost(t testing.TB, url string, change func(*PostConfig)) *Post {
	t.Helper()
	c := PostConfig{HTTPConfig: HTTPConfig{URL: url}}
	if change != nil {
		change(&c)
	}
	o, err := NewPost(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

func recordTemplate(t testing.TB, s string) *RecordTemplate {
	t.Helper()
	rt, err := ParseRecordTemplate(s)
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

func TestPostFormats(t *testing.T) {
	parts := partsOf(batchOf(testStream, "one\ntwo\"", `{"k":1}`), batchOf(testStream, "three"))
	for _, c := range []struct {
		change func(*PostConfig)
		ctype  string
		n      int
	}{
		{func(c *PostConfig) {}, "application/x-ndjson", 3},
		{func(c *PostConfig) { c.Format, c.Method, c.Compression = "json_array", "PUT", "gzip" }, "application/json", 3},
		{func(c *PostConfig) { c.Format, c.ContentType = "lines", "text/x" }, "text/x", 4},
		{func(c *PostConfig) {
			c.Format, c.Compression = "template", "zstd"
			c.Record = recordTemplate(t, `{"ts":{{.time_unix_nano}},"at":{{ .time }},"b":{{.body}},"t":{{.text}},"ns":{{.namespace}},"no":{{.nothing}},"id":{{.id}},"l":{{.level}}}`)
			c.Before, c.Between, c.After = `{"logs":[`, ",", `]}`
		}, "application/json", 3},
	} {
		var body []byte
		var r0 *http.Request
		s := server(t, func(w http.ResponseWriter, r *http.Request) { body, r0 = bodyOf(t, r), r })
		o := newPost(t, s.URL+"/in?a=b", func(p *PostConfig) { c.change(p); p.IdempotencyKey = true })
		if _, err := o.Send(t.Context(), parts); err != nil {
			t.Fatal(err)
		}
		want := o.method
		if r0.Method != want || r0.Header.Get("Content-Type") != c.ctype || r0.URL.String() != "/in?a=b" || len(r0.Header.Get("Idempotency-Key")) != 32 {
			t.Errorf("%s %s %v", r0.Method, r0.URL, r0.Header)
		}
		switch c.ctype {
		case "application/json":
			var v any
			if err := json.Unmarshal(body, &v); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			if m, ok := v.(map[string]any); ok {
				v = m["logs"]
				first := v.([]any)[0].(map[string]any)
				if first["b"] != "one\ntwo\"" || first["ns"] != "shop" || first["no"] != nil || first["ts"] != float64(testTime) || len(first["id"].(string)) != 32 {
					t.Errorf("%v", first)
				}
				if second := v.([]any)[1].(map[string]any); fmt.Sprint(second["b"]) != "map[k:1]" || second["t"] != `{"k":1}` {
					t.Errorf("%v", second)
				}
			}
			if list := v.([]any); len(list) != c.n {
				t.Errorf("%d records in %s", len(list), body)
			}
		default:
			if n := strings.Count(string(body), "\n"); n != c.n {
				t.Errorf("%d lines in %q", n, body)
			}
		}
	}
}

func TestPostStatuses(t *testing.T) {
	change := func(c *PostConfig) {
		c.Success, c.Reject, c.Retry = []string{"20x", "409"}, []string{"4xx"}, []string{"404", "205"}
	}
	for _, c := range []struct {
		status int
		own    bool
		want   string
	}{
		{200, false, ""}, {204, false, ""}, {400, false, "rejected"}, {409, false, "retry"}, {422, false, "rejected"}, {404, false, "retry"},
		{413, false, "too_large"}, {401, false, "unauthorized"}, {429, false, "retry"}, {500, false, "retry"}, {302, false, "retry"},
		{201, true, ""}, {206, true, ""}, {205, true, "retry"}, {210, true, "retry"}, {418, true, "rejected"}, {404, true, "retry"}, {500, true, "retry"},
	} {
		s := server(t, func(w http.ResponseWriter, r *http.Request) { bodyOf(t, r); w.WriteHeader(c.status) })
		var f func(*PostConfig)
		if c.own {
			f = change
		}
		_, err := newPost(t, s.URL, f).Send(t.Context(), someParts("a"))
		got := ""
		if err != nil {
			got = err.(*ack.SendError).Kind.String()
		}
		if got != c.want {
			t.Errorf("%d (own %v): %q, want %q", c.status, c.own, got, c.want)
		}
	}
	page := server(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "<html>") })
	_, err := newPost(t, page.URL, nil).Send(t.Context(), someParts("a"))
	wantKind(t, err, ack.Retry)
}

// Row 84: neither records nor credentials follow a redirect.
func TestFailure84_PostRedirect(t *testing.T) {
	var hits atomic.Int32
	other := server(t, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/x?t=canary", http.StatusTemporaryRedirect)
	})
	_, err := newPost(t, s.URL, func(c *PostConfig) { c.Auth = Auth{Bearer: "tok"} }).Send(t.Context(), someParts("a"))
	if se := wantKind(t, err, ack.Retry); hits.Load() != 0 || strings.Contains(se.Error(), "canary") {
		t.Errorf("%d requests elsewhere, %q", hits.Load(), se)
	}
}

// Row 111: a template's values stay values.
func TestFailure111_PostInjection(t *testing.T) {
	var body []byte
	s := server(t, func(w http.ResponseWriter, r *http.Request) { body = bodyOf(t, r) })
	o := newPost(t, s.URL, func(c *PostConfig) {
		c.Format, c.Record = "template", recordTemplate(t, `{"b":{{.body}},"ns":{{.namespace}},"u":{{.user}}}`)
		c.Before, c.Between, c.After = "[", ",", "]"
	})
	b := record.NewBatch(nil)
	st := record.NewStream([]record.Attr{{Name: "namespace", Value: `x","admin":true,"y":"`}}, nil, nil)
	sp := b.AppendString("\"},{\"b\":\"forged\"\n{{.namespace}}\x00\xff")
	i := b.Add(record.Record{Body: sp, Source: sp, Stream: b.AddStream(record.StreamRef{Stream: st})})
	b.SetField(i, "user", record.Float, b.AppendString(`1,"admin":true`))
	b.Freeze()
	if _, err := o.Send(t.Context(), partsOf(b)); err != nil {
		t.Fatal(err)
	}
	var got []map[string]string
	if err := json.Unmarshal(body, &got); err != nil || len(got) != 1 || len(got[0]) != 3 {
		t.Errorf("%s: %v", body, err)
	}
}

// Row 111: line breaks inside a JSON body make no lines of their own.
func TestFailure111_PostOneLinePerRecord(t *testing.T) {
	parts := someParts("{\n \"a\": 1,\r\n \"b\": {}\n}", "two\nlines", `{"c":"\n"}`)
	for _, format := range []string{"ndjson", "template", "json_array"} {
		var body []byte
		s := server(t, func(w http.ResponseWriter, r *http.Request) { body = bodyOf(t, r) })
		o := newPost(t, s.URL, func(c *PostConfig) {
			c.Format = format
			if format == "template" {
				c.Record, c.Between = recordTemplate(t, `{"m":{{.body}}}`), "\n"
			}
		})
		if _, err := o.Send(t.Context(), parts); err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(string(body)) {
			if n++; !json.Valid([]byte(line)) {
				t.Errorf("%s: %q", format, line)
			}
		}
		if want := map[string]int{"ndjson": 3, "template": 3, "json_array": 1}[format]; n != want {
			t.Errorf("%s: %d lines: %q", format, n, body)
		}
	}
}

func TestParseRecordTemplate(t *testing.T) {
	for _, bad := range []string{"", "{{.a", "{{a}}", "{{.a | b}}", "{{.}}", "x {{}} y"} {
		if _, err := ParseRecordTemplate(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func BenchmarkPost(b *testing.B) {
	for _, f := range []string{"ndjson", "json_array", "template"} {
		b.Run(f, func(b *testing.B) {
			url := discard(b, nil)
			benchmarkSend(b, newPost(b, url, func(c *PostConfig) {
				c.Format = f
				if f == "template" {
					c.Record, c.Between = recordTemplate(b, `{"ts":{{.time_unix_nano}},"line":{{.body}},"ns":{{.namespace}},"pod":{{.pod}}}`), "\n"
				}
			}))
		})
	}
}
