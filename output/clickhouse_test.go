package output

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/wire/clickhouse"
)

func newClickHouse(t testing.TB, url string, change func(*ClickHouseConfig)) *ClickHouse {
	t.Helper()
	c := ClickHouseConfig{HTTPConfig: HTTPConfig{URL: url}, Database: "default", Table: "otel_logs", Deduplicate: true}
	if change != nil {
		change(&c)
	}
	o, err := NewClickHouse(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

func TestClickHouseSends(t *testing.T) {
	for _, method := range []string{"", "none", "zstd"} {
		var body []byte
		var r0 *http.Request
		s := server(t, func(w http.ResponseWriter, r *http.Request) { body, r0 = bodyOf(t, r), r })
		o := newClickHouse(t, s.URL, func(c *ClickHouseConfig) {
			c.Compression, c.Auth, c.Settings, c.AsyncInsert = method, Auth{User: "u", Password: "p"}, map[string]string{"max_threads": "1"}, true
		})
		parts := someParts("one", "two")
		res, err := o.Send(t.Context(), parts)
		if err != nil || res.Bytes == 0 {
			t.Fatal(res, err)
		}
		q := r0.URL.Query()
		user, pass, _ := r0.BasicAuth()
		if !strings.HasPrefix(q.Get("query"), "INSERT INTO `default`.`otel_logs` (`Timestamp`, ") || len(q.Get("insert_deduplication_token")) != 32 ||
			q.Get("max_threads") != "1" || q.Get("wait_for_async_insert") != "1" || q.Get("date_time_input_format") != "best_effort" || user != "u" || pass != "p" {
			t.Errorf("%s", r0.URL)
		}
		if n := strings.Count(string(body), "\n"); n != 2 || !strings.Contains(string(body), `"Body":"one"`) {
			t.Errorf("body %q", body)
		}
		// The same records have the same token, others another.
		token := q.Get("insert_deduplication_token")
		if _, err := o.Send(t.Context(), someParts("one", "two")); err != nil || r0.URL.Query().Get("insert_deduplication_token") != token {
			t.Errorf("another token: %v", err)
		}
		if _, err := o.Send(t.Context(), someParts("one", "tow")); err != nil || r0.URL.Query().Get("insert_deduplication_token") == token {
			t.Errorf("the same token: %v", err)
		}
	}
}

// Rows 79, 80, 85: what an exception means; one may follow a 200.
func TestFailure85_ClickHouseExceptions(t *testing.T) {
	for _, c := range []struct {
		status, code int
		inHeader     bool
		kind         ack.ErrorKind
		text         string
	}{
		{500, 252, true, ack.Retry, "batch.bytes"},
		{200, 252, false, ack.Retry, "TOO"},
		{200, 241, true, ack.Retry, "241"},
		{400, 27, true, ack.Rejected, "27"},
		{400, 117, false, ack.Rejected, "117"},
		{404, 60, true, ack.Retry, "create the table"},
		{404, 16, true, ack.Retry, "columns"},
		{403, 516, true, ack.Unauthorized, "auth"},
		{403, 497, true, ack.Unauthorized, "INSERT"},
		{404, 115, true, ack.Retry, "deduplicate"},
		{500, 202, true, ack.Retry, "202"},
		{413, 0, false, ack.TooLarge, "413"},
		{503, 0, false, ack.Retry, "503"},
		{301, 0, false, ack.Retry, "redirects"},
	} {
		t.Run(fmt.Sprint(c.status, c.code), func(t *testing.T) {
			s := server(t, func(w http.ResponseWriter, r *http.Request) {
				bodyOf(t, r)
				if c.inHeader {
					w.Header().Set("X-ClickHouse-Exception-Code", fmt.Sprint(c.code))
				}
				w.WriteHeader(c.status)
				if c.code != 0 {
					fmt.Fprintf(w, "Code: %d. DB::Exception: while parsing 'secretcontent': something. (TOO_BAD_ONE)", c.code)
				}
			})
			_, err := newClickHouse(t, s.URL, nil).Send(t.Context(), someParts("secretcontent"))
			se := wantKind(t, err, c.kind)
			if !strings.Contains(se.Error(), c.text) || strings.Contains(se.Error(), "secretcontent") {
				t.Errorf("%q", se)
			}
		})
	}
}

// Row 85: an INSERT is answered with nothing: what says something else with status
// 200 is no ClickHouse, and has stored nothing.
func TestFailure85_ClickHouseForeignAnswer(t *testing.T) {
	for _, body := range []string{`{"status":"ok"}`, "Ok.\n", "<html>Sign in</html>", "1"} {
		s := server(t, func(w http.ResponseWriter, r *http.Request) { bodyOf(t, r); _, _ = io.WriteString(w, body) })
		_, err := newClickHouse(t, s.URL, nil).Send(t.Context(), someParts("secretcontent"))
		if se := wantKind(t, err, ack.Retry); !strings.Contains(se.Error(), "not of this protocol") {
			t.Errorf("%q: %v", body, se)
		}
	}
	s := server(t, func(w http.ResponseWriter, r *http.Request) { bodyOf(t, r); _, _ = io.WriteString(w, "\r\n") })
	if _, err := newClickHouse(t, s.URL, nil).Send(t.Context(), someParts("a")); err != nil {
		t.Error(err)
	}
}

func TestClickHouseProbe(t *testing.T) {
	var query string
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		if query = r.URL.Query().Get("query"); strings.Contains(query, "missing") {
			w.WriteHeader(404)
			_, _ = io.WriteString(w, "Code: 60. DB::Exception: x (UNKNOWN_TABLE)")
		}
	})
	if err := newClickHouse(t, s.URL, nil).Probe(t.Context()); err != nil || !strings.HasPrefix(query, "SELECT `Timestamp`, ") || !strings.HasSuffix(query, " FROM `default`.`otel_logs` LIMIT 0") {
		t.Errorf("%q %v", query, err)
	}
	if err := newClickHouse(t, s.URL, func(c *ClickHouseConfig) { c.Table = "missing" }).Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "create the table") {
		t.Error(err)
	}
	if _, err := NewClickHouse(ClickHouseConfig{HTTPConfig: HTTPConfig{URL: s.URL}, Table: "t", Columns: []clickhouse.Column{{Name: "a", Source: "b"}}}); err == nil {
		t.Error("an unknown source is taken")
	}
}

func BenchmarkClickHouse(b *testing.B) {
	for _, method := range []string{"none", "gzip"} {
		b.Run(method, func(b *testing.B) {
			url := discard(b, nil)
			benchmarkSend(b, newClickHouse(b, url, func(c *ClickHouseConfig) { c.Compression = method }))
		})
	}
}
