package stage

import (
	"container/list"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/weirlog/weir/record"
)

// Over says what a RateLimit does with what comes above its rate.
type Over uint8

const (
	// DropOver drops it, flagged record.RateLimited. Once a minute a record in the
	// stream says how many were dropped.
	DropOver Over = iota
	// SampleOver keeps one in n, n being such that the rate holds. What is kept
	// has a field SampledField with the number of records that it stands for, if
	// that is not one; the others are dropped as by DropOver, but for the record.
	SampleOver
	// WaitOver drops nothing: Wait says how long nothing more should be read.
	WaitOver
)

// SampledField is the name of the field with the number of records that one stands
// for.
const SampledField = "sampled"

// RateLimitConfig is what a RateLimit needs to know.
type RateLimitConfig struct {
	// Per names the attributes of which each combination of values has a limit of
	// its own, as conditions know them; none means one limit for all.
	Per []string
	// Rate is how many records, or with Bytes how many bytes of body, come through
	// in a second. It must be above 0.
	Rate  float64
	Bytes bool
	// Burst is how many come through at once after a pause; 0 means a second's.
	Burst float64
	Over  Over
	// Text is the limit as messages should write it.
	Text string
	// Of says whose records are meant; nil: everybody's. It is asked once for every
	// stream of a batch.
	Of func(*record.Stream) bool
	// MaxKeys bounds the combinations that are remembered, the latest used; 0
	// means 16384. One that was forgotten begins with a full burst.
	MaxKeys int
}

// tellEvery is how often a record says how many were dropped; tellAtOnce bounds such
// records in a batch.
const (
	tellEvery  = time.Minute
	tellAtOnce = 16
)

// RateLimit is a step that bounds the records, or bytes, per second, with a token
// bucket for every combination of some attributes. Its clock is the now of Process.
type RateLimit struct {
	c       RateLimitConfig
	attrs   attrs
	buckets map[string]*bucket
	recent  list.List // of *bucket, the latest used first
	owing   list.List // of *bucket that dropped something not told, the first first
	ofBatch []*bucket // by the batch's stream; nil: not looked up
	mine    []bool    // by the batch's stream, of a limit for some
	key     []byte
	scratch []byte
	full    time.Time // of WaitOver: when all that came is within the rate again
}

// bucket is the state of one combination.
type bucket struct {
	key    string
	tokens float64
	at     time.Time // of tokens
	recent *list.Element

	dropped uint64 // since told
	since   time.Time
	owing   *list.Element // nil if dropped is 0
	stream  *record.Stream

	behind uint64 // of SampleOver: records since the last that was kept
}

// NewRateLimit returns the step.
func NewRateLimit(c RateLimitConfig) (*RateLimit, error) {
	if !(c.Rate > 0) || math.IsInf(c.Rate, 0) {
		return nil, fmt.Errorf("rate_limit: the rate must be above 0")
	}
	if c.Burst <= 0 {
		c.Burst = c.Rate
	}
	c.Burst = max(c.Burst, 1)
	if c.MaxKeys <= 0 {
		c.MaxKeys = 16384
	}
	if c.Text == "" {
		c.Text = strconv.FormatFloat(c.Rate, 'g', 6, 64) + "/s"
	}
	return &RateLimit{c: c, buckets: make(map[string]*bucket)}, nil
}

// Process implements the step.
func (s *RateLimit) Process(b *record.Batch, now time.Time) error {
	clear(s.ofBatch)
	for len(s.ofBatch) < len(b.Streams()) {
		s.ofBatch = append(s.ofBatch, nil)
	}
	if s.mine = s.mine[:0]; s.c.Of != nil {
		for _, ref := range b.Streams() {
			s.mine = append(s.mine, s.c.Of(ref.Stream))
		}
	}
	for i := range b.NumRecords() {
		r := b.Record(i)
		if r.Flags&skip != 0 || s.c.Of != nil && !s.mine[r.Stream] {
			continue
		}
		k := s.bucketOf(b, i, now)
		cost := 1.0
		if s.c.Bytes {
			cost = float64(r.Body.Len)
		}
		switch s.c.Over {
		case WaitOver:
			k.tokens -= cost
			if k.tokens < 0 {
				if at := now.Add(time.Duration(-k.tokens / s.c.Rate * float64(time.Second))); at.After(s.full) {
					s.full = at
				}
			}
		case SampleOver:
			s.sample(b, i, k, cost)
		default:
			if !k.take(cost, s.c.Burst) {
				s.drop(b, i, k, now)
			}
		}
	}
	if s.c.Over == DropOver {
		s.tell(b, now)
	}
	return nil
}

// Wait returns how long reading should wait, of WaitOver.
func (s *RateLimit) Wait(now time.Time) time.Duration { return s.full.Sub(now) }

// take takes what a record costs, if that is there. One that costs more than ever is
// takes all.
func (k *bucket) take(cost, burst float64) bool {
	if k.tokens < min(cost, burst) {
		return false
	}
	k.tokens -= cost
	return true
}

func (s *RateLimit) drop(b *record.Batch, i int, k *bucket, now time.Time) {
	b.Record(i).Flags |= record.Dropped | record.RateLimited
	if k.dropped == 0 {
		k.since = now
		k.owing = s.owing.PushBack(k)
	}
	k.dropped++
	k.stream = b.Stream(i)
}

// sample keeps one in n, n being one while the bucket is at least half full, two below
// that, three below a third. So n settles where what is kept is what flows in, and what
// is kept of many records that come at once is not only the first of them.
func (s *RateLimit) sample(b *record.Batch, i int, k *bucket, cost float64) {
	k.behind++
	n := uint64(1 << 20)
	if k.tokens >= 1 {
		n = uint64(s.c.Burst / k.tokens)
	}
	if k.behind < n || !k.take(cost, s.c.Burst) {
		b.Record(i).Flags |= record.Dropped | record.RateLimited
		return
	}
	if k.behind > 1 {
		s.scratch = strconv.AppendUint(s.scratch[:0], k.behind, 10)
		b.SetField(i, SampledField, record.Int, b.Append(s.scratch))
	}
	k.behind = 0
}

// bucketOf returns the bucket of record i, refilled.
func (s *RateLimit) bucketOf(b *record.Batch, i int, now time.Time) *bucket {
	at := b.Record(i).Stream
	if k := s.ofBatch[at]; k != nil {
		return k
	}
	st := b.Stream(i)
	s.key = s.key[:0]
	ofStream := true
	s.attrs.begin()
	for _, name := range s.c.Per {
		if st != nil {
			if v := st.Get(name); v != "" {
				s.key = append(append(s.key, v...), 0)
				continue
			}
		}
		ofStream = false
		s.key = append(s.attrs.append(s.key, b, i, name), 0)
	}
	k := s.buckets[string(s.key)]
	if k == nil {
		k = s.newBucket(now)
	} else if k.at != now {
		if d := now.Sub(k.at); d > 0 {
			k.tokens = min(s.c.Burst, k.tokens+d.Seconds()*s.c.Rate)
		}
		k.at = now
		s.recent.MoveToFront(k.recent)
	}
	if ofStream {
		s.ofBatch[at] = k
	}
	return k
}

func (s *RateLimit) newBucket(now time.Time) *bucket {
	if len(s.buckets) >= s.c.MaxKeys {
		old := s.recent.Back()
		k := old.Value.(*bucket)
		if k.at != now { // not of this batch
			s.recent.Remove(old)
			if k.owing != nil {
				s.owing.Remove(k.owing)
			}
			delete(s.buckets, k.key)
		}
	}
	k := &bucket{key: string(s.key), tokens: s.c.Burst, at: now}
	k.recent = s.recent.PushFront(k)
	s.buckets[k.key] = k
	return k
}

// tell adds a record for every bucket that has dropped records for a minute and not
// told.
func (s *RateLimit) tell(b *record.Batch, now time.Time) {
	for range tellAtOnce {
		e := s.owing.Front()
		if e == nil {
			return
		}
		k := e.Value.(*bucket)
		if now.Sub(k.since) < tellEvery {
			return
		}
		s.owing.Remove(e)
		k.owing = nil
		s.scratch = fmt.Appendf(s.scratch[:0], "weir: %d records of this stream were dropped between %s and %s: rate_limit %s",
			k.dropped, k.since.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), s.c.Text)
		body := b.Append(s.scratch)
		i := b.Add(record.Record{
			Time: now.UnixNano(), Observed: now.UnixNano(), Body: body, Source: body,
			Severity: record.Warn, Flags: record.Generated | record.ValidUTF8,
			Stream: b.AddStream(record.StreamRef{Stream: k.stream}),
		})
		s.scratch = strconv.AppendUint(s.scratch[:0], k.dropped, 10)
		b.SetField(i, DroppedField, record.Int, b.Append(s.scratch))
		k.dropped = 0
	}
}

// DroppedField is the name of the field with the number of dropped records that a
// record of weir's tells of.
const DroppedField = "weir.dropped"
