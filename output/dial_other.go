//go:build !linux

package output

import "syscall"

// controlUserTimeout does nothing: other systems have no TCP_USER_TIMEOUT;
// there the timeout of the attempt is the bound.
func controlUserTimeout(_, _ string, _ syscall.RawConn) error { return nil }
