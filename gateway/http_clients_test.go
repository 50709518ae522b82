package gateway

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// answerSink takes everything, or answers with err, or refuses records whose body
// is "refuse me".
type answerSink struct{ err error }

func (s *answerSink) Batch() *record.Batch { return record.NewBatch(nil) }

func (s *answerSink) Take(_ context.Context, b *record.Batch) (out []Refusal, err error) {
	for i := range b.NumRecords() {
		if string(b.Body(i)) == "refuse me" {
			out = append(out, Refusal{Record: uint32(i), Reason: "too old"})
		}
	}
	b.Abandon()
	return out, s.err
}

type tokenAuth struct{}

func (tokenAuth) Authenticate(_ context.Context, c Credentials, _ string) (Identity, error) {
	if c.Token != "good" {
		return Identity{}, &AuthError{Status: http.StatusUnauthorized, Msg: "no"}
	}
	return Identity{Name: "x"}, nil
}

const testChannel = "0aeeac95-ac74-4aa9-b30d-6c4c0ac581ba"

// What clients of each protocol look at in answers.
func TestHTTPAnswers(t *testing.T) {
	// Channels outlive requests.
	open, err := NewHTTP(Config{})
	if err != nil {
		t.Fatal(err)
	}
	closed, err := NewHTTP(Config{Auth: tokenAuth{}})
	if err != nil {
		t.Fatal(err)
	}
	busy := &ack.SendError{Code: 429, RetryAfter: 3 * time.Second}
	bulk := "{\"create\":{\"_index\":\"i\",\"_id\":\"a\"}}\n{\"log\":\"x\"}\n{\"create\":{\"_index\":\"i\"}}\n{\"log\":\"refuse me\"}\n{\"index\":{\"_index\":\"i\"}}\n{\"log\":\n"
	for _, c := range []struct {
		name, method, path, body string
		header                   string // name: value
		sink                     error
		auth                     bool
		status                   int
		want                     string // regular expression of the whole answer
	}{
		{"info", "GET", "/elastic/", "", "", nil, false, 200, `.*"number":"8\..*"tagline":"You Know, for Search".*`},
		{"license", "GET", "/elastic/_license", "", "", nil, false, 200, `.*"status":"active".*`},
		{"no such template", "GET", "/elastic/_index_template/x", "", "", nil, false, 404, `.*"status":404}`},
		{"template", "PUT", "/elastic/_index_template/x", "{}", "", nil, false, 200, `{"acknowledged":true}`},
		{"policy", "PUT", "/elastic/_ilm/policy/x", "{}", "", nil, false, 200, `{"acknowledged":true}`},
		{"search", "POST", "/elastic/i/_search", "{}", "", nil, false, 404, `{"error":{"root_cause":\[{"type":"resource_not_found_exception",.*`},
		{"bulk", "POST", "/_bulk", bulk, "", nil, false, 200,
			`{"took":\d+,"errors":true,"items":\[{"create":{"_index":"i","_id":"a","_version":1,"result":"created",.*"status":201}},{"create":{"_index":"i","_id":"\w+","status":400,"error":{"type":"illegal_argument_exception","reason":"too old"}}},{"index":{"_index":"i","status":400,"error":{"type":"document_parsing_exception",.*}}}\]}`},
		{"filter", "POST", "/elastic/_bulk?filter_path=errors,items.*.error,items.*.status", bulk, "", nil, false, 200,
			`{"errors":true,"items":\[{"create":{"status":201}},{"create":{"status":400,"error":{"type":"illegal_argument_exception","reason":"too old"}}},{"index":{"status":400,"error":{.*}}}\]}`},
		{"filter of errors", "POST", "/_bulk?filter_path=took,items.*.error.type", "{\"create\":{\"_index\":\"i\"}}\n{}\n", "", nil, false, 200, `{"took":\d+}`},
		{"bulk, busy", "POST", "/_bulk", bulk, "", busy, false, 429, `.*"type":"es_rejected_execution_exception".*"status":429}`},
		{"no bulk", "POST", "/_bulk", "rubbish", "", nil, false, 400, `.*line 1: malformed action/metadata.*`},
		{"bulk, nobody", "POST", "/_bulk", bulk, "", nil, true, 401, `.*"type":"security_exception".*"status":401}`},
		{"bulk, API key", "POST", "/_bulk", "{\"index\":{\"_index\":\"i\"}}\n{}\n", "Authorization: ApiKey bmFtZTpnb29k", nil, true, 200, `{"took":\d+,"errors":false,.*`},
		{"document", "POST", "/elastic/i/_doc", `{"a":1}`, "", nil, false, 201, `.*"result":"created".*`},

		{"hec", "POST", "/services/collector/event/1.0", `{"event":"a"}`, "Authorization: Splunk good", nil, true, 200, `{"text":"Success","code":0}`},
		{"hec, basic", "POST", "/services/collector", `{"event":"a"}`, "Authorization: Basic eDpnb29k", nil, true, 200, `{"text":"Success","code":0}`},
		{"hec, nobody", "POST", "/services/collector", `{"event":"a"}`, "", nil, true, 401, `{"text":"Token is required","code":2}`},
		{"hec, odd", "POST", "/services/collector", `{"event":"a"}`, "Authorization: Splunk", nil, true, 401, `{"text":"Invalid authorization","code":3}`},
		{"hec, wrong", "POST", "/services/collector", `{"event":"a"}`, "Authorization: Splunk bad", nil, true, 403, `{"text":"Invalid token","code":4}`},
		{"hec, empty", "POST", "/services/collector", ``, "", nil, false, 400, `{"text":"No data","code":5}`},
		{"hec, malformed", "POST", "/services/collector", `{"event":"a"}{`, "", nil, false, 400, `{"text":"Invalid data format","code":6,"invalid-event-number":1}`},
		{"hec, no event", "POST", "/services/collector", `{}`, "", nil, false, 400, `{"text":"Event field is required","code":12,"invalid-event-number":0}`},
		{"hec, blank", "POST", "/services/collector", `{"event":""}`, "", nil, false, 400, `{"text":"Event field cannot be blank","code":13,"invalid-event-number":0}`},
		{"hec, fields", "POST", "/services/collector", `{"event":"a","fields":1}`, "", nil, false, 400, `{"text":"Error in handling indexed fields","code":15,"invalid-event-number":0}`},
		{"hec, busy", "POST", "/services/collector", `{"event":"a"}`, "", busy, false, 503, `{"text":"Server is busy","code":9}`},
		{"hec, channel", "POST", "/services/collector?channel=x", `{"event":"a"}`, "", nil, false, 400, `{"text":"Invalid data channel","code":11}`},
		{"hec, token in the query", "POST", "/services/collector?token=good", `{"event":"a"}`, "", nil, false, 400, `{"text":"Query string authorization is not enabled","code":16}`},
		{"hec, ack", "POST", "/services/collector/raw?channel=" + testChannel, "a", "", nil, false, 200, `{"text":"Success","code":0,"ackId":0}`},
		{"hec, acks", "POST", "/services/collector/ack?channel=" + testChannel, `{"acks":[0,1]}`, "", nil, false, 200, `{"acks":{"0":true,"1":false}}`},
		{"hec, acks once", "POST", "/services/collector/ack", `{"acks":[0]}`, "X-Splunk-Request-Channel: " + testChannel, nil, false, 200, `{"acks":{"0":false}}`},
		{"hec, health", "GET", "/services/collector/health", "", "", nil, true, 200, `{"text":"HEC is healthy","code":17}`},

		{"datadog", "POST", "/api/v2/logs", `[{"message":"a"}]`, "DD-API-KEY: good", nil, true, 202, `{}`},
		{"datadog, wrong", "POST", "/api/v2/logs", `[{"message":"a"}]`, "DD-API-KEY: bad", nil, true, 403, `{"errors":\[{"status":"403",.*`},
		{"datadog, v1", "POST", "/v1/input/good", `{"message":"a"}`, "", nil, true, 200, `{}`},
		{"datadog, busy", "POST", "/api/v2/logs", `[{"message":"a"}]`, "", busy, false, 429, `{"errors":\[{"status":"429",.*`},
		{"audit", "POST", "/audit", `{"items":[{"auditID":"a"}]}`, "", nil, false, 200, ``},
		{"audit, busy", "POST", "/audit", `{"items":[{"auditID":"a"}]}`, "", busy, false, 429, `(?s).*`},
		{"journal", "POST", "/upload", "MESSAGE=a\n\n", "Content-Type: application/vnd.fdo.journal", nil, false, 202, `OK.\n`},
		{"journal, other", "POST", "/upload", "MESSAGE=a\n\n", "", nil, false, 415, `(?s).*`},
		{"journal, cut", "POST", "/upload", "MESSAGE\n\x05\x00\x00\x00\x00\x00\x00\x00a", "Content-Type: application/vnd.fdo.journal", nil, false, 400, `(?s).*cut off.*`},
		{"lines", "POST", "/lines?app=x", "a\nb", "", nil, false, 204, ``},
		{"lines, some", "POST", "/lines?format=json", "{}\nb", "", nil, false, 400, `(?s)line 2: .*total ignored: 1 out of 2\n`},
		{"lines, format", "POST", "/lines?format=xml", "a", "", nil, false, 400, `(?s).*text, json and auto.*`},
		{"lines, encoding", "POST", "/lines", "a", "Content-Encoding: br", nil, false, 415, `(?s).*`},
		{"jsonline", "POST", "/insert/jsonline?_msg_field=m", "{\"m\":\"a\"}\nbad\n", "", nil, false, 200, ``},
		{"gelf", "POST", "/gelf", `{"version":"1.1","host":"h","short_message":"a"}` + "\n" + `{"version":"1.1","host":"h","short_message":"b"}`, "", nil, false, 202, ``},
		{"gelf, none", "POST", "/gelf", `x`, "", nil, false, 400, `(?s).*`},
	} {
		h := open
		if c.auth {
			h = closed
		}
		h.cfg.Sink = &answerSink{err: c.sink}
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
			if name, value, ok := strings.Cut(c.header, ": "); ok {
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			p, _ := io.ReadAll(w.Result().Body)
			if w.Code != c.status || !regexp.MustCompile("^"+c.want+"$").Match(p) {
				t.Errorf("%d %s", w.Code, p)
			}
			if (w.Code == 429 || w.Code == 503) && w.Header().Get("Retry-After") != "3" {
				t.Errorf("Retry-After: %s", w.Header().Get("Retry-After"))
			}
			if strings.HasPrefix(c.path, "/elastic") && w.Header().Get("X-Elastic-Product") != "Elasticsearch" {
				t.Error("no X-Elastic-Product")
			}
		})
	}
}

// graypy names every encoding it knows in one header: the body says which it is.
func TestGELFEncodingsTogether(t *testing.T) {
	const message = `{"version":"1.1","host":"h","short_message":"a"}`
	var z, g bytes.Buffer
	zw, gw := zlib.NewWriter(&z), gzip.NewWriter(&g)
	for _, w := range []io.WriteCloser{zw, gw} {
		io.WriteString(w, message)
		w.Close()
	}
	h, err := NewHTTP(Config{Sink: &answerSink{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, encoding, body string
		status               int
	}{
		{"graypy", "gzip,deflate", z.String(), 202},
		{"gzip", "deflate, gzip", g.String(), 202},
		{"neither", "gzip, deflate", message, 202},
		{"cut", "gzip,deflate", z.String()[:z.Len()/2], 400},
		{"empty", "gzip,deflate", "", 400},
		{"two headers", "gzip\ndeflate", z.String(), 202},
		{"one, and it is wrong", "gzip", z.String(), 400},
		{"unknown", "br", z.String(), 415},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/gelf", strings.NewReader(c.body))
			for e := range strings.SplitSeq(c.encoding, "\n") {
				r.Header.Add("Content-Encoding", e)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.status {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}
