package gateway

import (
	"net"
	"net/netip"
)

// plainReader reads datagrams of which nothing else is told.
type plainReader struct{ pc net.PacketConn }

func (r plainReader) read(p []byte) (n int, from netip.AddrPort, dropped uint32, told bool, err error) {
	n, a, err := r.pc.ReadFrom(p)
	if u, ok := a.(*net.UDPAddr); ok && u != nil {
		from = u.AddrPort()
	}
	return n, from, 0, false, err
}
