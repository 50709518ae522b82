package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// FileConfig configures NewFile.
type FileConfig struct {
	// Path of the file. %Y %m %d %j %H %M and %% stand for the time of
	// writing, in UTC; nothing of a record ever becomes part of it. Missing
	// directories are made.
	Path   string
	Format Format
	// MaxSize in bytes: before a write that would exceed it the file becomes
	// Path.1, Path.1 becomes Path.2 and so on; default 100 MiB.
	MaxSize int64
	// Keep is how many of those are kept; the oldest goes. Default 5.
	Keep int
	// NoSync answers delivered without fsync: a power failure may then lose
	// what was delivered.
	NoSync bool
	// Mode of new files; default 0600.
	Mode fs.FileMode
	// Now is the clock for Path; nil is time.Now.
	Now func() time.Time
	// Logger may be nil.
	Logger *slog.Logger
}

const (
	defaultMaxSize = 100 << 20
	defaultKeep    = 5
)

// File writes records to a file that it rotates itself. It must be the only
// writer. A record is delivered when it is on disk (fsync). A write that fails,
// on a full disk for example, is cut off again, so that the file always ends
// with a whole record; the same happens to an unfinished last line found when
// the file is opened. It notices when somebody else renames or removes the
// file and begins a new one.
type File struct {
	conf FileConfig
	enc  *encoders
	log  *slog.Logger

	mu     sync.Mutex
	f      file
	path   string // of f
	dirty  bool   // f may end with half a record, or fsync failed
	size   int64  // where f ends, as far as it is whole
	tried  int64  // length of the last write, which may have failed
	closed bool
	open   func(path string, mode fs.FileMode) (file, error) // for tests
}

// file is what File needs of an *os.File.
type file interface {
	io.WriteCloser
	io.ReaderAt
	Truncate(size int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
}

// NewFile returns an output to a file. The file is opened by the first Send.
func NewFile(c FileConfig) (*File, error) {
	if c.Path == "" {
		return nil, errors.New("output: file: path is missing")
	}
	if _, err := expandTime(c.Path, time.Time{}); err != nil {
		return nil, err
	}
	if c.MaxSize == 0 {
		c.MaxSize = defaultMaxSize
	}
	if c.Keep == 0 {
		c.Keep = defaultKeep
	}
	if c.MaxSize < 0 || c.Keep < 0 {
		return nil, errors.New("output: file: max_size and keep must be positive")
	}
	if c.Mode == 0 {
		c.Mode = 0o600
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	enc, err := c.Format.encoders()
	if err != nil {
		return nil, err
	}
	return &File{conf: c, enc: enc, log: c.Logger, open: openFile}, nil
}

// String names the output.
func (o *File) String() string { return "file " + o.conf.Path }

// Send appends the records of parts to the file. Any failure means Retry.
func (o *File) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	w := getWork()
	defer w.put()
	enc := o.enc.get()
	w.raw = enc.Append(w.raw[:0], parts)
	o.enc.put(enc)

	o.mu.Lock()
	defer o.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return ack.Result{}, err
	}
	if err := o.write(w.raw); err != nil {
		return ack.Result{}, &ack.SendError{Kind: ack.Retry, Err: err}
	}
	return ack.Result{Bytes: len(w.raw)}, nil
}

func (o *File) write(p []byte) error {
	if o.closed {
		return fmt.Errorf("write %s: %w", o.conf.Path, errClosed)
	}
	path, err := expandTime(o.conf.Path, o.conf.Now())
	if err != nil {
		return err
	}
	if err := o.ready(path); err != nil {
		return err
	}
	if o.size > 0 && o.size+int64(len(p)) > o.conf.MaxSize {
		if err := o.rotate(); err != nil {
			return err
		}
	}
	o.tried = int64(len(p))
	n, err := o.f.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err == nil && !o.conf.NoSync {
		// After a failed fsync the kernel may have dropped the pages and call
		// the next fsync a success, so the bytes are cut off and written again.
		err = o.f.Sync()
	}
	if err != nil {
		o.dirty = true
		if cut := o.cut(); cut != nil {
			err = errors.Join(err, cut)
		}
		return fmt.Errorf("write %s: %w", o.path, err)
	}
	o.size += int64(n)
	return nil
}

// cut takes off what was written behind the last whole record. Where another
// writer has appended meanwhile (while a reload changes the output there are
// two), what it wrote stays, and so does the unfinished write.
func (o *File) cut() error {
	if fi, err := o.f.Stat(); err == nil && fi.Size() > o.size+o.tried {
		o.log.Warn("another writer appends to the file; an unfinished write stays in it", "path", o.path)
		o.size, o.dirty = fi.Size(), false
		return nil
	}
	if err := o.f.Truncate(o.size); err != nil {
		return fmt.Errorf("cut off the unfinished write: %w", err)
	}
	o.dirty = false
	return nil
}

// ready makes o.f the file at path, ending with a whole record.
func (o *File) ready(path string) error {
	if o.f != nil && (o.path != path || o.moved()) {
		if err := o.drop(); err != nil {
			return err
		}
	}
	if o.f == nil {
		if err := o.begin(path); err != nil {
			return err
		}
	}
	if o.dirty {
		if err := o.cut(); err != nil {
			return fmt.Errorf("write %s: %w", o.path, err)
		}
	}
	return nil
}

// moved reports whether o.f is no longer what o.path names, or not as it was
// left.
func (o *File) moved() bool {
	here, err := o.f.Stat()
	if err != nil {
		return false // the write will tell
	}
	there, err := os.Stat(o.path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	return !os.SameFile(here, there) || !o.dirty && here.Size() != o.size
}

// drop closes o.f, whole.
func (o *File) drop() error {
	if o.dirty {
		if err := o.cut(); err != nil {
			return fmt.Errorf("leave %s: %w", o.path, err)
		}
	}
	err := o.f.Close()
	o.f = nil
	if err != nil {
		// What was delivered had been synced; with NoSync nobody was promised.
		o.log.Warn("closing the file failed", "path", o.path, "error", err)
	}
	return nil
}

func (o *File) begin(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("make the directory of %s: %w", path, err)
	}
	f, err := o.open(path, o.conf.Mode)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	var whole int64
	if err == nil {
		whole, err = wholeSize(f, fi.Size())
	}
	if err == nil && whole < fi.Size() {
		o.log.Warn("the file ends with an unfinished line, which is cut off", "path", path, "bytes", fi.Size()-whole)
		err = f.Truncate(whole)
	}
	if err == nil {
		err = syncDir(path)
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return fmt.Errorf("open %s: %w", path, err)
	}
	o.f, o.path, o.size, o.dirty = f, path, whole, false
	return nil
}

func openFile(path string, mode fs.FileMode) (file, error) {
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: not a regular file", path)
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, mode)
}

// wholeSize returns how many bytes of the file are whole lines.
func wholeSize(f io.ReaderAt, size int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for end := size; end > 0; {
		n := min(end, int64(len(buf)))
		p := buf[:n]
		if _, err := f.ReadAt(p, end-n); err != nil && err != io.EOF {
			return 0, err
		}
		if i := bytes.LastIndexByte(p, '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

// rotate moves the file and its elders one number up and begins a new one.
// Only the numbers before the first free one move, so that a rotation cut off
// in the middle costs no file.
func (o *File) rotate() error {
	path := o.path
	if err := o.drop(); err != nil {
		return err
	}
	free := 1
	for free < o.conf.Keep {
		if _, err := os.Lstat(numbered(path, free)); errors.Is(err, fs.ErrNotExist) {
			break
		}
		free++
	}
	for n := free; n > 0; n-- {
		if err := os.Rename(numbered(path, n-1), numbered(path, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate %s: %w", path, err)
		}
	}
	return o.begin(path)
}

func numbered(path string, n int) string {
	if n == 0 {
		return path
	}
	return path + "." + strconv.Itoa(n)
}

// syncDir makes the name of path durable.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Probe checks that a file can be made beside the output's, without touching
// that.
func (o *File) Probe(context.Context) error {
	path, err := expandTime(o.conf.Path, o.conf.Now())
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	for {
		fi, err := os.Stat(dir)
		if err == nil && !fi.IsDir() {
			return fmt.Errorf("file %s: %s is not a directory", path, dir)
		}
		if err == nil {
			break
		}
		if up := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && up != dir {
			dir = up // it will be made
			continue
		}
		return fmt.Errorf("file %s: %w", path, err)
	}
	f, err := os.CreateTemp(dir, ".weir-probe-*")
	if err != nil {
		return fmt.Errorf("file %s: %w", path, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Close closes the file.
func (o *File) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.f == nil {
		return nil
	}
	return o.drop()
}

// expandTime replaces the time directives of a path.
func expandTime(path string, t time.Time) (string, error) {
	if !strings.Contains(path, "%") {
		return path, nil
	}
	t = t.UTC()
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			b.WriteByte(path[i])
			continue
		}
		i++
		if i == len(path) {
			return "", fmt.Errorf("output: file: path %q ends with %%; write %%%% for a percent sign", path)
		}
		switch path[i] {
		case '%':
			b.WriteByte('%')
		case 'Y':
			b.WriteString(t.Format("2006"))
		case 'm':
			b.WriteString(t.Format("01"))
		case 'd':
			b.WriteString(t.Format("02"))
		case 'j':
			b.WriteString(t.Format("002"))
		case 'H':
			b.WriteString(t.Format("15"))
		case 'M':
			b.WriteString(t.Format("04"))
		default:
			return "", fmt.Errorf("output: file: path %q: unknown time directive %%%c; known are %%Y %%m %%d %%j %%H %%M", path, path[i])
		}
	}
	return b.String(), nil
}
