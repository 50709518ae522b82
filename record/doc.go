// Package record is weir's vocabulary: a Batch of Records, the Fields of a
// Record, the Stream that wrote it, and the Part of a frozen Batch that one
// output is to deliver. It does no I/O, reads no clock and starts no goroutine.
//
// # Life of a batch
//
// An input takes a Batch from its Sink, reads bytes straight into the batch's
// buffer (Reserve, Extend), adds rows that point into it (Add) and hands it
// back (Sink.Put). Until then, and while the pipeline's steps run, the batch
// has one owner who may change anything. Freeze ends that: from then on the
// batch is read-only and shared by count. Every Part holds one count; when the
// last is finished the batch's tokens are done and its memory is used again.
//
// # Why spans
//
// A Record holds offsets, not slices: the buffer may grow without leaving
// views behind, rows hold no pointers for the garbage collector to follow, and
// rewriting a body is an append and a new span.
package record
