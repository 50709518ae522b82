package gateway

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
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
	// maxGone is how many requests of a connection of HTTP/2 may be given up, over
	// those that are answered, before it is closed.
	maxGone = 100
	// connAge is how long a connection over HTTP is used, a tenth more or less: so
	// senders that keep theirs for ever find gateways that have come since, and do
	// not all look for them at the same time.
	connAge = 10 * time.Minute
)

// PrepareServer sets what all HTTP servers of weir have in common, before they
// serve; s.Handler is there. It takes HTTP/1.1 and HTTP/2, with and without TLS
// (gRPC), bounds headers, idle time and streams, and ends two kinds of connections:
//
//   - old ones, with the answer to a request, after which HTTP/1.1 closes and HTTP/2
//     says GOAWAY; what is under way ends as ever;
//   - those of HTTP/2 that ask and do not wait for the answer, again and again
//     ("rapid reset", CVE-2023-44487): each costs the server a request and the client
//     next to nothing.
func PrepareServer(s *http.Server) {
	s.ReadHeaderTimeout, s.IdleTimeout, s.MaxHeaderBytes = headerPatience, idlePatience, maxHeader
	s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxStreams}
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	watchConnections(s, connAge, rand.Float64, time.Now)
}

type watchedKey struct{}

// watched is a connection as PrepareServer knows it.
type watched struct {
	conn   net.Conn
	retire time.Time
	gone   atomic.Int32 // requests given up, less those answered
}

func watchConnections(s *http.Server, age time.Duration, random func() float64, now func() time.Time) {
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, watchedKey{}, &watched{conn: c, retire: now().Add(time.Duration(float64(age) * (0.9 + 0.2*random())))})
	}
	next := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(watchedKey{}).(*watched)
		if c == nil {
			next.ServeHTTP(w, r)
			return
		}
		if now().After(c.retire) {
			w.Header().Set("Connection", "close")
		}
		if r.ProtoMajor < 2 {
			next.ServeHTTP(w, r)
			return
		}
		if r.Context().Err() == nil {
			next.ServeHTTP(w, r)
		}
		if r.Context().Err() != nil {
			if c.gone.Add(1) > maxGone {
				c.abort()
			}
		} else if c.gone.Load() > 0 {
			c.gone.Add(-1)
		}
	})
}

// abort closes the connection without a word.
func (c *watched) abort() {
	if t, ok := c.conn.(*tls.Conn); ok {
		abort(t.NetConn()) // TLS would say goodbye, and wait for it to be heard
		return
	}
	abort(c.conn)
}
