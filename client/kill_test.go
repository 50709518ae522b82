package client

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// child is a program that logs until it is killed: record n, n+1 … It says on
// standard output which it has logged.
func child() {
	env := strings.Split(os.Getenv("WEIR_CLIENT_CHILD"), "|")
	sync, _ := strconv.Atoi(env[2])
	from, _ := strconv.Atoi(env[3])
	c, err := New(Config{
		Endpoints: strings.Split(env[0], ","), Service: "child", Logger: slog.New(slog.DiscardHandler), BatchWait: 5 * time.Millisecond, MaxBackoff: 20 * time.Millisecond,
		BatchBytes: 64 << 10, Spool: Spool{Dir: env[1], Sync: Sync(sync), Wait: 5 * time.Millisecond, MaxBytes: 64 << 20}, WhenFull: Block,
	})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	if from < 0 { // only to send what is there
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := c.Flush(ctx); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		if err := c.Close(ctx); err != nil {
			fmt.Println("error:", err)
		}
		os.Exit(0)
	}
	l := c.Logger()
	for n := from; ; n++ {
		body, attr := payload(n)
		l.Info(body, "n", n, "attr", attr)
		fmt.Println(n)
		if sync != int(SyncAlways) && n%50 == 0 {
			time.Sleep(time.Millisecond) // as slow as a program is, not as fast as the memory
		}
	}
}

// payload is what record n consists of.
func payload(n int) (body, attr string) {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	p := make([]byte, r.IntN(300))
	for i := range p {
		p[i] = byte(r.Uint32()) // not UTF-8, most of the time
	}
	if os.Getenv("WEIR_CLIENT_TEXT") != "" {
		p = fmt.Appendf(nil, "%x \" <é>", p) // what JSON can carry
	}
	return strconv.Itoa(n) + " " + string(p), strings.Repeat("x", r.IntN(50))
}

// verify compares what came with what was logged, and returns how often each
// record came.
func verify(t *testing.T, got []entry) map[int]int {
	t.Helper()
	times := make(map[int]int)
	byUID := make(map[string]string)
	uidOf := make(map[int]string)
	for _, e := range got {
		n := int(e.Attrs["n"].(int64))
		body, attr := payload(n)
		if e.Body != body || e.Attrs["attr"] != attr || e.Resource["service.name"] != "child" {
			t.Fatalf("record %d is not what was logged: %q", n, e.Body)
		}
		if raw, ok := byUID[e.UID]; ok && raw != e.raw || len(e.UID) != 32 {
			t.Fatalf("record %d: the same id, another record", n)
		}
		if uid, ok := uidOf[n]; ok && uid != e.UID {
			t.Fatalf("record %d has two ids: what is sent again would be doubled", n)
		}
		byUID[e.UID], uidOf[n] = e.raw, e.UID
		times[n]++
	}
	return times
}

// run starts the child, kills it after a time or after it has logged some, and
// returns what it said, and when.
func runChild(t *testing.T, url, dir string, sync Sync, from int, kill time.Duration) (said map[int]time.Time, killed time.Time) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("WEIR_CLIENT_CHILD=%s|%s|%d|%d", url, dir, sync, from))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	at := make(chan time.Time, 1)
	timer := time.AfterFunc(kill, func() {
		at <- time.Now()
		cmd.Process.Kill()
	})
	said = make(map[int]time.Time)
	last := from - 1
	for sc := bufio.NewScanner(out); sc.Scan(); {
		n, err := strconv.Atoi(sc.Text())
		if err != nil {
			if strings.HasPrefix(sc.Text(), "error") {
				t.Error(sc.Text())
			}
			continue // torn by the kill
		}
		if n != last+1 {
			continue
		}
		said[n] = time.Now()
		last = n
	}
	cmd.Wait() // its error is that it was killed, or it has said another
	if !timer.Stop() {
		killed = <-at
	}
	return said, killed
}

// moody makes a gateway fail in many ways, at random.
func moody(g *gateway) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for range 20000 {
		g.script = append(g.script, func(w http.ResponseWriter, r *http.Request, g *gateway, body []byte) bool {
			switch rand.IntN(8) {
			case 0:
				w.WriteHeader(http.StatusServiceUnavailable)
				return false
			case 1:
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(http.StatusTooManyRequests)
				return false
			case 2: // taken, but the answer does not come
				g.take(body)
				panic(http.ErrAbortHandler)
			case 3:
				panic(http.ErrAbortHandler)
			}
			return true
		})
	}
}

// The program is killed again and again, and what it was told is safe is there
// in the end: equal, and with one id however often it was sent.
func TestKill9Always(t *testing.T) {
	rounds := 30
	if s := os.Getenv("WEIR_CLIENT_KILLS"); s != "" {
		rounds, _ = strconv.Atoi(s)
	} else if testing.Short() {
		rounds = 5
	}
	g := newGateway(t)
	moody(g)
	dir := t.TempDir()
	next := 0
	safe := make(map[int]bool)
	for range rounds {
		said, _ := runChild(t, g.URL, dir, SyncAlways, next, time.Duration(rand.IntN(150))*time.Millisecond)
		for n := range said {
			safe[n] = true
		}
		next += 1000000 // the one under way may or may not be there
	}
	g.mu.Lock()
	g.script = nil
	g.mu.Unlock()
	runChild(t, g.URL, dir, SyncAlways, -1, time.Minute)
	times := verify(t, g.got())
	again := 0
	for n := range safe {
		if times[n] == 0 {
			t.Errorf("record %d was safe, and is lost", n)
		}
		again += times[n] - 1
	}
	t.Logf("%d kills, %d records, %d sent more than once", rounds, len(safe), again)
	if len(safe) == 0 {
		t.Error("nothing was logged")
	}
	// Nothing is left but locks.
	if names, err := segmentNames(dir + "/slot-00"); err != nil || len(names) > 0 {
		t.Errorf("%v, %v", names, err)
	}
}

// Without a sync, a kill costs what was logged in the last moments only.
func TestKill9Never(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	g := newGateway(t)
	moody(g)
	dir := t.TempDir()
	next := 0
	safe := make(map[int]bool)
	for range rounds {
		said, killed := runChild(t, g.URL, dir, SyncNever, next, 1500*time.Millisecond)
		for n, at := range said {
			if killed.Sub(at) > time.Second {
				safe[n] = true
			}
		}
		next += 1000000
	}
	g.mu.Lock()
	g.script = nil
	g.mu.Unlock()
	runChild(t, g.URL, dir, SyncNever, -1, time.Minute)
	times := verify(t, g.got())
	for n := range safe {
		if times[n] == 0 {
			t.Errorf("record %d was safe, and is lost", n)
		}
	}
	t.Logf("%d records", len(safe))
	if len(safe) == 0 {
		t.Error("nothing was logged")
	}
}
