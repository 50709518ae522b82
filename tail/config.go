package tail

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/cri"
	"github.com/weirlog/weir/record"
)

// Container names a chain: one instance of a container, or a plain file.
type Container struct {
	Namespace, Pod, UID, Container string
	// ID is the runtime's container id where the file's name tells it.
	ID      string
	Restart int
	// Path is the plain file's path, or of a container's live file.
	Path string
	// Volume is the name of the pod's volume that a plain file is in, and File its
	// path there; "" for others.
	Volume, File string
}

// Description is what is known about a Container and is to be done with it.
type Description struct {
	// Streams of stdout and stderr; plain files use the first.
	Streams [2]*record.Stream
	// Exclude: do not read it at all.
	Exclude bool
	// Wait: not everything is known yet. The files are opened but not read
	// until the description changes or Config.WaitFor has passed.
	Wait bool
	// Multiline says which of its lines belong together; nil: what Config says,
	// cri.Off: none do.
	Multiline *cri.Multiline
}

// Checkpoint is where positions are kept; *checkpoint.Store is one.
type Checkpoint interface {
	Get(key string) ([]byte, bool)
	// Range calls f for every key with the prefix until it returns false; f
	// may change the store.
	Range(prefix string, f func(key string, value []byte) bool)
	Put(key string, value []byte)
	Delete(key string)
	// Sync makes all changes so far durable, all of them or none. Flush makes
	// them outlive the process, not a crash of the machine.
	Sync() error
	Flush() error
}

// Start says where reading begins in files without a checkpoint that are there
// when the input starts. Files that appear later are read from their
// beginning.
type Start uint8

// The values of Start.
const (
	Beginning Start = iota
	EndOfFile
)

// HoldBy says how unread generations survive their deletion.
type HoldBy uint8

// The values of HoldBy.
const (
	// HoldFD keeps their handles open; they do not survive a restart.
	HoldFD HoldBy = iota
	// HoldLink also gives them a second name in LinkDir, which must be on the
	// same mount as the files. Where that fails it is HoldFD.
	HoldLink
)

// Hold bounds what is kept of deleted files that have not been read.
type Hold struct {
	By HoldBy
	// MaxBytes is the most that the sizes of all such files may sum up to; 0
	// means 2 GiB. MaxAge is how long one is kept after its deletion; 0 means
	// 24 h. What exceeds them is given up, the oldest first: counted as lost,
	// exactly, and named in a gap record.
	MaxBytes int64
	MaxAge   time.Duration
	LinkDir  string
}

// Config is the configuration of an Input. At least one of Pods, Links and
// Paths must be set.
type Config struct {
	// ID distinguishes the inputs that share a Checkpoint; "" means "tail".
	ID string

	// Pods is the directory with <namespace>_<pod>_<uid>/<container>/<n>.log.
	Pods string
	// Links is the directory with links named
	// <pod>_<namespace>_<container>-<id>.log.
	Links string
	// Volumes, if not nil, returns the volumes of pods that hold logs. It is asked
	// again when DescribeVersion has changed, and now and then. Refused is told of what
	// in them is not read although it was asked for, again after a while; it may be
	// nil.
	Volumes func() []Volume
	Refused func(k Container, file, why string)
	// Paths are patterns of plain files as in filepath.Match; Excludes are
	// patterns of whole paths or of file names that are left out.
	Paths, Excludes []string
	// LinkRoots are further directories that symbolic links found may lead
	// into. Links out of all of these and of the directories above are refused.
	LinkRoots []string

	// Format of the lines; containers default to cri.Auto, plain files to
	// cri.Plain.
	Format cri.Format
	// MaxLine is the longest message, in bytes; 0 means cri.DefaultMaxLine.
	MaxLine int
	// Multiline says which lines belong together in one record; nil: none do.
	Multiline *cri.Multiline

	// PollInterval is how often open files are looked at (0: 250 ms),
	// ScanInterval how often directories are (0: 1 s).
	PollInterval, ScanInterval time.Duration
	// IdleLine is how long a last line without newline may stay unfinished
	// before it is taken as it is; 0 means 60 s, for plain files 5 s.
	IdleLine time.Duration
	// PartialAge is how long the first parts of a message wait for the last;
	// 0 means 60 s.
	PartialAge time.Duration
	// ReadBytes is the most read from one chain at a turn; 0 means 256 KiB.
	ReadBytes int
	// MaxHandles bounds the open files, as far as unread generations that
	// have no name any more allow; 0 means 4096.
	MaxHandles int

	Hold  Hold
	Start Start

	// Reclaim gives back the disk space of what is finished and saved, of plain
	// files that this process may write to.
	Reclaim bool
	// RotateSize, if not 0, truncates plain files that are larger; see rotate.go for
	// what may be lost. RotateKeep is how many of the copies that this leaves are kept
	// when they are finished.
	RotateSize int64
	RotateKeep int

	// Describe is called when a chain is found and again when
	// DescribeVersion has changed. Both must be fast and safe to call from
	// the input's goroutine.
	Describe func(Container) Description
	// DescribeVersion may be nil: descriptions never change then.
	DescribeVersion func() uint64
	// WaitFor bounds Description.Wait; 0 means 5 s.
	WaitFor time.Duration

	// NoNotify turns kernel notifications off; polling alone finds everything.
	NoNotify bool

	// Checkpoint may be nil: nothing is remembered then.
	Checkpoint Checkpoint
	// Book names the outputs in the persisted counters; nil: none are kept.
	Book   *ack.Book
	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: discard
}

func (c *Config) setDefaults() error {
	c.ID = cmp.Or(c.ID, "tail")
	if c.Pods == "" && c.Links == "" && len(c.Paths) == 0 && c.Volumes == nil {
		return errors.New("tail: nothing to read: set Pods, Links or Paths")
	}
	if c.Describe == nil {
		return errors.New("tail: Describe is missing")
	}
	for _, p := range []*string{&c.Pods, &c.Links, &c.Hold.LinkDir} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("tail: path %s: %w", *p, err)
		}
		*p = abs
	}
	for _, set := range [][]string{c.Paths, c.Excludes} {
		for _, p := range set {
			if _, err := filepath.Match(p, ""); err != nil {
				return fmt.Errorf("tail: pattern %q: %w", p, err)
			}
		}
	}
	for i, p := range c.Paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return fmt.Errorf("tail: path %s: %w", p, err)
		}
		c.Paths[i] = abs
	}
	if c.Hold.By == HoldLink && c.Hold.LinkDir == "" {
		return errors.New("tail: hold by link needs LinkDir")
	}
	c.PollInterval = cmp.Or(c.PollInterval, 250*time.Millisecond)
	c.ScanInterval = cmp.Or(c.ScanInterval, time.Second)
	c.PartialAge = cmp.Or(c.PartialAge, time.Minute)
	c.ReadBytes = cmp.Or(c.ReadBytes, 256<<10)
	c.MaxHandles = cmp.Or(c.MaxHandles, 4096)
	c.WaitFor = cmp.Or(c.WaitFor, 5*time.Second)
	c.Hold.MaxBytes = cmp.Or(c.Hold.MaxBytes, 2<<30)
	c.Hold.MaxAge = cmp.Or(c.Hold.MaxAge, 24*time.Hour)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Checkpoint == nil {
		c.Checkpoint = nowhere{}
	}
	if c.Book == nil {
		c.Book = new(ack.Book)
	}
	return nil
}

// nowhere is a Checkpoint that remembers nothing.
type nowhere struct{}

func (nowhere) Get(string) ([]byte, bool)               { return nil, false }
func (nowhere) Range(string, func(string, []byte) bool) {}
func (nowhere) Put(string, []byte)                      {}
func (nowhere) Delete(string)                           {}
func (nowhere) Sync() error                             { return nil }
func (nowhere) Flush() error                            { return nil }
