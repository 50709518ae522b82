package wire

import (
	"errors"
	"fmt"
	"sync"

	"github.com/weirlog/weir/record"
)

// Limits bound what a pushed request may hold, beside its size. A field of zero
// means the default, which the comments give.
type Limits struct {
	Entries       int // records of a request; 1 048 576
	Labels        int // names of a stream; 64
	NameBytes     int // of a name; 1 024
	ValueBytes    int // of the value of a stream's label; 2 048
	Metadata      int // pairs of structured metadata, or attributes, of a record; 128
	MetadataBytes int // of a record's names and values of metadata; 64 KiB
}

// WithDefaults returns the limits with the defaults in the place of zeros.
func (l Limits) WithDefaults() Limits {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&l.Entries, 1<<20)
	def(&l.Labels, 64)
	def(&l.NameBytes, 1024)
	def(&l.ValueBytes, 2048)
	def(&l.Metadata, 128)
	def(&l.MetadataBytes, 64<<10)
	return l
}

// MaxStreams is how many streams a request may have: as many as the stream table
// of a batch takes.
const MaxStreams = 1<<16 - 1

// ErrTooMany is in the chain of a decoder's error when the request has more
// streams or records than a batch or the limits allow: the sender should split
// it.
var ErrTooMany = errors.New("split the request")

// MaxReasons is how many refusals an Outcome describes.
const MaxReasons = 10

// Outcome is what a decoder found in a well-formed request: not every record of
// one can be taken.
type Outcome struct {
	Streams  int      // with their refused ones
	Records  int      // with their refused ones
	Refused  int      // records that are not in the batch
	Reasons  []string // where and why, of the first MaxReasons refusals
	Unlisted int      // refusals beyond
}

// Refuse counts n records as refused, for the reason given.
func (o *Outcome) Refuse(n int, format string, args ...any) {
	o.Refused += n
	if len(o.Reasons) == MaxReasons {
		o.Unlisted++
		return
	}
	o.Reasons = append(o.Reasons, fmt.Sprintf(format, args...))
}

// StreamCache keeps the Streams of those who push, by what they wrote in their
// requests, so that a Stream keeps its pointer and its labels are parsed once. It
// is shared by decoders and safe for concurrent use. The zero StreamCache is
// ready.
type StreamCache struct {
	mu    sync.Mutex
	known map[string]*PushedStream // used since old was known
	old   map[string]*PushedStream // used before
	bytes int                      // of the keys in known
}

// PushedStream is a Stream of a request and what its names say of the level of
// its records.
type PushedStream struct {
	Stream   *record.Stream
	Severity record.Severity
}

// Bounds of half a StreamCache: a cache that forgets everything at once would
// make a burst of work of it.
const (
	maxPushedStreams = 1 << 14
	maxPushedBytes   = 8 << 20
	maxPushedKey     = 256 << 10 // longer ones are not kept
)

// Get returns what was put under the key, nil if it is not known (any more).
func (c *StreamCache) Get(key []byte) *PushedStream {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.known[string(key)]
	if s == nil {
		if s = c.old[string(key)]; s != nil {
			c.put(string(key), s)
		}
	}
	return s
}

// Put keeps s under the key and returns it, or what another decoder has put
// there in the meantime.
func (c *StreamCache) Put(key []byte, s *PushedStream) *PushedStream {
	if len(key) > maxPushedKey {
		return s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.known[string(key)]; have != nil {
		return have
	}
	c.put(string(key), s)
	return s
}

func (c *StreamCache) put(key string, s *PushedStream) {
	if len(c.known) >= maxPushedStreams || c.bytes+len(key) > maxPushedBytes {
		c.old, c.known, c.bytes = c.known, nil, 0
	}
	if c.known == nil {
		c.known = make(map[string]*PushedStream)
	}
	c.known[key] = s
	c.bytes += len(key)
}

// Keys finds the indexes of field names in a batch's key table. Records of a
// request mostly have the same names in the same order: a comparison takes the
// place of the search. It is for one goroutine; Reset it for each batch.
type Keys struct {
	last []uint16 // by position in a record
}

// Reset forgets the batch before.
func (k *Keys) Reset() { k.last = k.last[:0] }

// Index returns the index of the name, that of the record's field number pos.
func (k *Keys) Index(b *record.Batch, pos int, name []byte) (key uint16, ok bool) {
	if pos < len(k.last) && b.KeyName(k.last[pos]) == string(name) {
		return k.last[pos], true
	}
	if key, ok = b.Key(name); !ok {
		return 0, false
	}
	if pos < len(k.last) {
		k.last[pos] = key
	} else if pos == len(k.last) {
		k.last = append(k.last, key)
	}
	return key, true
}
