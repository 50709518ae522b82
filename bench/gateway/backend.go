package main

import (
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/bench/mark"
)

// backend is a destination that takes connections and does not answer, until it
// is opened; then it takes lines and counts each by its mark.
type backend struct {
	addr  string
	srv   *http.Server
	open  chan struct{}
	first atomic.Int64 // when the first record came, Unix nanoseconds

	mu      sync.Mutex
	seen    [][]uint32 // per client and line
	records int64
	bad     int64 // without a mark, or not what was sent
}

func newBackend() (*backend, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &backend{addr: ln.Addr().String(), open: make(chan struct{})}
	b.srv = &http.Server{Handler: b, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = b.srv.Serve(ln) }()
	return b, nil
}

func (b *backend) close() { _ = b.srv.Close() }

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	select {
	case <-b.open:
	case <-r.Context().Done():
		return
	}
	b.first.CompareAndSwap(0, time.Now().UnixNano())
	var f mark.Finder
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(data) > 0 {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte("\n"))
		if len(line) == 0 {
			continue
		}
		b.records++
		m, v := f.InLine(line)
		if v != mark.Whole || int(m.Stream) >= len(b.seen) || int(m.Seq) >= len(b.seen[m.Stream]) {
			b.bad++
			continue
		}
		b.seen[m.Stream][m.Seq]++
	}
}

// expect prepares the counts for what clients send.
func (b *backend) expect(bodies [][]body) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen = make([][]uint32, len(bodies))
	for c := range bodies {
		last := bodies[c][len(bodies[c])-1]
		b.seen[c] = make([]uint32, last.first+last.lines)
	}
}

func (b *backend) count() (records, bad int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.records, b.bad
}

// missing is how many records that were acknowledged have not come, and extra how
// many came more often than they were acknowledged.
func (b *backend) missing(bodies [][]body, l *load) (missing, extra int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range bodies {
		for i, bd := range bodies[c] {
			for k := bd.first; k < bd.first+bd.lines; k++ {
				d := int64(l.acked[c][i]) - int64(b.seen[c][k])
				missing += max(d, 0)
				extra += max(-d, 0)
			}
		}
	}
	return missing, extra
}
