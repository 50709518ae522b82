//go:build unix

package deliver

import (
	"errors"
	"syscall"
)

// isFull reports whether err says that there is no room on the disk.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
