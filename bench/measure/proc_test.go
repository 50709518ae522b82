package measure

import (
	"os"
	"testing"
	"time"
)

// TestMain burns a known amount of processor time when it is the child.
func TestMain(m *testing.M) {
	if os.Getenv("MEASURE_CHILD") != "" {
		for start, _ := clock(os.Getpid()); ; {
			if now, _ := clock(os.Getpid()); now-start > 200*time.Millisecond {
				os.Exit(0)
			}
		}
	}
	os.Exit(m.Run())
}

func TestCPUOfAChildAndItsChild(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{self}, {"/bin/sh", "-c", self + "; true"}} {
		p, err := Start(Spec{Args: args, Env: []string{"MEASURE_CHILD=1"}, CPU: 0})
		if err != nil {
			t.Fatal(err)
		}
		var live Usage
		for alive := true; alive; {
			select {
			case <-p.Done():
				alive = false
			case <-time.After(20 * time.Millisecond):
				if u := p.Usage(); u.RSS > 0 {
					live = u
				}
			}
		}
		if p.Err() != nil {
			t.Fatal(p.Err())
		}
		u := p.Usage()
		if u.CPU < 200*time.Millisecond || u.CPU > 2*time.Second {
			t.Errorf("%v: %v of processor time", args, u.CPU)
		}
		if live.RSS == 0 || live.CPU == 0 || u.Peak < live.RSS {
			t.Errorf("%v: while it ran %+v, at its end %+v", args, live, u)
		}
	}
}

func TestStopAndKill(t *testing.T) {
	for _, stop := range []func(*Process) bool{
		func(p *Process) bool { return p.Stop(time.Minute) },
		func(p *Process) bool { p.Kill(); return true },
	} {
		p, err := Start(Spec{Args: []string{"/bin/sh", "-c", "sleep 1000"}, CPU: -1})
		if err != nil {
			t.Fatal(err)
		}
		if !stop(p) {
			t.Error("did not end")
		}
		if p.Err() == nil {
			t.Error("a signal is not a clean end")
		}
	}
}
