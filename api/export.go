package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/wire/export"
)

var exportBuffers = sync.Pool{New: func() any { b := make([]byte, 0, softFrame+softFrame/4); return &b }}

// How much of an export makes a frame: then one ends where the time changes, and
// at hardFrame everywhere.
const (
	softFrame = 512 << 10
	hardFrame = 4 << 20
)

// export is /weir/v1/export: the lines of a range, oldest first and without a
// limit, encoded from the store's blocks as they are read. It has slots of its
// own, fewer than queries have, and its time is limited from one piece of the
// answer to the next: how long all of it takes is the client's affair.
func (s *Server) export(ctx context.Context, q *request) error {
	expr := logql.Everything()
	if text := q.form.Get("query"); strings.Trim(text, " {}") != "" {
		var err error
		if expr, err = logql.ParseLog(text); err != nil {
			return err
		}
	}
	if q.form.Get("start") == "" && q.form.Get("since") == "" {
		q.form.Set("start", "0")
	}
	start, end, err := s.bounds(q, 0)
	if err != nil {
		return err
	}
	format := q.form.Get("format")
	if format == "" {
		format = export.JSONL
	}
	var columns []string
	if c := q.form.Get("columns"); c != "" {
		columns = strings.Split(c, ",")
	}
	enc, err := export.New(format, columns)
	if err != nil {
		return badRequest("format: %v", err)
	}
	var cut int64
	if v := q.form.Get("cut"); v != "" {
		if cut, err = strconv.ParseInt(v, 10, 64); err != nil || cut <= 0 {
			return badRequest("could not parse 'cut' parameter: %s is no number of nanoseconds", quote(v))
		}
	}
	if err := s.exports.enter(ctx, s.cfg.Limits.QueueTime); err != nil {
		return err
	}
	defer s.exports.leave()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e := &exporter{enc: enc, cut: cut, framed: headerHas(q.Header, "Accept", export.FrameType)}
	if t := s.cfg.Limits.Time; t > 0 {
		e.patience = t
		e.timer = time.AfterFunc(t, func() { cancel(context.DeadlineExceeded) })
		defer e.timer.Stop()
	}
	kind := export.ContentType(format)
	if e.framed {
		kind = export.FrameType
	}
	e.a = s.answer(q, kind)
	q.w.Header().Set("X-Weir-Export", "1")
	e.buf = *exportBuffers.Get().(*[]byte)
	defer e.free()
	if !e.framed {
		e.buf = enc.Head(e.buf)
	}
	if start < end {
		p := logql.Params{Start: start, End: end, Now: q.now, Direction: logql.Forward, Limits: s.cfg.Limits.Query, Apart: true}
		var stats logql.Stats
		stats, err = logql.Entries(ctx, s.cfg.Store.Source(q.tenant), expr, p, e.add)
		s.stats.rows.Add(stats.Rows)
		s.stats.bytes.Add(stats.Bytes)
	}
	if err != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		err = context.DeadlineExceeded
	}
	return e.end(s, q, err)
}

// exportStats is /weir/v1/stats: about how much is in a range, for those who
// divide an export; like index/stats, but of everything if no query says of what.
func (s *Server) exportStats(ctx context.Context, q *request) error {
	sel := logql.Everything().Selector()
	if text := q.form.Get("query"); text != "" {
		expr, err := logql.ParseLog(text)
		if err != nil {
			return err
		}
		sel = expr.Selector()
	}
	start, end, err := s.bounds(q, 0)
	if err != nil {
		return err
	}
	var out struct {
		Bytes int64 `json:"bytes"`
		Rows  int64 `json:"entries"`
	}
	err = s.streams(ctx, q, sel, start, end, func(st StreamStats) error {
		out.Bytes += st.Bytes
		out.Rows += st.Rows
		return nil
	})
	if err != nil {
		return err
	}
	return s.json(q, out)
}

// exporter makes the answer of an export.
type exporter struct {
	enc      export.Encoder
	streams  export.Streams
	origins  map[*logql.Stream]*export.Stream
	row      export.Row
	framed   bool
	cut      int64 // frames end at its multiples, in nanoseconds
	until    int64 // the next one
	a        *answer
	buf      []byte
	frame    export.Frame // of what is in buf
	timer    *time.Timer
	patience time.Duration
}

// add encodes a row.
func (e *exporter) add(o *logql.Processed) error {
	if len(e.buf) >= softFrame && (o.Time != e.frame.Last || len(e.buf) >= hardFrame) || e.cut > 0 && o.Time >= e.until && e.frame.Rows > 0 {
		e.frame.Safe = o.Time != e.frame.Last
		if !e.send() {
			return errEnough
		}
	}
	f := &e.frame
	if f.Rows == 0 {
		f.First = o.Time
		if e.cut > 0 {
			e.until = sub(o.Time, -(e.cut - mod(o.Time, e.cut)))
		}
	}
	f.Last = o.Time
	f.Rows++
	f.Raw += uint64(len(o.Line))
	e.row = export.Row{Time: o.Time, Line: o.Line, Stream: e.stream(o), Meta: o.Meta, Parsed: o.Parsed}
	e.buf = e.enc.Append(e.buf, &e.row)
	return nil
}

// stream returns a row's stream, mostly by its address: origins live as long as
// the request.
func (e *exporter) stream(o *logql.Processed) *export.Stream {
	if o.Origin == nil {
		return e.streams.Get(o.Stream)
	}
	s := e.origins[o.Origin]
	if s == nil {
		if e.origins == nil || len(e.origins) > 100_000 {
			e.origins = make(map[*logql.Stream]*export.Stream)
		}
		s = e.streams.Get(o.Stream)
		e.origins[o.Origin] = s
	}
	return s
}

// send sends what is there and reports whether the client still listens.
func (e *exporter) send() bool {
	if e.timer != nil {
		e.timer.Reset(e.patience)
	}
	if e.framed {
		e.frame.Kind = export.Data
		e.a.buf = e.frame.AppendHeader(e.a.buf, len(e.buf))
	}
	ok := e.a.write(e.buf)
	e.buf = e.buf[:0]
	e.frame = export.Frame{}
	if e.timer != nil {
		e.timer.Reset(e.patience)
	}
	return ok
}

// end sends the rest, or why there is none.
func (e *exporter) end(s *Server, q *request, err error) error {
	if e.a.err != nil || errors.Is(err, errEnough) {
		return e.a.close()
	}
	if err != nil {
		if !e.a.sent || !e.framed || q.Request.Context().Err() != nil {
			return err // as a status, or by cutting the answer off
		}
		status, msg := s.classify(q.Request, err)
		if status >= 500 {
			s.log.Warn("an export was cut off", "err", err)
		}
		f := export.Frame{Kind: export.Error, Rows: uint32(status)}
		e.a.buf = append(f.AppendHeader(e.a.buf, len(msg)), msg...)
		return e.a.close()
	}
	if len(e.buf) > 0 {
		e.frame.Safe = true
		e.send()
	}
	if e.framed {
		f := export.Frame{Kind: export.End}
		e.a.buf = f.AppendHeader(e.a.buf, 0)
	}
	return e.a.close()
}

func (e *exporter) free() {
	if b := e.buf[:0]; cap(b) <= 2*hardFrame {
		exportBuffers.Put(&b)
	}
}

// exportSlots is how many exports run at a time: half of what queries may.
func exportSlots(l *Limits) int { return max(2, l.Concurrency/2) }

const exportPath = "/weir/v1/export"

func (s *Server) exportRoute() {
	s.exports = newGate(exportSlots(&s.cfg.Limits), s.cfg.Limits.Queue)
	s.handle(exportPath, options{name: "export"}, s.export)
	s.handle("/weir/v1/stats", options{name: "export-stats", limited: true}, s.exportStats)
	s.handle("/weir/", options{name: "unknown"}, func(context.Context, *request) error {
		return &httpError{http.StatusNotFound, "no such endpoint"}
	})
}
