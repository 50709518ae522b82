package kube

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// kubelet's follow reads a file to its end, and goes on with the new one as soon
// as that exists. Container runtimes create the new file before they leave the
// old one, so that lines may be written to the old file after kubelet has left
// it: some milliseconds of them, on a busy node more. No request brings them
// back, as the API hands out the newest file only, and nothing in the answer
// tells of a rotation. So a log that has grown enough to be rotated is asked for
// its first line from time to time, and that it was rotated is told.

// When a log is looked at again: kubelet rotates at 10 MiB, and looks every 10 s,
// unless it is told otherwise; at least 1 MiB has been seen in the wild.
const rotationBytes = 1 << 20

var rotationEvery = 10 * time.Second // tests make it short

// rotation watches for a followed log's rotation.
type rotation struct {
	bytes   int64     // read since the last look; of the goroutine that reads
	last    time.Time // when that was; likewise
	looking atomic.Bool
	begins  string // the time of the file's first line; of the goroutine that looks
}

// grown counts bytes that were read and looks whether the log was rotated if
// they may have been too many for its file. Looking does not hold up reading.
func (c *container) grown(ctx context.Context, n int) {
	r := &c.rotation
	if r.bytes += int64(n); r.bytes < rotationBytes || c.rd.rotated.Load() {
		return
	}
	now := time.Now()
	if now.Sub(r.last) < rotationEvery || !r.looking.CompareAndSwap(false, true) {
		return
	}
	r.bytes, r.last = 0, now
	c.rd.wg.Go(func() {
		defer r.looking.Store(false)
		c.lookRotated(ctx)
	})
}

// lookRotated tells, once for all containers, that kubelet rotates what is
// followed.
func (c *container) lookRotated(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := c.rd.l.open(ctx, &c.target, ask{tail: -1, bytes: maxPrefix}, time.Time{})
	if err != nil {
		return // it was only to see
	}
	defer body.Close()
	head, err := io.ReadAll(io.LimitReader(body, maxPrefix))
	stamp, _, ok := strings.Cut(string(head), " ")
	if err != nil || !ok {
		return
	}
	begins, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return
	}
	before := c.rotation.begins
	c.rotation.begins = stamp
	if before == "" || before == stamp || c.rd.rotated.Swap(true) {
		return
	}
	c.notice(NoticeWarning, "kubelet rotated its log at "+clock(begins.UnixNano())+", and at a rotation it may skip the last lines of the old file, which Kubernetes does not hand out again; "+
		"this holds for every rotation and container from here on. weir's agent reads the files and misses none")
}
