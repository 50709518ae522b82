package buffer

import (
	"context"
	"testing"
	"time"

	"github.com/weirlog/weir/buffer/buffertest"
)

// openDisk opens a buffer that the test's end shuts.
func openDisk(t buffertest.T, c DiskConfig) *Disk {
	t.Helper()
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	d, err := OpenDisk(c)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { shut(t, d) })
	return d
}

func shut(t buffertest.T, d *Disk) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := d.Shut(ctx); err != nil {
		t.Fatalf("shut: %v", err)
	}
}

func TestDisk(t *testing.T) {
	buffertest.Run(t, func(t buffertest.T, maxBytes int) buffertest.Queue {
		return openDisk(t, DiskConfig{FS: newCrashFS(1), MaxBytes: max(int64(maxBytes), 256<<10), Memory: max(maxBytes, 64<<10)})
	})
}

func TestDiskOnDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("syncs")
	}
	buffertest.Run(t, func(bt buffertest.T, maxBytes int) buffertest.Queue {
		return openDisk(bt, DiskConfig{Dir: t.TempDir(), MaxBytes: max(int64(maxBytes), 256<<10), Memory: max(maxBytes, 64<<10)})
	})
}
