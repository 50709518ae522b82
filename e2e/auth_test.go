package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	bigendian "encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// authGateway is a weir with a store that others push to.
type authGateway struct {
	*process
	t          *testing.T
	dir        string
	addr       string
	stderrPath string
}

func startOpen(t *testing.T, config string) *authGateway {
	t.Helper()
	dir := t.TempDir()
	g := &authGateway{t: t, dir: dir, addr: freePort(t), stderrPath: filepath.Join(dir, "stderr")}
	file := filepath.Join(dir, "weir.yaml")
	text := fmt.Sprintf("state: %s/state\noutputs: {store: {}}\n", dir) + strings.ReplaceAll(config, "ADDRESS", g.addr)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.process = start(t, g.stderrPath, nil, weir(t), "run", "-c", file)
	eventually(t, "the gateway is ready", func() bool {
		resp, err := http.Get("http://" + g.addr + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	}, g.tail)
	return g
}

// ask sends a request with a token and returns the answer.
func (g *authGateway) ask(method, path, token string, body string, header ...string) (int, string) {
	g.t.Helper()
	req, err := http.NewRequest(method, "http://"+g.addr+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp.StatusCode, string(p)
}

func lokiPush(labels map[string]string, line string) string {
	p, err := json.Marshal(map[string]any{"streams": []any{map[string]any{"stream": labels, "values": [][]string{{fmt.Sprint(time.Now().UnixNano()), line}}}}})
	if err != nil {
		panic(err)
	}
	return string(p)
}

// TestFailure112_TenantsAndSecrets: nobody reads or writes for another, whatever it
// says; what it may do is bounded; and no word of a secret comes out anywhere.
func TestFailure112_TenantsAndSecrets(t *testing.T) {
	const canary = "canary-5d1c7e90"
	tokens := t.TempDir()
	if err := os.WriteFile(filepath.Join(tokens, "green"), []byte(canary+"-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startOpen(t, fmt.Sprintf(`log: {level: debug}
listen:
  http: ADDRESS
  tenant_limits: {day: 1MiB}
  users:
    - {token: %[1]s-red, tenant: red}
    - {token_sha256: %[2]x, tenant: blue}
    - {name: ann, password: %[1]s-ann, tenant: red, scopes: [query]}
    - {token: %[1]s-push, tenant: red, scopes: [ingest]}
    - {tokens: %[3]s, tenant: '${name}'}
`, canary, sha256.Sum256([]byte(canary+"-blue")), tokens))
	const path = "/loki/api/v1/push"
	labels := map[string]string{"app": "a", "tenant": "blue"}
	if code, text := g.ask("POST", path, canary+"-red", lokiPush(map[string]string{"app": "a", "__tenant__": "blue"}, "line of red")); code != 400 {
		t.Errorf("a claimed tenant: %d %s", code, text)
	}
	for _, c := range []struct {
		token, tenant string
		want          int
	}{
		{"red", "", 204}, {"red", "red", 204}, {"red", "blue", 403}, {"red", "../blue", 403}, {"red", "red|blue", 403}, {"blue", "", 204}, {"file", "", 204},
		{"push", "", 204}, {"nobody", "", 401}, {"", "", 401}, {"", "red", 401},
	} {
		token, header := "", []string{}
		if c.token != "" {
			token = canary + "-" + c.token
		}
		if c.tenant != "" {
			header = []string{"X-Scope-OrgID", c.tenant}
		}
		if code, text := g.ask("POST", path, token, lokiPush(labels, "line of "+c.token), header...); code != c.want {
			t.Errorf("push as %s for %q: %d %s, want %d", c.token, c.tenant, code, text, c.want)
		}
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("ann:"+canary+"-ann"))
	if code, _ := g.ask("POST", path, "", lokiPush(labels, "x"), "Authorization", basic); code != 403 {
		t.Errorf("a user who may only read pushes: %d", code)
	}
	all := "/loki/api/v1/query_range?query=" + url.QueryEscape(`{app="a"}`)
	if code, _ := g.ask("GET", all, canary+"-push", ""); code != 403 {
		t.Errorf("a user who may only push reads: %d", code)
	}
	read := func(token string, paths ...string) (out string) {
		for _, p := range paths {
			code, text := g.ask("GET", p, canary+"-"+token, "")
			if code != 200 {
				t.Errorf("%s reads %s: %d %s", token, p, code, text)
			}
			out += text
		}
		return out
	}
	// Twice: a cache must not tell either.
	for range 2 {
		for _, who := range []string{"red", "blue", "file"} {
			text := read(who, all, "/loki/api/v1/series?match[]="+url.QueryEscape(`{app="a"}`), "/loki/api/v1/labels", "/loki/api/v1/label/app/values",
				"/loki/api/v1/index/volume?query="+url.QueryEscape(`{app="a"}`))
			if !strings.Contains(text, "line of "+who) {
				t.Errorf("%s does not see its own line: %.300s", who, text)
			}
			for _, other := range []string{"red", "blue", "file"} {
				if other != who && strings.Contains(text, "line of "+other) {
					t.Errorf("%s sees a line of %s", who, other)
				}
			}
		}
	}
	// The tenant, too, is one of those that senders may not say.
	if text := read("blue", "/loki/api/v1/query_range?query="+url.QueryEscape(`{__tenant__="blue"}`)); strings.Contains(text, "line of red") {
		t.Error("a claimed tenant was believed")
	}
	// Nothing of administration is here.
	for _, p := range []string{"/debug/pprof/", "/debug/vars", "/v1/status", "/v1/ledger", "/v1/tap", "/v1/dlq", "/admin"} {
		if code, text := g.ask("GET", p, "", ""); code == 200 {
			t.Errorf("%s without credentials: %d %.100s", p, code, text)
		}
	}
	// The day's quota, over a restart of nothing: only its own tenant.
	big := strings.Repeat("x", 600<<10)
	for range 2 {
		g.ask("POST", path, canary+"-file", lokiPush(labels, big))
	}
	req, _ := http.NewRequest("POST", "http://"+g.addr+path, strings.NewReader(lokiPush(labels, "one more")))
	req.Header.Set("Authorization", "Bearer "+canary+"-file")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("over the day's quota: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	if code, _ := g.ask("POST", path, canary+"-red", lokiPush(labels, "red again")); code != 204 {
		t.Errorf("another tenant: %d", code)
	}
	// A token that is taken out of the directory is good no longer.
	if err := os.Remove(filepath.Join(tokens, "green")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the removed token is refused", func() bool {
		code, _ := g.ask("GET", all, canary+"-file", "")
		return code == 401
	}, g.tail)

	var out strings.Builder
	for _, p := range []string{"/metrics", "/", "/healthz", "/readyz", "/config", "/loki/api/v1/status/buildinfo"} {
		_, text := g.ask("GET", p, "", "")
		out.WriteString(text)
		_, text = g.ask("GET", p, canary+"-red", "")
		out.WriteString(text)
	}
	shown, said, _ := run(t, weir(t), "config", "show", "-c", filepath.Join(g.dir, "weir.yaml"))
	out.WriteString(shown + said)
	shown, said, _ = run(t, weir(t), "check", "-c", filepath.Join(g.dir, "weir.yaml"))
	out.WriteString(shown + said)
	g.signal(syscall.SIGQUIT) // a crash dump
	dump, err := os.ReadFile(g.stderrPath)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(dump)
	if !bytes.Contains(dump, []byte("goroutine ")) || !bytes.Contains(dump, []byte("access refused")) {
		t.Error("no crash dump, or no line of the refusals")
	}
	for _, c := range []string{canary, fmt.Sprintf("%x", sha256.Sum256([]byte(canary+"-blue"))), base64.StdEncoding.EncodeToString([]byte(canary))[:16]} {
		if i := strings.Index(out.String(), c); i >= 0 {
			t.Errorf("%s comes out: %s", c, out.String()[max(0, i-300):min(out.Len(), i+80)])
		}
	}
}

// honest pushes small bodies until stop, and tells how that went.
func (g *authGateway) honest(token string, stop <-chan struct{}) (took []time.Duration, failed map[string]int) {
	failed = make(map[string]int)
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	defer client.CloseIdleConnections()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return took, failed
		case <-time.After(10 * time.Millisecond):
		}
		req, err := http.NewRequest("POST", "http://"+g.addr+"/loki/api/v1/push", strings.NewReader(lokiPush(map[string]string{"app": "honest"}, fmt.Sprint("line ", i))))
		if err != nil {
			g.t.Error(err)
			return took, failed
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		if i%20 == 0 {
			client.CloseIdleConnections() // newcomers are honest too
		}
		began := time.Now()
		resp, err := client.Do(req)
		if err != nil {
			failed[err.Error()]++
			continue
		}
		resp.Body.Close()
		took = append(took, time.Since(began))
		if resp.StatusCode != 204 {
			failed[resp.Status]++
		}
	}
}

func p99(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[len(d)*99/100]
}

// rss returns the resident memory of the process, in bytes.
func (g *authGateway) rss() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	var kib int64
	if _, rest, ok := strings.Cut(string(text), "VmHWM:"); ok {
		fmt.Sscan(rest, &kib)
	}
	return kib << 10
}

// dialFrom connects from one of the addresses of loopback.
func dialFrom(ip, to string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	return d.Dial("tcp", to)
}

// TestFailure109_HonestUnharmed: while connections idle, come slowly, carry headers
// without end, reset streams, and bodies blow up, honest senders get what they get
// without; and memory stays bounded.
func TestFailure109_HonestUnharmed(t *testing.T) {
	g := startOpen(t, `listen:
  http: ADDRESS
  limits: {connections: 400, connections_per_ip: 150, push_memory: 64MiB}
  tenant_limits: {bytes: 20MiB/s}
  users:
    - {token: honest, tenant: honest}
    - {token: hostile, tenant: hostile}
`)
	phase := func(d time.Duration) (time.Duration, int, map[string]int) {
		stop := make(chan struct{})
		time.AfterFunc(d, func() { close(stop) })
		took, failed := g.honest("honest", stop)
		return p99(took), len(took), failed
	}
	length := 3 * time.Second
	if full {
		length = 30 * time.Second
	}
	before, n, failed := phase(length)
	t.Logf("alone: %d pushes, p99 %s, failed %v", n, before, failed)

	end := make(chan struct{})
	var wg sync.WaitGroup
	var attacks [5]atomic.Int64
	attack := func(kind int, f func() bool) {
		wg.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				if f() {
					attacks[kind].Add(1)
				} else {
					time.Sleep(20 * time.Millisecond) // as an attacker would
				}
			}
		})
	}
	var mu sync.Mutex
	var held []net.Conn
	hold := func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		if held = append(held, c); len(held) > 2000 {
			held[0].Close()
			held = held[1:]
		}
	}
	for i := range 5 { // connections that say nothing, and that say it slowly
		ip := fmt.Sprintf("127.0.9.%d", i+1)
		attack(0, func() bool {
			c, err := dialFrom(ip, g.addr)
			if err != nil {
				return false
			}
			hold(c)
			_, err = io.WriteString(c, "POST /loki/api/v1/push HTTP/1.1\r\nHost: localhost\r\nX-A: ")
			time.Sleep(2 * time.Millisecond)
			return err == nil
		})
	}
	attack(1, func() bool { // headers without end
		c, err := dialFrom("127.0.9.6", g.addr)
		if err != nil {
			return false
		}
		defer c.Close()
		line := []byte("X-Bomb: " + strings.Repeat("a", 4000) + "\r\n")
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n")
		for range 64 {
			if _, err := c.Write(line); err != nil {
				return true
			}
		}
		return true
	})
	attack(2, func() bool { return rapidReset(g.addr) })
	bomb := gzipped(make([]byte, 100<<20))
	attack(3, func() bool {
		req, _ := http.NewRequest("POST", "http://"+g.addr+"/loki/api/v1/push", bytes.NewReader(bomb))
		req.Header.Set("Content-Encoding", "gzip")
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer hostile")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		if resp.StatusCode != 413 && resp.StatusCode != 429 {
			t.Errorf("a bomb is answered with %s", resp.Status)
		}
		return true
	})
	lots := lokiPush(map[string]string{"app": "flood"}, strings.Repeat("x", 200<<10))
	attack(4, func() bool {
		req, _ := http.NewRequest("POST", "http://"+g.addr+"/loki/api/v1/push", strings.NewReader(lots))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer hostile")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 204
	})
	during, n, failed := phase(2 * length)
	close(end)
	wg.Wait()
	for _, c := range held {
		c.Close()
	}
	t.Logf("under attack: %d pushes, p99 %s, failed %v; slow connections %d, header bombs %d, resets %d, bombs %d, floods %d; memory %d MiB at most", n, during, failed,
		attacks[0].Load(), attacks[1].Load(), attacks[2].Load(), attacks[3].Load(), attacks[4].Load(), g.rss()>>20)
	if len(failed) > 0 || n == 0 {
		t.Errorf("honest pushes failed: %v", failed)
	}
	for i := range attacks {
		if attacks[i].Load() == 0 {
			t.Errorf("attack %d never happened", i)
		}
	}
	if r := g.rss(); r > 256<<20 {
		t.Errorf("%d MiB of memory", r>>20)
	}
	after, n, failed := phase(length)
	t.Logf("afterwards: %d pushes, p99 %s, failed %v", n, after, failed)
	if len(failed) > 0 {
		t.Errorf("afterwards: %v", failed)
	}
}

func gzipped(p []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(p)
	z.Close()
	return b.Bytes()
}

// rapidReset opens and resets streams of HTTP/2 as fast as it can (CVE-2023-44487).
func rapidReset(addr string) bool {
	c, err := dialFrom("127.0.9.7", addr)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	frame := func(kind, flags byte, stream uint32, payload []byte) []byte {
		p := make([]byte, 9, 9+len(payload))
		p[0], p[1], p[2], p[3], p[4] = byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags
		bigendian.BigEndian.PutUint32(p[5:], stream)
		return append(p, payload...)
	}
	out := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, 0, 0, nil)...)
	// :method GET, :scheme http, :path /, :authority localhost, all from the static
	// table but the last.
	head := append([]byte{0x82, 0x86, 0x84, 0x41, 9}, "localhost"...)
	for i := range 2000 {
		id := uint32(2*i + 1)
		out = append(out, frame(1, 5, id, head)...)
		out = append(out, frame(3, 0, id, []byte{0, 0, 0, 8})...)
	}
	_, err = c.Write(out)
	return err == nil || strings.Contains(err.Error(), "reset") || strings.Contains(err.Error(), "broken pipe")
}
