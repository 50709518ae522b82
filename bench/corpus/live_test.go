package corpus

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/weirlog/weir/bench/mark"
)

// TestLiveRotation writes without ever removing and finds every line again, in
// plain files and compressed ones.
func TestLiveRotation(t *testing.T) {
	l, err := NewLive(LiveConfig{Config: Config{Root: t.TempDir(), Seed: 1}, Streams: 2, Rate: 1e9, MaxSize: 100_000, Keep: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Run(context.Background(), 30*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	seen := map[mark.Mark]bool{}
	zipped, plain := 0, 0
	paths, _ := filepath.Glob(filepath.Join(l.cfg.Root, "*", "*", "*"))
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(p) == ".gz" {
			zipped++
			z, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if data, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		} else {
			plain++
		}
		for line := range bytes.Lines(data) {
			if i := bytes.IndexByte(line, '~'); i >= 0 {
				var f mark.Finder
				m, v := f.InLine(bytes.TrimSuffix(line, []byte("\n")))
				if v == mark.None {
					t.Fatalf("%s: %q", p, line)
				}
				if seen[m] {
					t.Fatalf("%v twice", m)
				}
				seen[m] = true
			}
		}
	}
	c := l.Corpus()
	if uint64(len(seen)) != c.Total() || c.Total() < 100 {
		t.Errorf("%d of %d lines on disk", len(seen), c.Total())
	}
	if zipped == 0 || plain != 4 { // per stream the current one and the newest rotated
		t.Errorf("%d compressed, %d plain files", zipped, plain)
	}
}

func TestLiveKeeps(t *testing.T) {
	l, err := NewLive(LiveConfig{Config: Config{Root: t.TempDir(), Seed: 1}, Streams: 1, Rate: 1e9, MaxSize: 50_000, Keep: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Run(context.Background(), 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	paths, _ := filepath.Glob(filepath.Join(l.cfg.Root, "*", "*", "*"))
	if len(paths) != 3 || l.bytes < 500_000 {
		t.Errorf("%v after %d bytes", paths, l.bytes)
	}
}
