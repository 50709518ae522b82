package ack

import (
	"fmt"
	"sync"
	"time"
)

// Status is what became of a record at one output. Every value but Open means
// that the record is finished there. The list is closed: it is also the list
// of (class, reason) pairs of the ledger and of the metrics.
type Status uint8

const (
	// Open is no status yet. As a count, on a Token and in a Tally, it is the
	// number of records that the output has to account for: those that were put
	// while it was part of the pipeline. What still waits there is that less the
	// sum of all other counts.
	Open Status = iota
	// Delivered: the destination has it durably, as far as it tells.
	Delivered
	// DroppedStep: a step of the pipeline removed it (drop, keep, sample …).
	DroppedStep
	// DroppedRoute: the routes send it to other outputs only.
	DroppedRoute
	// DroppedFull: the output's queue was full and its policy is drop.
	DroppedFull
	// DroppedRejected: the destination refused it for good and the output has
	// no dead-letter queue, or that is full with policy drop.
	DroppedRejected
	// DeadRejected: the destination refused it for good; the dead-letter queue
	// has it.
	DeadRejected
	// DeadTooLarge: it alone exceeds what the destination takes; the
	// dead-letter queue has it.
	DeadTooLarge
	// DeadExpired: the output's retry.for has passed; the dead-letter queue
	// has it.
	DeadExpired
	// Buffered: the output's disk buffer has it durably. It is finished for its
	// input, not for the output: the buffer accounts for it from there on.
	Buffered
	// DroppedExpired: it waited in the disk buffer longer than it may.
	DroppedExpired
	// DroppedDamaged: it was in the disk buffer, and the disk did not give it
	// back as it was.
	DroppedDamaged
	// DroppedRate: a rate limit dropped it.
	DroppedRate

	// NumStatus is the number of values.
	NumStatus
)

var statusNames = [NumStatus][2]string{
	Open:            {"read", ""},
	Delivered:       {"delivered", ""},
	DroppedStep:     {"dropped", "step"},
	DroppedRoute:    {"dropped", "route"},
	DroppedFull:     {"dropped", "queue_full"},
	DroppedRejected: {"dropped", "rejected"},
	DeadRejected:    {"dead", "rejected"},
	DeadTooLarge:    {"dead", "too_large"},
	DeadExpired:     {"dead", "expired"},
	Buffered:        {"buffered", ""},
	DroppedExpired:  {"dropped", "expired"},
	DroppedDamaged:  {"dropped", "damaged"},
	DroppedRate:     {"dropped", "rate_limited"},
}

// Class returns delivered, buffered, dropped or dead, and for Open, whose count is what an
// output has to account for, read.
func (s Status) Class() string { return statusNames[s][0] }

// Reason returns the reason within the class, "" if there is only one.
func (s Status) Reason() string { return statusNames[s][1] }

// ParseStatus returns the Status with that class and reason.
func ParseStatus(class, reason string) (Status, bool) {
	for s, n := range statusNames {
		if n == [2]string{class, reason} {
			return Status(s), true
		}
	}
	return 0, false
}

// Book gives each output name a small number that stays the same for the life
// of the process, also over reloads. Safe for concurrent use.
type Book struct {
	mu    sync.RWMutex
	names []string
}

// Index returns the number of the output with that name, a new one at first
// sight.
func (b *Book) Index(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, n := range b.names {
		if n == name {
			return i
		}
	}
	b.names = append(b.names, name)
	return len(b.names) - 1
}

// Names returns the names in the order of their numbers.
func (b *Book) Names() []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return append([]string(nil), b.names...)
}

// Len returns how many outputs the book knows.
func (b *Book) Len() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.names)
}

// Failure is the outcome of one record that one attempt did not deliver.
type Failure struct {
	Part   int    // index into the parts given to Send
	Record uint32 // the record's index in that part's batch
	// Permanent says that the same record would be refused again.
	Permanent bool
	// Reason is the destination's own words, short; it never holds the
	// record's content.
	Reason string
}

// Result is the answer to one attempt that the destination accepted as a
// whole. Records not named in Failures are delivered. Failures are ordered by
// (Part, Record).
type Result struct {
	Failures []Failure
	// RetryAfter is how long the destination asked to wait, 0 if it did not.
	RetryAfter time.Duration
	// Bytes is the size of the request body as sent.
	Bytes int
}

// ErrorKind says what a failed attempt means for its records.
type ErrorKind uint8

const (
	// Retry: nothing is wrong with the records; try again later.
	Retry ErrorKind = iota
	// TooLarge: split the request; a single record of this size is dead.
	TooLarge
	// Rejected: the destination refuses the request for what is in it; find
	// the culprits by bisecting.
	Rejected
	// Unauthorized: credentials are missing, wrong or expired; keep the
	// records, tell the operator, try again.
	Unauthorized
)

func (k ErrorKind) String() string {
	return [...]string{"retry", "too_large", "rejected", "unauthorized"}[k]
}

// SendError is the error of an attempt that delivered nothing, as far as the
// sender knows. Any other error from an output means Retry.
type SendError struct {
	Kind       ErrorKind
	RetryAfter time.Duration // 0: the destination named none
	Code       int           // the protocol's status code, 0 if there was no answer
	Err        error         // what failed, on which object, what to do
}

func (e *SendError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("send failed: %s (status %d)", e.Kind, e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns the underlying error.
func (e *SendError) Unwrap() error { return e.Err }
