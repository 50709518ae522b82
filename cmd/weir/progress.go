package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress shows how far long work has come, on one line of a terminal that is
// rewritten; elsewhere it shows nothing. It may be used concurrently.
type progress struct {
	w  io.Writer // nil: not a terminal
	mu sync.Mutex
	// last is when the line was written, zero if there is none.
	last time.Time
}

// progressEvery is how often the line changes at most; work that takes less
// shows nothing.
const progressEvery = 200 * time.Millisecond

func newProgress(errOut io.Writer) *progress {
	p := &progress{last: time.Now()}
	if isTerminal(errOut) {
		p.w = errOut
	}
	return p
}

// show writes the line, unless it has just been written.
func (p *progress) show(format string, args ...any) {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.last) < progressEvery {
		return
	}
	p.last = time.Now()
	line := fmt.Sprintf(format, args...)
	fmt.Fprintf(p.w, "\r%.*s\x1b[K", max(20, terminalWidth(p.w)-1), line)
}

// clear removes the line, so that something else can be written.
func (p *progress) clear() {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprint(p.w, "\r\x1b[K")
}
