package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// safeBuffer is written to by the pager's program and by us.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newTestPager(ctx context.Context, command string) (*pager, *safeBuffer, *safeBuffer) {
	var out, errOut safeBuffer
	return &pager{ctx: ctx, command: command, out: &out, errOut: &errOut}, &out, &errOut
}

func TestPagerShowsAndHoldsMessagesBack(t *testing.T) {
	p, out, errOut := newTestPager(t.Context(), `sed "s/^/$LESS: /"`)
	t.Setenv("LESS", "x")
	io.WriteString(p.Err(), "before\n")
	if _, err := io.WriteString(p, "one\ntwo\n"); err != nil {
		t.Fatal(err)
	}
	io.WriteString(p.Err(), "during\n")
	if errOut.String() != "before\n" {
		t.Errorf("messages %q while the pager runs", errOut.String())
	}
	if err := p.close(nil); err != nil {
		t.Fatal(err)
	}
	io.WriteString(p.Err(), "after\n")
	if out.String() != "x: one\nx: two\n" || errOut.String() != "before\nduring\nafter\n" {
		t.Errorf("%q, %q", out, errOut)
	}
}

func TestPagerIsNotStartedForNothing(t *testing.T) {
	p, out, _ := newTestPager(t.Context(), "echo started")
	failed := errors.New("failed")
	if err := p.close(failed); err != failed || out.String() != "" {
		t.Errorf("%v, %q", err, out)
	}
}

func TestPagerThatIsLeftEndsWrites(t *testing.T) {
	p, out, _ := newTestPager(t.Context(), "head -n 1")
	line := strings.Repeat("x", 1000) + "\n"
	var err error
	for err == nil { // ends when the pipe has no reader
		_, err = io.WriteString(p, line)
	}
	if !errors.Is(err, syscall.EPIPE) {
		t.Errorf("%v", err)
	}
	if err := p.close(err); !errors.Is(err, syscall.EPIPE) || out.String() != line { // exit 0, see run
		t.Errorf("%v, %q", err, out)
	}
}

// Ctrl-C ends a write that waits for a pager that pauses; the pager goes on until
// its reader wants no more.
func TestPagerInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	fifo := filepath.Join(t.TempDir(), "key")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	p, out, _ := newTestPager(ctx, "read key <"+fifo+"; wc -c >/dev/null; echo left")
	ended := make(chan error, 1)
	go func() {
		var err error
		for err == nil { // blocks when the pipe is full
			_, err = io.WriteString(p, strings.Repeat("y", 64<<10))
		}
		ended <- p.close(err)
	}()
	key, err := os.OpenFile(fifo, os.O_WRONLY, 0) // when the pager has started
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-ended:
		t.Fatalf("ended before the pager: %v", err)
	case <-time.After(50 * time.Millisecond): // only makes sure that a mistake shows
	}
	io.WriteString(key, "q\n")
	key.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if paging.Load() || out.String() != "left\n" {
		t.Errorf("taken: %v, output %q", paging.Load(), out)
	}
}

func TestPagerThatDoesNotRun(t *testing.T) {
	p, _, errOut := newTestPager(t.Context(), "exec there-is-no-such-program")
	_, err := io.WriteString(p, "x\n")
	if err := p.close(err); err == nil || !strings.Contains(err.Error(), "--no-pager") || errOut.String() == "" {
		t.Errorf("%v, %q", err, errOut)
	}
}

// Without a shell nothing can be started, and no line is lost.
func TestPagerThatCannotStart(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	p, out, errOut := newTestPager(t.Context(), "less")
	for _, s := range []string{"one\n", "two\n"} {
		if _, err := io.WriteString(p, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.close(nil); err != nil || out.String() != "one\ntwo\n" || !strings.Contains(errOut.String(), "printing without it") || paging.Load() {
		t.Errorf("%v, %q, %q", err, out, errOut)
	}
}

func TestPagerCommand(t *testing.T) {
	for _, c := range []struct{ weir, pager, want, says string }{
		{"-", "", "", ""},
		{"-", "cat", "", ""},
		{"-", "  ", "", ""},
		{"-", "sh -c x", "sh -c x", ""},
		{"", "sh", "", ""},
		{"sh", "cat", "sh", ""},
		{"-", "there-is-no-such-program -x", "", "printing without a pager"},
		{"-", "FOO=1 sh", "FOO=1 sh", ""},
	} {
		t.Run(c.weir+" "+c.pager, func(t *testing.T) {
			t.Setenv("WEIR_PAGER", c.weir)
			if c.weir == "-" {
				os.Unsetenv("WEIR_PAGER") // Setenv brings back what was
			}
			t.Setenv("PAGER", c.pager)
			var errOut bytes.Buffer
			if got := pagerCommand(&errOut); got != c.want || !strings.Contains(errOut.String(), c.says) || c.says == "" && errOut.String() != "" {
				t.Errorf("%q, %q; want %q, %q", got, errOut.String(), c.want, c.says)
			}
		})
	}
}
