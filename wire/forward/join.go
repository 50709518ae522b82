package forward

import (
	"math"

	"github.com/weirlog/weir/record"
)

// Joiner holds the pieces of docker's long lines until their last has come. It
// belongs to one connection and one goroutine. The zero Joiner is ready.
type Joiner struct {
	// MaxLine is where a line is cut all the same, MaxBytes what all lines hold
	// together, MaxOpen how many there may be; pieces beyond are records of their
	// own. Zero: 1 MiB, 4 MiB, 256.
	MaxLine, MaxBytes, MaxOpen int

	open  map[string]*openLine
	bytes int
}

type openLine struct {
	data   []byte
	time   int64
	since  int64
	stream *record.Stream
	level  record.Severity
	cut    bool // a part of it has become a record
}

func or(n, def int) int {
	if n > 0 {
		return n
	}
	return def
}

// Open returns how many lines wait for pieces, and how many bytes they hold.
func (j *Joiner) Open() (lines, bytes int) { return len(j.open), j.bytes }

// Clone returns a Joiner that holds the same lines: to go on with, and to throw away
// if what was decoded with it comes to nothing.
func (j *Joiner) Clone() *Joiner {
	c := *j
	c.open = nil
	if len(j.open) > 0 {
		c.open = make(map[string]*openLine, len(j.open))
		for id, o := range j.open {
			l := *o
			l.data = l.data[:len(l.data):len(l.data)] // what is appended is a copy
			c.open[id] = &l
		}
	}
	return &c
}

// piece takes the piece of a line that the record at hand is. It reports whether
// that becomes a record now, as it is changed.
func (d *Decoder) piece(ns *int64, stream uint16) bool {
	e, j := &d.rec, d.Join
	id := d.b.Bytes(e.part.id)
	alone := func() bool {
		if !e.part.last {
			e.flags |= record.Partial
		}
		if !e.part.first {
			e.flags |= record.Continued
		}
		return true
	}
	if j == nil || e.asked || len(id) == 0 {
		return alone()
	}
	o := j.open[string(id)]
	switch {
	case o == nil && (!e.part.first || e.part.last || len(j.open) >= or(j.MaxOpen, 256)):
		return alone()
	case o == nil:
		if j.open == nil {
			j.open = make(map[string]*openLine)
		}
		o = &openLine{time: *ns, since: d.now, stream: d.b.Streams()[stream].Stream, level: e.level}
		j.open[string(id)] = o
	}
	o.data = append(o.data, d.b.Bytes(e.body)...)
	j.bytes += int(e.body.Len)
	full := len(o.data) > or(j.MaxLine, 1<<20) || j.bytes > or(j.MaxBytes, 4<<20)
	if !e.part.last && !full {
		return false
	}
	e.body = d.b.Append(o.data)
	*ns = o.time
	if o.cut {
		e.flags |= record.Continued
	}
	j.bytes -= len(o.data)
	if e.part.last {
		delete(j.open, string(id))
	} else {
		e.flags |= record.Partial
		o.data, o.cut = nil, true
	}
	return true
}

// Expire adds to b, as records flagged partial, the lines of the Joiner whose
// first piece came before that time (Unix nanoseconds; math.MaxInt64: all), and
// forgets them. It returns how many there were.
func (j *Joiner) Expire(b *record.Batch, before, now int64) int {
	n := 0
	for id, o := range j.open {
		if o.since >= before && before != math.MaxInt64 {
			continue
		}
		n++
		delete(j.open, id)
		j.bytes -= len(o.data)
		if len(o.data) == 0 {
			continue
		}
		flags := record.Partial
		if o.cut {
			flags |= record.Continued
		}
		s := b.Append(o.data)
		b.Add(record.Record{Time: o.time, Observed: now, Body: s, Source: s, Flags: flags, Severity: o.level,
			Stream: b.AddStream(record.StreamRef{Stream: o.stream})})
	}
	return n
}
