package export

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"
)

// FrameType is the media type of an answer in frames; a request asks for it in
// its Accept header.
const FrameType = "application/vnd.weir.frames"

// Kinds of frames.
const (
	Data  = 'd' // rows
	End   = 'e' // there are no more
	Error = 'x' // it broke off; Data is why, Rows the HTTP status
)

// HeaderSize is the size of a frame's header, little-endian: kind (1), flags (1:
// 1 is Safe), 2 unused, rows (4), bytes of lines (8), first time (8), last time
// (8), size of what follows (4).
const HeaderSize = 36

// MaxFrame is the largest frame that is read.
const MaxFrame = 1 << 30

// Frame is a piece of an answer.
type Frame struct {
	Kind        byte
	Safe        bool // no row to come has the time Last or one before it
	Rows        uint32
	Raw         uint64 // bytes of the rows' lines
	First, Last int64
	Data        []byte
}

// AppendHeader appends the header of a frame whose data has that size.
func (f *Frame) AppendHeader(dst []byte, size int) []byte {
	flags := byte(0)
	if f.Safe {
		flags = 1
	}
	dst = append(dst, f.Kind, flags, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, f.Rows)
	dst = binary.LittleEndian.AppendUint64(dst, f.Raw)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.First))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.Last))
	return binary.LittleEndian.AppendUint32(dst, uint32(size))
}

var errFrame = errors.New("not the frames of a weir")

// ReadFrame reads the next frame; its data is buf, or a larger one that replaces
// it. An answer that ends without End is io.ErrUnexpectedEOF.
func ReadFrame(r io.Reader, f *Frame, buf []byte) error {
	var h [HeaderSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	*f = Frame{
		Kind: h[0], Safe: h[1]&1 != 0, Rows: binary.LittleEndian.Uint32(h[4:]), Raw: binary.LittleEndian.Uint64(h[8:]),
		First: int64(binary.LittleEndian.Uint64(h[16:])), Last: int64(binary.LittleEndian.Uint64(h[24:])),
	}
	size := binary.LittleEndian.Uint32(h[32:])
	if f.Kind != Data && f.Kind != End && f.Kind != Error {
		return errFrame
	}
	if size > MaxFrame {
		return fmt.Errorf("a frame of %d bytes", size)
	}
	if cap(buf) < int(size) {
		buf = make([]byte, size)
	}
	f.Data = buf[:size]
	if _, err := io.ReadFull(r, f.Data); err != nil {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// view returns bytes as a string; they must not change while it is used.
func view(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }
