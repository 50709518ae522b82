package api

import (
	"errors"
	"net/http"
	"sync/atomic"
)

// protocol is how a push came.
type protocol uint8

const (
	lokiProtobuf protocol = iota
	lokiJSON
	otlpProtobuf
	otlpJSON
	numProtocols
)

var protocolNames = [numProtocols]string{"loki_protobuf", "loki_json", "otlp_protobuf", "otlp_json"}

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
	pushOther
	numPushResults
)

var pushResultNames = [numPushResults]string{"taken", "partial", "malformed", "too_large", "busy", "unavailable", "gone", "other"}

type pushCounters [numProtocols]struct {
	results          [numPushResults]atomic.Int64
	records, refused atomic.Int64
	sent, decoded    atomic.Int64
}

// PushStats is what was pushed by one protocol: loki_protobuf, loki_json,
// otlp_protobuf or otlp_json.
type PushStats struct {
	Protocol string
	// Requests by result: taken, partial (some records were refused for good),
	// malformed, too_large, busy (429), unavailable (503), gone (the client went
	// away), other.
	Requests map[string]int64
	// Records that are durable, and Refused ones of requests of which the rest was
	// taken.
	Records, Refused int64
	// Bytes of bodies as sent, and uncompressed.
	Bytes, Decoded int64
}

// count notes what became of a request; err is what it was answered with.
func (c *pushCounters) count(u *push, err error) {
	n := &c[u.proto]
	result := pushTaken
	var he *httpError
	switch {
	case err == nil:
		if u.out.Refused > 0 {
			result = pushPartial
		}
	case errors.As(err, &he):
		switch he.status {
		case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusUnsupportedMediaType:
			result = pushMalformed
			if u.stored {
				result = pushPartial
			}
		case http.StatusRequestEntityTooLarge:
			result = pushLarge
		case http.StatusTooManyRequests:
			result = pushBusy
		case http.StatusServiceUnavailable:
			result = pushDown
		default:
			result = pushOther
		}
	case u.Context().Err() != nil:
		result = pushGone
	default:
		result = pushOther
	}
	n.results[result].Add(1)
	n.sent.Add(u.read)
	n.decoded.Add(int64(u.body.Len))
	if u.stored {
		n.records.Add(int64(u.out.Records - u.out.Refused))
		n.refused.Add(int64(u.out.Refused))
	}
}

// PushStats returns the numbers of now, by protocol.
func (s *Server) PushStats() []PushStats {
	out := make([]PushStats, numProtocols)
	for i := range out {
		c := &s.push.stats[i]
		o := &out[i]
		o.Protocol, o.Requests = protocolNames[i], make(map[string]int64)
		for k := range c.results {
			if n := c.results[k].Load(); n > 0 {
				o.Requests[pushResultNames[k]] = n
			}
		}
		o.Records, o.Refused = c.records.Load(), c.refused.Load()
		o.Bytes, o.Decoded = c.sent.Load(), c.decoded.Load()
	}
	return out
}
