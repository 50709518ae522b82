package kube

import (
	"bufio"
	"context"
	"net"
	"time"
)

// kubelet and the API server pass on a log line by line, each in a TLS record
// and a frame of its own: one costs as much to receive as dozens that come
// together. So while a connection gets little at a time and often, it is read
// some milliseconds later, when more has come.
const (
	gather      = 5 * time.Millisecond
	gatherAfter = 16 // reads that came close together, so that answers to requests do not wait
	gatherBytes = 32 << 10
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// gathering makes the connections of dial read so.
func gathering(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		g := &gatherConn{Conn: c}
		g.buf = bufio.NewReaderSize(gatherReader{g}, gatherBytes)
		return g, nil
	}
}

// gatherConn is a connection that one goroutine reads at a time, as TLS does.
type gatherConn struct {
	net.Conn
	buf    *bufio.Reader
	before time.Time // of the latest read
	close  int       // reads in a row that came soon after the one before
	full   bool      // the latest read left something behind
}

// Read implements net.Conn.
func (g *gatherConn) Read(p []byte) (int, error) { return g.buf.Read(p) }

// gatherReader reads from below the buffer.
type gatherReader struct{ g *gatherConn }

func (r gatherReader) Read(p []byte) (int, error) {
	g := r.g
	if g.close >= gatherAfter && !g.full {
		time.Sleep(gather)
	}
	n, err := g.Conn.Read(p)
	now := time.Now()
	// A read that has waited for gather comes that much later than the one before.
	if now.Sub(g.before) < 2*gather {
		g.close++
	} else {
		g.close = 0
	}
	g.before, g.full = now, n == len(p)
	return n, err
}
