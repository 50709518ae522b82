package tail

import (
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"
)

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
