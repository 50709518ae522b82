package buffer

import (
	"time"

	"github.com/weirlog/weir/ack"
)

type diskCounters struct {
	errors                                      uint64
	lastError                                   string
	lastErrorAt                                 time.Time
	syncs, groups                               uint64
	syncTime                                    time.Duration
	poisoned, quarantined                       uint64
	damagedPlaces, damagedBytes, damagedRecords uint64
	tornBytes, expired, known                   uint64
	recovered                                   uint64
	lastSave                                    time.Time
}

// DiskStats is the state of a Disk at one moment. Counters begin with the process
// unless they say otherwise.
type DiskStats struct {
	// Written is the number of records that the log ever got, and Ended what
	// became of those that are finished; the rest waits. Both survive the
	// process.
	Written uint64
	Ended   [ack.NumStatus]uint64
	Waiting uint64
	// Pending is what was put and is not durable yet, beside Written.
	Pending int
	// Bytes is the size on disk, of Segments files; Capacity the size at which
	// the buffer is Full.
	Bytes, Capacity int64
	Segments        int
	Full            bool
	// Failing is why it cannot be written now, "" if it can.
	Failing     string
	Errors      uint64
	LastError   string
	LastErrorAt time.Time
	// Syncs and SyncTime are of files; Groups were made durable with them.
	Syncs, Groups uint64
	SyncTime      time.Duration
	// Poisoned segments were given up after a failed write or sync.
	Poisoned uint64
	// Damaged is what was not as it had been written, and Quarantined the
	// segments that were put aside for it. Torn are bytes at the end of the log
	// that a crash left behind: nobody was told that they were safe.
	DamagedPlaces, DamagedBytes, DamagedRecords uint64
	Quarantined, TornBytes                      uint64
	// Expired records were dropped for their age.
	Expired uint64
	// Known records were read a second time and are not in the log twice.
	Known uint64
	// Recovered is how many records waited when it was opened.
	Recovered uint64
}

// Stats returns the present state.
func (d *Disk) Stats() DiskStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	// With what is finished and not passed yet.
	sum := ack.Tally{}
	sum.Add(&d.sum)
	d.tracker.Peek(&sum)
	s := DiskStats{
		Written: d.end.seq, Ended: d.base, Pending: d.pendingSum.records,
		Bytes: d.diskSize, Capacity: d.c.MaxBytes, Segments: len(d.segments), Full: d.full(),
		Errors: d.stats.errors, LastError: d.stats.lastError, LastErrorAt: d.stats.lastErrorAt,
		Syncs: d.stats.syncs, Groups: d.stats.groups, SyncTime: d.stats.syncTime, Poisoned: d.stats.poisoned,
		DamagedPlaces: d.stats.damagedPlaces, DamagedBytes: d.stats.damagedBytes, DamagedRecords: d.stats.damagedRecords,
		Quarantined: d.stats.quarantined, TornBytes: d.stats.tornBytes, Expired: d.stats.expired, Known: d.stats.known,
		Recovered: d.stats.recovered,
	}
	if d.c.Index < len(sum.Outputs) {
		for i, n := range sum.Outputs[d.c.Index] {
			s.Ended[i] += n
		}
	}
	t := tally(s.Ended)
	s.Waiting = s.Written - min(s.Written, t.ended())
	if d.failing != nil {
		s.Failing = d.failing.Error()
	}
	return s
}
