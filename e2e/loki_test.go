package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// The differential test of the query API: the same lines go into a real Loki
// and into `weir store`, both are asked the same, and the answers must be equal
// but for statistics and for what docs/loki-api.md names. Loki's answer must not
// be empty, so that nothing is equal by saying nothing.
//
//	WEIR_LOKI=/path/to/loki go test ./e2e -run TestLoki -v
//
// where the binary was built with
//
//	go build -o /path/to/loki github.com/grafana/loki/v3/cmd/loki

const lokiConfig = `
auth_enabled: false
analytics: {reporting_enabled: false}
server: {http_listen_address: 127.0.0.1, http_listen_port: HTTPPORT, grpc_listen_address: 127.0.0.1, grpc_listen_port: GRPCPORT, log_level: warn}
common:
  instance_addr: 127.0.0.1
  instance_interface_names: [lo]
  path_prefix: DIR
  replication_factor: 1
  ring: {kvstore: {store: inmemory}, instance_addr: 127.0.0.1}
  storage: {filesystem: {chunks_directory: DIR/chunks, rules_directory: DIR/rules}}
schema_config:
  configs: [{from: 2024-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}]
frontend_worker: {frontend_address: '127.0.0.1:GRPCPORT'}
ingester:
  wal: {enabled: false}
  lifecycler: {ring: {kvstore: {store: inmemory}, replication_factor: 1}, final_sleep: 0s, min_ready_duration: 0s}
query_range: {cache_results: false, cache_index_stats_results: false, cache_volume_results: false}
pattern_ingester: {enabled: false}
limits_config:
  volume_enabled: true
  allow_structured_metadata: true
  discover_log_levels: true
  reject_old_samples: false
  max_cache_freshness_per_query: 0s
`

// rival is a server with Loki's API.
type rival struct {
	name, base string
	start      func()
	proc       *process
}

func (r *rival) ready(t *testing.T) {
	t.Helper()
	r.start()
	for deadline := time.Now().Add(patience()); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(r.base + "/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				return
			}
		}
		if !r.proc.alive() || time.Now().After(deadline) {
			t.Fatalf("%s does not become ready\n%s", r.name, r.proc.tail())
		}
	}
}

// push sends a body in Loki's JSON form.
func (r *rival) push(t *testing.T, body []byte) {
	t.Helper()
	resp, err := http.Post(r.base+"/loki/api/v1/push", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != 204 {
		t.Fatalf("%s: push: %d %s", r.name, resp.StatusCode, text)
	}
}

// ask makes a request; post sends the parameters as a form.
func (r *rival) ask(t *testing.T, path string, v url.Values, post, categorize bool) (int, []byte) {
	t.Helper()
	target := r.base + path
	var req *http.Request
	if post {
		req, _ = http.NewRequest("POST", target, strings.NewReader(v.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		req, _ = http.NewRequest("GET", target+"?"+v.Encode(), nil)
	}
	if categorize {
		req.Header.Set("X-Loki-Response-Encoding-Flags", "categorize-labels")
	}
	req.Header.Set("X-Scope-OrgID", "fake") // which drilldown-limits of Loki wants even without tenants
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

func startRivals(t *testing.T) (loki, own *rival) {
	bin := os.Getenv("WEIR_LOKI")
	if bin == "" {
		t.Skip("WEIR_LOKI names no Loki binary")
	}
	dir := t.TempDir()
	http1, grpc1, http2 := freePort(t), freePort(t), freePort(t)
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	port := func(a string) string { return a[strings.LastIndexByte(a, ':')+1:] }
	conf := write("loki.yaml", strings.NewReplacer("HTTPPORT", port(http1), "GRPCPORT", port(grpc1), "DIR", filepath.Join(dir, "loki")).Replace(lokiConfig))
	weirConf := write("weir.yaml", "state: "+filepath.Join(dir, "weir")+"\nstore: {path: "+filepath.Join(dir, "weir", "store")+"}\nlisten: {http: '"+http2+"'}\n")
	loki = &rival{name: "loki", base: "http://" + http1}
	loki.start = func() { loki.proc = start(t, filepath.Join(dir, "loki.log"), nil, bin, "-config.file="+conf) }
	own = &rival{name: "weir", base: "http://" + http2}
	own.start = func() { own.proc = start(t, filepath.Join(dir, "weir.log"), nil, weir(t), "store", "-c", weirConf) }
	loki.ready(t)
	own.ready(t)
	return loki, own
}

// pushBody makes a push of what add adds.
type pushBody struct {
	Streams []pushStream `json:"streams"`
}

type pushStream struct {
	Stream map[string]string `json:"stream"`
	Values [][]any           `json:"values"`
}

func (b *pushBody) add(labels map[string]string, n int, line func(i int) (ns int64, text string, meta map[string]string)) {
	s := pushStream{Stream: labels}
	for i := range n {
		ns, text, meta := line(i)
		v := []any{fmt.Sprint(ns), text}
		if len(meta) > 0 {
			v = append(v, meta)
		}
		s.Values = append(s.Values, v)
	}
	b.Streams = append(b.Streams, s)
}

func (b *pushBody) bytes(t *testing.T) []byte {
	t.Helper()
	out, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func of[T any](i int, vs ...T) T { return vs[i%len(vs)] }

// testLines are lines of many kinds in the ten minutes after base; no two have
// the same time, so that there is one order of them.
func testLines(base int64) *pushBody {
	b := &pushBody{}
	at := func(i, offset int) int64 { return base + int64(i)*5e9 + int64(offset) }
	b.add(map[string]string{"app": "api", "namespace": "shop", "cluster": "eu"}, 100, func(i int) (int64, string, map[string]string) {
		return at(i, 1), fmt.Sprintf(`{"level":%q,"status":%d,"msg":"served \"%d\" é","nested":{"took":%d,"deep":{"x":true}},"dur":"%dms","size":"%dKB"}`,
				of(i, "info", "warn", "error"), of(i, 200, 404, 503), i%7, i, i, i%9+1),
			map[string]string{"trace_id": fmt.Sprintf("t%d", i%5), "pod": fmt.Sprintf("api-%d", i%3)}
	})
	b.add(map[string]string{"app": "web", "namespace": "shop", "cluster": "eu"}, 90, func(i int) (int64, string, map[string]string) {
		return at(i, 2), fmt.Sprintf(`level=%s path=/x/%d dur=%d.5s bytes=%dMiB ok=%v msg="a b"`, of(i, "info", "debug", "error"), i%4, i%6, i%3, i%2 == 0), map[string]string{"user": of(i, "ann", "bob")}
	})
	b.add(map[string]string{"job": "batch/nightly", "namespace": "ops"}, 40, func(i int) (int64, string, map[string]string) {
		return at(i, 3), fmt.Sprintf("plain \"line\" %d\twith <b>&\\ things", i), nil
	})
	b.add(map[string]string{"container": "nginx", "namespace": "ops", "request": "6f3c1e1a-2b1c-4d5e-8f90-112233445566"}, 30, func(i int) (int64, string, map[string]string) {
		return at(i, 4), fmt.Sprintf("10.0.0.%d - - \"GET /p/%d HTTP/1.1\" %d %d", i%5, i, of(i, 200, 500), 100*i), nil
	})
	b.add(map[string]string{"kind": "unlabelled"}, 10, func(i int) (int64, string, map[string]string) {
		return at(i, 5), fmt.Sprintf(`{"a":%d}`, i), nil
	})
	return b
}

// question is a request that both are asked.
type question struct {
	name, path string
	params     string // as in a URL, with spaces and quotes as they are; "+" stands for itself
	// same makes comparable what may differ; nil: as for most paths.
	same       func(v any) any
	categorize bool
	post       bool
	early      bool // asked before Loki's restart: it has no such answer afterwards
}

// parse reads the parameters.
func (q *question) parse(base int64) url.Values {
	v := url.Values{"start": {fmt.Sprint(base)}, "end": {fmt.Sprint(base + 600e9)}}
	for _, p := range strings.Split(q.params, "&") {
		name, value, ok := strings.Cut(p, "=")
		if !ok {
			continue
		}
		if name == "start" || name == "end" {
			v.Del(name)
		}
		v.Add(name, strings.NewReplacer("BASE", fmt.Sprint(base/1e9), "END", fmt.Sprint(base/1e9+600), "%26", "&").Replace(value))
	}
	return v
}

const services = "{service_name=~`.+`}"

var questions = []question{
	// What Grafana asks of a data source.
	{name: "health check", path: "query", params: "query=vector(1)+vector(1)&time=BASE"},
	{name: "health check as a form", path: "query", params: "query=vector(1)+vector(1)&time=BASE", post: true},
	{name: "lines", path: "query_range", params: `query={app="api"}&limit=1000&direction=backward&step=2000ms`, categorize: true},
	{name: "lines without categories", path: "query_range", params: `query={app="web"}&limit=1000`},
	{name: "lines forward, limited", path: "query_range", params: `query={namespace="shop"}&limit=13&direction=forward`, categorize: true},
	{name: "lines backward, limited", path: "query_range", params: `query={namespace=~"shop|ops"} |~ "\\d"&limit=17`, categorize: true, post: true},
	{name: "lines parsed", path: "query_range", params: `query={app="api"} | json | status >= 500 | line_format "{{.msg}} {{.nested_took}}"&limit=500`, categorize: true},
	{name: "lines parsed, flat", path: "query_range", params: `query={app="web"} | logfmt | ok="true" | drop bytes&limit=500`},
	{name: "lines of both parsers", path: "query_range", params: `query={namespace="shop"} | json | logfmt | drop __error__, __error_details__&limit=500`, categorize: true},
	{name: "lines with errors", path: "query_range", params: `query={app="web"} | json&limit=50`, categorize: true, same: errorKinds},
	{name: "lines of an extracted name", path: "query_range", params: `query={app="api"} | label_format app="other", new=trace_id&limit=9`, categorize: true},
	{name: "metadata filter", path: "query_range", params: `query={app="api"} | trace_id="t3" | detected_level="error"&limit=100`, categorize: true},
	{name: "bytes of all kinds", path: "query_range", params: `query={job="batch/nightly"}&limit=100`, categorize: true},
	{name: "log volume", path: "query_range", params: `query=sum by (level, detected_level) (count_over_time({namespace="shop"}[20s]))&step=20s`, same: levels},
	{name: "rate", path: "query_range", params: `query=sum by (app) (rate({namespace="shop"} |= "error" [1m]))&step=15000ms`},
	{name: "quantile", path: "query_range", params: `query=quantile_over_time(0.9, {app="api"} | json | unwrap nested_took [1m]) by (app)&step=30`},
	{name: "top", path: "query", params: `query=topk(2, sum by (service_name) (count_over_time({service_name=~".+"}[10m])))&time=END`},
	{name: "numbers alone", path: "query_range", params: `query=1+1&step=60`},
	{name: "label names", path: "labels"},
	{name: "label names, old path", path: "label"},
	{name: "label names of some", path: "labels", params: `query={app="api"}`},
	{name: "label values", path: "label/namespace/values"},
	{name: "label values of some", path: "label/app/values", params: `query={namespace="shop"}`, post: true},
	{name: "service names", path: "label/service_name/values"},
	{name: "series", path: "series", params: `match[]={namespace="shop"}`, same: sorted},
	{name: "series of several", path: "series", params: `match[]={app=~"w.*"}&match[]={job!=""}`, same: sorted, post: true},
	{name: "all series", path: "series", same: sorted},
	{name: "statistics", path: "index/stats", params: `query={namespace="shop"}`, same: counts},
	// What Logs Drilldown asks.
	{name: "volume of services", path: "index/volume", params: "query=" + services + "&limit=5000&targetLabels=service_name", same: metricsOnly},
	{name: "volume by selector", path: "index/volume", params: `query={namespace=~"shop|ops"}`, same: metricsOnly},
	{name: "volume by labels", path: "index/volume", params: "query=" + services + "&aggregateBy=labels", same: metricsOnly},
	{name: "volume by a label", path: "index/volume", params: `query={namespace="shop"}&targetLabels=app,cluster`, same: metricsOnly},
	{name: "volume by a label's name", path: "index/volume", params: `query={namespace="shop"}&targetLabels=app&aggregateBy=labels`, same: metricsOnly},
	{name: "volume in time", path: "index/volume_range", params: `query={namespace=~"shop|ops"}&step=60`, same: metricsOnly},
	{name: "volume in time by labels", path: "index/volume_range", params: "query=" + services + "&step=60s&aggregateBy=labels", same: metricsOnly},
	{name: "levels in time", path: "query_range", params: "query=sum by (detected_level) (count_over_time({service_name=`api`} [10s]))&step=10s"},
	{name: "levels in time of all", path: "query_range", params: "query=sum by (detected_level, service_name) (count_over_time(" + services + " [30s]))&step=30s"},
	{name: "a field in time", path: "query_range", params: "query=sum by (status) (count_over_time({service_name=`api`} | json | drop __error__, __error_details__ | status!=\"\" [30s]))&step=30s"},
	{name: "a duration in time", path: "query_range", params: "query=avg_over_time({service_name=`web`} | logfmt | drop __error__, __error_details__ | dur!=\"\" | unwrap duration(dur) | __error__=\"\" [30s]) by ()&step=30s"},
	{name: "detected labels", path: "detected_labels", same: fields("detectedLabels"), early: true},
	{name: "detected labels of some", path: "detected_labels", params: `query={namespace="shop"}`, same: fields("detectedLabels"), early: true},
	{name: "detected fields of JSON", path: "detected_fields", params: `query={app="api"}`, same: fields("fields")},
	{name: "detected fields of logfmt", path: "detected_fields", params: `query={app="web"}`, same: fields("fields")},
	{name: "detected fields of text", path: "detected_fields", params: `query={container="nginx"}`, same: fields("fields")},
	{name: "detected fields of all", path: "detected_fields", params: "query=" + services + "&line_limit=1000&limit=100", same: fields("fields")},
	{name: "detected fields of parsed lines", path: "detected_fields", params: `query={app="api"} | json | status="404"`, same: fields("fields")},
	{name: "detected values of JSON", path: "detected_field/status/values", params: `query={app="api"}`, same: fields("values")},
	{name: "detected values of logfmt", path: "detected_field/path/values", params: `query={app="web"}`, same: fields("values")},
	{name: "detected values of metadata", path: "detected_field/trace_id/values", params: `query={app="api"}`, same: fields("values")},
	{name: "usual form", path: "format_query", params: `query=sum(rate({app="x"}[5m]))by(a)`, same: func(v any) any { return v.(map[string]any)["status"] }},
	{name: "version", path: "status/buildinfo", same: names},
	{name: "limits of Drilldown", path: "drilldown-limits", same: limitNames},
}

func TestLokiAnswers(t *testing.T) {
	loki, own := startRivals(t)
	base := time.Now().Add(-20*time.Minute).UnixNano() / 60e9 * 60e9
	body := testLines(base).bytes(t)
	loki.push(t, body)
	own.push(t, body)
	for _, q := range questions {
		if q.early {
			compare(t, loki, own, &q, base)
		}
	}
	// Loki's statistics know only what was written to its index, which it does
	// when it ends. And weir reads what it has from its log.
	for _, r := range []*rival{loki, own} {
		if code := r.proc.signal(syscall.SIGTERM); code != 0 {
			t.Fatalf("%s ended with %d\n%s", r.name, code, r.proc.tail())
		}
		r.ready(t)
	}
	for _, q := range questions {
		if !q.early {
			compare(t, loki, own, &q, base)
		}
	}
}

// compare asks both.
func compare(t *testing.T, loki, own *rival, q *question, base int64) {
	t.Run(strings.ReplaceAll(q.name, " ", "_"), func(t *testing.T) {
		v := q.parse(base)
		code, theirs := loki.ask(t, "/loki/api/v1/"+q.path, v, q.post, q.categorize)
		if code != 200 {
			t.Fatalf("Loki: %d %s", code, theirs)
		}
		code, ours := own.ask(t, "/loki/api/v1/"+q.path, v, q.post, q.categorize)
		if code != 200 {
			t.Fatalf("weir: %d %s", code, ours)
		}
		a, b := comparable(t, theirs, q.same), comparable(t, ours, q.same)
		if empty(a) {
			t.Fatalf("Loki's answer is empty: %s", theirs)
		}
		if d := cmp.Diff(a, b); d != "" {
			t.Errorf("- Loki, + weir:\n%.4000s", d)
		}
	})
}

// TestLokiRandom asks both the same at random: queries, bounds and steps that do
// not fit together, limits, directions, forms of times. WEIR_SEED repeats a run.
func TestLokiRandom(t *testing.T) {
	loki, own := startRivals(t)
	seed := time.Now().UnixNano()
	if v := os.Getenv("WEIR_SEED"); v != "" {
		fmt.Sscan(v, &seed)
	}
	t.Logf("WEIR_SEED=%d", seed)
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	base := time.Now().Add(-20*time.Minute).UnixNano() / 60e9 * 60e9
	body := testLines(base).bytes(t)
	loki.push(t, body)
	own.push(t, body)
	n := 300
	if full {
		n = 5000
	}
	answered := 0
	for range n {
		q, v := someQuestion(r, base)
		want, theirs := loki.ask(t, "/loki/api/v1/"+q.path, v, q.post, q.categorize)
		got, ours := own.ask(t, "/loki/api/v1/"+q.path, v, q.post, q.categorize)
		if got != want {
			t.Errorf("%s?%s: Loki says %d %.300s, weir %d %.300s", q.path, v.Encode(), want, theirs, got, ours)
			continue
		}
		if want != 200 {
			continue
		}
		a, b := comparable(t, theirs, q.same), comparable(t, ours, q.same)
		if !empty(a) {
			answered++
		}
		if d := cmp.Diff(a, b); d != "" {
			t.Errorf("%s?%s categorize=%v\n- Loki, + weir:\n%.1500s", q.path, v.Encode(), q.categorize, d)
		}
		if t.Failed() && !full {
			return
		}
	}
	if answered < n/2 {
		t.Errorf("only %d of %d answers of Loki were not empty", answered, n)
	}
}

// pick chooses one.
func pick[T any](r *rand.Rand, vs ...T) T { return vs[r.IntN(len(vs))] }

// someQuestion makes a request.
func someQuestion(r *rand.Rand, base int64) (question, url.Values) {
	q := question{path: "query_range", categorize: r.IntN(2) == 0, post: r.IntN(4) == 0}
	v := url.Values{}
	from := base + r.Int64N(400e9) - 60e9
	if r.IntN(2) == 0 { // at a round time
		from -= from % 10e9
	}
	to := from + 1e9 + r.Int64N(500e9)
	someTime := func(ns int64) string {
		switch r.IntN(4) {
		case 0:
			return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
		case 1:
			return fmt.Sprintf("%d.%03d", ns/1e9, ns/1e6%1000)
		case 2:
			return fmt.Sprint(ns / 1e9)
		}
		return fmt.Sprint(ns)
	}
	v.Set("start", someTime(from))
	v.Set("end", someTime(to))
	sel := pick(r, `{app="api"}`, `{app="web"}`, `{namespace="shop"}`, `{namespace=~"shop|ops"}`, `{service_name=~".+"}`, `{job="batch/nightly"}`, `{app="api",cluster!="us"}`, `{app!="web",namespace=~".+"}`)
	filter := pick(r, "", "", ` |= "error"`, ` |~ "[5-9]"`, ` != "info"`, ` | detected_level="error"`, ` | trace_id=~"t[12]"`)
	parser := pick(r, "", ` | json`, ` | logfmt`, ` | json | logfmt`, ` | json status, took="nested.took"`, ` | pattern "<a> <_> <b>"`)
	tail := pick(r, "", "", ` | status >= 400`, ` | ok="true"`, ` | line_format "{{.msg}} {{.status}}"`, ` | drop dur, trace_id`, ` | keep status, app`, ` | label_format x=status`)
	logs := sel + filter + parser + tail
	switch r.IntN(8) {
	case 0, 1, 2:
		v.Set("query", logs)
		v.Set("limit", fmt.Sprint(pick(r, 1, 5, 100, 1000)))
		v.Set("direction", pick(r, "forward", "backward", "FORWARD", "Backward"))
		q.same = errorKinds
	case 3, 4:
		rng := pick(r, "[10s]", "[1m]", "[37s]")
		v.Set("query", pick(r, "sum by (app) (count_over_time("+sel+filter+rng+"))", "sum(rate("+sel+filter+rng+"))", "sum by (detected_level)(bytes_over_time("+sel+rng+"))",
			"avg by (namespace) (sum by (service_name, namespace) (count_over_time("+sel+filter+rng+")))", `max by (app) (max_over_time({app="api"} | json | unwrap status `+rng+"))",
			"sum by (app) (count_over_time("+sel+rng+" offset 30s))", "sum(count_over_time("+sel+rng+")) / 7 > 0.2"))
		if r.IntN(4) > 0 {
			v.Set("step", pick(r, "5", "7s", "10s", "60000ms", "1m", "2.5"))
		}
	case 5:
		q.path = "query"
		v = url.Values{"time": {someTime(to)}, "query": {"sum by (app, namespace) (count_over_time(" + sel + filter + "[5m]))"}}
	case 6:
		q.path = pick(r, "labels", "label/app/values", "label/namespace/values", "label/nope/values")
		if r.IntN(2) == 0 {
			v.Set("query", sel)
		}
		q.same = sorted
		// Loki's index knows when a stream has lines only roughly.
		v.Set("start", fmt.Sprint(base-60e9))
		v.Set("end", fmt.Sprint(base+600e9))
	case 7:
		q.path = pick(r, "series", "detected_labels", "index/volume")
		v.Set("start", fmt.Sprint(base-60e9))
		v.Set("end", fmt.Sprint(base+600e9))
		switch q.path {
		case "series":
			v.Set("match[]", sel)
			q.same = sorted
		case "detected_labels":
			v.Set("query", sel)
			q.same = fields("detectedLabels")
		default:
			v.Set("query", sel)
			q.same = metricsOnly
		}
	}
	return q, v
}

// comparable decodes an answer and takes out or orders what may differ.
func comparable(t *testing.T, body []byte, same func(any) any) any {
	t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if m, ok := v.(map[string]any); ok {
		if _, ok := m["data"]; !ok && m["status"] == "success" {
			m["data"] = []any{} // which Loki leaves out
		}
		if data, ok := m["data"].(map[string]any); ok {
			delete(data, "stats")
			if kind := data["resultType"]; kind == "streams" || kind == "matrix" || kind == "vector" {
				data["result"] = sorted(data["result"])
			}
		}
	}
	if same != nil {
		v = same(v)
	}
	return v
}

// sorted orders every list of a value by its items' text.
func sorted(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			if k == "data" || k == "result" {
				v[k] = sorted(v[k])
			}
		}
		return v
	case []any:
		sort.Slice(v, func(i, j int) bool { return text(v[i]) < text(v[j]) })
	}
	return v
}

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// empty reports whether nothing is in an answer.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, k := range []string{"data", "result", "fields", "detectedLabels", "values"} {
			if inner, ok := v[k]; ok {
				return empty(inner)
			}
		}
		return len(v) == 0
	case string:
		return v == ""
	}
	return false
}

// metricsOnly leaves of volumes which there are: Loki estimates bytes, metadata
// included, and spreads them evenly over a chunk's time.
func metricsOnly(v any) any {
	var out []string
	for _, r := range v.(map[string]any)["data"].(map[string]any)["result"].([]any) {
		out = append(out, text(r.(map[string]any)["metric"]))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// counts leaves of statistics how many streams there are: Loki counts what it
// has twice after a restart.
func counts(v any) any {
	m := v.(map[string]any)
	for _, k := range []string{"chunks", "bytes", "entries"} {
		if n, err := m[k].(json.Number).Int64(); err != nil || n <= 0 {
			return fmt.Sprintf("%s: %v", k, m[k])
		}
	}
	return m["streams"]
}

// levels takes out what weir alone says: level means detected_level.
func levels(v any) any {
	for _, r := range v.(map[string]any)["data"].(map[string]any)["result"].([]any) {
		m := r.(map[string]any)["metric"].(map[string]any)
		if m["level"] == m["detected_level"] {
			delete(m, "level")
		}
	}
	return v
}

// errorKinds takes out the words in which an error is described, and labels
// without a value, which Loki's json with expressions makes.
func errorKinds(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "__error_details__")
		for k, inner := range v {
			errorKinds(inner)
			if m, ok := inner.(map[string]any); inner == "" || ok && k == "parsed" && len(m) == 0 {
				delete(v, k)
			}
		}
	case []any:
		for _, inner := range v {
			errorKinds(inner)
		}
	}
	return v
}

// fields orders what was detected.
func fields(name string) func(v any) any {
	return func(v any) any {
		m := v.(map[string]any)
		list, _ := m[name].([]any)
		for _, f := range list {
			if f, ok := f.(map[string]any); ok {
				if p, ok := f["parsers"].([]any); ok {
					f["parsers"] = sorted(p)
				}
			}
		}
		m[name] = sorted(m[name])
		return m
	}
}

// names leaves of an object which names it has.
func names(v any) any {
	var out []string
	for k := range v.(map[string]any) {
		out = append(out, k)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func limitNames(v any) any { return names(v.(map[string]any)["limits"]) }

// TestLokiRefusals asks both what they refuse: the status must be the same.
func TestLokiRefusals(t *testing.T) {
	loki, own := startRivals(t)
	base := time.Now().Add(-20*time.Minute).UnixNano() / 60e9 * 60e9
	for _, q := range []question{
		{path: "query_range", params: `query={app="api"`},
		{path: "query_range", params: `query={}`},
		{path: "query_range", params: `query={app=~".*"}`},
		{path: "query_range", params: `query=`},
		{path: "query_range", params: `query={app="api"}&limit=-1`},
		{path: "query_range", params: `query={app="api"}&limit=x`},
		{path: "query_range", params: `query={app="api"}&limit=100000000`},
		{path: "query_range", params: `query={app="api"}&direction=up`},
		{path: "query_range", params: `query={app="api"}&step=0`},
		{path: "query_range", params: `query={app="api"}&step=-5`},
		{path: "query_range", params: `query={app="api"}&step=x`},
		{path: "query_range", params: `query=rate({app="api"}[1m])&step=0.001`},
		{path: "query_range", params: `query={app="api"}&start=x`},
		{path: "query_range", params: `query={app="api"}&start=END&end=BASE`},
		{path: "query_range", params: `query=sum(count_over_time({app="api"} | unwrap x [1m]))`},
		{path: "query", params: `query={app="api"}`},
		{path: "query", params: `query=vector(1)&time=x`},
		{path: "series", params: `match[]=x`},
		{path: "labels", params: `query={`},
		{path: "labels", params: `start=x`},
		{path: "index/stats", params: ``},
		{path: "index/stats", params: `query={app="api"} |= "x"`},
		{path: "index/volume", params: ``},
		{path: "index/volume", params: `query={app="api"}&aggregateBy=x`},
		{path: "detected_fields", params: ``},
		{path: "detected_labels", params: `query={`},
		{path: "format_query", params: `query={`},
		{path: "tail", params: `query={`},
		{path: "tail", params: `query={app="api"}&delay_for=6`},
		{path: "tail", params: `query={app="api"}`},
		{path: "patterns", params: `query={app="api"}`},
		{path: "nothing", params: ``},
	} {
		v := q.parse(base)
		want, theirs := loki.ask(t, "/loki/api/v1/"+q.path, v, false, false)
		got, ours := own.ask(t, "/loki/api/v1/"+q.path, v, false, false)
		if got != want || want < 400 {
			t.Errorf("%s %s: Loki says %d %s, weir %d %s", q.path, q.params, want, theirs, got, ours)
		}
	}
}

// TestLokiTail follows both: what is there already, then what comes.
func TestLokiTail(t *testing.T) {
	loki, own := startRivals(t)
	base := time.Now().Add(-10*time.Minute).UnixNano() / 60e9 * 60e9
	past, live := &pushBody{}, &pushBody{}
	labels := map[string]string{"app": "api", "namespace": "shop"}
	past.add(labels, 20, func(i int) (int64, string, map[string]string) {
		return base + int64(i), fmt.Sprintf(`{"level":"info","n":%d}`, i), map[string]string{"id": fmt.Sprint(i)}
	})
	live.add(labels, 20, func(i int) (int64, string, map[string]string) {
		return base + 300e9 + int64(i), fmt.Sprintf(`{"level":"error","n":%d}`, i), nil
	})
	live.add(map[string]string{"app": "other"}, 3, func(i int) (int64, string, map[string]string) { return base + 400e9 + int64(i), "x", nil })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	follow := func(r *rival, categorize bool) []string {
		h := http.Header{}
		if categorize {
			h.Set("X-Loki-Response-Encoding-Flags", "categorize-labels")
		}
		v := url.Values{"query": {`{app="api"} != "13"`}, "limit": {"7"}, "start": {fmt.Sprint(base - 60e9)}}
		c, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(r.base, "http")+"/loki/api/v1/tail?"+v.Encode(), &websocket.DialOptions{HTTPHeader: h})
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		defer c.CloseNow()
		var out []string
		for len(out) < 7+19 {
			_, b, err := c.Read(ctx)
			if err != nil {
				t.Fatalf("%s: %v after %d lines", r.name, err, len(out))
			}
			var m struct {
				Streams []struct {
					Stream map[string]string
					Values [][]any
				}
				EncodingFlags []string
			}
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatalf("%s: %v: %s", r.name, err, b)
			}
			for _, s := range m.Streams {
				for _, v := range s.Values {
					out = append(out, text(s.Stream)+text(v)+text(m.EncodingFlags))
				}
			}
			if len(out) == 7 { // the past has come
				r.push(t, live.bytes(t))
			}
		}
		// Loki may send lines of one moment in any order.
		slices.Sort(out[7:])
		return out
	}
	for _, categorize := range []bool{false, true} {
		loki.push(t, past.bytes(t))
		own.push(t, past.bytes(t))
		theirs, ours := follow(loki, categorize), follow(own, categorize)
		if d := cmp.Diff(theirs, ours); d != "" {
			t.Errorf("- Loki, + weir:\n%.3000s", d)
		}
		// Again with later lines.
		for _, b := range []*pushBody{past, live} {
			for _, s := range b.Streams {
				for _, v := range s.Values {
					var ns int64
					fmt.Sscan(v[0].(string), &ns)
					v[0] = fmt.Sprint(ns + 100e9)
				}
			}
		}
	}
}
