package tail

import (
	"fmt"
	"os"
	"testing"
	"time"
)

func TestReadsWhatIsThereAndWhatComes(t *testing.T) {
	n := newNode(t)
	p := n.path("a", "c", "0.log")
	appendFile(t, p, n.out("one"), n.cri("stderr", "F", "two"))
	n.start()
	n.settle()
	appendFile(t, p, n.out("three"))
	n.settle()
	wantBodies(t, n.sink.bodies(), "one", "two", "three")
	if got := n.sink.all[1].stream; got != "ns/a/c/stderr" {
		t.Errorf("stream %q", got)
	}
	l := n.ledger()
	fi, _ := os.Stat(p)
	if l.Read != fi.Size() || l.Durable != fi.Size() || l.Records.Read != 3 || l.Records.Outputs[0][1] != 3 {
		t.Errorf("ledger %+v, file has %d bytes", l, fi.Size())
	}
}

func TestRestartGoesOnWhereItWasFinished(t *testing.T) {
	n := newNode(t)
	p := n.path("a", "c", "0.log")
	appendFile(t, p, n.out("one"))
	n.start()
	n.settle()
	n.sink.hold = true
	appendFile(t, p, n.out("two")) // read, never finished
	n.settle()
	n.kill()
	n.sink.hold = false
	n.start()
	appendFile(t, p, n.out("three"))
	n.settle()
	n.stop()
	wantBodies(t, n.sink.bodies(), "one", "two", "two", "three")
	if a, b := n.sink.all[1], n.sink.all[2]; a.id() != b.id() {
		t.Errorf("ids differ: %s, %s", a.id(), b.id())
	}
	n.start()
	n.settle()
	if got := len(n.sink.all); got != 4 {
		t.Errorf("%d records after another restart", got)
	}
	l := n.ledger()
	if fi, _ := os.Stat(p); l.Read != fi.Size() || l.Records.Read != 3 || l.Records.Outputs[0][1] != 3 {
		t.Errorf("ledger %+v, file has %d bytes", l, fi.Size())
	}
}

func TestRotationsWhileNothingIsRead(t *testing.T) {
	n := newNode(t)
	n.start()
	p := n.path("a", "c", "0.log")
	var want []string
	for i := range 5 {
		for k := range 3 {
			want = append(want, fmt.Sprintf("%d.%d", i, k))
			appendFile(t, p, n.out(want[len(want)-1]))
		}
		n.sink.full = true
		n.step(time.Second)
		if i < 4 {
			rename(t, p, fmt.Sprintf("%s.2026112%d-101010", p, i))
		}
		if i >= 2 {
			remove(t, fmt.Sprintf("%s.2026112%d-101010", p, i-2))
		}
	}
	n.sink.full = false
	n.settle()
	wantBodies(t, n.sink.bodies(), want...)
}
