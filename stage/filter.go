package stage

import (
	"time"

	"github.com/weirlog/weir/record"
)

// Filter drops records on purpose: those that a condition matches (drop), or
// those that it does not match (keep).
type Filter struct {
	keep  bool
	match func(b *record.Batch, i int) bool
}

// NewFilter returns the step. match decides about record i of the batch; it is
// called only by Process.
func NewFilter(keep bool, match func(b *record.Batch, i int) bool) *Filter {
	return &Filter{keep: keep, match: match}
}

// Process implements the step.
func (s *Filter) Process(b *record.Batch, _ time.Time) error {
	for i := range b.NumRecords() {
		if b.Record(i).Flags&skip == 0 && s.match(b, i) != s.keep {
			b.Record(i).Flags |= record.Dropped
		}
	}
	return nil
}
