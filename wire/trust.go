package wire

import "github.com/weirlog/weir/record"

// Distrust takes away what only another weir may say of records: where they were
// read, by which a destination recognises what it has, and that they are gaps.
// Without it somebody could make a store take other records for known. It comes
// before Freeze.
func Distrust(b *record.Batch) {
	for i := range b.Streams() {
		b.SetGeneration(uint16(i), record.ID{})
	}
	recs := b.Records()
	for i := range recs {
		recs[i].Start, recs[i].End = 0, 0
		recs[i].Flags &^= record.Gap
	}
}
