package gateway

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// ConnLimit bounds the connections of all listeners of HTTP together. When all
// places are taken, whoever has the most gives one up, and of that address's the
// one that has been silent for longest: those who hold many cannot keep out those
// who want one. Safe for concurrent use.
type ConnLimit struct {
	max, perIP int

	mu    sync.Mutex
	total int
	by    map[netip.Prefix]map[*limitedConn]struct{}

	refused, evicted atomic.Int64
}

// NewConnLimit returns a ConnLimit of so many connections in all, and from one
// address (of IPv6: from one /64). Zero means the defaults, 10 000 and 1 000.
func NewConnLimit(total, perIP int) *ConnLimit {
	def(&total, 10_000)
	def(&perIP, 1000)
	return &ConnLimit{max: total, perIP: min(perIP, total), by: make(map[netip.Prefix]map[*limitedConn]struct{})}
}

// ConnStats are numbers of connections.
type ConnStats struct {
	Open int
	// Refused were too many from their address, or there was no place at all;
	// Evicted gave up their place.
	Refused, Evicted int64
}

// Stats returns the numbers of now.
func (l *ConnLimit) Stats() ConnStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ConnStats{l.total, l.refused.Load(), l.evicted.Load()}
}

// Listen returns ln with the limit applied to what it accepts.
func (l *ConnLimit) Listen(ln net.Listener) net.Listener { return &limitedListener{ln, l} }

type limitedListener struct {
	net.Listener
	l *ConnLimit
}

func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if lc := l.l.admit(c); lc != nil {
			return lc, nil
		}
		l.l.refused.Add(1)
		abort(c)
	}
}

// abort closes a connection without waiting for what is to be sent.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // closing does what is needed all the same
	}
	_ = c.Close() // nobody is told
}

// limitedConn is a connection that counts.
type limitedConn struct {
	net.Conn
	l    *ConnLimit
	from netip.Prefix
	last atomic.Int64 // when something came, Unix nanoseconds
	gone sync.Once
}

// admit returns nil if there is no place.
func (l *ConnLimit) admit(c net.Conn) *limitedConn {
	lc := &limitedConn{Conn: c, l: l}
	if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		lc.from = network(ap.Addr())
	}
	lc.last.Store(time.Now().UnixNano())
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.by[lc.from]) >= l.perIP {
		return nil
	}
	if l.total >= l.max && !l.evict(lc.from) {
		return nil
	}
	if l.by[lc.from] == nil {
		l.by[lc.from] = make(map[*limitedConn]struct{})
	}
	l.by[lc.from][lc] = struct{}{}
	l.total++
	return lc
}

// evict takes a place from one of the addresses with the most, unless from is one
// of them.
func (l *ConnLimit) evict(from netip.Prefix) bool {
	most := 0
	for _, conns := range l.by {
		most = max(most, len(conns))
	}
	if most <= len(l.by[from]) {
		return false
	}
	var oldest *limitedConn
	for _, conns := range l.by {
		if len(conns) < most {
			continue
		}
		for c := range conns {
			if oldest == nil || c.last.Load() < oldest.last.Load() {
				oldest = c
			}
		}
	}
	l.forget(oldest)
	l.evicted.Add(1)
	abort(oldest.Conn) // does not wait
	return true
}

// forget gives a place back. l.mu is held.
func (l *ConnLimit) forget(c *limitedConn) {
	c.gone.Do(func() {
		l.total--
		if delete(l.by[c.from], c); len(l.by[c.from]) == 0 {
			delete(l.by, c.from)
		}
	})
}

// Read implements net.Conn.
func (c *limitedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.last.Store(time.Now().UnixNano())
	}
	return n, err
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	c.l.mu.Lock()
	c.l.forget(c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}
