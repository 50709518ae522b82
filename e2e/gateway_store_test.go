package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Failure 53: a gateway over its own store is killed at any moment, between the
// store's sync and the answer, too, with senders of every kind that push again what
// they heard no answer of. What was acknowledged is in the store, byte for byte;
// nothing is there that nobody sent; and what has an id or its own time is there
// once. With a buffer on disk between them, what the store had and the buffer did
// not know of is sent again in other batches.
func TestFailure53_GatewayKillsStore(t *testing.T) {
	for name, buffer := range map[string]string{"direct": "{memory: 1MiB}", "buffered": "{disk: 64MiB, memory: 1MiB}", "api": "{memory: 1MiB}"} {
		t.Run(name, func(t *testing.T) {
			g := newPushed(t, "", "", "")
			inputs, http := g.addrs.inputs(), ""
			if name == "api" { // what comes over listen.http goes past the pipeline
				http = g.addrs.otlp
				inputs = fmt.Sprintf("{otlp: {grpc: '%s'}, forward: {tcp: '%s'}}", g.addrs.grpc, g.addrs.forward)
				g.addrs.loki, g.addrs.bulk, g.addrs.hec = http, http+"/elastic", http
				g.senders = newPushers(&g.addrs)
			}
			text := fmt.Sprintf(`inputs: %s
outputs:
  store: {batch: {wait: 5ms}, retry: {for: forever, min_delay: 5ms, max_delay: 50ms}, buffer: %s}
store: {memtable: {bytes: 1MiB}}
listen: {probe: '%s', http: '%s', insecure: true}
state: '%s'
`, inputs, buffer, g.probe, http, g.state)
			if err := os.WriteFile(g.config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			g.start()
			g.push(5 * time.Millisecond)
			g.working(2 * perPush)
			n := kills(t, 30)
			for i := range n {
				if i%100 == 99 {
					g.working(perPush)
				}
				randomly([]time.Duration{20, 60, 120, 300}[rand.IntN(4)] * time.Millisecond)
				if !g.alive() {
					t.Fatalf("weir has ended by itself with %d\n%s", g.cmd.ProcessState.ExitCode(), g.process.tail())
				}
				g.signal(syscall.SIGKILL)
				g.start()
			}
			g.working(2 * perPush)
			g.stop()
			if code := g.signal(syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d\n%s", code, g.process.tail())
			}
			got := pushedInStore(t, g.state, len(g.senders))
			if missing := got.missing(g.senders); missing != "" {
				t.Error(missing)
			}
			distinct, doubled := got.check(t, g.senders, true)
			var resent int64
			for _, p := range g.senders {
				resent += p.resent.Load()
				if n := p.wrong.Load(); n > 0 {
					t.Errorf("%d answers that are not as they should be, the last: %s", n, *p.last.Load())
				}
			}
			_, all := g.acked()
			t.Logf("%d kills: %d records acknowledged, %d pushes repeated; the store has %d, %d without ids doubled", n, all, resent, distinct, doubled)
		})
	}
}

// pushedInStore reads all lines of the store in a state directory.
func pushedInStore(t *testing.T, state string, senders int) *arrivals {
	t.Helper()
	a := &arrivals{name: "store", times: make([][]uint8, senders)}
	cmd := exec.Command(weir(t), "query", `{service_name=~".+"}`, "--state", state, "--limit", "0", "--since", "24h", "-o", "raw")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for sc := bufio.NewScanner(out); sc.Scan(); {
		text := sc.Text()
		var doc struct{ Message string } // a document of Elasticsearch's clients is kept as it is
		if json.Unmarshal(sc.Bytes(), &doc) == nil && doc.Message != "" {
			text = doc.Message
		}
		a.got(text, sc.Bytes())
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("weir query: %v\n%s", err, errOut.String())
	}
	return a
}
