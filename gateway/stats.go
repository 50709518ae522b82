package gateway

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// pushResult is what became of a push.
type pushResult uint8

const (
	pushTaken     pushResult = iota
	pushPartial              // some records were refused for good
	pushMalformed            // 400, 422
	pushLarge                // 413
	pushBusy                 // 429
	pushDown                 // 503
	pushGone                 // the client went away
	pushDenied               // 401, 403
	pushOther
	numPushResults
)

var pushResultNames = [numPushResults]string{"taken", "partial", "malformed", "too_large", "busy", "unavailable", "gone", "denied", "other"}

// counters are those of one protocol.
type counters struct {
	results          [numPushResults]atomic.Int64
	records, refused atomic.Int64
	sent, decoded    atomic.Int64
}

// Stats is what was pushed by one protocol.
type Stats struct {
	// Protocol is such as loki_protobuf or syslog_udp.
	Protocol string
	// Requests by result: taken, partial (some records were refused for good),
	// malformed, too_large, busy (429), unavailable (503), gone (the client went
	// away), denied (401, 403), other.
	Requests map[string]int64
	// Records that are durable, and Refused ones of requests of which the rest was
	// taken.
	Records, Refused int64
	// Bytes as sent, and uncompressed.
	Bytes, Decoded int64
}

// statistics are those of all protocols of a listener.
type statistics struct {
	mu sync.Mutex
	by map[string]*counters
}

func (s *statistics) of(protocol string) *counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = make(map[string]*counters)
	}
	c := s.by[protocol]
	if c == nil {
		c = new(counters)
		s.by[protocol] = c
	}
	return c
}

func (s *statistics) all() []Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Stats
	for _, name := range slices.Sorted(maps.Keys(s.by)) {
		c := s.by[name]
		o := Stats{Protocol: name, Requests: make(map[string]int64)}
		for k := range c.results {
			if n := c.results[k].Load(); n > 0 {
				o.Requests[pushResultNames[k]] = n
			}
		}
		o.Records, o.Refused = c.records.Load(), c.refused.Load()
		o.Bytes, o.Decoded = c.sent.Load(), c.decoded.Load()
		out = append(out, o)
	}
	return out
}

// count notes what became of a piece; err is what it was answered with.
func (c *counters) count(u *intake, err error, gone bool) {
	result := pushTaken
	status, _, _, known := statusOf(err)
	switch {
	case err == nil:
		if u.out.Refused > 0 {
			result = pushPartial
		}
	case !known && gone:
		result = pushGone
	case !known:
		result = pushOther
	case status == 400 || status == 415 || status == 422:
		result = pushMalformed
		if u.taken {
			result = pushPartial
		}
	case status == 401 || status == 403:
		result = pushDenied
	case status == 413:
		result = pushLarge
	case status == 429:
		result = pushBusy
	case status == 503:
		result = pushDown
	default:
		result = pushOther
	}
	c.results[result].Add(1)
	c.sent.Add(u.read)
	c.decoded.Add(max(u.decoded, int64(u.body.Len)))
	if u.taken {
		c.records.Add(int64(u.out.Records - u.out.Refused))
		c.refused.Add(int64(u.out.Refused))
	}
}
