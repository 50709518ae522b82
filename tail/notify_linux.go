package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notifier passes on what the kernel tells about directories. Everything it
// says is only a hint to look earlier: events may be lost, merged or late.
//
// It asks for names that come and go, not for writes: a chatty container would
// make more events than lines. That is why it speaks to inotify itself; the
// library asks for everything.
type notifier struct {
	f  *os.File
	fd int // of f; File.Fd would make it blocking

	mu    sync.Mutex
	dirs  map[int32]string
	paths map[string]bool
	dirty map[string]bool // directories in which something happened
	all   bool            // events were lost: look everywhere

	wake chan struct{} // one element: there is something
}

const watchMask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE |
	unix.IN_DELETE_SELF | unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW

func newNotifier() (*notifier, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	return &notifier{
		f:    os.NewFile(uintptr(fd), "inotify"),
		fd:   fd,
		dirs: map[int32]string{}, paths: map[string]bool{}, dirty: map[string]bool{},
		wake: make(chan struct{}, 1),
	}, nil
}

// add watches a directory.
func (n *notifier) add(path string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.paths[path] {
		return nil
	}
	wd, err := unix.InotifyAddWatch(n.fd, path, watchMask)
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	if old, ok := n.dirs[int32(wd)]; ok {
		delete(n.paths, old)
	}
	n.dirs[int32(wd)] = path
	n.paths[path] = true
	return nil
}

// run reads events until the notifier is closed.
func (n *notifier) run() {
	buf := make([]byte, 64<<10)
	for {
		k, err := n.f.Read(buf)
		if err != nil || k <= 0 {
			return
		}
		n.take(buf[:k])
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
}

func (n *notifier) take(p []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(p) >= unix.SizeofInotifyEvent {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&p[0]))
		end := min(unix.SizeofInotifyEvent+int(e.Len), len(p))
		name := strings.TrimRight(string(p[unix.SizeofInotifyEvent:end]), "\x00")
		p = p[end:]
		if e.Mask&unix.IN_Q_OVERFLOW != 0 {
			n.all = true
			continue
		}
		dir, ok := n.dirs[e.Wd]
		if !ok {
			continue
		}
		if e.Mask&unix.IN_IGNORED != 0 {
			delete(n.dirs, e.Wd)
			delete(n.paths, dir)
		}
		n.dirty[dir] = true
		if e.Mask&unix.IN_ISDIR != 0 && e.Mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 {
			n.dirty[filepath.Join(dir, name)] = true
		}
	}
}

// hints returns where something happened since the last call.
func (n *notifier) hints() (dirs map[string]bool, all bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all, n.all = n.all, false
	if len(n.dirty) > 0 {
		dirs, n.dirty = n.dirty, map[string]bool{}
	}
	return dirs, all
}
