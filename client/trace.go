package client

import (
	"context"
	"encoding/hex"
)

// Trace is the position in a trace that a record is logged at.
type Trace struct {
	TraceID [16]byte
	SpanID  [8]byte
	Flags   byte // W3C trace flags; 1: sampled
}

// IsValid reports whether there is a trace at all.
func (t Trace) IsValid() bool { return t.TraceID != [16]byte{} }

type traceKey struct{}

// WithTrace returns a context in which records are logged as part of t.
func WithTrace(ctx context.Context, t Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

func traceOf(ctx context.Context) (Trace, bool) {
	t, ok := ctx.Value(traceKey{}).(Trace)
	return t, ok && t.IsValid()
}

// ParseTraceparent reads the value of a traceparent header.
// https://www.w3.org/TR/trace-context/#traceparent-header
func ParseTraceparent(s string) (t Trace, ok bool) {
	// version-traceid-parentid-flags; later versions may append to it.
	const size = 2 + 1 + 32 + 1 + 16 + 1 + 2
	if len(s) < size || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" {
		return Trace{}, false
	}
	if len(s) > size && (s[:2] == "00" || s[size] != '-') {
		return Trace{}, false
	}
	for _, c := range []byte(s[:size]) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || c == '-') {
			return Trace{}, false // upper case is not allowed
		}
	}
	var version, flags [1]byte
	for _, f := range []struct {
		dst  []byte
		from string
	}{{version[:], s[:2]}, {t.TraceID[:], s[3:35]}, {t.SpanID[:], s[36:52]}, {flags[:], s[53:55]}} {
		if _, err := hex.Decode(f.dst, []byte(f.from)); err != nil {
			return Trace{}, false
		}
	}
	t.Flags = flags[0]
	if !t.IsValid() || t.SpanID == [8]byte{} {
		return Trace{}, false
	}
	return t, true
}
