//go:build !linux

package gateway

import "net"

// widen asks for a buffer of so many bytes. What it got is not known.
func widen(pc net.PacketConn, bytes int) int {
	if b, ok := pc.(interface{ SetReadBuffer(int) error }); ok {
		_ = b.SetReadBuffer(bytes) // whatever there is will do
	}
	return 0
}

func newReader(pc net.PacketConn) reader { return plainReader{pc} }
