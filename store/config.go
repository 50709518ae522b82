package store

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/weirlog/weir/logql"
)

// Config says where and how to keep logs. Zero values mean the defaults.
type Config struct {
	// Dir is the store's directory; FS, if not nil, takes its place.
	Dir string
	FS  FS
	Log *slog.Logger
	// ReadOnly leaves everything in the directory as it is, which may be one that
	// cannot be written to: what Open tidies up stays in memory, and nothing waits
	// for a disk. Several may open a store at a time, but not while it is open for
	// writing; once Open has returned, somebody else may write to it and even remove
	// files, and what is read stays what was there. Append and Snapshot fail with ErrReadOnly.
	ReadOnly bool
	// Now is the clock.
	Now func() time.Time

	// MemtableBytes is how many bytes of rows are kept in memory before they
	// become segments; while they do, as many again may come. Default 32 MiB.
	MemtableBytes int64
	// MemtableAge is how long rows wait for that. Default 30 minutes.
	MemtableAge time.Duration
	// SegmentBytes is how many bytes of lines compaction puts into one segment, of
	// segments with an eighth of that or less: those of full memtables stay as
	// they are. Default 128 MiB.
	SegmentBytes int64

	// Retention is how long rows are kept, from their time on, in whole days.
	// 0 keeps them until MaxDisk needs the room.
	Retention time.Duration
	// Rules keep rows of some streams for another time. The first whose selector
	// matches a stream's labels decides.
	Rules []Rule
	// MaxDisk is how many bytes the store may take; the oldest segments make
	// room. 0 means no limit.
	MaxDisk int64
	// MinFree is how many bytes must stay free on the disk for more to be
	// taken. Default 64 MiB; negative means none.
	MinFree int64
	// Check is how often retention and compaction are due. Default 1 minute;
	// negative means never by itself.
	Check time.Duration

	// RecentPushes is how many pushed rows are remembered by their ids, so that one
	// that is pushed again is not stored again: half of them at least. One takes
	// about 32 bytes of memory and 16 of disk. Default 1 000 000; negative means none.
	RecentPushes int

	// CacheBytes bounds the indexes of segments kept in memory. Default 32 MiB.
	CacheBytes int64

	retry time.Duration // at most between attempts to write segments; default 5 s
}

// Rule is a retention of its own.
type Rule struct {
	Selector  *logql.Selector
	Retention time.Duration // 0: for ever
}

func (c *Config) setDefaults() error {
	if c.ReadOnly {
		// A backlog that a crash left is kept in memory: making segments of it would
		// be in vain, and cost more.
		c.MemtableBytes, c.MinFree, c.Check = max(c.MemtableBytes, 256<<20), -1, -1
		c.MemtableAge = math.MaxInt64
		if c.FS == nil && c.Dir != "" {
			c.FS = dirFS{c.Dir}
		}
		if c.FS != nil {
			c.FS = newReadOnlyFS(c.FS)
		}
	}
	if c.FS == nil {
		if c.Dir == "" {
			return errors.New("store: no directory")
		}
		f, err := DirFS(c.Dir)
		if err != nil {
			return err
		}
		c.FS = f
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.MemtableBytes, 32<<20)
	def(&c.SegmentBytes, 128<<20)
	def(&c.MinFree, 64<<20)
	def(&c.CacheBytes, 32<<20)
	if c.RecentPushes == 0 {
		c.RecentPushes = 1_000_000
	}
	if c.MemtableAge == 0 {
		c.MemtableAge = 30 * time.Minute
	}
	if c.retry == 0 {
		c.retry = 5 * time.Second
	}
	if c.Check == 0 {
		c.Check = time.Minute
	}
	for _, v := range []struct {
		name string
		n    int64
	}{{"MemtableBytes", c.MemtableBytes}, {"SegmentBytes", c.SegmentBytes}, {"CacheBytes", c.CacheBytes}, {"MaxDisk", c.MaxDisk},
		{"Retention", int64(c.Retention)}, {"MemtableAge", int64(c.MemtableAge)}} {
		if v.n < 0 {
			return fmt.Errorf("store: %s is negative", v.name)
		}
	}
	return nil
}
