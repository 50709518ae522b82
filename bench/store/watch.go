package main

import (
	"time"

	"github.com/weirlog/weir/bench/measure"
)

// watch looks at a process from time to time. It is for one goroutine.
type watch struct {
	proc *measure.Process
	rss  []int64
	peak int64
}

type look struct {
	at   time.Time
	cpu  time.Duration
	peak int64
}

func newWatch(p *measure.Process) *watch { return &watch{proc: p} }

func (w *watch) now() look {
	u := w.proc.Usage()
	w.peak = max(w.peak, u.Peak)
	if u.RSS > 0 {
		w.rss = append(w.rss, u.RSS)
	}
	return look{time.Now(), u.CPU, w.peak}
}

// until looks every 50 ms until one of the channels is closed.
func (w *watch) until(done, ended <-chan struct{}) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-ended:
			return
		case <-tick.C:
			w.now()
		}
	}
}

func (w *watch) mean() int64 {
	var sum int64
	for _, v := range w.rss {
		sum += v
	}
	return sum / int64(max(1, len(w.rss)))
}
