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

const (
	// connAge is how long a connection over HTTP is used, a tenth more or less: so
	// senders that keep theirs for ever find gateways that have come since, and do
	// not all look for them at the same time.
	connAge = 10 * time.Minute
	// maxGone is how many requests of a connection of HTTP/2 may be given up, over
	// those that are answered, before it is closed.
	maxGone = 50
	// maxBusy is how many requests of HTTP/2 a server answers at a time; beyond it
	// connections with more than fairBusy of them are closed. Each costs some 15 KiB
	// before anything of its body is read, and a connection may have 100.
	maxBusy  = 2048
	fairBusy = 16
)

// AgeConnections makes the server end three kinds of connections:
//
//   - old ones, with the answer to a request, after which HTTP/1.1 closes and HTTP/2
//     says GOAWAY; what is under way ends as ever;
//   - those of HTTP/2 that ask and do not wait for the answer, again and again
//     ("rapid reset", CVE-2023-44487): each costs the server a request and the client
//     next to nothing. Others from the same address have to wait then, see suspect;
//   - those of HTTP/2 with many requests under way while all together have too many.
//
// It comes last, when the server's Handler is there.
func AgeConnections(s *http.Server) { ageConnections(s, connAge, rand.Float64, time.Now) }

type agedKey struct{}

// aged is a connection that AgeConnections knows.
type aged struct {
	conn   net.Conn
	retire time.Time
	gone   atomic.Int32 // requests given up, less those answered
	busy   atomic.Int32 // requests under way
}

func ageConnections(s *http.Server, age time.Duration, random func() float64, now func() time.Time) {
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, agedKey{}, &aged{conn: c, retire: now().Add(time.Duration(float64(age) * (0.9 + 0.2*random())))})
	}
	next := s.Handler
	var busy atomic.Int32 // of all connections
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(agedKey{}).(*aged)
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
		defer func() { busy.Add(-1); c.busy.Add(-1) }()
		if n := c.busy.Add(1); busy.Add(1) > maxBusy && n > fairBusy {
			c.abort(now())
			return
		}
		if r.Context().Err() == nil {
			next.ServeHTTP(w, r)
		}
		if r.Context().Err() != nil {
			if c.gone.Add(1) == maxGone {
				c.abort(now())
			}
		} else if c.gone.Load() > 0 {
			c.gone.Add(-1)
		}
	})
}

// abort closes the connection without a word, and makes others from there wait.
func (c *aged) abort(now time.Time) {
	conn := c.conn
	for {
		switch t := conn.(type) {
		case *tls.Conn:
			conn = t.NetConn() // TLS would say goodbye, and wait for it to be heard
			continue
		case *plainConn:
			conn = t.Conn
			continue
		case *limitedConn:
			t.l.suspect(t.from, now)
		}
		break
	}
	abort(conn)
}
