package gateway

import (
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// widen asks the kernel for a buffer of so many bytes and returns what it gave, 0
// if that is not known. It also asks to be told of what is dropped.
func widen(pc net.PacketConn, bytes int) (got int) {
	sc, ok := pc.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0
	}
	// Each is worth having without the others.
	_ = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) != nil { // beyond rmem_max, as root
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
		}
		got, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	})
	return got / 2 // of which the kernel's own part is half
}

// newReader returns what reads from pc.
func newReader(pc net.PacketConn) reader {
	if u, ok := pc.(*net.UDPConn); ok {
		return &udpReader{u: u}
	}
	return plainReader{pc}
}

type udpReader struct {
	u   *net.UDPConn
	oob [64]byte
}

func (r *udpReader) read(p []byte) (n int, from netip.AddrPort, dropped uint32, told bool, err error) {
	n, oobn, _, from, err := r.u.ReadMsgUDPAddrPort(p, r.oob[:])
	if oobn >= unix.CmsgLen(4) && err == nil {
		h, data, _, e := unix.ParseOneSocketControlMessage(r.oob[:oobn])
		if e == nil && h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4 {
			dropped, told = binary.NativeEndian.Uint32(data), true
		}
	}
	return n, from, dropped, told, err
}
