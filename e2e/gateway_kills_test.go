package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pushedGateway is a `weir gateway` with a sender for each protocol and two
// destinations: one idempotent by _id, one that takes whatever comes.
type pushedGateway struct {
	*process
	t                   *testing.T
	dir, config, stderr string
	state, probe        string
	addrs               gatewayAddrs
	senders             []*pusher
	elastic, lines      *arrivals
	stop                func() // the senders
}

// newPushed writes the configuration; more is added to it. An empty state is a
// directory of the test's.
func newPushed(t *testing.T, state, buffer, more string) *pushedGateway {
	t.Helper()
	dir := t.TempDir()
	if state == "" {
		state = filepath.Join(dir, "state")
	}
	host := fmt.Sprintf("127.%d.%d.%d:", 2+rand.IntN(250), rand.IntN(250), 2+rand.IntN(250))
	// An address that no connection begins at: while weir is dead nobody may take
	// its ports, and no sender connect to itself.
	port := func() string {
		_, p, _ := net.SplitHostPort(freePort(t))
		return host + p
	}
	g := &pushedGateway{t: t, dir: dir, config: filepath.Join(dir, "weir.yaml"), stderr: filepath.Join(dir, "weir.stderr"), state: state, probe: port(),
		addrs: gatewayAddrs{port(), port(), port(), port(), port(), port()}}
	g.senders = newPushers(&g.addrs)
	g.elastic, g.lines = newArrivals(t, "elasticsearch", len(g.senders)), newArrivals(t, "jsonl", len(g.senders))
	g.write(buffer, more)
	return g
}

func (g *pushedGateway) write(buffer, more string) {
	g.t.Helper()
	const fast = "batch: {wait: 5ms}, retry: {for: forever, min_delay: 5ms, max_delay: 50ms}"
	text := fmt.Sprintf(`inputs: %s
outputs:
  elasticsearch: {urls: ['%s'], index: logs, compression: none, %s, buffer: %s}
  jsonl: {url: '%s', compression: none, %s, buffer: %s}
listen: {probe: '%s', http: ''}
state: '%s'
%s`, g.addrs.inputs(), g.elastic.url, fast, buffer, g.lines.url, fast, buffer, g.probe, g.state, more)
	if err := os.WriteFile(g.config, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func (g *pushedGateway) start() {
	g.t.Helper()
	g.process = start(g.t, g.stderr, io.Discard, weir(g.t), "gateway", "-c", g.config)
}

// push starts the senders.
func (g *pushedGateway) push(pause time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, p := range g.senders {
		wg.Go(func() { p.run(ctx, pause) })
	}
	g.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	g.t.Cleanup(g.stop)
}

// acked returns how many records each sender has acknowledged at least, and all.
func (g *pushedGateway) acked() (least, all int) {
	least = 1 << 30
	for _, p := range g.senders {
		p.mu.Lock()
		n := len(p.acked) * perPush
		p.mu.Unlock()
		least, all = min(least, n), all+n
	}
	return least, all
}

// working waits until every sender has had so many more records acknowledged.
func (g *pushedGateway) working(more int) {
	g.t.Helper()
	before := make([]int, len(g.senders))
	for i, p := range g.senders {
		before[i] = len(p.ackedBatches())
	}
	slow := ""
	eventually(g.t, "every sender has records acknowledged", func() bool {
		if !g.alive() {
			g.t.Fatalf("weir has ended by itself with %d\n%s", g.cmd.ProcessState.ExitCode(), g.process.tail())
		}
		slow = ""
		for i, p := range g.senders {
			if (len(p.ackedBatches())-before[i])*perPush < more {
				slow += " " + p.name
				if l := p.last.Load(); l != nil {
					slow += " (" + *l + ")"
				}
			}
		}
		return slow == ""
	}, func() string { return "not:" + slow + "\n" + g.process.tail() })
}

// settled ends the senders, waits for what was acknowledged, ends weir and judges.
func (g *pushedGateway) settled() {
	g.t.Helper()
	g.stop()
	g.elastic.down.Store(false)
	g.lines.down.Store(false)
	missing := ""
	began := time.Now()
	eventually(g.t, "all that was acknowledged is there", func() bool {
		if time.Since(began) > patience() {
			g.t.Fatalf("%s", missing)
		}
		missing = g.elastic.missing(g.senders) + g.lines.missing(g.senders)
		return missing == ""
	}, func() string { return missing + "\n" + g.process.tail() })
	if code := g.signal(syscall.SIGTERM); code != 0 {
		g.t.Errorf("exit code %d\n%s", code, g.process.tail())
	}
	de, twice := g.elastic.check(g.t, g.senders, true)
	dl, again := g.lines.check(g.t, g.senders, false)
	var resent, busy int64
	for _, p := range g.senders {
		if n := p.wrong.Load(); n > 0 {
			g.t.Errorf("%d answers that are not as they should be, the last: %s", n, *p.last.Load())
		}
		resent, busy = resent+p.resent.Load(), busy+p.busy.Load()
	}
	_, all := g.acked()
	g.t.Logf("%d records acknowledged, %d pushes repeated, %d answered 429 or 503; elasticsearch has %d (%d without ids doubled), jsonl %d (%d doubled)",
		all, resent, busy, de, twice, dl, again)
}

// kills returns how many times a story kills.
func kills(t *testing.T, few int) int {
	if s := os.Getenv("WEIR_E2E_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if full {
		return 20 * few
	}
	return few
}

// Failure 53: a gateway with a buffer on disk is killed at any moment, also while
// it starts and recovers, with senders of every kind at work and now one, now the
// other destination down. What was acknowledged is there, byte for byte; nothing
// is there that nobody sent; and what has an id or its own time is there once
// where ids count. $WEIR_E2E_KILLS sets how many kills.
func TestFailure53_GatewayKills(t *testing.T) {
	g := newPushed(t, "", "{disk: 256MiB, memory: 1MiB}", "")
	g.start()
	g.push(15 * time.Millisecond)
	g.working(2 * perPush)
	n := kills(t, 40)
	for i := range n {
		if i%5 == 0 {
			g.elastic.down.Store(rand.IntN(3) == 0)
			g.lines.down.Store(rand.IntN(4) == 0)
		}
		if i%100 == 99 {
			g.working(perPush) // it does work, not only die
			if _, all := g.acked(); i%1000 == 999 {
				t.Logf("%d kills, %d records acknowledged", i+1, all)
			}
		}
		randomly([]time.Duration{5, 30, 60, 120}[rand.IntN(4)] * time.Millisecond)
		if !g.alive() {
			t.Fatalf("weir has ended by itself with %d\n%s", g.cmd.ProcessState.ExitCode(), g.process.tail())
		}
		g.signal(syscall.SIGKILL)
		g.start()
	}
	g.working(2 * perPush)
	g.settled()
	t.Logf("%d kills", n)
}
