package output

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlog/weir/ack"
)

func TestFailure77_LostPeerIsNoticed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for name, d := range map[string]*dialer{
		"system's resolver": newDialer(nil, time.Minute, ""),
		"given resolver":    newDialer(&fakeResolver{ips: []string{"127.0.0.1"}}, time.Minute, ""),
	} {
		c, err := d.dial(t.Context(), "tcp", "localhost:"+port)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		get := func(level, opt int) (v int) {
			if cerr := raw.Control(func(fd uintptr) { v, err = unix.GetsockoptInt(int(fd), level, opt) }); cerr != nil || err != nil {
				t.Fatal(cerr, err)
			}
			return v
		}
		if v := get(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); v <= 0 || v > 30000 {
			t.Errorf("%s: TCP_USER_TIMEOUT %d ms, want at most 30 s", name, v)
		}
		idle, every, n := get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE), get(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL), get(unix.IPPROTO_TCP, unix.TCP_KEEPCNT)
		if on := get(unix.SOL_SOCKET, unix.SO_KEEPALIVE); on != 1 || idle+every*n > 30 {
			t.Errorf("%s: keep-alive %d, dead after %d+%d·%d s, want at most 30", name, on, idle, every, n)
		}
		_ = c.Close()
	}
}

// tunnel is a proxy on loopback that can stop passing bytes without closing
// anything, as a dropped route does.
type tunnel struct {
	l    net.Listener
	mu   sync.Mutex
	hole map[net.Conn]bool // client connections that pass nothing any more
	all  []net.Conn
	wg   sync.WaitGroup
}

func newTunnel(t *testing.T, to string) *tunnel {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tunnel{l: l, hole: map[net.Conn]bool{}}
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			p.mu.Lock()
			p.all = append(p.all, c, s)
			p.mu.Unlock()
			p.wg.Go(func() { p.pass(c, c, s) })
			p.wg.Go(func() { p.pass(c, s, c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for _, c := range p.all {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

func (p *tunnel) pass(client, from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		lost := p.hole[client]
		p.mu.Unlock()
		if lost {
			_, _ = io.Copy(io.Discard, from) // until the test ends
			return
		}
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			_, _ = from.Close(), to.Close()
			return
		}
	}
}

// blackhole makes the present connections pass nothing any more.
func (p *tunnel) blackhole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.all {
		p.hole[c] = true
	}
}

// After one attempt on a connection into the void, the next uses another.
func TestFailure77_BlackHoleIsLeft(t *testing.T) {
	ca := newAuthority(t, "A")
	dir := t.TempDir()
	write(t, dir+"/ca", ca.pem)
	cert, key := ca.issue("x")
	for _, h2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP1", true: "HTTP2"}[h2], func(t *testing.T) {
			st := new(tlsState)
			st.use(t, cert, key, nil)
			p := newTunnel(t, st.server(t, h2).Listener.Addr().String())
			o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{
				URL: "https://" + p.l.Addr().String(), Timeout: 500 * time.Millisecond, TLS: TLS{CA: dir + "/ca"},
			}})
			o.conf.Timeout = 30 * time.Second // a loaded machine may be slow; only the attempt into the void must end soon
			mustSend(t, o, "one")
			p.blackhole()
			o.conf.Timeout = 500 * time.Millisecond
			_, err := o.Send(t.Context(), someParts("two"))
			wantKind(t, err, ack.Retry)
			o.conf.Timeout = 30 * time.Second
			mustSend(t, o, "two")
		})
	}
	t.Run("gRPC", func(t *testing.T) {
		c := &collector{t: t}
		p := newTunnel(t, grpcServer(t, c))
		o := newOTLP(t, HTTPConfig{URL: "grpc://" + p.l.Addr().String()})
		mustSend(t, o, "one")
		p.blackhole()
		g := o.transport.(*otlpGRPC)
		g.conf.Timeout = 500 * time.Millisecond
		_, err := o.Send(t.Context(), someParts("two"))
		wantKind(t, err, ack.Retry)
		g.conf.Timeout = 30 * time.Second
		mustSend(t, o, "two")
	})
}
