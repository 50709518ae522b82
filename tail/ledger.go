package tail

import (
	"strings"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/cri"
)

// account is the ledger of one container, over all its restarts, or of one
// plain file.
type account struct {
	key       string
	container Container
	written   int64
	read      int64 // taken from files
	lost      int64
	acked     int64     // of read, finished everywhere: what the checkpoint says
	tally     ack.Tally // of the same
	chains    int
	idle      time.Time // since when there are no chains
	lastSeen  time.Time
	dirty     bool
}

// Name returns namespace/pod/container, or the path.
func (a *account) Name() string { return a.container.Name() }

// Name returns namespace/pod/container, or the path of a plain file.
func (k Container) Name() string {
	if k.Pod == "" {
		return k.Path
	}
	if k.Volume != "" {
		return k.Namespace + "/" + k.Pod + "/" + k.Container + " " + k.Volume + ":" + k.File
	}
	return k.Namespace + "/" + k.Pod + "/" + k.Container
}

func accountKey(k Container) string {
	if k.Pod == "" {
		return "f" + k.Path
	}
	if k.Volume != "" {
		return chainID(k)
	}
	return "p/" + k.Namespace + "_" + k.Pod + "_" + k.UID + "/" + k.Container
}

// Ledger is the balance of one container, over all its restarts, or of one
// plain file: Written = Read + Unread + Lost, in uncompressed bytes.
type Ledger struct {
	// Container has no Restart, and for the folded
	// totals of what is long gone no names but the namespace.
	Container Container
	Written   int64
	Read      int64
	Unread    int64
	Lost      int64
	// Durable is how much of Read is finished at every output: what survives
	// a kill of the process.
	Durable int64
	// Records counts what was read and what became of it, by output number of
	// the Book, including what is not durable yet.
	Records ack.Tally
}

// Stats is a snapshot of an Input.
type Stats struct {
	// Time is when it was taken: at the end of a step, at most about a second
	// ago as long as the input runs.
	Time    time.Time
	Ledgers []Ledger
	// Files counts generations by state: reading, waiting (rotated, not read
	// to the end), deleted (unread and without a name), done.
	Files       map[string]int
	OpenHandles int
	// HeldBytes are the unread bytes of files that have no name any more.
	HeldBytes int64
	// Lag is the age of the oldest byte that was written and not read, as far
	// as the times at which growth was noticed tell.
	Lag time.Duration
	// OldestUnacked is since when the oldest piece that was read waits to be
	// finished; zero if none does.
	OldestUnacked time.Time
	Gaps          map[string]uint64 // by reason
	Errors        map[string]uint64 // by kind
	Truncations   uint64
	// Reclaimed is how many bytes of disk space were given back; see
	// Config.Reclaim.
	Reclaimed int64
	// Rotations is how many files were truncated (Config.RotateSize), and MaybeLost how
	// many bytes may at most have been lost by that.
	Rotations uint64
	MaybeLost int64
	Lines     cri.Stats
	// Open counts the files of which a message or record is read and not
	// complete.
	Open int
	// Full says that the sink had no room.
	Full bool
}

func (a *account) ledger(unread int64) Ledger {
	k := a.container
	k.Restart = 0
	return Ledger{Container: k, Written: a.written, Read: a.read, Lost: a.lost, Unread: unread, Durable: a.acked}
}

// collect takes a snapshot.
func (in *Input) collect() *Stats {
	s := &Stats{
		Time: in.now, Files: map[string]int{}, OpenHandles: in.open.Len(),
		Gaps: map[string]uint64{}, Errors: map[string]uint64{}, Truncations: in.truncations, Reclaimed: in.reclaimed, Rotations: in.rotations, MaybeLost: in.maybeLost, Full: in.full,
	}
	for k, n := range in.gapCount {
		s.Gaps[k] = n
	}
	for k, n := range in.errors {
		s.Errors[k] = n
	}
	unread := make(map[*account]int64, len(in.accounts))
	peeked := make(map[*account]*ack.Tally, len(in.accounts))
	s.Lines = in.lines
	for _, c := range in.ring {
		t := peeked[c.account]
		if t == nil {
			t = new(ack.Tally)
			t.Add(&c.account.tally)
			peeked[c.account] = t
		}
		c.tracker.Peek(t)
		if n, oldest := c.tracker.Open(); n > 0 && (s.OldestUnacked.IsZero() || oldest.Before(s.OldestUnacked)) {
			s.OldestUnacked = oldest
		}
		addLines(&s.Lines, c.joiner.Stats())
		if c.partial != 0 {
			s.Open++
		}
		for _, g := range c.gens {
			n := g.size - g.lost - g.read
			unread[c.account] += n
			if n > 0 {
				s.Lag = max(s.Lag, in.now.Sub(g.grown))
			}
			switch {
			case n > 0 && !g.deleted.IsZero():
				s.Files["deleted"]++
				s.HeldBytes += n
			case n > 0 && !g.superseded.IsZero():
				s.Files["waiting"]++
			case g.sealed:
				s.Files["done"]++
			default:
				s.Files["reading"]++
			}
		}
	}
	s.Lines.NULBytes += in.nulBytes
	for _, a := range in.accounts {
		l := a.ledger(unread[a])
		if t := peeked[a]; t != nil {
			l.Records = *t
		} else {
			l.Records.Add(&a.tally)
		}
		s.Ledgers = append(s.Ledgers, l)
	}
	return s
}

// foldAfter is how long the account of a container without any files is kept
// by its name.
const foldAfter = time.Hour

// foldedKey begins the keys of the accounts, one a namespace, of everything
// that is gone for longer.
const foldedKey = "folded/"

// foldAccounts adds the accounts of containers that are long gone to one a
// namespace, so that memory stays bounded and sums stay right.
func (in *Input) foldAccounts() {
	for key, a := range in.accounts {
		if a.chains > 0 || strings.HasPrefix(key, foldedKey) {
			a.idle = time.Time{}
			continue
		}
		if a.idle.IsZero() {
			a.idle = in.now
		}
		if in.now.Sub(a.idle) < foldAfter {
			continue
		}
		sum := foldedKey + a.container.Namespace
		f := in.accounts[sum]
		if f == nil {
			f = &account{key: sum, container: Container{Namespace: a.container.Namespace}}
			in.accounts[sum] = f
		}
		f.written += a.written
		f.read += a.read
		f.lost += a.lost
		f.acked += a.acked
		f.tally.Add(&a.tally)
		f.dirty = true
		delete(in.accounts, key)
		in.cfg.Checkpoint.Delete(in.key("account", key))
		in.unsaved = true
	}
}

func addLines(sum *cri.Stats, s cri.Stats) {
	sum.Records += s.Records
	sum.Odd += s.Odd
	sum.OddTimes += s.OddTimes
	sum.NULBytes += s.NULBytes
	sum.Joined += s.Joined
	sum.Split += s.Split
	sum.Together += s.Together
}

// Stats returns the latest snapshot. It is safe for concurrent use; the
// snapshot is shared and must not be modified.
func (in *Input) Stats() *Stats { return in.stats.Load() }
