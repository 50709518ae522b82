package wire

import (
	"strconv"
	"strings"
)

// RefusedHeader is the header in which weir tells another weir which records of a
// request it refused for good, the rest being durable: their positions in the
// request (AppendPositions). Answers of Loki and its kind only say how many.
const RefusedHeader = "X-Weir-Refused"

// AppendPositions appends ascending positions, such as 0-3,7,9-12.
func AppendPositions(dst []byte, at []uint32) []byte {
	for i := 0; i < len(at); {
		j := i + 1
		for j < len(at) && at[j] == at[j-1]+1 {
			j++
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(at[i]), 10)
		if j > i+1 {
			dst = append(dst, '-')
			dst = strconv.AppendUint(dst, uint64(at[j-1]), 10)
		}
		i = j
	}
	return dst
}

// ParsePositions reads what AppendPositions writes; all are below n. ok is false
// if it is anything else.
func ParsePositions(s string, n int) (at []uint32, ok bool) {
	next := uint64(0)
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		a, err := strconv.ParseUint(from, 10, 32)
		b := a
		if err == nil && isRange {
			b, err = strconv.ParseUint(to, 10, 32)
		}
		if err != nil || a < next || b < a || b >= uint64(n) {
			return nil, false
		}
		for ; a <= b; a++ {
			at = append(at, uint32(a))
		}
		next = a
	}
	return at, true
}
