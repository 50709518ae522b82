package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"
)

// Failure 96: SIGTERM with senders at work and both destinations down: the gateway
// ends in time, with 0, and what was acknowledged is delivered by the next one.
func TestFailure96_GatewayTermWhilePushing(t *testing.T) {
	g := newPushed(t, "", "{disk: 256MiB, memory: 1MiB}", "")
	g.elastic.down.Store(true)
	g.lines.down.Store(true)
	g.start()
	g.push(5 * time.Millisecond)
	for range 2 {
		g.working(10 * perPush)
		begin := time.Now()
		if code := g.signal(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d\n%s", code, g.process.tail())
		}
		took := time.Since(begin)
		t.Logf("ended after %s", took.Round(time.Millisecond))
		if took > 25*time.Second {
			t.Errorf("it took %s to end", took)
		}
		g.start()
	}
	g.working(perPush)
	g.settled()
}

// A stop goes on sending what waits on the disk while the destination takes it, and
// leaves the rest of what it does not take in time, or at all, to the next start.
func TestFailure96_StopSendsTheBacklog(t *testing.T) {
	g := newPushed(t, "", "{disk: 256MiB, memory: 1MiB}", "")
	g.elastic.down.Store(true)
	g.lines.down.Store(true)
	begin := func() {
		g.process = start(t, g.stderr, io.Discard, weir(t), "gateway", "-c", g.config, "--set", "outputs.jsonl.batch.bytes=16KiB", "--set", "outputs.jsonl.concurrency.max=1")
	}
	begin()
	g.push(time.Millisecond)
	g.working(200 * perPush)
	g.stop()
	g.lines.slow.Store(int64(20 * time.Millisecond))
	g.lines.down.Store(false)
	arrived := func() int {
		g.lines.mu.Lock()
		defer g.lines.mu.Unlock()
		return g.lines.records
	}
	eventually(t, "the backlog begins to move", func() bool { return arrived() > 0 }, g.process.tail)
	before := arrived()
	clock := time.Now()
	if code := g.signal(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, g.process.tail())
	}
	took := time.Since(clock)
	_, acked := g.acked()
	t.Logf("%d of %d records had come before the stop, which took %s; %d after it", before, acked, took.Round(time.Millisecond), arrived())
	if missing := g.lines.missing(g.senders); missing != "" {
		t.Errorf("a destination that works got less than everything: %s", missing)
	}
	if before >= acked/2 || took > 25*time.Second {
		t.Errorf("%d of %d records had come before, and the stop took %s: the test shows nothing", before, acked, took)
	}
	g.lines.slow.Store(0)
	begin()
	g.settled()
}

// tenantPush pushes one line as a tenant and returns the status and Retry-After.
func tenantPush(addr, tenant, line string) (status int, after string) {
	req, _ := http.NewRequest(http.MethodPost, "http://"+addr+"/loki/api/v1/push",
		bytes.NewReader(fmt.Appendf(nil, `{"streams":[{"stream":{"team":"%s"},"values":[["%d",%s]]}]}`, tenant, time.Now().UnixNano(), quoted(line))))
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("Retry-After")
}

// Failure 93: two teams, each with a destination of its own, and one of these is
// dead. What is pushed to it is refused when its buffer is full, or dropped and
// counted if it was told so; the other team's pushes go on, and arrive.
func TestFailure93_GatewayOneOfTwoOutputsDead(t *testing.T) {
	for _, policy := range []string{"auto", "reject", "drop"} {
		t.Run(policy, func(t *testing.T) {
			n := newNodeDir(t)
			red, blue := newArrivals(t, "red", 2), newArrivals(t, "blue", 2)
			red.down.Store(true)
			addr, probe := freePort(t), freePort(t)
			out := func(a *arrivals) string {
				return fmt.Sprintf("{url: '%s', compression: none, batch: {wait: 5ms}, retry: {for: forever, min_delay: 5ms, max_delay: 50ms}, buffer: {disk: 16MiB, memory: 1MiB, when_full: %s}}", a.url, policy)
			}
			config := n.dir + "/weir.yaml"
			text := fmt.Sprintf("inputs: {loki: {http: '%s'}}\noutputs: {jsonl/red: %s, jsonl/blue: %s}\nroutes: [{when: '{team=\"red\"}', to: [jsonl/red]}, {to: [jsonl/blue]}]\nlisten: {probe: '%s', http: ''}\nstate: '%s'\n",
				addr, out(red), out(blue), probe, n.state)
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			p := start(t, n.dir+"/weir.stderr", io.Discard, weir(t), "gateway", "-c", config)
			a := &agent{process: p, t: t, probe: probe}
			a.ready()
			eventually(t, "it takes pushes", func() bool { s, _ := tenantPush(addr, "blue", pushedText(1, 0)); return s == 204 }, p.tail)
			fill := noise(256 << 10) // 256 KiB
			taken, refused := 0, 0
			for k := range 120 {
				s, after := tenantPush(addr, "red", pushedText(0, k)+fill)
				switch {
				case s == 204:
					taken++
				case s == 429 && after != "":
					refused++
				default:
					t.Fatalf("red: %d, Retry-After %q", s, after)
				}
				if s, _ := tenantPush(addr, "blue", pushedText(1, k+1)); s != 204 {
					t.Fatalf("blue was answered %d while red is dead", s)
				}
			}
			dropped := a.metrics()["weir_dropped_records_total"]
			t.Logf("red: %d taken, %d refused, %.0f not for one of the outputs or dropped", taken, refused, dropped)
			if (policy == "drop") != (refused == 0) {
				t.Errorf("%d refused with %s", refused, policy)
			}
			eventually(t, "blue's are there", func() bool {
				blue.mu.Lock()
				defer blue.mu.Unlock()
				for k := range 121 {
					if k >= len(blue.times[1]) || blue.times[1][k] != 1 {
						return false
					}
				}
				return true
			}, p.tail)
			// Red comes back: there is room again, by itself.
			red.down.Store(false)
			eventually(t, "red has room", func() bool {
				red.mu.Lock()
				defer red.mu.Unlock()
				return red.batches > 0
			}, p.tail)
			eventually(t, "red's pushes are taken", func() bool { s, _ := tenantPush(addr, "red", pushedText(0, 200)); return s == 204 }, p.tail)
			want := taken + 1
			if policy == "drop" {
				// Every record goes to one of the outputs and past the other.
				want -= int(a.metrics()["weir_dropped_records_total"]) - 121 - 121
			}
			count := func() int {
				red.mu.Lock()
				defer red.mu.Unlock()
				return red.records
			}
			eventually(t, "all that red was promised is there", func() bool { return count() >= want }, func() string { return fmt.Sprintf("%d of %d\n%s", count(), want, p.tail()) })
			if code := p.signal(syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d\n%s", code, p.tail())
			}
			if n := count(); n != want {
				t.Errorf("red has %d records, want %d", n, want)
			}
		})
	}
}
