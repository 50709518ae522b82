package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// volumeNode is a node with a pod of which an emptyDir is annotated.
type volumeNode struct {
	*node
	kubelet string // its directory of pods
	dir     string // the emptyDir
	list    []Volume
	refused map[string]string
	version uint64
}

const volumeUIDText = "11111111-2222-3333-4444-555555555555"

func newVolumeNode(t *testing.T, globs ...string) *volumeNode {
	n := &volumeNode{node: newNode(t), refused: map[string]string{}}
	n.kubelet = filepath.Join(t.TempDir(), "kubelet", "pods")
	n.dir = EmptyDir(n.kubelet, volumeUIDText, "logs")
	if err := os.MkdirAll(n.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	n.list = []Volume{{Dir: n.dir, Globs: globs, Container: Container{Namespace: "ns", Pod: "web", UID: volumeUIDText, Container: "web", Volume: "logs"}}}
	n.cfg.Volumes = func() []Volume { return n.list }
	n.cfg.DescribeVersion = func() uint64 { return n.version }
	n.cfg.Refused = func(k Container, file, why string) { n.refused[k.Volume+"/"+file] = why }
	return n
}

func TestVolume(t *testing.T) {
	n := newVolumeNode(t, "*.log", "app/*/out.txt")
	p := filepath.Join(n.dir, "a.log")
	appendFile(t, p, "one\n")
	deep := filepath.Join(n.dir, "app", "x")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	appendFile(t, filepath.Join(deep, "out.txt"), "deep\n")
	appendFile(t, filepath.Join(n.dir, "a.txt"), "not asked for\n")
	appendFile(t, filepath.Join(n.kubelet, volumeUIDText, "etc-hosts.log"), "not a volume\n")
	n.start()
	n.settle()
	wantBodies(t, sorted(n.sink.bodies()), "deep", "one")
	rename(t, p, p+".1")
	appendFile(t, p, "two\n")
	n.settle()
	// Another pod's volume with the same names is another chain.
	other := EmptyDir(n.kubelet, "66666666-2222-3333-4444-555555555555", "logs")
	if err := os.MkdirAll(other, 0o777); err != nil {
		t.Fatal(err)
	}
	appendFile(t, filepath.Join(other, "a.log"), "one\n")
	n.version++
	n.list = append(n.list, Volume{Dir: other, Globs: []string{"*.log"}, Container: Container{Namespace: "ns", Pod: "web-2", UID: "66666666-2222-3333-4444-555555555555", Container: "web", Volume: "logs"}})
	n.settle()
	wantBodies(t, sorted(n.sink.bodies()), "deep", "one", "one", "two")
	if a, b := n.sink.all[0], n.sink.all[len(n.sink.all)-1]; a.gen == b.gen {
		t.Error("two pods' files have one key")
	}
	n.stop()
	n.start()
	n.settle()
	if got := len(n.sink.all); got != 4 {
		t.Errorf("%d records after a restart", got)
	}
	// The pod is deleted while a line is unread.
	n.sink.full = true
	appendFile(t, p, "three\n")
	n.step(time.Second)
	if err := os.RemoveAll(filepath.Join(n.kubelet, volumeUIDText)); err != nil {
		t.Fatal(err)
	}
	n.list = n.list[1:]
	n.version++
	n.step(time.Second)
	n.sink.full = false
	n.settle()
	wantBodies(t, n.sink.bodies()[4:], "three")
	if l := n.ledger(); l.Lost != 0 || l.Unread != 0 {
		t.Errorf("ledger %+v", l)
	}
	if len(n.refused) > 0 {
		t.Errorf("refused: %v", n.refused)
	}
}

// A pod cannot make the agent read what is not in its volume: by links, by
// directories that are links, by what is no file, by swapping one for the other.
func TestFailure30_VolumeOfAHostilePod(t *testing.T) {
	n := newVolumeNode(t, "*.log", "sub/*.log", "token", "*/token")
	secret := filepath.Join(n.kubelet, volumeUIDText, "volumes", "kubernetes.io~projected", "kube-api-access-x")
	if err := os.MkdirAll(secret, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"token", "token.log"} {
		appendFile(t, filepath.Join(secret, name), "a secret token\n")
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(n.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link(filepath.Join(secret, "token"), "absolute.log")
	link("../../kubernetes.io~projected/kube-api-access-x/token", "relative.log")
	link("../../kubernetes.io~projected/kube-api-access-x", "sub")
	link(secret, "dir")
	link("/proc/self/environ", "token")
	link("good.log", "within.log") // also within: an application can swap what it leads to
	if err := unix.Mkfifo(filepath.Join(n.dir, "fifo.log"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(n.dir, "directory.log"), 0o755); err != nil {
		t.Fatal(err)
	}
	appendFile(t, filepath.Join(n.dir, "good.log"), "good\n")
	n.start()
	n.settle()
	wantBodies(t, n.sink.bodies(), "good")
	for _, name := range []string{"logs/absolute.log", "logs/relative.log", "logs/token", "logs/within.log", "logs/fifo.log", "logs/directory.log"} {
		if n.refused[name] == "" {
			t.Errorf("%s is not told of: %v", name, n.refused)
		}
	}
	// Swapped after it was found: the file is a link when it is opened, or its directory is.
	if err := os.Mkdir(filepath.Join(n.dir, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	n.list[0].Globs = append(n.list[0].Globs, "real/*.log")
	n.version++
	appendFile(t, filepath.Join(n.dir, "real", "token.log"), "harmless\n")
	appendFile(t, filepath.Join(n.dir, "swapped.log"), "harmless\n")
	swapped := 0
	openat := n.in.sys.openat
	n.in.sys.openat = func(dirfd int, name string, flags int) (int, error) {
		switch {
		case name == "real" && swapped&1 == 0:
			swapped |= 1
			rename(t, filepath.Join(n.dir, "real"), filepath.Join(n.dir, "away"))
			link(secret, "real")
		case name == "swapped.log" && swapped&2 == 0:
			swapped |= 2
			remove(t, filepath.Join(n.dir, "swapped.log"))
			link(filepath.Join(secret, "token"), "swapped.log")
		}
		return openat(dirfd, name, flags)
	}
	n.settle()
	if swapped != 3 {
		t.Fatalf("swapped %b", swapped)
	}
	for _, b := range n.sink.bodies() {
		if strings.Contains(b, "secret") {
			t.Fatal("the token was read")
		}
	}
}

func TestEmptyDirNames(t *testing.T) {
	for _, c := range [][2]string{{"..", "logs"}, {"a/b", "logs"}, {"", "logs"}, {volumeUIDText, ".."}, {volumeUIDText, "a/b"}, {volumeUIDText, ""}, {volumeUIDText, "Logs"}} {
		if got := EmptyDir("/pods", c[0], c[1]); got != "" {
			t.Errorf("%q: %s", c, got)
		}
	}
	if got, want := EmptyDir("/pods", volumeUIDText, "logs"), fmt.Sprintf("/pods/%s/volumes/kubernetes.io~empty-dir/logs", volumeUIDText); got != want {
		t.Errorf("%s", got)
	}
}
