package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlog/weir/ack"
)

// The rows of outputs that were removed, that stayed and that were added.
func TestOutputRowsOverReloads(t *testing.T) {
	tally := ack.Tally{Read: 10, Outputs: make([][ack.NumStatus]uint64, 4)}
	count := func(o int, s ack.Status, n uint64) { tally.Outputs[o][s] = n }
	count(0, ack.Open, 4) // removed after four
	count(0, ack.Delivered, 4)
	count(1, ack.Open, 10)
	count(1, ack.Delivered, 6)
	count(1, ack.DroppedStep, 1)
	count(1, ack.DeadRejected, 1)
	count(2, ack.Open, 3) // added after seven
	count(2, ack.Delivered, 3)
	want := []outputRow{
		{Output: "removed", Read: 4, Delivered: 4},
		{Output: "kept", Read: 10, Delivered: 6, Waiting: 2, Dropped: 1, Dead: 1, Reasons: map[string]uint64{"dropped/step": 1, "dead/rejected": 1}},
		{Output: "added", Read: 3, Delivered: 3},
	}
	got := outputRows(&tally, []string{"removed", "kept", "added", "another container's"})
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	row := ledgerRow{Outputs: got}
	if !row.balanced() {
		t.Fatal("does not balance")
	}
	count(2, ack.Delivered, 4) // more than there were
	row.Outputs = outputRows(&tally, []string{"removed", "kept", "added", "x"})
	if row.balanced() {
		t.Fatal("a record that ended twice is not seen")
	}
}
