package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/deliver"
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

// A health check that fails for a patient configuration would restart the agent
// for ever.
func TestStuck(t *testing.T) {
	now := time.Unix(1e9, 0)
	stats := func(oldest, lastError time.Duration, records, inFlight int) *deliver.Stats {
		s := &deliver.Stats{OldestWaiting: now.Add(-oldest), LastErrorAt: now.Add(-lastError), InFlight: inFlight}
		s.Waiting.Records = records
		return s
	}
	d := destination{timeout: 30 * time.Second, maxDelay: 30 * time.Second, batchWait: time.Second}
	patient := destination{timeout: 30 * time.Second, maxDelay: 30 * time.Second, batchWait: time.Hour}
	local := destination{batchWait: time.Second}
	for name, c := range map[string]struct {
		d     destination
		s     *deliver.Stats
		stuck bool
	}{
		"nothing waits":             {d, stats(time.Hour, time.Hour, 0, 0), false},
		"tries and fails":           {d, stats(24*time.Hour, time.Minute, 1, 0), false},
		"does nothing":              {d, stats(time.Hour, 2*time.Hour, 1, 0), true},
		"a batch that waits":        {patient, stats(50*time.Minute, 2*time.Hour, 1, 0), false},
		"waits longer than it may":  {patient, stats(2*time.Hour, 3*time.Hour, 1, 0), true},
		"a pager holds the output":  {local, stats(time.Hour, time.Hour, 1, 1), false},
		"a local one does nothing":  {local, stats(time.Hour, time.Hour, 1, 0), true},
		"an attempt without an end": {d, stats(time.Hour, time.Hour, 1, 1), true},
	} {
		if got := c.d.stuck(c.s, now); got > 0 != c.stuck {
			t.Errorf("%s: %v", name, got)
		}
	}
}
