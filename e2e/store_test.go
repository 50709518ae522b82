package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirlog/weir/e2e/internal/account"
	"github.com/weirlog/weir/e2e/internal/journal"
)

// toStore is the configuration of the stories about the embedded store: quick
// segments, so that kills meet flushes and compaction too.
func toStore(n node) string {
	return fmt.Sprintf(`
inputs: {kubernetes: {root: '%s', metadata: path}}
outputs: {store: {}}
store: {memtable: {bytes: 1MiB, age: 2s}}
`, n.root)
}

// storedLines asks the store that is in the node's state directory for
// everything it has.
func storedLines(t *testing.T, n node) *account.Account {
	t.Helper()
	acc, err := account.New("")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(weir(t), "query", "--state", n.state, "--limit", "0", "-o", "raw", `{input="kubernetes"}`)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for r := bufio.NewReaderSize(out, 1<<20); ; {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			if m, ok := journal.ParseLine(bytes.TrimSuffix(line, []byte("\n"))); ok {
				acc.Add(m, 0)
			} else {
				acc.Foreign()
			}
		}
		if err != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("weir query: %v\n%s", err, errOut.String())
	}
	return acc
}

// stuck tells what an agent is doing that does not do what it should: its
// figures and, as it ends by that, where its goroutines are.
func stuck(a *agent) string {
	var out strings.Builder
	m := a.metrics()
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if m[name] != 0 && strings.HasPrefix(name, "weir_") {
			fmt.Fprintf(&out, "%s %v\n", name, m[name])
		}
	}
	a.signal(syscall.SIGQUIT)
	b, err := os.ReadFile(a.stderr)
	if err != nil {
		return err.Error()
	}
	_, stacks, _ := bytes.Cut(b, []byte("SIGQUIT"))
	out.Write(stacks[:min(len(stacks), 60_000)])
	return out.String()
}

// Failure 53 with the embedded store as destination: after kills -9 at random
// moments, of readers, flushes and recoveries alike, it holds every line that
// the containers wrote exactly once; asked through the running process, and
// from the directory when none runs.
func TestFailure53_KillLoopStore(t *testing.T) {
	n, s := newNodeDir(t), storySize()
	g := startGenerator(t, n, s.generator()...)
	a := startAgent(t, n, toStore(n))
	for i := range s.kills {
		eventually(t, fmt.Sprintf("the agent catches up after start %d", i), func() bool {
			m := a.metrics()
			return m["weir_input_written_bytes_total"] > 0 && m["weir_input_unread_bytes_total"] < 1e6 && m["weir_store_rows_total"] > 0
		}, func() string { return stuck(a) })
		randomly(1500 * time.Millisecond)
		a.kill9()
		randomly(200 * time.Millisecond)
		a.start()
		if i%3 == 2 { // in the middle of the recovery, too
			randomly(100 * time.Millisecond)
			a.kill9()
			a.start()
		}
	}
	lines := g.finish(true)
	rows := func() (sum uint64) {
		m := a.metrics()
		return uint64(m["weir_store_segment_rows"] + m["weir_store_memtable_rows"])
	}
	eventually(t, fmt.Sprintf("%d lines are stored", lines), func() bool { return rows() >= lines }, func() string {
		m := a.metrics()
		_, ledger := balanced(m)
		v, err := storedLines(t, n).Verify(n.journal)
		return fmt.Sprintf("%d rows; %s\nlost %v, unread %v, waiting %v\n%+v %v\n%s", rows(), ledger,
			m["weir_input_lost_bytes_total"], m["weir_input_unread_bytes_total"], m["weir_waiting_records"], v, err, stuck(a))
	})
	verdict := func(how string) {
		t.Helper()
		acc := storedLines(t, n)
		v, err := acc.Verify(n.journal)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Err(); err != nil || acc.Stats().Foreign > 0 {
			t.Errorf("%s: %v; %+v", how, err, acc.Stats())
		}
	}
	verdict("the running process")
	a.kill9()
	verdict("the directory")
	if out, errOut, code := run(t, weir(t), "store", "check", "--state", n.state); code != 0 {
		t.Errorf("check ends with %d: %s%s", code, out, errOut)
	}
	// A copy holds the same.
	copied := node{dir: n.dir, journal: n.journal, state: filepath.Join(n.dir, "copy")}
	if _, errOut, code := run(t, "mkdir", copied.state); code != 0 {
		t.Fatal(errOut)
	}
	if _, errOut, code := run(t, weir(t), "store", "snapshot", "--state", n.state, filepath.Join(copied.state, "store")); code != 0 {
		t.Fatalf("snapshot ends with %d: %s", code, errOut)
	}
	n = copied
	verdict("the snapshot")
}
