package gateway

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// What HTTP servers allow.
const (
	headerPatience = 5 * time.Second
	idlePatience   = 2 * time.Minute
	maxHeader      = 32 << 10
	// maxStreams is how many requests a connection of HTTP/2 may have at a time:
	// the least that RFC 9113 §6.5.2 recommends. Four times as many wait at most.
	maxStreams = 100
	// maxUnread is what a connection of HTTP/2 may send of bodies that nobody reads
	// yet, in bytes. It is not counted as memory of pushes.
	maxUnread = 256 << 10
)

// PrepareHTTP gives the server the limits that all listeners have, and both
// versions of HTTP, with TLS if secure is not nil. What goes wrong with TLS is
// told, at most every ten seconds, with these attributes; what else clients do
// wrong is for debugging. It comes last, when the server's Handler is there, and
// returns the listener to serve on.
func PrepareHTTP(s *http.Server, ln net.Listener, secure *tls.Config, to *slog.Logger, attrs ...any) net.Listener {
	s.TLSConfig = secure
	s.ReadHeaderTimeout, s.IdleTimeout, s.MaxHeaderBytes = headerPatience, idlePatience, maxHeader
	s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: maxUnread, MaxReceiveBufferPerStream: maxUnread}
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true) // gRPC without TLS
	t := &tlsTrouble{log: to, attrs: attrs}
	s.ErrorLog = log.New(t, "", 0)
	hurryBodies(s)
	AgeConnections(s)
	if secure == nil {
		ln = &plainListener{ln, t}
	}
	return ln
}

// tlsTrouble tells of clients with which TLS does not come to be: they see nothing
// but a closed connection, and whoever looks for their logs finds nothing either.
type tlsTrouble struct {
	log   *slog.Logger
	attrs []any

	mu   sync.Mutex
	last time.Time
	n    int64
}

// Write takes a line of net/http's.
func (t *tlsTrouble) Write(p []byte) (int, error) {
	line := strings.TrimSpace(string(p))
	if rest, ok := strings.CutPrefix(line, "http: TLS handshake error from "); ok {
		address, why, _ := strings.Cut(rest, ": ")
		// Probes of load balancers open connections and close them.
		if why != "EOF" && !strings.HasSuffix(why, "connection reset by peer") {
			t.tell(address, why)
			return len(p), nil
		}
	}
	t.log.Debug("http server", append(t.attrs[:len(t.attrs):len(t.attrs)], "message", line)...)
	return len(p), nil
}

func (t *tlsTrouble) tell(address, why string) {
	t.mu.Lock()
	now := time.Now()
	t.n++
	n, due := t.n, now.Sub(t.last) >= tellEvery
	if due {
		t.last = now
	}
	t.mu.Unlock()
	if due {
		t.log.Warn("TLS failed with a client", append(t.attrs[:len(t.attrs):len(t.attrs)], "address", address, "error", why, "failed_so_far", n)...)
	}
}

// errTLS is what is said of a client that speaks TLS where there is none.
var errTLS = errors.New("the client speaks TLS, and this listener has none: give it tls, or turn TLS off at the client")

// errNoTLS is what is said of one that should.
var errNoTLS = errors.New("the client does not speak TLS, and this listener does: turn TLS on at the client")

// helloLooks reports whether p is how TLS begins: a record of a handshake.
func helloLooks(p []byte) bool {
	return len(p) >= 3 && bytes.HasPrefix(p, []byte{0x16, 3}) && p[2] <= 4
}

// plainListener is one without TLS that says so if a client has some.
type plainListener struct {
	net.Listener
	t *tlsTrouble
}

func (l *plainListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &plainConn{Conn: c, t: l.t}, nil
}

// plainConn looks at what comes first.
type plainConn struct {
	net.Conn
	t    *tlsTrouble
	seen bool // for one goroutine: nobody else reads before the first Read has returned
}

func (c *plainConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.seen && n > 0 {
		c.seen = true
		if helloLooks(p[:n]) {
			c.t.tell(c.RemoteAddr().String(), errTLS.Error())
			// What clients of TLS make a message of: "server gave HTTP response to HTTPS client".
			_ = c.Conn.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = io.WriteString(c.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nThis listener has no TLS.\n")
			return 0, io.EOF
		}
	}
	return n, err
}
