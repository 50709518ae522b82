package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// Output is one endpoint of a destination.
type Output interface {
	// Send makes one attempt to deliver all records of parts, which it must
	// neither keep nor finish. A nil error means that the destination accepted
	// the request and durably has every record that Result.Failures does not
	// name. An *ack.SendError says what kind of failure it was; any other
	// error means ack.Retry. Send must return soon after ctx has ended. It is
	// called concurrently.
	Send(ctx context.Context, parts []record.Part) (ack.Result, error)
}

// Queue is where the Parts come from, such as buffer.Memory. The Deliverer is
// its only taker. It is asked with a lock of the Deliverer held: what it calls
// when there is room must not call the Deliverer.
type Queue interface {
	// TryNext takes the oldest Part if there is one.
	TryNext() (record.Part, bool)
	// Ready has a value after something was put or the queue was closed. One
	// value may stand for many Parts.
	Ready() <-chan struct{}
	// Drained reports whether nothing will ever come any more.
	Drained() bool
	// Len returns what is queued: Parts, records, and bytes as of Part.Size.
	Len() (parts, records, bytes int)
	// OldestSince returns when the Part was put that TryNext would give.
	OldestSince() (since time.Time, ok bool)
	// Close refuses further Parts.
	Close()
}

// Dead is a Part whose records cannot be delivered.
type Dead struct {
	Part record.Part
	// Status is DeadRejected, DeadTooLarge or DeadExpired.
	Status ack.Status
	// Reasons has one reason for each record of Part, in its order, or one
	// for all of them. They are the destination's words.
	Reasons []string
	// Attempts is how often the request that the records came with last had
	// been sent in vain before.
	Attempts int
}

// Burier keeps dead letters, as DeadLetters does.
type Burier interface {
	// Bury keeps all records of dead durably, or none of them: it returns nil
	// only after an fsync. ErrDropped means that it is full and its policy is
	// to drop them; with any other error it is called again later. It must
	// neither keep nor finish the Parts.
	Bury(ctx context.Context, dead []Dead) error
}

// ErrDropped is Burier's answer when the dead letters are full and further ones
// are to be dropped.
var ErrDropped = errors.New("dead letters are full: dropped")

// Endpoint is an Output, the name it has in logs and statistics, which is its own
// among all, and its group: those of group 0 are used while one of them works, else
// those of the next.
type Endpoint struct {
	Name   string
	Output Output
	Group  int
}

// Balance says which of the healthy endpoints of the group in use gets a request.
type Balance uint8

const (
	// RoundRobin takes them in turn.
	RoundRobin Balance = iota
	// LeastInflight takes the one with the fewest unanswered requests.
	LeastInflight
	// Failover takes the first: each is a group of its own, unless groups are
	// named.
	Failover
	// Hash takes one endpoint for all records with the same key, as long as it
	// works and keeps up; see Config.HashBy.
	Hash
)

var balanceNames = [...]string{"round_robin", "least_inflight", "failover", "hash"}

// String returns the name as it stands in the configuration.
func (b Balance) String() string { return balanceNames[b] }

// ParseBalance reads what String writes.
func ParseBalance(s string) (Balance, error) {
	for i, n := range balanceNames {
		if n == s {
			return Balance(i), nil
		}
	}
	return 0, fmt.Errorf("balance %q: must be round_robin, least_inflight, failover or hash", s)
}

// Batch says when what was collected becomes a request.
type Batch struct {
	// Bytes is the most a request holds, as of Part.Size, unless a single
	// record is larger. Default 2 MiB. While the destination answers that
	// requests are too large, less is collected.
	Bytes int
	// Records is the most records a request holds; 0 means no limit.
	Records int
	// Wait is how long the first Part waits for others. Default 1 s; negative
	// means that whatever is there is sent as soon as there is a slot.
	Wait time.Duration
}

// Retry says how often and how long to try again. Delays are chosen at random
// between 0 and a limit that doubles with each failure (full jitter).
type Retry struct {
	// For is how long to try, from a record's first attempt on; then it is
	// dead. 0 means forever.
	For time.Duration
	// MinDelay and MaxDelay are the first and the greatest limit. Default
	// 500 ms and 30 s.
	MinDelay, MaxDelay time.Duration
}

// Eject says when an endpoint gets no requests for a while.
type Eject struct {
	// Errors is how many failures in a row eject an endpoint. Default 5.
	Errors int
	// For is how long it is left alone before one request probes it. Default
	// 30 s.
	For time.Duration
}

// MaxRetryAfter bounds how long a destination may ask to be left alone.
const MaxRetryAfter = 10 * time.Minute

// Config configures a Deliverer. Name, Queue and at least one Endpoint are
// required, the last only unless Dynamic.
type Config struct {
	// Name is the output's name and Index its number in the ack.Book.
	Name  string
	Index int

	Queue     Queue
	Endpoints []Endpoint
	// Dynamic says that SetEndpoints will be called: there may be no endpoint now.
	Dynamic bool
	Balance Balance
	// HashBy names what Hash goes by: attributes of the stream or else fields of
	// the record. Nil means the stream itself.
	HashBy []string
	// Failback is how long an endpoint of a better group must have worked before
	// the group is used again; until then it gets one request at a time. 0 means
	// at once.
	Failback time.Duration
	Batch    Batch
	Retry    Retry
	Eject    Eject
	// Concurrency is the most requests in flight, over all endpoints. Default 4.
	// Each endpoint has a limit of its own, which starts at 1, grows by one when
	// as many requests as it allows have succeeded while all its slots were
	// taken, and halves when the endpoint is overloaded (429, 5xx, no answer).
	Concurrency int
	// Timeout ends an attempt. Default 30 s.
	Timeout time.Duration
	// Grace is how long attempts may go on when Run's context has ended.
	// Default 5 s.
	Grace time.Duration
	// MaxInHand bounds the bytes (as of Part.Size) taken from the queue and
	// not settled. Default (Concurrency+1) × Batch.Bytes. It is exceeded by
	// at most one Part.
	MaxInHand int
	// DeadLetters may be nil.
	DeadLetters Burier

	// Observe, if not nil, is told of every finished attempt. It must be
	// quick and must not call the Deliverer.
	Observe func(class Class, took time.Duration)
	// Logger may be nil.
	Logger *slog.Logger
	// Rand returns random numbers in [0, 1). Default math/rand/v2.
	Rand func() float64

	// onSettle is told the final status of records, for Replay.
	onSettle func(b *record.Batch, idx []uint32, s ack.Status)
}

func (c *Config) validate() error {
	if c.Name == "" {
		return errors.New("deliver: Name is empty")
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("output %s: %w", c.Name, fmt.Errorf(format, args...))
	}
	if c.Index < 0 {
		return bad("index %d is negative", c.Index)
	}
	if c.Queue == nil {
		return bad("no queue")
	}
	if len(c.Endpoints) == 0 && !c.Dynamic {
		return bad("no endpoint")
	}
	if err := checkEndpoints(c.Endpoints); err != nil {
		return bad("%w", err)
	}
	if int(c.Balance) >= len(balanceNames) {
		return bad("unknown balance %d", c.Balance)
	}
	for _, v := range []struct {
		name  string
		value int64
	}{
		{"batch.bytes", int64(c.Batch.Bytes)}, {"batch.records", int64(c.Batch.Records)},
		{"retry.for", int64(c.Retry.For)}, {"retry.min_delay", int64(c.Retry.MinDelay)}, {"retry.max_delay", int64(c.Retry.MaxDelay)},
		{"eject.errors", int64(c.Eject.Errors)}, {"eject.for", int64(c.Eject.For)},
		{"concurrency", int64(c.Concurrency)}, {"timeout", int64(c.Timeout)}, {"failback", int64(c.Failback)}, {"grace", int64(c.Grace)}, {"in hand", int64(c.MaxInHand)},
	} {
		if v.value < 0 {
			return bad("%s is negative", v.name)
		}
	}
	def(&c.Batch.Bytes, 2<<20)
	def(&c.Batch.Wait, time.Second)
	def(&c.Retry.MaxDelay, 30*time.Second)
	def(&c.Retry.MinDelay, min(500*time.Millisecond, c.Retry.MaxDelay))
	if c.Retry.MinDelay > c.Retry.MaxDelay {
		return bad("retry.min_delay %s is over retry.max_delay %s", c.Retry.MinDelay, c.Retry.MaxDelay)
	}
	def(&c.Eject.Errors, 5)
	def(&c.Eject.For, 30*time.Second)
	def(&c.Concurrency, 4)
	def(&c.Timeout, 30*time.Second)
	def(&c.Grace, 5*time.Second)
	def(&c.MaxInHand, (c.Concurrency+1)*c.Batch.Bytes)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	return nil
}

// def sets *p to v if it is zero.
func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
