package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/weirlog/weir/e2e/internal/account"
	"github.com/weirlog/weir/e2e/internal/fault"
	"github.com/weirlog/weir/e2e/internal/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type rig struct {
	*stub
	t   *testing.T
	srv *httptest.Server
}

func newRig(t *testing.T, o options) *rig {
	t.Helper()
	if o.maxBody == 0 {
		o.maxBody = 1 << 20
	}
	if o.keep == 0 {
		o.keep = 10
	}
	o.version = "8.15.0"
	a, _ := account.New("")
	r := &rig{newStub(o, a, fault.New(1)), t, nil}
	r.srv = httptest.NewServer(r.stub)
	t.Cleanup(r.srv.Close)
	return r
}

func (r *rig) do(method, path, body string, header ...string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.srv.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	tr := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	if resp.Header.Get("X-Elastic-Product") != "Elasticsearch" && resp.Header.Get("Content-Type") != "text/html" {
		r.t.Errorf("%s %s: no product header", method, path)
	}
	return resp.StatusCode, string(p)
}

type bulkAnswer struct {
	Errors bool
	Items  []map[string]struct {
		Status int
		Error  struct{ Type, Reason string }
	}
}

// bulk returns the items' statuses and error types.
func (r *rig) bulk(body string) string {
	r.t.Helper()
	status, p := r.do("POST", "/_bulk", body)
	var a bulkAnswer
	if err := json.Unmarshal([]byte(p), &a); err != nil || status != 200 {
		return fmt.Sprintf("%d %s", status, p)
	}
	var b strings.Builder
	bad := false
	for _, it := range a.Items {
		for _, v := range it {
			fmt.Fprintf(&b, "%d %s\n", v.Status, v.Error.Type)
			bad = bad || v.Error.Type != ""
		}
	}
	if bad != a.Errors {
		r.t.Errorf("errors is %v", a.Errors)
	}
	return strings.TrimSpace(strings.ReplaceAll(b.String(), " \n", "\n"))
}

func TestBulkItems(t *testing.T) {
	long := strings.Repeat("x", 513)
	tests := []struct{ name, body, want string }{
		{"create", `{"create":{"_index":"a","_id":"1"}}` + "\n{\"log\":\"x\"}\n", "201"},
		{"create twice", strings.Repeat(`{"create":{"_index":"a","_id":"1"}}`+"\n{}\n", 2), "201\n409 version_conflict_engine_exception"},
		{"index twice", strings.Repeat(`{"index":{"_index":"a","_id":"1"}}`+"\n{}\n", 2), "201\n200"},
		{"same id, other index", `{"create":{"_index":"a","_id":"1"}}` + "\n{}\n" + `{"create":{"_index":"b","_id":"1"}}` + "\n{}\n", "201\n201"},
		{"no id", strings.Repeat(`{"create":{"_index":"a"}}`+"\n{}\n", 2), "201\n201"},
		{"delete", `{"delete":{"_index":"a","_id":"1"}}` + "\n", "404"},
		{"data stream", `{"create":{"_index":"logs-a-b"}}` + "\n" + `{"@timestamp":"2026-11-22T10:00:00.123456789Z"}` + "\n", "201"},
		{"data stream, index", `{"index":{"_index":"logs-a-b"}}` + "\n" + `{"@timestamp":1}` + "\n", "400 illegal_argument_exception"},
		{"data stream, no time", `{"create":{"_index":"logs-a-b"}}` + "\n{}\n", "400 document_parsing_exception"},
		{"bad time", `{"create":{"_index":"a"}}` + "\n" + `{"@timestamp":"soon"}` + "\n", "400 document_parsing_exception"},
		{"bad index", `{"create":{"_index":"A"}}` + "\n{}\n", "400 invalid_index_name_exception"},
		{"only a data stream", `{"create":{"_index":"logs-a-b","require_data_stream":true}}` + "\n" + `{"@timestamp":1}` + "\n", "201"},
		{"only a data stream, index", `{"create":{"_index":"a","require_data_stream":true}}` + "\n{}\n", "404 index_not_found_exception"},
		{"only an alias", `{"create":{"_index":"a","require_alias":true}}` + "\n{}\n", "404 index_not_found_exception"},
		{"carriage returns", `{"create":{"_index":"a"}}` + "\r\n{}\r\n", "201"},
		{"duplicate key", `{"create":{"_index":"a"}}` + "\n" + `{"k":{"a":1,"a":2}}` + "\n", "400 document_parsing_exception"},
		{"invalid UTF-8", `{"create":{"_index":"a"}}` + "\n{\"k\":\"\xff\"}\n", "400 document_parsing_exception"},
		{"one bad among good", `{"create":{"_index":"a"}}` + "\n{}\n" + `{"create":{"_index":"a"}}` + "\n{\n" + `{"create":{"_index":"a"}}` + "\n{}\n", "201\n400 document_parsing_exception\n201"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := newRig(t, options{}).bulk(test.body); got != test.want {
				t.Errorf("got %s", got)
			}
		})
	}
	whole := map[string]string{
		"no final newline":  `{"create":{"_index":"a"}}` + "\n{}",
		"empty":             "",
		"blank line":        "\n" + `{"create":{"_index":"a"}}` + "\n{}\n",
		"unknown parameter": `{"create":{"_index":"a","foo":1}}` + "\n{}\n",
		"type":              `{"create":{"_index":"a","_type":"_doc"}}` + "\n{}\n",
		"unknown action":    `{"upsert":{"_index":"a"}}` + "\n{}\n",
		"two actions":       `{"create":{"_index":"a"},"index":{}}` + "\n{}\n",
		"no document":       `{"create":{"_index":"a"}}` + "\n",
		"no index":          `{"create":{}}` + "\n{}\n",
		"empty id":          `{"create":{"_index":"a","_id":""}}` + "\n{}\n",
		"long id":           `{"create":{"_index":"a","_id":"` + long + `"}}` + "\n{}\n",
		"number as id":      `{"create":{"_index":"a","_id":7}}` + "\n{}\n",
		"duplicate in meta": `{"create":{"_index":"a","_index":"b"}}` + "\n{}\n",
		"not a boolean":     `{"create":{"_index":"a","require_alias":1}}` + "\n{}\n",
		"not JSON":          "hello\n",
	}
	for name, body := range whole {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{})
			status, p := r.do("POST", "/_bulk", body)
			var e struct {
				Status int
				Error  struct{ Type, Reason string }
			}
			if err := json.Unmarshal([]byte(p), &e); err != nil || status != 400 || e.Status != 400 || e.Error.Type == "" || r.stat.Violations != 1 {
				t.Errorf("%d %s, %d violations", status, p, r.stat.Violations)
			}
		})
	}
}

func TestIndexNames(t *testing.T) {
	for _, n := range []string{"a", "kubernetes-kube-system-2026.11.22", ".ds-x", "0", strings.Repeat("a", 255)} {
		if err := checkName(n); err != nil {
			t.Error(err)
		}
	}
	for _, n := range []string{"", ".", "..", "_a", "-a", "+a", "A", "a b", "a*", "a/b", `a\b`, "a?", `a"`, "a<", "a>", "a|", "a,b", "a#", "a:b", strings.Repeat("a", 256)} {
		if checkName(n) == nil {
			t.Errorf("%q was taken", n)
		}
	}
}

func TestBodies(t *testing.T) {
	r := newRig(t, options{maxBody: 1000})
	one := `{"create":{}}` + "\n" + `{"log":"s=a n=0 p=x"}` + "\n"
	var z bytes.Buffer
	zw := gzip.NewWriter(&z)
	io.WriteString(zw, one)
	zw.Close()
	for _, c := range []struct {
		name, path, body string
		header           []string
		want             int
	}{
		{"gzip", "/a/_bulk", z.String(), []string{"Content-Encoding", "gzip"}, 200},
		{"gzip that is none", "/a/_bulk", one, []string{"Content-Encoding", "gzip"}, 400},
		{"zstd", "/a/_bulk", one, []string{"Content-Encoding", "zstd"}, 415},
		{"content type", "/a/_bulk", one, []string{"Content-Type", "text/plain"}, 406},
		{"json with charset", "/a/_bulk", one, []string{"Content-Type", "application/json; charset=utf-8"}, 200},
		{"parameter", "/a/_bulk?foo=1", one, nil, 400},
		{"known parameter", "/a/_bulk?refresh=true&timeout=1m", one, nil, 200},
		{"bad boolean", "/a/_bulk?require_data_stream=yes", one, nil, 400},
		{"too large", "/a/_bulk", strings.Repeat(one, 100), nil, 413},
	} {
		if got, p := r.do("POST", c.path, c.body, c.header...); got != c.want {
			t.Errorf("%s: %d %s", c.name, got, p)
		}
	}
	status, p := r.do("POST", "/a/_bulk?filter_path=errors,items.*.error", one+`{"create":{"_index":"A"}}`+"\n{}\n")
	if want := `{"errors":true,"items":[{"create":{"error":{"reason":"Invalid index name [A], must be lowercase","type":"invalid_index_name_exception"}}}]}`; status != 200 || p != want {
		t.Errorf("filter_path: %s", p)
	}
}

// A request may demand data streams of all its items; one of them may say no.
func TestRequireDataStream(t *testing.T) {
	r := newRig(t, options{})
	status, p := r.do("POST", "/_bulk?require_data_stream=true", `{"create":{"_index":"logs-a-b"}}`+"\n"+`{"@timestamp":1}`+"\n"+
		`{"create":{"_index":"a"}}`+"\n{}\n"+`{"create":{"_index":"a","require_data_stream":false}}`+"\n{}\n")
	var a bulkAnswer
	if err := json.Unmarshal([]byte(p), &a); err != nil || status != 200 || len(a.Items) != 3 {
		t.Fatalf("%d %s", status, p)
	}
	for i, want := range []int{201, 404, 201} {
		if got := a.Items[i]["create"].Status; got != want {
			t.Errorf("item %d: %d", i, got)
		}
	}
	if r.stat.Violations != 1 {
		t.Errorf("%d violations", r.stat.Violations)
	}
}

// What the stub does not know is answered as an error, and remembered.
func TestUnknownRequests(t *testing.T) {
	r := newRig(t, options{})
	for _, path := range []string{"/_xpack/usage", "/a/_doc/1", "/_xpack/usage"} {
		if status, p := r.do("GET", path, ""); status != 400 || !strings.Contains(p, "no handler found") {
			t.Errorf("%s: %d %s", path, status, p)
		}
	}
	if r.strange["GET /_xpack/usage"] != 2 || r.strange["GET /a/_doc/1"] != 1 || len(r.strange) != 2 {
		t.Errorf("%v", r.strange)
	}
}

func TestLooking(t *testing.T) {
	r := newRig(t, options{user: "elastic:secret", keep: 3})
	if status, _ := r.do("GET", "/", ""); status != 401 {
		t.Errorf("without credentials: %d", status)
	}
	auth := []string{"Authorization", "Basic ZWxhc3RpYzpzZWNyZXQ="}
	var body strings.Builder
	for i := range 5 {
		fmt.Fprintf(&body, "{\"create\":{\"_index\":\"i%d\",\"_id\":\"%d\"}}\n{\"v\":%d}\n", i%2, i, i)
	}
	if status, p := r.do("POST", "/_bulk", body.String(), auth...); status != 200 {
		t.Fatal(p)
	}
	for path, want := range map[string]string{
		"/":                       `"number":"8.15.0"`,
		"/_cluster/health":        `"status":"green"`,
		"/_count":                 `"count":5`,
		"/i0/_count":              `"count":3`,
		"/i*/_count":              `"count":5`,
		"/i1/_search":             `"_source":{"v":3}`,
		"/_search?from=1&size=1":  `"hits":[{"_index":"i1","_id":"3","_score":1,"_source":{"v":3}}]`,
		"/i0":                     `{"i0":`,
		"/nothing":                `index_not_found_exception`,
		"/_cat/indices":           "i1 2",
		"/_cat/health":            " stub green ",
		"/_nodes/http":            `"publish_address":"127.0.0.1:`,
		"/_index_template/weir":   "resource_not_found_exception",
		"/_ilm/policy/whatever":   "resource_not_found_exception",
		"/_cluster/health/i0":     "green",
		"/_refresh":               "_shards",
		"/i0/_refresh":            "_shards",
		"/_component_template/xy": "404",
	} {
		if _, p := r.do("GET", path, "", auth...); !strings.Contains(p, want) {
			t.Errorf("%s: %s", path, p)
		}
	}
	if status, p := r.do("PUT", "/_index_template/weir", `{"index_patterns":["ks-*"],"data_stream":{},"priority":500}`, auth...); status != 200 {
		t.Error(p)
	}
	if !r.isDataStream("ks-a") || r.isDataStream("kt-a") {
		t.Error("the template does not count")
	}
	if status, _ := r.do("PUT", "/_index_template/bad", `{"index_pattern":["ks-*"]}`, auth...); status != 400 {
		t.Error("a bad template was taken")
	}
}

func docs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"create\":{\"_index\":\"a\",\"_id\":\"id%d\"}}\n{\"log\":\"s=st n=%d p=payload %d\"}\n", i, i, i)
	}
	return b.String()
}

// truth writes the journal that docs(n) answers to.
func truth(t *testing.T, n int) string {
	path := filepath.Join(t.TempDir(), "journal")
	w, err := journal.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w.Stream(journal.Stream{Name: "st"})
	for i := range n {
		w.Line(journal.Line{Seq: uint64(i), Hash: journal.HashPayload(fmt.Appendf(nil, "payload %d", i)), Bytes: 10, Head: 10})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Whatever the fault, a client that sends again until every item has 201 or 409
// ends with a clean verdict, and the faults have struck.
func TestFaultsAndVerdict(t *testing.T) {
	for name, cfg := range map[string]string{
		"none":         `{}`,
		"items":        `{"p_item_429":0.3,"p_item_503":0.2,"latency":"uniform:10us-1ms"}`,
		"whole 429":    `{"p_429":0.5,"p_503":0.2,"retry_after":"1","latency":"exp:100us"}`,
		"reset before": `{"p_reset_before":0.5}`,
		"reset middle": `{"p_reset_middle":0.5}`,
		"reset after":  `{"p_reset_after":0.5}`,
		"truncate":     `{"p_truncate":0.5}`,
		"proxy":        `{"p_proxy_page":0.5}`,
		"slow":         `{"slow_read":100000}`,
		"poison":       `{"p_item_400":0.1}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{})
			if err := r.in.Merge([]byte(cfg)); err != nil {
				t.Fatal(err)
			}
			const n = 200
			lines := strings.SplitAfter(strings.TrimSuffix(docs(n), "\n"), "\n")
			lines[len(lines)-1] += "\n"
			var queue []string
			for i := 0; i < len(lines); i += 2 {
				queue = append(queue, lines[i]+lines[i+1])
			}
			refused, tries := 0, 0
			for len(queue) > 0 {
				if tries++; tries > 2000 {
					t.Fatal("no end")
				}
				k := min(20, len(queue))
				status, p := r.do("POST", "/_bulk", strings.Join(queue[:k], ""))
				var a bulkAnswer
				if status != 200 || json.Unmarshal([]byte(p), &a) != nil || len(a.Items) != k {
					continue
				}
				again := queue[k:]
				for i, it := range a.Items {
					switch s := it["create"].Status; s {
					case 201, 409:
					case 400:
						refused++
					default:
						again = append(again, queue[i])
					}
				}
				queue = again
			}
			v, err := r.acct.Verify(truth(t, n))
			if err != nil {
				t.Fatal(err)
			}
			if err := v.Err(); err != nil || int(v.Total.Refused) != refused || int(v.Total.Delivered) != n-refused {
				t.Errorf("%v: %+v", err, v.Total)
			}
			counts := r.in.Counts()
			if name != "none" && name != "slow" && len(counts) < 2 {
				t.Errorf("no fault struck: %v", counts)
			}
			if name == "reset after" && r.stat.Conflicts == 0 || r.stat.Violations != 0 || r.stat.Collisions != 0 {
				t.Errorf("%+v", r.stat)
			}
		})
	}
}

// The verdict finds one missing document, one altered byte, one doubled.
func TestVerdictFindsMutations(t *testing.T) {
	for name, mutate := range map[string]func(string) string{
		"missing 1 ": func(s string) string {
			return strings.Replace(s, "{\"create\":{\"_index\":\"a\",\"_id\":\"id7\"}}\n{\"log\":\"s=st n=7 p=payload 7\"}\n", "", 1)
		},
		"different 1": func(s string) string { return strings.Replace(s, "payload 7", "paylaod 7", 1) },
		"doubled 1": func(s string) string {
			return s + "{\"create\":{\"_index\":\"a\",\"_id\":\"other\"}}\n{\"log\":\"s=st n=7 p=payload 7\"}\n"
		},
		"doubled 1 ": func(s string) string { // the same id in another index, as over midnight
			return s + "{\"create\":{\"_index\":\"b\",\"_id\":\"id7\"}}\n{\"log\":\"s=st n=7 p=payload 7\"}\n"
		},
		"extra 1": func(s string) string {
			return s + "{\"create\":{\"_index\":\"a\",\"_id\":\"other\"}}\n{\"log\":\"s=st n=10 p=payload 10\"}\n"
		},
	} {
		r := newRig(t, options{})
		if got := r.bulk(mutate(docs(10))); strings.Contains(got, "4") {
			t.Fatal(got)
		}
		v, err := r.acct.Verify(truth(t, 10))
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Err(); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Two different lines under one id: the second is refused as a conflict,
	// and the stub says that the id was wrong.
	r := newRig(t, options{})
	r.bulk("{\"create\":{\"_index\":\"a\",\"_id\":\"x\"}}\n{\"log\":\"s=st n=0 p=payload 0\"}\n{\"create\":{\"_index\":\"a\",\"_id\":\"x\"}}\n{\"log\":\"s=st n=1 p=payload 1\"}\n")
	if r.stat.Collisions != 1 {
		t.Errorf("%+v", r.stat)
	}
}

func BenchmarkBulk(b *testing.B) {
	a, _ := account.New("")
	s := newStub(options{maxBody: 100 << 20, keep: 100}, a, fault.New(1))
	var body bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&body, "{\"create\":{\"_index\":\"kubernetes-shop-2026.11.22\",\"_id\":\"%032x\"}}\n", i)
		fmt.Fprintf(&body, `{"@timestamp":"2026-11-22T10:00:00.123456789Z","level":"info","status":200,"p":"%s","s":"web/app/0","n":%d,"kubernetes":{"namespace_name":"shop","pod_name":"web","container_name":"app","host":"node"}}`+"\n", strings.Repeat("words and ", 30), i)
	}
	b.SetBytes(int64(body.Len()))
	b.ReportAllocs()
	for b.Loop() {
		req := httptest.NewRequest("POST", "/_bulk", bytes.NewReader(body.Bytes()))
		req.Header.Set("Content-Type", "application/x-ndjson")
		s.ServeHTTP(httptest.NewRecorder(), req)
	}
}
