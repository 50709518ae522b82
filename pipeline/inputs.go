package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/record"
)

type inputRun struct {
	id      string
	in      Input
	cancel  context.CancelFunc
	done    chan struct{} // closed when Run has returned err
	err     error
	leaving bool // StopInput has it; guarded by Engine.mu
	pushed  bool // the input is pushed to: see Pushed

	batches atomic.Int64 // taken from the sink and not released
	release func(*record.Batch)
}

// wait returns when the engine is to stop: ctx has ended, an input failed, or
// no input is left. An engine that never had one runs until ctx ends.
func (e *Engine) wait(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.ended:
			if live, err := e.live(); err != nil || live == 0 {
				return err
			}
		}
	}
}

// live returns how many inputs have not come to their end, and the error of one
// that failed.
func (e *Engine) live() (n int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, in := range e.inputs {
		select {
		case <-in.done:
			if in.leaving {
				n++ // another takes its place, or none does and others go on
			} else if err == nil {
				err = in.err
			}
		default:
			n++
		}
	}
	return n, err
}

// startInput runs an input. The caller holds mu.
func (e *Engine) startInput(ctx context.Context, id string, in Input) {
	ctx, cancel := context.WithCancel(ctx)
	run := &inputRun{id: id, in: in, cancel: cancel, done: make(chan struct{})}
	if p, ok := in.(Pushed); ok {
		run.pushed = p.Pushed()
	}
	run.release = func(b *record.Batch) {
		e.release(b)
		run.batches.Add(-1)
	}
	e.inputs[id] = run
	go func() {
		err := in.Run(ctx, sink{e, run})
		if err != nil {
			err = fmt.Errorf("input %s: %w", id, err)
		}
		run.err = err
		stopped := ctx.Err() != nil
		close(run.done)
		if err != nil || !stopped {
			select {
			case e.ended <- struct{}{}:
			default: // one value stands for any number
			}
		}
	}()
}

// StopInput stops an input, waits until what it read has been delivered (at
// most for the grace) and lets it save its positions. When the engine stops
// meanwhile, that finishes the input and StopInput returns an error at once.
func (e *Engine) StopInput(ctx context.Context, id string) error {
	e.mu.Lock()
	run := e.inputs[id]
	switch {
	case !e.isRunning():
		e.mu.Unlock()
		return errNotRunning
	case run == nil:
		e.mu.Unlock()
		return fmt.Errorf("there is no input %s", id)
	}
	run.leaving = true
	e.mu.Unlock()
	run.cancel()
	<-run.done
	e.drainInput(run, time.Duration(e.grace.Load()))
	e.mu.Lock()
	if !e.isRunning() {
		e.mu.Unlock()
		return errNotRunning // Run has it now
	}
	delete(e.inputs, id)
	e.mu.Unlock()
	err := run.err
	if f, ok := run.in.(Finisher); ok {
		err = errors.Join(err, f.Finish(context.WithoutCancel(ctx)))
	}
	return err
}

// drainInput waits until everything the input took from its sink is finished,
// at most for grace, or until the engine stops.
func (e *Engine) drainInput(run *inputRun, grace time.Duration) {
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	least, since := run.batches.Load(), time.Now()
	for {
		left := run.batches.Load()
		if left < least {
			least, since = left, time.Now()
		}
		if left == 0 || time.Since(since) >= drainPatience {
			return
		}
		select {
		case <-e.stopped:
			return
		case <-deadline.C:
			return
		case <-tick.C:
		}
	}
}

// StartInput runs another input. ctx bounds its life and is the one that Run
// was called with.
func (e *Engine) StartInput(ctx context.Context, id string, in Input) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.isRunning() {
		return errNotRunning
	}
	if e.inputs[id] != nil {
		return fmt.Errorf("there is an input %s already", id)
	}
	e.startInput(ctx, id, in)
	return nil
}
