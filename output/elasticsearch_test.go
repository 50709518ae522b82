package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/elastic"
)

var _ sender = (*Elasticsearch)(nil)

func newElastic(t testing.TB, conf HTTPConfig, op elastic.Op) *Elasticsearch {
	t.Helper()
	tmpl, err := wire.ParseTemplate("kubernetes-${namespace}-%Y.%m.%d", wire.SanitizeIndex)
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewElasticsearch(ElasticsearchConfig{HTTPConfig: conf, Encoding: elastic.Config{Index: tmpl, IDs: true, Op: op}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

// item is one item of a bulk answer.
func item(op string, status int, typ, reason string) string {
	if typ == "" {
		return fmt.Sprintf(`{%q:{"status":%d}}`, op, status)
	}
	return fmt.Sprintf(`{%q:{"status":%d,"error":{"type":%q,"reason":%q}}}`, op, status, typ, reason)
}

func bulkAnswer(items ...string) string {
	bad := false
	for _, it := range items {
		bad = bad || strings.Contains(it, "error")
	}
	return fmt.Sprintf(`{"took":3,"errors":%v,"items":[%s]}`, bad, strings.Join(items, ","))
}

func answering(t testing.TB, status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		bodyOf(t, r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestElasticsearchRequest(t *testing.T) {
	var got []byte
	var r0 *http.Request
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		got, r0 = bodyOf(t, r), r
		_, _ = io.WriteString(w, bulkAnswer(item("create", 201, "", ""), item("create", 201, "", "")))
	})
	o := newElastic(t, HTTPConfig{URL: s.URL + "/es/", Auth: Auth{APIKey: "a2V5"}}, "")
	res, err := o.Send(t.Context(), someParts("hello", `{"msg":"hi"}`))
	if err != nil || len(res.Failures) > 0 || res.Bytes == 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	rows := bytes.Split(bytes.TrimSuffix(got, []byte("\n")), []byte("\n"))
	if len(rows) != 4 || got[len(got)-1] != '\n' {
		t.Fatalf("body %q", got)
	}
	for i, row := range rows {
		var m map[string]map[string]string
		if err := json.Unmarshal(row, &m); i%2 == 0 && (err != nil || m["create"]["_index"] != "kubernetes-shop-2026.11.18" || len(m["create"]["_id"]) != 32) {
			t.Errorf("action %s: %v", row, err)
		}
		if !json.Valid(row) {
			t.Errorf("not JSON: %s", row)
		}
	}
	if r0.URL.Path != "/es/_bulk" || !strings.Contains(r0.URL.RawQuery, "filter_path=errors,items.*.status") || r0.Header.Get("Content-Encoding") != "gzip" ||
		r0.Header.Get("Content-Type") != "application/x-ndjson" || r0.Header.Get("Authorization") != "ApiKey a2V5" {
		t.Errorf("request %s %v", r0.URL, r0.Header)
	}
}

func TestFailure79_ItemsAreJudgedOneByOne(t *testing.T) {
	items := []string{
		0:  item("create", 201, "", ""),
		1:  item("create", 200, "", ""),
		2:  item("create", 409, "version_conflict_engine_exception", "[x]: version conflict, document already exists"),
		3:  item("create", 429, "es_rejected_execution_exception", "rejected execution of 'canary'"),
		4:  item("create", 503, "unavailable_shards_exception", "primary shard is not active"),
		5:  item("create", 500, "whatever", "canary"),
		6:  item("create", 400, "document_parsing_exception", "[1:9] failed to parse field [user.id] of type [long] in document with id 'x'. Preview of field's value: 'canary'"),
		7:  item("create", 400, "mapper_parsing_exception", "object mapping for [app] tried to parse field [app] as object, but found a concrete value"),
		8:  item("create", 404, "index_not_found_exception", "no such index [canary]"),
		9:  item("create", 403, "cluster_block_exception", "index [canary] blocked by: [FORBIDDEN/12/index read-only / allow delete (api)]"),
		10: item("create", 400, "index_closed_exception", "closed"),
		11: item("create", 400, "validation_exception", "this action would add [2] shards, but this cluster currently has [1000]/[1000] maximum normal shards open"),
		12: item("create", 400, "validation_exception", "canary"),
		13: item("create", 413, "too_big\r\nX: y", "canary"),
		14: item("create", 201, "", ""),
	}
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "9")
		answering(t, 200, bulkAnswer(items...))(w, r)
	})
	o := newElastic(t, HTTPConfig{URL: s.URL}, "")
	// Three parts, of which the second leaves out records.
	bodies := lines(len(items))
	b1, b2, b3 := batchOf(testStream, bodies[:4]...), batchOf(testStream, append([]string{"no", "no"}, bodies[4:9]...)...), batchOf(testStream, bodies[9:]...)
	ps := partsOf(b1, b2, b3)
	ps[1] = ps[1].Select([]uint32{2, 3, 4, 5, 6})
	res, err := o.Send(t.Context(), ps)
	if err != nil {
		t.Fatal(err)
	}
	want := []ack.Failure{
		{Part: 0, Record: 3, Reason: "429 es_rejected_execution_exception"},
		{Part: 1, Record: 2, Reason: "503 unavailable_shards_exception"},
		{Part: 1, Record: 3, Reason: "500 whatever"},
		{Part: 1, Record: 4, Permanent: true, Reason: "400 document_parsing_exception field user.id"},
		{Part: 1, Record: 5, Permanent: true, Reason: "400 mapper_parsing_exception field app"},
		{Part: 1, Record: 6, Permanent: true, Reason: "404 index_not_found_exception"},
		{Part: 2, Record: 0, Reason: "403 cluster_block_exception"},
		{Part: 2, Record: 1, Reason: "400 index_closed_exception"},
		{Part: 2, Record: 2, Reason: "400 validation_exception"},
		{Part: 2, Record: 3, Permanent: true, Reason: "400 validation_exception"},
		{Part: 2, Record: 4, Permanent: true, Reason: "413 too_big__X__y"},
	}
	if d := cmp.Diff(want, res.Failures); d != "" {
		t.Error(d)
	}
	if res.RetryAfter != 9*time.Second {
		t.Errorf("RetryAfter %v", res.RetryAfter)
	}
	for _, f := range res.Failures {
		if strings.Contains(f.Reason, "canary") {
			t.Errorf("a reason quotes content: %q", f.Reason)
		}
	}
}

// esLike stores documents by id, with create's rule.
type esLike struct {
	mu   sync.Mutex
	docs map[string]int // id → times stored
	hits int
}

func (e *esLike) handle(t testing.TB, w http.ResponseWriter, r *http.Request) string {
	var items []string
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hits++
	for i, row := range bytes.Split(bytes.TrimSuffix(bodyOf(t, r), []byte("\n")), []byte("\n")) {
		if i%2 == 1 {
			continue
		}
		var m map[string]struct {
			ID string `json:"_id"`
		}
		if err := json.Unmarshal(row, &m); err != nil {
			t.Errorf("action %q: %v", row, err)
		}
		if id := m["create"].ID; e.docs[id] > 0 {
			items = append(items, item("create", 409, "version_conflict_engine_exception", "exists"))
		} else {
			e.docs[id]++
			items = append(items, item("create", 201, "", ""))
		}
	}
	return bulkAnswer(items...)
}

// Row 78: the server stored everything and the answer was lost. The same
// records again have the same ids, and what is there already is delivered.
func TestFailure78_TimeoutAfterTheServerStored(t *testing.T) {
	e := &esLike{docs: map[string]int{}}
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		body := e.handle(t, w, r)
		if e.hits == 1 { // cut the connection instead of answering
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
			return
		}
		_, _ = io.WriteString(w, body)
	})
	o := newElastic(t, HTTPConfig{URL: s.URL}, "")
	ps := someParts(lines(100)...)
	_, err := o.Send(t.Context(), ps)
	wantKind(t, err, ack.Retry)
	res, err := o.Send(t.Context(), ps)
	if err != nil || len(res.Failures) != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if len(e.docs) != 100 {
		t.Errorf("%d documents, want 100", len(e.docs))
	}
}

func TestElasticsearchConflictWithIndexIsNoSuccess(t *testing.T) {
	s := server(t, answering(t, 200, bulkAnswer(item("index", 409, "version_conflict_engine_exception", "x"))))
	o := newElastic(t, HTTPConfig{URL: s.URL}, elastic.Index)
	res, err := o.Send(t.Context(), someParts("a"))
	if err != nil || len(res.Failures) != 1 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestFailure85_AnswersThatAreNoBulkAnswers(t *testing.T) {
	ok := item("create", 201, "", "")
	for name, body := range map[string]string{
		"empty":          "",
		"page":           "<html>Please sign in</html>",
		"other JSON":     `{"ok":true}`,
		"one item short": bulkAnswer(ok),
		"one item more":  bulkAnswer(ok, ok, ok),
		"no items":       `{"took":1,"errors":false}`,
		"truncated":      bulkAnswer(ok, ok)[:30],
		"cut in errors":  bulkAnswer(ok, item("create", 400, "t", "r"))[:60],
		"error body":     `{"error":{"type":"x","reason":"canary"},"status":200}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := server(t, answering(t, 200, body))
			o := newElastic(t, HTTPConfig{URL: s.URL}, "")
			_, err := o.Send(t.Context(), someParts("a", "b"))
			se := wantKind(t, err, ack.Retry)
			if se.Code != 200 || strings.Contains(se.Error(), "canary") {
				t.Errorf("error %+v", se)
			}
		})
	}
	// 204 and 302 are no bulk answers either.
	for _, status := range []int{201, 204, 302} {
		s := server(t, answering(t, status, ""))
		o := newElastic(t, HTTPConfig{URL: s.URL}, "")
		_, err := o.Send(t.Context(), someParts("a"))
		wantKind(t, err, ack.Retry)
	}
}

func TestFailure81_BulkTooLarge(t *testing.T) {
	s := server(t, answering(t, 413, ""))
	o := newElastic(t, HTTPConfig{URL: s.URL}, "")
	_, err := o.Send(t.Context(), someParts("a", "b"))
	wantKind(t, err, ack.TooLarge)
}

func TestElasticsearchWholeRequestErrors(t *testing.T) {
	errBody := func(status int, typ string) string {
		return fmt.Sprintf(`{"error":{"root_cause":[{"type":%q,"reason":"canary"}],"type":%q,"reason":"canary"},"status":%d}`, typ, typ, status)
	}
	for status, kind := range map[int]ack.ErrorKind{
		400: ack.Rejected, 401: ack.Unauthorized, 403: ack.Unauthorized, 404: ack.Retry, 429: ack.Retry, 500: ack.Retry, 503: ack.Retry,
	} {
		s := server(t, answering(t, status, errBody(status, "some_exception")))
		o := newElastic(t, HTTPConfig{URL: s.URL}, "")
		_, err := o.Send(t.Context(), someParts("a"))
		se := wantKind(t, err, kind)
		if !strings.Contains(se.Error(), "some_exception") || strings.Contains(se.Error(), "canary") {
			t.Errorf("error %q", se)
		}
	}
	// Every item refused for want of permission is the credentials' fault.
	denied := item("create", 403, "security_exception", "action [x] is unauthorized for user [canary]")
	s := server(t, answering(t, 200, bulkAnswer(denied, denied)))
	o := newElastic(t, HTTPConfig{URL: s.URL}, "")
	_, err := o.Send(t.Context(), someParts("a", "b"))
	if se := wantKind(t, err, ack.Unauthorized); strings.Contains(se.Error(), "canary") {
		t.Errorf("error %q", se)
	}
}

func TestElasticsearchProbe(t *testing.T) {
	for status, ok := range map[int]bool{200: true, 400: true, 401: false, 403: false, 404: false, 500: false, 302: false} {
		s := server(t, answering(t, status, ""))
		o := newElastic(t, HTTPConfig{URL: s.URL}, "")
		if err := o.Probe(t.Context()); (err == nil) != ok {
			t.Errorf("%d: %v", status, err)
		}
	}
	o := newElastic(t, HTTPConfig{URL: "http://127.0.0.1:1"}, "")
	if err := o.Probe(t.Context()); err == nil {
		t.Error("nobody there, no error")
	}
}
