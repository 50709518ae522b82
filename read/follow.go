package read

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/show"
)

// Follow reads what a server has of a query, and what comes. It is used once, by
// one goroutine.
//
//	dial ─▶ history, by queries ─▶ live, by a WebSocket ─┐
//	          ▲                                          │ cut, or the server
//	          └─ what is missing, by queries ◀─ dial ◀───┘ left lines out
//
// The WebSocket is always there before the queries, so that nothing falls between
// them; what both bring is passed on once. A server without WebSockets is asked
// every second.
type Follow struct {
	Client *Client
	// Expr finds lines.
	Expr *logql.LogExpr
	// From is the beginning. Zero is an hour ago, and, of a store of this host
	// with nothing in that hour, everything.
	From time.Time
	// Until is the end; zero means none.
	Until time.Time
	// Tail is how many of the last lines of each container are read at the
	// beginning; negative means all.
	Tail int
	// Match finds some of Expr's lines. If it is set, the last lines of the
	// beginning are its, with Around of Expr's before and after each.
	Match  *logql.LogExpr
	Around int
	// Empty is called if there is nothing at the beginning of what goes on; it
	// may be nil.
	Empty func(context.Context)
	// Live goes on until the context or Until ends it.
	Live bool
	// Keep is asked about streams; nil means all.
	Keep func(*show.Stream) bool
	// Put takes lines; the slice is its to keep. They come nearly in the order of
	// time.
	Put func(context.Context, []show.Entry) error
	// Notice tells people about cuts and what is missing.
	Notice func(text string)

	seen  *seen
	cost  Cost
	kept  map[*show.Stream]bool
	until int64
	// latest is the time of the latest line, and at is when it came.
	latest int64
	at     time.Time
	polls  bool
	begun  bool  // the beginning was passed on
	floor  int64 // what is older belongs to the beginning
}

const (
	slack       = 10 * time.Second // how late lines may come and not be missed after a cut
	grace       = 5 * time.Second  // how long what a query brought may come again
	pollEach    = time.Second
	pingEach    = 15 * time.Second
	pingTimeout = 15 * time.Second
	maxBackoff  = 15 * time.Second
	dialTimeout = 20 * time.Second
	maxShort    = 6
	end         = time.Minute // how far behind now queries end: clocks differ
)

// Run reads until the end; see Live. The errors are those of the beginning, or
// say that the server does not want to answer any more; those of Put are passed
// on. Warnings of the server are notices.
func (f *Follow) Run(ctx context.Context) error {
	f.seen = newSeen()
	f.kept = make(map[*show.Stream]bool)
	f.at = time.Now()
	f.until = 1<<63 - 1
	if !f.Until.IsZero() {
		f.until = f.Until.UnixNano()
		if !f.Until.After(time.Now()) {
			f.Live = false
		}
	}
	if !f.Live {
		err := f.history(ctx)
		f.warn()
		return err
	}
	if !f.Until.IsZero() {
		// Lines are on their way for a while.
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, f.Until.Add(2*time.Second), errUntil)
		defer cancel()
	}
	err := f.live(ctx)
	if errors.Is(context.Cause(ctx), errUntil) {
		return nil
	}
	return err
}

var errUntil = errors.New("the end was reached")

func (f *Follow) notice(format string, args ...any) {
	if f.Notice != nil {
		f.Notice(fmt.Sprintf(format, args...))
	}
}

// warn passes on what the server warned of.
func (f *Follow) warn() {
	for _, w := range f.cost.Warnings {
		f.notice("%s", w)
	}
	f.cost.Warnings = nil
}

// live follows: it connects, fetches what is not there yet, and reads, again and
// again.
func (f *Follow) live(ctx context.Context) error {
	var backoff time.Duration
	var down time.Time // when the connection was lost
	short := 0         // sessions of less than a moment, one after the other
	for {
		conn, err := f.dial(ctx)
		if err == nil || errors.Is(err, errNoSocket) {
			if f.begun {
				f.notice("%s is back after %s", f.Client.What, time.Since(down).Round(100*time.Millisecond))
				down = time.Time{}
			}
			began := time.Now()
			err = f.session(ctx, conn)
			if time.Since(began) > maxBackoff {
				backoff, short = 0, 0
			} else if short++; short == maxShort && !f.polls && ctx.Err() == nil && f.again(err) {
				f.polls = true
				f.notice("%s breaks off every live tail, so it is asked every second", f.Client.What)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !f.begun || !f.again(err) {
			return err
		}
		if down.IsZero() {
			down = time.Now()
			f.notice("%s: the connection is lost (%s); trying again", f.Client.What, reason(err))
		}
		backoff = min(max(2*backoff, 250*time.Millisecond), maxBackoff)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(backoff/2 + rand.N(backoff)/2):
		}
	}
}

// again reports whether trying again can help.
func (f *Follow) again(err error) bool {
	var se *ServerError
	if errors.As(err, &se) {
		return se.Status == http.StatusTooManyRequests || se.Status >= 500 || se.Status == http.StatusNotFound
	}
	var pe *putError
	return !errors.As(err, &pe)
}

// putError is an error of Put.
type putError struct{ err error }

func (e *putError) Error() string { return e.err.Error() }
func (e *putError) Unwrap() error { return e.err }

// reason is the last part of an error, which says why.
func reason(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, "failed to get reader: "); i >= 0 {
		text = text[i+len("failed to get reader: "):]
	}
	if strings.HasSuffix(text, "EOF") {
		return "it was closed"
	}
	return show.Printable(text)
}

// dial opens the WebSocket.
func (f *Follow) dial(ctx context.Context) (*websocket.Conn, error) {
	if f.polls {
		return nil, errNoSocket
	}
	c := f.Client
	form := url.Values{
		"query": {f.Expr.String()},
		// The past comes by queries. A Loki refuses a start in its future, and its
		// clock may be behind, so that one line of the past is allowed, which is
		// known from the queries.
		"start": {strconv.FormatInt(time.Now().Add(-end).UnixNano(), 10)},
		"limit": {"1"},
	}
	h := make(http.Header)
	c.sign(h)
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, c.Base+"/loki/api/v1/tail?"+form.Encode(), &websocket.DialOptions{HTTPClient: c.HTTP, HTTPHeader: h})
	if err == nil {
		conn.SetReadLimit(maxFrame)
		return conn, nil
	}
	if resp == nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue
		}
		return nil, c.unreachable(ctx, err)
	}
	if resp.Body != nil {
		defer resp.Body.Close()
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusSwitchingProtocols, http.StatusUpgradeRequired, http.StatusNotImplemented, http.StatusNotFound, http.StatusMethodNotAllowed:
	case http.StatusBadRequest:
		// A proxy that takes away the Upgrade makes the request a wrong one.
		se := serverError(resp).(*ServerError)
		if low := strings.ToLower(se.Text); !strings.Contains(low, "websocket") && !strings.Contains(low, "upgrade") {
			return nil, se
		}
	default:
		return nil, serverError(resp)
	}
	f.polls = true
	f.notice("%s takes no WebSocket, so it is asked every second", c.What)
	return nil, errNoSocket
}

var errNoSocket = errors.New("no WebSocket")

// session reads what is there, and then what comes, until the connection breaks.
func (f *Follow) session(ctx context.Context, conn *websocket.Conn) error {
	if conn == nil {
		return f.poll(ctx)
	}
	defer conn.CloseNow()
	ctx, cancel := context.WithCancel(ctx)
	s := &socket{f: f, conn: conn, frames: make(chan frame, 32), done: make(chan struct{})}
	go s.read(ctx)
	defer func() { cancel(); <-s.done }()
	live := make(way)
	f.seen.begin()
	defer f.seen.end()
	if err := f.catchUp(ctx); err != nil {
		return err
	}
	compare := time.Now().Add(grace)
	for {
		var fr frame
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			select {
			case fr = <-s.frames: // what came before it broke
			default:
				return s.err
			}
		case fr = <-s.frames:
		}
		entries := f.keep(fr.entries)
		if f.Tail == 0 && f.latest == 0 && len(entries) == 1 && entries[0].Time < f.floor {
			continue // the line of the past
		}
		switch {
		case f.seen.passed == nil:
			for i := range entries {
				f.seen.add(&entries[i])
			}
		default:
			entries = f.seen.fresh(live, entries)
			if time.Now().After(compare) {
				f.seen.end()
				clear(live)
			}
		}
		if err := f.put(ctx, entries); err != nil {
			return err
		}
		if fr.dropped > 0 {
			// Where they were is not known. Queries wait for their reader, and so lose
			// nothing.
			f.notice("%d lines came too fast for a live tail; they are read again", fr.dropped)
			if f.seen.passed == nil {
				f.seen.begin()
			}
			if err := f.catchUp(ctx); err != nil {
				return err
			}
			compare = time.Now().Add(grace)
		}
	}
}

// catchUp reads what is there and was not passed on yet: the beginning, or what
// was missed since the connection was lost.
func (f *Follow) catchUp(ctx context.Context) error {
	if !f.begun {
		if err := f.history(ctx); err != nil {
			return err
		}
		f.begun = true
		f.warn()
		return nil
	}
	from := f.at.UnixNano()
	if f.latest != 0 {
		from = min(from, f.latest)
	}
	if from -= int64(slack); f.Tail >= 0 {
		from = max(from, f.floor) // the beginning left out what is older
	}
	from = f.seen.reaches(from)
	query := make(way)
	err := f.Client.Lines(ctx, Want{Query: f.Expr.String(), From: from, To: min(f.until, time.Now().Add(end).UnixNano()), Forward: true}, &f.cost, func(page []show.Entry) error {
		return f.put(ctx, f.seen.fresh(query, f.keep(page)))
	})
	f.warn()
	return err
}

// poll asks again and again.
func (f *Follow) poll(ctx context.Context) error {
	tick := time.NewTicker(pollEach)
	defer tick.Stop()
	for {
		f.seen.begin()
		if err := f.catchUp(ctx); err != nil {
			return err
		}
		f.seen.end()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// keep filters entries in place.
func (f *Follow) keep(entries []show.Entry) []show.Entry {
	if f.Keep == nil && f.Until.IsZero() {
		return entries
	}
	out := entries[:0]
	for i := range entries {
		e := &entries[i]
		if e.Time >= f.until {
			continue
		}
		if f.Keep != nil {
			ok, known := f.kept[e.Stream]
			if !known {
				if len(f.kept) >= maxStreams {
					clear(f.kept)
				}
				ok = f.Keep(e.Stream)
				f.kept[e.Stream] = ok
			}
			if !ok {
				continue
			}
		}
		out = append(out, *e)
	}
	return out
}

// put passes lines on.
func (f *Follow) put(ctx context.Context, entries []show.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	f.at = time.Now()
	for i := range entries {
		f.latest = max(f.latest, entries[i].Time)
	}
	if err := f.Put(ctx, entries); err != nil {
		return &putError{err}
	}
	return nil
}

// socket reads a WebSocket while its lines wait for their turn. When as much
// waits as may, it reads no more, and the server drops and counts.
type socket struct {
	f      *Follow
	conn   *websocket.Conn
	frames chan frame
	done   chan struct{}
	err    error // after done
}

func (s *socket) read(ctx context.Context) {
	defer close(s.done)
	ctx, cancel := context.WithCancelCause(ctx)
	pinged := make(chan struct{})
	go func() {
		defer close(pinged)
		s.ping(ctx, cancel)
	}()
	defer func() { cancel(nil); <-pinged }()
	hint := 4 << 10
	for {
		_, r, err := s.conn.Reader(ctx)
		var raw []byte
		if err == nil {
			raw, err = readFrame(r, hint)
		}
		if err != nil {
			if s.err = context.Cause(ctx); s.err == nil {
				s.err = err
			}
			return
		}
		hint = max(len(raw), hint*7/8)
		fr, err := s.f.Client.decodeFrame(raw)
		if err != nil {
			s.err = err
			return
		}
		select {
		case s.frames <- fr:
		case <-ctx.Done():
			s.err = context.Cause(ctx)
			return
		}
	}
}

// ping notices connections that are dead without a word.
func (s *socket) ping(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(pingEach)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if len(s.frames) == cap(s.frames) {
			continue // not read, so that no answer would be seen
		}
		pctx, stop := context.WithTimeout(ctx, pingTimeout)
		err := s.conn.Ping(pctx)
		stop()
		if err != nil && ctx.Err() == nil && len(s.frames) < cap(s.frames) {
			cancel(errors.New("it does not answer"))
			return
		}
	}
}
