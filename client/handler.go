package client

import (
	"context"
	"log/slog"
	"slices"
)

// Levels beside slog's own; OTLP's TRACE and FATAL.
const (
	LevelTrace = slog.Level(-8)
	LevelFatal = slog.Level(12)
)

// handler is the slog.Handler of a Client. It is immutable.
type handler struct {
	c      *Client
	also   slog.Handler
	levels []level // [0] is outside of all groups
}

// level is what a handler has been given at an open group.
type level struct {
	name           string
	pre            []byte // attributes, encoded
	attrs, dropped int    // of pre
}

// Handler returns the client as a handler. It may be used until Close; what comes
// later is an ErrClosed.
func (c *Client) Handler() slog.Handler {
	return &handler{c: c, also: c.cfg.Also, levels: make([]level, 1)}
}

// Logger returns slog.New(c.Handler()).
func (c *Client) Logger() *slog.Logger { return slog.New(c.Handler()) }

// Enabled reports whether the client, or Config.Also, takes records of level l.
func (h *handler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.c.cfg.Level.Level() || h.also != nil && h.also.Enabled(ctx, l)
}

// Handle takes r. Errors are ErrFull, ErrClosed, with WhenFull: Block the
// context's, with SyncAlways those of the spool, and Config.Also's.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	var err error
	if r.Level >= h.c.cfg.Level.Level() {
		err = h.c.handle(ctx, h, &r)
	}
	if h.also != nil && h.also.Enabled(ctx, r.Level) {
		if e := h.also.Handle(ctx, r.Clone()); err == nil {
			err = e
		}
	}
	return err
}

// WithAttrs returns a handler whose records have attrs, encoded once, as well.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	n := len(h.levels) - 1
	e := encoder{c: h.c}
	for i := range h.levels {
		if i > 0 {
			e.groups = append(e.groups, h.levels[i].name)
		}
		e.attrs += h.levels[i].attrs
		e.bytes += len(h.levels[i].pre)
	}
	before := e.attrs
	for _, a := range attrs {
		e.attr(pairTag(n), a, n)
	}
	g := *h
	g.levels = slices.Clone(h.levels)
	l := &g.levels[n]
	l.pre = slices.Concat(l.pre, e.buf)
	l.attrs += e.attrs - before
	l.dropped += e.dropped
	if h.also != nil {
		g.also = h.also.WithAttrs(attrs)
	}
	return &g
}

// WithGroup returns a handler whose further attributes are in a group.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" || len(h.levels) > maxDepth {
		return h
	}
	g := *h
	g.levels = append(slices.Clone(h.levels), level{name: name})
	if h.also != nil {
		g.also = h.also.WithGroup(name)
	}
	return &g
}
