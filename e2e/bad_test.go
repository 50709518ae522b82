package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/weirlog/weir/e2e/internal/fakenode"
	"github.com/weirlog/weir/e2e/internal/journal"
)

// Failure 21, 24, 29, 30, 38, 39: whatever stands in the log directory, the
// agent goes on, nothing from outside the root gets in, and all good lines
// arrive.
func TestFailure29_BadInput(t *testing.T) {
	n := newNodeDir(t)
	f, w := fakeNode(t, n, fakenode.Config{Seed: 9, Pods: 2, Mix: fakenode.Mix{JSON: 3000, Broken: 2000, Nasty: 1000}})
	const uid = "11111111-2222-4333-a444-5555555555%02d"
	num := 0
	place := func(name string) string {
		t.Helper()
		num++
		dir := filepath.Join(n.root, fmt.Sprintf("bad_%s_"+uid, name, num), "app")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, "0.log")
	}
	// good appends a marked line that must arrive.
	seq, stream := uint64(0), uint32(1<<20)
	w.Stream(journal.Stream{Index: stream, Name: "bad/lines"})
	good := func(b []byte) []byte {
		p := fmt.Sprintf("good line %d", seq)
		line := fmt.Sprintf("2026-11-22T10:00:00.%09dZ stdout F s=bad/lines n=%d p=%s\n", seq+1, seq, p)
		w.Line(journal.Line{Stream: stream, Seq: seq, Hash: journal.HashPayload([]byte(p)), Bytes: uint32(len(line)), Head: uint32(len(line))})
		seq++
		return append(b, line...)
	}
	put := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(place(name), b, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(n.dir, "secret.log")
	must(os.WriteFile(secret, []byte("2026-11-22T10:00:00Z stdout F s=secret n=0 p=password\n"), 0o600))
	must(os.MkdirAll(filepath.Join(n.dir, "outside", "app"), 0o755))
	must(os.WriteFile(filepath.Join(n.dir, "outside", "app", "0.log"), []byte("2026-11-22T10:00:00Z stdout F s=outside n=0 p=password\n"), 0o600))

	must(syscall.Mkfifo(place("fifo"), 0o640))
	if err := syscall.Mknod(place("device"), syscall.S_IFCHR|0o640, 1<<8|5); err != nil { // /dev/zero
		t.Logf("no device: %v", err)
	}
	must(os.Symlink(secret, place("link")))
	must(os.Symlink(filepath.Join(n.dir, "outside"), filepath.Join(n.root, fmt.Sprintf("bad_dirlink_"+uid, 99))))
	must(os.Mkdir(place("directory"), 0o755))
	locked := filepath.Dir(place("locked"))
	must(os.Chmod(locked, 0))
	t.Cleanup(func() { os.Chmod(locked, 0o755) })
	must(os.WriteFile(filepath.Join(n.root, "not-a-pod"), []byte("x\n"), 0o644))
	must(os.MkdirAll(filepath.Join(n.root, "not_a_pod_at_all", "x"), 0o755))
	put("empty", nil)
	put("nul", good(append(good(nil), make([]byte, 1<<20)...)))
	put("garbage", good(append(good(nil), "no CRI at all\n\x00\xff\n\n2026 stdout\n2026-11-22T10:00:00Z stdout F\n2026-11-22T10:00:00Z stdin F x\n"...)))
	put("utf8", good(append(good(nil), "2026-11-22T10:00:00Z stdout F \xff\xfe\xed\xa0\x80\n"...)))
	var long bytes.Buffer
	long.Write(good(nil))
	piece := "2026-11-22T10:00:00Z stdout P " + strings.Repeat("x", 16<<10) + "\n"
	for range 64 << 20 / (16 << 10) {
		long.WriteString(piece)
	}
	long.WriteString("2026-11-22T10:00:00Z stdout F x\n")
	long.Write(good(nil))
	put("long", long.Bytes())
	// One piece that never ends: no runtime writes it, but a broken disk may.
	put("endless", good(append(good(nil), ("2026-11-22T10:00:00Z stdout F "+strings.Repeat("y", 4<<20)+"\n")...)))

	d := startSink(t, "esstub")
	a := startAgent(t, n, toElasticsearch(n, d, ""))
	for range 2000 {
		must(f.Write())
	}
	must(f.Close())
	must(w.Close())
	delivered(t, d, a, n.journal, w.Totals().Lines)
	eventually(t, "everything is settled", func() bool {
		m := a.metrics()
		return m["weir_waiting_records"] == 0 && m["weir_input_unread_bytes_total"] == 0
	}, func() string { _, text := balanced(a.metrics()); return text })
	d.clean(n.journal) // also: nothing of the secrets arrived
	if _, text := balanced(a.metrics()); d.state().Account.Foreign < 64 {
		t.Errorf("the long line's pieces are missing: %+v; %s", d.state().Account, text)
	}
	a.term()
}

// A configuration that is wrong is refused with its place, before anything
// starts.
func TestBadConfiguration(t *testing.T) {
	bin := weir(t)
	for name, c := range map[string]struct{ text, want string }{
		"yaml":    {"inputs:\n  kubernetes: {root: /var/log/pods\noutputs: {", `weir\.yaml:\d+:\d+: `},
		"key":     {"inputs:\n  kubernetes:\n    roots: /x\noutputs:\n  stdout: {}\n", `weir\.yaml:3:5: .*roots(.|\n)*root`},
		"several": {"inputz: {}\noutputs:\n  stdout: {formaz: json}\n", `weir\.yaml:1:1: (.|\n)*weir\.yaml:3:12: `},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "weir.yaml")
			if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"check", path}, {"agent", "-c", path}, {"run", "-c", path}} {
				out, errOut, code := run(t, bin, args...)
				if code != 3 || !regexp.MustCompile(c.want).MatchString(out+errOut) {
					t.Errorf("weir %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errOut)
				}
			}
		})
	}
}

// Failure 100: a reload with a wrong file is refused and the old one goes on.
func TestFailure100_BadReload(t *testing.T) {
	n := newNodeDir(t)
	d := startSink(t, "esstub")
	g := startGenerator(t, n, "-rate", "1")
	a := startAgent(t, n, toElasticsearch(n, d, ""))
	arrives := func() {
		t.Helper()
		before := d.state().Account.Distinct
		eventually(t, "lines go on arriving", func() bool { return d.state().Account.Distinct > before+500 }, a.tail)
	}
	arrives()
	reload := func(text []byte, want float64) {
		t.Helper()
		if err := os.WriteFile(a.config, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := a.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("weir_config_reload_success is %v", want), func() bool {
			v, ok := a.metrics()["weir_config_reload_success"]
			return ok && v == want
		}, a.tail)
		arrives()
	}
	config, err := os.ReadFile(a.config)
	if err != nil {
		t.Fatal(err)
	}
	reload([]byte("inputs: {kubernetes: {rot: x}}\n"), 0)
	reload(bytes.Replace(config, []byte("wait: 200ms"), []byte("wait: 100ms"), 1), 1)
	delivered(t, d, a, n.journal, g.finish(true))
	d.clean(n.journal)
	a.term()
}
