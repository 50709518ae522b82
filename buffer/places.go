package buffer

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/weirlog/weir/record"
)

// What a file's records took in the log is remembered per generation, so that a
// record that is read a second time, because the process was killed before the
// input had saved its position, is not written a second time. What is not
// remembered any more is written twice; nothing is ever left out that the log
// did not get.
const (
	maxSources = 8192
	maxSpans   = 64  // per source; the last ones are kept
	maxWide    = 256 // per source
	// forgetAfter is how long a source that says nothing is remembered, in
	// nanoseconds of the buffer's clock.
	forgetAfter = int64(24 * 3600 * 1e9)
)

// sources is what is remembered. It is for one goroutine.
type sources struct {
	of   map[record.ID]*source
	last *source // found last
	id   record.ID
	// before is what those that were touched since the last call of settled
	// were then; nil where there was none. What is not durable yet must not be
	// in a snapshot: a record that is remembered and lost would be left out
	// when it is read again.
	before map[record.ID]*source
	// The last answer: several records of one place, in one batch, are pieces of
	// one line, and what goes for the first goes for all.
	at  span
	new bool
}

// source is one life of one file. The places are merged into spans. A record is
// known if its place lies in one of them, with an exception: a record that is
// made of several lines, of which others may stand in between (the other stream's
// of the container), says nothing about those. Such a wide record is remembered
// with what was known within it when it came, and records inside it are judged by
// that.
type source struct {
	set  spans
	wide []wideRecord // oldest first
	last int64        // the buffer's clock
}

type wideRecord struct {
	at     span
	inside spans
}

// span is a place: [from, to), bytes of the file.
type span struct{ from, to int64 }

func (s span) within(t span) bool { return t.from <= s.from && s.to <= t.to }

// spans are disjoint, not touching, ascending.
type spans []span

// find returns the first span that ends at or behind off.
func (v spans) find(off int64) int {
	// Nearly always it is the last one.
	if n := len(v); n > 0 && v[n-1].from <= off {
		if v[n-1].to >= off {
			return n - 1
		}
		return n
	}
	i, _ := slices.BinarySearchFunc(v, off, func(s span, off int64) int {
		if s.to < off {
			return -1
		}
		return 1
	})
	return i
}

func (v spans) has(s span) bool {
	for i := v.find(s.from); i < len(v) && v[i].from <= s.from; i++ {
		if s.within(v[i]) {
			return true
		}
	}
	return false
}

// add merges s in.
func (v spans) add(s span) spans {
	i := v.find(s.from)
	j := i
	for j < len(v) && v[j].from <= s.to {
		s.from = min(s.from, v[j].from)
		s.to = max(s.to, v[j].to)
		j++
	}
	if i < j {
		v[i] = s
		return slices.Delete(v, i+1, j)
	}
	return slices.Insert(v, i, s)
}

// part returns what of v lies in s.
func (v spans) part(s span) spans {
	var out spans
	for i := v.find(s.from); i < len(v) && v[i].from < s.to; i++ {
		if p := (span{max(v[i].from, s.from), min(v[i].to, s.to)}); p.from < p.to {
			out = append(out, p)
		}
	}
	return out
}

func (f *source) known(s span) bool {
	if !f.set.has(s) {
		return false
	}
	for i := len(f.wide) - 1; i >= 0; i-- {
		if w := &f.wide[i]; s.within(w.at) && s != w.at && !w.inside.has(s) {
			return false
		}
	}
	return true
}

func (f *source) add(s span, wide bool) {
	for i := range f.wide {
		if w := &f.wide[i]; s.within(w.at) && s != w.at {
			w.inside = trim(w.inside.add(s))
		}
	}
	if wide {
		if len(f.wide) == maxWide {
			// Of what lies in it nothing is known any more.
			f.cut(f.wide[0].at)
			f.wide = slices.Delete(f.wide, 0, 1)
		}
		f.wide = append(f.wide, wideRecord{s, trim(f.set.part(s))})
	}
	f.set = trim(f.set.add(s))
}

func trim(v spans) spans {
	if len(v) > maxSpans {
		v = slices.Delete(v, 0, len(v)-maxSpans)
	}
	return v
}

func (f *source) clone() *source {
	c := &source{slices.Clone(f.set), slices.Clone(f.wide), f.last}
	for i := range c.wide {
		c.wide[i].inside = slices.Clone(c.wide[i].inside)
	}
	return c
}

// cut forgets all places in s.
func (f *source) cut(s span) {
	var out spans
	for _, v := range f.set {
		if l := (span{v.from, min(v.to, s.from)}); l.from < l.to {
			out = append(out, l)
		}
		if r := (span{max(v.from, s.to), v.to}); r.from < r.to {
			out = append(out, r)
		}
	}
	f.set = out
}

// lineOverhead is the most that a container runtime puts around the text of a
// line, without escapes: what is longer is taken for several lines.
const lineOverhead = 80

// escaped is how long text is as a string of JSON, in which a runtime may have
// written it.
func escaped(text []byte) int64 {
	n := len(text)
	for _, c := range text {
		switch {
		case c == '"' || c == '\\' || c == '\n' || c == '\t' || c == '\r':
			n++
		case c < ' ' || c == '<' || c == '>' || c == '&':
			n += 5
		}
	}
	return int64(n)
}

// take reports whether record i of b is new, and remembers it. A record that does
// not come from a file is always new.
func (s *sources) take(b *record.Batch, i int, clock int64) bool {
	r := b.Record(i)
	gen := b.Streams()[r.Stream].Generation
	at := span{r.Start, r.End}
	if gen.IsZero() || at.to <= at.from {
		return true
	}
	f := s.last
	if f == nil || s.id != gen {
		f = s.get(gen, clock)
		s.last, s.id, s.at = f, gen, span{}
	}
	if _, ok := s.before[gen]; !ok {
		s.note(gen, f)
	}
	f.last = clock
	if s.at == at {
		return s.new
	}
	s.at, s.new = at, !f.known(at)
	if !s.new {
		return false
	}
	f.add(at, at.to-at.from > int64(r.Source.Len)+lineOverhead && at.to-at.from > escaped(b.Bytes(r.Source))+lineOverhead)
	return true
}

// batch says that what comes next is of another batch.
func (s *sources) batch() { s.at = span{} }

// note keeps f as it is now, as the one before.
func (s *sources) note(gen record.ID, f *source) {
	if s.before == nil {
		s.before = make(map[record.ID]*source)
	}
	if f.last == 0 && len(f.set) == 0 {
		s.before[gen] = nil
	} else {
		s.before[gen] = f.clone()
	}
}

// settled says that everything that was taken so far is durable.
func (s *sources) settled() { clear(s.before) }

// undo forgets what was taken since the last call of settled.
func (s *sources) undo() {
	for id, was := range s.before {
		if was == nil {
			delete(s.of, id)
		} else {
			s.of[id] = was
		}
	}
	clear(s.before)
	s.last = nil
	s.batch()
}

func (s *sources) get(gen record.ID, clock int64) *source {
	if f := s.of[gen]; f != nil {
		return f
	}
	if s.of == nil {
		s.of = make(map[record.ID]*source)
	}
	if len(s.of) >= maxSources {
		s.forget(clock, maxSources*7/8)
	}
	f := new(source)
	s.of[gen] = f
	return f
}

// forget drops sources that are silent for long, and the most silent ones beyond
// keep.
func (s *sources) forget(clock int64, keep int) {
	s.last = nil
	var lasts []int64
	for id, f := range s.of {
		if clock-f.last > forgetAfter {
			delete(s.of, id)
		} else {
			lasts = append(lasts, f.last)
		}
	}
	if len(lasts) <= keep {
		return
	}
	slices.Sort(lasts)
	limit := lasts[len(lasts)-keep]
	for id, f := range s.of {
		if f.last < limit || len(s.of) > keep && f.last == limit {
			delete(s.of, id)
		}
	}
}

// append appends what is durable of what is remembered to dst.
func (s *sources) append(dst []byte, clock int64) []byte {
	s.forget(clock, maxSources)
	ids := make([]record.ID, 0, len(s.of))
	for id := range s.of {
		if f, touched := s.before[id]; !touched || f != nil {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b record.ID) int { return cmp.Or(cmp.Compare(a.Hi, b.Hi), cmp.Compare(a.Lo, b.Lo)) })
	dst = binary.AppendUvarint(dst, uint64(len(ids)))
	for _, id := range ids {
		f := s.of[id]
		if was := s.before[id]; was != nil {
			f = was
		}
		dst = binary.LittleEndian.AppendUint64(dst, id.Hi)
		dst = binary.LittleEndian.AppendUint64(dst, id.Lo)
		dst = binary.AppendVarint(dst, f.last)
		dst = appendSpans(dst, f.set)
		dst = binary.AppendUvarint(dst, uint64(len(f.wide)))
		for i := range f.wide {
			dst = appendSpans(dst, spans{f.wide[i].at})
			dst = appendSpans(dst, f.wide[i].inside)
		}
	}
	return dst
}

func appendSpans(dst []byte, v spans) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	for _, s := range v {
		dst = binary.AppendVarint(dst, s.from)
		dst = binary.AppendVarint(dst, s.to-s.from)
	}
	return dst
}

// parse reads what append wrote. It reports false, and remembers nothing, if p
// is something else.
func (s *sources) parse(p []byte) bool {
	*s = sources{of: make(map[record.ID]*source)}
	r := spanReader{p: p, ok: true}
	for n := r.uvarint(); n > 0 && r.ok; n-- {
		if len(r.p) < 16 {
			r.ok = false
			break
		}
		id := record.ID{Hi: binary.LittleEndian.Uint64(r.p), Lo: binary.LittleEndian.Uint64(r.p[8:])}
		r.p = r.p[16:]
		f := &source{last: r.varint(), set: r.spans()}
		for n := r.uvarint(); n > 0 && r.ok; n-- {
			at := r.spans()
			if len(at) != 1 {
				r.ok = false
				break
			}
			f.wide = append(f.wide, wideRecord{at[0], r.spans()})
		}
		s.of[id] = f
	}
	if !r.ok || len(r.p) != 0 {
		*s = sources{}
		return false
	}
	return true
}

type spanReader struct {
	p  []byte
	ok bool
}

func (r *spanReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.p)
	if n <= 0 || v > uint64(len(r.p)) { // all of them count what follows
		r.ok = false
		return 0
	}
	r.p = r.p[n:]
	return v
}

func (r *spanReader) varint() int64 {
	v, n := binary.Varint(r.p)
	if n <= 0 {
		r.ok = false
		return 0
	}
	r.p = r.p[n:]
	return v
}

func (r *spanReader) spans() (v spans) {
	for n := r.uvarint(); n > 0 && r.ok; n-- {
		from := r.varint()
		v = append(v, span{from, from + r.varint()})
	}
	return v
}
