package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/buffer"
	"github.com/weirlog/weir/metrics"
)

// bufferRow is the ledger of an output's disk buffer over all its life:
// written = delivered + waiting + dropped + dead.
type bufferRow struct {
	Output    string            `json:"output"`
	Written   uint64            `json:"written"`
	Delivered uint64            `json:"delivered"`
	Waiting   uint64            `json:"waiting"`
	Dropped   uint64            `json:"dropped"`
	Dead      uint64            `json:"dead"`
	Reasons   map[string]uint64 `json:"reasons,omitempty"`
}

func (b *bufferRow) balanced() bool { return b.Written == b.Delivered+b.Waiting+b.Dropped+b.Dead }

func newBufferRow(output string, s *buffer.DiskStats) bufferRow {
	b := bufferRow{Output: output, Written: s.Written, Waiting: s.Waiting}
	for i, n := range s.Ended {
		st := ack.Status(i)
		if n == 0 || st == ack.Open {
			continue
		}
		switch st.Class() {
		case "delivered":
			b.Delivered += n
		case "dropped":
			b.Dropped += n
		case "dead":
			b.Dead += n
		}
		if st.Reason() != "" {
			if b.Reasons == nil {
				b.Reasons = make(map[string]uint64)
			}
			b.Reasons[st.Class()+"/"+st.Reason()] += n
		}
	}
	return b
}

// addBuffer puts what became of the records in a buffer in the place of "buffered".
func (r *ledgerRow) addBuffer(b bufferRow) {
	for i := range r.Outputs {
		if r.Outputs[i].Output == b.Output {
			r.Outputs[i].addBuffer(b)
			return
		}
	}
	o := outputRow{Output: b.Output}
	o.addBuffer(b)
	r.Outputs = append(r.Outputs, o)
}

func (o *outputRow) addBuffer(b bufferRow) {
	reason := func(name string, n uint64) {
		if n > 0 && o.Reasons == nil {
			o.Reasons = make(map[string]uint64)
		}
		if n > 0 {
			o.Reasons[name] += n
		}
	}
	// What was pushed is counted nowhere else, and what a buffer that is gone had
	// is nowhere any more.
	if b.Written >= o.Buffered {
		o.Read += b.Written - o.Buffered
	} else {
		o.Dropped += o.Buffered - b.Written
		reason("dropped/buffer_gone", o.Buffered-b.Written)
	}
	o.Buffered = 0
	o.Delivered += b.Delivered
	o.Waiting += b.Waiting
	o.Dropped += b.Dropped
	o.Dead += b.Dead
	for name, n := range b.Reasons {
		reason(name, n)
	}
}

// bufferRows returns the ledgers of all disk buffers.
func (p *process) bufferRows() []bufferRow {
	p.diskMu.Lock()
	defer p.diskMu.Unlock()
	var rows []bufferRow
	for name, d := range p.disks {
		s := d.Stats()
		rows = append(rows, newBufferRow(name, &s))
	}
	return rows
}

// savedBuffers returns the ledgers of the disk buffers in the state directory of a
// process that is not running.
func savedBuffers(state string) []bufferRow {
	root := filepath.Join(state, "buffer")
	dirs, _ := os.ReadDir(root) // none is as good as empty
	var rows []bufferRow
	for _, e := range dirs {
		name, err := url.PathUnescape(e.Name())
		if err != nil || !e.IsDir() {
			continue
		}
		if s, err := buffer.Inspect(filepath.Join(root, e.Name())); err == nil {
			rows = append(rows, newBufferRow(name, &s))
		}
	}
	return rows
}

// bufferStatus is a disk buffer as 'weir status' shows it.
type bufferStatus struct {
	Waiting        uint64  `json:"waiting"`
	Bytes          int64   `json:"bytes"`
	Capacity       int64   `json:"capacity_bytes"`
	Segments       int     `json:"segments"`
	Full           bool    `json:"full"`
	Failing        string  `json:"failing,omitempty"`
	Errors         uint64  `json:"errors"`
	Syncs          uint64  `json:"fsyncs"`
	SyncSeconds    float64 `json:"fsync_seconds"`
	DamagedRecords uint64  `json:"damaged_records"`
	DamagedBytes   uint64  `json:"damaged_bytes"`
	Quarantined    uint64  `json:"quarantined_segments"`
	Expired        uint64  `json:"expired_records"`
}

func (d *destination) bufferStatus() *bufferStatus {
	s := d.disk.Stats()
	return &bufferStatus{
		Waiting: s.Waiting + uint64(s.Pending), Bytes: s.Bytes, Capacity: s.Capacity, Segments: s.Segments, Full: s.Full, Failing: s.Failing,
		Errors: s.Errors, Syncs: s.Syncs, SyncSeconds: s.SyncTime.Seconds(),
		DamagedRecords: s.DamagedRecords, DamagedBytes: s.DamagedBytes, Quarantined: s.Quarantined, Expired: s.Expired,
	}
}

func (b *bufferStatus) print(w io.Writer) {
	full := ""
	if b.Full {
		full = ", FULL"
	}
	fmt.Fprintf(w, "  buffer   %d records, %s of %s on disk in %d files%s\n", b.Waiting, size(b.Bytes), size(b.Capacity), b.Segments, full)
	if b.Failing != "" {
		fmt.Fprintf(w, "  buffer   CANNOT BE WRITTEN: %s\n", b.Failing)
	}
	if b.DamagedRecords+b.DamagedBytes > 0 {
		fmt.Fprintf(w, "  buffer   DAMAGED: %d records lost, %s unreadable\n", b.DamagedRecords, size(int64(b.DamagedBytes)))
	}
	if b.Expired > 0 {
		fmt.Fprintf(w, "  buffer   %d records dropped for their age\n", b.Expired)
	}
}

// bufferMetrics puts what a disk buffer has to say into o.
func (d *destination) bufferMetrics(o *metrics.Output, now time.Time) {
	s := d.disk.Stats()
	row := newBufferRow(o.Name, &s)
	sum := outputRow{Read: o.Read, Buffered: o.Records[[2]string{"buffered", ""}], Waiting: uint64(max(o.Waiting, 0))}
	sum.addBuffer(row)
	o.Read, o.Waiting = sum.Read, int64(sum.Waiting)
	for i, n := range s.Ended {
		st := ack.Status(i)
		if n > 0 && st != ack.Open {
			o.Records[[2]string{st.Class(), st.Reason()}] += n
		}
	}
	o.BufferBytes = s.Bytes
	o.Disk = &metrics.DiskBuffer{
		Records: int64(s.Waiting) + int64(s.Pending), Segments: s.Segments, Full: s.Full, Failing: s.Failing != "",
		Syncs: s.Syncs, SyncSeconds: s.SyncTime.Seconds(), Groups: s.Groups, Errors: s.Errors, Poisoned: s.Poisoned,
		DamagedRecords: s.DamagedRecords, DamagedBytes: s.DamagedBytes, Quarantined: s.Quarantined,
		Dropped: s.Expired, Known: s.Known,
	}
}

// bufferProblems returns which disk buffers cannot be written. A restart would not
// help.
func (p *process) bufferProblems() []string {
	p.diskMu.Lock()
	defer p.diskMu.Unlock()
	var out []string
	for name, d := range p.disks {
		if s := d.Stats(); s.Failing != "" {
			out = append(out, fmt.Sprintf("buffer of %s cannot be written: %s", name, s.Failing))
		}
	}
	return out
}
