package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// ErrClosed says that Close was called.
var ErrClosed = errors.New("store is closed")

// Store is an open store. Its methods may be called concurrently.
type Store struct {
	cfg  Config
	fs   FS
	log  *slog.Logger
	lock io.Closer
	pool *chunkPool

	mu       sync.Mutex
	active   *memtable
	sealed   *memtable // being made into segments, or nil
	pending  *group    // what the committer takes next
	full     bool      // the active memtable waits for its turn: nobody may append
	room     chan struct{}
	flushed  chan struct{} // closed after each attempt to flush
	flushErr error         // of the last one
	closing  bool
	sources  map[record.ID]*source
	changed  map[record.ID]struct{} // sources, since the last rotation
	recent   recent
	segments []*segment // live, by number
	frameSeq uint64
	head     []byte // of a frame, while it is made
	tails    map[*Tail]struct{}
	interned map[*record.Stream]*internedStream
	forgot   []record.ID // sources that were forgotten, for the manifest

	keepMu      sync.Mutex // held during retention and compaction; before the others
	manifestMu  sync.Mutex // held around commits; before mu where both are
	manifest    *manifest
	garbage     []segmentInfo   // of edits that failed
	busy        map[uint64]bool // segments of which no edit says anything; true: given up
	lastSegment uint64
	damagedWAL  map[uint64]bool

	wake      chan struct{} // for the committer
	flushWake chan struct{}
	keepWake  chan struct{}
	wal       wal // the committer's
	cancel    context.CancelFunc
	done      sync.WaitGroup
	cache     *indexCache
	clock     guard
	stats     counters
	decoders  sync.Pool // of *columns.Decoder
	recovery  Recovery
	applied   map[uint64]bool // numbers of frames, during recovery
	deferred  []deferredFrame
	lowDisk   atomic.Bool
	onRotate  func() // for tests
}

// Open opens a store, making it if there is none, and finds again what was
// acknowledged: Recovery says what. The error wraps ErrLocked if another process
// has it and ErrVersion if a later version wrote it; nothing is changed then.
func Open(cfg Config) (*Store, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, fs: cfg.FS, log: cfg.Log,
		pool: newChunkPool(2 * cfg.MemtableBytes), room: make(chan struct{}), flushed: make(chan struct{}),
		sources: make(map[record.ID]*source), changed: make(map[record.ID]struct{}), tails: make(map[*Tail]struct{}), interned: make(map[*record.Stream]*internedStream),
		damagedWAL: make(map[uint64]bool), busy: make(map[uint64]bool),
		wake: make(chan struct{}, 1), flushWake: make(chan struct{}, 1), keepWake: make(chan struct{}, 1),
	}
	s.cache = newIndexCache(cfg.CacheBytes)
	s.wal.fs = s.fs
	s.pending = newGroup()
	s.recent.most = max(0, cfg.RecentPushes)
	lock, err := s.fs.Lock("LOCK")
	if err != nil {
		return nil, err
	}
	s.lock = lock
	if err := s.recover(); err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("open store: %w", err)
	}
	if cfg.ReadOnly {
		if err := s.letWrite(); err != nil {
			s.closeFiles()
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	s.watchDisk() // before anything is taken
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.done.Add(3)
	go s.commitLoop(ctx)
	go s.flushLoop(ctx)
	go s.keepLoop(ctx)
	return s, nil
}

// Close refuses what comes from now on, waits for what is being written and
// gives the directory back. The memtable stays in the log, from which the next
// Open has it again.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closing = true
	tails := make([]*Tail, 0, len(s.tails))
	for t := range s.tails {
		tails = append(tails, t)
	}
	close(s.room)
	s.room = nil
	s.mu.Unlock()
	for _, t := range tails {
		t.Close()
	}
	s.cancel()
	s.done.Wait()
	return s.closeFiles()
}

func (s *Store) closeFiles() error {
	var errs []error
	errs = append(errs, s.wal.close())
	if s.manifest != nil {
		errs = append(errs, s.manifest.close())
	}
	s.mu.Lock()
	for _, g := range s.segments {
		g.closeFiles()
	}
	s.mu.Unlock()
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// Send is deliver.Output: it stores the records of parts and returns when they
// are durable, and so whatever was stored of them before. Records that cannot be
// stored are named in the result.
func (s *Store) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	return s.Append(ctx, parts)
}

// refuse makes the error of a request that is to be tried again.
func refuse(code int, err error) error {
	return &ack.SendError{Kind: ack.Retry, Code: code, Err: err}
}

// poke wakes a goroutine that waits on c.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// release gives a view back.
func (s *Store) release(v *view) {
	if v != nil && v.m.refs.Add(-1) == 0 {
		s.pool.put(v.m.chunks)
		s.pool.putRows(v.m.rows)
		v.m.chunks, v.m.rows = nil, nil
	}
}

// publish replaces the list of segments. mu is held.
func (s *Store) publish(add []*segment, remove map[uint64]bool) (gone []*segment) {
	var next []*segment
	for _, g := range s.segments {
		if remove[g.info.Seq] {
			gone = append(gone, g)
			continue
		}
		next = append(next, g)
	}
	next = append(next, add...)
	slices.SortFunc(next, func(a, b *segment) int { return int(int64(a.info.Seq) - int64(b.info.Seq)) })
	s.segments = next
	return gone
}
