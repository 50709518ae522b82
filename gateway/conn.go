package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// conn is a connection of a stream, with what came over it and is not decoded yet.
// It is for one goroutine, but for wake.
type conn struct {
	net.Conn          // what is spoken over; with TLS set by enter, under mu
	raw      net.Conn // as it was accepted; it never changes
	s        *streams
	id       Identity
	addr     netip.Addr // invalid for a unix socket
	peer     string     // its text, or ""
	began    time.Time

	buf   []byte // what came; buf[from:] is not taken yet
	from  int
	since time.Time // of the first byte of buf[from:]
	held  int64     // of the memory, for buf
	owner holder    // for whom it is held
	last  time.Time // until when the kernel's rest is read; zero: until further notice
	read  int64     // bytes, for intake
	spoke bool      // something has come

	entered bool // enter has let it in

	mu    sync.Mutex
	woken bool
}

var (
	errIdle = errors.New("silent for too long")
	errSlow = errors.New("a message came too slowly")
)

// enter does what comes before the protocol: TLS, and who it is.
func (c *conn) enter(ctx context.Context) error {
	if c.s.tls != nil {
		t := tls.Server(c.Conn, c.s.tls)
		hand, cancel := context.WithTimeout(ctx, handshakePatience)
		err := t.HandshakeContext(hand)
		cancel()
		if err != nil {
			if re := (tls.RecordHeaderError{}); errors.As(err, &re) {
				err = errNoTLS
			}
			return fmt.Errorf("TLS: %w", err)
		}
		c.mu.Lock()
		c.Conn = t
		c.mu.Unlock()
	}
	if c.s.in.shakes {
		return nil // the protocol asks first
	}
	return c.authenticate(ctx, nil)
}

// authenticate finds out who it is; known is what the protocol knows of that.
func (c *conn) authenticate(ctx context.Context, known *Identity) error {
	if c.s.cfg.Auth == nil {
		return nil
	}
	cr := c.credentials()
	if cr.Known = known; known == nil && !c.addr.IsValid() {
		cr.Known = &local
	}
	id, err := c.s.cfg.Auth.Authenticate(ctx, cr, ScopeIngest)
	if err == nil {
		c.id = id
	}
	return err
}

// local is who may open a unix socket: its file's permissions say who that is.
var local = Identity{Name: "unix socket"}

// credentials are what the connection itself shows.
func (c *conn) credentials() Credentials {
	cr := Credentials{Addr: c.addr}
	if t, ok := c.Conn.(*tls.Conn); ok {
		if st := t.ConnectionState(); len(st.VerifiedChains) > 0 {
			cr.Cert = st.VerifiedChains[0][0]
		}
	}
	return cr
}

// wake ends a Read that waits, and makes those that follow return what the kernel
// has.
func (c *conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.woken = true
	_ = c.Conn.SetReadDeadline(time.Now()) // a connection that is gone needs no waking
}

// until sets when the next read gives up.
func (c *conn) until(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.woken {
		// What is on its way already comes at once.
		if now := time.Now(); c.last.IsZero() {
			c.last = now.Add(lastRead)
		}
		t = time.Now().Add(lastRead / 20)
		if t.After(c.last) {
			t = c.last
		}
	}
	_ = c.Conn.SetReadDeadline(t) // the read will tell
}

// close ends the connection: what there was to say has been said.
func (c *conn) close() {
	_ = c.Conn.Close()
	_ = c.raw.Close() // also if TLS did not come to be
}

// data is what has not been taken yet.
func (c *conn) data() []byte { return c.buf[c.from:] }

// drop passes the first n bytes of data.
func (c *conn) drop(n int) {
	c.from += n
	if c.from == len(c.buf) {
		c.buf, c.from = c.buf[:0], 0
		if cap(c.buf) > 4*gatherBytes {
			c.free()
		}
	}
	c.since = time.Now()
}

// free gives the buffer back.
func (c *conn) free() {
	c.s.cfg.Memory.give(c.owner, c.held)
	c.buf, c.from, c.held = nil, 0, 0
}

// fill reads more, at the latest by the deadline. The error is os.ErrDeadlineExceeded
// then, and io.EOF at the end.
func (c *conn) fill(ctx context.Context, deadline time.Time) error {
	if err := c.grow(ctx); err != nil {
		return err
	}
	c.until(deadline)
	n, err := c.Conn.Read(c.buf[len(c.buf):cap(c.buf)])
	if n > 0 {
		if c.from == len(c.buf) {
			c.since = time.Now()
		}
		c.buf = c.buf[:len(c.buf)+n]
		if c.read += int64(n); !c.spoke {
			if c.spoke = true; c.s.tls == nil && helloLooks(c.buf) {
				c.buf = c.buf[:0] // what there is of it makes no records
				return errTLS
			}
		}
		return nil
	}
	return err
}

// await is fill for data in which no message is whole yet: it waits as long as one
// may take to come. Who is silent gives the buffer back.
func (c *conn) await(ctx context.Context) error {
	n := len(c.data())
	if n == 0 && c.held > 0 {
		if err := c.fill(ctx, time.Now().Add(gather)); !errors.Is(err, os.ErrDeadlineExceeded) || c.s.stopping.Load() {
			return err
		}
		c.free()
	}
	deadline := time.Now().Add(c.s.conns.Idle)
	if n > 0 {
		deadline = c.since.Add(c.s.cfg.Limits.Patience + time.Duration(n/minBodyRate)*time.Second)
	}
	err := c.fill(ctx, deadline)
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.s.stopping.Load() {
		if n > 0 {
			return errSlow
		}
		return errIdle
	}
	return err
}

// grow makes room for more in the buffer: moves what is in it to the front, or
// takes a larger one. Memory that is not there is waited for, since not reading
// makes the sender wait.
func (c *conn) grow(ctx context.Context) error {
	if len(c.buf) < cap(c.buf) {
		return nil
	}
	n := len(c.data())
	size := cap(c.buf)
	switch {
	case c.from >= size/2 && c.from > 0:
	case size == 0:
		size = firstRead
	case size < 64<<10:
		size = 64 << 10
	default:
		size *= 2
	}
	if size > cap(c.buf) {
		if err := c.hold(ctx, int64(size)); err != nil {
			return err
		}
		fresh := make([]byte, n, size)
		copy(fresh, c.data())
		c.buf, c.from = fresh, 0
		return nil
	}
	copy(c.buf, c.data())
	c.buf, c.from = c.buf[:n], 0
	return nil
}

// hold makes sure that the buffer may have so many bytes: of the sender's share, but
// for the little that everybody has.
func (c *conn) hold(ctx context.Context, size int64) error {
	if size <= firstRead {
		return nil
	}
	if c.held == 0 {
		c.owner = holder{c.id.Tenant, c.id.Name, c.addr}.known()
	}
	for tries := 0; !c.s.cfg.Memory.take(c.owner, size-c.held, c.held); tries++ {
		if tries == 200 {
			return errMemory
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	c.held = size
	return nil
}

// gather reads what comes within a moment, so that batches are worth their cost.
// It returns the error that ended the connection, if one did.
func (c *conn) gather(ctx context.Context) error {
	end := c.since.Add(gather)
	for len(c.data()) < gatherBytes {
		if time.Now().After(end) {
			return nil
		}
		if err := c.fill(ctx, end); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			return err
		}
	}
	return nil
}

// intake returns a new piece that came over the connection.
func (c *conn) intake() *intake {
	u := &intake{c: c.s.cfg, counters: c.s.counters, restream: &c.s.restream, id: c.id, addr: c.addr, conn: c.held, now: c.s.cfg.Now().UnixNano()}
	u.read, c.read = c.read, 0
	return u
}

// take decodes what p has into a batch and hands it over, as often as it takes:
// meanwhile nothing is read, so that the sender waits. decode gets the bytes as a
// span of the batch's buffer. A connection that holds much itself does not wait for
// memory for ever: what another holds may be waiting for that.
func (c *conn) take(ctx context.Context, p []byte, decode func(u *intake) error) error {
	wait := 20 * time.Millisecond
	began := time.Now()
	for {
		u := c.intake()
		err := u.piece(ctx, p, decode)
		status, _, after, _ := statusOf(err)
		switch {
		case err == nil:
			c.refused(u)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case status != 429 && status != 503:
			return err
		case errors.Is(err, errMemory) && c.held > gatherBytes*4 && time.Since(began) > c.s.cfg.Limits.Patience:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(wait, after)):
		}
		wait = min(2*wait, time.Second)
	}
}

// piece takes p, and gives back what that took, also if decode panics.
func (u *intake) piece(ctx context.Context, p []byte, decode func(u *intake) error) error {
	err := errors.New("panic")
	defer func() { u.end(err, ctx.Err() != nil) }()
	err = func() error {
		if err := u.begin(); err != nil {
			return err
		}
		u.body = u.b.Append(p)
		if err := decode(u); err != nil {
			return err
		}
		_, err := u.take(ctx)
		return err
	}()
	return err
}

// refused tells of records that were left out: the sender cannot be told.
func (c *conn) refused(u *intake) {
	if u.out.Refused > 0 {
		why := ""
		if len(u.out.Reasons) > 0 {
			why = u.out.Reasons[0]
		}
		c.s.cfg.Log.Warn("records were refused", "input", c.s.cfg.Name, "address", c.peer, "records", u.out.Refused, "first", why)
	}
}

// lines serves a protocol without answers: cut returns how many bytes of p are
// whole messages, and how many those are, and decode makes records of them. At the
// end of the connection, and when the process stops, cut is asked once more, with
// eof.
func (c *conn) lines(ctx context.Context, cut func(p []byte, eof bool) (n, messages int), decode func(u *intake) error) error {
	var ended error
	for ended == nil {
		if ended = c.await(ctx); ended == nil {
			ended = c.gather(ctx)
		}
		eof := ended != nil && !errors.Is(ended, errMemory)
		for {
			n, messages := cut(c.data(), eof)
			if n == 0 {
				break
			}
			if messages > 0 {
				if err := c.take(ctx, c.data()[:n], decode); err != nil {
					return err
				}
			}
			c.drop(n)
		}
	}
	return ended
}
