package tail

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/checkpoint"
	"github.com/weirlog/weir/record"
)

// rec is what a record looks like from outside.
type rec struct {
	gen        record.ID
	start, end int64
	body       string
	stream     string // container/stream, or path
	flags      record.Flags
	reason     string
}

func (r rec) id() string { return fmt.Sprintf("%s %d %d %s", r.gen, r.start, r.end, r.body) }

// testSink is a sink and the backend behind it.
type testSink struct {
	mu   sync.Mutex
	open []*record.Batch // put and not finished
	all  []rec           // as put, in order
	full bool
	hold bool // do not finish batches by themselves
	room chan struct{}

	came    chan struct{} // a batch came
	refused chan struct{} // there was no room
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *testSink) Get() *record.Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full {
		signal(s.refused)
		return nil
	}
	return record.NewBatch(nil)
}

func (s *testSink) Room() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.room == nil {
		s.room = make(chan struct{})
	}
	return s.room
}

func (s *testSink) Put(ctx context.Context, b *record.Batch) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, r := range b.Records() {
		b.Streams()[r.Stream].Token.CountRead(1) // as the engine does
	}
	b.Freeze()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer signal(s.came)
	for _, i := range b.Live() {
		r := b.Record(int(i))
		st := b.Streams()[r.Stream]
		out := rec{gen: st.Generation, start: r.Start, end: r.End, body: string(b.Body(int(i))), flags: r.Flags, stream: st.Stream.Get("name")}
		if f, ok := b.FindField(int(i), "weir.gap.reason"); ok {
			out.reason = string(b.Bytes(f.Val))
		}
		s.all = append(s.all, out)
	}
	if s.hold {
		s.open = append(s.open, b)
		return nil
	}
	finish(b)
	return nil
}

// finish counts every record as delivered at output 0 and lets the batch go.
func finish(b *record.Batch) {
	record.CountRecords(b, b.Live(), 0, ack.Delivered)
	b.Release()
}

func (s *testSink) finishAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.open {
		finish(b)
	}
	s.open = nil
}

func (s *testSink) bodies() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.all {
		if !r.flags.Has(record.Gap) {
			out = append(out, r.body)
		}
	}
	return out
}

func (s *testSink) gaps() []rec {
	var out []rec
	for _, r := range s.all {
		if r.flags.Has(record.Gap) {
			out = append(out, r)
		}
	}
	return out
}

// node is a directory with logs, a reader and a clock.
type node struct {
	t     testing.TB
	dir   string
	pods  string
	now   time.Time
	cfg   Config
	store *checkpoint.Store
	in    *Input
	sink  *testSink
	line  int
}

func newNode(t testing.TB) *node {
	n := &node{t: t, dir: t.TempDir(), now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), sink: &testSink{came: make(chan struct{}, 1), refused: make(chan struct{}, 1)}}
	n.pods = filepath.Join(n.dir, "pods")
	os.MkdirAll(n.pods, 0o755)
	n.cfg = Config{
		Pods:     n.pods,
		NoNotify: true,
		Book:     new(ack.Book),
		Clock:    func() time.Time { return n.now },
		Describe: func(k Container) Description {
			mk := func(s string) *record.Stream {
				return record.NewStream([]record.Attr{{Name: "name", Value: k.Name() + s}}, nil, nil)
			}
			if k.Pod == "" {
				return Description{Streams: [2]*record.Stream{mk(""), nil}}
			}
			return Description{Streams: [2]*record.Stream{mk("/stdout"), mk("/stderr")}}
		},
	}
	n.cfg.Book.Index("out")
	if testing.Verbose() {
		n.cfg.Logger = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	t.Cleanup(func() { n.kill() })
	return n
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// start starts a reader on the node's state directory.
func (n *node) start() {
	n.t.Helper()
	var err error
	if n.store, err = checkpoint.Open(filepath.Join(n.dir, "state")); err != nil {
		n.t.Fatal(err)
	}
	n.cfg.Checkpoint = n.store
	if n.in, err = New(n.cfg); err != nil {
		n.t.Fatal(err)
	}
}

// kill ends the reader as kill -9 does: nothing is saved.
func (n *node) kill() {
	if n.in == nil {
		return
	}
	n.closeHandles()
	n.in = nil
	n.store.Close() // what was not synced is lost: tail calls Sync itself
	n.store = nil
	n.sink.open = nil
}

func (n *node) closeHandles() {
	for e := n.in.open.Front(); e != nil; e = n.in.open.Front() {
		n.in.closeFile(e.Value.(*generation))
	}
}

// stop ends the reader in order.
func (n *node) stop() {
	n.t.Helper()
	n.sink.finishAll()
	if err := n.in.Finish(context.Background()); err != nil {
		n.t.Fatal(err)
	}
	n.kill()
}

// step does one step, the given time after the last.
func (n *node) step(d time.Duration) bool {
	n.t.Helper()
	n.now = n.now.Add(d)
	progress, err := n.in.step(context.Background(), n.sink)
	if err != nil {
		n.t.Fatal(err)
	}
	n.balance()
	return progress
}

// settle steps until nothing happens any more, for at least some seconds.
func (n *node) settle() {
	n.t.Helper()
	for range 10 {
		for i := 0; n.step(500 * time.Millisecond); i++ {
			if i > 10000 {
				n.t.Fatal("the reader does not come to rest")
			}
		}
	}
}

// balance checks the ledger's equation.
func (n *node) balance() {
	n.t.Helper()
	for _, l := range n.in.collect().Ledgers {
		if l.Written != l.Read+l.Unread+l.Lost || l.Unread < 0 || l.Lost < 0 || l.Durable > l.Read {
			n.t.Fatalf("ledger of %s: written %d, read %d, unread %d, lost %d, durable %d",
				l.Container.Name(), l.Written, l.Read, l.Unread, l.Lost, l.Durable)
		}
	}
}

func (n *node) ledger() (sum Ledger) {
	for _, l := range n.in.collect().Ledgers {
		sum.Written += l.Written
		sum.Read += l.Read
		sum.Unread += l.Unread
		sum.Lost += l.Lost
		sum.Durable += l.Durable
		sum.Records.Add(&l.Records)
	}
	return sum
}

// path returns a container's file.
func (n *node) path(pod, container, file string) string {
	dir := filepath.Join(n.pods, "ns_"+pod+"_uid-"+pod, container)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		n.t.Fatal(err)
	}
	return filepath.Join(dir, file)
}

// cri returns a line in the format of container runtimes.
func (n *node) cri(stream, tag, msg string) string {
	n.line++
	at := time.Date(2026, 11, 22, 9, 0, 0, n.line*1000, time.UTC)
	return at.Format("2006-01-02T15:04:05.000000000Z07:00") + " " + stream + " " + tag + " " + msg + "\n"
}

func (n *node) out(msg string) string { return n.cri("stdout", "F", msg) }

func appendFile(t testing.TB, path string, text ...string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range text {
		if _, err := io.WriteString(f, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func rename(t testing.TB, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := os.RemoveAll(p); err != nil {
			t.Fatal(err)
		}
	}
}

// compress does what kubelet does: x → x.tmp → x.gz, then unlink x.
func compress(t testing.TB, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	if err := os.WriteFile(path+".tmp", z.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	rename(t, path+".tmp", path+".gz")
	remove(t, path)
}

func wantBodies(t testing.TB, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		if len(got) > 40 || len(want) > 40 {
			got, want = without(got, want), without(want, got)
			t.Fatalf("delivered and not wanted (or out of order)\n%s\nmissing\n%s", clip(got), clip(want))
		}
		t.Fatalf("delivered\n%s\nwant\n%s", clip(got), clip(want))
	}
}

// without returns the elements of a that b does not have as often.
func without(a, b []string) []string {
	n := map[string]int{}
	for _, s := range b {
		n[s]++
	}
	var out []string
	for _, s := range a {
		if n[s]--; n[s] < 0 {
			out = append(out, s)
		}
	}
	return out
}

func clip(s []string) string {
	var b strings.Builder
	for i, l := range s {
		if i == 40 {
			fmt.Fprintf(&b, "… %d more\n", len(s)-i)
			break
		}
		if len(l) > 100 {
			l = fmt.Sprintf("%s… (%d bytes)", l[:100], len(l))
		}
		fmt.Fprintf(&b, "  %q\n", l)
	}
	return b.String()
}
