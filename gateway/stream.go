package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conns bounds the connections of a listener of streams. Zero values mean the
// defaults.
type Conns struct {
	// Max is how many there may be, PerIP how many from one address; default 4 096
	// and 1 024; see ConnLimit.
	Max, PerIP int
	// Idle is how long one may be silent between messages; default 10 min. A
	// message that has begun has Limits.Patience to come, and a second more for
	// every KiB.
	Idle time.Duration
	// UnixMode is that of the file of a unix socket; default 0660.
	UnixMode fs.FileMode
}

func (c Conns) withDefaults() Conns {
	def(&c.Max, 4096)
	def(&c.PerIP, 1024)
	def(&c.Idle, 10*time.Minute)
	if c.UnixMode == 0 {
		c.UnixMode = 0o660
	}
	return c
}

const (
	// handshakePatience is how long TLS and a handshake of the protocol may take.
	handshakePatience = 10 * time.Second
	// gather is how long messages of senders that await no answer are waited for
	// once there is one, and gatherBytes how many bytes of them are enough.
	gather      = 100 * time.Millisecond
	gatherBytes = 512 << 10
	// firstRead is the buffer of a connection that is silent.
	firstRead = 512
	// lastRead is how long what the kernel has is read when the process stops.
	lastRead = time.Second
)

// streams serves the connections of one listener, each in a goroutine of its own.
type streams struct {
	in       *Input
	cfg      *Config
	conns    Conns
	ln       net.Listener
	tls      *tls.Config
	counters *counters
	restream restreamer
	// serve speaks the protocol until the connection ends. What it returns is told
	// as the reason, io.EOF being none.
	serve func(ctx context.Context, c *conn) error

	ctx      context.Context // of what is under way
	cancel   context.CancelFunc
	stopping atomic.Bool
	wg       sync.WaitGroup

	mu   sync.Mutex
	open map[*conn]struct{}

	cut     int64 // connections closed for what they did, of which toldCut was told last
	toldCut time.Time
}

// stream adds a listener to the group; protocol names its statistics.
func (g *group) stream(ln net.Listener, secure *tls.Config, protocol string, conns Conns, serve func(context.Context, *conn) error) {
	s := &streams{
		in: g.in, conns: conns.withDefaults(), tls: secure, counters: g.in.stats.of(protocol), serve: serve,
		open: make(map[*conn]struct{}),
	}
	limit := NewConnLimit(s.conns.Max, s.conns.PerIP)
	limit.Log(g.in.cfg.Log, "input", g.in.cfg.Name)
	limit.busy = func() { s.counters.results[pushBusy].Add(1) }
	s.ln = limit.Listen(ln)
	cfg := g.in.cfg
	cfg.IDs = false // see forward, which has chunks, for when there are ids
	s.cfg = &cfg
	s.ctx, s.cancel = context.WithCancel(g.base)
	g.add(s.accept, s.stop)
}

// unix opens a unix socket, in the place of one that nobody listens on.
func (in *Input) unix(kind, path string, mode fs.FileMode) (net.Listener, error) {
	if err := clearSocket("unix", path); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", kind, err), ln.Close())
	}
	in.opened(kind, ln.Addr())
	return ln, nil
}

// clearSocket removes the socket that a process that is gone has left.
func clearSocket(network, path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there already, and is no socket", path)
	}
	c, err := net.DialTimeout(network, path, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("%s is in use: another program, perhaps another weir, listens there", path), c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

func (s *streams) accept() {
	defer s.wg.Wait()
	wait := 5 * time.Millisecond
	for {
		nc, err := s.ln.Accept()
		if err != nil {
			if s.stopping.Load() || errors.Is(err, net.ErrClosed) {
				return
			}
			// Mostly too many open files: those that end make room.
			s.cfg.Log.Warn("no connection could be accepted", "input", s.cfg.Name, "error", err)
			select {
			case <-time.After(wait):
			case <-s.ctx.Done():
				return
			}
			wait = min(2*wait, time.Second)
			continue
		}
		wait = 5 * time.Millisecond
		c := &conn{Conn: nc, raw: nc, s: s, began: time.Now()}
		if ap, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
			c.addr = ap.Addr().Unmap().WithZone("")
			c.peer = c.addr.String()
		}
		if !s.enter(c) {
			_ = nc.Close() // it has not been spoken to
			continue
		}
		s.wg.Go(func() { s.run(c) })
	}
}

// enter lets stop know of the connection, unless it is too late.
func (s *streams) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() {
		return false
	}
	s.open[c] = struct{}{}
	return true
}

func (s *streams) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

func (s *streams) run(c *conn) {
	defer s.leave(c)
	defer c.free()
	defer c.close()
	defer func() {
		if v := recover(); v != nil {
			s.cfg.Log.Error("a connection made the program panic", "input", s.cfg.Name, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	err := c.enter(s.ctx)
	if err == nil {
		c.entered = true
		err = s.serve(s.ctx, c)
	}
	switch {
	case err == nil, errors.Is(err, io.EOF), s.stopping.Load(), errors.Is(err, errIdle), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, net.ErrClosed): // it gave up its place
		return
	}
	var ae *AuthError
	switch {
	case errors.Is(err, errTLS), errors.Is(err, errNoTLS):
		s.counters.results[pushMalformed].Add(1)
	case errors.As(err, &ae), !c.entered:
		s.counters.results[pushDenied].Add(1)
	}
	// Who is cut in thousands must not fill the log too.
	s.mu.Lock()
	now := time.Now()
	level := slog.LevelDebug
	if s.cut++; now.Sub(s.toldCut) > tellEvery {
		s.toldCut, level = now, slog.LevelWarn
	}
	cut := s.cut
	s.mu.Unlock()
	s.cfg.Log.Log(s.ctx, level, "a connection was closed", "input", s.cfg.Name, "address", c.peer, "error", err, "closed_so_far", cut)
}

// stop takes no more connections, lets those that are there answer for what they
// have sent, and cuts them when patience ends.
func (s *streams) stop(patience context.Context) {
	s.mu.Lock()
	s.stopping.Store(true)
	var open []*conn
	for c := range s.open {
		open = append(open, c)
	}
	s.mu.Unlock()
	_ = s.ln.Close() // nobody is there to be told
	for _, c := range open {
		c.wake()
	}
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-patience.Done():
	}
	s.cancel()
	s.mu.Lock()
	for c := range s.open {
		abort(c.raw) // without the goodbye of TLS, for which somebody would have to listen
	}
	s.mu.Unlock()
	<-done
}
