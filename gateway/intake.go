package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire"
)

// Limits bound what may be pushed. Zero values mean the defaults.
type Limits struct {
	// Body is the size of a request as sent, Decoded that of what it holds.
	// Defaults: 20 MiB, 64 MiB.
	Body, Decoded int64
	// Ratio is how many times larger than what was sent the contents may be; it is
	// not looked at up to 1 MiB. Default 100.
	Ratio int64
	// Patience is how long a body may take to come; each KiB that came gives it a
	// second more. Default 10 s.
	Patience time.Duration
	// Answer is how long a push waits until its records are safe; then it is
	// answered that it should be sent again. Default 30 s.
	Answer time.Duration
	// Records are the limits of what a request holds.
	Records wire.Limits
}

func (l Limits) withDefaults() Limits {
	def(&l.Body, 20<<20)
	def(&l.Decoded, 64<<20)
	def(&l.Ratio, 100)
	def(&l.Patience, 10*time.Second)
	def(&l.Answer, 30*time.Second)
	return l
}

func def[T int | int64 | time.Duration](p *T, v T) {
	if *p <= 0 {
		*p = v
	}
}

// Config is what all listeners of a process have in common. Zero values mean the
// defaults.
type Config struct {
	// Name is the input's component id.
	Name string
	// Sink is where records go. An Input makes its own.
	Sink Sink
	// Auth finds out who somebody is; nil lets everybody in.
	Auth Authenticator
	// Limiter says how much a tenant may push; nil for any amount.
	Limiter Limiter
	// Conns bounds the connections of HTTP listeners; nil for any number.
	Conns *ConnLimit
	// Memory bounds what pushes hold until they are in the pipeline. Default 128
	// MiB.
	Memory *Memory
	Limits Limits
	// Defaults are attributes of streams that do not say otherwise, Attrs those
	// of all of them.
	Defaults, Attrs []record.Attr
	// IDs gives records ids (wire.PushedIDs), by which destinations recognise what
	// they have.
	IDs bool
	// Local says that all listeners are meant to be on loopback: they refuse other
	// addresses, and HTTP requests must name this machine in their Host header, so
	// that a web page elsewhere cannot reach it by a name of its own (DNS rebinding).
	Local bool
	// Origins are whose pages may push from browsers, such as
	// https://app.example.com; AnyOrigin stands for all.
	Origins []string
	Log     *slog.Logger
	Now     func() time.Time
}

func (c Config) withDefaults() Config {
	c.Limits = c.Limits.withDefaults()
	if c.Memory == nil {
		c.Memory = NewMemory(128 << 20)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// intake is one piece that was pushed on its way: a request, or what came over a
// socket in a moment. It is for one goroutine.
type intake struct {
	c        *Config
	counters *counters // of its protocol
	restream *restreamer
	id       Identity
	now      int64 // Unix nanoseconds
	b        *record.Batch
	body     record.Span // what was pushed, uncompressed, in b's buffer
	out      wire.Outcome
	addr     netip.Addr // the sender's, if nothing else is known of it
	held     int64      // of the memory
	beside   int64      // bytes held beside the batch
	conn     int64      // bytes that its connection holds, whatever becomes of the piece
	read     int64      // bytes as sent
	decoded  int64      // bytes of body; kept when b has gone
	taken    bool       // what is not refused is durable
}

var errNoRoom = &httpError{429, "there is no room: records wait for their destinations; send again later"}

// begin takes a batch.
func (u *intake) begin() error {
	if l := u.c.Limiter; l != nil {
		// Before anything is read: who is over the limit costs nothing more.
		if wait, ok := l.Allow(u.id.Tenant, 0, 0, time.Unix(0, u.now)); !ok {
			return &limitError{wait}
		}
	}
	if u.b = u.c.Sink.Batch(); u.b == nil {
		return errNoRoom
	}
	return nil
}

// end gives back what the piece holds, and counts it.
func (u *intake) end(err error, gone bool) {
	if u.b != nil {
		u.b.Abandon()
		u.b = nil
	}
	u.c.Memory.give(u.holder(), u.held)
	u.held = 0
	u.counters.count(u, err, gone)
}

// errMemory is the answer when the memory for pushes is spent.
var errMemory = &httpError{429, "memory for pushes is spent by other requests; try again"}

// holder is for whom the piece holds memory.
func (u *intake) holder() holder { return holder{u.id.Tenant, u.id.Name, u.addr}.known() }

// need makes sure that the piece may use n bytes, and what it has beside them. The
// only one may always.
func (u *intake) need(n int64) error {
	n += u.beside
	more := n - u.held
	if more <= 0 {
		return nil
	}
	if !u.c.Memory.take(u.holder(), more, u.held+u.conn) {
		return errMemory
	}
	u.held = n
	return nil
}

// idMakers are for take.
var idMakers = make(chan *wire.PushedIDs, 16)

// take hands the batch over when its records are in it, and returns when they are
// durable: refused ones are described. Its errors are an *httpError with 413, 429
// or 503, or that of ctx.
func (u *intake) take(ctx context.Context) ([]Refusal, error) {
	b := u.b
	if err := u.need(int64(b.Size())); err != nil {
		return nil, err
	}
	u.decoded = int64(u.body.Len)
	records, now := b.NumRecords(), time.Unix(0, u.now)
	if u.c.Limiter != nil {
		if err := u.limit(b, now); err != nil {
			return nil, err
		}
	}
	// What the sender did not say of their level is looked for in their lines.
	stage.DetectLevels(b)
	// Another weir's ids stand as they are; nobody else may claim some.
	tenant := u.id.Tenant
	if u.c.Auth == nil || u.id.Relay {
		tenant = ""
	} else {
		wire.Distrust(b)
	}
	if u.c.IDs {
		var ids *wire.PushedIDs
		select {
		case ids = <-idMakers:
		default:
			ids = new(wire.PushedIDs)
		}
		ids.Set(b, tenant, u.now)
		select {
		case idMakers <- ids:
		default:
		}
	}
	u.restream.apply(b, u.c, &u.id)
	u.b = nil
	refused, err := u.c.Sink.Take(ctx, b)
	if err != nil {
		if u.c.Limiter != nil {
			u.c.Limiter.Return(u.id.Tenant, int(u.decoded), records, now)
		}
		return nil, u.refusal(ctx, err)
	}
	u.out.Refused += len(refused)
	u.taken = true
	return refused, nil
}

// limit counts what is pushed, unless that is too much.
func (u *intake) limit(b *record.Batch, now time.Time) error {
	wait, ok := u.c.Limiter.Allow(u.id.Tenant, int(u.decoded), b.NumRecords(), now)
	if !ok {
		return &limitError{wait}
	}
	if wait, ok = u.c.Limiter.AllowStreams(u.id.Tenant, b, now); !ok {
		u.c.Limiter.Return(u.id.Tenant, int(u.decoded), b.NumRecords(), now)
		return &limitError{wait}
	}
	return nil
}

// limitError says that a tenant pushes more than it may.
type limitError struct{ wait time.Duration }

func (e *limitError) Error() string { return "the tenant's limit is reached; send again later" }

// refusal is the answer when nothing was taken.
func (u *intake) refusal(ctx context.Context, err error) error {
	var se *ack.SendError
	switch {
	case ctx.Err() != nil: // nobody is there to be answered
		return ctx.Err()
	case !errors.As(err, &se):
		return err
	case se.Kind == ack.TooLarge:
		return &httpError{413, se.Error()}
	case se.Code == 429:
		return &retryError{httpError{429, se.Error()}, se.RetryAfter}
	}
	return &retryError{httpError{503, se.Error()}, se.RetryAfter}
}

// retryError is an httpError that says when to try again.
type retryError struct {
	httpError
	after time.Duration
}

// httpError is an error with a status as of HTTP. Its text goes to the sender.
type httpError struct {
	status int
	msg    string
}

func (e *httpError) Error() string { return e.msg }

// statusOf returns the status, the text and, if there is one, the time to wait
// that an error is answered with. ok is false if the error is not for the sender.
func statusOf(err error) (status int, msg string, after time.Duration, ok bool) {
	var he *httpError
	var re *retryError
	var ae *AuthError
	var le *limitError
	switch {
	case errors.As(err, &re):
		return re.status, re.msg, re.after, true
	case errors.As(err, &he):
		return he.status, he.msg, 0, true
	case errors.As(err, &ae):
		return ae.Status, ae.Msg, 0, true
	case errors.As(err, &le):
		return 429, le.Error(), le.wait, true
	case errors.Is(err, context.DeadlineExceeded):
		return 504, "not safe within the time that the sender gave", 0, true
	}
	return 500, "internal error", 0, false
}

// malformed is the answer to a piece that is not what it should be.
func malformed(err error) error {
	if errors.Is(err, wire.ErrTooMany) {
		return &httpError{413, err.Error()}
	}
	return &httpError{400, err.Error()}
}
