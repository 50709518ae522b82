package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

// A model of the store: what was acknowledged must be there, once if it came from
// a file or was pushed with an id; what was sent and not acknowledged may be there.
type model struct {
	t      testing.TB
	seed   uint64
	r      *rand.Rand
	fs     *crashFS
	s      *Store
	cfg    Config
	now    atomic.Int64
	n      int
	acked  map[string]line // by body
	maybe  map[string]line // sent, answered with an error
	copies map[string]int  // how often lines without a file were sent in vain or not
	files  map[uint64]int64
	sent   []line // of files or with ids, to be sent again
	log    *strings.Builder
}

func newModel(t testing.TB, seed uint64) *model {
	m := &model{t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 1)), fs: newCrashFS(seed), acked: map[string]line{}, maybe: map[string]line{},
		copies: map[string]int{}, files: map[uint64]int64{}, log: &strings.Builder{}}
	m.now.Store(base + 4*dayNs)
	m.cfg = Config{MemtableBytes: 8 << 10, SegmentBytes: 64 << 10, Check: -1, retry: 20 * time.Millisecond, Now: func() time.Time { return time.Unix(0, m.now.Load()) }}
	if testing.Verbose() && os.Getenv("WEIR_TEST_LOG") != "" {
		m.cfg.Log = slog.New(slog.NewTextHandler(m.log, nil))
	}
	m.open()
	return m
}

func (m *model) fatalf(format string, a ...any) {
	m.t.Helper()
	m.t.Fatalf("seed %d: %s\n%s", m.seed, fmt.Sprintf(format, a...), m.log.String())
}

// open opens the store; crashes on the way begin it again.
func (m *model) open() {
	for {
		cfg := m.cfg
		cfg.FS = m.fs
		s, err := Open(cfg)
		if err == nil {
			m.s = s
			return
		}
		if !errors.Is(err, errCrashed) {
			if m.fs.failOp == nil && m.fs.failSync == nil && m.fs.room < 0 {
				m.fatalf("open: %v", err)
			}
			m.fs.failSync, m.fs.failOp, m.fs.room = nil, nil, -1
			continue
		}
		m.fs = m.fs.restart()
		if m.r.IntN(2) == 0 {
			m.fs.crashAt = m.fs.ops + 1 + m.r.IntN(30)
		}
	}
}

func (m *model) crash() {
	m.fs.mu.Lock()
	m.fs.crashAt = 1
	m.fs.mu.Unlock()
	m.s.Close()
	m.fs = m.fs.restart()
	if m.r.IntN(4) == 0 {
		m.fs.crashAt = 1 + m.r.IntN(40) // during recovery, or soon after
	}
	m.open()
}

// some makes lines: new ones of files, in pieces or out of order, old ones again,
// new ones that are pushed with ids, and lines of neither.
func (m *model) some() []line {
	var out []line
	for range 1 + m.r.IntN(12) {
		l := someLine(m.r, m.n)
		m.n++
		switch k := m.r.IntN(10); {
		case k < 6:
			l.gen = uint64(1 + m.r.IntN(4))
			l.from = m.files[l.gen]
			l.to = l.from + int64(len(l.body)) + 1
			m.files[l.gen] = l.to
			m.sent = append(m.sent, l)
			if m.r.IntN(8) == 0 {
				continue // it will come later
			}
		case k == 6:
			l.id = uint64(m.n)
			m.sent = append(m.sent, l)
			if m.r.IntN(8) == 0 {
				out = append(out, l) // twice in the request
			}
		case k < 9 && len(m.sent) > 0:
			l = m.sent[m.r.IntN(len(m.sent))]
		}
		out = append(out, l)
	}
	if m.r.IntN(3) == 0 {
		m.r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	return out
}

// send sends lines, often in several requests at once, some of which give up
// early, and sometimes while somebody reads.
func (m *model) send() {
	requests := [][]line{m.some()}
	if m.r.IntN(3) == 0 {
		for range 1 + m.r.IntN(5) {
			requests = append(requests, m.some())
		}
	}
	healthy := m.healthy()
	before := maps.Clone(m.acked)
	for _, ls := range requests {
		for _, l := range ls {
			if !l.known() {
				m.copies[l.body]++
			}
			if _, ok := m.acked[l.body]; !ok {
				m.maybe[l.body] = l
			}
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, len(requests))
	for i, ls := range requests {
		wait := 200 * time.Millisecond
		switch {
		case len(requests) > 2 && m.r.IntN(6) == 0:
			wait = time.Duration(m.r.IntN(200)) * time.Microsecond
		case healthy:
			wait = 20 * time.Second
		}
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		wg.Go(func() {
			p := batch(ls)
			_, errs[i] = m.s.Send(ctx, []record.Part{p})
			buf := p.Batch().Buf()
			p.Finish()
			// Whoever sent may use the memory again.
			for k := range buf {
				buf[k] = '#'
			}
		})
	}
	if m.r.IntN(4) == 0 {
		got, err := m.read()
		if err == nil {
			m.compare(got, before)
		} else if !errors.Is(err, errCrashed) {
			m.fatalf("query: %v", err)
		}
	}
	wg.Wait()
	for i, ls := range requests {
		if errs[i] != nil {
			if healthy && !errors.Is(errs[i], context.DeadlineExceeded) {
				m.fatalf("send: %v", errs[i])
			}
			continue
		}
		for _, l := range ls {
			m.acked[l.body] = l
			delete(m.maybe, l.body)
		}
	}
}

// healthy reports that nothing is to fail, nor has the machine stopped.
func (m *model) healthy() bool {
	m.fs.mu.Lock()
	defer m.fs.mu.Unlock()
	return m.fs.failOp == nil && m.fs.failSync == nil && m.fs.room < 0 && m.fs.crashAt == 0
}

// check compares everything.
func (m *model) check() {
	m.t.Helper()
	got, err := m.read()
	if err != nil {
		if errors.Is(err, errCrashed) {
			return
		}
		m.fatalf("query: %v", err)
	}
	m.compare(got, m.acked)
	if n := m.s.stats.damagedPages.Load(); n > 0 {
		m.fatalf("%d damaged pages", n)
	}
}

func (m *model) read() ([]line, error) {
	return tryQuery(m.s, "", &logql.Request{Selector: selector(m.t, `{app=~".+"}`), Start: -1 << 62, End: 1 << 62, Columns: everything, Order: logql.Order(m.r.IntN(3))})
}

// compare looks for lines that nobody sent, that are there too often, and for
// those that must be there.
func (m *model) compare(got []line, must map[string]line) {
	m.t.Helper()
	seen := map[string]int{}
	for _, l := range got {
		want, ok := m.acked[l.body]
		if !ok {
			if want, ok = m.maybe[l.body]; !ok {
				m.fatalf("a line that nobody sent: %v", l)
			}
		}
		if l != stored(want) {
			m.fatalf("got %v\nsent %v", l, stored(want))
		}
		seen[l.body]++
		if n := seen[l.body]; want.known() && n > 1 || !want.known() && n > m.copies[l.body] {
			m.fatalf("%d times, of a file %v, with an id %v: %v", n, want.gen != 0, want.id != 0, l)
		}
	}
	for body, l := range must {
		if seen[body] == 0 {
			m.fatalf("acknowledged and lost: %v (file %d at %d–%d); recovery %+v %+v", l, l.gen, l.from, l.to, m.s.Recovery(), m.s.Stats())
		}
	}
}

// known says that the store recognises a line.
func (l line) known() bool { return l.gen != 0 || l.id != 0 }

func (m *model) step() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	switch k := m.r.IntN(100); {
	case k < 70:
		m.send()
	case k < 78:
		m.s.flushOnce(ctx)
	case k < 84:
		m.s.Maintain(ctx)
	case k < 90:
		m.check()
	case k < 92:
		m.s.Close()
		m.fs.crashAt = 0
		m.open()
		m.check()
	case k < 94:
		m.now.Add(m.r.Int64N(int64(30 * time.Hour)))
	case k < 97:
		m.fs.mu.Lock()
		m.fs.crashAt = m.fs.ops + 1 + m.r.IntN(60)
		m.fs.mu.Unlock()
	default:
		m.crash()
		m.check()
	}
	m.fs.mu.Lock()
	dead := m.fs.crashAt > 0 && m.fs.ops >= m.fs.crashAt
	m.fs.mu.Unlock()
	if dead {
		m.crash()
		m.check()
	}
}

// flushOnce is Flush that gives up when the disk does.
func (s *Store) flushOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	s.Flush(ctx)
}

func runModel(t *testing.T, runs int, faults bool) {
	for i := uint64(firstSeed()); i < uint64(runs); i++ {
		m := newModel(t, i)
		for range 150 {
			if faults {
				m.faults()
			}
			m.step()
		}
		m.fs.mu.Lock()
		m.fs.failSync, m.fs.failOp, m.fs.room = nil, nil, -1
		m.fs.mu.Unlock()
		m.crash()
		m.fs.crashAt = 0
		m.s.Close()
		m.open()
		m.check()
		// Everything is sent once more, cut otherwise: nothing is taken twice.
		for ls := range slices.Chunk(m.sent, 50) {
			if _, err := send(m.s, ls...); err != nil {
				m.fatalf("send again: %v", err)
			}
			for _, l := range ls {
				m.acked[l.body] = l
			}
		}
		m.check()
		m.s.Close()
	}
}

// faults switches failures of the disk on and off.
func (m *model) faults() {
	if m.r.IntN(6) != 0 {
		return
	}
	m.fs.mu.Lock()
	defer m.fs.mu.Unlock()
	m.fs.failSync, m.fs.failOp, m.fs.room = nil, nil, -1
	switch m.r.IntN(4) {
	case 0:
		n := 1 + m.r.IntN(3)
		m.fs.failSync = func(string) bool { n--; return n >= 0 }
	case 1:
		m.fs.room = m.r.Int64N(4000)
	case 2:
		n := 1 + m.r.IntN(5)
		m.fs.failOp = func(string) error {
			if n--; n < 0 {
				return nil
			}
			return errors.New("injected")
		}
	}
}

func modelRuns(n int) int {
	if testing.Short() {
		return n / 10
	}
	if k, err := strconv.Atoi(os.Getenv("WEIR_TEST_RUNS")); err == nil {
		return k
	}
	return n
}

// FAILURES 53, 54, 64: a crash anywhere, whatever of the unsynced state is lost,
// torn or out of order, also during recovery.
func TestFailure53_54_64_Crash(t *testing.T) { runModel(t, modelRuns(25), false) }

// FAILURES 55, 56: failed syncs, no room, failing operations, and crashes.
func TestFailure55_56_FaultyDisk(t *testing.T) { runModel(t, modelRuns(25), true) }

// firstSeed lets a failure be repeated alone.
func firstSeed() int {
	n, _ := strconv.Atoi(os.Getenv("WEIR_TEST_SEED"))
	return n
}
