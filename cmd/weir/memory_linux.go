package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseCode takes the pages of the program's code and constants out of the
// process. The few megabytes that are needed come back one by one, from the
// page cache; without this the ones that only the start needed (about 9 of
// 21 MiB) count as the process's memory for as long as it lives.
func releaseCode() {
	exe, err := os.Executable()
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }() // read only
	for _, m := range codeMappings(f, exe) {
		// An error leaves the pages where they are. There is no Go slice over
		// them that unix.Madvise could be given.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED)
	}
}

type mapping struct{ from, to uintptr }

// codeMappings returns the mappings of the file exe that are the file's bytes
// and nothing else: not writable, and without a page of the process's own
// (relocated constants, a debugger's breakpoints), which could not come back.
// https://docs.kernel.org/filesystems/proc.html
func codeMappings(smaps io.Reader, exe string) []mapping {
	var found []mapping
	var m mapping
	candidate := false
	for s := bufio.NewScanner(smaps); s.Scan(); {
		line := s.Text()
		var head mapping
		var perms, offset, device string
		var inode uint64
		if n, _ := fmt.Sscanf(line, "%x-%x %s %s %s %d", &head.from, &head.to, &perms, &offset, &device, &inode); n == 6 {
			m = head
			candidate = (perms == "r-xp" || perms == "r--p") && inode != 0 && strings.HasSuffix(line, " "+exe)
		}
		if kb, ok := strings.CutPrefix(line, "Anonymous:"); ok && candidate && strings.TrimSpace(kb) == "0 kB" {
			found = append(found, m)
		}
	}
	return found
}
