package wire

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirlog/weir/record"
)

func TestStreamCache(t *testing.T) {
	var c StreamCache
	a, b := &PushedStream{}, &PushedStream{}
	if c.Get([]byte("a")) != nil || c.Put([]byte("a"), a) != a || c.Put([]byte("a"), b) != a || c.Get([]byte("a")) != a {
		t.Error("the first stream under a key is not kept")
	}
	// What is in use stays, however many others come.
	for i := range 3 * maxPushedStreams {
		c.Put(fmt.Appendf(nil, "%d", i), b)
		if i%1000 == 0 && c.Get([]byte("a")) != a {
			t.Fatalf("forgotten after %d others", i)
		}
		if n := len(c.known) + len(c.old); n > 2*maxPushedStreams {
			t.Fatalf("%d streams", n)
		}
	}
	// Long keys are bounded by their bytes.
	long := strings.Repeat("x", 200<<10)
	for i := range 500 {
		c.Put(fmt.Appendf(nil, "%s%d", long, i), b)
	}
	if c.bytes > maxPushedBytes+len(long)+3 || len(c.known)+len(c.old) > 100 {
		t.Errorf("%d bytes, %d streams", c.bytes, len(c.known)+len(c.old))
	}
	huge := bytes.Repeat([]byte("x"), maxPushedKey+1)
	if c.Put(huge, a) != a || c.Get(huge) != nil {
		t.Error("a huge key is kept")
	}
	var wg sync.WaitGroup
	got := make([]*PushedStream, 8)
	for i := range got {
		wg.Go(func() { got[i] = c.Put([]byte("shared"), &PushedStream{}) })
	}
	wg.Wait()
	for _, s := range got {
		if s != got[0] {
			t.Error("one key has two streams")
		}
	}
}

func TestKeys(t *testing.T) {
	var k Keys
	b := record.NewBatch(nil)
	for _, names := range [][]string{{"a", "b", "c"}, {"a", "b", "c"}, {"b", "c"}, {"a", "x", "c", "d"}} {
		for pos, name := range names {
			if i, ok := k.Index(b, pos, []byte(name)); !ok || b.KeyName(i) != name {
				t.Errorf("%s: %d, %v", name, i, ok)
			}
		}
	}
	k.Reset()
	b = record.NewBatch(nil)
	for i := range record.MaxKeys {
		b.Key(fmt.Appendf(nil, "k%d", i))
	}
	if _, ok := k.Index(b, 0, []byte("new")); ok {
		t.Error("a full table takes another name")
	}
	if i, ok := k.Index(b, 0, []byte("k7")); !ok || b.KeyName(i) != "k7" {
		t.Error("a full table does not find its names")
	}
}

// Our reader of protobuf's encoding and protowire agree on everything but
// groups, which proto3 does not have.
func FuzzProto(f *testing.F) {
	f.Add([]byte{0x08, 0x96, 0x01})
	f.Add([]byte("\x12\x07testing"))
	f.Add(bytes.Repeat([]byte{0xff}, 11))
	f.Add([]byte{0x80, 0x80, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		v, next := Uvarint(p, 0)
		w, n := protowire.ConsumeVarint(p)
		if (next < 0) != (n < 0) || next >= 0 && (v != w || next != n) {
			t.Fatalf("varint %x: %d, %d; protowire says %d, %d", p, v, next, w, n)
		}
		num, typ, next := ProtoTag(p, 0)
		wnum, wtyp, n := protowire.ConsumeTag(p)
		if next < 0 || n < 0 {
			if next >= 0 || n >= 0 && wnum.IsValid() {
				t.Fatalf("tag %x: %d; protowire says %d", p, next, n)
			}
			return
		}
		if num != int(wnum) || int(typ) != int(wtyp) || next != n {
			t.Fatalf("tag %x: %d %d %d; protowire says %d %d %d", p, num, typ, next, wnum, wtyp, n)
		}
		end := ProtoSkip(p, next, typ)
		if typ > ProtoFixed32 || typ == 3 || typ == 4 {
			if end >= 0 {
				t.Fatalf("type %d passed", typ)
			}
			return
		}
		n = protowire.ConsumeFieldValue(wnum, wtyp, p[next:])
		if (end < 0) != (n < 0) || end >= 0 && end != next+n {
			t.Fatalf("value %x: %d; protowire says %d", p, end, n)
		}
	})
}
