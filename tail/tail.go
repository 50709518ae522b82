package tail

import (
	"cmp"
	"container/list"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/cri"
	"github.com/weirlog/weir/record"
)

// Input reads log files. Run it once; Stats may be called at any time.
type Input struct {
	cfg   Config
	log   *slog.Logger
	sys   system
	roots []string

	// Everything below belongs to the goroutine of Run, and to Finish after.
	now      time.Time
	chains   map[string]*chain
	ring     []*chain // the same, in the order of their turns
	next     int      // whose turn it is
	accounts map[string]*account
	ords     map[string]map[record.ID]int // of chains that are not there

	podsRoot, linksRoot listing
	volumes             []Volume
	volumesOf           uint64 // the version that they are of
	pods                map[string]*podDir
	dirs                map[string]*fileDir
	refused             map[string]bool

	open *list.List // generations with handles, the longest unused first
	said map[string]time.Time

	full        bool
	room        <-chan struct{}
	hurry       bool // a directory is to be listed at once
	known       bool // the checkpoint held something
	startAtEnd  bool // for files found by the first scan
	lastScan    time.Time
	lastFull    time.Time
	lastSave    time.Time
	lastFlush   time.Time
	started     time.Time // of the first step
	seenSaved   time.Time
	unsaved     bool
	flushFailed bool
	version     uint64
	gapCount    map[string]uint64
	errors      map[string]uint64
	truncations uint64
	nulBytes    uint64
	reclaimed   int64
	rotations   uint64
	maybeLost   int64
	lines       cri.Stats // of chains that are gone

	links        *holder   // nil: no links
	notify       *notifier // nil: off
	notifyFailed bool

	stats atomic.Pointer[Stats]

	settling    *settling     // nil: Settle was not called
	settleAsked atomic.Int64  // ns, 0: not asked
	settleWake  chan struct{} // holds a value after Settle
	unreadLines atomic.Int64  // after Settle; complemented: not all could be counted
	countBuf    []byte
}

// fullScan is how often everything is listed, whatever directory times say.
const fullScan = 10 * time.Second

// saveEvery is how often positions are saved. At first it is more often, so
// that a process that never lives long still makes progress. In between, if
// there are few files and few of them have news, these are flushed: what a kill
// makes us send again is then what was read in flushEvery and what was under
// way. Where many have news at once it would write more than it saves.
const (
	saveEvery      = time.Second
	saveEveryYoung = 100 * time.Millisecond
	youth          = 3 * time.Second
	flushEvery     = 20 * time.Millisecond
	flushFiles     = 500
	flushNews      = 64
)

// New returns an Input. It reads the checkpoint and lists the hold directory but
// touches no log file.
func New(cfg Config) (*Input, error) {
	cfg.Paths = slices.Clone(cfg.Paths)
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	in := &Input{
		cfg: cfg, log: cfg.Logger, sys: realSystem(),
		chains: map[string]*chain{}, accounts: map[string]*account{}, ords: map[string]map[record.ID]int{},
		pods: map[string]*podDir{}, dirs: map[string]*fileDir{}, refused: map[string]bool{},
		open: list.New(), said: map[string]time.Time{},
		gapCount: map[string]uint64{}, errors: map[string]uint64{},
		podsRoot: listing{path: cfg.Pods}, linksRoot: listing{path: cfg.Links},
		settleWake: make(chan struct{}, 1),
	}
	in.roots = rootsOf(&cfg)
	in.now = cfg.Clock()
	in.load()
	in.startHold()
	in.startAtEnd = cfg.Start == EndOfFile && !in.known
	in.stats.Store(in.collect())
	return in, nil
}

// rootsOf returns the directories that files may lie in.
func rootsOf(cfg *Config) []string {
	var roots []string
	if cfg.Pods != "" {
		roots = append(roots, cfg.Pods)
	}
	if cfg.Links != "" {
		roots = append(roots, cfg.Links)
		if cfg.Pods == "" {
			roots = append(roots, filepath.Join(filepath.Dir(cfg.Links), "pods"))
		}
	}
	for _, p := range cfg.Paths {
		dir := filepath.Dir(p)
		for strings.ContainsAny(dir, `*?[\`) {
			dir = filepath.Dir(dir)
		}
		roots = append(roots, dir)
	}
	for _, r := range cfg.LinkRoots {
		if abs, err := filepath.Abs(r); err == nil {
			roots = append(roots, abs)
		}
	}
	return roots
}

// newChain makes a chain and its account and asks what it is.
func (in *Input) newChain(id string, k Container) *chain {
	c := &chain{
		id: id, identity: identityOf(k), container: k, plain: k.Pod == "" || k.Volume != "", born: in.now,
		ords: in.ords[id], lastGrowth: in.now,
	}
	delete(in.ords, id)
	format := in.cfg.Format
	if c.plain && (format == cri.Auto || k.Volume != "") {
		format = cri.Plain
	}
	c.joiner = cri.NewJoiner(cri.Config{Format: format, MaxLine: in.cfg.MaxLine})
	key := accountKey(k)
	c.account = in.accounts[key]
	if c.account == nil {
		c.account = &account{key: key, container: k, dirty: true}
		in.accounts[key] = c.account
	}
	c.account.chains++
	in.chains[id] = c
	in.ring = append(in.ring, c)
	in.describe(c)
	return c
}

func (in *Input) describe(c *chain) {
	c.desc = in.cfg.Describe(c.container)
	if c.desc.Streams[1] == nil {
		c.desc.Streams[1] = c.desc.Streams[0]
	}
	c.joiner.SetMultiline(cmp.Or(c.desc.Multiline, in.cfg.Multiline))
	if c.desc.Exclude {
		for _, g := range c.gens {
			in.closeFile(g)
		}
	}
}

// forgetChains drops chains whose files are gone and of which nothing is open.
func (in *Input) forgetChains() {
	in.ring = slices.DeleteFunc(in.ring, func(c *chain) bool {
		open, _ := c.tracker.Open()
		if len(c.gens) > 0 || open > 0 || len(c.gaps) > 0 || c.unresolved {
			c.emptySince = time.Time{}
			return false
		}
		if c.desc.Exclude {
			if _, err := os.Lstat(filepath.Join(c.dir, c.base)); err == nil {
				return false // or it would be found again at once
			}
		}
		if c.emptySince.IsZero() {
			c.emptySince = in.now
		}
		if in.now.Sub(c.emptySince) < lateGrace {
			return false
		}
		if len(c.ords) > 0 {
			in.ords[c.id] = c.ords
		}
		addLines(&in.lines, c.joiner.Stats())
		c.account.chains--
		delete(in.chains, c.id)
		if d := in.dirs[c.dir]; d != nil {
			d.chains = slices.DeleteFunc(d.chains, func(o *chain) bool { return o == c })
			if len(d.chains) == 0 {
				if _, err := os.Lstat(d.path); err != nil {
					delete(in.dirs, c.dir)
				}
			}
		}
		in.cfg.Checkpoint.Delete(in.key("chain", c.id))
		in.unsaved = true
		return true
	})
	if in.next >= len(in.ring) {
		in.next = 0
	}
}

// step does everything that is due once. It reports whether more can be read
// at once.
func (in *Input) step(ctx context.Context, sink record.Sink) (progress bool, err error) {
	in.now = in.cfg.Clock()
	in.startSettling()
	if in.cfg.DescribeVersion != nil {
		if v := in.cfg.DescribeVersion(); v != in.version {
			in.version = v
			for _, c := range in.ring {
				in.describe(c)
			}
		}
	}
	hints, lost := in.takeHints()
	if hints || lost || in.hurry || in.now.Sub(in.lastScan) >= in.cfg.ScanInterval || in.lastScan.IsZero() {
		in.hurry = false
		all := lost || in.now.Sub(in.lastFull) >= fullScan
		if all {
			in.lastFull = in.now
		}
		in.lastScan = in.now
		in.scan(all)
		in.startAtEnd = false
		in.enforceHold()
	}
	progress, err = in.readPass(ctx, sink)
	every := saveEvery
	if in.started.IsZero() {
		in.started = in.now
	}
	if in.now.Sub(in.started) < youth {
		every = saveEveryYoung
	}
	due := in.now.Sub(in.lastSave) >= every || in.lastSave.IsZero()
	if !due && in.cfg.Reclaim && in.now.Sub(in.lastSave) >= saveEveryYoung {
		due = in.reclaimWaits() >= reclaimSoon
	}
	if due {
		in.lastSave = in.now
		if err := in.save(); err != nil {
			in.log.Error("cannot save positions", "error", err)
		}
		in.stats.Store(in.collect())
		if in.settling != nil {
			in.countUnread()
		}
	} else if in.now.Sub(in.lastFlush) >= flushEvery && len(in.ring) <= flushFiles {
		in.lastFlush = in.now
		in.flush()
	}
	return progress || in.hurry, err
}

// Run reads until ctx ends, or Settle has been called and everything is read, then
// saves what is finished and returns nil. It
// returns an error only if the sink refuses a batch for another reason.
// Positions of what is still on its way then are saved by Finish.
func (in *Input) Run(ctx context.Context, sink record.Sink) error {
	defer in.startNotify()()
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer func() {
		if in.settling != nil {
			in.countUnread()
		}
		for e := in.open.Front(); e != nil; e = in.open.Front() {
			in.closeFile(e.Value.(*generation))
		}
	}()
	for {
		progress, err := in.step(ctx, sink)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if progress {
			continue
		}
		if in.settled() {
			in.stats.Store(in.collect())
			return nil
		}
		var room, wake <-chan struct{}
		if in.full {
			room = in.room
		}
		if in.notify != nil {
			wake = in.notify.wake
		}
		timer.Reset(in.cfg.PollInterval)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-room:
		case <-wake:
		case <-in.settleWake:
		}
	}
}

// Finish saves the positions of everything that has been finished. Call it
// after Run has returned and what was handed over has been delivered as far as
// it will be.
func (in *Input) Finish(context.Context) error {
	in.now = in.cfg.Clock()
	err := in.save()
	in.stats.Store(in.collect())
	return err
}
