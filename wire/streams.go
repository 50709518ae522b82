package wire

import (
	"strings"

	"github.com/weirlog/weir/record"
)

// MaxCachedStreams is how many streams a Streams keeps: those in use and the
// ones used last.
const MaxCachedStreams = 2048

// Streams keeps what an encoder makes of each Stream, such as its encoded
// names, so that they cost a record nothing but a copy. It is for one
// goroutine.
type Streams[T any] struct {
	build func(*record.Stream) *T
	known map[*record.Stream]*T // used since old was known
	old   map[*record.Stream]*T // used before
	batch *record.Batch
	cur   []*T // by index into the batch's stream table
}

// NewStreams returns an empty cache that fills itself with build.
func NewStreams[T any](build func(*record.Stream) *T) *Streams[T] {
	return &Streams[T]{build: build, known: make(map[*record.Stream]*T), old: make(map[*record.Stream]*T)}
}

// Use says that the next calls of Get are about b. It must be called whenever
// records of a batch follow, also of one seen before: batches are used again.
func (s *Streams[T]) Use(b *record.Batch) {
	n := len(b.Streams())
	if cap(s.cur) < n {
		s.cur = make([]*T, n, n+n/2+8)
	}
	s.cur = s.cur[:n]
	clear(s.cur)
	s.batch = b
}

// Get returns what was made of entry i of the batch's stream table.
func (s *Streams[T]) Get(i uint16) *T {
	if e := s.cur[i]; e != nil {
		return e
	}
	return s.find(i)
}

func (s *Streams[T]) find(i uint16) *T {
	st := s.batch.Streams()[i].Stream
	e := s.known[st]
	if e == nil {
		if len(s.known) >= MaxCachedStreams/2 {
			// Pods come and go; what was not used for so long is gone.
			clear(s.old)
			s.known, s.old = s.old, s.known
		}
		if e = s.old[st]; e == nil {
			e = s.build(st)
		}
		s.known[st] = e
	}
	s.cur[i] = e
	return e
}

// Done forgets the batch given to Use, so that the cache does not keep it.
func (s *Streams[T]) Done() { s.batch = nil }

// Choose returns the members of set that are named in names, in set's order.
// A name that ends in * stands for all that begin with what is before it.
func Choose(set []record.Attr, names []string) []record.Attr {
	var out []record.Attr
	for _, a := range set {
		for _, n := range names {
			p, glob := strings.CutSuffix(n, "*")
			if glob && strings.HasPrefix(a.Name, p) || a.Name == n {
				out = append(out, a)
				break
			}
		}
	}
	return out
}

// Unique returns name, with as many underscores behind it as it takes to
// differ from all names handed out before, which used holds. Two label names
// may become one when they are rewritten for a destination; neither must be
// lost.
func Unique(used map[string]bool, name string) string {
	for used[name] {
		name += "_"
	}
	used[name] = true
	return name
}

// IsAttr reports whether name is a canonical name of a stream's attribute.
func IsAttr(name string) bool {
	switch name {
	case record.AttrCluster, record.AttrNode, record.AttrNamespace, record.AttrPod, record.AttrPodUID,
		record.AttrContainer, record.AttrContainerID, record.AttrRestart, record.AttrImage,
		record.AttrWorkload, record.AttrApp, record.AttrService, record.AttrStream, record.AttrInput,
		record.AttrFile:
		return true
	}
	return false
}
