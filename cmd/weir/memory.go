package main

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// gcPercent is how much garbage there may be for what is in use, unless GOGC
// says otherwise. Records make none, so that collections are rare, but each
// request leaves something behind. Measured: 20 instead of Go's 100 saves 4 of
// 24 MiB at 10 000 lines a second, and costs 4 to 7 % of the CPU time at full
// speed.
const gcPercent = 25

// gcPercentStore is gcPercent of a store that others ask and push to. Measured:
// with 25 the last hundred lines of a label cost 5.1 ms, with 100 3.3; a store
// that is filled as fast as it goes takes 220 MiB instead of 140.
const gcPercentStore = 100

// memoryLimit returns the budget for records: what the configuration says, or
// a fifth of the container's memory, between 8 and 64 MiB. It also tells the
// garbage collector the container's limit.
func memoryLimit(configured int64) (limit int64, how string) {
	cgroup := cgroupMemory()
	if cgroup > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(cgroup / 10 * 9)
	}
	switch {
	case configured > 0:
		return configured, "limits.memory"
	case cgroup > 0:
		return min(max(cgroup/5, 8<<20), 64<<20), "the container's memory limit"
	default:
		return 64 << 20, "default"
	}
}

// cgroupMemory returns the container's memory limit, 0 if there is none.
// https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
func cgroupMemory() int64 {
	for _, f := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		data, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		if err == nil && n > 0 && n < math.MaxInt64/2 {
			return n
		}
	}
	return 0
}

// startOver is when all that only a start needs has been done: the first list
// of pods and files, the first requests.
const startOver = 10 * time.Second

// releaseStart gives back the memory of the start: reading the configuration
// and the first list of pods leave garbage behind, and setting up packages
// touches half of the program's code once.
func releaseStart() {
	debug.FreeOSMemory()
	releaseCode()
}
