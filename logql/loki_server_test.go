package logql

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A real Loki as an oracle. WEIR_LOKI names its binary, built from the module
// github.com/grafana/loki/v3 (./cmd/loki), or the address of one that runs with
// auth_enabled and the limits below: http://127.0.0.1:3100. Without it the
// tests that need it are skipped. docs/logql.md has the commands.

// lokiServer is a running Loki and a tenant of it that nobody else uses.
type lokiServer struct {
	url, tenant  string
	ours, theirs time.Duration
}

const lokiConfig = `
auth_enabled: true
server: {http_listen_address: 127.0.0.1, http_listen_port: %[2]d, grpc_listen_address: 127.0.0.1, grpc_listen_port: %[3]d, log_level: error}
common:
  instance_addr: 127.0.0.1
  path_prefix: %[1]s
  storage: {filesystem: {chunks_directory: %[1]s/chunks, rules_directory: %[1]s/rules}}
  replication_factor: 1
  ring: {instance_addr: 127.0.0.1, kvstore: {store: inmemory}}
schema_config:
  configs:
    - {from: 2020-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}
limits_config:
  allow_structured_metadata: true
  discover_service_name: []
  discover_log_levels: false
  reject_old_samples: false
  ingestion_rate_mb: 1000
  ingestion_burst_size_mb: 1000
  per_stream_rate_limit: 1GB
  per_stream_rate_limit_burst: 1GB
  max_query_series: 100000
  max_query_length: 0
  max_entries_limit_per_query: 100000
  split_queries_by_interval: 0
  split_instant_metric_queries_by_interval: 0
  retention_period: 0
querier: {query_ingesters_within: 12h}
query_range: {parallelise_shardable_queries: false, max_retries: 1, cache_results: false}
analytics: {reporting_enabled: false}
memberlist: {bind_addr: [127.0.0.1]}
`

// newLoki starts a Loki that ends with the test, and skips the test if there
// is none.
func newLoki(t *testing.T) *lokiServer {
	t.Helper()
	bin := os.Getenv("WEIR_LOKI")
	if bin == "" {
		t.Skip("WEIR_LOKI names no Loki")
	}
	s := &lokiServer{url: bin, tenant: "t" + strconv.FormatInt(time.Now().UnixNano(), 10)}
	if strings.HasPrefix(bin, "http://") {
		return s
	}
	dir := t.TempDir()
	httpPort, grpcPort := freePort(t), freePort(t)
	file := filepath.Join(dir, "loki.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, lokiConfig, dir, httpPort, grpcPort), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(bin, "-config.file="+file)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if os.Getenv("WEIR_LOKI_ERRORS") != "" {
			t.Logf("Loki's log: %s", log.String())
		}
	})
	s.url = fmt.Sprintf("http://127.0.0.1:%d", httpPort)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for tick := time.NewTicker(200 * time.Millisecond); ; {
		// It takes rows before it calls itself ready.
		if _, err := s.try(http.MethodPost, "/loki/api/v1/push", `{"streams":[{"stream":{"wake":"up"},"values":[["1714521600000000000","x"]]}]}`); err == nil {
			tick.Stop()
			return s
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("Loki does not start: %s", log.String())
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// try makes one request. An error is what Loki says is wrong.
func (s *lokiServer) try(method, path, body string) ([]byte, error) {
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Scope-OrgID", s.tenant)
	req.Header.Set("X-Loki-Response-Encoding-Flags", "categorize-labels")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(p))
	}
	return p, err
}

// push sends the rows of a source, in the order they stand there.
func (s *lokiServer) push(t *testing.T, m *memSource) {
	t.Helper()
	type stream struct {
		Stream map[string]string `json:"stream"`
		Values [][]any           `json:"values"`
	}
	streams := make([]stream, len(m.streams))
	for i, st := range m.streams {
		streams[i].Stream = labelMap(st.Labels)
	}
	for _, r := range m.rows {
		v := []any{strconv.FormatInt(r.time, 10), r.line}
		if len(r.meta) > 0 {
			v = append(v, labelMap(r.meta))
		}
		streams[r.stream].Values = append(streams[r.stream].Values, v)
	}
	p, err := json.Marshal(map[string]any{"streams": streams})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.try(http.MethodPost, "/loki/api/v1/push", string(p)); err != nil {
		t.Fatal(err)
	}
}

func labelMap(ls []Label) map[string]string {
	m := make(map[string]string)
	for _, l := range ls {
		m[l.Name] = l.Value
	}
	return m
}

func labelsOf(m map[string]string) []Label {
	var ls []Label
	for n, v := range m {
		if v != "" {
			ls = append(ls, Label{Name: n, Value: v})
		}
	}
	sortLabels(ls)
	return ls
}

// ask sends a query and reads the answer as ours would be: labels without
// value are none, which is a difference that docs/logql.md names.
func (s *lokiServer) ask(q string, p Params) (*Result, error) {
	v := url.Values{"query": {q}, "limit": {strconv.Itoa(p.Limit)}}
	path := "/loki/api/v1/query_range?"
	if p.Step > 0 || p.Direction != AnyOrder {
		v.Set("start", strconv.FormatInt(p.Start, 10))
		v.Set("end", strconv.FormatInt(p.End, 10))
		v.Set("direction", map[Order]string{Forward: "forward", Backward: "backward", AnyOrder: "backward"}[p.Direction])
		if p.Step > 0 {
			v.Set("step", strconv.FormatFloat(float64(p.Step)/1e9, 'f', -1, 64))
		}
	} else {
		path = "/loki/api/v1/query?"
		v.Set("time", strconv.FormatInt(p.End, 10))
	}
	text, err := s.try(http.MethodGet, path+v.Encode(), "")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, err
	}
	switch answer.Data.ResultType {
	case "streams":
		return readStreams(answer.Data.Result)
	case "scalar":
		x, err := readPoint(answer.Data.Result)
		x.Time = p.End // Loki's is off
		return &Result{Kind: Scalar, Series: []Series{{Points: []Point{x}}}}, err
	}
	return readSeries(answer.Data.ResultType, answer.Data.Result)
}

func readStreams(text []byte) (*Result, error) {
	var in []struct {
		Stream map[string]string
		Values [][]json.RawMessage
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, err
	}
	res := &Result{Kind: Lines}
	for _, s := range in {
		out := StreamResult{Labels: labelsOf(s.Stream)}
		for _, v := range s.Values {
			var e ResultEntry
			var at string
			var more struct{ StructuredMetadata, Parsed map[string]string }
			for i, to := range []any{&at, &e.Line, &more}[:len(v)] {
				if err := json.Unmarshal(v[i], to); err != nil {
					return nil, err
				}
			}
			var err error
			if e.Time, err = strconv.ParseInt(at, 10, 64); err != nil {
				return nil, err
			}
			e.Meta, e.Parsed = labelsOf(more.StructuredMetadata), labelsOf(more.Parsed)
			out.Entries = append(out.Entries, e)
		}
		res.Streams = append(res.Streams, out)
	}
	return res, nil
}

func readSeries(kind string, text []byte) (*Result, error) {
	var in []struct {
		Metric map[string]string
		Values []json.RawMessage
		Value  json.RawMessage
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, err
	}
	res := &Result{Kind: Matrix}
	if kind == "vector" {
		res.Kind = Vector
	}
	for _, s := range in {
		out := Series{Labels: labelsOf(s.Metric)}
		if kind == "vector" {
			s.Values = []json.RawMessage{s.Value}
		}
		for _, v := range s.Values {
			x, err := readPoint(v)
			if err != nil {
				return nil, err
			}
			out.Points = append(out.Points, x)
		}
		res.Series = append(res.Series, out)
	}
	return res, nil
}

// readPoint reads [seconds, "value"].
func readPoint(text []byte) (Point, error) {
	var at float64
	var v string
	if err := json.Unmarshal(text, &[]any{&at, &v}); err != nil {
		return Point{}, err
	}
	f, err := strconv.ParseFloat(v, 64)
	return Point{Time: int64(at*1e3+0.5) * 1e6, Value: f}, err
}
