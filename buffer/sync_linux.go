package buffer

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes what was written last, and the size if it matters.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
