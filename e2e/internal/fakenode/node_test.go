package fakenode

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirlog/weir/e2e/internal/account"
	"github.com/weirlog/weir/e2e/internal/journal"
)

func newNode(t *testing.T, cfg Config) (*Node, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	w, err := journal.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Journal = w
	if cfg.Root == "" {
		cfg.Root = filepath.Join(t.TempDir(), "pods")
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n, path
}

func finish(t *testing.T, n *Node) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.cfg.Journal.Close(); err != nil {
		t.Fatal(err)
	}
}

// readTree reads everything under root the naive way, each container's files
// in order, and returns an account of the joined lines.
func readTree(t *testing.T, root string) *account.Account {
	t.Helper()
	a, _ := account.New("")
	dirs, _ := filepath.Glob(filepath.Join(root, "*", "*"))
	for _, dir := range dirs {
		byLife := make(map[string][]string) // "0.log" → its rotated files
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			life, _, _ := strings.Cut(e.Name(), ".log")
			byLife[life] = append(byLife[life], e.Name())
		}
		for _, names := range byLife {
			slices.Sort(names)
			if !strings.HasSuffix(names[0], ".log") {
				t.Fatalf("%s: no current file among %v", dir, names)
			}
			names = append(names[1:], names[0]) // the current one is the youngest
			var all []byte
			for _, name := range names {
				f, err := os.Open(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				var r io.Reader = f
				if strings.HasSuffix(name, ".gz") {
					if r, err = gzip.NewReader(f); err != nil {
						t.Fatal(err)
					}
				} else if strings.HasSuffix(name, ".tmp") {
					t.Fatalf("left over: %s", name)
				}
				b, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
				all = append(all, b...)
			}
			readCRI(t, a, all)
		}
	}
	return a
}

var criLine = regexp.MustCompile(`^(\S+) (stdout|stderr) ([PF]) `)

func readCRI(t *testing.T, a *account.Account, all []byte) {
	t.Helper()
	open := make(map[string][]byte)
	for line := range bytes.Lines(all) {
		m := criLine.FindSubmatch(line)
		if m == nil || line[len(line)-1] != '\n' {
			t.Fatalf("not a CRI line: %.200q", line)
		}
		if _, err := time.Parse(time.RFC3339Nano, string(m[1])); err != nil {
			t.Fatal(err)
		}
		if ts := m[1]; bytes.Contains(ts, []byte("0+")) || bytes.HasSuffix(ts, []byte("0Z")) && bytes.Contains(ts, []byte(".")) {
			t.Fatalf("trailing zero in %s", ts)
		}
		body := line[len(m[0]) : len(line)-1]
		if len(body) > piece || string(m[3]) == "P" && len(body) != piece {
			t.Fatalf("a %s piece of %d bytes", m[3], len(body))
		}
		k := string(m[2])
		open[k] = append(open[k], body...)
		if string(m[3]) == "P" {
			continue
		}
		mark, ok := journal.ParseLine(open[k])
		if !ok {
			t.Fatalf("no mark in %.200q", open[k])
		}
		a.Add(mark, 0)
		open[k] = open[k][:0]
	}
}

// With room for all generations, what a naive reader finds on disk is what the
// journal says.
func TestJournalEqualsDisk(t *testing.T) {
	for _, kubelet := range []bool{false, true} {
		t.Run(fmt.Sprintf("kubelet=%v", kubelet), func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "pods")
			n, path := newNode(t, Config{
				Root: root, Links: filepath.Join(t.TempDir(), "containers"), Seed: 7, Pods: 2, Containers: 2, MaxSize: 96 << 10, MaxFiles: 1000,
				OnWrite: !kubelet, Torn: 500, Absent: time.Microsecond, Both: time.Microsecond,
				Mix:  Mix{JSON: 6000, Klog: 1000, Long: 200, Nasty: 1000, Broken: 300},
				Zone: time.FixedZone("", 3600),
			})
			stop := make(chan struct{})
			var kub sync.WaitGroup
			if kubelet {
				kub.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							if err := n.Kubelet(); err != nil {
								t.Error(err)
								return
							}
						}
					}
				})
			}
			for i := range 6000 {
				if err := n.Write(); err != nil {
					t.Fatal(err)
				}
				if i == 3000 {
					if err := n.Restart(); err != nil {
						t.Fatal(err)
					}
				}
			}
			close(stop)
			kub.Wait()
			finish(t, n)
			v, err := readTree(t, root).Verify(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := v.Err(); err != nil {
				t.Error(err)
			}
			if v.Total.Delivered != v.Total.Written || v.Total.Written < 6000 || v.Total.WrittenBytes != uint64(n.Bytes()) {
				t.Errorf("%+v, %d bytes", v.Total, n.Bytes())
			}
			links, _ := filepath.Glob(filepath.Join(n.cfg.Links, "*.log"))
			if len(links) != 4 {
				t.Errorf("links: %v", links)
			}
			for _, l := range links {
				if _, err := os.Stat(l); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// With kubelet's five files what is missing on disk is exactly what the
// journal says was deleted, to the byte.
func TestDeletedGenerationsAreTheLoss(t *testing.T) {
	root := filepath.Join(t.TempDir(), "pods")
	n, path := newNode(t, Config{Root: root, Seed: 3, Pods: 3, MaxSize: 32 << 10, OnWrite: true, Mix: Mix{JSON: 6000}})
	for i := range 4000 {
		if err := n.Write(); err != nil {
			t.Fatal(err)
		}
		if i == 1000 || i == 1100 || i == 2000 {
			if err := n.ReplacePod(); err != nil {
				t.Fatal(err)
			}
		}
	}
	finish(t, n)
	for _, p := range n.pods {
		names, _ := filepath.Glob(filepath.Join(root, p.dir, "app", "*"))
		plain, gz := 0, 0
		for _, name := range names {
			if strings.HasSuffix(name, ".gz") {
				gz++
			} else {
				plain++
			}
		}
		if plain > 2 || gz > 3 || len(names) < 2 {
			t.Errorf("%v", names)
		}
	}
	v, err := readTree(t, root).Verify(path)
	if err != nil {
		t.Fatal(err)
	}
	if v.Total.Missing == 0 || v.Total.Extra+v.Total.Different+v.Total.Doubled != 0 {
		t.Fatalf("%+v", v.Total)
	}
	deleted := make(map[[2]uint32]uint64)
	streams := make(map[uint32]string)
	if _, err := journal.Read(path, journal.Visitor{
		Stream: func(s journal.Stream) { streams[s.Index] = s.Name },
		Generation: func(g journal.Generation) {
			if g.Event == journal.Deleted && g.Size > 0 {
				deleted[[2]uint32{g.Stream, g.Gen}] = g.Size
			}
		},
	}); err != nil {
		t.Fatal(err)
	}
	want := make(map[string]uint64)
	for k, size := range deleted {
		want[fmt.Sprintf("%s#%d", streams[k[0]], k[1])] = size
	}
	got := make(map[string]uint64)
	for _, l := range v.Lost {
		if !l.Gone || l.Bytes != l.Size {
			t.Errorf("%+v", l)
		}
		got[fmt.Sprintf("%s#%d", l.Stream, l.Gen)] = l.Bytes
	}
	if !maps.Equal(got, want) {
		t.Errorf("lost %v\ndeleted %v", got, want)
	}
}

// The same seed writes the same messages.
func TestDeterministic(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).UTC()
	run := func() []byte {
		root := filepath.Join(t.TempDir(), "pods")
		n, _ := newNode(t, Config{Root: root, Seed: 11, MaxSize: 64 << 10, OnWrite: true, Now: func() time.Time { now = now.Add(time.Millisecond); return now }})
		now = time.Unix(1_800_000_000, 0).UTC()
		for range 1000 {
			if err := n.Write(); err != nil {
				t.Fatal(err)
			}
		}
		finish(t, n)
		var all []byte
		names, _ := filepath.Glob(filepath.Join(root, "*", "*", "*"))
		for _, name := range names {
			b, _ := os.ReadFile(name)
			all = append(append(all, name[len(root):]...), b...)
		}
		return all
	}
	if a, b := run(), run(); !bytes.Equal(a, b) {
		t.Error("two runs differ")
	}
}

func BenchmarkWrite(b *testing.B) {
	w, err := journal.Create(filepath.Join(b.TempDir(), "journal"))
	if err != nil {
		b.Fatal(err)
	}
	n, err := New(Config{Root: b.TempDir(), Journal: w, MaxSize: 10 << 20, OnWrite: true})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := n.Write(); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(n.Bytes() / int64(b.N))
}
