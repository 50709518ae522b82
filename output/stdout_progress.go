package output

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weirlog/weir/record"
)

// Progress remembers, over a kill of the process, up to where each file has been
// written to standard output. Positions alone cannot: a line that is written and
// not yet noted is written again by the next process. Here a write and its note are
// two steps of one thread with nothing between them: the note is a store into
// memory that is mapped from a file, which the kernel keeps whoever is killed.
//
// It does not outlive a crash of the machine exactly, and need not: what is noted
// then is less than what was written, and lines are doubled, not lost.
//
// The file, in the byte order of the machine (it never leaves it): a header of 64
// bytes (16 bytes of progressMagic, 16 bytes of epoch, zeros) and progressSlots
// slots of 32 bytes: generation (Hi, Lo), end, turn. A slot whose end is 0 is free.
type Progress struct {
	mem   []byte
	slots []progressSlot
	at    map[record.ID]int
	turn  uint64
	done  map[record.ID]int64 // of processes before this one
	// frozen: a write failed, so that what was written last is not known. Nothing
	// is noted any more: a later record's note would stand for an earlier one.
	frozen bool
}

type progressSlot struct {
	gen  record.ID
	end  int64
	turn uint64
}

const (
	progressMagic  = "weir stdout 0001"
	progressHeader = 64
	progressSlots  = 1022
	progressSize   = progressHeader + progressSlots*32
)

// OpenProgress opens or makes the file. epoch stands for the positions that belong to
// it: a file of another epoch says nothing, because generations are numbered anew
// when positions are lost. One process at a time may have it open.
func OpenProgress(path string, epoch [16]byte) (*Progress, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open what is known to be written: %w", err)
	}
	defer f.Close()
	head := make([]byte, progressHeader)
	copy(head, progressMagic)
	copy(head[16:], epoch[:])
	var have [progressHeader]byte
	n, err := f.ReadAt(have[:], 0)
	st, statErr := f.Stat()
	if statErr != nil {
		return nil, fmt.Errorf("open what is known to be written: %w", statErr)
	}
	if n < progressHeader || !bytes.Equal(have[:], head) || st.Size() != progressSize {
		// Zeros are written, so that a full disk is met here and not as a signal at a
		// store; the header last.
		blank := make([]byte, progressSize)
		if err := f.Truncate(0); err != nil {
			return nil, fmt.Errorf("make %s: %w", path, err)
		}
		for _, p := range [][]byte{blank, head} {
			if _, err := f.WriteAt(p, 0); err != nil {
				return nil, fmt.Errorf("make %s: %w", path, err)
			}
		}
	} else if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, progressSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	p := &Progress{mem: mem, at: make(map[record.ID]int), done: make(map[record.ID]int64)}
	p.slots = unsafe.Slice((*progressSlot)(unsafe.Pointer(&mem[progressHeader])), progressSlots)
	for i, s := range p.slots {
		if s.end > 0 {
			p.at[s.gen], p.done[s.gen] = i, max(s.end, p.done[s.gen])
			p.turn = max(p.turn, s.turn)
		}
	}
	return p, nil
}

// written reports whether an earlier process has written the record whole.
func (p *Progress) written(gen record.ID, end int64) bool { return end <= p.done[gen] }

// note says that everything of gen up to end has been written.
func (p *Progress) note(gen record.ID, end int64) {
	i, ok := p.at[gen]
	if !ok {
		i = p.free()
		p.at[gen] = i
		s := &p.slots[i]
		// In this order: a kill between two stores leaves a free slot.
		s.end = 0
		s.gen = gen
	}
	s := &p.slots[i]
	p.turn++
	s.turn = p.turn
	if end > s.end {
		s.end = end
	}
}

// free returns a slot for another generation: the one not used for longest.
func (p *Progress) free() int {
	least := 0
	for i := range p.slots {
		if p.slots[i].end == 0 {
			return i
		}
		if p.slots[i].turn < p.slots[least].turn {
			least = i
		}
	}
	delete(p.at, p.slots[least].gen)
	return least
}

// close gives the memory back. Nothing may be noted after it.
func (p *Progress) close() error {
	if p.mem == nil {
		return nil
	}
	mem := p.mem
	p.mem, p.slots = nil, nil
	return unix.Munmap(mem)
}
