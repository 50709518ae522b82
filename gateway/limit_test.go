package gateway

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirlog/weir/record"
)

func TestQuotas(t *testing.T) {
	now := time.Date(2026, 3, 1, 23, 0, 0, 0, time.UTC)
	q := NewQuotas(Quota{Bytes: 1000, Records: 100, Day: 100_000}, map[string]Quota{"big": {}, "small": {Bytes: 10, BytesBurst: 10}})
	allow := func(tenant string, bytes, records int, want time.Duration) {
		t.Helper()
		wait, ok := q.Allow(tenant, bytes, records, now)
		if ok != (want == 0) || wait.Round(time.Millisecond) != want {
			t.Errorf("%s at %s: %v %s, want %s", tenant, now.Format("15:04:05"), ok, wait, want)
		}
	}
	allow("a", 9999, 1, 0) // of the burst of 10 000
	allow("a", 5000, 1, 0) // what ends it is taken whole
	allow("a", 0, 0, 5*time.Second)
	allow("a", 1, 1, 5*time.Second)
	allow("b", 1, 1, 0) // others are not touched
	allow("big", 1<<30, 1<<20, 0)
	allow("big", 1<<30, 1<<20, 0)
	now = now.Add(5 * time.Second)
	allow("a", 0, 0, 0)
	allow("a", 1, 998, 0) // records: 1000 at once
	now = now.Add(time.Second)
	allow("a", 1, 200, 0) // 100 and some more were left
	allow("a", 1, 1, 990*time.Millisecond)
}

// TestQuotaRate: in the long run exactly the rate, whatever the sizes of requests.
func TestQuotaRate(t *testing.T) {
	for _, size := range []int{1, 700, 5000, 100_000} {
		now := time.Unix(1e9, 0)
		q := NewQuotas(Quota{Bytes: 1000, BytesBurst: 2000}, nil)
		var taken int
		for range 10_000 {
			if _, ok := q.Allow("t", size, 1, now); ok {
				taken += size
			}
			now = now.Add(100 * time.Millisecond)
		}
		if most := 1_000_000 + 2000 + size; taken > most || size > 100 && taken < most*8/10 {
			t.Errorf("requests of %d bytes: %d bytes in 1000 s", size, taken)
		}
	}
}

// TestQuotaRetryAfter: who comes again when told is taken.
func TestQuotaRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, l := range []Quota{{Bytes: 3}, {Records: 7}, {Day: 10}, {Bytes: 3, Records: 7, Day: 1000}} {
		q := NewQuotas(l, nil)
		if _, ok := q.Allow("t", 12_345, 678, now); !ok {
			t.Fatalf("%+v: the first is refused", l)
		}
		wait, ok := q.Allow("t", 1, 1, now)
		if ok {
			t.Fatalf("%+v: the second is taken", l)
		}
		if _, ok := q.Allow("t", 1, 1, now.Add(wait-wait/100-time.Millisecond)); ok {
			t.Errorf("%+v: taken before %s", l, wait)
		}
		if more, ok := q.Allow("t", 1, 1, now.Add(wait+time.Microsecond)); !ok {
			t.Errorf("%+v: not taken after %s, but %s more", l, wait, more)
		}
	}
}

func TestQuotaDay(t *testing.T) {
	now := time.Date(2026, 3, 1, 23, 59, 0, 0, time.UTC)
	q := NewQuotas(Quota{Day: 100}, nil)
	q.Allow("t", 100, 1, now)
	if wait, ok := q.Allow("t", 1, 1, now); ok || wait != time.Minute {
		t.Errorf("%v %s", ok, wait)
	}
	kept := q.Marshal(now)
	again := NewQuotas(Quota{Day: 100}, nil)
	if err := again.Restore(kept, now); err != nil {
		t.Fatal(err)
	}
	if _, ok := again.Allow("t", 1, 1, now); ok {
		t.Error("a restart gives a second day")
	}
	if _, ok := again.Allow("t", 1, 1, now.Add(time.Minute)); !ok {
		t.Error("the next day is not new")
	}
	if _, ok := again.Allow("t", 99, 1, now); !ok {
		t.Error("a clock that was set back")
	}
	if _, ok := again.Allow("t", 1, 1, now); ok {
		t.Error("a clock that was set back gives a second day")
	}
	late := NewQuotas(Quota{Day: 100}, nil)
	if err := late.Restore(kept, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, ok := late.Allow("t", 1, 1, now.Add(time.Hour)); !ok {
		t.Error("yesterday counts")
	}
	for _, bad := range []string{"", "{", `[]`, `{"day":"x"}`} {
		if late.Restore([]byte(bad), now) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if err := late.Restore(fmt.Appendf(nil, `{"day":%d,"bytes":{"../x":5,"t":-5}}`, dayOf(now)), now); err != nil {
		t.Error(err)
	}
	for _, s := range late.Stats(now) {
		if s.Tenant == "../x" {
			t.Error("a name that is no tenant")
		}
	}
}

// TestFailure111_TenantsAreBounded: who invents tenants makes neither memory nor
// metrics grow, and those that are told apart keep their own.
func TestFailure111_TenantsAreBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	q := NewQuotas(Quota{Bytes: 10}, map[string]Quota{"named": {Bytes: 1000}})
	q.Allow("first", 1, 1, now)
	for i := range 5 * maxTenants {
		q.Allow(fmt.Sprint("t", i), 1000, 1, now)
	}
	if _, ok := q.Allow("first", 1, 1, now); !ok {
		t.Error("the first is refused")
	}
	if _, ok := q.Allow("named", 1, 1, now); !ok {
		t.Error("a configured tenant is refused")
	}
	if n := len(q.Stats(now)); n > maxTenants+3 {
		t.Errorf("%d tenants", n)
	}
}

func batchOf(t *testing.T, streams ...string) *record.Batch {
	b := new(record.Batch)
	b.Reset(func(*record.Batch) {})
	for _, s := range streams {
		b.AddStream(record.StreamRef{Stream: record.NewStream([]record.Attr{{Name: "app", Value: s}}, nil, nil)})
	}
	return b
}

func TestQuotaStreams(t *testing.T) {
	now := time.Unix(1800*1000, 0)
	q := NewQuotas(Quota{Streams: 3}, nil)
	allow := func(want bool, streams ...string) {
		t.Helper()
		if _, ok := q.AllowStreams("t", batchOf(t, streams...), now); ok != want {
			t.Errorf("%v: %v", streams, ok)
		}
	}
	allow(true, "a", "b")
	allow(false, "c", "d")
	allow(true, "c")
	allow(true, "a", "b", "c")
	allow(false, "d")
	now = now.Add(40 * time.Minute)
	allow(true, "a") // those of before count still
	allow(false, "d")
	now = now.Add(40 * time.Minute)
	allow(true, "d", "e")
	now = now.Add(10 * time.Hour)
	allow(true, "x", "y", "z")
}

// TestFailure107_MemoryIsShared: one sender cannot take what others need.
func TestFailure107_MemoryIsShared(t *testing.T) {
	const mib = 1 << 20
	m := NewMemory(128 * mib)
	hog, honest := holder{tenant: "hog"}, holder{tenant: "honest"}
	n := 0
	for m.take(hog, mib, 0) {
		n++
	}
	if n != 96 {
		t.Errorf("alone: %d MiB", n)
	}
	for i := range 16 {
		if !m.take(honest, mib, 0) {
			t.Fatalf("the honest one gets %d MiB", i)
		}
	}
	if m.take(hog, mib, 0) {
		t.Error("the hog gets more")
	}
	m.give(hog, 96*mib)
	m.give(honest, 16*mib)
	if m.Used() != 0 || len(m.by) != 0 {
		t.Errorf("left: %d, %v", m.Used(), m.by)
	}
	if !m.take(hog, 1000*mib, 0) {
		t.Error("the only one is refused")
	}
	m.give(hog, 1000*mib)
	// A thousand tenants with little each.
	for i := range 1000 {
		if !m.take(holder{tenant: fmt.Sprint(i)}, mib/16, 0) {
			t.Fatal(i)
		}
	}
}

// fakeConn comes from an address.
type fakeConn struct {
	net.Conn
	from   string
	closed *[]string
	once   *sync.Once
}

type fakeAddr string

func (a fakeAddr) Network() string { return "tcp" }
func (a fakeAddr) String() string  { return string(a) }

func (c fakeConn) RemoteAddr() net.Addr { return fakeAddr(c.from) }
func (c fakeConn) Close() error {
	c.once.Do(func() { *c.closed = append(*c.closed, c.from) })
	return nil
}

// TestFailure109_ConnectionsAreShared: who holds many gives up one for who wants one.
func TestFailure109_ConnectionsAreShared(t *testing.T) {
	l := NewConnLimit(100, 60)
	var closed []string
	dial := func(from string, port int) *limitedConn {
		c := l.admit(fakeConn{from: fmt.Sprintf("%s:%d", from, port), closed: &closed, once: new(sync.Once)})
		if c != nil {
			c.reading.Store(1)
		}
		return c
	}
	var conns []*limitedConn
	for i := range 60 {
		conns = append(conns, dial("10.0.0.1", i+1))
		conns[i].last.Store(int64(1000 + i))
	}
	if dial("10.0.0.1", 99) != nil {
		t.Error("more than there may be from one address")
	}
	for i := range 40 {
		if dial("10.0.0.2", i+1) == nil {
			t.Fatal("refused too early")
		}
	}
	conns[0].last.Store(2000) // the second has been silent for longest,
	conns[2].last.Store(1)    // but for one that weir itself makes wait
	conns[2].reading.Store(0)
	c := dial("10.0.0.3", 1)
	if c == nil || strings.Join(closed, " ") != "10.0.0.1:2" {
		t.Fatalf("admitted %v, closed %v", c != nil, closed)
	}
	// Attackers take from each other, not from those with few.
	for i := range 50 {
		dial("10.0.0.2", 100+i)
	}
	for _, from := range closed {
		if strings.HasPrefix(from, "10.0.0.3") {
			t.Error("the honest one was closed")
		}
	}
	if s := l.Stats(); s.Open != 100 || s.Evicted == 0 {
		t.Errorf("%+v", s)
	}
	for range 3 {
		_ = c.Close()
	}
	if s := l.Stats(); s.Open != 99 {
		t.Errorf("%+v", s)
	}
	// IPv6: a /64 is one sender.
	six := NewConnLimit(10, 2)
	for i := range 2 {
		if six.admit(fakeConn{from: fmt.Sprintf("[2001:db8::%d]:1", i+1), closed: &closed, once: new(sync.Once)}) == nil {
			t.Error(i)
		}
	}
	if six.admit(fakeConn{from: "[2001:db8::9]:1", closed: &closed, once: new(sync.Once)}) != nil {
		t.Error("a third from one /64")
	}
	if network(netip.MustParseAddr("::ffff:10.0.0.1")) != network(netip.MustParseAddr("10.0.0.1")) {
		t.Error("one address is two")
	}
}
