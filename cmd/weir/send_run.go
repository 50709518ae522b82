package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/output"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/elastic"
	"github.com/weirlog/weir/wire/loki"
	"github.com/weirlog/weir/wire/otlp"
)

// sender makes attempts for one client; it is for one goroutine.
type sender interface {
	deliver.Output
	io.Closer
}

// newSender returns a sender with a connection of its own.
func newSender(t *sendTarget, o *sendOptions) (sender, error) {
	switch {
	case t.proto.name == "forward":
		return newForwardSender(t, o)
	case t.via == "grpc", t.via == "http" && slices.Contains([]string{"otlp", "loki", "elasticsearch"}, t.proto.name):
		return newOutputSender(t, o)
	case t.via == "http":
		return newHTTPSender(t, o)
	}
	return newSocketSender(t, o)
}

// newOutputSender returns one of weir's own outputs.
func newOutputSender(t *sendTarget, o *sendOptions) (sender, error) {
	h := output.HTTPConfig{
		URL: t.url.String(), Timeout: sendTimeout, Version: version(), Compression: o.compression,
		TLS:  output.TLS{CA: o.ca, Cert: o.cert, Key: o.key, ServerName: o.serverName, InsecureSkipVerify: o.insecure},
		Auth: output.Auth{Bearer: output.Secret(o.token)}, Headers: map[string]output.Secret{},
	}
	if o.token == "" {
		h.Auth = output.Auth{User: o.user, Password: output.Secret(o.password)}
	}
	for k, v := range o.headers {
		h.Headers[k] = output.Secret(v)
	}
	if o.tenant != "" {
		h.Headers["X-Scope-OrgID"] = output.Secret(o.tenant)
	}
	switch t.proto.name {
	case "loki":
		var names []string
		for name := range o.attributes() {
			names = append(names, name)
		}
		return output.NewLoki(output.LokiConfig{HTTPConfig: h, Encoding: loki.Config{Labels: names, IDs: o.ids}})
	case "elasticsearch":
		index, err := wire.ParseTemplate(o.index, wire.SanitizeIndex)
		if err != nil {
			return nil, usageError("--index %s: %v", o.index, err)
		}
		return output.NewElasticsearch(output.ElasticsearchConfig{HTTPConfig: h, Encoding: elastic.Config{Index: index, IDs: o.ids, Op: elastic.Create}})
	}
	return output.NewOTLP(output.OTLPConfig{HTTPConfig: h, Encoding: otlp.Config{Scope: "weir send", Version: version()}})
}

// sendRun is one run of weir send.
type sendRun struct {
	o       *sendOptions
	target  *sendTarget
	source  func(client int) sendSource // nil once it has been taken
	streams []*record.Stream
	began   time.Time
	end     time.Time // no new request is begun from then on; zero for never

	left   atomic.Int64 // lines to send
	due    atomic.Int64 // with a rate: when the next line or byte is, nanoseconds after began
	cancel context.CancelCauseFunc
	wide   bool // --verify looks at the lines of everybody

	// What became of lines, for the progress.
	sent, sentBytes, acked, refused, resent, gaveUp atomic.Int64
	requests, wire                                  atomic.Int64

	mu      sync.Mutex
	latency latencies
	errors  map[string]int64 // times, by what was said
	fate    []*clientFate
}

// clientFate is what became of the lines of one client, by their numbers.
type clientFate struct {
	sent, acked bits
	// again are those that were sent more than once although an attempt may have
	// arrived: a server may have them twice.
	again bits
}

// bits is a set of small numbers.
type bits struct{ words []uint64 }

func (s *bits) add(n uint32) {
	w := int(n / 64)
	for w >= len(s.words) {
		s.words = append(s.words, make([]uint64, max(16, len(s.words)))...)
	}
	s.words[w] |= 1 << (n % 64)
}

func (s *bits) has(n uint32) bool {
	w := int(n / 64)
	return w < len(s.words) && s.words[w]>>(n%64)&1 == 1
}

// latencies is a histogram: four buckets for each doubling, from a microsecond.
type latencies struct {
	counts [256]int64
	n      int64
	max    time.Duration
}

const latencySteps = 8 // buckets for each doubling

func (l *latencies) add(d time.Duration) {
	l.n++
	l.max = max(l.max, d)
	i := 0
	if us := float64(d) / float64(time.Microsecond); us > 1 {
		i = min(len(l.counts)-1, int(math.Log2(us)*latencySteps))
	}
	l.counts[i]++
}

// quantile returns the middle of the bucket with the q-th of all.
func (l *latencies) quantile(q float64) time.Duration {
	rank, seen := int64(math.Ceil(q*float64(l.n))), int64(0)
	for i, c := range l.counts {
		if seen += c; seen >= rank && c > 0 {
			us := math.Exp2((float64(i) + 0.5) / latencySteps)
			return min(l.max, time.Duration(us*float64(time.Microsecond)))
		}
	}
	return l.max
}

func (r *sendRun) failed(what string, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.errors == nil {
		r.errors = make(map[string]int64)
	}
	if len(r.errors) > 1000 {
		what = "others"
	}
	r.errors[what] += n
}

// errUnanswered says that a run ends because the server cannot be reached or
// wants other credentials, and nothing has been taken.
type errUnanswered struct{ error }

func (e errUnanswered) Unwrap() error { return e.error }

// run sends until everything has been sent, the time is over or ctx ends.
func (r *sendRun) run(ctx context.Context) error {
	ctx, r.cancel = context.WithCancelCause(ctx)
	defer r.cancel(nil)
	r.began = time.Now()
	if r.o.duration > 0 {
		r.end = r.began.Add(r.o.duration)
	}
	r.left.Store(int64(r.o.lines))
	if r.o.lines <= 0 {
		r.left.Store(math.MaxInt64)
	}
	r.fate = make([]*clientFate, r.o.clients)
	var wg sync.WaitGroup
	errs := make([]error, r.o.clients)
	for c := range r.o.clients {
		r.fate[c] = &clientFate{}
		s, err := newSender(r.target, r.o)
		if err != nil {
			r.cancel(err)
			wg.Wait()
			return err
		}
		wg.Go(func() {
			errs[c] = r.client(ctx, c, s)
			if err := s.Close(); err != nil && errs[c] == nil && ctx.Err() == nil {
				r.failed(err.Error(), 1)
			}
		})
	}
	wg.Wait()
	var un errUnanswered
	if err := context.Cause(ctx); errors.As(err, &un) {
		return un
	}
	return errors.Join(errs...)
}

// take takes up to n lines from what is left to send.
func (r *sendRun) take(n int) int {
	for {
		left := r.left.Load()
		k := min(int64(n), left)
		if k <= 0 {
			return 0
		}
		if r.left.CompareAndSwap(left, left-k) {
			return int(k)
		}
	}
}

// client sends what is its share.
func (r *sendRun) client(ctx context.Context, c int, s sender) error {
	src, fate := r.source(c), r.fate[c]
	sb := &sendBatch{b: record.NewBatch(nil)}
	var st stamps
	var lat latencies
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for i, n := range lat.counts {
			r.latency.counts[i] += n
		}
		r.latency.n += lat.n
		r.latency.max = max(r.latency.max, lat.max)
	}()
	for ctx.Err() == nil && (r.end.IsZero() || time.Now().Before(r.end)) {
		n := r.take(r.o.batch)
		if n == 0 {
			return nil
		}
		err := sb.fill(src, r.streams, n, r.o.batchBytes, &st)
		if got := len(sb.numbers); got < n {
			r.left.Add(int64(n - got)) // the batch is full of bytes
		}
		if len(sb.numbers) == 0 {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		due := time.Now()
		if r.o.rate.N > 0 {
			var ok bool
			if due, ok = r.await(ctx, sb); !ok {
				return nil
			}
		}
		if r.o.ids {
			for i, n := range sb.numbers {
				sb.b.SetID(i, sendID(r.o.run, c, n))
			}
		}
		for _, n := range sb.numbers {
			fate.sent.add(n)
		}
		r.sent.Add(int64(len(sb.numbers)))
		r.sentBytes.Add(int64(sb.bytes))
		sb.b.Freeze()
		idx := make([]uint32, len(sb.numbers))
		for i := range idx {
			idx[i] = uint32(i)
		}
		r.deliver(ctx, s, sb, idx, fate, due, &lat)
		sb.b.Release()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// await waits until the batch is due by the rate and returns when that was.
// Latency counts from there: that a server stalls is seen by those that wait.
func (r *sendRun) await(ctx context.Context, sb *sendBatch) (due time.Time, ok bool) {
	cost := int64(len(sb.numbers))
	if r.o.rate.Bytes {
		cost = int64(sb.bytes)
	}
	step := int64(float64(cost) * float64(r.o.rate.Per) / float64(r.o.rate.N))
	due = r.began.Add(time.Duration(r.due.Add(step) - step))
	if !r.end.IsZero() && due.After(r.end) {
		return due, false
	}
	wait := time.Until(due)
	if wait <= 0 {
		return due, true
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return due, false
	case <-t.C:
		return due, true
	}
}

// mostRejections is how many attempts of one batch a server may reject before
// the rest is not looked into any more for the lines that it does not want.
const mostRejections = 32

// deliver sends the records of a batch until each has been taken, refused or
// given up. What a server refuses as a whole is halved to find out which lines
// it does not want; what it has no room for now is sent again.
func (r *sendRun) deliver(ctx context.Context, s sender, sb *sendBatch, idx []uint32, fate *clientFate, due time.Time, lat *latencies) {
	todo := [][]uint32{idx}
	rejections := 0
	pause := 50 * time.Millisecond
	giveUp := time.Now().Add(r.o.retry)
	for len(todo) > 0 {
		now := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		part := record.NewPart(sb.b, now)
		res, err := s.Send(ctx, []record.Part{part})
		part.Finish()
		r.requests.Add(1)
		r.wire.Add(int64(res.Bytes))
		if ctx.Err() != nil && err != nil {
			return // what became of them is not known
		}
		var again []uint32
		wait := res.RetryAfter
		if err == nil {
			lat.add(time.Since(due))
			again = r.outcome(now, res, sb, fate)
		} else {
			var se *ack.SendError
			if !errors.As(err, &se) {
				se = &ack.SendError{Err: err}
			}
			r.failed(err.Error(), 1)
			wait = se.RetryAfter
			switch {
			case r.acked.Load() == 0 && (se.Kind == ack.Unauthorized || r.o.retryDefault && slices.Contains(noSuchPlace, se.Code)):
				r.cancel(errUnanswered{err})
				return
			case (se.Kind == ack.TooLarge || se.Kind == ack.Rejected && rejections < mostRejections) && len(now) > 1:
				rejections++
				half := len(now) / 2
				todo = append(todo, now[half:], now[:half])
				if se.Kind == ack.Rejected {
					markAgain(now, sb, fate)
				}
				continue
			case se.Kind == ack.Retry || se.Kind == ack.Unauthorized:
				if se.Kind == ack.Retry && se.Code == 0 {
					if r.o.retryDefault && !answeredBefore(r) && refusedConnection(err) {
						r.cancel(errUnanswered{err})
						return
					}
					markAgain(now, sb, fate) // it may have arrived
				}
				again = now
			default:
				r.refused.Add(int64(len(now)))
				continue
			}
		}
		if len(again) == 0 {
			continue
		}
		if time.Now().After(giveUp) || !r.end.IsZero() && time.Now().After(r.end.Add(r.o.retry)) {
			r.gaveUp.Add(int64(len(again)))
			continue
		}
		r.resent.Add(int64(len(again)))
		todo = append(todo, again)
		t := time.NewTimer(max(wait, pause))
		pause = min(2*pause, 5*time.Second)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// noSuchPlace are the answers of a server that takes no logs at an address.
var noSuchPlace = []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented}

// answeredBefore reports whether the target has ever taken something.
func answeredBefore(r *sendRun) bool { return r.acked.Load() > 0 || r.wire.Load() > 0 }

// refusedConnection reports whether nobody listens there, or nobody has the name:
// trying again is for those who say so.
func refusedConnection(err error) bool {
	var dns *net.DNSError
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) || errors.As(err, &dns)
}

func markAgain(idx []uint32, sb *sendBatch, fate *clientFate) {
	for _, i := range idx {
		fate.again.add(sb.numbers[i])
	}
}

// outcome counts what the server said of each record of an attempt and returns
// those that shall be sent again.
func (r *sendRun) outcome(idx []uint32, res ack.Result, sb *sendBatch, fate *clientFate) (again []uint32) {
	at, refused := 0, 0
	for _, i := range idx {
		if at < len(res.Failures) && res.Failures[at].Record == i {
			f := res.Failures[at]
			at++
			r.failed(f.Reason, 1)
			if f.Permanent {
				refused++
			} else {
				again = append(again, i)
			}
			continue
		}
		fate.acked.add(sb.numbers[i])
	}
	r.refused.Add(int64(refused))
	r.acked.Add(int64(len(idx) - refused - len(again)))
	return again
}

// progressText is how far it is.
func (r *sendRun) progressText() string {
	sent, seconds := r.sent.Load(), time.Since(r.began).Seconds()
	text := fmt.Sprintf("%s lines sent, %s acknowledged, %s/s", grouped(sent), grouped(r.acked.Load()), perSecond(float64(r.sentBytes.Load())/seconds))
	for _, x := range []struct {
		what string
		n    int64
	}{{"refused", r.refused.Load()}, {"sent again", r.resent.Load()}, {"given up", r.gaveUp.Load()}} {
		if x.n > 0 {
			text += fmt.Sprintf(", %s %s", grouped(x.n), x.what)
		}
	}
	return text
}

// perSecond prints bytes as rates are given: in powers of ten.
func perSecond(n float64) string {
	for _, u := range []struct {
		n    float64
		name string
	}{{1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if n >= u.n {
			return fmt.Sprintf("%.1f %s", n/u.n, u.name)
		}
	}
	return fmt.Sprintf("%.0f B", n)
}
