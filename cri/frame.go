package cri

import (
	"bytes"

	"github.com/weirlog/weir/record"
)

// frame is what one call of Frame works on.
type frame struct {
	b       *record.Batch
	base    uint32 // of the chunk in b's buffer
	off     int64  // of the chunk in the generation
	streams [2]*record.Stream
	now     int64
	idx     [2]int32 // entries of b's stream table for the present generation, -1: not made yet
}

func newFrame(b *record.Batch, chunk record.Span, off int64, streams [2]*record.Stream, now int64) frame {
	return frame{b, chunk.Off, off, streams, now, [2]int32{-1, -1}}
}

// span returns the span of n bytes of the chunk from pos on.
func (f *frame) span(pos, n int) record.Span {
	return record.Span{Off: f.base + uint32(pos), Len: uint32(n)}
}

// Frame adds to b one record for every complete message of chunk, a span of
// b's buffer that holds the bytes of the present generation from offset off
// on. streams are the Streams of stdout and stderr; odd and plain lines go to
// the first. now, in nanoseconds since the epoch, is the time of lines without
// one of their own. m says what to do with an unfinished last line.
//
// It returns how many bytes of chunk it has consumed; the next call's chunk
// begins there. It does not change the chunk's bytes; the bodies of joined and
// of unescaped messages are appended to b's buffer. For each stream and
// generation seen it adds an entry without token to b's stream table.
func (j *Joiner) Frame(b *record.Batch, chunk record.Span, off int64, streams [2]*record.Stream, now int64, m Mode) (consumed int) {
	f := newFrame(b, chunk, off, streams, now)
	p := b.Bytes(chunk)
	if j.resume.Kind != NotMid && j.gen == j.resume.Generation && off+int64(len(p)) >= j.resume.Offset {
		// The position to resume at is in the midst of a line, and here. What
		// stands before it is finished; its last line's beginning too.
		n := int(j.resume.Offset - off)
		if n > 0 {
			j.frame(&f, p[:n], 0, More)
		}
		if n >= 0 {
			j.mid = j.resume
		}
		j.resume = Mid{}
		consumed = max(n, 0)
	}
	consumed = j.frame(&f, p, consumed, m)
	if j.multi != nil {
		j.takeOver(&f)
	}
	j.pos = off + int64(consumed)
	return consumed
}

// frame frames p from pos on and returns the position behind what it consumed.
func (j *Joiner) frame(f *frame, p []byte, pos int, m Mode) int {
	first := pos
	for pos < len(p) {
		if j.mid.Kind != NotMid && j.mid.Kind != MidNUL {
			n := j.midLine(f, p[pos:], pos, m, pos == first)
			if n == 0 {
				break
			}
			pos += n
			continue
		}
		rest := p[pos:]
		if rest[0] == 0 || j.mid.Kind == MidNUL {
			n := leadingNULs(rest)
			j.stats.NULBytes += uint64(n)
			pos += n
			rest = rest[n:]
			j.mid = Mid{Kind: MidNUL}
			if len(rest) == 0 {
				break
			}
			j.mid = Mid{}
			if rest[0] == '\n' {
				pos++
				continue
			}
		}
		nl := bytes.IndexByte(rest, '\n')
		if nl < 0 {
			n := j.unfinished(f, rest, pos, m, pos == first)
			if n == 0 {
				break
			}
			pos += n
			continue
		}
		line := rest[:nl]
		start := f.off + int64(pos)
		end := start + int64(nl) + 1
		if j.format <= CRI {
			if s, body, t := j.clock.usual(line); body > 0 && !j.st[s].slow && nl-body <= j.max {
				j.usual(f, s, line[body:], f.span(pos+body, nl-body), start, end, t)
				pos += nl + 1
				continue
			}
		} else if j.format == Plain && !j.st[0].slow && nl <= j.max {
			j.usual(f, 0, line, f.span(pos, nl), start, end, f.now)
			pos += nl + 1
			continue
		}
		j.line(f, line, pos, start, end, whole)
		pos += nl + 1
	}
	return pos
}

// usual takes the usual line: a whole message, straight from the chunk, of a
// stream of which nothing is open.
func (j *Joiner) usual(f *frame, s int, text []byte, body record.Span, start, end, t int64) {
	if f.idx[s] < 0 {
		j.addStream(f, s)
	}
	r := record.Record{Time: t, Observed: t, Start: start, End: end, Body: body, Source: body, Stream: uint16(f.idx[s])}
	if j.multi != nil {
		j.hold(f, s, text, &r)
		return
	}
	f.b.Add(r)
	j.stats.Records++
}

func (j *Joiner) addStream(f *frame, s int) {
	f.idx[s] = int32(f.b.AddStream(record.StreamRef{Stream: f.streams[s], Generation: j.gen}))
}

func leadingNULs(p []byte) int {
	for i, c := range p {
		if c != 0 {
			return i
		}
	}
	return len(p)
}

// unfinished handles a last line without newline, of which rest is there, and
// returns how many bytes it took. none says that this call has consumed
// nothing yet.
func (j *Joiner) unfinished(f *frame, rest []byte, pos int, m Mode, none bool) int {
	n, how := len(rest), broken
	switch {
	case n >= j.MaxChunk():
		// It is longer than MaxLine whatever comes. Take whole pieces, and
		// leave at least a byte, so that the last piece is never empty.
		how = long
		body := 0
		if j.format <= CRI {
			if h, ok := j.clock.header(rest, false); ok {
				body = h.body
			}
		}
		n = body + (n-body-1)/j.max*j.max
		rest = rest[:n]
	case m == More, m == Cut && !none:
		return 0
	}
	start := f.off + int64(pos)
	j.line(f, rest, pos, start, start+int64(n), how)
	return n
}

// midLine handles the rest of a line whose beginning has been consumed.
func (j *Joiner) midLine(f *frame, rest []byte, pos int, m Mode, none bool) int {
	mid := j.mid
	start := f.off + int64(pos)
	t, flags := mid.Time, record.Flags(0)
	if mid.Kind != MidCRI {
		t = f.now
	}
	if mid.Kind == MidOdd {
		flags = record.ParseError
	}
	msg := message{s: int(mid.Stream), at: start, start: start, time: t, flags: flags, cont: true, more: true}
	nl := bytes.IndexByte(rest, '\n')
	n := nl + 1
	switch {
	case nl >= 0:
		j.mid = Mid{}
		msg.more = mid.More
		msg.body = f.span(pos, nl)
	case m == End:
		n = len(rest)
		msg.body = f.span(pos, n)
	case len(rest) > j.max:
		n = (len(rest) - 1) / j.max * j.max
		msg.body = f.span(pos, n)
	case m == Cut && none:
		n = len(rest)
		msg.body = f.span(pos, n)
	default:
		return 0
	}
	if mid.Kind == MidCRI || mid.Kind == MidPlain {
		st := &j.st[mid.Stream]
		if st.pend && !j.reached(st, start, start+int64(n)) {
			return n
		}
		st.cont = msg.more
		st.update()
	}
	msg.end = start + int64(n)
	if msg.body.Len > 0 {
		j.emit(f, msg)
	}
	return n
}

// extent says how much of a physical line there is.
type extent uint8

const (
	whole  extent = iota // all of it
	broken               // all there is for now; it may go on
	long                 // the first pieces of one longer than MaxChunk
)

// line handles one line, the newline not included: chunk bytes from pos on,
// generation bytes start to end (newline included).
func (j *Joiner) line(f *frame, line []byte, pos int, start, end int64, ext extent) {
	switch {
	case j.format == Plain:
		j.lone(f, MidPlain, pos, len(line), start, end, ext)
		return
	case j.format == Docker, j.format == Auto && len(line) > 0 && line[0] == '{':
		if ext != long && len(line) < j.MaxChunk() && j.docker(f, line, pos, start, end, ext) {
			return
		}
	default:
		if h, ok := j.clock.header(line, ext == whole); ok {
			msg := message{
				s: h.s, body: f.span(pos+h.body, len(line)-h.body), at: start + int64(h.body), start: start, end: end,
				time: h.time, more: h.more,
			}
			if h.badTime {
				msg.time, msg.timeText = f.now, f.span(pos, h.timeLen)
				j.stats.OddTimes++
			}
			if ext != whole {
				j.mid = Mid{Kind: MidCRI, Stream: uint8(h.s), More: h.more, Time: msg.time}
			}
			j.part(f, msg, ext != whole)
			return
		}
	}
	j.stats.Odd++
	j.lone(f, MidOdd, pos, len(line), start, end, ext)
}

// lone adds a line that is a message of its own, from its first byte on.
func (j *Joiner) lone(f *frame, kind Kind, pos, n int, start, end int64, ext extent) {
	msg := message{body: f.span(pos, n), at: start, start: start, end: end, time: f.now, more: ext != whole}
	if ext != whole {
		j.mid = Mid{Kind: kind}
	}
	if kind == MidPlain {
		msg.more = false
		j.part(f, msg, ext != whole)
		return
	}
	msg.flags = record.ParseError
	j.emit(f, msg)
}

// message is a part, a piece or a whole of one.
type message struct {
	s          int // 0 stdout, 1 stderr
	body       record.Span
	at         int64 // offset in the generation of the body's first byte
	start, end int64
	time       int64
	timeText   record.Span // set if the time does not fit into a record
	flags      record.Flags
	cont, more bool // it continues, it is continued
}

// reached reports whether the restored state of a stream takes effect at the
// part that stands at start to end of the present generation, and lets it.
func (j *Joiner) reached(st *stream, start, end int64) bool {
	at := st.want.Open && j.gen == st.want.Generation && start >= st.want.Start
	if !at && end <= j.until {
		return false
	}
	st.pend = false
	st.trace, st.after = noTrace, 0
	if at {
		st.after = st.want.After
	}
	// A message whose beginning is gone (its generation was not there any
	// more) goes on without it.
	st.cont = st.want.Continued || st.want.Open && !at
	st.want = Partial{}
	st.update()
	return true
}

// part takes the part of a message that one line holds, all of it included.
func (j *Joiner) part(f *frame, m message, unfinished bool) {
	st := &j.st[m.s]
	if st.pend && !j.reached(st, m.start, m.end) {
		return
	}
	n := int(m.body.Len)
	if j.multi == nil {
		st.after = 0
		if st.open && st.whole { // since before SetMultiline
			j.emitWhole(f, m.s, false)
		}
	} else {
		if st.held {
			j.takeOverStream(f, st)
		}
		if !st.open || st.whole {
			if st.after != 0 || !st.cont {
				j.message(f, m, unfinished)
				return
			}
			st.trace = noTrace
		}
	}
	if st.open && len(st.carry)+n > j.most(st) {
		j.emitCarry(f, m.s)
	}
	switch {
	case m.more && !unfinished && n <= j.max:
		if !st.open {
			j.open(f, m)
			st.openCont, st.cont = st.cont, false
			st.update()
		}
		j.extend(f, st, m)
	case st.open && j.multi != nil && !unfinished && (!st.openCont || st.after != 0):
		j.extend(f, st, m) // the message is whole and may go on
		j.complete(f, st, m.time)
	case st.open:
		part := f.b.Bytes(m.body)
		body := f.b.Append(st.carry)
		body.Len += f.b.Append(part).Len
		j.stats.Joined++
		j.addOpen(f, m.s, body, st.base+m.end, unfinished)
		st.close()
		st.cont = unfinished
		st.update()
	default:
		m.cont, m.more = st.cont, m.more || unfinished
		st.cont = m.more
		st.update()
		j.emit(f, m)
	}
}

// open begins the open message of m's stream with m, but for its text.
func (j *Joiner) open(f *frame, m message) {
	st := &j.st[m.s]
	st.open, st.openCont = true, false
	st.gen, st.start, st.base = j.gen, m.start, 0
	st.time, st.begun = m.time, f.now
	st.timeText = append(st.timeText[:0], f.b.Bytes(m.timeText)...)
	st.lines = 1
	st.update()
}

// extend adds the text of m to what is open.
func (j *Joiner) extend(f *frame, st *stream, m message) {
	st.carry = append(st.carry, f.b.Bytes(m.body)...)
	st.end = st.base + m.end
}

// emitCarry adds what waits of stream s, flagged Partial.
func (j *Joiner) emitCarry(f *frame, s int) {
	st := &j.st[s]
	j.addOpen(f, s, f.b.Append(st.carry), st.end, true)
	st.close()
	st.cont, st.trace = true, noTrace
	st.update()
}

// addOpen adds the open message of stream s with the given body and end.
func (j *Joiner) addOpen(f *frame, s int, body record.Span, end int64, more bool) {
	st := &j.st[s]
	r := record.Record{
		Time: st.time, Observed: st.time, Start: st.start, End: end, Body: body, Source: body,
		Stream: f.b.AddStream(record.StreamRef{Stream: f.streams[s], Generation: st.gen}),
	}
	if st.openCont {
		r.Flags |= record.Continued
	}
	if more {
		r.Flags |= record.Partial
		j.stats.Split++
	}
	i := f.b.Add(r)
	j.stats.Records++
	if len(st.timeText) > 0 {
		f.b.SetField(i, TimeField, record.String, f.b.Append(st.timeText))
	}
}

// TimeField is the name of the field that keeps the text of a time that does
// not fit into a record (before 1678 or after 2261); the record's time is then
// that of reading.
const TimeField = "weir.runtime_time"

// emit adds a message that is not joined with others, in pieces of MaxLine
// bytes if it is longer.
func (j *Joiner) emit(f *frame, m message) {
	whole, end, more := m.body, m.end, m.more
	for int(whole.Len) > j.max {
		m.body.Off, m.body.Len = whole.Off, uint32(j.max)
		m.end, m.more = m.at+int64(j.max), true
		j.add(f, m)
		m.start, m.at, m.cont = m.end, m.end, true
		whole.Off, whole.Len = whole.Off+uint32(j.max), whole.Len-uint32(j.max)
	}
	m.body, m.end, m.more = whole, end, more
	j.add(f, m)
}

// add adds one record, unless it is finished already.
func (j *Joiner) add(f *frame, m message) {
	if m.end <= j.until && m.flags.Has(record.ParseError) {
		return // the lines of the streams are known by their state
	}
	flags := m.flags
	if m.more {
		flags |= record.Partial
	}
	if m.cont {
		flags |= record.Continued
	}
	if m.more || m.cont {
		if p := f.b.Bytes(m.body); len(p) > 0 && (p[0] == 0 || p[len(p)-1] == 0) {
			// The hole of a sparse file behind a torn line, or before its rest.
			head := leadingNULs(p)
			if !m.cont {
				head = 0
			}
			tail := len(p)
			for m.more && tail > head && p[tail-1] == 0 {
				tail--
			}
			j.stats.NULBytes += uint64(len(p) - (tail - head))
			if head == tail || m.more && leadingNULs(p) == len(p) {
				return
			}
			m.body = record.Span{Off: m.body.Off + uint32(head), Len: uint32(tail - head)}
		}
		j.stats.Split++
	}
	if f.idx[m.s] < 0 {
		j.addStream(f, m.s)
	}
	i := f.b.Add(record.Record{
		Time: m.time, Observed: m.time, Start: m.start, End: m.end, Body: m.body, Source: m.body,
		Stream: uint16(f.idx[m.s]), Flags: flags,
	})
	j.stats.Records++
	if m.timeText.Len > 0 && !m.cont {
		f.b.SetField(i, TimeField, record.String, m.timeText)
	}
}
