// Package line writes records as lines for people, and as bare lines for
// programs; and it is where lines get their looks, wherever they come from
// (Painter):
//
//	2026-11-22 10:00:00.000 INFO  shop/checkout-7d9c5b6f4-abcde checkout │ order accepted order=12 items=3
//
// JSON, logfmt, klog and zap's console format are made readable: the message
// first, then what else the line says as key=value; what stands before it
// already, its time and its level, is not repeated. Nothing is cut. What only
// looks like one of these is shown as it is.
//
// Programs log what they like, and a terminal obeys what it is shown. So
// everything that could move the cursor, change titles, hide text or pretend to
// be another line is written as an escape such as \x1b: control bytes (but
// tabs), bytes that are not UTF-8, C1 controls, the Unicode line and paragraph
// separators and the marks that change the direction of text. Of a program's
// own colours those that leave text readable are shown where colours are
// wanted, and end with the row; elsewhere they are left out. Every row of a
// line with several has the prefix.
package line

import (
	"bytes"
	"path"
	"strings"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// Config says how records are written.
type Config struct {
	// Raw writes bodies as they are, each with a line feed, and nothing else.
	// It is for pipes and files, never for a terminal.
	Raw bool
	// RawPrefix, with Raw, writes "[name] " before every line, name being the last
	// part of the path of the file that it stood in (record.AttrFile).
	RawPrefix bool
	// Style is how lines look, without Raw.
	Style
}

// Encoder writes lines. It is for one goroutine.
type Encoder struct {
	cfg     Config
	paint   *Painter
	streams *wire.Streams[Who]
	files   *wire.Streams[[]byte] // for RawPrefix
	item    Item
	pairs   []Pair
}

// New returns an encoder.
func New(cfg Config) *Encoder {
	e := &Encoder{cfg: cfg, paint: NewPainter(cfg.Style)}
	e.streams = wire.NewStreams(func(s *record.Stream) *Who {
		return e.paint.Who(func(name string) string { return s.Get(name) }, s.Get(record.AttrInput))
	})
	e.files = wire.NewStreams(func(s *record.Stream) *[]byte {
		// Names of files are anybody's, and lines end at a line feed.
		name := strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return '?'
			}
			return r
		}, path.Base(s.Get(record.AttrFile)))
		prefix := []byte("[" + name + "] ")
		return &prefix
	})
	return e
}

// Clone returns an encoder of the same configuration for another goroutine. It
// gives the same names the same colours.
func (e *Encoder) Clone() *Encoder {
	c := New(e.cfg)
	c.paint.hues = e.paint.hues
	return c
}

// Append appends the lines of the parts' records, in order.
func (e *Encoder) Append(dst []byte, parts []record.Part) []byte {
	for _, p := range parts {
		b := p.Batch()
		if e.cfg.Raw && e.cfg.RawPrefix {
			dst = e.appendPrefixed(dst, p)
			continue
		}
		if e.cfg.Raw {
			for _, i := range p.Index() {
				dst = append(dst, b.Body(int(i))...)
				dst = append(dst, '\n')
			}
			continue
		}
		e.streams.Use(b)
		it := &e.item
		for _, i := range p.Index() {
			r := b.Record(int(i))
			it.Time, it.Severity, it.Body = r.Time, r.Severity, b.Body(int(i))
			it.Who = e.streams.Get(r.Stream)
			it.Pairs = e.pairs[:0]
			for _, f := range b.Fields(int(i)) {
				it.Pairs = append(it.Pairs, Pair{b.KeyName(f.Key), b.Bytes(f.Val)})
			}
			e.pairs = it.Pairs
			dst = e.paint.Append(dst, it)
		}
		*it = Item{}
	}
	e.streams.Done()
	return dst
}

func (e *Encoder) appendPrefixed(dst []byte, p record.Part) []byte {
	b := p.Batch()
	e.files.Use(b)
	for _, i := range p.Index() {
		prefix := *e.files.Get(b.Record(int(i)).Stream)
		for line := range bytes.SplitSeq(b.Body(int(i)), []byte{'\n'}) {
			dst = append(append(append(dst, prefix...), line...), '\n')
		}
	}
	e.files.Done()
	return dst
}
