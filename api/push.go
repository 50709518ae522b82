package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/loki"
	"github.com/weirlog/weir/wire/otlp"
)

// PushLimits bound what may be pushed. Zero values mean the defaults.
type PushLimits struct {
	// Body is the size of a request as sent, Decoded that of what it holds.
	// Defaults: 20 MiB, 64 MiB.
	Body, Decoded int64
	// Ratio is how many times larger than what was sent the contents may be; it is
	// not looked at up to 1 MiB. Default 100.
	Ratio int64
	// Memory is for all pushes under way together; one that finds none is answered
	// with 429, unless it is the only one. Default 128 MiB.
	Memory int64
	// Patience is how long a body may take to come; each KiB that came gives it a
	// second more. Default 10 s.
	Patience time.Duration
	// Records are the limits of what a request holds.
	Records wire.Limits
}

func (l *PushLimits) setDefaults() {
	if l.Body <= 0 {
		l.Body = 20 << 20
	}
	if l.Decoded <= 0 {
		l.Decoded = 64 << 20
	}
	if l.Ratio <= 0 {
		l.Ratio = 100
	}
	if l.Memory <= 0 {
		l.Memory = 128 << 20
	}
	if l.Patience <= 0 {
		l.Patience = 10 * time.Second
	}
}

// pusher is what the endpoints for pushes share.
type pusher struct {
	s      *Server
	limits PushLimits
	used   atomic.Int64 // of limits.Memory

	batches sync.Pool           // *record.Batch
	bodies  sync.Pool           // *[]byte
	streams [2]wire.StreamCache // of Loki's requests and OTLP's: their keys are not alike
	loki    sync.Pool           // *loki.Decoder
	otlp    sync.Pool           // *otlp.Decoder
	stats   pushCounters
}

// pushHandlers registers the endpoints that take logs.
func (s *Server) pushHandlers(*http.ServeMux) {
	l := s.cfg.Push
	l.setDefaults()
	p := &pusher{s: s, limits: l}
	p.loki.New = func() any { return loki.NewDecoder(l.Records, &p.streams[0]) }
	p.otlp.New = func() any { return otlp.NewDecoder(l.Records, &p.streams[1]) }
	s.push = p
	s.handle("/loki/api/v1/push", options{name: "push", body: true}, p.pushLoki)
	p.handleOTLP("/otlp/v1/logs")
}

// push is one request with logs on its way.
type push struct {
	*request
	p      *pusher
	proto  protocol
	b      *record.Batch
	body   record.Span // what was pushed, uncompressed, in b's buffer
	out    wire.Outcome
	held   int64 // of the pusher's memory
	read   int64 // bytes of the body as sent
	stored bool  // what is not refused is durable
}

func (p *pusher) begin(q *request, proto protocol) *push {
	b, _ := p.batches.Get().(*record.Batch)
	if b == nil {
		b = new(record.Batch)
	}
	b.Reset(p.recycle)
	return &push{request: q, p: p, proto: proto, b: b}
}

// maxPooledBatch is the largest batch that is kept, in bytes.
const maxPooledBatch = 16 << 20

func (p *pusher) recycle(b *record.Batch) {
	if b.Size() <= maxPooledBatch {
		p.batches.Put(b)
	}
}

// end gives back what the request holds, and counts it.
func (u *push) end(err error) {
	u.b.Release()
	u.p.used.Add(-u.held)
	u.p.stats.count(u, err)
}

// errPushMemory is the answer when the memory for pushes is spent.
var errPushMemory = &httpError{http.StatusTooManyRequests, "memory for pushes is spent by other requests; try again"}

// need makes sure that the request may use n bytes.
func (u *push) need(n int64) error {
	more := n - u.held
	if more <= 0 {
		return nil
	}
	if used := u.p.used.Add(more); used > u.p.limits.Memory && used > n {
		u.p.used.Add(-more)
		return errPushMemory
	}
	u.held = n
	return nil
}

// decoded is called when the records are in the batch: what the sender did not
// say of their level is looked for in their lines.
func (u *push) decoded() error {
	if err := u.need(int64(u.b.Size())); err != nil {
		return err
	}
	stage.DetectLevels(u.b)
	return nil
}

// store stores the records and returns when they are durable. Records that were
// refused are in failures.
func (u *push) store(ctx context.Context) (failures []ack.Failure, err error) {
	u.b.Freeze()
	if len(u.b.Live()) == 0 {
		u.stored = true
		return nil, nil
	}
	part := record.NewPart(u.b, u.b.Live())
	defer part.Finish()
	res, err := u.p.s.cfg.Store.Append(ctx, []record.Part{part})
	if err != nil {
		return nil, u.refusal(ctx, err)
	}
	for _, f := range res.Failures {
		if !f.Permanent {
			u.retryAfter(res.RetryAfter)
			return nil, &httpError{http.StatusTooManyRequests, fmt.Sprintf("%d of %d records are to be sent again: %s", len(res.Failures), u.out.Records, f.Reason)}
		}
	}
	u.out.Refused += len(res.Failures)
	u.stored = true
	return res.Failures, nil
}

// refusal is the answer when the store took nothing.
func (u *push) refusal(ctx context.Context, err error) error {
	var se *ack.SendError
	switch {
	case u.p.s.base.Err() != nil:
		return &httpError{http.StatusServiceUnavailable, "the server is stopping"}
	case ctx.Err() != nil: // nobody is there to be answered
		return ctx.Err()
	case !errors.As(err, &se):
		return err
	case se.Kind == ack.TooLarge:
		return &httpError{http.StatusRequestEntityTooLarge, se.Error()}
	}
	u.retryAfter(se.RetryAfter)
	if se.Code == http.StatusTooManyRequests {
		return &httpError{http.StatusTooManyRequests, se.Error()}
	}
	return &httpError{http.StatusServiceUnavailable, se.Error()}
}

func (u *push) retryAfter(d time.Duration) {
	if d > 0 {
		u.w.Header().Set("Retry-After", fmt.Sprint(int64((d+time.Second-1)/time.Second)))
	}
}

// malformed is the answer to a body that is not what it should be.
func malformed(err error) error {
	if errors.Is(err, wire.ErrTooMany) {
		return &httpError{http.StatusRequestEntityTooLarge, err.Error()}
	}
	return &httpError{http.StatusBadRequest, err.Error()}
}

// describe says, for people, which records the store refused and why.
func (u *push) describe(failures []ack.Failure) (reasons []string) {
	for i, f := range failures {
		if i == wire.MaxReasons {
			return append(reasons, fmt.Sprintf("and %d more", len(failures)-i))
		}
		r := u.b.Record(int(f.Record))
		at := time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano)
		var sb strings.Builder
		for _, a := range u.b.Stream(int(f.Record)).Attrs() {
			if a.Name == record.AttrTenant {
				continue
			}
			if sb.Len() > 0 {
				sb.WriteString(", ")
			}
			if sb.Len() > 1024 {
				sb.WriteString("…")
				break
			}
			fmt.Fprintf(&sb, "%s=%q", a.Name, a.Value)
		}
		if strings.HasPrefix(f.Reason, "older ") {
			// Loki's words, which senders know.
			reasons = append(reasons, fmt.Sprintf("entry for stream '{%s}' has timestamp too old: %s: %s", sb.String(), at, f.Reason))
			continue
		}
		reasons = append(reasons, fmt.Sprintf("entry for stream '{%s}' with timestamp %s ignored, reason: '%s'", sb.String(), at, f.Reason))
	}
	return reasons
}
