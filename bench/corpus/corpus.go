// Package corpus writes a node's container logs as containerd and kubelet do:
// <root>/<namespace>_<pod>_<uid>/<container>/0.log in the CRI format. 60 % of
// the lines are JSON, the rest text, klog and logfmt; a whole line of the file
// is 200 to 600 bytes, one of a thousand is 17 to 34 KiB and stands in pieces of
// 16 384 bytes. Times have their trailing zeros cut. Every line has a mark.
//
// Times aside, a corpus depends on its seed alone; with Config.Now unset on
// nothing else, byte for byte.
package corpus

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Config says what to write.
type Config struct {
	Root string
	Seed uint64
	// First is the number of the first stream, in names and marks.
	First uint32
	// Now is the time of the next line; by default a fixed day, each line up to
	// 2 ms later than the one before.
	Now func() time.Time
}

// A Stream writes the log of one container. It is for one goroutine.
type Stream struct {
	// Dir is the container's directory, Path its current file.
	Dir, Path string

	cfg  Config
	text *text
	at   time.Time
	body []byte
	buf  []byte // framed lines
	long int    // lines in pieces so far
}

var (
	namespaces = []string{"shop", "payments", "kube-system", "monitoring", "team-a"}
	workloads  = []string{"web", "orders", "cart", "coredns", "ingress-nginx", "worker", "ledger-api"}
)

// dirOf returns the directory of stream i's container beneath the root.
func dirOf(seed uint64, i uint32) string {
	h := uint64(i)*0x9e3779b97f4a7c15 ^ seed*0xd1342543de82ef95
	return fmt.Sprintf("%s_%s-%09x-%05x_%08x-%04x-4%03x-a%03x-%012x/app", namespaces[int(i)%len(namespaces)], workloads[int(i)%len(workloads)],
		h>>28, i, uint32(h), uint16(h>>32), h>>48&0xfff, h>>16&0xfff, i)
}

// NewStream makes the container's directory. The file is made by the first
// write to Path, which is the caller's.
func NewStream(cfg Config, number uint32) (*Stream, error) {
	s := &Stream{cfg: cfg, text: newText(cfg.Seed, number)}
	s.at = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	s.Dir = filepath.Join(cfg.Root, dirOf(cfg.Seed, number))
	s.Path = filepath.Join(s.Dir, "0.log")
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, err
	}
	return s, nil
}

// Lines is how many lines the stream has made.
func (s *Stream) Lines() uint32 { return s.text.seq }

// Next returns the next line as it stands in the file, in pieces if it is
// long. It is valid until the next call.
func (s *Stream) Next() []byte {
	if s.cfg.Now != nil {
		s.at = s.cfg.Now().UTC()
	} else {
		s.at = s.at.Add(time.Duration(s.text.rng.IntN(2_000_000)))
	}
	var stderr bool
	s.body, stderr = s.text.line(s.body[:0], s.at)
	s.buf = s.buf[:0]
	name := " stdout "
	if stderr {
		name = " stderr "
	}
	body, at := s.body, s.at
	if len(body) > piece {
		s.long++
	}
	for first := true; len(body) > piece; first = false {
		s.frame(at, name, 'P', body[:piece])
		body = body[piece:]
		at = at.Add(1033 * time.Nanosecond)
		if first && s.long%2 == 0 {
			// The other stream of the container writes while this one has not
			// finished its line.
			other := " stderr "
			if stderr {
				other = " stdout "
			}
			s.between(at, other)
		}
	}
	s.frame(at, name, 'F', body)
	return s.buf
}

// piece is what containerd writes of a line at once.
const piece = 16384

func (s *Stream) between(at time.Time, name string) {
	// A text of its own: this one's payload is being framed.
	t := &text{rng: s.text.rng, words: s.text.words, stream: s.text.stream, seq: s.text.seq}
	var line []byte
	for {
		line, _ = t.line(line[:0], at)
		if len(line) <= piece {
			break
		}
		t.seq = s.text.seq // too long to stand here: another one
	}
	s.text.seq = t.seq
	s.frame(at, name, 'F', line)
}

func (s *Stream) frame(at time.Time, name string, tag byte, body []byte) {
	s.buf = at.AppendFormat(s.buf, time.RFC3339Nano)
	s.buf = append(s.buf, name...)
	s.buf = append(s.buf, tag, ' ')
	s.buf = append(s.buf, body...)
	s.buf = append(s.buf, '\n')
}

// A Corpus is what was written: the truth that a verdict is measured by.
type Corpus struct {
	Root  string   `json:"root"`
	Bytes int64    `json:"bytes"` // of the files
	Lines []uint32 `json:"lines"` // per stream
}

// Total is the number of lines.
func (c *Corpus) Total() (n uint64) {
	for _, l := range c.Lines {
		n += uint64(l)
	}
	return n
}

// Write writes files of equal size for so many streams, bytes in all, or a line
// more per stream.
func Write(cfg Config, streams int, bytes int64) (*Corpus, error) {
	c := &Corpus{Root: cfg.Root}
	buf := make([]byte, 0, 1<<20)
	for i := range streams {
		s, err := NewStream(cfg, cfg.First+uint32(i))
		if err != nil {
			return nil, err
		}
		f, err := os.Create(s.Path)
		if err != nil {
			return nil, err
		}
		var size int64
		for size < bytes/int64(streams) {
			line := s.Next()
			size += int64(len(line))
			if buf = append(buf, line...); len(buf) > 1<<20-64<<10 {
				if _, err := f.Write(buf); err != nil {
					return nil, err
				}
				buf = buf[:0]
			}
		}
		_, err = f.Write(buf)
		buf = buf[:0]
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return nil, err
		}
		c.Bytes += size
		c.Lines = append(c.Lines, s.Lines())
	}
	return c, nil
}
