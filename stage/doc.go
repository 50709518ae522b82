// Package stage holds the steps of the pipeline, one file each: what is done
// to records between the input and the outputs.
//
// Every step has
//
//	Process(b *record.Batch, now time.Time) error
//
// which changes the batch in place, synchronously, and is called by the one
// owner the batch has before it is frozen. A step is for one goroutine: it
// keeps scratch memory between calls, so that steady state allocates nothing.
// now is the pipeline's clock; steps read no other. Steps leave alone what an
// earlier step dropped and what weir wrote itself (record.Gap,
// record.Generated). An error means that the step itself is broken, never that
// a record is odd: odd records pass on unchanged.
//
// Bodies are rewritten by appending to the batch's buffer and repointing the
// span; record.Record.Source never changes.
package stage
