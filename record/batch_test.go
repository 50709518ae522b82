package record

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/ack"
)

func fill(b *Batch, s *Stream, tok *ack.Token, n int) {
	ref := b.AddStream(StreamRef{Stream: s, Generation: ID{1, 2}, Token: tok})
	for range n {
		copy(b.Reserve(16), "a line of text\n")
		sp := b.Extend(15)
		sp.Len--
		b.Add(Record{Body: sp, Source: sp, Stream: ref})
	}
}

func TestReserveExtendKeepsSpans(t *testing.T) {
	b := NewBatch(nil)
	var spans []Span
	for i := range 1000 {
		line := fmt.Sprintf("line %d", i)
		copy(b.Reserve(len(line)+9), line)
		spans = append(spans, b.Extend(len(line)))
	}
	for i, s := range spans {
		if got := string(b.Bytes(s)); got != fmt.Sprintf("line %d", i) {
			t.Fatalf("span %d: %q", i, got)
		}
	}
}

func TestFields(t *testing.T) {
	b := NewBatch(nil)
	s := NewStream([]Attr{{AttrPod, "p"}}, nil, nil)
	fill(b, s, nil, 3)
	set := func(i int, k, v string) { b.SetField(i, k, String, b.AppendString(v)) }
	get := func(i int, k string) string {
		f, ok := b.FindField(i, k)
		if !ok {
			return "-"
		}
		return string(b.Bytes(f.Val))
	}
	set(0, "a", "1")
	set(1, "a", "2")
	set(0, "b", "3") // out of order: moves the range
	set(1, "b", "4")
	set(0, "a", "5") // replaces
	b.RemoveField(1, "a")
	if got := strings.Join([]string{get(0, "a"), get(0, "b"), get(1, "a"), get(1, "b"), get(2, "a")}, " "); got != "5 3 - 4 -" {
		t.Fatal(got)
	}
	for i := range MaxKeys + 10 {
		b.Key(fmt.Appendf(nil, "k%d", i))
	}
	if _, ok := b.Key([]byte("one more")); ok {
		t.Fatal("key table has no bound")
	}
	if _, ok := b.Key([]byte("a")); !ok {
		t.Fatal("a known key must be found in a full table")
	}
}

func TestPartsSettleTheToken(t *testing.T) {
	var tr ack.Tracker[int]
	tok := tr.Track(7, time.Time{})
	tok.Expect(1)
	released := 0
	b := NewBatch(func(*Batch) { released++ })
	s := NewStream([]Attr{{AttrPod, "p"}}, nil, nil)
	fill(b, s, tok, 5)
	b.Record(1).Flags |= Dropped
	b.Freeze()
	if fmt.Sprint(b.Live()) != "[0 2 3 4]" {
		t.Fatal(b.Live())
	}
	p := NewPart(b, b.Live())
	b.Release()
	head, rest := p.Split(1)
	sel := rest.Select([]uint32{3})
	CountRecords(b, []uint32{2, 4}, 0, ack.DeadRejected)
	rest.Finish()
	head.Settle(0, ack.Delivered)
	if _, ok := tr.Advance(&ack.Tally{}); ok || released != 0 {
		t.Fatal("finished while a part is open")
	}
	sel.Settle(0, ack.Delivered)
	var sum ack.Tally
	if pos, ok := tr.Advance(&sum); !ok || pos != 7 || released != 1 {
		t.Fatalf("pos %d ok %v released %d", pos, ok, released)
	}
	if o := sum.Outputs[0]; o[ack.Delivered] != 2 || o[ack.DeadRejected] != 2 {
		t.Fatal(o)
	}
}

func TestAbandonLeavesTokensOpen(t *testing.T) {
	var tr ack.Tracker[int]
	b := NewBatch(nil)
	fill(b, NewStream(nil, nil, nil), tr.Track(1, time.Time{}), 1)
	b.Abandon()
	if n, _ := tr.Open(); n != 1 {
		t.Fatal("token finished")
	}
}

func TestStream(t *testing.T) {
	s := NewStream(
		[]Attr{{AttrPod, "old"}, {AttrNamespace, "shop"}, {AttrPod, "web-1"}, {AttrNode, ""}},
		[]Attr{{"app.kubernetes.io/name", "web"}}, nil)
	for name, want := range map[string]string{
		"pod": "web-1", "namespace": "shop", "node": "", "label_app_kubernetes_io_name": "web", "nope": "",
	} {
		if got := s.Get(name); got != want {
			t.Errorf("Get(%q) = %q, want %q", name, got, want)
		}
	}
	if len(s.Attrs()) != 2 {
		t.Error(s.Attrs())
	}
	same := NewStream([]Attr{{AttrNamespace, "shop"}, {AttrPod, "web-1"}}, []Attr{{"app.kubernetes.io/name", "web"}}, nil)
	other := NewStream([]Attr{{AttrNamespace, "shop"}, {AttrPod, "web-1"}, {"app.kubernetes.io/name", "web"}}, nil, nil)
	if s.Hash() != same.Hash() || s.Hash() == other.Hash() {
		t.Error("hash")
	}
}

func TestIDText(t *testing.T) {
	id := ID{0x0123456789abcdef, 0xfedcba9876543210}
	if id.String() != "0123456789abcdeffedcba9876543210" {
		t.Fatal(id)
	}
	if back, ok := ParseID(id.String()); !ok || back != id {
		t.Fatal(back)
	}
	for _, bad := range []string{"", "x", id.String() + "0", "0123456789ABCDEFfedcba9876543210"} {
		if _, ok := ParseID(bad); ok {
			t.Errorf("ParseID(%q) accepted", bad)
		}
	}
}

func TestLevel(t *testing.T) {
	for s, want := range map[Severity]string{0: "unknown", 1: "trace", 4: "trace", 5: "debug", 12: "info", 13: "warn", 17: "error", 24: "fatal", 25: "unknown"} {
		if got := s.Level(); got != want {
			t.Errorf("%d: %s, want %s", s, got, want)
		}
	}
}

// One life of a batch of 1000 records allocates nothing per record.
func BenchmarkBatchLife(b *testing.B) {
	var pool Pool
	s := NewStream([]Attr{{AttrPod, "p"}}, nil, nil)
	line := bytes.Repeat([]byte("x"), 300)
	release := func(x *Batch) { pool.Put(x) }
	const n = 1000
	b.ReportAllocs()
	b.SetBytes(n * 300)
	for range b.N {
		bt := pool.Get(release)
		ref := bt.AddStream(StreamRef{Stream: s})
		for range n {
			copy(bt.Reserve(300), line)
			sp := bt.Extend(300)
			bt.Add(Record{Body: sp, Source: sp, Stream: ref})
		}
		bt.Freeze()
		p := NewPart(bt, bt.Live())
		bt.Release()
		p.Settle(0, ack.Delivered)
	}
}

// Field names come from log lines; what they occupy is charged like the rest.
func TestSizeCountsKeys(t *testing.T) {
	b := NewBatch(nil)
	before := b.Size()
	name := bytes.Repeat([]byte("k"), 1000)
	for i := range 100 {
		name[0] = byte(i)
		b.Key(name)
		b.Key(name)
	}
	if grown := b.Size() - before; grown < 100*1000 || grown > 120*1000 {
		t.Fatalf("100 names of 1000 bytes: %d", grown)
	}
	b.Release()
	b.Reset(nil)
	if b.Size() != before {
		t.Fatalf("%d after Reset, %d before", b.Size(), before)
	}
}

// A batch that once held very many records is not kept for small ones.
func TestPoolKeepsNoGiants(t *testing.T) {
	var p Pool
	for range 10 {
		b := p.Get(p.Put)
		for range 100_000 {
			b.Add(Record{})
		}
		b.Release()
		if next := p.Get(p.Put); next == b {
			t.Fatal("kept")
		}
	}
}
