package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
)

const v1 = "/loki/api/v1/"

// TestAnswers compares answers byte for byte, apart from statistics.
func TestAnswers(t *testing.T) {
	s := newServer(t, Config{Store: shop(), Version: Version{Version: "1.2.3", GoVersion: "go"}})
	web1 := `["1700000001000000000","level=info path=/a dur=15ms size=2KB"`
	web2 := `["1700000003000000000","level=warn path=/b dur=1s size=3KB"`
	for _, c := range []struct {
		name, path string
		form       []string
		header     []string
		want       string
	}{
		{"lines", "query_range", []string{"query", `{app="web"}`}, nil,
			`{"status":"success","data":{"resultType":"streams","result":[` +
				`{"stream":{"app":"web","detected_level":"info","namespace":"shop","service_name":"web","trace_id":"t1"},"values":[` + web1 + `]]},` +
				`{"stream":{"app":"web","detected_level":"warn","namespace":"shop","service_name":"web"},"values":[` + web2 + `]]}]}}`},
		{"where labels come from", "query_range", []string{"query", `{app="web"} | logfmt path, level="level"`}, []string{"X-Loki-Response-Encoding-Flags", "x, categorize-labels"},
			`{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[` +
				`{"stream":{"app":"web","namespace":"shop","service_name":"web"},"values":[` +
				web2 + `,{"structuredMetadata":{"detected_level":"warn"},"parsed":{"level":"warn","path":"/b"}}],` +
				web1 + `,{"structuredMetadata":{"detected_level":"info","trace_id":"t1"},"parsed":{"level":"info","path":"/a"}}]]}]}}`},
		{"nothing beside the labels", "query_range", []string{"query", `{app="web"} | drop detected_level`, "limit", "1"}, []string{"X-Loki-Response-Encoding-Flags", "categorize-labels"},
			`{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[` +
				`{"stream":{"app":"web","namespace":"shop","service_name":"web"},"values":[` + web2 + `,{}]]}]}}`},
		{"forward, limited", "query_range", []string{"query", `{app="web"} | drop trace_id, detected_level`, "direction", "FORWARD", "limit", "1"}, nil,
			`{"status":"success","data":{"resultType":"streams","result":[{"stream":{"app":"web","namespace":"shop","service_name":"web"},"values":[` + web1 + `]]}]}}`},
		{"apart", "query_range", []string{"query", `{app="web"} | drop trace_id, detected_level`, "interval", "5s", "limit", "2"}, nil,
			`{"status":"success","data":{"resultType":"streams","result":[{"stream":{"app":"web","namespace":"shop","service_name":"web"},"values":[` + web2 + `]]}]}}`},
		{"bytes of all kinds", "query_range", []string{"query", `{job="raw"} | drop uid`}, nil,
			`{"status":"success","data":{"resultType":"streams","result":[{"stream":{"detected_level":"unknown","job":"raw","service_name":"raw"},"values":[["1700000005000000000",` +
				`"a \"plain\" line\t\u0001` + "\ufffd<&>\u2028 é" + `"]]}]}}`},
		{"no lines", "query_range", []string{"query", `{app="nope"}`}, nil, `{"status":"success","data":{"resultType":"streams","result":[]}}`},
		{"matrix", "query_range", []string{"query", `sum by (app) (count_over_time({namespace="shop"}[10s]))`, "step", "10"}, nil,
			`{"status":"success","data":{"resultType":"matrix","result":[` +
				`{"metric":{"app":"api"},"values":[[1700000010,"2"]]},{"metric":{"app":"web"},"values":[[1700000010,"2"]]}]}}`},
		{"milliseconds", "query_range", []string{"query", `count_over_time({job="raw"}[10s]) / 3`, "start", "1700000005.51", "end", "1700000005.9", "step", "500ms"}, nil,
			`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"detected_level":"unknown","job":"raw","service_name":"raw","uid":"6f3c1e1a-2b1c-4d5e-8f90-112233445566"},` +
				`"values":[[1700000005.5,"0.3333333333333333"],[1700000006,"0.3333333333333333"]]}]}}`},
		{"Grafana's health check", "query", []string{"query", `vector(1)+vector(1)`, "time", "1700000000000000000"}, nil,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000000,"2"]}]}}`},
		{"scalar", "query", []string{"query", `2^5000`, "time", "2023-11-14T22:13:20.5Z"}, nil,
			`{"status":"success","data":{"resultType":"scalar","result":[1700000000.5,"+Inf"]}}`},
		{"vector", "query", []string{"query", `sum(count_over_time({namespace="shop"} |= "level" [1h]))`, "time", "1700000060"}, nil,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000060,"4"]}]}}`},
		{"labels", "labels", nil, nil, `{"status":"success","data":["app","job","namespace","service_name","uid"]}`},
		{"its alias", "label", []string{"query", `{app="web"}`}, nil, `{"status":"success","data":["app","namespace","service_name"]}`},
		{"no labels", "labels", []string{"start", "5", "end", "6"}, nil, `{"status":"success","data":[]}`},
		{"values", "label/app/values", nil, nil, `{"status":"success","data":["api","web"]}`},
		{"values of some", "label/app/values", []string{"query", `{app=~"w.*"}`}, nil, `{"status":"success","data":["web"]}`},
		{"a name that is somewhere else", "label/app/values", []string{"query", `{job="raw"}`}, nil, `{"status":"success","data":[]}`},
		{"levels are of rows", "label/app/values", []string{"query", `{namespace="shop", level="error"}`}, nil, `{"status":"success","data":["api","web"]}`},
		{"series", "series", []string{"match[]", `{app="web"}`, "match[]", `{namespace="shop"}`, "match[]", `{nope="x"}`}, nil,
			`{"status":"success","data":[{"app":"api","namespace":"shop","service_name":"api"},{"app":"web","namespace":"shop","service_name":"web"}]}`},
		{"no series", "series", []string{"match[]", `{app="nope"}`}, nil, `{"status":"success","data":[]}`},
		{"statistics", "index/stats", []string{"query", `{app="web"}`}, nil, `{"streams":1,"chunks":1,"bytes":70,"entries":2}`},
		{"volume", "index/volume", []string{"query", `{service_name=~".+"}`}, nil,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"service_name":"api"},"value":[1700000060,"120"]},{"metric":{"service_name":"web"},"value":[1700000060,"70"]},{"metric":{"service_name":"raw"},"value":[1700000060,"26"]}]}}`},
		{"largest volume", "index/volume", []string{"query", `{service_name=~".+"}`, "limit", "1"}, nil,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"service_name":"api"},"value":[1700000060,"120"]}]}}`},
		{"volume by target", "index/volume", []string{"query", `{namespace="shop"}`, "targetLabels", "app,namespace"}, nil,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"app":"api","namespace":"shop"},"value":[1700000060,"120"]},{"metric":{"app":"web","namespace":"shop"},"value":[1700000060,"70"]}]}}`},
		{"volume by a target that few have", "index/volume", []string{"query", `{service_name=~".+"}`, "targetLabels", "app,job"}, nil,
			`{"status":"success","data":{"resultType":"vector","result":[]}}`},
		{"volume by labels", "index/volume", []string{"query", `{service_name=~"api|raw"}`, "aggregateBy", "labels"}, nil,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"service_name":""},"value":[1700000060,"146"]},{"metric":{"app":""},"value":[1700000060,"120"]},` +
				`{"metric":{"namespace":""},"value":[1700000060,"120"]},{"metric":{"job":""},"value":[1700000060,"26"]},{"metric":{"uid":""},"value":[1700000060,"26"]}]}}`},
		{"volumes in time", "index/volume_range", []string{"query", `{app=~"web|api"}`, "step", "2s", "start", "1700000001", "end", "1700000004.5"}, nil,
			`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"app":"api"},"values":[[1700000003.999,"61"],[1700000004.5,"59"]]},` +
				`{"metric":{"app":"web"},"values":[[1700000001.999,"36"],[1700000003.999,"34"]]}]}}`},
		{"volumes in time by labels", "index/volume_range", []string{"query", `{service_name=~".+"}`, "step", "1h", "aggregateBy", "labels"}, nil,
			`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"service_name":""},"values":[[1700000060,"216"]]},{"metric":{"app":""},"values":[[1700000060,"190"]]},` +
				`{"metric":{"namespace":""},"values":[[1700000060,"190"]]},{"metric":{"job":""},"values":[[1700000060,"26"]]},{"metric":{"uid":""},"values":[[1700000060,"26"]]}]}}`},
		{"detected labels", "detected_labels", nil, nil,
			`{"detectedLabels":[{"label":"app","cardinality":2},{"label":"job","cardinality":1},{"label":"namespace","cardinality":1},{"label":"service_name","cardinality":3}]}`},
		{"detected fields", "detected_fields", []string{"query", `{namespace="shop"}`, "limit", "50"}, nil,
			`{"fields":[{"label":"detected_level","type":"string","cardinality":3,"parsers":null},{"label":"dur","type":"duration","cardinality":2,"parsers":["logfmt"]},` +
				`{"label":"level","type":"string","cardinality":3,"parsers":["json","logfmt"],"jsonPath":["level"]},{"label":"nested_a_b","type":"float","cardinality":2,"parsers":["json"],"jsonPath":["nested","a b"]},` +
				`{"label":"ok","type":"boolean","cardinality":2,"parsers":["json"],"jsonPath":["ok"]},{"label":"path","type":"string","cardinality":2,"parsers":["logfmt"]},` +
				`{"label":"size","type":"bytes","cardinality":2,"parsers":["logfmt"]},{"label":"status","type":"int","cardinality":2,"parsers":["json"],"jsonPath":["status"]},` +
				`{"label":"trace_id","type":"string","cardinality":2,"parsers":null}],"limit":50}`},
		{"values of a field", "detected_field/status/values", []string{"query", `{namespace="shop"} | label_format x="y"`}, nil, `{"limit":1000,"values":["200","503"]}`},
		{"of none", "detected_field/nope/values", []string{"query", `{namespace="shop"}`}, nil, `{"limit":1000,"values":[]}`},
		{"usual form", "format_query", []string{"query", `{app="x"}|json|a>2`}, nil, `{"status":"success","data":"{app=\"x\"} | json | a > 2"}`},
		{"usual form of a long query", "format_query", []string{"query", `{app="x"}|="` + strings.Repeat("a", 100) + `"|json`}, nil, `{"status":"success","data":"{app=\"x\"}\n  |= \"` + strings.Repeat("a", 100) + `\"\n  | json"}`},
		{"version", "status/buildinfo", nil, nil, `{"version":"1.2.3","revision":"","branch":"","buildUser":"","buildDate":"","goVersion":"go"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := get(s, v1+c.path, form(c.form...), c.header...)
			if w.Code != http.StatusOK {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			if got := withoutStats(t, w.Body.Bytes()); got != c.want {
				t.Errorf("answer:\n%s\nwanted:\n%s", got, c.want)
			}
			// A form says the same.
			r := httptest.NewRequest("POST", v1+c.path, strings.NewReader(form(c.form...).Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for i := 0; i < len(c.header); i += 2 {
				r.Header.Set(c.header[i], c.header[i+1])
			}
			p := httptest.NewRecorder()
			s.ServeHTTP(p, r)
			if got := withoutStats(t, p.Body.Bytes()); got != c.want {
				t.Errorf("as a form: %s", got)
			}
		})
	}
}

func TestStatisticsAreReal(t *testing.T) {
	s := newServer(t, Config{Store: shop()})
	w := get(s, v1+"query_range", form("query", `{namespace="shop"} |= "level=info"`))
	var a struct {
		Data struct {
			Stats queryStats `json:"stats"`
		} `json:"data"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	sum := a.Data.Stats.Summary
	if sum.Lines != 5 || sum.Bytes != 190+26 || sum.PostFilterLines != 1 || sum.EntriesReturned != 1 || sum.ExecTime <= 0 || sum.LinesPerSecond <= 0 {
		t.Errorf("summary %+v", sum)
	}
	if st := a.Data.Stats.Querier.Store; st.ChunksRef != 1 || st.Chunk.DecompressedLines != 5 {
		t.Errorf("store %+v", st)
	}
	st := s.Stats()
	if st.Requests[[2]string{"query_range", "2xx"}] != 1 || st.Rows != 5 || st.Seconds["query_range"] <= 0 || st.ResponseBytes != int64(w.Body.Len()) {
		t.Errorf("counters %+v", st)
	}
}

func TestErrors(t *testing.T) {
	m := shop()
	s := newServer(t, Config{Store: m})
	for _, c := range []struct {
		path   string
		form   []string
		status int
		has    string
	}{
		{"query_range", []string{"query", `{app="x"`}, 400, "parse error at line 1, col 9: expected"},
		{"query_range", []string{"query", ``}, 400, "parse error at line 1, col 1"},
		{"query_range", []string{"query", `{app="x"} | unwrp y`}, 400, "col "},
		{"query_range", []string{"query", `{app=~".*"}`}, 400, "parse error"},
		{"query_range", []string{"query", `{app="x"}`, "limit", "x"}, 400, "'limit'"},
		{"query_range", []string{"query", `{app="x"}`, "limit", "0"}, 400, "limit must be a positive value"},
		{"query_range", []string{"query", `{app="x"}`, "limit", "50001"}, 400, "limit > 50000 (50001)"},
		{"query_range", []string{"query", `{app="x"}`, "direction", "up"}, 400, "invalid direction"},
		{"query_range", []string{"query", `{app="x"}`, "start", "yesterday"}, 400, "'start'"},
		{"query_range", []string{"query", `{app="x"}`, "end", "9e99.0"}, 400, "'end'"},
		{"query_range", []string{"query", `{app="x"}`, "start", "9", "end", "8"}, 400, "end timestamp must not be before"},
		{"query_range", []string{"query", `{app="x"}`, "start", "9", "end", "9"}, 400, "end timestamp must not be before"},
		{"query_range", []string{"query", `{app="x"}`, "start", "9", "end", "8"}, 400, "end timestamp must not be before"},
		{"query_range", []string{"query", `{app="x"}`, "step", "-1"}, 400, "zero or negative"},
		{"query_range", []string{"query", `{app="x"}`, "step", "1parsec"}, 400, "'step'"},
		{"query_range", []string{"query", `{app="x"}`, "interval", "-1"}, 400, "'interval'"},
		{"query_range", []string{"query", `{app="x"}`, "since", "-1h"}, 400, "'since'"},
		{"query_range", []string{"query", `rate({app="x"}[1m])`, "step", "0.001"}, 400, "11,000 points"},
		{"query_range", []string{"query", `sum_over_time({app="web"} | logfmt | unwrap path [1m])`}, 400, "SampleExtractionErr"},
		{"query", []string{"query", `{app="x"}`}, 400, "log queries are not supported as an instant query type"},
		{"query", []string{"query", `vector(1)`, "time", "x"}, 400, "'time'"},
		{"series", []string{"match[]", `x`}, 400, "parse error"},
		{"labels", []string{"query", `{`}, 400, "parse error"},
		{"index/stats", nil, 400, "query is missing"},
		{"index/volume", nil, 400, "query is missing"},
		{"index/volume", []string{"query", `{app="x"}`, "aggregateBy", "x"}, 400, "invalid aggregation option"},
		{"index/volume_range", []string{"query", `{app="x"}`, "step", "0.00001"}, 400, "11,000 points"},
		{"detected_fields", nil, 400, "query is missing"},
		{"detected_fields", []string{"query", `rate({app="x"}[1m])`}, 400, "parse error"},
		{"detected_fields", []string{"query", `{app="x"}`, "line_limit", "100000000"}, 400, "line_limit"},
		{"format_query", []string{"query", `{`}, 400, `{"status":"invalid-query","error":"parse error at line 1, col 2`},
		{"tail", []string{"query", `{app="x"}`}, 400, "WebSocket"},
		{"tail", []string{"query", `{app="x"}`, "delay_for", "6"}, 400, "delay_for"},
		{"patterns", []string{"query", `{app="x"}`}, 404, ""},
		{"rules", nil, 404, "no rule groups"},
		{"nothing", nil, 404, ""},
	} {
		w := get(s, v1+c.path, form(c.form...))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.has) {
			t.Errorf("%s %v: %d %s, wanted %d %s", c.path, c.form, w.Code, w.Body, c.status, c.has)
		}
		if ct := w.Header().Get("Content-Type"); c.path != "format_query" && ct != "text/plain; charset=utf-8" {
			t.Errorf("%s: content type %s", c.path, ct)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no nosniff", c.path)
		}
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH"} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(method, v1+"labels", nil))
		if w.Code != 405 || w.Header().Get("Allow") != "GET, POST" {
			t.Errorf("%s: %d %v", method, w.Code, w.Header())
		}
	}
}

// TestDetectedValuesAreCopies has many lines whose values come again and again:
// what was seen must not change with the memory of the lines.
func TestDetectedValuesAreCopies(t *testing.T) {
	m := &memStore{}
	for i := range 500 {
		m.add("", labelsOf("app", "x"), t0+int64(i), record.Info, fmt.Sprintf(`{"msg":"a \"%d\"","n%d":%d}`, i%7, i%3, i%5))
	}
	s := newServer(t, Config{Store: m})
	w := get(s, v1+"detected_field/msg/values", form("query", `{app="x"}`))
	if want := `{"limit":1000,"values":["a \"2\"","a \"1\"","a \"0\"","a \"6\"","a \"5\"","a \"4\"","a \"3\""]}` + "\n"; w.Body.String() != want {
		t.Errorf("%s, wanted %s", w.Body, want)
	}
}
