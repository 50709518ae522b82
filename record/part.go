package record

import "github.com/weirlog/weir/ack"

// Part is a frozen batch together with those of its records that are meant
// here. Routing, retrying and splitting pass Parts on without copying. Every
// Part holds one user of the batch and must be finished exactly once, with
// Settle or, after all its records were settled otherwise, with Finish. A Part
// is a small value; it may be copied, but only one copy may be finished.
type Part struct {
	b   *Batch
	idx []uint32
}

// NewPart returns a part with the records of the given indexes, ascending.
// It keeps idx. The caller must be a user of the batch.
func NewPart(b *Batch, idx []uint32) Part {
	b.Retain()
	return Part{b, idx}
}

// Batch returns the batch.
func (p Part) Batch() *Batch { return p.b }

// Index returns the indexes of the part's records, ascending. Do not modify.
func (p Part) Index() []uint32 { return p.idx }

// Len returns the number of records.
func (p Part) Len() int { return len(p.idx) }

// Size returns roughly how many bytes of body and fields the part's records
// hold: what queues and request sizes are measured in.
func (p Part) Size() int {
	n := 0
	for _, i := range p.idx {
		n += p.b.RecordSize(int(i))
	}
	return n
}

// RecordSize returns roughly how many bytes record i is when encoded without
// its stream's names.
func (b *Batch) RecordSize(i int) int {
	r := &b.recs[i]
	n := int(r.Body.Len) + 64
	for _, f := range b.Fields(i) {
		n += int(f.Val.Len) + 16
	}
	return n
}

// Select returns a part with the given records of this one; it must be
// finished on its own.
func (p Part) Select(idx []uint32) Part { return NewPart(p.b, idx) }

// Split returns two parts with the first n records and the rest. They take the
// place of p, which must not be used again.
func (p Part) Split(n int) (head, tail Part) {
	p.b.Retain()
	return Part{p.b, p.idx[:n:n]}, Part{p.b, p.idx[n:]}
}

// Count counts every record of the part with status s at the output on the
// records' tokens.
func (p Part) Count(output int, s ack.Status) {
	CountRecords(p.b, p.idx, output, s)
}

// Settle counts every record with status s at the output and finishes the
// part.
func (p Part) Settle(output int, s ack.Status) {
	p.Count(output, s)
	p.Finish()
}

// Finish gives up the part's hold on the batch. Its records must have been
// counted.
func (p Part) Finish() { p.b.Release() }

// CountRecords counts the records of b with the given indexes as ended with
// status s at the output. It takes one step per run of records of one stream.
func CountRecords(b *Batch, idx []uint32, output int, s ack.Status) {
	for i := 0; i < len(idx); {
		st := b.recs[idx[i]].Stream
		j := i + 1
		for j < len(idx) && b.recs[idx[j]].Stream == st {
			j++
		}
		b.streams[st].Token.Count(output, s, j-i)
		i = j
	}
}
