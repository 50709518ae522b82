package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes what was written last, and the size if it matters.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
