// Package pipeline joins inputs, steps, routes and outputs.
//
//	input ──Put──► steps ──► freeze ──► route ─┬─► queue ──► deliver ──► remote
//	  ▲            (in the input's goroutine)  └─► queue ──► deliver ──► remote
//	  └───────────────────── token ◄───────────────────── settle ◄──────┘
//
// Steps run in the goroutine of the input that puts the batch; there is no
// hand-over between reading and the queues. Every output has a queue and a
// deliverer of its own. What is in memory is bounded by one Budget in bytes:
// when it is spent, or when the queue of an output that may not lose anything
// is full, Sink.Get answers nil and inputs stop reading: the files are the
// buffer.
//
// Stop order: inputs stop reading; the queues drain until a deadline; the
// deliverers stop; the inputs save their positions last.
package pipeline
