package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// pushProtocol is how a client says some lines.
type pushProtocol struct {
	name, input, path, contentType string
	body                           func(lines []string) []byte
	ok                             func(status int, answer []byte) bool // all of them are safe
}

func quoted(s string) string {
	p, _ := json.Marshal(s)
	return string(p)
}

func each(lines []string, format string) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		fmt.Fprintf(&b, format, quoted(l))
	}
	return b.Bytes()
}

func isStatus(want int) func(int, []byte) bool {
	return func(status int, _ []byte) bool { return status == want }
}

var pushProtocols = []pushProtocol{
	{"bulk", "elasticsearch", "/i/_bulk", "application/x-ndjson",
		func(l []string) []byte { return each(l, "{\"create\":{}}\n{\"log\":%s}\n") },
		func(status int, p []byte) bool { return status == 200 && bytes.Contains(p, []byte(`"errors":false`)) }},
	{"hec", "splunk_hec", "/services/collector", "", func(l []string) []byte { return each(l, `{"event":%s}`) },
		func(status int, p []byte) bool { return status == 200 && string(p) == `{"text":"Success","code":0}` }},
	{"datadog", "datadog", "/api/v2/logs", "application/json",
		func(l []string) []byte {
			return []byte("[" + strings.TrimSuffix(string(each(l, `{"message":%s},`)), ",") + "]")
		}, isStatus(202)},
	{"lines", "http", "/lines?format=json", "", func(l []string) []byte { return each(l, "{\"message\":%s}\n") }, isStatus(204)},
	{"text", "http/text", "/lines?format=text", "", func(l []string) []byte { return []byte(strings.Join(l, "\n")) }, isStatus(204)},
	{"journal", "journald", "/upload", "application/vnd.fdo.journal",
		func(l []string) []byte {
			var b bytes.Buffer
			for _, s := range l {
				fmt.Fprintf(&b, "MESSAGE=%s\n\n", s)
			}
			return b.Bytes()
		}, isStatus(202)},
}

// send posts the lines and reports whether they are safe.
func (p *pushProtocol) send(addr string, lines ...string) (ok bool, status int, answer string) {
	resp, err := http.Post("http://"+addr+p.path, p.contentType, bytes.NewReader(p.body(lines)))
	if err != nil {
		return false, 0, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return p.ok(resp.StatusCode, text), resp.StatusCode, string(text)
}

// httpGateway is a running weir that takes every protocol of pushProtocols.
type httpGateway struct {
	*process
	t                    *testing.T
	config, file, stderr string
	addrs                []string // by the numbers of pushProtocols
}

// startHTTPGateway starts a weir with that output, in which FILE stands for the
// path of its file.
func startHTTPGateway(t *testing.T, output string) *httpGateway {
	t.Helper()
	dir := t.TempDir()
	g := &httpGateway{t: t, config: filepath.Join(dir, "weir.yaml"), file: filepath.Join(dir, "out.jsonl"), stderr: filepath.Join(dir, "weir.stderr")}
	var inputs []string
	for _, p := range pushProtocols {
		a := freePort(t)
		g.addrs = append(g.addrs, a)
		inputs = append(inputs, fmt.Sprintf("%s: {http: '%s'}", p.input, a))
	}
	text := fmt.Sprintf("inputs: {%s}\noutputs: {%s}\nstate: '%s'\n", strings.Join(inputs, ", "), strings.ReplaceAll(output, "FILE", g.file), filepath.Join(dir, "state"))
	if err := os.WriteFile(g.config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	g.start()
	return g
}

func (g *httpGateway) start() {
	g.t.Helper()
	g.process = start(g.t, g.stderr, io.Discard, weir(g.t), "run", "-c", g.config)
}

// listening waits until weir takes connections.
func (g *httpGateway) listening() {
	g.t.Helper()
	for _, a := range g.addrs {
		eventually(g.t, "weir listens on "+a, func() bool {
			c, err := net.Dial("tcp", a)
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		}, g.tail)
	}
}

// messages returns how often each text stands in the output's file.
func (g *httpGateway) messages() map[string]int {
	p, _ := os.ReadFile(g.file)
	out := make(map[string]int)
	for line := range bytes.Lines(p) {
		var v struct {
			Msg string `json:"_msg"`
		}
		if line[len(line)-1] == '\n' && json.Unmarshal(line, &v) == nil {
			out[v.Msg]++
		}
	}
	return out
}

const toFile = "file: {path: 'FILE', format: json, max_size: 1GiB, batch: {wait: 20ms}, buffer: {disk: 64MiB}}"

// Every protocol over HTTP: each record arrives once, byte for byte.
func TestPushHTTPEveryRecordArrives(t *testing.T) {
	g := startHTTPGateway(t, toFile)
	g.listening()
	want := map[string]bool{}
	for i, p := range pushProtocols {
		for n := range 20 {
			var lines []string
			for k := range 10 {
				l := fmt.Sprintf("%s %d-%d é \t \"quoted\" \\ {x} 😀 end", p.name, n, k)
				want[l] = true
				lines = append(lines, l)
			}
			if ok, status, answer := p.send(g.addrs[i], lines...); !ok {
				t.Fatalf("%s: %d %s", p.name, status, answer)
			}
		}
	}
	eventually(t, "all is there", func() bool { return len(g.messages()) >= len(want) }, g.tail)
	for l, n := range g.messages() {
		if !want[l] || n != 1 {
			t.Errorf("%q %d times", l, n)
		}
	}
}

// Failure 53, for what is pushed over HTTP: whatever was answered with success is
// there after kill -9 at any moment.
func TestFailure53_HTTPAcknowledgedSurvivesKill(t *testing.T) {
	g := startHTTPGateway(t, toFile)
	var acked sync.Map
	var count atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, p := range pushProtocols {
		wg.Go(func() {
			for n := 0; ; n++ {
				a, b := fmt.Sprintf("%s %d é first", p.name, n), fmt.Sprintf("%s %d \"second\"", p.name, n)
				for done := false; !done; {
					select {
					case <-stop:
						return
					default:
					}
					done, _, _ = p.send(g.addrs[i], a, b)
				}
				acked.Store(a, true)
				acked.Store(b, true)
				count.Add(2)
			}
		})
	}
	kills := 5
	if full {
		kills = 60
	}
	for range kills {
		before := count.Load()
		eventually(t, "pushes are answered", func() bool { return count.Load() > before+40 }, g.tail)
		randomly(200 * time.Millisecond)
		g.signal(syscall.SIGKILL)
		randomly(50 * time.Millisecond)
		g.start()
	}
	before := count.Load()
	eventually(t, "pushes are answered at last", func() bool { return count.Load() > before+40 }, g.tail)
	close(stop)
	wg.Wait()
	missing := ""
	eventually(t, "all that was answered is there", func() bool {
		have := g.messages()
		missing = ""
		acked.Range(func(l, _ any) bool {
			if have[l.(string)] == 0 {
				missing = l.(string)
			}
			return missing == ""
		})
		return missing == ""
	}, func() string { return "missing: " + missing + "\n" + g.tail() })
}

// A full buffer is answered in each protocol's own words; when the destination is
// there again, everything arrives.
func TestPushHTTPWhileFull(t *testing.T) {
	var up atomic.Bool
	var mu sync.Mutex
	got := map[string]int{}
	dest := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for line := range bytes.Lines(body) {
			var v struct {
				Msg string `json:"_msg"`
			}
			if json.Unmarshal(line, &v) == nil {
				got[v.Msg[:min(len(v.Msg), 30)]]++
			}
		}
	}))
	defer dest.Close()
	g := startHTTPGateway(t, fmt.Sprintf("jsonl: {url: '%s', compression: none, batch: {wait: 20ms}, retry: {max_delay: 100ms}, buffer: {disk: 16MiB, memory: 1MiB}}", dest.URL))
	g.listening()
	want := map[string]bool{}
	fill := noise(256 << 10) // 256 KiB
	for i, p := range pushProtocols {
		refused := false
		for n := 0; n < 200 && !refused; n++ {
			l := fmt.Sprintf("%-30s", fmt.Sprintf("%s %d", p.name, n))
			ok, status, answer := p.send(g.addrs[i], l+fill)
			switch {
			case ok:
				want[l] = true
			case status == 429, status == 503 && p.name == "hec":
				refused = true
				if words := map[string]string{"bulk": `"type":"es_rejected_execution_exception"`, "hec": `"text":"Server is busy","code":9`, "datadog": `"status":"429"`}[p.name]; !strings.Contains(answer, words) {
					t.Errorf("%s: %s", p.name, answer)
				}
			default:
				t.Fatalf("%s: %d %s", p.name, status, answer)
			}
		}
		if !refused {
			t.Errorf("%s: never refused", p.name)
		}
	}
	up.Store(true)
	eventually(t, "all is there", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for l := range want {
			if got[l] == 0 {
				return false
			}
		}
		return true
	}, g.tail)
	// And there is room again.
	l := fmt.Sprintf("%-30s", "after all")
	eventually(t, "there is room", func() bool { ok, _, _ := pushProtocols[0].send(g.addrs[0], l); return ok }, g.tail)
}
