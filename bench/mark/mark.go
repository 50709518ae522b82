// Package mark is what a generated line says about itself, so that a sink can
// tell without a journal whether it has arrived, once, and whole.
//
//	~3.12345.89abcdef~payload
//
// is the line 12345 of stream 3, and the hash is that of the payload and both
// numbers. The payload reaches to the end of the JSON string or logfmt value
// that the mark stands in, else to the end of the line. A tilde stands nowhere
// else in a generated line, no encoding escapes it, and whatever a shipper does
// to a line (merges its members, quotes it, quotes it twice, puts names before
// it), the mark is found by its first byte: this is what makes verifying cheaper
// than what is verified.
package mark

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"github.com/zeebo/xxh3"
)

// A Mark names a line: from 0, without holes, per stream.
type Mark struct {
	Stream uint32
	Seq    uint32
}

// A Verdict is what Find says of a record.
type Verdict int

// The verdicts.
const (
	None    Verdict = iota // no mark
	Whole                  // the payload is what was written
	Altered                // it is not
)

// Hash is the payload's hash in line m.
func Hash(m Mark, payload []byte) uint32 {
	return uint32(xxh3.HashSeed(payload, uint64(m.Stream)<<32|uint64(m.Seq)))
}

const digits = "0123456789abcdef"

// Append appends the mark of a line with this payload, without the payload.
func Append(dst []byte, m Mark, payload []byte) []byte {
	dst = append(dst, '~')
	dst = strconv.AppendUint(dst, uint64(m.Stream), 10)
	dst = append(dst, '.')
	dst = strconv.AppendUint(dst, uint64(m.Seq), 10)
	dst = append(dst, '.')
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], Hash(m, payload))
	for _, c := range b {
		dst = append(dst, digits[c>>4], digits[c&15])
	}
	return append(dst, '~')
}

// A Finder finds marks. It is for one goroutine.
type Finder struct {
	// Strange, if not nil, is told of every record that is not Whole.
	Strange func(record []byte, v Verdict)

	outer, inner []byte // unescaped text
}

func (f *Finder) told(record []byte, m Mark, v Verdict) (Mark, Verdict) {
	if v != Whole && f.Strange != nil {
		f.Strange(record, v)
	}
	return m, v
}

// InLine finds the mark of a line as the container wrote it, with something
// before it, or in a JSON document. The line has no newline at its end.
func (f *Finder) InLine(line []byte) (Mark, Verdict) {
	m, v := f.inLine(line)
	return f.told(line, m, v)
}

func (f *Finder) inLine(line []byte) (Mark, Verdict) {
	if len(line) > 1 && line[0] == '{' && line[len(line)-1] == '}' {
		return f.inDoc(line)
	}
	i := bytes.IndexByte(line, '~')
	if i < 0 {
		return Mark{}, None
	}
	if i > 0 && line[i-1] == '"' {
		return f.quoted(line, i)
	}
	return judge(line[i:])
}

// InDoc finds the mark in a JSON document: in one of its strings, or in a JSON
// object or logfmt line that one of its strings holds.
func (f *Finder) InDoc(doc []byte) (Mark, Verdict) {
	m, v := f.inDoc(doc)
	return f.told(doc, m, v)
}

func (f *Finder) inDoc(doc []byte) (Mark, Verdict) {
	i := bytes.IndexByte(doc, '~')
	if i < 1 {
		return Mark{}, None
	}
	switch {
	case doc[i-1] != '"': // text within a string
		return f.quoted(doc, i)
	case i > 1 && doc[i-2] == '\\': // the line was quoted in the string
		f.outer = unquote(f.outer[:0], doc[i:])
		return f.quoted(f.outer, 0)
	}
	return f.quoted(doc, i)
}

// quoted judges what stands from i to the string's closing quote.
func (f *Finder) quoted(text []byte, i int) (Mark, Verdict) {
	rest := text[i:]
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return judge(rest)
	}
	if bytes.IndexByte(rest[:end], '\\') < 0 {
		return judge(rest[:end])
	}
	f.inner = unquote(f.inner[:0], rest)
	return judge(f.inner)
}

// judge reads a mark and its payload, which reaches to the end of text.
func judge(text []byte) (Mark, Verdict) {
	p := text[1:]
	stream, p, ok := number(p)
	if !ok {
		return Mark{}, None
	}
	seq, p, ok := number(p)
	if !ok || len(p) < 9 || p[8] != '~' {
		return Mark{}, None
	}
	var hash uint32
	for _, c := range p[:8] {
		switch {
		case c >= '0' && c <= '9':
			hash = hash<<4 | uint32(c-'0')
		case c >= 'a' && c <= 'f':
			hash = hash<<4 | uint32(c-'a'+10)
		default:
			return Mark{}, None
		}
	}
	m := Mark{stream, seq}
	if Hash(m, p[9:]) != hash {
		return m, Altered
	}
	return m, Whole
}

// number reads decimal digits and the point behind them.
func number(p []byte) (n uint32, rest []byte, ok bool) {
	for i, c := range p {
		switch {
		case c >= '0' && c <= '9' && i < 9:
			n = n*10 + uint32(c-'0')
		case c == '.' && i > 0:
			return n, p[i+1:], true
		default:
			return 0, nil, false
		}
	}
	return 0, nil, false
}
