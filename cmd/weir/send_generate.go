package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weirlog/weir/demo"
	"github.com/weirlog/weir/record"
)

// sendSource is where the lines of one client come from.
type sendSource interface {
	// next appends a line to dst, and returns which of the client's lines it is.
	// At the end of the lines it is io.EOF.
	next(dst []byte) (line []byte, number uint32, err error)
}

// generator makes lines as the programs of the demo's cluster write them, in an
// order that its seed and its client choose. The end of each says which line of
// which client of which run it is, and what stood before, so that whoever finds
// it can tell whether it is whole:
//
//	… weir-send=RUN/CLIENT/NUMBER/SUM
//	{…,"weir_send":"RUN/CLIENT/NUMBER/SUM"}
type generator struct {
	run    string
	client int
	lines  [][]byte
	at     uint64
	number uint32
	size   int // of a line; 0: as they are
}

// lineTexts returns n lines of the style text, json or mixed.
func lineTexts(seed uint64, style string, n int) [][]byte {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := demo.New(demo.Config{Seed: seed, Start: start, Now: start.Add(time.Hour), Rate: 100})
	lines := make([][]byte, 0, n)
	for tries := 0; len(lines) < n && tries < 200*n; tries++ {
		e := c.Next()
		if e.Text == "" || len(e.Text) > 16<<10 || strings.ContainsAny(e.Text, "\r\n\x00") || !utf8.ValidString(e.Text) {
			continue
		}
		object := isObject(e.Text)
		if style == "json" && !object || style == "text" && object || strings.TrimSpace(e.Text) != e.Text {
			continue
		}
		lines = append(lines, []byte(e.Text))
	}
	return lines
}

func isObject[T string | []byte](text T) bool {
	return len(text) > 2 && text[0] == '{' && text[len(text)-1] == '}'
}

// filler makes lines longer.
const filler = " the quick brown fox jumps over the lazy dog and writes a line about it"

const markText, markJSON = " weir-send=", `,"weir_send":"`

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (g *generator) next(dst []byte) ([]byte, uint32, error) {
	// A step that has no divisor in common with the number of lines visits all of
	// them, in another order for each client.
	text := g.lines[(g.at*7919+uint64(g.client)*104729)%uint64(len(g.lines))]
	g.at++
	n := g.number
	g.number++
	return appendMarked(dst, text, g.run, g.client, n, g.size), n, nil
}

// appendMarked appends the text and which line it is. If size is not 0 the text
// is cut or made longer, as far as a JSON object can be.
func appendMarked(dst, text []byte, run string, client int, number uint32, size int) []byte {
	mark, end := markText, ""
	object := isObject(text)
	if object {
		text, mark, end = text[:len(text)-1], markJSON, `"}`
	}
	var buf [64]byte
	id := append(buf[:0], run...)
	id = append(id, '/')
	id = strconv.AppendInt(id, int64(client), 10)
	id = append(id, '/')
	id = strconv.AppendUint(id, uint64(number), 10)
	id = append(id, '/')
	begin := len(dst)
	room := size - len(mark) - len(id) - 8 - len(end)
	switch {
	case size == 0:
		dst = append(dst, text...)
	case object:
		dst = append(dst, text...)
		if more := room - len(text) - len(`,"more":""`); more > 0 {
			dst = append(dst, `,"more":"`...)
			dst = appendFiller(dst, more)
			dst = append(dst, '"')
		}
	default:
		dst = append(dst, text[:max(0, min(len(text), room))]...)
		dst = appendFiller(dst, room-len(text))
		for p := dst[begin:]; len(p) > 0; p = dst[begin:] { // not in the middle of a character
			if r, n := utf8.DecodeLastRune(p); r != utf8.RuneError || n != 1 {
				break
			}
			dst = dst[:len(dst)-1]
		}
	}
	sum := crc32.Update(crc32.Checksum(dst[begin:], castagnoli), castagnoli, id)
	dst = append(dst, mark...)
	dst = append(dst, id...)
	dst = hex.AppendEncode(dst, []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	return append(dst, end...)
}

func appendFiller(dst []byte, n int) []byte {
	for n > 0 {
		k := min(n, len(filler))
		dst = append(dst, filler[:k]...)
		n -= k
	}
	return dst
}

// readMark finds which line of a run it is. ok is false if it is none of that
// run; whole says that it is as it was sent.
func readMark(line []byte, run string) (client int, number uint32, whole, ok bool) {
	mark, end := markText, ""
	at := bytes.LastIndex(line, []byte(markText+run+"/"))
	if at < 0 {
		mark, end = markJSON, `"}`
		at = bytes.LastIndex(line, []byte(markJSON+run+"/"))
	}
	if at < 0 { // of an object that was written anew: {"weir_send": "…"
		i := bytes.LastIndex(line, []byte(run+"/"))
		if i < 0 {
			return 0, 0, false, false
		}
		c, n, _, ok := readNumbers(line[i+len(run)+1:])
		return c, n, false, ok
	}
	id := line[at+len(mark):]
	client, number, rest, ok := readNumbers(id[len(run)+1:])
	if !ok {
		return 0, 0, false, false
	}
	head := id[:len(id)-len(rest)]
	var sum [4]byte
	if len(rest) != 8+len(end) || string(rest[8:]) != end {
		return client, number, false, true
	}
	if _, err := hex.Decode(sum[:], rest[:8]); err != nil {
		return client, number, false, true
	}
	want := crc32.Update(crc32.Checksum(line[:at], castagnoli), castagnoli, head)
	got := uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3])
	return client, number, want == got, true
}

// readNumbers reads CLIENT/NUMBER/ and returns what is behind.
func readNumbers(p []byte) (client int, number uint32, rest []byte, ok bool) {
	a, rest, ok1 := bytes.Cut(p, []byte("/"))
	b, rest, ok2 := bytes.Cut(rest, []byte("/"))
	c, err1 := strconv.ParseUint(string(a), 10, 31)
	n, err2 := strconv.ParseUint(string(b), 10, 32)
	return int(c), uint32(n), rest, ok1 && ok2 && err1 == nil && err2 == nil
}

// fileSource gives the lines of files as they are. It is for one client.
type fileSource struct {
	r       *bufio.Reader
	number  uint32
	maxLine int
}

func (s *fileSource) next(dst []byte) ([]byte, uint32, error) {
	begin := len(dst)
	for {
		p, err := s.r.ReadSlice('\n')
		dst = append(dst, p...)
		if errors.Is(err, bufio.ErrBufferFull) {
			if len(dst)-begin < s.maxLine {
				continue
			}
			err = nil // the rest is a line of its own
		}
		if err != nil && (!errors.Is(err, io.EOF) || len(dst) == begin) {
			return dst, 0, err
		}
		dst = bytes.TrimSuffix(dst, []byte("\n"))
		if len(dst) > begin {
			dst = bytes.TrimSuffix(dst, []byte("\r"))
		}
		if len(dst) == begin {
			continue // an empty line
		}
		s.number++
		return dst, s.number - 1, nil
	}
}

// sendBatch is what one request sends.
type sendBatch struct {
	b       *record.Batch
	numbers []uint32
	bytes   int // of the lines
	scratch []byte
}

// fill puts up to lines lines and about most bytes into the batch. err is io.EOF
// when nothing is left behind them.
func (sb *sendBatch) fill(src sendSource, streams []*record.Stream, lines, most int, stamps *stamps) error {
	sb.b.Reset(nil)
	sb.numbers, sb.bytes = sb.numbers[:0], 0
	for len(sb.numbers) < lines && sb.bytes < most {
		line, n, err := src.next(sb.scratch[:0])
		sb.scratch = line
		if err != nil {
			return err
		}
		s := sb.b.AddStream(record.StreamRef{Stream: streams[int(n)%len(streams)]})
		span := sb.b.Append(line)
		now := stamps.next()
		sb.b.Add(record.Record{Time: now, Observed: now, Body: span, Source: span, Stream: s, Flags: record.TimeParsed})
		sb.numbers = append(sb.numbers, n)
		sb.bytes += len(line)
	}
	return nil
}

// stamps gives times that only go up, so that no two lines of a client are one
// to a server that keeps one of equals.
type stamps struct{ last int64 }

func (s *stamps) next() int64 {
	s.last = max(s.last+1, time.Now().UnixNano())
	return s.last
}
