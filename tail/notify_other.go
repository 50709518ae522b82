//go:build !linux

package tail

import (
	"errors"
	"fmt"
	"os"
)

// notifier is for inotify, which is Linux's. Elsewhere directories are looked at
// in turn, which finds everything, a little later.
type notifier struct {
	f    *os.File
	wake chan struct{}
}

func newNotifier() (*notifier, error) {
	return nil, fmt.Errorf("inotify: %w", errors.ErrUnsupported)
}

func (*notifier) add(string) error               { return nil }
func (*notifier) run()                           {}
func (*notifier) hints() (map[string]bool, bool) { return nil, false }
