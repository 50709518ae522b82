package client

import "time"

// Stats says what became of what was logged since New. When no request is under
// way,
//
//	Recovered + Logged = Delivered + Rejected + Lost + Waiting
//
// and Logged + Dropped + Late is what the program has given to the handlers.
type Stats struct {
	Logged    uint64 // records taken from the program
	Recovered uint64 // records that an earlier process had left in the spool
	Delivered uint64 // records acknowledged by a gateway
	Rejected  uint64 // records refused for good by a gateway
	Lost      uint64 // records that could not be read from files any more, or had to stay in memory when Close gave up
	Waiting   uint64 // records that are still here

	Dropped      uint64 // records there was no room for
	DroppedBytes uint64
	Late         uint64 // records logged after Close
	Cut          uint64 // records of which the message or a value was too long

	MemoryBytes  int64  // of records in memory
	SpoolBytes   int64  // of files
	DamagedBytes uint64 // of files, skipped

	Requests  uint64 // sent
	Retries   uint64 // of them, with what was sent before
	SentBytes uint64 // of their bodies

	LastError     error // the last failure of a request, nil if there was none
	LastErrorTime time.Time
	Endpoints     []EndpointStats
}

// EndpointStats is about one gateway.
type EndpointStats struct {
	URL      string
	Requests uint64
	Failures int   // in a row
	Err      error // nil if the last request succeeded
}

// Stats returns what became of what was logged.
func (c *Client) Stats() Stats {
	var st Stats
	for i := range c.in.shards {
		s := &c.in.shards[i]
		s.mu.Lock()
		st.Waiting += uint64(s.records)
		s.mu.Unlock()
	}
	q := &c.queue
	q.mu.Lock()
	st.Recovered = c.trouble.recovered
	st.Logged = q.accepted - st.Recovered + st.Waiting
	st.Waiting += q.accepted - q.released
	st.Lost = q.lost
	q.mu.Unlock()
	s := &c.sender
	st.Delivered, st.Rejected = s.delivered.Load(), s.rejected.Load()
	st.Dropped, st.DroppedBytes = c.in.full.Load(), c.in.bytes.Load()
	st.Late, st.Cut = c.in.closed.Load(), c.in.cut.Load()
	st.MemoryBytes = c.in.used.Load()
	if q.sp != nil {
		st.SpoolBytes, _, st.DamagedBytes = q.sp.bytes()
	}
	st.Requests, st.Retries, st.SentBytes = s.requests.Load(), s.retries.Load(), s.bytes.Load()
	c.trouble.mu.Lock()
	st.LastError, st.LastErrorTime = c.trouble.last, c.trouble.lastAt
	c.trouble.mu.Unlock()
	s.mu.Lock()
	for _, ep := range s.endpoints {
		st.Endpoints = append(st.Endpoints, EndpointStats{ep.url.Redacted(), ep.requests, ep.failures, ep.err})
	}
	s.mu.Unlock()
	return st
}
