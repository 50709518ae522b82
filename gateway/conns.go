package gateway

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// ConnLimit bounds the connections of one listener or of several together. When
// all places are taken, whoever has the most gives one up, and of that address's
// the one that has been silent for longest: those who hold many cannot keep out
// those who want one. A connection that is not being read, because what came over
// it has no room yet, is never the one. Safe for concurrent use.
type ConnLimit struct {
	max, perIP int

	mu    sync.Mutex
	total int
	by    map[netip.Prefix]map[*limitedConn]struct{} // the zero Prefix: unix sockets
	told  time.Time
	log   *slog.Logger
	who   []any  // attributes of what is logged
	busy  func() // called for each that is refused; may be nil

	refused, evicted atomic.Int64
}

// Log makes the limit tell, at most every ten seconds, that connections are
// refused or cut, with these attributes. It is for before the first connection.
func (l *ConnLimit) Log(log *slog.Logger, attrs ...any) { l.log, l.who = log, attrs }

// tellEvery is how often is told what somebody else can make happen at will.
const tellEvery = 10 * time.Second

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
	// Refused came when their address had too many, or there was no place at all;
	// Evicted gave theirs up to somebody else.
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
		abort(c)
	}
}

// tell says how things are, since a connection from there was refused, or one was
// cut for it. l.mu is held.
func (l *ConnLimit) tell(from netip.Prefix) {
	now := time.Now()
	if l.log == nil || now.Sub(l.told) < tellEvery {
		return
	}
	l.told = now
	l.log.Warn("there are too many connections: some are refused, or cut for others", append(l.who[:len(l.who):len(l.who)],
		"address", from, "of_address", len(l.by[from]), "limit_of_address", l.perIP, "open", l.total, "limit", l.max,
		"refused", l.refused.Load(), "cut", l.evicted.Load())...)
}

// abort closes a connection without waiting for what is to be sent.
func abort(c net.Conn) {
	inner := c
	if l, ok := c.(*limitedConn); ok {
		inner = l.Conn
	}
	if t, ok := inner.(*net.TCPConn); ok {
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
	// reading counts Reads that wait. With none, weir lets the sender wait: what it
	// has sent would be lost with the connection.
	reading atomic.Int32
	gone    sync.Once
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
	if lc.from.IsValid() && len(l.by[lc.from]) >= l.perIP || l.total >= l.max && !l.evict(lc.from) {
		l.refused.Add(1)
		if l.busy != nil {
			l.busy()
		}
		l.tell(lc.from)
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
			if c.reading.Load() > 0 && (oldest == nil || c.last.Load() < oldest.last.Load()) {
				oldest = c
			}
		}
	}
	if oldest == nil {
		return false
	}
	l.forget(oldest)
	l.evicted.Add(1)
	l.tell(oldest.from)
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
	c.reading.Add(1)
	n, err := c.Conn.Read(p)
	c.reading.Add(-1)
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
