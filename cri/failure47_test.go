package cri

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFailure47_CostlyFirst: an expression that somebody gives for the first lines of
// records costs a bounded time for a line.
func TestFailure47_CostlyFirst(t *testing.T) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano())
	}
	line := []byte(strings.Repeat("x", 1<<20))
	for _, first := range []string{`(x+x+)+y`, `(?:x?){150}x{150}y`, strings.Repeat(`(x*)*`, 60) + "y"} {
		m, err := NewMultiline(MultilineConfig{First: first})
		if err != nil {
			t.Fatal(err)
		}
		began := used()
		m.begin(line)
		if d := used() - began; d > time.Second {
			t.Errorf("%s: %v for a line", first, d)
		}
	}
	for _, first := range []string{strings.Repeat("(?:x?){999}", 90) + "y", "(?:x{1000}y?){5}", strings.Repeat("x", MaxPattern)} {
		if _, err := NewMultiline(MultilineConfig{First: first}); err == nil {
			t.Errorf("%.20s… is taken", first)
		}
	}
}
