package corpus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

// LiveConfig says how a Live writes.
type LiveConfig struct {
	Config
	Streams int
	Rate    float64 // bytes a second over all streams; 0 if Lines is set
	Lines   float64 // lines a second over all streams; 0 if Rate is set
	MaxSize int64   // a file is rotated the moment it has reached it; 0: never
	// Keep is the number of files per container, with the current one: kubelet's
	// containerLogMaxFiles.
	Keep int
}

// A Live writes logs at a steady rate and rotates them as kubelet does, only
// without its pause of 10 s between looks: rename, a new file at once, what was
// rotated before is compressed (.tmp, rename to .gz, unlink), the oldest goes.
type Live struct {
	cfg     LiveConfig
	streams []*liveStream
	next    int // the stream that writes next
	zips    sync.WaitGroup
	zipErr  error
	zipMu   sync.Mutex
	bytes   int64
}

type liveStream struct {
	*Stream
	f       *os.File // nil if there are too many to keep open
	size    int64
	rotated int
}

// keptOpen is up to how many streams keep their files open.
const keptOpen = 256

// NewLive makes the directories, and a first line in every file.
func NewLive(cfg LiveConfig) (*Live, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Keep < 2 {
		cfg.Keep = 2
	}
	l := &Live{cfg: cfg}
	for i := range cfg.Streams {
		s, err := NewStream(cfg.Config, uint32(i))
		if err != nil {
			return nil, err
		}
		ls := &liveStream{Stream: s}
		l.streams = append(l.streams, ls)
		if err := l.write(ls); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// Run writes for so long, or until the context ends.
func (l *Live) Run(ctx context.Context, d time.Duration) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	start, first, lines := time.Now(), l.bytes, 0
	for {
		since := time.Since(start)
		if since >= d {
			return nil
		}
		for float64(l.bytes-first) < l.cfg.Rate*since.Seconds() || float64(lines) < l.cfg.Lines*since.Seconds() {
			s := l.streams[l.next]
			l.next = (l.next + 1) % len(l.streams)
			if err := l.write(s); err != nil {
				return err
			}
			lines++
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Close waits for compressions and closes the files.
func (l *Live) Close() error {
	l.zips.Wait()
	err := l.zipErr
	for _, s := range l.streams {
		if s.f != nil {
			err = errors.Join(err, s.f.Close())
		}
	}
	return err
}

// Corpus is what was written so far.
func (l *Live) Corpus() *Corpus {
	c := &Corpus{Root: l.cfg.Root, Bytes: l.bytes}
	for _, s := range l.streams {
		c.Lines = append(c.Lines, s.Lines())
	}
	return c
}

// write writes one line, whole, in one call, as the runtime does.
func (l *Live) write(s *liveStream) error {
	f := s.f
	if f == nil {
		var err error
		if f, err = os.OpenFile(s.Path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640); err != nil {
			return err
		}
		if l.cfg.Streams <= keptOpen {
			s.f = f
		}
	}
	line := s.Next()
	_, err := f.Write(line)
	if s.f == nil {
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return err
	}
	s.size += int64(len(line))
	l.bytes += int64(len(line))
	if l.cfg.MaxSize > 0 && s.size >= l.cfg.MaxSize {
		return l.rotate(s)
	}
	return nil
}

// rotate renames the current file, opens a new one and leaves the older ones
// to compress.
func (l *Live) rotate(s *liveStream) error {
	if s.f != nil {
		if err := s.f.Close(); err != nil {
			return err
		}
	}
	s.rotated++
	// Kubelet's names have a second's resolution; ours may rotate oftener.
	name := fmt.Sprintf("%s.%s", s.Path, time.Date(2026, 11, 22, 9, 0, s.rotated, 0, time.UTC).Format("20060102-150405"))
	if err := os.Rename(s.Path, name); err != nil {
		return err
	}
	f, err := os.OpenFile(s.Path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	s.f, s.size = f, 0
	if l.cfg.Streams > keptOpen {
		s.f = nil
		if err := f.Close(); err != nil {
			return err
		}
	}
	l.zips.Go(func() {
		l.zipMu.Lock() // one at a time, in order
		defer l.zipMu.Unlock()
		if err := tidy(s.Dir, filepath.Base(name), l.cfg.Keep); err != nil && l.zipErr == nil {
			l.zipErr = err
		}
	})
	return nil
}

// tidy removes what exceeds keep files and compresses what was rotated before
// the file called newest.
func tidy(dir, newest string, keep int) error {
	names, err := rotatedNames(dir)
	if err != nil {
		return err
	}
	for len(names) > keep-1 {
		if err := os.Remove(filepath.Join(dir, names[0])); err != nil {
			return err
		}
		names = names[1:]
	}
	for _, n := range names {
		if n < newest && !strings.HasSuffix(n, ".gz") {
			if err := compress(filepath.Join(dir, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

func rotatedNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); strings.HasPrefix(n, "0.log.") && !strings.HasSuffix(n, ".tmp") {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names, nil
}

func compress(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	// Faster than kubelet's level: the generator must not need the processor of
	// those it feeds.
	z, err := gzip.NewWriterLevel(tmp, gzip.BestSpeed)
	if err == nil {
		_, err = io.Copy(z, in)
	}
	if err == nil {
		err = z.Close()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path+".gz"); err != nil {
		return err
	}
	return os.Remove(path)
}
