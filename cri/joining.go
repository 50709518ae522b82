package cri

import "github.com/weirlog/weir/record"

// joining is what a stream knows about messages that belong together: what is open
// may be a record of whole messages, to which the next line is added if it continues
// it.
type joining struct {
	// held: the last message is whole, stands in the present chunk and may go
	// on. It is rec, not in the batch yet. Between calls of Frame it is open.
	held bool
	rec  record.Record

	whole    bool  // the last message of what is open is whole
	lines    int   // messages in what is open
	trace    trace // where in a stack trace the last message stood
	after    uint8 // as in Partial
	seen     int64 // when the last message came, by Frame's now
	last     int64 // the same by the runtime, 0 if that is not known
	patience int64 // how long to wait for more; 0: not decided yet
}

// hold takes a whole message of a stream of which nothing but the held one waits.
func (j *Joiner) hold(f *frame, s int, text []byte, r *record.Record) {
	st := &j.st[s]
	now := noTrace
	v := starts
	if st.trace != noTrace || j.multi.look(text) {
		var before []byte
		if st.held {
			before = f.b.Bytes(st.rec.Body)
		}
		now, v = j.multi.next(st.trace, before, text)
		if v == joins && (before == nil || j.apart(st.rec.Observed, r.Observed)) {
			now, v = j.multi.begin(text), starts
		}
	}
	if v == joins {
		j.takeOverStream(f, st)
		j.add1(f, s, message{s: s, body: r.Body, start: r.Start, end: r.End, time: r.Time}, text, now)
		return
	}
	if st.held {
		f.b.Add(st.rec)
		j.stats.Records++
	}
	st.trace = now
	if st.held = v == starts; st.held {
		st.rec = *r
		return
	}
	f.b.Add(*r)
	j.stats.Records++
}

// apart reports whether a line came so long after the one before that it does not
// continue it. Only times by the runtime tell: those of reading say little.
func (j *Joiner) apart(before, now int64) bool {
	return j.format != Plain && before != 0 && now-before > j.multi.wait
}

// takeOver makes what is held open, at the end of a chunk.
func (j *Joiner) takeOver(f *frame) {
	for i := range j.st {
		if st := &j.st[i]; st.held {
			j.takeOverStream(f, st)
		}
	}
}

func (j *Joiner) takeOverStream(f *frame, st *stream) {
	r := &st.rec
	st.held = false
	st.open, st.openCont, st.whole, st.lines = true, false, true, 1
	st.gen, st.start, st.base, st.end = j.gen, r.Start, 0, r.End
	st.time, st.begun, st.seen, st.last, st.patience = r.Time, f.now, f.now, 0, 0
	if j.format != Plain {
		st.last = r.Observed
	}
	st.carry = append(st.carry[:0], f.b.Bytes(r.Body)...)
	st.timeText = st.timeText[:0]
	st.update()
}

// message takes the beginning of a message, or all of it, while nothing is open or
// what is open may go on.
func (j *Joiner) message(f *frame, m message, unfinished bool) {
	st := &j.st[m.s]
	text := f.b.Bytes(m.body)
	if st.after != 0 && !st.open { // read again: it is known to continue what was cut
		now, _ := j.multi.next(trace(st.after-1), nil, text)
		j.openMessage(f, m, now, true, unfinished)
		return
	}
	var before []byte
	if st.open {
		if before = st.carry; before == nil {
			before = []byte{}
		}
	}
	now, v := j.multi.next(st.trace, before, text)
	if v == joins && (!st.open || j.apart(st.last, m.time)) {
		now, v = j.multi.begin(text), starts
	}
	if v == joins {
		if !m.more && !unfinished {
			j.add1(f, m.s, m, text, now)
			return
		}
		if int(m.body.Len)+len(st.carry) < j.maxTogether() && st.lines < j.multi.maxLines {
			// Parts of a message that goes on in the next line of the file.
			st.carry = append(st.carry, '\n')
			j.extend(f, st, m)
			st.whole, st.begun, st.trace = false, f.now, now
			st.lines++
			if unfinished {
				j.emitCarry(f, m.s)
			}
			return
		}
		before := st.trace
		j.emitWhole(f, m.s, true)
		st.after = uint8(before) + 1
		now, _ = j.multi.next(before, nil, text)
		j.openMessage(f, m, now, true, unfinished)
		return
	}
	if st.open {
		j.emitWhole(f, m.s, false)
	}
	if v == alone && !m.more && !unfinished && int(m.body.Len) <= j.max {
		st.trace = noTrace
		j.emit(f, m)
		return
	}
	st.after = 0
	if !m.more && !unfinished && m.timeText.Len == 0 && int(m.body.Len) <= j.max {
		if f.idx[m.s] < 0 {
			j.addStream(f, m.s)
		}
		st.held, st.trace = true, now
		st.rec = record.Record{
			Time: m.time, Observed: m.time, Start: m.start, End: m.end, Body: m.body, Source: m.body, Stream: uint16(f.idx[m.s]),
		}
		return
	}
	j.openMessage(f, m, now, false, unfinished)
}

// openMessage begins a record with m. cut says that it continues one cut from it.
func (j *Joiner) openMessage(f *frame, m message, now trace, cut, unfinished bool) {
	st := &j.st[m.s]
	after := st.after
	if unfinished || int(m.body.Len) > j.max {
		// Pieces of a line are records of their own.
		m.cont, m.more = cut, m.more || unfinished
		st.after, st.trace = 0, noTrace
		st.cont = m.more
		st.update()
		j.emit(f, m)
		return
	}
	j.open(f, m)
	st.openCont, st.cont, st.after, st.trace = cut, false, after, now
	st.carry = st.carry[:0]
	j.extend(f, st, m)
	st.update()
	if !m.more {
		j.complete(f, st, m.time)
	}
}

// add1 adds the whole message m to what is open, or cuts that before it.
func (j *Joiner) add1(f *frame, s int, m message, text []byte, now trace) {
	st := &j.st[s]
	if st.lines >= j.multi.maxLines || len(st.carry)+1+len(text) > j.maxTogether() {
		before := st.trace
		j.emitWhole(f, s, true)
		st.after = uint8(before) + 1
		now, _ = j.multi.next(before, nil, text)
		j.openMessage(f, m, now, true, false)
		return
	}
	st.carry = append(append(st.carry, '\n'), text...)
	st.end = st.base + m.end
	st.trace = now
	st.lines++
	j.complete(f, st, m.time)
}

// complete notes that the last message of what is open is whole.
func (j *Joiner) complete(f *frame, st *stream, at int64) {
	st.whole, st.seen, st.last, st.patience = true, f.now, 0, 0
	if j.format != Plain {
		st.last = at
	}
}

// maxTogether is the most bytes of a record of several messages.
func (j *Joiner) maxTogether() int { return min(j.multi.maxBytes, j.max) }

// most is the most bytes that what is open may have.
func (j *Joiner) most(st *stream) int {
	if st.lines > 1 {
		return j.maxTogether()
	}
	return j.max
}

// emitWhole adds the open record of whole messages of stream s; cut says that it
// goes on.
func (j *Joiner) emitWhole(f *frame, s int, cut bool) {
	st := &j.st[s]
	if st.lines > 1 {
		j.stats.Together++
	}
	j.addOpen(f, s, f.b.Append(st.carry), st.end, cut)
	st.close()
}

// SetMultiline changes which messages belong together, from the next line on; nil
// and Off: none do.
func (j *Joiner) SetMultiline(m *Multiline) {
	if m == Off {
		m = nil
	}
	if j.multi == m {
		return
	}
	j.multi = m
	for i := range j.st {
		j.st[i].trace, j.st[i].patience = noTrace, 0
	}
}

// Due reports whether a record waits that may go on, and has for so long that it is
// taken not to: for Multiline's wait, a single line for half of it, one that looks like
// no trouble for a quarter, and none longer than atMost. Times are nanoseconds, now is Frame's.
func (j *Joiner) Due(now, atMost int64) bool {
	for i := range j.st {
		if st := &j.st[i]; st.open && st.whole && now-st.seen >= min(j.patience(st), atMost) {
			return true
		}
	}
	return false
}

// FlushDue adds the records that are Due to b and returns how many.
func (j *Joiner) FlushDue(b *record.Batch, streams [2]*record.Stream, now, atMost int64) (n int) {
	f := newFrame(b, record.Span{}, 0, streams, now)
	for i := range j.st {
		if st := &j.st[i]; st.open && st.whole && now-st.seen >= min(j.patience(st), atMost) {
			j.emitWhole(&f, i, false)
			st.trace = noTrace
			n++
		}
	}
	return n
}

func (j *Joiner) patience(st *stream) int64 {
	if j.multi == nil {
		return 0
	}
	if st.patience == 0 {
		st.patience = j.multi.wait
		if j.multi.first == nil && st.lines == 1 && st.trace == noTrace && !st.openCont {
			// A trace comes at once with its message, if at all.
			st.patience = max(j.multi.wait/4, 1)
			if trouble(st.carry) {
				st.patience = max(j.multi.wait/2, 1)
			}
		}
	}
	return st.patience
}
