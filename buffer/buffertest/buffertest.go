// Package buffertest is the behaviour that every queue of package buffer has,
// as a test suite.
package buffertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// Queue is what the suite demands.
type Queue interface {
	Put(record.Part) bool
	Full() bool
	TryNext() (record.Part, bool)
	Next(context.Context) (record.Part, error)
	Ready() <-chan struct{}
	Close()
	Drained() bool
	Len() (parts, records, bytes int)
	OldestSince() (time.Time, bool)
	OnRoom(func())
}

// T is what Open gets: a test or a property test.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// durable is a queue on disk. What was put can be taken a moment later, and its
// limit is one of the disk: that it is not the sum of the sizes of its Parts is
// the only difference the suite makes.
type durable interface {
	Sync(context.Context) error
}

func isDurable(q Queue) bool {
	_, ok := q.(durable)
	return ok
}

// takeNext takes the oldest Part, which a durable queue may still be writing.
func takeNext(q Queue) (record.Part, bool) {
	for {
		p, ok := q.TryNext()
		if _, n, _ := q.Len(); ok || n == 0 || !isDurable(q) {
			return p, ok
		}
		<-q.Ready()
	}
}

// Open returns an empty queue for maxBytes bytes that is not shared yet.
// Everything it needs to clean up must be cleaned up by Queue.Close, or by what
// it gives to t.Cleanup.
type Open func(t T, maxBytes int) Queue

// Run runs the suite.
func Run(t *testing.T, open Open) {
	t.Run("model", func(t *testing.T) { rapid.Check(t, func(rt *rapid.T) { model(rt, open) }) })
	t.Run("the limit is one of admission", func(t *testing.T) { oversized(t, open) })
	t.Run("closed queue drains", func(t *testing.T) { drains(t, open) })
	t.Run("Next waits and obeys its context", func(t *testing.T) { waits(t, open) })
	t.Run("room is announced", func(t *testing.T) { room(t, open) })
	t.Run("age of the oldest", func(t *testing.T) { age(t, open) })
	t.Run("Ready", func(t *testing.T) { ready(t, open) })
	t.Run("many takers, nothing lost or doubled", func(t *testing.T) { concurrent(t, open) })
	t.Run("content survives", func(t *testing.T) { content(t, open) })
}

var stream = record.NewStream([]record.Attr{{Name: "pod", Value: "p"}}, nil, nil)

// part returns a Part of n records whose bodies begin with name/index and are
// size bytes long.
func part(name string, n, size int) record.Part {
	b := record.NewBatch(nil)
	token := new(ack.Token)
	token.Expect(1)
	st := b.AddStream(record.StreamRef{Stream: stream, Token: token})
	for i := range n {
		body := fmt.Sprintf("%s/%d ", name, i)
		if len(body) < size {
			body += strings.Repeat("x", size-len(body))
		}
		sp := b.AppendString(body)
		b.Add(record.Record{Body: sp, Source: sp, Stream: st, Start: int64(i), End: int64(i + 1)})
	}
	b.Freeze()
	p := record.NewPart(b, b.Live())
	b.Release()
	return p
}

func name(p record.Part) string {
	if p.Len() == 0 {
		return ""
	}
	n, _, _ := strings.Cut(string(p.Batch().Body(int(p.Index()[0]))), "/")
	return n
}

func model(t *rapid.T, open Open) {
	max := rapid.IntRange(0, 4000).Draw(t, "max")
	q := open(t, max)
	defer q.Close()
	rooms := 0
	q.OnRoom(func() {
		if !isDurable(q) {
			rooms++
		}
	})
	type entry struct {
		name          string
		records, size int
	}
	var want []entry
	bytes, records, next, closed := 0, 0, 0, false
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		switch rapid.SampledFrom([]string{"put", "put", "put", "take", "take", "close?"}).Draw(t, "action") {
		case "put":
			p := part(fmt.Sprint("p", next), rapid.IntRange(1, 4).Draw(t, "records"), rapid.IntRange(0, 900).Draw(t, "size"))
			size, n := p.Size(), p.Len()
			if got := q.Put(p); got == closed {
				t.Fatalf("Put with closed %v: %v", closed, got)
			}
			if !closed {
				want = append(want, entry{fmt.Sprint("p", next), n, size})
				bytes, records = bytes+size, records+n
				next++
			}
		case "take":
			was, before := q.Full(), rooms
			p, ok := takeNext(q)
			if ok != (len(want) > 0) {
				t.Fatalf("TryNext %v with %d queued", ok, len(want))
			}
			if !ok {
				continue
			}
			if name(p) != want[0].name || p.Len() != want[0].records {
				t.Fatalf("got %s with %d records, want %v", name(p), p.Len(), want[0])
			}
			p.Finish()
			bytes, records, want = bytes-want[0].size, records-want[0].records, want[1:]
			if got := was && !q.Full(); !isDurable(q) && got != (rooms > before) {
				t.Fatalf("got room: %v, announced %d times", got, rooms-before)
			}
		case "close?":
			if rapid.IntRange(0, 9).Draw(t, "dice") == 0 {
				q.Close()
				closed = true
			}
		}
		if p, r, b := q.Len(); p != len(want) || r != records || b != bytes {
			t.Fatalf("Len %d %d %d, want %d %d %d", p, r, b, len(want), records, bytes)
		}
		if full := q.Full(); !isDurable(q) && full != (bytes >= max && len(want) > 0) {
			t.Fatalf("Full %v with %d of %d", q.Full(), bytes, max)
		}
		if q.Drained() != (closed && len(want) == 0) {
			t.Fatalf("Drained %v, closed %v, queued %d", q.Drained(), closed, len(want))
		}
	}
}

func oversized(t *testing.T, open Open) {
	q := open(t, 100)
	defer q.Close()
	if q.Full() {
		t.Error("an empty queue is full")
	}
	if !q.Put(part("big", 1, 1000)) {
		t.Fatal("empty queue refused an oversized part")
	}
	if !isDurable(q) && !q.Full() {
		t.Error("not full")
	}
	if !q.Put(part("next", 1, 1)) {
		t.Error("a full queue refused a part that had been made already")
	}
	for _, want := range []string{"big", "next"} {
		p, ok := takeNext(q)
		if !ok || name(p) != want {
			t.Fatalf("%s is gone", want)
		}
		p.Finish()
	}
	if !isDurable(q) && q.Full() { // else it takes a moment
		t.Error("full when empty")
	}
}

func drains(t *testing.T, open Open) {
	q := open(t, 1<<20)
	q.Put(part("a", 1, 0))
	q.Put(part("b", 1, 0))
	q.Close()
	q.Close()
	if q.Put(part("c", 1, 0)) {
		t.Error("closed queue took a part")
	}
	for _, want := range []string{"a", "b"} {
		p, err := q.Next(t.Context())
		if err != nil || name(p) != want {
			t.Fatalf("Next: %v, want %s", err, want)
		}
		p.Finish()
	}
	for range 2 {
		if _, err := q.Next(t.Context()); err != io.EOF {
			t.Fatalf("Next after the end: %v", err)
		}
	}
}

func waits(t *testing.T, open Open) {
	synctest.Test(t, func(t *testing.T) {
		q := open(t, 1<<20)
		ctx, cancel := context.WithCancel(t.Context())
		type answer struct {
			name string
			err  error
		}
		got := make(chan answer, 1)
		take := func() {
			p, err := q.Next(ctx)
			if err != nil {
				got <- answer{"", err}
				return
			}
			n := name(p)
			p.Finish()
			got <- answer{n, nil}
		}
		go take()
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("Next did not wait")
		}
		q.Put(part("a", 1, 0))
		if a := <-got; a.err != nil || a.name != "a" {
			t.Fatalf("got %+v", a)
		}
		go take()
		synctest.Wait()
		cancel()
		if a := <-got; !errors.Is(a.err, context.Canceled) {
			t.Fatalf("got %+v", a)
		}
		q.Put(part("b", 1, 0))
		if _, err := q.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("Next with an ended context: %v", err)
		}
		if p, _, _ := q.Len(); p != 1 {
			t.Fatalf("%d parts queued, want 1", p)
		}
		ctx = t.Context()
		take()
		if a := <-got; a.name != "b" {
			t.Fatalf("got %+v", a)
		}
		// Close ends every waiter.
		go take()
		got2 := make(chan error, 1)
		go func() {
			_, err := q.Next(ctx)
			got2 <- err
		}()
		synctest.Wait()
		q.Close()
		if a, err := <-got, <-got2; a.err != io.EOF || err != io.EOF {
			t.Fatalf("got %+v and %v", a, err)
		}
	})
}

func room(t *testing.T, open Open) {
	p := part("x", 1, 100)
	size := p.Size()
	q := open(t, 2*size)
	if isDurable(q) {
		q.Close()
		t.Skip("room on a disk comes with the removal of files")
	}
	rooms := 0
	q.OnRoom(func() { rooms++ })
	q.Put(p)
	if q.Full() {
		t.Error("full at half")
	}
	if p, ok := q.TryNext(); !ok || rooms != 0 {
		t.Errorf("room announced %d times though never full", rooms)
	} else {
		p.Finish()
	}
	q.Put(part("a", 1, 100))
	q.Put(part("b", 1, 100))
	take := func() {
		if p, ok := q.TryNext(); ok {
			p.Finish()
		}
	}
	take()
	if rooms != 1 {
		t.Errorf("rooms %d after a full queue shrank", rooms)
	}
	q.Close()
	take()
	if rooms != 2 {
		t.Errorf("rooms %d: whoever waits for room is not told of the end", rooms)
	}
}

func age(t *testing.T, open Open) {
	synctest.Test(t, func(t *testing.T) {
		q := open(t, 1<<20)
		defer q.Close()
		if _, ok := q.OldestSince(); ok {
			t.Error("an empty queue has an oldest part")
		}
		first := time.Now()
		q.Put(part("a", 1, 0))
		<-time.After(time.Second) // of the bubble
		second := time.Now()
		q.Put(part("b", 1, 0))
		synctest.Wait()
		for _, want := range []time.Time{first, second} {
			if got, ok := q.OldestSince(); !ok || !got.Equal(want) {
				t.Errorf("oldest since %v, want %v", got, want)
			}
			p, _ := q.TryNext()
			p.Finish()
		}
	})
}

func ready(t *testing.T, open Open) {
	q := open(t, 1<<20)
	q.Put(part("a", 1, 0))
	q.Put(part("b", 1, 0))
	take := func() {
		for {
			if p, ok := q.TryNext(); ok {
				p.Finish()
				return
			}
			<-q.Ready()
		}
	}
	if !isDurable(q) {
		<-q.Ready() // one value may stand for both
	}
	take()
	take()
	q.Put(part("c", 1, 0))
	take()
	q.Close()
	for !q.Drained() {
		<-q.Ready()
	}
}

func concurrent(t *testing.T, open Open) {
	const putters, takers, each = 4, 4, 200
	p := part("x", 1, 50)
	q := open(t, 8*p.Size())
	p.Finish()
	rooms := make(chan struct{}, 1)
	q.OnRoom(func() {
		select {
		case rooms <- struct{}{}:
		default:
		}
	})
	var put, taken sync.WaitGroup
	var gate sync.Mutex // one putter at a time waits for room
	for i := range putters {
		put.Go(func() {
			for j := range each {
				p := part(fmt.Sprintf("%d-%d", i, j), 1, 50)
				gate.Lock()
				for q.Full() {
					<-rooms
				}
				if !q.Put(p) {
					t.Errorf("part refused")
				}
				gate.Unlock()
			}
		})
	}
	var mu sync.Mutex
	seen := map[string]int{}
	for range takers {
		taken.Go(func() {
			for {
				p, err := q.Next(context.Background())
				if err == io.EOF {
					return
				}
				if err != nil {
					t.Errorf("Next: %v", err)
					return
				}
				mu.Lock()
				seen[name(p)]++
				mu.Unlock()
				p.Finish()
			}
		})
	}
	put.Wait()
	q.Close()
	taken.Wait()
	if len(seen) != putters*each {
		t.Errorf("%d different parts came out, want %d", len(seen), putters*each)
	}
	for n, c := range seen {
		if c != 1 {
			t.Errorf("%s came out %d times", n, c)
		}
	}
}

func content(t *testing.T, open Open) {
	q := open(t, 1<<20)
	defer q.Close()
	b := record.NewBatch(nil)
	gen := record.ID{Hi: 1, Lo: 2}
	st := b.AddStream(record.StreamRef{Stream: stream, Generation: gen})
	for i := range 3 {
		src := b.AppendString(fmt.Sprintf("source %d", i))
		body := b.AppendString(fmt.Sprintf("body %d", i))
		r := b.Add(record.Record{Time: int64(i), Observed: 7, Start: 10, End: 20, Body: body, Source: src, Stream: st, Severity: record.Warn, Flags: record.Partial})
		b.SetField(r, "key", record.Int, b.AppendString("42"))
	}
	b.SetID(1, record.ID{Hi: 3, Lo: 4})
	b.Freeze()
	p := record.NewPart(b, []uint32{1, 2})
	b.Release()
	if !q.Put(p) {
		t.Fatal("refused")
	}
	got, ok := takeNext(q)
	if !ok || got.Len() != 2 {
		t.Fatalf("got %d records", got.Len())
	}
	defer got.Finish()
	for n, i := range got.Index() {
		b, r := got.Batch(), got.Batch().Record(int(i))
		want := n + 1
		if string(b.Bytes(r.Body)) != fmt.Sprintf("body %d", want) || string(b.Bytes(r.Source)) != fmt.Sprintf("source %d", want) ||
			r.Time != int64(want) || r.Observed != 7 || r.Start != 10 || r.End != 20 || r.Severity != record.Warn || !r.Flags.Has(record.Partial) {
			t.Errorf("record %d: %+v", want, r)
		}
		if f, ok := b.FindField(int(i), "key"); !ok || f.Kind != record.Int || string(b.Bytes(f.Val)) != "42" {
			t.Errorf("record %d: field %+v", want, f)
		}
		if ref := b.Streams()[r.Stream]; ref.Generation != gen || ref.Stream.Hash() != stream.Hash() {
			t.Errorf("record %d: stream %+v", want, ref)
		}
		if id, ok := b.SenderID(int(i)); ok != (want == 1) || ok && id != (record.ID{Hi: 3, Lo: 4}) {
			t.Errorf("record %d: id %v %v", want, id, ok)
		}
	}
}
