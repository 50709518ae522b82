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
	// suspects are addresses whose connections wait before they are heard
	suspects map[netip.Prefix]*suspect
	told     time.Time
	log      *slog.Logger
	who      []any  // attributes of what is logged
	busy     func() // called for each that is refused; may be nil

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
	return &ConnLimit{max: total, perIP: min(perIP, total), by: make(map[netip.Prefix]map[*limitedConn]struct{}), suspects: make(map[netip.Prefix]*suspect)}
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
	// reading is 1 while weir waits for the sender. Else the sender waits for weir, and
	// what it has sent would be lost with the connection.
	reading atomic.Int32
	gone    sync.Once
	shut    chan struct{} // closed when it is gone

	// Read's
	wait time.Duration
	buf  *[frameBuffer]byte
	held []byte // of buf: read and not given on
}

// admit returns nil if there is no place.
func (l *ConnLimit) admit(c net.Conn) *limitedConn {
	lc := &limitedConn{Conn: c, l: l, shut: make(chan struct{})}
	if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		lc.from = network(ap.Addr())
	}
	lc.last.Store(time.Now().UnixNano())
	lc.reading.Store(1)
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
	lc.wait = l.waitOf(lc.from, time.Now())
	return lc
}

// evict takes a place from the address with the most that has a connection which
// can be cut, if it has more than from.
func (l *ConnLimit) evict(from netip.Prefix) bool {
	var oldest *limitedConn
	most := len(l.by[from]) + 1
	for _, conns := range l.by {
		if len(conns) < most {
			continue
		}
		for c := range conns {
			if c.reading.Load() > 0 && (oldest == nil || len(conns) > most || c.last.Load() < oldest.last.Load()) {
				oldest, most = c, len(conns)
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
		close(c.shut)
		l.total--
		if delete(l.by[c.from], c); len(l.by[c.from]) == 0 {
			delete(l.by, c.from)
		}
	})
}

// frameHeader is what a server of HTTP/2 without TLS asks for at a time, and
// frameBuffer what it gets: two system calls for each small frame are most of the
// frame's cost.
const (
	frameHeader = 9
	frameBuffer = 4 << 10
)

// Read implements net.Conn.
func (c *limitedConn) Read(p []byte) (int, error) {
	if c.wait > 0 {
		select {
		case <-time.After(c.wait):
		case <-c.shut:
		}
		c.wait = 0
	}
	if len(c.held) > 0 {
		n := copy(p, c.held)
		c.held = c.held[n:]
		return n, nil
	}
	ahead := len(p) == frameHeader
	to := p
	if ahead {
		if c.buf == nil {
			c.buf = new([frameBuffer]byte)
		}
		to = c.buf[:]
	}
	c.reading.Store(1)
	n, err := c.Conn.Read(to)
	c.reading.Store(0)
	if n > 0 {
		c.last.Store(time.Now().UnixNano())
	}
	if ahead {
		c.held = to[:n]
		n = copy(p, c.held)
		c.held = c.held[n:]
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
