package kube

import "context"

const (
	stateRunning    = "running"
	stateWaiting    = "waiting"
	stateTerminated = "terminated"
)

type reader struct {
	l *Logs
	r Reading
	s Sink
}

func newReader(l *Logs, r Reading, s Sink) *reader { return &reader{l, r, s} }

func (rd *reader) once(ctx context.Context) error { return ctx.Err() }

func (rd *reader) follow(ctx context.Context) error { <-ctx.Done(); return nil }
