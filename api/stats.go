package api

import (
	"sync/atomic"
	"time"
)

// Stats is what the API has done since it began.
type Stats struct {
	// Requests are counted by endpoint (as in the path, without values) and class
	// of status: 2xx, 3xx, 4xx, 429, 499 (the client went away), 5xx.
	Requests map[[2]string]int64
	// Seconds is how long requests took, by endpoint; tails are not in it.
	Seconds map[string]float64
	// Running and Waiting are queries now; Tails are open now.
	Running, Waiting, Tails int64
	// Rows and Bytes were looked at by queries; TailRows were sent by tails,
	// TailDropped not, as the reader was too slow.
	Rows, Bytes           int64
	TailRows, TailDropped int64
	// ResponseBytes of answers, before compression.
	ResponseBytes int64
	Panics        int64
}

type counters struct {
	endpoints             map[string]*endpointCounters // does not change after New
	rows, bytes           atomic.Int64
	tails                 atomic.Int64
	tailRows, tailDropped atomic.Int64
	responseBytes         atomic.Int64
	panics                atomic.Int64
}

var classes = [...]string{"2xx", "3xx", "4xx", "429", "499", "5xx"}

type endpointCounters struct {
	class [len(classes)]atomic.Int64
	nanos atomic.Int64
}

// endpoint returns the counters of that name. It is for New.
func (c *counters) endpoint(name string) *endpointCounters {
	if c.endpoints == nil {
		c.endpoints = make(map[string]*endpointCounters)
	}
	e := c.endpoints[name]
	if e == nil {
		e = &endpointCounters{}
		c.endpoints[name] = e
	}
	return e
}

func (e *endpointCounters) count(status int, took time.Duration) {
	i := 5
	switch {
	case status < 300: // 0: nothing was written, which net/http answers with 200
		i = 0
	case status < 400:
		i = 1
	case status == 429:
		i = 3
	case status == statusGone:
		i = 4
	case status < 500:
		i = 2
	}
	e.class[i].Add(1)
	e.nanos.Add(int64(took))
}

// Stats returns the numbers of now.
func (s *Server) Stats() Stats {
	c := &s.stats
	out := Stats{
		Requests: make(map[[2]string]int64), Seconds: make(map[string]float64),
		Running: int64(len(s.gate.slots)), Waiting: s.gate.waiting.Load(), Tails: c.tails.Load(),
		Rows: c.rows.Load(), Bytes: c.bytes.Load(), TailRows: c.tailRows.Load(), TailDropped: c.tailDropped.Load(),
		ResponseBytes: c.responseBytes.Load(), Panics: c.panics.Load(),
	}
	for name, e := range c.endpoints {
		for i, class := range classes {
			if n := e.class[i].Load(); n > 0 {
				out.Requests[[2]string{name, class}] = n
			}
		}
		if n := e.nanos.Load(); n > 0 {
			out.Seconds[name] = time.Duration(n).Seconds()
		}
	}
	return out
}
