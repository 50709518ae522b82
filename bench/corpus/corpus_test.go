package corpus

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/bench/mark"
)

// read takes a file apart in the plainest way and returns its whole lines.
func read(t *testing.T, path string) (bodies [][]byte, stderr int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	open := map[string][]byte{}
	for line := range bytes.Lines(data) {
		f := strings.SplitN(strings.TrimSuffix(string(line), "\n"), " ", 4)
		if len(f) != 4 {
			t.Fatalf("no CRI line: %q", line)
		}
		if _, err := time.Parse(time.RFC3339Nano, f[0]); err != nil || strings.HasSuffix(f[0], "0Z") && strings.Contains(f[0], ".") {
			t.Fatalf("time %q: %v", f[0], err)
		}
		open[f[1]] = append(open[f[1]], f[3]...)
		switch f[2] {
		case "P":
			if len(f[3]) != piece {
				t.Fatalf("a piece of %d bytes", len(f[3]))
			}
		case "F":
			bodies = append(bodies, open[f[1]])
			delete(open, f[1])
			if f[1] == "stderr" {
				stderr++
			}
		default:
			t.Fatalf("tag %q", f[2])
		}
	}
	if len(open) != 0 {
		t.Fatalf("%d lines without an end", len(open))
	}
	return bodies, stderr
}

func TestEveryLineIsMarkedOnce(t *testing.T) {
	c, err := Write(Config{Root: t.TempDir(), Seed: 7}, 3, 6<<20)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(c.Root, "*", "*", "0.log"))
	if err != nil || len(paths) != 3 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	var size int64
	var n, js, long, stderr int
	seen := map[mark.Mark]bool{}
	var f mark.Finder
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
		bodies, e := read(t, p)
		stderr += e
		for _, b := range bodies {
			m, v := f.InLine(b)
			if v != mark.Whole || seen[m] || m.Seq >= c.Lines[m.Stream] {
				t.Fatalf("%v %v in %q", m, v, b)
			}
			seen[m] = true
			n++
			if b[0] == '{' {
				js++
			}
			if len(b) > piece {
				long++
			}
		}
	}
	if size != c.Bytes || uint64(n) != c.Total() {
		t.Errorf("files have %d bytes and %d lines, the corpus says %d and %d", size, n, c.Bytes, c.Total())
	}
	if js < n*57/100 || js > n*63/100 {
		t.Errorf("%d of %d lines are JSON", js, n)
	}
	if long == 0 || stderr < n/5 || stderr > n/2 {
		t.Errorf("%d long, %d stderr of %d", long, stderr, n)
	}
	if mean := int(size) / n; mean < 350 || mean > 480 {
		t.Errorf("a line has %d bytes in the mean", mean)
	}
}

func TestSameSeedSameBytes(t *testing.T) {
	a, err := Write(Config{Root: t.TempDir(), Seed: 7}, 1, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Write(Config{Root: t.TempDir(), Seed: 7}, 1, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dirOf(7, 0), "0.log")
	x, _ := os.ReadFile(filepath.Join(a.Root, name))
	y, _ := os.ReadFile(filepath.Join(b.Root, name))
	if len(x) == 0 || !bytes.Equal(x, y) {
		t.Errorf("%d and %d bytes", len(x), len(y))
	}
}
