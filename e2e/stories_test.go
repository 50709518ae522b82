package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func gunzip(t *testing.T, p []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(p))
	if err == nil {
		p, err = io.ReadAll(z)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// size is how big a story is. Files are kept for pods × 5 × maxSize ÷ rate: 15 s
// in the short form and 20 s in the full one for the kill loop, which is long
// against a restart and against the period in which positions are saved.
type size struct {
	rate    string // MB/s
	maxSize string // of a log file
	tick    string
	pods    string
	kills   int
	outage  int // generations that must be deleted during an outage
}

func storySize() size {
	if full {
		return size{rate: "20", maxSize: "10000000", tick: "1s", pods: "8", kills: 100, outage: 15}
	}
	return size{rate: "3", maxSize: "3000000", tick: "150ms", pods: "3", kills: 6, outage: 6}
}

// quick makes files small, so that they are deleted soon.
func (s size) quick() size {
	if !full {
		s.rate, s.maxSize = "4", "500000"
	}
	s.pods = "2"
	return s
}

func (s size) generator() []string {
	return []string{"-rate", s.rate, "-pods", s.pods, "-max-size", s.maxSize, "-tick", s.tick, "-seed", fmt.Sprint(rand.Uint32())}
}

// toElasticsearch is the configuration of the stories: everything to the stub,
// with quick retries. more goes below inputs.kubernetes.
func toElasticsearch(n node, d *destination, more string) string {
	return fmt.Sprintf(`
inputs:
  kubernetes:
    root: '%s'
    metadata: path
    %s
outputs:
  elasticsearch/main:
    urls: ['%s']
    index: 'kubernetes-${namespace}-%%Y.%%m.%%d'
    batch: {bytes: 1MiB, wait: 200ms}
    retry: {for: forever, min_delay: 50ms, max_delay: 500ms}
    timeout: 10s
`, n.root, more, d.URL)
}

// randomly waits for a random time up to d.
func randomly(d time.Duration) { <-time.After(rand.N(d)) }

// Failure 53, 62: kill -9 at random moments, with restart gaps that are shorter
// than what the rotator keeps, against a destination with faults. Nothing is
// lost and nothing is doubled.
func TestFailure53_KillLoop(t *testing.T) {
	n, s := newNodeDir(t), storySize()
	d := startSink(t, "esstub", "-faults", `{"p_item_429":0.02,"p_item_503":0.01,"p_reset_after":0.02,"p_reset_middle":0.01,"p_truncate":0.01,"p_429":0.01,"latency":"uniform:0ms-20ms"}`)
	g := startGenerator(t, n, s.generator()...)
	a := startAgent(t, n, toElasticsearch(n, d, ""))
	for i := range s.kills {
		// The next kill comes at any moment once the agent has caught up: one
		// that never gets so far cannot help losing what the rotator deletes.
		before := d.state().Account.Distinct
		eventually(t, fmt.Sprintf("the agent catches up after start %d", i), func() bool {
			m := a.metrics()
			return m["weir_input_written_bytes_total"] > 0 && m["weir_input_unread_bytes_total"] < 1e6 && d.state().Account.Distinct > before
		}, a.tail)
		randomly(1500 * time.Millisecond)
		a.kill9()
		randomly(200 * time.Millisecond)
		a.start()
	}
	delivered(t, d, a, n.journal, g.finish(true))
	d.clean(n.journal)
	st := d.state()
	t.Logf("arrived %+v, %d conflicts, faults %v", st.Account, st.Stub.Conflicts, st.Counts)
	eventually(t, "the ledger balances with nothing waiting", func() bool {
		m := a.metrics()
		ok, _ := balanced(m)
		return ok && m["weir_waiting_records"] == 0 && m["weir_input_unread_bytes_total"] == 0
	}, func() string { _, text := balanced(a.metrics()); return text })
	if lost := a.metrics()["weir_input_lost_bytes_total"]; lost != 0 {
		t.Errorf("the ledger says %f bytes are lost", lost)
	}
	a.term()
}

// outage closes the backend until the rotator has deleted so many more
// generations, calls during meanwhile, and opens it again.
func outage(t *testing.T, n node, d *destination, generations int, during func()) {
	t.Helper()
	eventually(t, "something arrives", func() bool { return d.state().Account.Distinct > 0 }, d.tail)
	d.faults(`{"down":true}`)
	before := deleted(t, n.journal)
	eventually(t, "the rotator deletes what was not delivered", func() bool {
		if during != nil {
			during()
		}
		return deleted(t, n.journal) >= before+generations
	}, func() string { return "" })
	d.faults(`{"down":false}`)
}

// Failure 75, 2, 4: the backend is dead for longer than the rotator keeps files
// while the agent lives: nothing is lost.
func TestFailure75_BackendDeadBeyondRetention(t *testing.T) {
	n, s := newNodeDir(t), storySize().quick()
	d := startSink(t, "esstub")
	a := startAgent(t, n, toElasticsearch(n, d, ""))
	a.ready() // files live shorter than a start may take
	g := startGenerator(t, n, s.generator()...)
	// All files that were there at the outage's begin must go, and more.
	outage(t, n, d, 2*s.outage, nil)
	delivered(t, d, a, n.journal, g.finish(true))
	d.clean(n.journal)
	a.term()
}

// Failure 12, 53: as before, with kill -9 during the outage; hard links hold
// what the rotator deletes.
func TestFailure12_DeadBackendAndKillsWithHoldLink(t *testing.T) {
	n, s := newNodeDir(t), storySize().quick()
	d := startSink(t, "esstub")
	a := startAgent(t, n, toElasticsearch(n, d, fmt.Sprintf("hold: {by: link, dir: '%s', max_bytes: 8GiB}", filepath.Join(n.dir, "log", ".weir"))))
	a.ready() // files live shorter than a start may take
	g := startGenerator(t, n, s.generator()...)
	next, kills := time.Now(), 0
	outage(t, n, d, 2*s.outage, func() {
		// Not before the agent reads: a process that never lives holds nothing.
		if m := a.metrics(); m == nil || m["weir_input_written_bytes_total"] == 0 || time.Now().Before(next) || kills == 5 {
			return
		}
		a.kill9()
		a.start()
		kills++
		next = time.Now().Add(500*time.Millisecond + rand.N(500*time.Millisecond))
	})
	if kills == 0 {
		t.Error("no kill happened")
	}
	delivered(t, d, a, n.journal, g.finish(true))
	d.clean(n.journal)
	left, _ := filepath.Glob(filepath.Join(n.dir, "log", ".weir", "*"))
	eventually(t, "the hard links go away", func() bool {
		var files int
		filepath.WalkDir(filepath.Join(n.dir, "log", ".weir"), func(path string, e os.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() && strings.Contains(e.Name(), "log") {
				files++
			}
			return nil
		})
		return files <= 2 // the current files may stay linked
	}, func() string { return strings.Join(left, "\n") })
	a.term()
}

// Failure 62: the state directory is deleted. All that is still on disk is read
// again, and no id is doubled.
func TestFailure62_StateDirectoryDeleted(t *testing.T) {
	n, s := newNodeDir(t), storySize()
	d := startSink(t, "esstub")
	// The log of a dead container goes with the next restart: an agent that is down,
	// or slow to start on a busy machine, must not miss all of its life.
	a := startAgent(t, n, toElasticsearch(n, d, ""))
	a.ready()
	g := startGenerator(t, n, append(s.generator(), "-restart", "2s")...)
	for range 2 {
		before := d.state().Account.Distinct
		eventually(t, "something arrives", func() bool { return d.state().Account.Distinct > before+5000 }, a.tail)
		a.kill9()
		if err := os.RemoveAll(n.state); err != nil {
			t.Fatal(err)
		}
		a.start()
	}
	delivered(t, d, a, n.journal, g.finish(true))
	d.clean(n.journal)
	if c := d.state().Stub.Conflicts; c == 0 {
		t.Error("nothing was read again")
	} else {
		t.Logf("%d documents were there already", c)
	}
	a.term()
}

// Failure 96: SIGTERM with the backend down ends in time, and nothing is gone.
func TestFailure96_TermWithBackendDown(t *testing.T) {
	n := newNodeDir(t)
	d := startSink(t, "esstub")
	g := startGenerator(t, n, "-rate", "1", "-for", "1s")
	a := startAgent(t, n, toElasticsearch(n, d, ""))
	eventually(t, "something arrives", func() bool { return d.state().Account.Distinct > 0 }, a.tail)
	d.faults(`{"down":true}`)
	lines := g.finish(false)
	a.signal(15)
	a.start()
	d.faults(`{"down":false}`)
	delivered(t, d, a, n.journal, lines)
	d.clean(n.journal)
	a.term()
}

// Failure 76, 78: the backend freezes, with and without having stored.
func TestFailure78_FrozenBackend(t *testing.T) {
	n := newNodeDir(t)
	d := startSink(t, "esstub", "-faults", `{"p_freeze_after":0.3}`)
	g := startGenerator(t, n, "-rate", "2", "-for", "2s")
	config := strings.Replace(toElasticsearch(n, d, ""), "timeout: 10s", "timeout: 500ms", 1)
	a := startAgent(t, n, config)
	lines := g.finish(false)
	d.faults(`{"freeze":true}`)
	eventually(t, "requests are stuck", func() bool { return d.state().Counts["frozen"] > 0 || d.state().Account.Distinct == lines }, a.tail)
	d.faults(`{"freeze":false,"p_freeze_after":0}`)
	delivered(t, d, a, n.journal, lines)
	d.clean(n.journal)
	a.term()
}

// Failure 80: records that the backend refuses for good do not hold up the
// others, are in the dead-letter queue, and are counted to the record.
func TestFailure80_PoisonRecords(t *testing.T) {
	for _, faults := range []string{`{"p_item_400":0.003}`, `{"p_item_400":0.001,"poison_whole":true}`} {
		t.Run(faults, func(t *testing.T) {
			n := newNodeDir(t)
			d := startSink(t, "esstub", "-faults", faults)
			g := startGenerator(t, n, "-rate", "2", "-for", "1s")
			a := startAgent(t, n, toElasticsearch(n, d, ""))
			lines := g.finish(false)
			delivered(t, d, a, n.journal, lines)
			refused := d.state().Account.Refused
			eventually(t, "the dead letters are counted", func() bool {
				return a.metrics()["weir_dead_records_total"] == float64(refused) && a.metrics()["weir_waiting_records"] == 0
			}, func() string { _, text := balanced(a.metrics()); return fmt.Sprintf("%d refused; %s", refused, text) })
			d.clean(n.journal)
			if refused == 0 {
				t.Error("no record was refused")
			}
			a.term()
		})
	}
}

// Failure 81: bodies over the backend's limit are split.
func TestFailure81_TooLargeBodiesAreSplit(t *testing.T) {
	n := newNodeDir(t)
	d := startSink(t, "esstub", "-max-body", "200000")
	g := startGenerator(t, n, "-rate", "2", "-for", "1s")
	a := startAgent(t, n, toElasticsearch(n, d, ""))
	delivered(t, d, a, n.journal, g.finish(false))
	d.clean(n.journal)
	a.term()
}

// Failure 11, 14, 15, 16: pods come and go, also under the same name, and
// containers restart. An agent that keeps up loses nothing of them.
func TestFailure11_PodsComeAndGo(t *testing.T) {
	n := newNodeDir(t)
	d := startSink(t, "esstub")
	a := startAgent(t, n, toElasticsearch(n, d, ""))
	g := startGenerator(t, n, "-rate", "1", "-for", "4s", "-pods", "4", "-containers", "2", "-churn", "700ms", "-replace", "900ms", "-restart", "300ms")
	delivered(t, d, a, n.journal, g.finish(false))
	d.clean(n.journal)
	a.term()
}

// The other destinations: with an orderly restart in the middle nothing is
// missing, altered or doubled there either.
func TestOtherDestinations(t *testing.T) {
	for name, output := range map[string]string{
		"jsonl": "jsonl: {url: '%[2]s/insert/jsonline', batch: {wait: 100ms}}",
		"zstd":  "jsonl: {url: '%[2]s/insert/jsonline', compression: zstd, batch: {wait: 100ms}}",
		"loki":  "loki: {url: '%[2]s', batch: {wait: 100ms}}",
		"otlp":  "otlp: {url: '%[2]s', batch: {wait: 100ms}}",
		"grpc":  "otlp: {url: 'grpc://%[3]s', batch: {wait: 100ms}}",
	} {
		t.Run(name, func(t *testing.T) {
			n := newNodeDir(t)
			d := startSink(t, "sink", "-grpc", "127.0.0.1:0")
			g := startGenerator(t, n, "-rate", "1", "-for", "1500ms")
			a := startAgent(t, n, fmt.Sprintf("inputs:\n  kubernetes: {root: '%[1]s', metadata: path}\noutputs:\n  "+output+"\n", n.root, d.URL, d.GRPC))
			eventually(t, "something arrives", func() bool { return !a.alive() || d.state().Account.Distinct > 500 }, a.tail)
			if !a.alive() {
				t.Fatal("the agent ended by itself")
			}
			a.term()
			a.start()
			a.ready() // the first life may have delivered all: a program is not ended orderly before it has begun
			delivered(t, d, a, n.journal, g.finish(false))
			d.clean(n.journal)
			a.term()
		})
	}
}
