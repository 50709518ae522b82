//go:build !linux

package buffer

import "os"

// syncData makes what was written last.
func syncData(f *os.File) error { return f.Sync() }
