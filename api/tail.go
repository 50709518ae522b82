package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/weirlog/weir/logql"
)

const (
	maxTailDelay = 5 * time.Second
	tailPing     = 20 * time.Second
	tailMessage  = 512 << 10 // bytes after which a message is sent
)

// tail is /tail: a WebSocket over which lines come as they become durable, after
// the newest ones that are there already.
func (s *Server) tail(ctx context.Context, q *request) error {
	expr, err := logql.ParseLog(q.form.Get("query"))
	if err != nil {
		return err
	}
	pipe, err := logql.NewPipeline(expr, q.now)
	if err != nil {
		return err
	}
	limit, err := positive(q.form, "limit", defaultLimit, orMax(s.cfg.Limits.Entries))
	if err != nil {
		return err
	}
	var delay time.Duration
	if v := q.form.Get("delay_for"); v != "" {
		d, ok := parseDuration(v)
		if !ok || d < 0 {
			return badRequest("could not parse 'delay_for' parameter: %s is no number of seconds", quote(v))
		}
		if delay = d; delay > maxTailDelay {
			return badRequest("delay_for can't be greater than %d", int(maxTailDelay/time.Second))
		}
	}
	start := sub(q.now, int64(time.Hour))
	if v := q.form.Get("start"); v != "" {
		var ok bool
		if start, ok = parseTime(v); !ok {
			return badRequest("could not parse 'start' parameter: %s is neither Unix nanoseconds, Unix seconds nor RFC 3339", quote(v))
		}
	}
	if !headerHas(q.Header, "Connection", "upgrade") || !headerHas(q.Header, "Upgrade", "websocket") {
		return badRequest("tail needs a WebSocket")
	}
	if s.stats.tails.Add(1) > int64(s.cfg.Limits.Tails) {
		s.stats.tails.Add(-1)
		return &httpError{http.StatusTooManyRequests, "max concurrent tail requests limit exceeded (" + strconv.Itoa(s.cfg.Limits.Tails) + ")"}
	}
	defer s.stats.tails.Add(-1)
	// What comes while the past is read waits in the subscription.
	sub, err := s.cfg.Store.Tail(q.tenant, expr.Selector(), s.cfg.Limits.TailRows)
	if err != nil {
		return err
	}
	defer sub.Close()
	conn, err := websocket.Accept(q.w, q.Request, nil)
	if err != nil {
		return nil // Accept has answered
	}
	t := &tailer{s: s, conn: conn, pipe: pipe, categorize: categorizes(q)}
	defer conn.CloseNow()
	// gone ends when the client closes. It does not hang on ctx, whose end would
	// cut the connection without a word.
	gone := conn.CloseRead(context.WithoutCancel(ctx))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(gone, cancel)()
	err = t.run(ctx, q, expr, sub, start, limit, delay)
	switch {
	case s.base.Err() != nil:
		conn.Close(websocket.StatusGoingAway, "the server is stopping")
	case err != nil && gone.Err() == nil:
		s.log.Debug("a tail ended", "err", err)
		_, msg := s.classify(q.Request, err)
		conn.Close(websocket.StatusInternalError, shorten(msg, 120))
	}
	return nil
}

// headerHas reports whether a comma-separated header has a token.
func headerHas(h http.Header, name, token string) bool {
	for _, v := range h.Values(name) {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

func shorten(s string, n int) string {
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}

// tailer sends what a tail asked for.
type tailer struct {
	s          *Server
	conn       *websocket.Conn
	pipe       *logql.Pipeline
	categorize bool

	held []heldRow // waits for its delay, in order of arrival
	size int       // bytes of the lines held
	buf  []byte
	key  []byte
	past map[string]int // rows of the past that may come once more
}

// heldRow is a row and when it may be sent.
type heldRow struct {
	row logql.Row
	due time.Time
}

func (t *tailer) run(ctx context.Context, q *request, expr *logql.LogExpr, sub Tail, start int64, limit int, delay time.Duration) error {
	if err := t.history(ctx, q, expr, start, limit); err != nil {
		return err
	}
	type news struct {
		rows    []logql.Row
		dropped int64
		err     error
	}
	ch := make(chan news)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	defer func() { cancel(); <-done }()
	go func() {
		defer close(done)
		for {
			rows, dropped, err := sub.Next(ctx)
			select {
			case ch <- news{rows, dropped, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	ping := time.NewTicker(tailPing)
	defer ping.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if len(t.held) > 0 {
			timer.Reset(time.Until(t.held[0].due))
		}
		// While as much is held as may wait, nothing is taken in: the
		// subscription drops what is too much, and counts it.
		in := ch
		if len(t.held) >= t.s.cfg.Limits.TailRows || t.size >= 16<<20 {
			in = nil
		}
		var dropped int64
		select {
		case n := <-in:
			if n.err != nil {
				return n.err
			}
			due := time.Now().Add(delay)
			for _, r := range n.rows {
				if !t.doubled(&r) {
					t.held = append(t.held, heldRow{r, due})
					t.size += len(r.Line)
				}
			}
			t.past = nil
			dropped = n.dropped
		case <-timer.C:
		case <-ping.C:
			pctx, cancel := t.patience(ctx)
			err := t.conn.Ping(pctx)
			cancel()
			if err != nil {
				return err
			}
			continue
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := t.send(ctx, t.ripe(time.Now()), dropped); err != nil {
			return err
		}
	}
}

// patience is how long a client may take to accept a message.
func (t *tailer) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if w := t.s.cfg.Limits.Write; w > 0 {
		return context.WithTimeout(ctx, w)
	}
	return context.WithCancel(ctx)
}

// ripe takes out the rows that have waited long enough, in order of time.
func (t *tailer) ripe(now time.Time) []logql.Row {
	n := 0
	for n < len(t.held) && !t.held[n].due.After(now) {
		n++
	}
	rows := make([]logql.Row, n)
	for i := range rows {
		rows[i] = t.held[i].row
		t.size -= len(rows[i].Line)
	}
	t.held = slices.Delete(t.held, 0, n)
	slices.SortStableFunc(rows, func(a, b logql.Row) int { return cmp.Compare(a.Time, b.Time) })
	return rows
}

// history sends the newest lines since start.
func (t *tailer) history(ctx context.Context, q *request, expr *logql.LogExpr, start int64, limit int) error {
	out, err := t.newest(ctx, q, expr, start, limit)
	if err != nil {
		return err
	}
	return t.write(ctx, out, 0)
}

// newest returns the newest lines since start, oldest first. It is a query like
// others: it takes a slot, and its time is limited.
func (t *tailer) newest(ctx context.Context, q *request, expr *logql.LogExpr, start int64, limit int) ([]*logql.Processed, error) {
	if err := t.s.gate.enter(ctx, t.s.cfg.Limits.QueueTime); err != nil {
		return nil, err
	}
	defer t.s.gate.leave()
	if l := t.s.cfg.Limits.Time; l > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l)
		defer cancel()
	}
	var out []*logql.Processed
	t.past = make(map[string]int)
	var size int64
	// The end is a little later than now: senders' clocks differ.
	p := logql.Params{Start: start, End: q.now + int64(time.Minute), Now: q.now, Direction: logql.Backward, Limit: limit, Limits: t.s.cfg.Limits.Query}
	if p.Start >= p.End {
		return nil, nil
	}
	stats, err := logql.Entries(ctx, t.s.cfg.Store.Source(q.tenant), expr, p, func(o *logql.Processed) error {
		out = append(out, cloneProcessed(o))
		t.past[t.identity(o)]++
		if size += int64(len(o.Line)); p.Limits.MaxResult > 0 && size > p.Limits.MaxResult {
			return &logql.LimitError{What: "bytes of answer", Max: p.Limits.MaxResult}
		}
		return nil
	})
	t.s.stats.rows.Add(stats.Rows)
	t.s.stats.bytes.Add(stats.Bytes)
	slices.Reverse(out)
	return out, err
}

func cloneProcessed(o *logql.Processed) *logql.Processed {
	return &logql.Processed{Time: o.Time, Line: slices.Clone(o.Line), Labels: cloneLabels(o.Labels), Stream: cloneLabels(o.Stream), Meta: cloneLabels(o.Meta), Parsed: cloneLabels(o.Parsed)}
}

func cloneLabels(ls []logql.Label) []logql.Label {
	out := make([]logql.Label, len(ls))
	for i, l := range ls {
		out[i] = logql.Label{Name: strings.Clone(l.Name), Value: strings.Clone(l.Value)}
	}
	return out
}

// identity tells lines of an answer apart.
func (t *tailer) identity(o *logql.Processed) string {
	t.key = strconv.AppendInt(t.key[:0], o.Time, 10)
	t.key = appendLabels(t.key, o.Labels)
	t.key = append(t.key, o.Line...)
	return string(t.key)
}

// doubled reports whether the row was among those of the past: it came in after
// the subscription and before the past was read.
func (t *tailer) doubled(r *logql.Row) bool {
	if len(t.past) == 0 {
		return false
	}
	o, ok := t.pipe.Process(r)
	if !ok {
		return false
	}
	id := t.identity(o)
	if t.past[id] == 0 {
		return false
	}
	t.past[id]--
	return true
}

// send applies the query to rows and sends what passes.
func (t *tailer) send(ctx context.Context, rows []logql.Row, dropped int64) error {
	m := t.begin()
	for i := range rows {
		if o, ok := t.pipe.Process(&rows[i]); ok {
			m.add(o)
			if len(t.buf) >= tailMessage {
				if err := m.end(ctx, 0); err != nil {
					return err
				}
				m = t.begin()
			}
		}
	}
	return m.end(ctx, dropped)
}

// write sends lines as they are.
func (t *tailer) write(ctx context.Context, out []*logql.Processed, dropped int64) error {
	m := t.begin()
	for _, o := range out {
		m.add(o)
		if len(t.buf) >= tailMessage {
			if err := m.end(ctx, 0); err != nil {
				return err
			}
			m = t.begin()
		}
	}
	return m.end(ctx, dropped)
}

// message is one message of a tail in the making. Lines that follow each other
// and have the same labels share a stream, so that their order is kept.
type message struct {
	t    *tailer
	rows int64
	last string
}

func (t *tailer) begin() *message {
	t.buf = append(t.buf[:0], `{"streams":[`...)
	return &message{t: t}
}

func (m *message) add(o *logql.Processed) {
	t := m.t
	labels := o.Labels
	if t.categorize {
		labels = o.Stream
	}
	t.key = appendLabels(t.key[:0], labels)
	switch {
	case m.rows > 0 && m.last == string(t.key):
		t.buf = append(t.buf, ',')
	default:
		if m.rows > 0 {
			t.buf = append(t.buf, "]},"...)
		}
		m.last = string(t.key)
		t.buf = append(t.buf, `{"stream":`...)
		t.buf = append(t.buf, t.key...)
		t.buf = append(t.buf, `,"values":[`...)
	}
	t.buf = appendEntry(t.buf, o, t.categorize)
	m.rows++
}

// end sends the message, if there is anything to tell.
func (m *message) end(ctx context.Context, dropped int64) error {
	t := m.t
	if m.rows == 0 && dropped == 0 {
		return nil
	}
	if m.rows > 0 {
		t.buf = append(t.buf, "]}"...)
	}
	t.buf = append(t.buf, ']')
	if t.categorize {
		t.buf = append(t.buf, `,"encodingFlags":["`+categorizeFlag+`"]`...)
	}
	if dropped > 0 {
		// Which ones they were is not known, only how many.
		t.buf = append(t.buf, `,"dropped_entries":[{"labels":{"dropped":"`...)
		t.buf = strconv.AppendInt(t.buf, dropped, 10)
		t.buf = append(t.buf, `"},"timestamp":"`...)
		t.buf = strconv.AppendInt(t.buf, t.s.cfg.Now().UnixNano(), 10)
		t.buf = append(t.buf, `"}]`...)
	}
	t.buf = append(t.buf, '}')
	ctx, cancel := t.patience(ctx)
	defer cancel()
	err := t.conn.Write(ctx, websocket.MessageText, t.buf)
	if err == nil {
		t.s.stats.tailRows.Add(m.rows)
		t.s.stats.tailDropped.Add(dropped)
	} else if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("the client does not read")
	}
	if cap(t.buf) > 8*tailMessage {
		t.buf = nil
	}
	return err
}
