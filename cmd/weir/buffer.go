package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlog/weir/buffer"
	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/pipeline"
	"github.com/weirlog/weir/record"
)

// queue is what stands between the pipeline and a deliverer.
type queue interface {
	pipeline.Queue
	deliver.Queue
	OnRoom(func())
}

// bufferDir is the directory of an output's disk buffer in the state directory.
func bufferDir(state, output string) string {
	return filepath.Join(state, "buffer", url.PathEscape(output))
}

// bufferPatience is how long a stop waits for a disk.
const bufferPatience = 10 * time.Second

// sharedDisk is the disk buffer of the destinations with one name: a reload that
// changes an output's settings makes another destination, which goes on with the
// same log.
type sharedDisk struct {
	*buffer.Disk
	users int // guarded by diskMu
}

// openDisk returns the disk buffer of an output, and what gives it back.
func (p *process) openDisk(cfg *config.Config, o config.Output, index int) (*sharedDisk, io.Closer, error) {
	name, b := string(o.ID), o.Settings.Common().Buffer
	p.diskMu.Lock()
	defer p.diskMu.Unlock()
	s := p.disks[name]
	if s == nil {
		d, err := buffer.OpenDisk(buffer.DiskConfig{
			Dir: bufferDir(string(cfg.State), name), Output: name, Index: index,
			MaxBytes: int64(b.Disk), MaxAge: time.Duration(b.MaxAge), Memory: int(b.Memory), Plain: b.Compression == "none", Logger: p.log,
		})
		if err != nil {
			return nil, nil, err
		}
		d.OnRoom(p.budget.Wake)
		if n := d.Stats().Recovered; n > 0 {
			p.log.Info("buffer has records from before", "output", name, "records", n)
		}
		s = &sharedDisk{Disk: d}
		if p.disks == nil {
			p.disks = make(map[string]*sharedDisk)
		}
		p.disks[name] = s
	}
	s.users++
	return s, closerFunc(func() error {
		p.diskMu.Lock()
		defer p.diskMu.Unlock()
		if s.users--; s.users > 0 {
			return nil
		}
		delete(p.disks, name)
		ctx, cancel := context.WithTimeout(context.Background(), bufferPatience)
		defer cancel()
		return s.Shut(ctx)
	}), nil
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

// diskQueue is a disk buffer as one destination sees it. It gives nothing before
// the destination has started, nor after its successor has.
type diskQueue struct {
	*buffer.Disk
	taker atomic.Pointer[buffer.Taker]
}

func (q *diskQueue) TryNext() (record.Part, bool) {
	if t := q.taker.Load(); t != nil {
		return t.TryNext()
	}
	return record.Part{}, false
}

func (q *diskQueue) Ready() <-chan struct{} {
	if t := q.taker.Load(); t != nil {
		return t.Ready()
	}
	return nil
}

func (q *diskQueue) Drained() bool {
	t := q.taker.Load()
	return t != nil && t.Drained()
}

func (q *diskQueue) Len() (parts, records, bytes int) {
	if t := q.taker.Load(); t != nil {
		return t.Len()
	}
	return 0, 0, 0
}

func (q *diskQueue) OldestSince() (time.Time, bool) {
	if t := q.taker.Load(); t != nil {
		return t.OldestSince()
	}
	return time.Time{}, false
}

// diskDeliverer delivers from a disk buffer.
type diskDeliverer struct {
	*deliver.Deliverer
	q       *diskQueue
	limits  config.Buffer
	stopped *atomic.Int64 // when a stop began, Unix nanoseconds; 0 before
}

// Run takes over the buffer, delivers, and gives back what is not delivered: a
// successor, or the next process, has it then.
func (d *diskDeliverer) Run(ctx context.Context) error {
	d.q.SetLimits(int64(d.limits.Disk), time.Duration(d.limits.MaxAge), int(d.limits.Memory))
	d.q.SetPlain(d.limits.Compression == "none")
	d.q.taker.Store(d.q.Taker())
	err := d.Deliverer.Run(ctx)
	d.q.Return(d.Deliverer.Remaining())
	return err
}

// Waiting is what a reload or a stop has to wait for. A successor gets what is with
// its predecessor. A stop waits for what is not on the disk yet, and for the rest as
// long as the destination takes it: if it does not, the next start has it.
func (d *diskDeliverer) Waiting() int64 {
	if t := d.q.taker.Load(); t != nil && !t.Current() {
		return 0
	}
	if at := d.stopped.Load(); at != 0 && !d.delivers(time.Unix(0, at)) {
		return int64(d.q.Pending())
	}
	return d.Deliverer.Waiting()
}

const (
	// probing is how long a stop waits for a first answer, and lasting how long
	// for the next one.
	probing = 5 * time.Second
	lasting = 2 * time.Second
)

// delivers reports whether the destination still takes records in a stop that began
// then, or it is not known yet: the stop has made an attempt due, see Hurry.
func (d *diskDeliverer) delivers(stop time.Time) bool {
	s := d.Stats()
	switch {
	case s.LastSuccess.After(stop):
		return time.Since(s.LastSuccess) < lasting
	case s.Healthy == 0 && s.LastErrorAt.After(stop):
		return false
	}
	return time.Since(stop) < probing
}

// leftBuffers logs the disk buffers of outputs that are not configured, or not on
// disk, any more. They stay as they are.
func (p *process) leftBuffers(cfg *config.Config) (left []leftBuffer) {
	used := make(map[string]bool)
	for _, o := range cfg.Outputs {
		if o.Settings.Common().Buffer.OnDisk() {
			used[url.PathEscape(string(o.ID))] = true
		}
	}
	root := filepath.Join(string(cfg.State), "buffer")
	dirs, _ := os.ReadDir(root) // none is as good as empty
	for _, e := range dirs {
		name, err := url.PathUnescape(e.Name())
		if !e.IsDir() || used[e.Name()] || err != nil {
			continue
		}
		l := leftBuffer{Output: name, Dir: filepath.Join(root, e.Name())}
		s, err := buffer.Inspect(l.Dir)
		if l.Records, l.Bytes = s.Waiting, s.Bytes; err == nil && l.Records == 0 {
			continue
		}
		left = append(left, l)
	}
	return left
}

// leftBuffer is the disk buffer of an output that is gone.
type leftBuffer struct {
	Output  string `json:"output"`
	Dir     string `json:"dir"`
	Records uint64 `json:"records"`
	Bytes   int64  `json:"bytes"`
}

func (l leftBuffer) String() string {
	return fmt.Sprintf("%d records (%s) wait in %s for output %s, which is not configured with a buffer on disk", l.Records, size(l.Bytes), l.Dir, l.Output)
}

// tightBuffers says which buffers on disk may become larger than the disk has
// room for now, with what they have already.
func tightBuffers(cfg *config.Config) (out []string) {
	var sum int64
	for _, o := range cfg.Outputs {
		sum += int64(o.Settings.Common().Buffer.Disk)
	}
	if sum == 0 {
		return nil
	}
	dir := string(cfg.State)
	var st unix.Statfs_t
	for unix.Statfs(dir, &st) != nil {
		if up := filepath.Dir(dir); up != dir {
			dir = up // it is made at the start
			continue
		}
		return nil
	}
	free := int64(st.Bavail) * int64(st.Bsize)
	for _, e := range usedByBuffers(string(cfg.State)) {
		free += e
	}
	if sum > free {
		out = append(out, fmt.Sprintf("buffers on disk may take %s, and %s are free for them at %s: when the disk is full they take nothing more", size(sum), size(free), cfg.State))
	}
	return out
}

func usedByBuffers(state string) (sizes []int64) {
	files, _ := filepath.Glob(filepath.Join(state, "buffer", "*", "*.seg")) // the pattern is well-formed
	for _, f := range files {
		if i, err := os.Stat(f); err == nil {
			sizes = append(sizes, i.Size())
		}
	}
	return sizes
}
