package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// weir is a real store that can be killed.
type weir struct {
	t         *testing.T
	bin, conf string
	role      string
	url       string
	cmd       *exec.Cmd
}

// buildWeir builds it, unless WEIR_BIN names one that is there.
func buildWeir(t *testing.T, open bool) *weir {
	t.Helper()
	if testing.Short() {
		t.Skip("builds weir")
	}
	if _, err := os.Stat("../cmd/weir"); err != nil {
		t.Skip("not in weir's repository: ", err)
	}
	dir := t.TempDir()
	w := &weir{t: t, role: "store", bin: filepath.Join(dir, "weir"), conf: filepath.Join(dir, "weir.yaml")}
	if bin := os.Getenv("WEIR_BIN"); bin != "" {
		w.bin = bin
	} else {
		w.build()
	}
	addr := freeAddr(t)
	w.url = "http://" + addr
	conf := fmt.Sprintf("state: %s\nlisten: {http: %q, users: [{name: cart, password: right}]}\n", filepath.Join(dir, "state"), addr)
	if open {
		conf = fmt.Sprintf("state: %s\nlisten: {http: %q}\n", filepath.Join(dir, "state"), addr)
	}
	if err := os.WriteFile(w.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.kill)
	return w
}

// freeAddr is an address that nobody listens on.
func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (w *weir) build() {
	build := exec.Command("go", "build", "-o", w.bin, "./cmd/weir")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		w.t.Fatalf("weir does not build: %s", out)
	}
}

func (w *weir) start() {
	w.cmd = exec.Command(w.bin, w.role, "-c", w.conf)
	var errOut bytes.Buffer
	w.cmd.Stderr = &errOut
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	for range 500 {
		if resp, err := http.Get(w.url + "/ready"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 || resp.StatusCode == 404 { // a gateway has no /ready of Loki
				return
			}
		}
		time.Sleep(20 * time.Millisecond) // it is another process
	}
	w.t.Fatalf("weir does not start: %s", errOut.String())
}

func (w *weir) kill() {
	if w.cmd != nil {
		w.cmd.Process.Kill()
		w.cmd.Wait()
		w.cmd = nil
	}
}

// lines returns all that a program has logged, with its attributes.
func (w *weir) lines(service string) (out []map[string]string) {
	w.t.Helper()
	cmd := exec.Command(w.bin, "export", "--server", w.url, fmt.Sprintf("{service_name=%q}", service), "--since", "1h", "-o", "jsonl", "--to", "-")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	p, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("%v: %s", err, errOut.String())
	}
	r := bufio.NewReader(bytes.NewReader(p))
	for {
		s, err := r.ReadBytes('\n')
		if err == io.EOF {
			return out
		}
		var m struct {
			Line     string
			Metadata map[string]string
		}
		if err := json.Unmarshal(s, &m); err != nil {
			w.t.Fatalf("%v: %s", err, s)
		}
		e := m.Metadata
		if e == nil {
			e = make(map[string]string)
		}
		e["line"] = m.Line
		out = append(out, e)
	}
}

// Both the program and the store it logs to are killed again and again.
func TestKill9WeirStore(t *testing.T) {
	w := buildWeir(t, true)
	t.Setenv("WEIR_CLIENT_TEXT", "1")
	rounds := 8
	if s := os.Getenv("WEIR_CLIENT_KILLS"); s != "" {
		rounds, _ = strconv.Atoi(s)
	}
	dir := t.TempDir()
	next := 0
	safe := make(map[int]bool)
	for range rounds {
		w.start()
		done := make(chan map[int]time.Time)
		go func() {
			said, _ := runChild(t, w.url, dir, SyncAlways, next, time.Duration(100+rand.IntN(400))*time.Millisecond)
			done <- said
		}()
		select { // the store dies before the program, or behind it
		case said := <-done:
			for n := range said {
				safe[n] = true
			}
		case <-time.After(time.Duration(rand.IntN(500)) * time.Millisecond):
			w.kill()
			for n := range <-done {
				safe[n] = true
			}
		}
		w.kill()
		next += 1000000
	}
	w.start()
	runChild(t, w.url, dir, SyncAlways, -1, time.Minute)
	times := make(map[int]int)
	for _, e := range w.lines("child") {
		n, err := strconv.Atoi(e["n"])
		if err != nil {
			t.Fatalf("%v", e)
		}
		body, attr := payload(n)
		if e["line"] != body || e["attr"] != attr {
			t.Fatalf("record %d is not what was logged: %q %q", n, e["line"], e["attr"])
		}
		times[n]++
	}
	again := 0
	for n := range safe {
		if times[n] == 0 {
			t.Errorf("record %d was safe, and is lost", n)
		}
		again += max(times[n]-1, 0)
	}
	t.Logf("%d kills of program and store, %d records, %d of them stored again", rounds, len(safe), again)
	if len(safe) == 0 {
		t.Error("nothing was logged")
	}
}

// Program and gateway are killed again and again; what the gateway has answered
// for is on its disk and comes out behind it, with the id that the client gave it.
func TestKill9WeirGateway(t *testing.T) {
	w := buildWeir(t, true)
	t.Setenv("WEIR_CLIENT_TEXT", "1")
	g := newGateway(t)
	addr := strings.TrimPrefix(w.url, "http://")
	conf := fmt.Sprintf("state: %s\nlisten: {http: %q}\ninputs: {otlp: {grpc: %q, http: %q}}\noutputs: {otlp: {url: %q, buffer: {disk: 64MiB}}}\n",
		filepath.Join(t.TempDir(), "state"), addr, freeAddr(t), freeAddr(t), g.URL+"/otlp/v1/logs")
	if err := os.WriteFile(w.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	w.role = "gateway"
	rounds := 8
	if s := os.Getenv("WEIR_CLIENT_KILLS"); s != "" {
		rounds, _ = strconv.Atoi(s)
	}
	dir := t.TempDir()
	next := 0
	safe := make(map[int]bool)
	for range rounds {
		w.start()
		done := make(chan map[int]time.Time)
		go func() {
			said, _ := runChild(t, w.url, dir, SyncAlways, next, time.Duration(100+rand.IntN(400))*time.Millisecond)
			done <- said
		}()
		var said map[int]time.Time
		select {
		case said = <-done:
			w.kill()
		case <-time.After(time.Duration(rand.IntN(500)) * time.Millisecond):
			w.kill()
			said = <-done
		}
		for n := range said {
			safe[n] = true
		}
		next += 1000000
	}
	w.start()
	runChild(t, w.url, dir, SyncAlways, -1, time.Minute)
	// The program has its answers; the gateway delivers in its own time.
	uids := make(map[int]string)
	again := 0
	for try := 0; ; try++ {
		clear(uids)
		again = 0
		for _, e := range g.got() {
			n, ok := e.Attrs["n"].(int64)
			if !ok {
				t.Fatalf("%v", e)
			}
			body, attr := payload(int(n))
			if e.Body != body || attr != "" && e.Attrs["attr"] != attr {
				t.Fatalf("record %d is not what was logged: %q %v", n, e.Body, e.Attrs)
			}
			if uid, ok := uids[int(n)]; ok {
				again++
				if uid != e.UID || len(uid) != 32 {
					t.Fatalf("record %d has two ids: what is sent again would be doubled", n)
				}
			}
			uids[int(n)] = e.UID
		}
		missing := 0
		for n := range safe {
			if uids[n] == "" {
				missing++
			}
		}
		if missing == 0 {
			break
		}
		if try == 200 {
			t.Fatalf("%d of %d records are lost", missing, len(safe))
		}
		time.Sleep(50 * time.Millisecond) // it is another process
	}
	t.Logf("%d kills of program and gateway, %d records, %d sent again, none under another id", rounds, len(safe), again)
	if len(safe) == 0 {
		t.Error("nothing was logged")
	}
}

// The README of the package, as the store sees it.
func TestWeirStore(t *testing.T) {
	w := buildWeir(t, true)
	w.start()
	c := start(t, Config{Endpoints: []string{w.url}, Service: "cart"})
	l := c.Logger().With("version", 3)
	tr, _ := ParseTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	l.WarnContext(WithTrace(t.Context(), tr), "cart is empty", "user", 42, "took", 1500*time.Millisecond)
	l.WithGroup("http").Info("request served", "status", 200)
	many := make([]any, 0, 400)
	for i := range 200 {
		many = append(many, fmt.Sprint("k", i), string(make([]byte, 500)))
	}
	l.Info("more than a record may have", many...)
	flush(t, c)
	if st := c.Stats(); st.Delivered != 3 || st.Rejected != 0 {
		t.Errorf("%+v", st)
	}
	// Older than the store keeps: refused for good, and said so.
	if err := c.Handler().Handle(t.Context(), slog.NewRecord(time.Now().AddDate(-1, 0, 0), slog.LevelInfo, "old", 0)); err != nil {
		t.Error(err)
	}
	flush(t, c)
	if st := c.Stats(); st.Delivered != 3 || st.Rejected != 1 {
		t.Errorf("%+v", st)
	}
	got := w.lines("cart")
	if len(got) != 3 {
		t.Fatalf("%v", got)
	}
	for i, want := range []map[string]string{
		{"line": "cart is empty", "user": "42", "version": "3", "took": "1500000000", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"},
		{"line": "request served", "http_status": "200", "version": "3", "severity_text": ""},
	} {
		for k, v := range want {
			if got[i][k] != v {
				t.Errorf("%s of record %d is %q, want %q, in %v", k, i, got[i][k], v, got[i])
			}
		}
	}
}

// A wrong password loses nothing: the records wait for the right one.
func TestWeirPassword(t *testing.T) {
	w := buildWeir(t, false)
	w.start()
	dir := t.TempDir()
	c := start(t, Config{Endpoints: []string{w.url}, Auth: Auth{User: "cart", Password: "wrong"}, Spool: Spool{Dir: dir}, MaxBackoff: 20 * time.Millisecond})
	c.Logger().Info("m")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := c.Flush(ctx); err == nil || !strings.Contains(err.Error(), "401") {
		t.Fatal(err)
	}
	if err := c.Close(ctx); err != nil {
		t.Fatal(err)
	}
	c = start(t, Config{Endpoints: []string{w.url}, Auth: Auth{User: "cart", Password: "right"}, Spool: Spool{Dir: dir}})
	flush(t, c)
	if st := c.Stats(); st.Recovered != 1 || st.Delivered != 1 {
		t.Errorf("%+v", st)
	}
}
