package cri

import "github.com/weirlog/weir/record"

// Format is the format of a file's lines.
type Format uint8

const (
	// Auto takes every line for what it looks like: Docker if it begins with
	// an opening brace, else CRI. Files may change their format midway.
	Auto Format = iota
	// CRI is the format of containerd and CRI-O.
	CRI
	// Docker is the json-file format.
	Docker
	// Plain makes one record of every line, all on stream 0.
	Plain
)

// DefaultMaxLine is the MaxLine of a zero Config, in bytes.
const DefaultMaxLine = 1 << 20

// Config is what a Joiner needs to know.
type Config struct {
	// Format is the format of the lines; the zero value is Auto.
	Format Format
	// MaxLine is the longest message, joined and without headers, in bytes.
	// Longer ones are split. 0 or less means DefaultMaxLine.
	MaxLine int
	// Multiline says which messages belong together in one record; nil: none do.
	Multiline *Multiline
}

// Mode says what Frame does with a last line that has no newline yet.
type Mode uint8

const (
	// More leaves it unconsumed: the caller passes it again, with more behind
	// it.
	More Mode = iota
	// Cut says that the chunk is as long as the caller lets a line get: if
	// nothing else in the chunk could be consumed, it is taken as a piece of a
	// line, and the rest of that physical line, which has no header, continues
	// it. A caller that can pass MaxChunk bytes at once does not need it.
	Cut
	// End says that the file ends here for good, or was idle long enough: it
	// is taken as it is, flagged Partial. If the file goes on nevertheless,
	// the rest of the line is flagged Continued.
	End
)

// Stats counts what a Joiner saw since it was made, replayed lines included.
type Stats struct {
	Records  uint64 // records added
	Odd      uint64 // lines that were not of their format
	OddTimes uint64 // messages whose time does not fit into a record
	NULBytes uint64 // bytes skipped because they were runs of NUL
	Joined   uint64 // records made of several lines
	Split    uint64 // records that are pieces: cut for their length, or unfinished
	Together uint64 // records made of several messages
}

// State is what a restart needs to go on where Frame has stopped consuming. It
// is small, meant to be kept as JSON, and the zero State means that nothing is
// open.
type State struct {
	// Open holds the state of stdout and stderr.
	Open [2]Partial `json:"open,omitzero"`
	// Mid is set when the position is in the midst of a physical line.
	Mid Mid `json:"mid,omitzero"`
}

// Partial is the state of one stream.
type Partial struct {
	// Open: the first parts of a message, or messages that may go on, are
	// waiting. They stand in Generation from offset Start on.
	Open bool `json:"open,omitempty"`
	// Continued: the open message, or if none is open the next one, continues
	// a message whose beginning has been emitted.
	Continued  bool      `json:"continued,omitempty"`
	Generation record.ID `json:"generation,omitzero"`
	Start      int64     `json:"start,omitempty"`
	// After is set if what is open was cut from what went before it between two
	// messages: where in a stack trace that was, and one.
	After uint8 `json:"after,omitempty"`
}

// Mid describes the physical line whose beginning has been consumed already.
type Mid struct {
	Kind       Kind      `json:"kind,omitempty"`
	Stream     uint8     `json:"stream,omitempty"` // 0 stdout, 1 stderr
	More       bool      `json:"more,omitempty"`   // the line was tagged P
	Generation record.ID `json:"generation,omitzero"`
	Offset     int64     `json:"offset,omitempty"` // where the line goes on
	Time       int64     `json:"time,omitempty"`   // of the line, ns; 0: it has none
}

// Kind says what the consumed beginning of a line was.
type Kind uint8

// The kinds of a Mid.
const (
	NotMid   Kind = iota // the position is the beginning of a line
	MidCRI               // a message with a header
	MidOdd               // a line not of its format
	MidPlain             // a line of a plain file
	MidNUL               // nothing but NULs: the line may still begin
)

// Joiner frames the lines of one container, or of one plain file, over all its
// generations in order. It is for one goroutine.
type Joiner struct {
	format Format
	max    int
	slack  int // see lineSlack
	multi  *Multiline

	gen   record.ID
	until int64
	pos   int64 // behind the last byte consumed of gen
	mid   Mid   // Generation and Offset are filled by State only
	st    [2]stream

	resume   Mid  // from Restore, until its position is reached
	restored bool // Restore was called, or Begin for the first time
	clock    clock
	stats    Stats
}

// stream is what is known about one of the container's two streams.
type stream struct {
	// slow says that any of the following is set, so that the usual line
	// looks at nothing else.
	slow bool
	// cont: the next message or part continues one already emitted.
	cont bool
	// pend: Restore has set want, and the position it speaks of is not
	// reached yet. Everything of this stream before it is finished.
	pend bool
	want Partial

	open     bool
	openCont bool // the open message continues one already emitted
	carry    []byte
	gen      record.ID
	start    int64 // in gen
	base     int64 // sum of the sizes of the generations from gen to before the present one
	end      int64 // behind the last part, counted through from gen's beginning
	time     int64
	begun    int64 // when the first part of the last message came
	timeText []byte

	joining
}

// maxKept is the largest carry buffer that is kept for the next message, in
// bytes; there may be two for each of many containers.
const maxKept = 64 << 10

func (s *stream) update() { s.slow = s.cont || s.pend || s.open }

func (s *stream) close() {
	s.open, s.openCont = false, false
	if cap(s.carry) > maxKept {
		s.carry = nil
	}
	s.carry, s.timeText = s.carry[:0], s.timeText[:0]
	s.whole, s.lines, s.after, s.patience = false, 0, 0, 0
	s.update()
}

// NewJoiner returns a Joiner at the beginning of nothing; call Begin before
// the first Frame.
func NewJoiner(c Config) *Joiner {
	if c.MaxLine <= 0 {
		c.MaxLine = DefaultMaxLine
	}
	j := &Joiner{format: c.Format, max: c.MaxLine, slack: lineSlack}
	j.SetMultiline(c.Multiline)
	return j
}

// lineSlack is how much longer than MaxLine a physical line may be before it
// is taken in pieces without having seen its end: a header, or a Docker line's
// escapes and attributes (Docker cuts messages at 16 KiB). It must exceed the
// longest header that is recognised.
const lineSlack = 256 << 10

// MaxChunk is a chunk length, in bytes, at which Frame always consumes
// something: of a line that is longer it takes pieces of MaxLine bytes.
func (j *Joiner) MaxChunk() int { return j.max + j.slack + 1 }

// Begin starts the next generation. prevSize is the size in bytes of the one
// before, 0 for the first: the End of a record that began there counts on
// through it. Records whose last byte stands before the offset until of this
// generation are finished already and not added; that is for reading again
// after a restart (there it is the position where the State was taken, and the
// size for a generation before that one), else it is 0.
func (j *Joiner) Begin(gen record.ID, prevSize, until int64) {
	if j.mid.Kind == MidCRI || j.mid.Kind == MidPlain {
		st := &j.st[j.mid.Stream]
		st.cont = j.mid.More
		st.update()
	}
	if until > 0 && !j.restored {
		j.Restore(State{})
	}
	j.restored = true
	j.mid = Mid{}
	j.gen, j.until, j.pos = gen, until, 0
	for i := range j.st {
		if st := &j.st[i]; st.open {
			st.base += prevSize
		}
	}
}

// State returns the present state.
func (j *Joiner) State() State {
	var s State
	for i := range j.st {
		st := &j.st[i]
		switch {
		case st.pend:
			s.Open[i] = st.want
		case st.open:
			s.Open[i] = Partial{Open: true, Continued: st.openCont, Generation: st.gen, Start: st.start, After: st.after}
		default:
			s.Open[i].Continued = st.cont
		}
	}
	switch {
	case j.resume.Kind != NotMid:
		s.Mid = j.resume
	case j.mid.Kind != NotMid:
		s.Mid = j.mid
		s.Mid.Generation, s.Mid.Offset = j.gen, j.pos
	}
	return s
}

// Restore prepares a new Joiner for going on after a restart: the caller reads
// again from the least Start of what is Open, at the latest from the position
// that the state belongs to, and passes that position as Begin's until.
func (j *Joiner) Restore(s State) {
	j.resume, j.restored = s.Mid, true
	for i := range j.st {
		st := &j.st[i]
		*st = stream{carry: st.carry[:0]}
		st.want, st.pend = s.Open[i], true
		st.update()
	}
}

// Stats returns the counters.
func (j *Joiner) Stats() Stats { return j.stats }

// Flush adds to b the open messages whose first part came (by Frame's now)
// before olderThan, flagged Partial; what follows of them will be flagged
// Continued. Of messages that are whole and only may go on, it adds those whose
// last came before olderThan. It returns how many it added.
func (j *Joiner) Flush(b *record.Batch, streams [2]*record.Stream, olderThan int64) (n int) {
	f := newFrame(b, record.Span{}, 0, streams, olderThan)
	for i := range j.st {
		switch st := &j.st[i]; {
		case st.open && st.whole && st.seen < olderThan:
			j.emitWhole(&f, i, false)
			st.trace = noTrace
			n++
		case st.open && !st.whole && st.begun < olderThan:
			j.emitCarry(&f, i)
			n++
		}
	}
	return n
}
