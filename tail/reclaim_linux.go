package tail

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// writableAgain opens the file of a handle for writing, whatever its name is by now.
func writableAgain(fd int) (int, error) {
	for {
		w, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, fmt.Errorf("open for writing: %w", err)
		}
		return w, nil
	}
}

// punchHole gives back the blocks of a range; the size stays. fallocate(2).
func punchHole(fd int, off, n int64) error {
	for {
		err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
