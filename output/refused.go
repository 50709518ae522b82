package output

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// orderer is an encoder that tells in which order it writes records.
type orderer interface {
	Order(parts []record.Part, f func(part int, rec uint32))
}

// refused returns the records that the destination, a weir, says in its header
// positions that it refused for good, the others being durable. ok is false if it
// does not, or says what cannot be.
func (e *encoders) refused(positions string, parts []record.Part, reason string) (failures []ack.Failure, ok bool) {
	if positions == "" {
		return nil, false
	}
	at, ok := wire.ParsePositions(positions, count(parts))
	if !ok {
		return nil, false
	}
	reason, _, _ = strings.Cut(reason, "\n")
	reason = plainReason(reason)
	enc := e.get()
	defer e.put(enc)
	k := uint32(0)
	enc.(orderer).Order(parts, func(part int, rec uint32) {
		if len(at) > 0 && at[0] == k {
			failures = append(failures, ack.Failure{Part: part, Record: rec, Permanent: true, Reason: reason})
			at = at[1:]
		}
		k++
	})
	slices.SortFunc(failures, func(a, b ack.Failure) int {
		return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Record, b.Record))
	})
	return failures, true
}
