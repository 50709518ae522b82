//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package deliver

import (
	"errors"
	"os"
	"syscall"
)

// flock takes the exclusive lock of f's open file. It reports false if somebody
// else has it and wait is false.
func flock(f *os.File, wait bool) (bool, error) {
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	for {
		err := syscall.Flock(int(f.Fd()), how)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		}
		return err == nil, err
	}
}

func funlock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
