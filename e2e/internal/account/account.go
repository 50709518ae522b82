// Package account keeps what arrived at a sink and compares it with what the
// generator wrote: which lines are missing, which came that nobody wrote, which
// came with other bytes and which came twice.
package account

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/weirlog/weir/e2e/internal/journal"
)

// maxAgain bounds the arrivals beyond the first that are kept with their hash;
// all are counted.
const maxAgain = 1 << 20

// maxSeq bounds the numbers a stream may have, so that a garbled number costs
// no memory.
const maxSeq = 1 << 28

// Account is what arrived. Safe for concurrent use.
type Account struct {
	mu      sync.Mutex
	streams map[string]*stream
	order   []*stream
	again   []again
	stats   Stats
	out     *bufio.Writer
	file    *os.File
	outErr  error
}

// stream holds the first arrival per number. Hash 0 is "not arrived"; a
// payload's real hash 0 is kept as 1.
type stream struct {
	index   uint32
	hash    []uint64
	id      []uint64
	refused map[uint64]bool
	last    uint64
	came    uint64
}

type again struct {
	stream uint32
	seq    uint64
	hash   uint64
}

// Stats are the counters of an account.
type Stats struct {
	Arrived    uint64 `json:"arrived"`      // marked documents stored
	Distinct   uint64 `json:"distinct"`     // distinct (stream, number)
	Again      uint64 `json:"again"`        // stored although (stream, number) was there: another id, or none
	SameID     uint64 `json:"same_id"`      // of these, under the id of the first (a sink without ids)
	Foreign    uint64 `json:"foreign"`      // stored without a mark
	Refused    uint64 `json:"refused"`      // distinct (stream, number) refused for good on purpose
	OutOfOrder uint64 `json:"out_of_order"` // arrived after a higher number of their stream
	Absurd     uint64 `json:"absurd"`       // number out of range
}

// New returns an empty account. If path is not empty every arrival is appended
// to that file, from which Load makes the account again.
func New(path string) (*Account, error) {
	a := &Account{streams: make(map[string]*stream)}
	if path == "" {
		return a, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open arrivals journal: %w", err)
	}
	a.file, a.out = f, bufio.NewWriterSize(f, 256<<10)
	return a, nil
}

// Add notes that a document was stored. id is a hash of the sink's document
// id, 0 if there was none.
func (a *Account) Add(m journal.Mark, id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.write('A', m, id)
	a.add(m, id)
}

func (a *Account) add(m journal.Mark, id uint64) {
	if m.Seq >= maxSeq {
		a.stats.Absurd++
		return
	}
	if m.Hash == 0 {
		m.Hash = 1
	}
	s := a.stream(m.Stream)
	a.stats.Arrived++
	for uint64(len(s.hash)) <= m.Seq {
		s.hash = append(s.hash, 0)
		s.id = append(s.id, 0)
	}
	if s.hash[m.Seq] != 0 {
		a.stats.Again++
		if id != 0 && id == s.id[m.Seq] {
			a.stats.SameID++
		}
		if len(a.again) < maxAgain {
			a.again = append(a.again, again{s.index, m.Seq, m.Hash})
		}
		return
	}
	s.hash[m.Seq], s.id[m.Seq] = m.Hash, id
	a.stats.Distinct++
	s.came++
	if m.Seq < s.last {
		a.stats.OutOfOrder++
	}
	s.last = max(s.last, m.Seq)
}

// Refuse notes that a document was refused for good on purpose, so that its
// absence is no loss.
func (a *Account) Refuse(m journal.Mark) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.write('R', m, 0)
	a.refuse(m)
}

func (a *Account) refuse(m journal.Mark) {
	s := a.stream(m.Stream)
	if s.refused == nil {
		s.refused = make(map[uint64]bool)
	}
	if !s.refused[m.Seq] {
		s.refused[m.Seq] = true
		a.stats.Refused++
	}
}

// Match reports whether exactly this (stream, number, bytes) has arrived.
func (a *Account) Match(m journal.Mark) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.Hash == 0 {
		m.Hash = 1
	}
	s := a.streams[m.Stream]
	return s != nil && m.Seq < uint64(len(s.hash)) && s.hash[m.Seq] == m.Hash
}

// Foreign notes a stored document without a mark.
func (a *Account) Foreign() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.write('F', journal.Mark{}, 0)
	a.stats.Foreign++
}

// Stats returns the counters.
func (a *Account) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stats
}

func (a *Account) stream(name string) *stream {
	s := a.streams[name]
	if s == nil {
		s = &stream{index: uint32(len(a.order))}
		a.streams[name] = s
		a.order = append(a.order, s)
	}
	return s
}

func (a *Account) write(kind byte, m journal.Mark, id uint64) {
	if a.out == nil || a.outErr != nil {
		return
	}
	var b [280]byte
	p := append(b[:0], kind)
	p = binary.LittleEndian.AppendUint64(p, m.Seq)
	p = binary.LittleEndian.AppendUint64(p, m.Hash)
	p = binary.LittleEndian.AppendUint64(p, id)
	p = binary.LittleEndian.AppendUint16(p, uint16(len(m.Stream)))
	p = append(p, m.Stream...)
	_, a.outErr = a.out.Write(p)
}

// Flush hands the arrivals journal to the operating system.
func (a *Account) Flush() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.out != nil && a.outErr == nil {
		a.outErr = a.out.Flush()
	}
	return a.outErr
}

// Close flushes and closes the arrivals journal.
func (a *Account) Close() error {
	err := a.Flush()
	if a.file != nil {
		err = errors.Join(err, a.file.Close())
	}
	return err
}

// Load makes the account that wrote the arrivals journal at path. A last
// record that is cut short is left out.
func Load(path string) (*Account, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open arrivals journal: %w", err)
	}
	defer f.Close()
	a, _ := New("")
	r := bufio.NewReaderSize(f, 1<<20)
	var b [27]byte
	for {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			break
		}
		name := make([]byte, binary.LittleEndian.Uint16(b[25:]))
		if _, err := io.ReadFull(r, name); err != nil {
			break
		}
		m := journal.Mark{Stream: string(name), Seq: binary.LittleEndian.Uint64(b[1:]), Hash: binary.LittleEndian.Uint64(b[9:])}
		switch b[0] {
		case 'A':
			a.add(m, binary.LittleEndian.Uint64(b[17:]))
		case 'R':
			a.refuse(m)
		case 'F':
			a.stats.Foreign++
		default:
			return nil, fmt.Errorf("arrivals journal %s: unknown record kind %q", path, b[0])
		}
	}
	return a, nil
}
