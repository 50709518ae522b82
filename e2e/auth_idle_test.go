package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFailure109_IdleConnections: thousands of connections that are silent, of every
// kind and from several addresses, cost little; who comes then is served, and of
// those that are too many one line tells.
func TestFailure109_IdleConnections(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8")
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 16384 {
		t.Skipf("needs 16384 open files, there are %d (%v)", files.Cur, err)
	}
	each := 800
	if full {
		each = 2400
	}
	forward, syslog := freePort(t), freePort(t)
	g := startOpen(t, fmt.Sprintf(`listen: {http: ADDRESS}
inputs:
  forward: {tcp: '%s'}
  syslog: {tcp: '%s'}
`, forward, syslog))
	kinds := map[string]struct{ to, first string }{
		"HTTP/1":  {g.addr, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		"HTTP/2":  {g.addr, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		"forward": {forward, "\x93\xa1t\x00\x81\xa3log\xa4idle"},
		"syslog":  {syslog, "<13>a: idle\n"},
	}
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	before := g.rss()
	for kind, k := range kinds {
		for i := range each {
			c, err := dialFrom(fmt.Sprintf("127.0.8.%d", 1+i/450), k.to)
			if err == nil {
				open = append(open, c)
				_, err = io.WriteString(c, k.first)
			}
			if err != nil {
				t.Fatalf("%s, connection %d: %v", kind, i, err)
			}
		}
	}
	stop := make(chan struct{})
	time.AfterFunc(time.Second, func() { close(stop) })
	if took, failed := g.honest("", stop); len(took) == 0 || len(failed) > 0 {
		t.Errorf("%d honest pushes, failed: %v", len(took), failed)
	} else {
		t.Logf("%d honest pushes, p99 %s", len(took), p99(took))
	}
	grown := g.rss() - before
	t.Logf("%d connections: %d MiB more", len(open), grown>>20)
	// What is measured alone is 9 to 28 KiB; the pushes have their part in it.
	if limit := int64(len(open))*40<<10 + 64<<20; grown > limit {
		t.Errorf("%d MiB for %d connections", grown>>20, len(open))
	}
	// One address too many, of which nobody else notices.
	for range 1200 {
		if c, err := dialFrom("127.0.8.200", syslog); err == nil {
			open = append(open, c)
		}
	}
	c, err := dialFrom("127.0.8.201", syslog)
	if err != nil {
		t.Fatal(err)
	}
	open = append(open, c)
	if _, err := io.WriteString(c, "<13>a: honest over syslog\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "who has one connection is heard", func() bool {
		resp, err := http.Get("http://" + g.addr + "/loki/api/v1/query_range?query=%7Binput%3D%22syslog%22%7D%7C%3D%22honest%22")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		p, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(p), "honest over syslog")
	}, g.tail)
	text, err := os.ReadFile(g.stderrPath)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "there are too many connections"); n < 1 || n > 3 {
		t.Errorf("told %d times of connections that are too many", n)
	}
}
