package stage

import (
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/record"
)

// Parser is a step that understands every record on its own: Parse, Regex or
// Access.
type Parser interface {
	Process(b *record.Batch, now time.Time) error
	// record does it to one record, which is none of skip.
	record(b *record.Batch, i int, now time.Time)
}

// skip are the records that steps leave alone, parsed those that parsers do.
const (
	skip   = record.Dropped | record.Gap | record.Generated
	parsed = skip | record.Parsed
)

// each has p look at the records of b.
func each(b *record.Batch, now time.Time, p Parser) {
	for i := range b.NumRecords() {
		if b.Record(i).Flags&parsed == 0 {
			p.record(b, i, now)
		}
	}
}

// begin takes back what is known about the body of r and reports whether it is to
// be looked at: pieces of lines are not.
func begin(b *record.Batch, r *record.Record) (body []byte, ok bool) {
	body = b.Bytes(r.Body)
	r.Flags &^= record.JSONObject | record.ValidUTF8 | record.InvalidUTF8
	r.KnownKeys = 0
	return body, r.Flags&(record.Partial|record.Continued) == 0 && len(body) > 0
}

// misses counts records that are not what their parser was told. It may be nil.
type misses struct{ n *atomic.Uint64 }

func (m misses) add() {
	if m.n != nil {
		m.n.Add(1)
	}
}

// PerStream gives the records of some streams a parser of their own and marks them
// record.Parsed. Like every step it is for one goroutine at a time.
type PerStream struct {
	of     func(*record.Stream) Parser
	chosen []Parser // by the batch's streams
}

// NewPerStream returns the step. of is asked once for every stream of a batch and
// returns nil for a stream that has no parser of its own.
func NewPerStream(of func(*record.Stream) Parser) *PerStream { return &PerStream{of: of} }

// Process implements the step.
func (s *PerStream) Process(b *record.Batch, now time.Time) error {
	s.chosen = s.chosen[:0]
	some := false
	for _, ref := range b.Streams() {
		p := s.of(ref.Stream)
		some = some || p != nil
		s.chosen = append(s.chosen, p)
	}
	if !some {
		return nil
	}
	for i := range b.NumRecords() {
		r := b.Record(i)
		if p := s.chosen[r.Stream]; p != nil && r.Flags&parsed == 0 {
			p.record(b, i, now)
			r.Flags |= record.Parsed
		}
	}
	return nil
}
