package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/buffer"
	"github.com/weirlog/weir/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testIndex = 1 // the output's number in the book; 0 belongs to another

// streams are those of a source's records, in turn.
var streams = func() (all []*record.Stream) {
	for i := range 7 {
		all = append(all, record.NewStream([]record.Attr{{Name: "namespace", Value: "shop"}, {Name: "pod", Value: fmt.Sprint("web-", i+1)}},
			[]record.Attr{{Name: "app.kubernetes.io/name", Value: "web"}}, []record.Attr{{Name: "note", Value: "x y"}}))
	}
	return all
}()

// fataler is a test or a property test.
type fataler interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// source makes batches whose records are numbered 0, 1, 2 … and checks what
// became of them.
type source struct {
	t       fataler
	tracker ack.Tracker[int]
	passed  ack.Tally // of the tokens the tracker passed
	next    int

	mu       sync.Mutex
	released int
	batches  int
}

// part returns a Part of n records with bodies of about size bytes.
func (s *source) part(n, size int) record.Part {
	b := record.NewBatch(func(*record.Batch) {
		s.mu.Lock()
		s.released++
		s.mu.Unlock()
	})
	s.batches++
	tok := s.tracker.Track(s.batches, time.Time{})
	tok.Expect(testIndex + 1)
	tok.CountRead(n)
	var refs [7]uint16
	for i := range refs {
		refs[i] = b.AddStream(record.StreamRef{Stream: streams[i], Generation: record.ID{Hi: 1, Lo: 2}, Token: tok})
	}
	for range n {
		body := fmt.Sprintf("%d ", s.next)
		if len(body) < size {
			body += strings.Repeat("x", size-len(body))
		}
		sp := b.AppendString(body)
		b.Add(record.Record{Body: sp, Source: sp, Stream: refs[s.next%len(refs)], Start: int64(s.next), End: int64(s.next + 1)})
		s.next++
	}
	b.Freeze()
	p := record.NewPart(b, b.Live())
	b.Release()
	return p
}

func number(b *record.Batch, i uint32) int {
	n, _, _ := strings.Cut(string(b.Body(int(i))), " ")
	v, err := strconv.Atoi(n)
	if err != nil {
		panic("not a record of the test: " + string(b.Body(int(i))))
	}
	return v
}

func numbers(parts []record.Part) []int {
	var all []int
	for _, p := range parts {
		for _, i := range p.Index() {
			all = append(all, number(p.Batch(), i))
		}
	}
	return all
}

// tally returns what was counted on all tokens, and whether all are done.
func (s *source) tally() (sum [ack.NumStatus]uint64, allDone bool) {
	s.tracker.Advance(&s.passed)
	open, _ := s.tracker.Open()
	var t ack.Tally
	t.Add(&s.passed)
	s.tracker.Peek(&t)
	for i, o := range t.Outputs {
		for st, n := range o {
			if i != testIndex && n != 0 {
				s.t.Errorf("%d records counted at output %d", n, i)
			}
			sum[st] += n
		}
	}
	return sum, open == 0
}

// finished fails unless every record has one status and every batch is
// released, and returns the counts.
func (s *source) finished() [ack.NumStatus]uint64 {
	s.t.Helper()
	sum, done := s.tally()
	total := uint64(0)
	for _, n := range sum {
		total += n
	}
	if total != uint64(s.next) || !done || s.released != s.batches {
		s.t.Fatalf("%d statuses for %d records, all tokens done: %v, %d of %d batches released", total, s.next, done, s.released, s.batches)
	}
	return sum
}

// sink is an Output of the test. f decides; nil accepts everything.
type sink struct {
	mu       sync.Mutex
	attempts int
	got      map[int]int // record → how often it was stored
	most     int         // records in the largest request
	inflight int
	peak     int
	f        func(ctx context.Context, attempt int, parts []record.Part) (ack.Result, error)
}

func (s *sink) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	s.mu.Lock()
	s.attempts++
	n := s.attempts
	s.inflight++
	s.peak = max(s.peak, s.inflight)
	all := numbers(parts)
	s.most = max(s.most, len(all))
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.inflight--
		s.mu.Unlock()
	}()
	var r ack.Result
	var err error
	if s.f != nil {
		r, err = s.f(ctx, n, parts)
	}
	if err == nil && checkFailures(parts, r.Failures) == nil {
		failed := map[int]bool{}
		for _, f := range r.Failures {
			failed[number(parts[f.Part].Batch(), f.Record)] = true
		}
		for _, v := range all {
			if !failed[v] {
				s.store(v)
			}
		}
	}
	return r, err
}

func (s *sink) tries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts
}

func (s *sink) store(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.got == nil {
		s.got = map[int]int{}
	}
	s.got[n]++
}

// stored returns the records the sink has, sorted.
func (s *sink) stored() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []int
	for n := range s.got {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

// yard is a Burier of the test.
type yard struct {
	mu     sync.Mutex
	dead   map[int]Dead // by record; Reasons cut to its own
	fail   func(call int) error
	calls  int
	doubly bool
}

func (y *yard) Bury(_ context.Context, dead []Dead) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.calls++
	if y.fail != nil {
		if err := y.fail(y.calls); err != nil {
			return err
		}
	}
	if y.dead == nil {
		y.dead = map[int]Dead{}
	}
	for _, d := range dead {
		for n, i := range d.Part.Index() {
			e := d
			if len(d.Reasons) > 1 {
				e.Reasons = d.Reasons[n : n+1]
			}
			v := number(d.Part.Batch(), i)
			if _, ok := y.dead[v]; ok {
				y.doubly = true
			}
			y.dead[v] = e
		}
	}
	return nil
}

// rig is a Deliverer with its queue and source, running.
type rig struct {
	*Deliverer
	q   *buffer.Memory
	src *source
	err chan error
}

// start runs a Deliverer with c, to which it adds name, index and queue.
func start(t fataler, ctx context.Context, c Config) *rig {
	t.Helper()
	q := buffer.NewMemory(64 << 20)
	c.Name, c.Index, c.Queue = "test", testIndex, q
	d, err := New(c)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	r := &rig{d, q, &source{t: t}, make(chan error, 1)}
	go func() { r.err <- d.Run(ctx) }()
	return r
}

func (r *rig) put(n, size int) { r.q.Put(r.src.part(n, size)) }

// end closes the queue and waits for Run.
func (r *rig) end() [ack.NumStatus]uint64 {
	r.src.t.Helper()
	r.q.Close()
	if err := <-r.err; err != nil {
		r.src.t.Fatalf("Run: %v", err)
	}
	sum := r.src.finished()
	s := r.Stats()
	if s.Waiting.Records != 0 || s.Waiting.Bytes != 0 || !s.OldestWaiting.IsZero() || s.InFlight != 0 || s.Unburied != 0 {
		r.src.t.Fatalf("waiting after the end: %+v", s)
	}
	if s.Records != sum {
		r.src.t.Fatalf("stats %v, tokens %v", s.Records, sum)
	}
	return sum
}

func one(o Output) []Endpoint { return []Endpoint{{Name: "a", Output: o}} }

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

var (
	errDown = errors.New("connection refused")
	err429  = &ack.SendError{Kind: ack.Retry, Code: 429, Err: errors.New("too many requests")}
	err503  = &ack.SendError{Kind: ack.Retry, Code: 503, Err: errors.New("unavailable")}
	err413  = &ack.SendError{Kind: ack.TooLarge, Code: 413, Err: errors.New("entity too large")}
	err400  = &ack.SendError{Kind: ack.Rejected, Code: 400, Err: errors.New("cannot parse field")}
	err401  = &ack.SendError{Kind: ack.Unauthorized, Code: 401, Err: errors.New("token expired")}
)
