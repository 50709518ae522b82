package demo

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Marker is the file that says of a directory that it is a Node's.
const Marker = ".weir-demo"

// ErrRunning says that another process writes to the directory.
var ErrRunning = errors.New("another demo writes to it")

// ErrForeign says that a directory holds something else.
var ErrForeign = errors.New("there are other files in it")

// NodeConfig is what a Node is made from.
type NodeConfig struct {
	// Dir becomes what /var/log/pods is on a node. It must be empty, not there, or
	// of an earlier Node, whose files are removed.
	Dir string
	// MaxBytes bounds all files together; 0 means 200 MiB. The oldest rotated
	// files are removed when it is reached.
	MaxBytes int64
	// Keep is until when, in the time of the events, nothing is removed but for
	// MaxBytes: nobody could have read it.
	Keep time.Time
}

const (
	defaultMaxBytes = 200 << 20
	maxPiece        = 16 << 10 // containerd cuts lines here
	maxFiles        = 5        // kubelet's containerLogMaxFiles
)

// Node writes events as the files of a Kubernetes node. It is for one goroutine.
type Node struct {
	cfg     NodeConfig
	root    *os.Root
	marker  *os.File
	maxFile int64
	logs    map[*Container]*log
	old     []*logFile // rotated or of dead containers and pods, the oldest first
	total   int64      // bytes in all files, without what is still buffered
	stats   NodeStats
}

// NodeStats counts what was written.
type NodeStats struct {
	Pods, Restarts, Lines, Rotations int
	// Bytes of the lines, with their CRI headers.
	Bytes int64
	// Removed lines are in no file any more.
	Removed int
}

// log is the log of one container.
type log struct {
	dir, name string
	file      *os.File
	w         *bufio.Writer
	live      *logFile
	rotated   []*logFile
	dead      []*logFile // of the restarts before
}

// logFile is one file.
type logFile struct {
	path  string
	size  int64
	lines int
	gone  bool
	when  time.Time
}

var podDir = regexp.MustCompile(`^[^_]+_[^_]+_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// OpenNode prepares the directory. It fails with ErrForeign or ErrRunning where it
// must not write. Close the node after use.
func OpenNode(c NodeConfig) (*Node, error) {
	if c.MaxBytes <= 0 {
		c.MaxBytes = defaultMaxBytes
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	n := &Node{cfg: c, logs: make(map[*Container]*log), maxFile: min(10<<20, max(32<<10, c.MaxBytes/400))}
	var err error
	if n.root, err = os.OpenRoot(c.Dir); err != nil {
		return nil, err
	}
	if n.marker, err = claim(n.root, true); err == nil {
		err = removePods(n.root)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Dir, errors.Join(err, n.closeDir()))
	}
	return n, nil
}

// claim locks the directory's marker; without one it makes one if the directory
// is empty and it may.
func claim(root *os.Root, create bool) (*os.File, error) {
	f, err := root.OpenFile(Marker, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		entries, e := fs.ReadDir(root.FS(), ".")
		if e != nil {
			return nil, e
		}
		if len(entries) > 0 || !create {
			return nil, ErrForeign
		}
		f, err = root.OpenFile(Marker, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(ErrRunning, f.Close())
	}
	return f, nil
}

func removePods(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && podDir.MatchString(e.Name()) {
			if err := root.RemoveAll(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove removes what a Node left in the directory, and the directory if nothing
// else is in it. It fails with ErrForeign if no Node wrote there.
func Remove(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	marker, err := claim(root, false)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	defer marker.Close()
	if err := removePods(root); err != nil {
		return err
	}
	if err := root.Remove(Marker); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) {
		return err
	}
	return nil
}

// Describe writes v, as JSON, into the marker, for people and programs.
func (n *Node) Describe(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := n.marker.Truncate(0); err != nil {
		return err
	}
	_, err = n.marker.WriteAt(append(text, '\n'), 0)
	return err
}

// Stats returns what was written so far.
func (n *Node) Stats() NodeStats { return n.stats }

// Disk returns how many bytes the files have.
func (n *Node) Disk() int64 { return n.total }

// Apply writes an event. Lines are in their file after Flush.
func (n *Node) Apply(e Event) error {
	switch e.Kind {
	case Created:
		n.stats.Pods++
		for _, c := range e.Pod.Containers {
			l := &log{dir: path.Join(e.Pod.Namespace+"_"+e.Pod.Name+"_"+e.Pod.UID, c.Name)}
			if err := n.root.MkdirAll(l.dir, 0o755); err != nil {
				return err
			}
			n.logs[c] = l
			if err := n.begin(l, 0); err != nil {
				return err
			}
		}
	case Line:
		return n.line(n.logs[e.Container], e)
	case Restarted:
		n.stats.Restarts++
		return n.restart(n.logs[e.Container], e)
	case Deleted:
		return n.delete(e)
	}
	return nil
}

// begin opens the live file of a container.
func (n *Node) begin(l *log, restart int) (err error) {
	l.name = strconv.Itoa(restart) + ".log"
	p := path.Join(l.dir, l.name)
	if l.file, err = n.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640); err != nil {
		return err
	}
	l.w, l.live = bufio.NewWriterSize(l.file, 32<<10), &logFile{path: p}
	return nil
}

// end closes the live file.
func (n *Node) end(l *log) error {
	err := l.w.Flush()
	if e := l.file.Close(); err == nil {
		err = e
	}
	if err == nil && !l.live.when.IsZero() {
		err = n.root.Chtimes(l.live.path, l.live.when, l.live.when)
	}
	return err
}

func (n *Node) line(l *log, e Event) error {
	text := e.Text
	stream := " stdout "
	if e.Stderr {
		stream = " stderr "
	}
	for more := true; more; {
		piece, tag := text, "F "
		if more = len(text) > maxPiece; more {
			piece, tag = text[:maxPiece], "P "
		}
		text = text[len(piece):]
		var head [64]byte
		h := append(append(e.Time.UTC().AppendFormat(head[:0], time.RFC3339Nano), stream...), tag...)
		l.w.Write(h)
		l.w.WriteString(piece)
		if err := l.w.WriteByte('\n'); err != nil { // bufio keeps the first error
			return err
		}
		size := int64(len(h) + len(piece) + 1)
		l.live.size += size
		n.total += size
		n.stats.Bytes += size
	}
	l.live.lines++
	l.live.when = e.Time
	n.stats.Lines++
	if l.live.size >= n.maxFile {
		if err := n.rotate(l, e.Time); err != nil {
			return err
		}
	}
	return n.fit()
}

// rotate does as kubelet: remove what is too much, compress what is not yet, and
// then rename the live file.
func (n *Node) rotate(l *log, now time.Time) error {
	name := path.Join(l.dir, l.name+"."+now.UTC().Format("20060102-150405"))
	if _, err := n.root.Lstat(name); err == nil {
		return nil // twice within a second: the next line will do
	}
	for len(l.rotated) > maxFiles-2 && !now.Before(n.cfg.Keep) {
		if err := n.drop(l.rotated[0]); err != nil {
			return err
		}
		l.rotated = l.rotated[1:]
	}
	for _, f := range l.rotated {
		if !f.gone && !strings.HasSuffix(f.path, ".gz") {
			if err := n.compress(f); err != nil {
				return err
			}
		}
	}
	if err := n.end(l); err != nil {
		return err
	}
	f := l.live
	if err := n.root.Rename(f.path, name); err != nil {
		return err
	}
	f.path = name
	l.rotated, n.old = append(l.rotated, f), append(n.old, f)
	n.stats.Rotations++
	restart, err := strconv.Atoi(strings.TrimSuffix(l.name, ".log"))
	if err != nil {
		return err // our own name
	}
	return n.begin(l, restart)
}

func (n *Node) compress(f *logFile) (err error) {
	in, err := n.root.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := f.path + ".tmp"
	out, err := n.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	for _, close := range []func() error{z.Close, out.Close} {
		if e := close(); err == nil {
			err = e
		}
	}
	if err != nil {
		return err
	}
	st, err := n.root.Stat(tmp)
	if err != nil {
		return err
	}
	if err := n.root.Rename(tmp, f.path+".gz"); err != nil {
		return err
	}
	if err := n.root.Remove(f.path); err != nil {
		return err
	}
	f.path += ".gz"
	n.total += st.Size() - f.size
	f.size = st.Size()
	return n.root.Chtimes(f.path, f.when, f.when)
}

func (n *Node) restart(l *log, e Event) error {
	if err := n.end(l); err != nil {
		return err
	}
	// Kubelet keeps one dead container.
	if !e.Time.Before(n.cfg.Keep) {
		for _, f := range l.dead {
			if err := n.drop(f); err != nil {
				return err
			}
		}
		l.dead = l.dead[:0]
	}
	l.dead = append(append(l.dead, l.rotated...), l.live)
	n.old = append(n.old, l.live)
	l.rotated = nil
	return n.begin(l, e.Restart)
}

func (n *Node) delete(e Event) error {
	keep := e.Time.Before(n.cfg.Keep)
	for _, c := range e.Pod.Containers {
		l := n.logs[c]
		delete(n.logs, c)
		if err := n.end(l); err != nil {
			return err
		}
		n.old = append(n.old, l.live)
		if keep {
			continue
		}
		for _, f := range slices.Concat(l.dead, l.rotated, []*logFile{l.live}) {
			if err := n.drop(f); err != nil {
				return err
			}
		}
	}
	if keep {
		return nil
	}
	return n.root.RemoveAll(e.Pod.Namespace + "_" + e.Pod.Name + "_" + e.Pod.UID)
}

// drop removes a file.
func (n *Node) drop(f *logFile) error {
	if f.gone {
		return nil
	}
	f.gone = true
	n.total -= f.size
	n.stats.Removed += f.lines
	if err := n.root.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// fit removes the oldest files while there are too many bytes.
func (n *Node) fit() error {
	if len(n.old) > 10_000 {
		n.old = slices.DeleteFunc(n.old, func(f *logFile) bool { return f.gone })
	}
	for n.total > n.cfg.MaxBytes && len(n.old) > 0 {
		f := n.old[0]
		n.old = n.old[1:]
		if err := n.drop(f); err != nil {
			return err
		}
	}
	return nil
}

// Flush writes what is buffered.
func (n *Node) Flush() error {
	for _, l := range n.logs {
		if l.w.Buffered() == 0 {
			continue
		}
		if err := l.w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// Settle gives the live files the time of their last line. It is for when nothing
// is written for now.
func (n *Node) Settle() error {
	if err := n.Flush(); err != nil {
		return err
	}
	for _, l := range n.logs {
		if !l.live.when.IsZero() {
			if err := n.root.Chtimes(l.live.path, l.live.when, l.live.when); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close writes what is buffered and leaves the files as they are.
func (n *Node) Close() error {
	var errs []error
	for _, l := range n.logs {
		errs = append(errs, n.end(l))
	}
	return errors.Join(append(errs, n.closeDir())...)
}

func (n *Node) closeDir() error {
	var errs []error
	if n.marker != nil {
		errs = append(errs, n.marker.Close())
	}
	return errors.Join(append(errs, n.root.Close())...)
}
