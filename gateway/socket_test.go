package gateway

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirlog/weir/record"
)

// pipe is a pipeline that takes everything, or what it is told to.
type pipe struct {
	mu     sync.Mutex
	lines  []string
	flags  []record.Flags
	nodes  []string
	times  []int64
	full   bool          // Put refuses
	hold   chan struct{} // if not nil, batches are safe when it is closed
	late   time.Duration // that Put waits for room
	groups int
}

func (p *pipe) Get() *record.Batch {
	b := new(record.Batch)
	b.Reset(nil)
	return b
}

func (p *pipe) Room() <-chan struct{} { return nil }

func (p *pipe) Put(ctx context.Context, b *record.Batch) error {
	p.mu.Lock()
	if late := p.late; late > 0 {
		p.mu.Unlock()
		select {
		case <-time.After(late):
		case <-ctx.Done():
			b.Abandon()
			return ctx.Err()
		}
		p.mu.Lock()
	}
	defer p.mu.Unlock()
	if p.full {
		return fmt.Errorf("full")
	}
	p.groups++
	for i := range b.NumRecords() {
		p.lines = append(p.lines, string(b.Body(i)))
		p.flags = append(p.flags, b.Record(i).Flags)
		p.nodes = append(p.nodes, b.Stream(i).Get(record.AttrNode))
		p.times = append(p.times, b.Record(i).Time)
	}
	b.Freeze()
	if hold := p.hold; hold != nil {
		go func() { <-hold; b.Release() }()
		return nil
	}
	b.Release()
	return nil
}

func (p *pipe) got() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines)
}

func (p *pipe) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// eventually waits until f says that it is so.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatalf("it never came to be: %s", what)
		}
		time.Sleep(2 * time.Millisecond) // between looks, not for order
	}
}

// start runs an input and returns what to end it with.
func start(t *testing.T, protocol string, l Listen, settings any, cfg Config) (in *Input, p *pipe, stop func()) {
	t.Helper()
	cfg.Name = protocol
	in, err := NewInput(cfg, protocol, l, settings)
	if err != nil {
		t.Fatal(err)
	}
	p = &pipe{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx, p) }()
	n := 0
	for _, a := range []string{l.TCP, l.UDP, l.Unix} {
		if a != "" {
			n++
		}
	}
	eventually(t, "listening", func() bool { return len(in.Addrs()) == n })
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return in, p, stop
}

func dial(t *testing.T, in *Input, i int) net.Conn {
	t.Helper()
	a := in.Addrs()[i]
	c, err := net.Dial(a.Network(), a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, p *pipe, lines ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%q arrive", lines), func() bool { return len(p.got()) >= len(lines) })
	if got := p.got(); !slices.Equal(got, lines) {
		t.Errorf("got %q\nwant %q", got, lines)
	}
}

func TestSyslogOverStreams(t *testing.T) {
	in, p, stop := start(t, "syslog", Listen{TCP: "127.0.0.1:0", Unix: filepath.Join(t.TempDir(), "log")}, nil, Config{})
	c := dial(t, in, 0)
	send(t, c, "<13>Nov 22 10:00:00 h a: one\n36 <13>1 2026-11-22T10:00:00Z h a - - -")
	send(t, c, "<13>b: rest of a line")
	want(t, p, "one", "")
	c.Close()
	want(t, p, "one", "", "rest of a line")
	u := dial(t, in, 1)
	send(t, u, "<13>Nov 22 10:00:00 a: local\n<13>Nov 22 10:00:00 a: not ended")
	want(t, p, "one", "", "rest of a line", "local")
	stop()
	want(t, p, "one", "", "rest of a line", "local", "not ended")
	if p.nodes[0] != "h" || p.nodes[2] != "127.0.0.1" || p.nodes[3] == "" {
		t.Errorf("nodes %q", p.nodes)
	}
}

func TestSyslogDatagrams(t *testing.T) {
	in, p, stop := start(t, "syslog", Listen{UDP: "127.0.0.1:0", Unix: filepath.Join(t.TempDir(), "log")}, &SyslogConfig{Datagrams: true}, Config{})
	c, u := dial(t, in, 0), dial(t, in, 1)
	for i := range 3 {
		send(t, c, fmt.Sprintf("<13>a: %d\n", i))
		eventually(t, "it arrives", func() bool { return len(p.got()) > i })
	}
	send(t, u, "<13>Nov 22 10:00:00 a: local\x00")
	want(t, p, "0", "1", "2", "local")
	send(t, c, "<13>a: last")
	stop()
	want(t, p, "0", "1", "2", "local", "last")
}

func TestGELFListeners(t *testing.T) {
	in, p, _ := start(t, "gelf", Listen{TCP: "127.0.0.1:0", UDP: "127.0.0.1:0"}, nil, Config{})
	c, u := dial(t, in, 0), dial(t, in, 1)
	send(t, c, `{"short_message":"tcp","host":"h"}`+"\x00rubbish\x00")
	want(t, p, "tcp", "rubbish")
	send(t, u, "\x1e\x0f12345678\x00\x02{\"short_mess")
	send(t, u, "\x1e\x0f12345678\x01\x02age\":\"udp\"}")
	want(t, p, "tcp", "rubbish", "udp")
	if p.flags[1] != record.ParseError || p.flags[0] != 0 {
		t.Error(p.flags)
	}
}

func TestLinesOverSockets(t *testing.T) {
	in, p, stop := start(t, "socket", Listen{TCP: "127.0.0.1:0", UDP: "127.0.0.1:0"}, &SocketConfig{Text: true}, Config{})
	c, u := dial(t, in, 0), dial(t, in, 1)
	long := strings.Repeat("x", 1<<20+10)
	send(t, c, "one\r\ntwo\n"+long+"\nthree")
	want(t, p, "one", "two", long[:1<<20], long[1<<20:])
	send(t, u, "udp\nudp2\n")
	want(t, p, "one", "two", long[:1<<20], long[1<<20:], "udp", "udp2")
	stop()
	want(t, p, "one", "two", long[:1<<20], long[1<<20:], "udp", "udp2", "three")
	if p.flags[2] != record.Partial || p.flags[3] != record.Continued {
		t.Error(p.flags)
	}
}

// While there is no room nothing is read, and nothing is lost or doubled.
func TestSocketsWaitForRoom(t *testing.T) {
	in, p, _ := start(t, "syslog", Listen{TCP: "127.0.0.1:0"}, nil, Config{})
	p.set(func() { p.full = true })
	c := dial(t, in, 0)
	go func() {
		for i := range 20000 {
			fmt.Fprintf(c, "<13>a: %d\n", i)
		}
	}()
	eventually(t, "it is told", func() bool { return in.Stats()[0].Requests["busy"] > 1 })
	if len(p.got()) > 0 {
		t.Fatal("taken")
	}
	p.set(func() { p.full = false })
	eventually(t, "all arrive", func() bool { return len(p.got()) >= 20000 })
	for i, l := range p.got() {
		if l != fmt.Sprint(i) {
			t.Fatalf("line %d is %q", i, l)
		}
	}
}

// Slow senders are cut, idle ones are few enough, and others do not notice.
func TestFailure109_StreamListeners(t *testing.T) {
	conf := &SyslogConfig{Conns: Conns{Max: 20, PerIP: 10, Idle: 300 * time.Millisecond}}
	in, p, _ := start(t, "syslog", Listen{TCP: "127.0.0.1:0"}, conf, Config{Limits: Limits{Patience: 300 * time.Millisecond}})
	ended := func(c net.Conn) bool {
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err := c.Read(make([]byte, 1))
		ne, ok := err.(net.Error)
		return err != nil && !(ok && ne.Timeout())
	}
	slow := dial(t, in, 0)
	began := time.Now()
	go func() {
		for range 100 {
			if _, err := slow.Write([]byte("<")); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond) // slowly
		}
	}()
	if !ended(slow) || time.Since(began) > 3*time.Second {
		t.Error("slow-loris is still there")
	}
	if !ended(dial(t, in, 0)) {
		t.Error("an idle connection is still there")
	}
	var conns []net.Conn
	for range 10 {
		conns = append(conns, dial(t, in, 0))
	}
	// It is refused with a reset, which may come before the connection is made.
	if c, err := net.Dial("tcp", in.Addrs()[0].String()); err == nil {
		if !ended(c) {
			t.Error("one too many is there")
		}
		c.Close()
	}
	send(t, conns[0], "<13>a: honest\n")
	eventually(t, "it arrives", func() bool { return slices.Contains(p.got(), "honest") })
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	in, err := NewInput(Config{}, "socket", Listen{Unix: path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Run(t.Context(), &pipe{}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	_, _, stop := start(t, "socket", Listen{Unix: path}, nil, Config{})
	stop()
}
