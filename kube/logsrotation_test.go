package kube

import (
	"strings"
	"testing"
	"time"
)

// kubelet may skip lines when it rotates a log that is followed, and the API
// does not tell. weir does, once.
func TestLogsRotatedWhileFollowed(t *testing.T) {
	defer func(d time.Duration) { rotationEvery = d }(rotationEvery)
	rotationEvery = 0
	c := newCluster(t)
	c.put(running("a"))
	c.write("a/main", at(0, "1"))
	s, stop := follow(t, openCluster(t, c, ""), Reading{Tail: -1})
	s.until("a line", s.got("a/main", 1))
	big := strings.Repeat("x", rotationBytes/2)
	n := time.Duration(0)
	grow := func() {
		for range 3 {
			n++
			c.write("a/main", at(n*time.Millisecond, big))
		}
		s.until("it grew", s.got("a/main", 1+int(n)))
	}
	rotate := func() {
		c.do(func() {
			f := c.logs["a/main"]
			f.from = len(f.lines) // what was read before goes on, as with kubelet
		})
	}
	told := func() (n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, text := range s.notices {
			if strings.HasPrefix(text, "warning a/main kubelet rotated its log at") {
				n++
			}
		}
		return n
	}
	// One file is looked at again and again.
	for range 5 {
		grow()
	}
	if told() > 0 {
		t.Fatalf("%q", s.notices)
	}
	for i := 0; told() == 0; i++ {
		if i == 50 {
			t.Fatal("it is not told")
		}
		rotate()
		grow()
	}
	for range 5 {
		rotate()
		grow()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := told(); n != 1 {
		t.Errorf("told %d times", n)
	}
}
