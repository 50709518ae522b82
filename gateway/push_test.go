package gateway

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/otlp"
)

// pushStore answers pushes as it is told, and keeps what comes.
type pushStore struct {
	mu     sync.Mutex
	rows   []string
	answer func(ctx context.Context, parts []record.Part) (ack.Result, error)
}

func (m *pushStore) Append(ctx context.Context, parts []record.Part) (ack.Result, error) {
	if m.answer != nil {
		return m.answer(ctx, parts)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range parts {
		b := p.Batch()
		for _, i := range p.Index() {
			var attrs []string
			tenant := ""
			for _, a := range b.Stream(int(i)).Attrs() {
				if a.Name == record.AttrTenant {
					tenant = a.Value
				} else {
					attrs = append(attrs, fmt.Sprintf("{%s %s}", a.Name, a.Value))
				}
			}
			r := b.Record(int(i))
			s := fmt.Sprintf("%s%v %d %s %s", tenant, attrs, r.Time, r.Severity.Level(), b.Body(int(i)))
			for _, f := range b.Fields(int(i)) {
				s += " " + b.KeyName(f.Key) + "=" + string(b.Bytes(f.Val))
			}
			m.rows = append(m.rows, s)
		}
	}
	return ack.Result{}, nil
}

func (m *pushStore) lines() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.rows, "\n")
}

// newServer returns a handler of all protocols before the store.
func newServer(t testing.TB, store *pushStore, cfg Config) *HTTP {
	t.Helper()
	cfg.Sink = &StoreSink{Append: store.Append}
	h, err := NewHTTP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// lokiBody is a push of one stream with the lines, of one nanosecond each.
func lokiBody(labels string, lines ...string) []byte {
	field := func(dst []byte, n protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(dst, n, protowire.BytesType), v)
	}
	s := field(nil, 1, []byte(labels))
	for i, l := range lines {
		s = field(s, 2, field(field(nil, 1, []byte{16, byte(i + 1)}), 2, []byte(l)))
	}
	return field(nil, 1, s)
}

const (
	lokiPath = "/loki/api/v1/push"
	otlpPath = "/otlp/v1/logs"
	pbType   = "application/x-protobuf"
	jsType   = "application/json"
)

func post(t testing.TB, s http.Handler, path string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("POST", path, body)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func compress(t testing.TB, encoding string, p []byte) []byte {
	var buf bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "", "identity":
		return p
	case "snappy":
		return s2.EncodeSnappy(nil, p)
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "zstd":
		w, _ = zstd.NewWriter(&buf)
	case "deflate", "zlib":
		w = zlib.NewWriter(&buf)
	case "raw deflate":
		w, _ = flate.NewWriter(&buf, 5)
	case "x-snappy-framed":
		w = s2.NewWriter(&buf, s2.WriterSnappyCompat())
	}
	w.Write(p)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Every encoding of every protocol carries the same records; a server is used
// again, so that what is pooled is too.
func TestPushEncodings(t *testing.T) {
	lokiJSON := []byte(`{"streams":[{"stream":{"app":"web"},"values":[["1","an error occurred"],["2","\u006cevel=info x",{"m":"v"}]]}]}`)
	lokiPB := lokiBody(`{app="web"}`, "an error occurred", "level=info x")
	otlpJS := []byte(`{"resourceLogs":[{"resource":{"attributes":[{"key":"app","value":{"stringValue":"web"}}]},"scopeLogs":[{"logRecords":[{"timeUnixNano":"1","body":{"stringValue":"an error occurred"}},{"timeUnixNano":"2","severityNumber":9,"body":{"stringValue":"level=info x"}}]}]}]}`)
	var req collogs.ExportLogsServiceRequest
	if err := protojson.Unmarshal(otlpJS, &req); err != nil {
		t.Fatal(err)
	}
	otlpPB, err := proto.Marshal(&req)
	if err != nil {
		t.Fatal(err)
	}
	store := &pushStore{}
	s := newServer(t, store, Config{})
	want := "[{app web}] 1 error an error occurred\n[{app web}] 2 info level=info x"
	for round := range 2 {
		for _, c := range []struct {
			path, typ string
			body      []byte
			encodings []string
			status    int
		}{
			{lokiPath, pbType, lokiPB, []string{"snappy", "gzip", "zstd", "deflate", "identity", "x-snappy-framed"}, 204},
			{lokiPath, jsType + "; charset=utf-8", lokiJSON, []string{"", "gzip", "zstd", "deflate", "raw deflate", "snappy", "x-snappy-framed", "identity"}, 204},
			{otlpPath, pbType, otlpPB, []string{"", "gzip", "zstd", "deflate", "zlib", "snappy", "x-snappy-framed", "identity"}, 200},
			{otlpPath, jsType, otlpJS, []string{"", "gzip", "zstd", "deflate", "snappy", "x-snappy-framed"}, 200},
		} {
			for _, e := range c.encodings {
				store.rows = nil
				body := compress(t, e, c.body)
				w := post(t, s, c.path, bytes.NewReader(body), "Content-Type", c.typ, "Content-Encoding", strings.TrimPrefix(e, "raw "))
				got := strings.TrimSuffix(store.lines(), " m=v")
				if w.Code != c.status || got != want {
					t.Errorf("%s %s %q: %d %s\n%s", c.path, c.typ, e, w.Code, w.Body, got)
				}
				if round > 0 || len(body) < 10 {
					continue
				}
				// Cut anywhere, nothing is taken.
				store.rows = nil
				for _, n := range []int{0, 1, 5, len(body) / 2, len(body) - 1} {
					w := post(t, s, c.path, bytes.NewReader(body[:n]), "Content-Type", c.typ, "Content-Encoding", strings.TrimPrefix(e, "raw "))
					if n == 0 && c.typ == pbType && (e == "" || e == "identity" || e == "zstd") {
						continue // nothing is a protobuf message, and a zstd stream
					}
					if w.Code != 400 {
						t.Errorf("%s %s %q cut at %d: %d %s", c.path, c.typ, e, n, w.Code, w.Body)
					}
				}
				if len(store.rows) > 0 {
					t.Errorf("%s %s %q: cut, and %d rows taken", c.path, c.typ, e, len(store.rows))
				}
			}
		}
	}
	// Loki's clients say nothing of an encoding.
	store.rows = nil
	if w := post(t, s, lokiPath, bytes.NewReader(compress(t, "snappy", lokiPB)), "Content-Type", pbType); w.Code != 204 || store.lines() != want {
		t.Errorf("%d %s\n%s", w.Code, w.Body, store.lines())
	}
	if used := s.cfg.Memory.Used(); used != 0 {
		t.Errorf("%d bytes are still held", used)
	}
}

func TestPushAnswers(t *testing.T) {
	big := strings.Repeat("x", 3000)
	limits := Limits{Body: 2000, Decoded: 10000, Records: wire.Limits{Entries: 10}}
	good := compress(t, "snappy", lokiBody("{}", "x"))
	for _, c := range []struct {
		name, path string
		body       []byte
		header     []string
		status     int
		text       string
	}{
		{"no streams", lokiPath, []byte(`{"streams":[]}`), []string{"Content-Type", jsType}, 422, "error at least one valid stream is required for ingestion"},
		{"no entries", lokiPath, []byte(`{"streams":[{"stream":{"a":"b"},"values":[]}]}`), []string{"Content-Type", jsType}, 204, ""},
		{"syntax", lokiPath, []byte(`{"streams":[{"values":[["x","y"]]}]}`), []string{"Content-Type", jsType}, 400, `stream 1: entry 1: timestamp "x" is not a number of nanoseconds`},
		{"not snappy", lokiPath, []byte("xxxxxxx"), []string{"Content-Type", pbType}, 400, "snappy: the body is damaged or something else"},
		{"not protobuf", lokiPath, compress(t, "snappy", []byte("\x0a\x05")), []string{"Content-Type", pbType}, 400, "stream 1: not a protobuf message"},
		{"type", lokiPath, good, []string{"Content-Type", "text/plain"}, 415, `Content-Type "text/plain" not supported`},
		{"no type", lokiPath, good, nil, 415, "Content-Type: mime: no media type"},
		{"encoding", lokiPath, good, []string{"Content-Type", jsType, "Content-Encoding", "br"}, 415, `Content-Encoding "br" not supported`},
		{"two encodings", lokiPath, good, []string{"Content-Type", jsType, "Content-Encoding", "gzip, gzip"}, 415, `Content-Encoding "gzip, gzip" not supported`},
		{"body", lokiPath, []byte(big), []string{"Content-Type", jsType}, 413, "the body has more than 2000 bytes as sent"},
		{"decoded", lokiPath, compress(t, "snappy", lokiBody("{}", big, big, big, big)), []string{"Content-Type", pbType}, 413, "the body has more than 10000 bytes uncompressed"},
		{"decoded gzip", lokiPath, compress(t, "gzip", bytes.Repeat([]byte(" "), 20000)), []string{"Content-Type", jsType, "Content-Encoding", "gzip"}, 413, "the body has more than 10000 bytes uncompressed"},
		{"snappy claims much", lokiPath, []byte("\xff\xff\xff\xff\x0f"), []string{"Content-Type", pbType}, 413, "the body has more than 10000 bytes uncompressed"},
		{"entries", lokiPath, compress(t, "snappy", lokiBody("{}", make([]string, 11)...)), []string{"Content-Type", pbType}, 413, "stream 1: entry 11: more than 10 entries in a request: split the request"},
		{"labels", lokiPath, []byte(`{"streams":[{"stream":{"a.b":"c"},"values":[["1","x"]]},{"stream":{"a":"b"},"values":[["1","x"]]}]}`), []string{"Content-Type", jsType}, 400,
			"stream 1: label name \"a.b\": byte 2 is not a letter, digit or underscore,\ntotal ignored: 1 out of 2"},
		{"tenant label", lokiPath, []byte(`{"streams":[{"stream":{"__tenant__":"c"},"values":[["1","x"]]}]}`), []string{"Content-Type", jsType}, 400, `stream 1: label name "__tenant__" is reserved`},
	} {
		store := &pushStore{}
		s := newServer(t, store, Config{Limits: limits})
		w := post(t, s, c.path, bytes.NewReader(c.body), c.header...)
		if w.Code != c.status || !strings.HasPrefix(w.Body.String(), c.text) {
			t.Errorf("%s: %d %s, want %d %s", c.name, w.Code, w.Body, c.status, c.text)
		}
		if s.cfg.Memory.Used() != 0 {
			t.Errorf("%s: memory is still held", c.name)
		}
		if n := len(store.rows); n > 0 && c.name != "labels" {
			t.Errorf("%s: %d rows", c.name, n)
		}
		// The same without a length.
		w = post(t, newServer(t, &pushStore{}, Config{Limits: limits}), c.path, io.MultiReader(bytes.NewReader(c.body)), c.header...)
		if w.Code != c.status {
			t.Errorf("%s, chunked: %d %s, want %d", c.name, w.Code, w.Body, c.status)
		}
	}
	w := httptest.NewRecorder()
	newServer(t, &pushStore{}, Config{}).ServeHTTP(w, httptest.NewRequest("GET", lokiPath, nil))
	if w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET: %d %v", w.Code, w.Header())
	}
}

// Bombs of every kind stop at the limits, long before they are unpacked.
func TestPushBombs(t *testing.T) {
	zeros := make([]byte, 8<<20)
	for _, e := range []string{"gzip", "zstd", "deflate", "x-snappy-framed"} {
		s := newServer(t, &pushStore{}, Config{})
		body := compress(t, e, zeros)
		w := post(t, s, lokiPath, bytes.NewReader(body), "Content-Type", jsType, "Content-Encoding", e)
		// Snappy's frames pack 8 MiB of nothing 20:1, which is no bomb.
		want, text := 413, "the body is more than 100 times larger than what was sent"
		if e == "x-snappy-framed" {
			want, text = 400, "json: unexpected"
		}
		if w.Code != want || !strings.HasPrefix(w.Body.String(), text) {
			t.Errorf("%s of %d bytes: %d %s", e, len(body), w.Code, w.Body)
		}
	}
	// A window larger than the limit.
	var buf bytes.Buffer
	z, _ := zstd.NewWriter(&buf, zstd.WithWindowSize(64<<20))
	z.Write(bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16))
	z.Close()
	w := post(t, newServer(t, &pushStore{}, Config{}), lokiPath, &buf, "Content-Type", jsType, "Content-Encoding", "zstd")
	if w.Code != 400 && w.Code != 413 {
		t.Errorf("window: %d %s", w.Code, w.Body)
	}
}

func TestPushStoreRefuses(t *testing.T) {
	body := lokiBody(`{a="b"}`, "one", "two", "three")
	for _, c := range []struct {
		name   string
		res    ack.Result
		err    error
		status int
		text   string
		retry  string
		code   int32
	}{
		{"old", ack.Result{Failures: []ack.Failure{{Record: 0, Permanent: true, Reason: "older than the retention"}, {Record: 2, Permanent: true, Reason: "odd"}}}, nil, 400,
			"entry for stream '{a=\"b\"}' has timestamp too old: 1970-01-01T00:00:00.000000001Z: older than the retention\nentry for stream '{a=\"b\"}' with timestamp 1970-01-01T00:00:00.000000003Z ignored, reason: 'odd',\ntotal ignored: 2 out of 3\n", "", 0},
		{"again", ack.Result{Failures: []ack.Failure{{Record: 0, Reason: "holes"}}, RetryAfter: 2500 * time.Millisecond}, nil, 429, "1 of 3 records are to be sent again: holes\n", "3", 8},
		{"busy", ack.Result{}, &ack.SendError{Code: 429, Err: errors.New("memory is full")}, 429, "memory is full\n", "1", 8},
		{"down", ack.Result{}, &ack.SendError{Code: 503, RetryAfter: time.Minute, Err: errors.New("disk is full")}, 503, "disk is full\n", "60", 14},
		{"large", ack.Result{}, &ack.SendError{Kind: ack.TooLarge, Code: 413, Err: errors.New("too large")}, 413, "too large\n", "", 3},
		{"other", ack.Result{}, errors.New("a secret of the house"), 500, "internal error\n", "", 13},
	} {
		store := &pushStore{answer: func(context.Context, []record.Part) (ack.Result, error) { return c.res, c.err }}
		s := newServer(t, store, Config{})
		w := post(t, s, lokiPath, bytes.NewReader(s2.EncodeSnappy(nil, body)), "Content-Type", pbType)
		if w.Code != c.status || w.Body.String() != c.text || w.Header().Get("Retry-After") != c.retry {
			t.Errorf("%s: %d %q %s", c.name, w.Code, w.Body, w.Header().Get("Retry-After"))
		}
		for _, typ := range []string{pbType, jsType} {
			req := []byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1"},{"timeUnixNano":"2"},{"timeUnixNano":"3"}]}]}]}`)
			if typ == pbType {
				var m collogs.ExportLogsServiceRequest
				protojson.Unmarshal(req, &m)
				req, _ = proto.Marshal(&m)
			}
			w := post(t, s, otlpPath, bytes.NewReader(req), "Content-Type", typ)
			if got := w.Header().Get("Content-Type"); got != typ || w.Header().Get("Retry-After") != c.retry {
				t.Errorf("%s: answered with %s, retry after %s", c.name, got, w.Header().Get("Retry-After"))
			}
			if c.name == "old" {
				var m collogs.ExportLogsServiceResponse
				err := proto.Unmarshal(w.Body.Bytes(), &m)
				if typ == jsType {
					err = protojson.Unmarshal(w.Body.Bytes(), &m)
				}
				if p := w.Header().Get(wire.RefusedHeader); p != "0,2" {
					t.Errorf("%s: positions %q", c.name, p)
				}
				if w.Code != 200 || err != nil || m.PartialSuccess.RejectedLogRecords != 2 || !strings.Contains(m.PartialSuccess.ErrorMessage, "total ignored: 2 out of 3") {
					t.Errorf("%s: %d %v %v", c.name, w.Code, err, &m)
				}
				continue
			}
			if w.Code != c.status {
				t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
			}
			if typ == jsType {
				if want := fmt.Sprintf(`{"code":%d,"message":%q`, c.code, strings.TrimSpace(c.text)); !strings.HasPrefix(w.Body.String(), want) {
					t.Errorf("%s: %s, want %s", c.name, w.Body, want)
				}
				continue
			}
			st, err := otlp.ParseStatus(w.Body.Bytes())
			if err != nil || st.Code != c.code || st.Message != strings.TrimSpace(c.text) || st.HasRetryAfter != (c.retry != "") {
				t.Errorf("%s: %+v, %v", c.name, st, err)
			}
		}
	}
}

func TestPushTenants(t *testing.T) {
	store := &pushStore{}
	s := newServer(t, store, Config{Auth: newAuth(t, AuthConfig{Tenants: true, TenantHeader: true})})
	body := s2.EncodeSnappy(nil, lokiBody(`{a="b"}`, "x"))
	for _, c := range []struct {
		tenant string
		status int
	}{{"", 401}, {"one", 204}, {"two", 204}, {"a/b", 400}} {
		w := post(t, s, lokiPath, bytes.NewReader(body), "Content-Type", pbType, "X-Scope-OrgID", c.tenant)
		if w.Code != c.status {
			t.Errorf("%s: %d %s", c.tenant, w.Code, w.Body)
		}
	}
	w := post(t, s, otlpPath, strings.NewReader(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1"}]}]}]}`), "Content-Type", jsType, "X-Scope-OrgID", "one")
	if w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w = post(t, s, otlpPath, strings.NewReader(`{}`), "Content-Type", jsType); w.Code != 401 || w.Body.String() != `{"code":16,"message":"no org id"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got, want := store.lines(), "one[{a b}] 1 unknown x\ntwo[{a b}] 1 unknown x\none[] 1 unknown "; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// While the memory for pushes is spent, others are told to come again; one that
// is alone is served whatever it needs.
func TestPushMemory(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{})
	store := &pushStore{}
	store.answer = func(context.Context, []record.Part) (ack.Result, error) {
		entered <- struct{}{}
		<-hold
		return ack.Result{}, nil
	}
	s := newServer(t, store, Config{Memory: NewMemory(100 << 10)})
	body := s2.EncodeSnappy(nil, lokiBody(`{a="b"}`, strings.Repeat("x", 200<<10)))
	var wg sync.WaitGroup
	wg.Go(func() {
		if w := post(t, s, lokiPath, bytes.NewReader(body), "Content-Type", pbType); w.Code != 204 {
			t.Errorf("alone: %d %s", w.Code, w.Body)
		}
	})
	<-entered
	for path, typ := range map[string]string{lokiPath: pbType, otlpPath: jsType} {
		w := post(t, s, path, bytes.NewReader(body), "Content-Type", typ)
		if w.Code != 429 || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "memory for pushes is spent") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	close(hold)
	wg.Wait()
	if used := s.cfg.Memory.Used(); used != 0 {
		t.Errorf("%d bytes are still held", used)
	}
	want := []Stats{
		{Protocol: "loki_protobuf", Requests: map[string]int64{"taken": 1, "busy": 1}, Records: 1},
		{Protocol: "otlp_json", Requests: map[string]int64{"busy": 1}},
	}
	for _, w := range want {
		i := slices.IndexFunc(s.Stats(), func(g Stats) bool { return g.Protocol == w.Protocol })
		if i < 0 {
			t.Errorf("nothing is said of %s", w.Protocol)
			continue
		}
		if g := s.Stats()[i]; fmt.Sprint(g.Requests) != fmt.Sprint(w.Requests) || g.Records != w.Records || w.Records > 0 && g.Bytes == 0 {
			t.Errorf("%+v, want %+v", g, w)
		}
	}
}

// A client that goes away, and one whose body ends early, leave nothing behind.
func TestPushClientGone(t *testing.T) {
	store := &pushStore{}
	s := newServer(t, store, Config{})
	srv := httptest.NewServer(s)
	defer srv.Close()
	for _, body := range []string{"", `{"streams":[{"stream":{"a":"b"},"values":[["1","x"]]}]`} {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n%s", lokiPath, jsType, body)
		c.Close()
	}
	srv.Close() // waits for what is under way
	if n, used := len(store.rows), s.cfg.Memory.Used(); n != 0 || used != 0 {
		t.Errorf("%d rows, %d bytes held", n, used)
	}
}

// A body that does not come is not waited for.
func TestPushSlowBody(t *testing.T) {
	s := newServer(t, &pushStore{}, Config{Limits: Limits{Patience: 10 * time.Millisecond}})
	srv := httptest.NewServer(s)
	defer srv.Close()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n{", lokiPath, jsType)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 408 || !res.Close {
		t.Errorf("%s, closed: %v", res.Status, res.Close)
	}
}

// A stop in the middle of a push tells the sender to try again.
func TestPushWhileStopping(t *testing.T) {
	entered := make(chan struct{})
	store := &pushStore{answer: func(ctx context.Context, _ []record.Part) (ack.Result, error) {
		close(entered)
		<-ctx.Done()
		return ack.Result{}, &ack.SendError{Code: 503, Err: ctx.Err()}
	}}
	s := newServer(t, store, Config{})
	var wg sync.WaitGroup
	wg.Go(func() {
		w := post(t, s, lokiPath, bytes.NewReader(s2.EncodeSnappy(nil, lokiBody("{}", "x"))), "Content-Type", pbType)
		if w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	<-entered
	impatient, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(impatient); err == nil {
		t.Error("nothing was cut")
	}
	wg.Wait()
}

// FuzzPush: whatever is sent, the answer is one of those documented and nothing
// stays held.
func FuzzPush(f *testing.F) {
	f.Add(byte(0), compress(f, "snappy", lokiBody(`{a="b"}`, "x")))
	f.Add(byte(1), []byte(`{"streams":[{"stream":{"a":"b"},"values":[["1","x"]]}]}`))
	f.Add(byte(4), compress(f, "gzip", []byte(`{"streams":[]}`)))
	f.Add(byte(8), compress(f, "zstd", []byte(`{}`)))
	f.Add(byte(14), compress(f, "x-snappy-framed", []byte(`{}`)))
	f.Fuzz(func(t *testing.T, how byte, body []byte) {
		path, typ := lokiPath, pbType
		if how&1 != 0 {
			typ = jsType
		}
		if how&2 != 0 {
			path = otlpPath
		}
		header := []string{"Content-Type", typ}
		if e := [...]string{"", "gzip", "zstd", "snappy", "deflate", "identity", "x-snappy-framed", "br"}[how>>2&7]; e != "" {
			header = append(header, "Content-Encoding", e)
		}
		s := newServer(t, &pushStore{}, Config{})
		w := post(t, s, path, bytes.NewReader(body), header...)
		switch w.Code {
		case 200, 204, 400, 413, 415, 422:
		default:
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if s.cfg.Memory.Used() != 0 {
			t.Error("memory is still held")
		}
	})
}

func BenchmarkPush(b *testing.B) {
	var lines []string
	for i := range 127 {
		lines = append(lines, fmt.Sprintf(`{"time":"2026-11-22T12:31:07.123456789Z","level":"INFO","msg":"request %d served","method":"GET","path":"/api/v1/orders/10382/items","status":200,"duration":13284113,"remote_addr":"10.42.3.17:51844"}`, i))
	}
	var body []byte
	for i := range 40 {
		body = append(body, lokiBody(fmt.Sprintf(`{app="web", pod="web-%d"}`, i), lines...)...)
	}
	store := &pushStore{answer: func(context.Context, []record.Part) (ack.Result, error) { return ack.Result{}, nil }}
	s := newServer(b, store, Config{})
	sent := s2.EncodeSnappy(nil, body)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if w := post(b, s, lokiPath, bytes.NewReader(sent), "Content-Type", pbType); w.Code != 204 {
			b.Fatal(w.Code, w.Body)
		}
	}
}
