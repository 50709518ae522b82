package output

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/weirlog/weir/ack"
)

// socket keeps connections to one endpoint of a protocol over TCP, TLS or UDP. A
// connection is used for one attempt at a time; after a failed one all are given
// up, so that nothing of a dead address is left.
type socket struct {
	conf  HTTPConfig
	url   *url.URL
	shown string
	files *material
	dial  *dialer
	// begin, if not nil, is called on every new connection.
	begin func(c *socketConn) error

	mu     sync.Mutex
	idle   []*socketConn
	era    int // of connections that are still good
	closed bool
}

// socketConn is a connection of a socket.
type socketConn struct {
	net.Conn
	until   time.Time // when a new one takes its place
	era     int
	version int    // of the certificates
	in      []byte // what came; in[from:] is not read yet
	from    int
}

// maxIdle is how many connections wait for the next attempt.
const maxIdle = 16

func newSocket(c HTTPConfig, schemes ...string) (*socket, error) {
	conf, u, err := c.checked(schemes...)
	if err != nil {
		return nil, err
	}
	if u.Port() == "" {
		return nil, fmt.Errorf("output: URL %s: the port is missing", redactURL(u))
	}
	if conf.TLS != (TLS{}) && u.Scheme != "tls" {
		return nil, fmt.Errorf("output: URL %s is not encrypted, and tls is set; write tls://", redactURL(u))
	}
	files, err := newMaterial(&conf)
	if err != nil {
		return nil, fmt.Errorf("output %s: %w", redactURL(u), err)
	}
	u.Path = ""
	return &socket{conf: conf, url: u, shown: conf.shown(u), files: files, dial: newDialer(conf.Resolver, conf.Timeout, conf.Address)}, nil
}

// String names the endpoint. It also keeps fmt from printing fields.
func (s *socket) String() string { return s.shown }

// GoString is String.
func (s *socket) GoString() string { return s.shown }

// Reloads returns how often changed certificates were read and put to use, and how
// often they could not be.
func (s *socket) Reloads() (used, failed uint64) { return s.files.stats() }

// Close closes idle connections; later attempts fail.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.drop()
	return nil
}

// drop gives up all connections that are idle.
func (s *socket) drop() {
	for _, c := range s.idle {
		_ = c.Close() // nothing of it is awaited
	}
	s.idle = nil
	s.era++
}

// get returns a connection on which nothing is under way.
func (s *socket) get(ctx context.Context) (*socketConn, error) {
	snap := s.files.current()
	now := s.conf.Now()
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, errClosed
		}
		era := s.era
		n := len(s.idle)
		if n == 0 {
			s.mu.Unlock()
			return s.open(ctx, snap, now, era)
		}
		c := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		if c.version == snap.version && now.Before(c.until) && s.alive(c) {
			return c, nil
		}
		_ = c.Close() // an old one
	}
}

// alive reports whether the peer has neither closed an idle connection nor said
// anything: a server that has gone must be noticed before records are written into
// the void, since without acknowledgements nothing else would tell.
func (s *socket) alive(c *socketConn) bool {
	if s.url.Scheme == "udp" {
		return true
	}
	if c.SetReadDeadline(time.Now().Add(time.Millisecond)) != nil {
		return false
	}
	var one [1]byte
	_, err := c.Read(one[:])
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func (s *socket) open(ctx context.Context, snap snapshot, now time.Time, era int) (*socketConn, error) {
	var nc net.Conn
	var err error
	if s.url.Scheme == "udp" {
		nc, err = new(net.Dialer).DialContext(ctx, "udp", cmp.Or(s.conf.Address, s.url.Host))
	} else {
		nc, err = s.dial.dial(ctx, "tcp", s.url.Host)
	}
	if err != nil {
		return nil, err
	}
	if s.url.Scheme == "tls" {
		conf := snap.tls.Clone()
		if conf.ServerName == "" {
			conf.ServerName = s.url.Hostname()
		}
		t := tls.Client(nc, conf)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = nc.Close() // the handshake's error says why
			return nil, fmt.Errorf("TLS: %w", err)
		}
		nc = t
	}
	c := &socketConn{Conn: nc, until: now.Add(s.conf.lifetime()), era: era, version: snap.version}
	if s.begin != nil {
		if d, ok := ctx.Deadline(); ok {
			_ = c.SetDeadline(d) // reading and writing will tell
		}
		if err := s.begin(c); err != nil {
			_ = c.Close() // as above
			return nil, err
		}
	}
	return c, nil
}

// attempt makes one attempt on a connection. The error is an *ack.SendError.
func (s *socket) attempt(ctx context.Context, f func(c *socketConn) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.conf.Timeout, errAttemptTimeout)
	defer cancel()
	c, err := s.get(ctx)
	if err == nil {
		d, _ := ctx.Deadline()
		if err = c.SetDeadline(d); err == nil {
			stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) }) // f will tell
			err = f(c)
			stop()
		}
		s.put(c, err)
	}
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
		err = cause
	}
	s.files.look()
	var se *ack.SendError
	if errors.As(err, &se) {
		se.Err = fmt.Errorf("%s: %w", s.shown, se.Err)
		return se
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() && !errors.Is(err, errAttemptTimeout) {
		err = fmt.Errorf("no answer in time: %w", err)
	}
	return &ack.SendError{Kind: ack.Retry, Err: fmt.Errorf("%s: %w", s.shown, err)}
}

// put gives a connection back after an attempt.
func (s *socket) put(c *socketConn, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.drop()
	}
	if err != nil || s.closed || c.era != s.era || len(s.idle) >= maxIdle {
		_ = c.Close() // what was to be said about it is in err
		return
	}
	s.idle = append(s.idle, c)
}

// Probe connects, with everything that comes before records.
func (s *socket) Probe(ctx context.Context) error {
	return s.attempt(ctx, func(*socketConn) error { return nil })
}
