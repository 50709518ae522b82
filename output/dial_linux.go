package output

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// controlUserTimeout sets TCP_USER_TIMEOUT: data that stays unacknowledged for
// that long ends the connection, where retransmission alone takes 15 minutes
// (tcp(7)).
func controlUserTimeout(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(lostPeer.Milliseconds()))
	}); cerr != nil {
		return cerr
	}
	return err
}
