package main

import (
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weirlog/weir/store"
)

// temporaryStores is what the stores are called that hold what was fetched of a
// cluster, for os.MkdirTemp.
const temporaryStores = "weir-kube-"

// sweepAfter is how old an unlocked one must be: a process that has made its
// directory locks it a moment later.
const sweepAfter = time.Minute

// sweepTemporary removes the temporary stores of this user's processes that were
// killed before they could. What cannot be removed stays: it is not worth a
// word to somebody who asked something else.
func sweepTemporary() {
	found, err := filepath.Glob(filepath.Join(os.TempDir(), temporaryStores+"*"))
	if err != nil {
		return
	}
	for _, dir := range found {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < sweepAfter {
			continue
		}
		// Others may make such directories, too, and put links into them.
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
			continue
		}
		fsys, err := store.DirFS(dir)
		if err != nil {
			continue
		}
		lock, err := fsys.Lock("LOCK")
		if err != nil {
			continue // it is in use
		}
		_ = os.RemoveAll(dir)
		_ = lock.Close()
	}
}
