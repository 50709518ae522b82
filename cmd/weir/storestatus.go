package main

import (
	"fmt"
	"io"

	"github.com/weirlog/weir/api"
	"github.com/weirlog/weir/metrics"
)

// storeStatus is the embedded store in `weir status -o json`.
type storeStatus struct {
	Path          string `json:"path"`
	Rows          int64  `json:"rows"`          // that can be found
	Bytes         int64  `json:"segment_bytes"` // of lines
	DiskBytes     int64  `json:"disk_bytes"`
	MaxDisk       int64  `json:"max_disk,omitempty"`
	Segments      int    `json:"segments"`
	MemtableRows  int64  `json:"memtable_rows"`
	MemtableBytes int64  `json:"memtable_bytes"`
	Taken         int64  `json:"taken"` // since the start
	Doubles       int64  `json:"doubles"`
	TooOld        int64  `json:"too_old"`
	Errors        int64  `json:"errors"`
	DamagedPages  int64  `json:"damaged_pages"`
	ExpiredRows   int64  `json:"expired_rows"`
	LowDisk       bool   `json:"low_disk"`
	Recovered     int64  `json:"recovered_rows"`
	RecoveryLost  int64  `json:"recovery_lost_rows"`

	Pushed map[string]int64 `json:"pushed,omitempty"` // records, by protocol
}

func (p *process) storeStatus() *storeStatus {
	if p.keep == nil {
		return nil
	}
	s, r := p.keep.Stats(), p.keep.Recovery()
	pushed := make(map[string]int64)
	for _, ps := range p.pushStats() {
		if ps.Records > 0 {
			pushed[ps.Protocol] = ps.Records
		}
	}
	return &storeStatus{
		Pushed: pushed,
		Path:   p.keep.dir, Rows: s.SegmentRows + s.MemtableRows, Bytes: s.SegmentBytes, DiskBytes: s.DiskBytes,
		MaxDisk: int64(p.keep.settings.MaxDisk), Segments: s.Segments, MemtableRows: s.MemtableRows, MemtableBytes: s.MemtableBytes,
		Taken: s.Rows, Doubles: s.Doubles, TooOld: s.TooOld, Errors: s.WALErrors + s.FlushErrors, DamagedPages: s.DamagedPages,
		ExpiredRows: s.ExpiredRows, LowDisk: s.LowDisk, Recovered: r.Rows, RecoveryLost: r.LostRows + r.MissingRows,
	}
}

func (s *storeStatus) print(w io.Writer) {
	fmt.Fprintf(w, "\nstore %s\n", s.Path)
	limit := ""
	if s.MaxDisk > 0 {
		limit = " of at most " + size(s.MaxDisk)
	}
	fmt.Fprintf(w, "  holds    %s\n", plural(s.Rows, "row"))
	fmt.Fprintf(w, "  disk     %s%s in %s, for %s of lines\n", size(s.DiskBytes), limit, plural(int64(s.Segments), "segment"), size(s.Bytes))
	fmt.Fprintf(w, "  memory   %s, %s; durable in the log\n", plural(s.MemtableRows, "row"), size(s.MemtableBytes))
	fmt.Fprintf(w, "  taken    %d rows since start, %d more were there already\n", s.Taken, s.Doubles)
	if len(s.Pushed) > 0 {
		fmt.Fprintf(w, "  pushed   %s records since start\n", counts(s.Pushed))
	}
	if s.TooOld > 0 {
		fmt.Fprintf(w, "  refused  %s older than the retention\n", plural(s.TooOld, "row"))
	}
	if s.ExpiredRows > 0 {
		fmt.Fprintf(w, "  expired  %s since start\n", plural(s.ExpiredRows, "row"))
	}
	if s.Errors > 0 {
		fmt.Fprintf(w, "  errors   %d failed writes; what was not durable was not acknowledged\n", s.Errors)
	}
	if s.DamagedPages+s.RecoveryLost > 0 {
		fmt.Fprintf(w, "  DAMAGED  %d places met by queries, %d rows lost at the start; see 'weir store check'\n", s.DamagedPages, s.RecoveryLost)
	}
}

func (p *process) storeMetrics() *metrics.Store {
	if p.keep == nil {
		return nil
	}
	s, r := p.keep.Stats(), p.keep.Recovery()
	return &metrics.Store{
		Rows: s.Rows, Doubles: s.Doubles, TooOld: s.TooOld,
		Segments: s.Segments, SegmentRows: s.SegmentRows, SegmentBytes: s.SegmentBytes, DiskBytes: s.DiskBytes, MaxDisk: int64(p.keep.settings.MaxDisk),
		MemtableRows: s.MemtableRows, MemtableBytes: s.MemtableBytes, Sources: s.Sources,
		WALErrors: s.WALErrors, FlushErrors: s.FlushErrors, DamagedPages: s.DamagedPages, Flushes: s.Flushes, Compactions: s.Compactions,
		Expired: s.Expired, ExpiredRows: s.ExpiredRows, LowDisk: s.LowDisk,
		RecoveredRows: r.Rows, RecoveryLostRows: r.LostRows, RecoveryDamagedPlaces: r.Places, RecoveryMissingSegs: r.Missing,
	}
}

// apiMetrics adds up the API on listen.http and that on the admin socket.
func (p *process) apiMetrics() *metrics.API {
	if p.api == nil {
		return nil
	}
	sum := &metrics.API{Requests: make(map[[2]string]int64), Seconds: make(map[string]float64)}
	for _, srv := range []*api.Server{p.api.public, p.api.own} {
		s := srv.Stats()
		for k, n := range s.Requests {
			sum.Requests[k] += n
		}
		for k, n := range s.Seconds {
			sum.Seconds[k] += n
		}
		sum.Running += s.Running
		sum.Waiting += s.Waiting
		sum.Tails += s.Tails
		sum.Rows += s.Rows
		sum.Bytes += s.Bytes
		sum.TailRows += s.TailRows
		sum.TailDropped += s.TailDropped
		sum.ResponseBytes += s.ResponseBytes
		sum.Panics += s.Panics
	}
	return sum
}
