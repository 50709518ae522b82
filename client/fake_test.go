package client

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain fails if a goroutine of the package is left when all tests have ended.
func TestMain(m *testing.M) {
	if os.Getenv("WEIR_CLIENT_CHILD") != "" {
		child()
	}
	code := m.Run()
	if code == 0 {
		buf := make([]byte, 1<<20)
		for try := 0; ; try++ {
			s := string(buf[:runtime.Stack(buf, true)])
			left := 0
			for g := range strings.SplitSeq(s, "\n\n") {
				if strings.Contains(g, "weir/client.(*") && !strings.Contains(g, "TestMain") {
					left++
				}
			}
			if left == 0 {
				break
			}
			if try == 100 {
				fmt.Println("goroutines are left:\n" + s)
				code = 1
				break
			}
			time.Sleep(10 * time.Millisecond) // they may be about to end
		}
	}
	os.Exit(code)
}

// entry is a record as a gateway sees it.
type entry struct {
	Time, Observed uint64
	Severity       int
	Text, Body     string
	Attrs          map[string]any
	Dropped        int
	TraceID        string
	SpanID         string
	Flags          uint64
	UID            string
	Resource       map[string]any
	raw            string
}

// decodeRequest reads an ExportLogsServiceRequest.
func decodeRequest(p []byte) (out []entry) {
	eachField(p, func(num, _ uint64, logs []byte) {
		if num != requestResourceLogs {
			return
		}
		var res map[string]any
		eachField(logs, func(num, _ uint64, val []byte) {
			switch num {
			case logsResource:
				res = decodePairs(val, resourceAttributes)
			case logsScope:
				eachField(val, func(num, _ uint64, val []byte) {
					if num == scopeRecords {
						e := decodeRecord(val)
						e.Resource = res
						out = append(out, e)
					}
				})
			}
		})
	})
	return out
}

func decodeRecord(p []byte) (e entry) {
	e.raw = string(p)
	e.Attrs = decodePairs(p, recordAttributes)
	eachField(p, func(num, n uint64, val []byte) {
		switch num {
		case recordTime:
			e.Time = n
		case recordObserved:
			e.Observed = n
		case recordSeverity:
			e.Severity = int(n)
		case recordSeverityText:
			e.Text = string(val)
		case recordBody:
			switch b := decodeValue(val).(type) {
			case string:
				e.Body = b
			case []byte:
				e.Body = string(b)
			}
		case recordDropped:
			e.Dropped = int(n)
		case recordTraceID:
			e.TraceID = hex.EncodeToString(val)
		case recordSpanID:
			e.SpanID = hex.EncodeToString(val)
		case recordFlags:
			e.Flags = n
		}
	})
	e.UID, _ = e.Attrs["log.record.uid"].(string)
	delete(e.Attrs, "log.record.uid")
	return e
}

func decodePairs(p []byte, field uint64) map[string]any {
	m := make(map[string]any)
	eachField(p, func(num, _ uint64, pair []byte) {
		if num != field {
			return
		}
		var k string
		var v any
		eachField(pair, func(num, _ uint64, val []byte) {
			switch num {
			case pairKey:
				k = string(val)
			case pairValue:
				v = decodeValue(val)
			}
		})
		m[k] = v
	})
	return m
}

func decodeValue(p []byte) (v any) {
	eachField(p, func(num, n uint64, val []byte) {
		switch num {
		case anyString:
			v = string(val)
		case anyBool:
			v = n != 0
		case anyInt:
			v = int64(n)
		case anyDouble:
			v = math.Float64frombits(n)
		case anyList:
			v = decodePairs(val, listValues)
		case anyBytes:
			v = bytes.Clone(val)
		}
	})
	return v
}

// gateway is a fake one. Its script says how requests are answered, in order;
// behind its end all are taken.
type gateway struct {
	*httptest.Server
	mu       sync.Mutex
	script   []func(w http.ResponseWriter, r *http.Request, g *gateway, body []byte) bool // true: as if taken
	entries  []entry
	requests []*http.Request
	times    []time.Time
}

func newGateway(t testing.TB) *gateway {
	g := &gateway{}
	g.Server = httptest.NewServer(g)
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(r)
	g.mu.Lock()
	g.requests = append(g.requests, r)
	g.times = append(g.times, time.Now())
	var step func(http.ResponseWriter, *http.Request, *gateway, []byte) bool
	if len(g.script) > 0 {
		step, g.script = g.script[0], g.script[1:]
	}
	g.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if step != nil && !step(w, r, g, body) {
		return
	}
	g.take(body)
	if step == nil {
		w.Header().Set("Content-Type", "application/x-protobuf")
	}
}

func (g *gateway) take(body []byte) {
	list := decodeRequest(body)
	g.mu.Lock()
	g.entries = append(g.entries, list...)
	g.mu.Unlock()
}

func readBody(r *http.Request) ([]byte, error) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		body = z
	}
	return io.ReadAll(body)
}

func (g *gateway) got() []entry {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]entry(nil), g.entries...)
}

func (g *gateway) asked() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.requests)
}

// start makes a client that is closed with the test.
func start(t testing.TB, c Config) *Client {
	t.Helper()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	cl, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close(expired) })
	return cl
}

// protoAnswer is an ExportLogsServiceResponse with a partial success.
func protoAnswer(rejected int, message string) []byte {
	var p []byte
	p = binary.AppendUvarint(append(p, 1<<3), uint64(rejected))
	p = appendStringField(p, 2, message)
	return append(binary.AppendUvarint([]byte{1<<3 | wireBytes}, uint64(len(p))), p...)
}
