package account

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weirlog/weir/e2e/internal/journal"
)

// Sum counts lines.
type Sum struct {
	Written   uint64 `json:"written"`
	Delivered uint64 `json:"delivered"` // arrived at least once with the right bytes
	Missing   uint64 `json:"missing"`   // never arrived and not refused on purpose
	Extra     uint64 `json:"extra"`     // arrivals that nobody wrote
	Different uint64 `json:"different"` // arrivals with other bytes than written
	Doubled   uint64 `json:"doubled"`   // arrivals beyond the first
	Refused   uint64 `json:"refused"`   // never arrived because the sink refused them on purpose
	// Bytes in the log files of what is written and of what is missing.
	WrittenBytes uint64 `json:"written_bytes"`
	MissingBytes uint64 `json:"missing_bytes"`
}

func (s *Sum) add(o *Sum) {
	s.Written += o.Written
	s.Delivered += o.Delivered
	s.Missing += o.Missing
	s.Extra += o.Extra
	s.Different += o.Different
	s.Doubled += o.Doubled
	s.Refused += o.Refused
	s.WrittenBytes += o.WrittenBytes
	s.MissingBytes += o.MissingBytes
}

// Bad reports whether anything is missing, extra, different or doubled.
func (s Sum) Bad() bool { return s.Missing|s.Extra|s.Different|s.Doubled != 0 }

// Where points at one line.
type Where struct {
	What   string `json:"what"` // missing, extra, different, doubled
	Stream string `json:"stream"`
	Seq    uint64 `json:"seq"`
	Gen    uint32 `json:"generation"`
	Offset uint64 `json:"offset"`
}

// Loss is what is missing of one generation.
type Loss struct {
	Stream string `json:"stream"`
	Gen    uint32 `json:"generation"`
	Name   string `json:"name"` // the file's last name
	Lines  uint64 `json:"lines"`
	Bytes  uint64 `json:"bytes"`
	Size   uint64 `json:"size"`    // of the whole generation
	Gone   bool   `json:"deleted"` // the rotator deleted the file
}

// Verdict is the comparison of an account with the generator's journal.
type Verdict struct {
	Complete bool            `json:"complete"` // the generator had finished
	Total    Sum             `json:"total"`
	Foreign  uint64          `json:"foreign"`
	Streams  map[string]*Sum `json:"streams,omitempty"`
	Lost     []Loss          `json:"lost,omitempty"`
	Examples []Where         `json:"examples,omitempty"` // the first few of each kind
}

// Err returns nil if the generator had finished and every line arrived exactly
// once with the right bytes, else an error that says what is wrong.
func (v *Verdict) Err() error {
	var why []string
	if !v.Complete {
		why = append(why, "the generator's journal is not complete")
	}
	if t := v.Total; t.Bad() {
		why = append(why, fmt.Sprintf("of %d lines missing %d (%d bytes), extra %d, different %d, doubled %d",
			t.Written, t.Missing, t.MissingBytes, t.Extra, t.Different, t.Doubled))
		for i, e := range v.Examples {
			if i == 8 {
				break
			}
			why = append(why, fmt.Sprintf("%s %s n=%d (generation %d offset %d)", e.What, e.Stream, e.Seq, e.Gen, e.Offset))
		}
	}
	if len(why) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(why, "\n\t"))
}

const maxExamples = 5

// Verify compares a with the generator's journal at path.
func (a *Account) Verify(path string) (*Verdict, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := &Verdict{Foreign: a.stats.Foreign, Streams: make(map[string]*Sum)}
	type key struct {
		stream uint32
		seq    uint64
	}
	more := make(map[key][]uint64)
	for _, g := range a.again {
		k := key{g.stream, g.seq}
		more[k] = append(more[k], g.hash)
	}
	examples := make(map[string]int)
	example := func(w Where) {
		if examples[w.What]++; examples[w.What] <= maxExamples {
			v.Examples = append(v.Examples, w)
		}
	}
	type genKey struct{ stream, gen uint32 }
	type written struct {
		journal.Stream
		sum  *Sum
		came *stream
		seen []bool // numbers the generator wrote
	}
	streams := make(map[uint32]*written)
	last := make(map[genKey]journal.Generation)
	gone := make(map[genKey]bool)
	lost := make(map[genKey]*Loss)
	lose := func(w *written, gen uint32, lines, bytes uint64) {
		k := genKey{w.Index, gen}
		l := lost[k]
		if l == nil {
			l = &Loss{Stream: w.Name, Gen: gen}
			lost[k] = l
		}
		l.Lines += lines
		l.Bytes += bytes
	}
	complete, err := journal.Read(path, journal.Visitor{
		Stream: func(s journal.Stream) {
			sum := new(Sum)
			v.Streams[s.Name] = sum
			streams[s.Index] = &written{Stream: s, sum: sum, came: a.streams[s.Name]}
		},
		Generation: func(g journal.Generation) {
			k := genKey{g.Stream, g.Gen}
			if g.Event == journal.Deleted {
				gone[k] = true
			}
			last[k] = g
		},
		Line: func(l journal.Line) {
			w := streams[l.Stream]
			w.sum.Written++
			w.sum.WrittenBytes += uint64(l.Bytes)
			for uint64(len(w.seen)) <= l.Seq {
				w.seen = append(w.seen, false)
			}
			w.seen[l.Seq] = true
			at := Where{Stream: w.Name, Seq: l.Seq, Gen: l.Gen, Offset: l.Start}
			want := l.Hash
			if want == 0 {
				want = 1
			}
			if w.came == nil || uint64(len(w.came.hash)) <= l.Seq || w.came.hash[l.Seq] == 0 {
				if w.came != nil && w.came.refused[l.Seq] {
					w.sum.Refused++
					return
				}
				w.sum.Missing++
				w.sum.MissingBytes += uint64(l.Bytes)
				lose(w, l.Gen, 1, uint64(l.Head))
				if l.Bytes > l.Head {
					lose(w, l.Last, 0, uint64(l.Bytes-l.Head))
				}
				at.What = "missing"
				example(at)
				return
			}
			right := w.came.hash[l.Seq] == want
			if !right {
				w.sum.Different++
				at.What = "different"
				example(at)
			}
			for _, h := range more[key{w.came.index, l.Seq}] {
				w.sum.Doubled++
				at.What = "doubled"
				example(at)
				if h != want {
					w.sum.Different++
					at.What = "different"
					example(at)
				} else {
					right = true
				}
			}
			if right {
				w.sum.Delivered++
			}
		},
	})
	if err != nil {
		return nil, err
	}
	v.Complete = complete
	byName := make(map[string]*written)
	for _, w := range streams {
		byName[w.Name] = w
	}
	for _, name := range slices.Sorted(maps.Keys(a.streams)) {
		s, w := a.streams[name], byName[name]
		for seq, h := range s.hash {
			if h == 0 || w != nil && seq < len(w.seen) && w.seen[seq] {
				continue
			}
			if v.Streams[name] == nil {
				v.Streams[name] = new(Sum)
			}
			v.Streams[name].Extra += 1 + uint64(len(more[key{s.index, uint64(seq)}]))
			example(Where{What: "extra", Stream: name, Seq: uint64(seq)})
		}
	}
	for _, s := range v.Streams {
		v.Total.add(s)
	}
	v.Total.Extra += a.stats.Absurd
	if n := a.stats.Again; n > uint64(len(a.again)) {
		v.Total.Doubled += n - uint64(len(a.again)) // counted, their bytes not compared
	}
	for k, l := range lost {
		l.Name, l.Size, l.Gone = last[k].Name, last[k].Size, gone[k]
		v.Lost = append(v.Lost, *l)
	}
	slices.SortFunc(v.Lost, func(x, y Loss) int {
		if c := strings.Compare(x.Stream, y.Stream); c != 0 {
			return c
		}
		return int(x.Gen) - int(y.Gen)
	})
	return v, nil
}
