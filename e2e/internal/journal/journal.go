// Package journal is the generator's own record of what it wrote, and the form
// of the lines it writes. It is the truth that verdicts are measured against;
// it knows nothing of weir.
//
// The file is a magic line followed by records: a kind byte, then fixed-width
// little-endian integers, and strings as a 16-bit length and bytes. A reader
// stops without an error at a record that is not complete yet.
package journal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const magic = "weir-e2e-journal 1\n"

// Stream is one life of a container: one restart number of one pod.
type Stream struct {
	Index     uint32 // number in this journal, from 0
	Name      string // what lines carry as s
	Namespace string
	Pod       string
	UID       string
	Container string
	Restart   uint32
}

// What happens to a generation (one life of one log file).
const (
	Born       = 'b'
	Rotated    = 'r' // renamed; Size is not final until the next generation's Born
	Closed     = 'c' // no byte will follow; Size is final
	Compressed = 'z' // the .gz is in place, the plain file is gone
	Deleted    = 'd'
)

// Generation is an event in the life of a log file.
type Generation struct {
	Stream uint32
	Gen    uint32 // number within the stream, from 0
	Event  byte
	Size   uint64 // uncompressed bytes so far
	Time   time.Time
	Name   string // path relative to the root
}

// Line is one line as the container wrote it, however many pieces the runtime
// made of it.
type Line struct {
	Stream uint32
	Gen    uint32 // of the first piece
	Last   uint32 // of the last piece
	Bytes  uint32 // in the log files, all pieces with their headers and newlines
	Len    uint32 // of the message
	Seq    uint64
	Hash   uint64 // of the payload
	Start  uint64 // offset of the first piece in Gen
	Head   uint32 // bytes of it in Gen; Bytes-Head are in later generations
}

// End is the journal's last record.
type End struct {
	Lines uint64
	Bytes uint64
}

// Writer writes a journal. Safe for concurrent use. Errors stick and come out
// of Flush and Close.
type Writer struct {
	mu    sync.Mutex
	f     *os.File
	w     *bufio.Writer
	buf   []byte
	err   error
	total End
}

// Create makes a new journal file.
func Create(path string) (*Writer, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	w := &Writer{f: f, w: bufio.NewWriterSize(f, 256<<10)}
	_, w.err = w.w.WriteString(magic)
	return w, nil
}

func (w *Writer) put(b []byte) {
	w.buf = b
	if w.err == nil {
		_, w.err = w.w.Write(b)
	}
}

func str(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// Stream notes a new stream.
func (w *Writer) Stream(s Stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := append(w.buf[:0], 'S')
	b = binary.LittleEndian.AppendUint32(b, s.Index)
	b = binary.LittleEndian.AppendUint32(b, s.Restart)
	for _, v := range []string{s.Name, s.Namespace, s.Pod, s.UID, s.Container} {
		b = str(b, v)
	}
	w.put(b)
}

// Generation notes an event.
func (w *Writer) Generation(g Generation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := append(w.buf[:0], 'G', g.Event)
	b = binary.LittleEndian.AppendUint32(b, g.Stream)
	b = binary.LittleEndian.AppendUint32(b, g.Gen)
	b = binary.LittleEndian.AppendUint64(b, g.Size)
	b = binary.LittleEndian.AppendUint64(b, uint64(g.Time.UnixNano()))
	w.put(str(b, g.Name))
}

// Line notes a line that stands completely in the log files.
func (w *Writer) Line(l Line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := append(w.buf[:0], 'L')
	for _, v := range [...]uint32{l.Stream, l.Gen, l.Last, l.Bytes, l.Len, l.Head} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	for _, v := range [...]uint64{l.Seq, l.Hash, l.Start} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	w.put(b)
	w.total.Lines++
	w.total.Bytes += uint64(l.Bytes)
}

// Totals returns what was written so far.
func (w *Writer) Totals() End {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}

// Flush hands everything to the operating system, for readers.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = w.w.Flush()
	}
	return w.err
}

// Close writes the end record, which says that the journal is complete, and
// closes the file.
func (w *Writer) Close() error {
	w.mu.Lock()
	b := append(w.buf[:0], 'E')
	b = binary.LittleEndian.AppendUint64(b, w.total.Lines)
	b = binary.LittleEndian.AppendUint64(b, w.total.Bytes)
	w.put(b)
	w.mu.Unlock()
	err := w.Flush()
	return errors.Join(err, w.f.Close())
}

// Visitor gets the records of a journal in order; nil functions skip theirs.
type Visitor struct {
	Stream     func(Stream)
	Generation func(Generation)
	Line       func(Line)
}

// Read reads the journal at path. complete says that the generator had closed
// it and that the end record agrees with the lines.
func Read(path string, v Visitor) (complete bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("open journal: %w", err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r, head); err != nil || string(head) != magic {
		return false, fmt.Errorf("%s is not a journal of the generator", path)
	}
	var fixed [64]byte
	get := func(n int) ([]byte, error) { _, err := io.ReadFull(r, fixed[:n]); return fixed[:n], err }
	text := func() (string, error) {
		b, err := get(2)
		if err != nil {
			return "", err
		}
		s := make([]byte, binary.LittleEndian.Uint16(b))
		_, err = io.ReadFull(r, s)
		return string(s), err
	}
	u32, u64 := binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	var sum End
	read := func() (bool, error) {
		kind, err := r.ReadByte()
		if err != nil {
			return false, err
		}
		switch kind {
		case 'S':
			b, err := get(8)
			if err != nil {
				return false, err
			}
			s := Stream{Index: u32(b), Restart: u32(b[4:])}
			for _, p := range []*string{&s.Name, &s.Namespace, &s.Pod, &s.UID, &s.Container} {
				if *p, err = text(); err != nil {
					return false, err
				}
			}
			if v.Stream != nil {
				v.Stream(s)
			}
		case 'G':
			b, err := get(25)
			if err != nil {
				return false, err
			}
			g := Generation{Event: b[0], Stream: u32(b[1:]), Gen: u32(b[5:]), Size: u64(b[9:]), Time: time.Unix(0, int64(u64(b[17:])))}
			if g.Name, err = text(); err != nil {
				return false, err
			}
			if v.Generation != nil {
				v.Generation(g)
			}
		case 'L':
			b, err := get(48)
			if err != nil {
				return false, err
			}
			l := Line{
				Stream: u32(b), Gen: u32(b[4:]), Last: u32(b[8:]), Bytes: u32(b[12:]), Len: u32(b[16:]), Head: u32(b[20:]),
				Seq: u64(b[24:]), Hash: u64(b[32:]), Start: u64(b[40:]),
			}
			sum.Lines++
			sum.Bytes += uint64(l.Bytes)
			if v.Line != nil {
				v.Line(l)
			}
		case 'E':
			b, err := get(16)
			if err != nil {
				return false, err
			}
			if end := (End{u64(b), u64(b[8:])}); end != sum {
				return false, fmt.Errorf("journal %s: its end says %+v, its lines say %+v", path, end, sum)
			}
			return true, nil
		default:
			return false, fmt.Errorf("journal %s: unknown record kind %q", path, kind)
		}
		return false, nil
	}
	for {
		done, err := read()
		switch {
		case done:
			return true, nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return false, nil
		case err != nil:
			return false, err
		}
	}
}
