package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/weirlog/weir/wire/forward"
)

// socketGateway is a running weir that takes logs over sockets and writes them to a file.
type socketGateway struct {
	*process
	t            *testing.T
	config, file string
	stderr       string
}

// startSocketGateway starts a weir with these inputs. buffer is that of its output.
func startSocketGateway(t *testing.T, inputs, buffer string) *socketGateway {
	t.Helper()
	dir := t.TempDir()
	g := &socketGateway{t: t, config: filepath.Join(dir, "weir.yaml"), file: filepath.Join(dir, "out.jsonl"), stderr: filepath.Join(dir, "weir.stderr")}
	text := fmt.Sprintf("inputs: %s\noutputs: {file: {path: '%s', format: json, max_size: 1GiB, batch: {wait: 20ms}, buffer: %s}}\nstate: '%s'\n", inputs, g.file, buffer, filepath.Join(dir, "state"))
	if err := os.WriteFile(g.config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	g.start()
	return g
}

func (g *socketGateway) start() {
	g.t.Helper()
	g.process = start(g.t, g.stderr, io.Discard, weir(g.t), "run", "-c", g.config)
}

// dial connects as soon as weir listens.
func (g *socketGateway) dial(addr string) (c net.Conn) {
	g.t.Helper()
	eventually(g.t, "weir listens on "+addr, func() (ok bool) {
		if !g.alive() {
			g.t.Fatalf("weir has ended\n%s", g.tail())
		}
		var err error
		c, err = net.Dial("tcp", addr)
		return err == nil
	}, g.tail)
	return c
}

// messages returns how often each text stands in the output's file.
func (g *socketGateway) messages() map[string]int {
	f, err := os.Open(g.file)
	if err != nil {
		return nil
	}
	defer f.Close()
	out := make(map[string]int)
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return out
		}
		var v struct {
			Msg string `json:"_msg"`
		}
		if json.Unmarshal(line, &v) == nil {
			out[v.Msg]++
		}
	}
}

func forwardChunk(chunk string, lines ...string) []byte {
	var e []byte
	for _, l := range lines {
		e = msgp.AppendMapHeader(forward.AppendTime(append(e, 0x92), time.Now().UnixNano()), 1)
		e = msgp.AppendString(msgp.AppendString(e, "log"), l)
	}
	return forward.AppendOption(append(forward.AppendPacked(nil, "e2e.story", len(e)), e...), len(lines), chunk, "")
}

// Failure 53, for the Forward Protocol: whatever was acknowledged is there after
// kill -9 at any moment, as it was sent. What was not is sent again, as Fluentd and
// Fluent Bit do it.
func TestFailure53_ForwardAcknowledgedSurvivesKill(t *testing.T) {
	addr := freePort(t)
	g := startSocketGateway(t, fmt.Sprintf("{forward: {tcp: '%s'}}", addr), "{disk: 64MiB}")
	var acked sync.Map
	var count atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for client := range 3 {
		wg.Go(func() {
			for n := 0; ; n++ {
				line := fmt.Sprintf("client %d line %d é \t end", client, n)
				for done := false; !done; {
					select {
					case <-stop:
						return
					default:
					}
					done = sendChunk(addr, fmt.Sprintf("%d-%d", client, n), line, line+" second")
				}
				acked.Store(line, true)
				acked.Store(line+" second", true)
				count.Add(2)
			}
		})
	}
	kills := 6
	if full {
		kills = 60
	}
	for range kills {
		before := count.Load()
		eventually(t, "chunks are acknowledged", func() bool { return count.Load() > before+20 }, g.tail)
		randomly(300 * time.Millisecond)
		g.signal(syscall.SIGKILL)
		randomly(50 * time.Millisecond)
		g.start()
	}
	before := count.Load()
	eventually(t, "chunks are acknowledged at last", func() bool { return count.Load() > before+20 }, g.tail)
	close(stop)
	wg.Wait()
	missing := ""
	eventually(t, "all that was acknowledged is there", func() bool {
		got := g.messages()
		missing = ""
		acked.Range(func(k, _ any) bool {
			if got[k.(string)] == 0 {
				missing = k.(string)
			}
			return missing == ""
		})
		return missing == ""
	}, func() string { return "missing: " + missing + "\n" + g.tail() })
	t.Logf("%d records acknowledged over %d kills", count.Load(), kills)
	if code := g.signal(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// sendChunk reports whether a chunk was acknowledged.
func sendChunk(addr, chunk string, lines ...string) bool {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(forwardChunk(chunk, lines...)); err != nil {
		return false
	}
	p := make([]byte, 256)
	n, err := c.Read(p)
	if err != nil {
		return false
	}
	id, ok := forward.ParseAck(p[:n])
	return ok && string(id) == chunk
}

// What was sent over open connections before SIGTERM arrives, byte for byte, once.
func TestSyslogStopsWithOpenConnections(t *testing.T) {
	addr, lines := freePort(t), freePort(t)
	g := startSocketGateway(t, fmt.Sprintf("{syslog: {tcp: '%s'}, socket: {tcp: '%s', format: text}}", addr, lines), "{memory: 16MiB}")
	want := map[string]int{}
	var conns []net.Conn
	for i := range 10 {
		c, l := g.dial(addr), g.dial(lines)
		conns = append(conns, c, l)
		for k := range 500 {
			body := fmt.Sprintf("conn %d message %d with \"quotes\" \\ ünï %s", i, k, strings.Repeat("x", k%97))
			if k%2 == 0 {
				fmt.Fprintf(c, "<134>1 2026-11-22T10:00:00Z h a - - - %s\n", body)
			} else {
				m := "<134>Nov 22 10:00:00 h a: " + body + "\nand more"
				fmt.Fprintf(c, "%d %s", len(m), m)
				body += "\nand more"
			}
			want[body]++
			fmt.Fprintf(l, "line %d %d\n", i, k)
			want[fmt.Sprintf("line %d %d", i, k)]++
		}
	}
	fmt.Fprint(conns[0], "<134>1 2026-11-22T10:00:00Z h a - - - not ended")
	want["not ended"]++
	randomly(200 * time.Millisecond)
	if code := g.signal(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, g.tail())
	}
	got := g.messages()
	for m, n := range want {
		if got[m] != n {
			t.Fatalf("%q: %d times, want %d; %d messages in all, want %d", m, got[m], n, len(got), len(want))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d messages, want %d", len(got), len(want))
	}
}
