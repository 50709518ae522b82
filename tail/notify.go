package tail

import (
	"errors"
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

// startNotify turns notifications on; stop stops them and waits.
func (in *Input) startNotify() (stop func()) {
	if in.cfg.NoNotify {
		return func() {}
	}
	n, err := newNotifier()
	if err != nil {
		in.noNotify(err)
		return func() {}
	}
	in.notify = n
	done := make(chan struct{})
	go func() { defer close(done); n.run() }()
	return func() {
		n.f.Close()
		<-done
	}
}

// noNotify says, once, that only polling finds changes.
func (in *Input) noNotify(err error) {
	in.errors["notify"]++
	if in.notifyFailed {
		return
	}
	in.notifyFailed = true
	in.log.Warn("no notifications of file changes, polling only; nothing is lost, but files that live less than a scan interval may be missed",
		"error", err, "interval", in.cfg.ScanInterval)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EMFILE) {
		in.log.Warn("raise fs.inotify.max_user_watches or fs.inotify.max_user_instances on this host")
	}
}

// watch asks the kernel to tell of changes in a directory.
func (in *Input) watch(path string) {
	if in.notify == nil || in.notifyFailed {
		return
	}
	if err := in.notify.add(path); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
		in.noNotify(err)
	}
}

// takeHints marks the directories in which something happened and reports
// whether there are any.
func (in *Input) takeHints() (some, all bool) {
	if in.notify == nil {
		return false, false
	}
	dirs, all := in.notify.hints()
	for path := range dirs {
		if path == in.podsRoot.path {
			in.podsRoot.hot = true
		}
		if path == in.linksRoot.path {
			in.linksRoot.hot = true
		}
		if p := in.pods[filepath.Base(path)]; p != nil && p.path == path {
			p.hot = true
		}
		if d := in.dirs[path]; d != nil {
			d.hot = true
		}
	}
	return len(dirs) > 0, all
}
