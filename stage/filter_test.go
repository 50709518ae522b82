package stage

import (
	"bytes"
	"slices"
	"testing"

	"github.com/weirlog/weir/record"
)

func TestFilter(t *testing.T) {
	lines := []string{"health ok", "order", "health bad", "health of weir's own"}
	match := func(b *record.Batch, i int) bool { return bytes.HasPrefix(b.Body(i), []byte("health")) }
	for _, tt := range []struct {
		keep bool
		live []uint32
	}{{false, []uint32{1, 3}}, {true, []uint32{0, 2, 3}}} {
		b := batchOf(lines...)
		b.Record(3).Flags |= record.Gap // never dropped: it says what is missing
		process(t, NewFilter(tt.keep, match), b)
		b.Freeze()
		if !slices.Equal(b.Live(), tt.live) {
			t.Errorf("keep %v: live %v, want %v", tt.keep, b.Live(), tt.live)
		}
	}
	// What is dropped already is not asked about again.
	b := batchOf(lines...)
	b.Record(0).Flags |= record.Dropped
	asked := 0
	process(t, NewFilter(false, func(*record.Batch, int) bool { asked++; return false }), b)
	if asked != 3 || b.Record(0).Flags&record.Dropped == 0 {
		t.Errorf("asked about %d records", asked)
	}
}
