package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

// The test's own binary, started with this in its environment, is the process
// that is killed: it stores lines and says which are acknowledged.
const killEnv = "WEIR_TEST_KILLED_STORE"

func init() {
	if dir := os.Getenv(killEnv); dir != "" {
		runKilled(dir)
		os.Exit(0)
	}
}

func runKilled(dir string) {
	s, err := Open(Config{Dir: dir, MemtableBytes: 64 << 10, SegmentBytes: 1 << 20, Check: -1, MinFree: -1})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	from, _ := strconv.Atoi(os.Getenv(killEnv + "_FROM"))
	go func() {
		for {
			s.Maintain(context.Background())
		}
	}()
	r := rand.New(rand.NewPCG(uint64(from), 1))
	for n := from; ; {
		var ls []line
		for range 1 + r.IntN(20) {
			ls = append(ls, killedLine(n))
			n++
		}
		p := batch(ls)
		if _, err := s.Send(context.Background(), []record.Part{p}); err != nil {
			fmt.Println("error", err)
			return
		}
		p.Finish()
		fmt.Println(n)
	}
}

// killedLine is line n; it has the same place in the same file whoever makes it.
func killedLine(n int) line {
	r := rand.New(rand.NewPCG(uint64(n), 2))
	l := someLine(r, n)
	l.gen, l.from, l.to = 1, int64(n)*2000, int64(n+1)*2000
	l.body += fmt.Sprintf("%01900d", n)
	return l
}

// FAILURES 53: kill -9 of a process that stores, again and again.
func TestFailure53_Kill(t *testing.T) {
	cycles := 25
	if n, err := strconv.Atoi(os.Getenv("WEIR_TEST_KILLS")); err == nil {
		cycles = n
	}
	if testing.Short() {
		cycles = 3
	}
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(53, uint64(time.Now().UnixNano())))
	acked := 0
	for i := range cycles {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killEnv+"="+dir, killEnv+"_FROM="+strconv.Itoa(acked))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		sc := bufio.NewScanner(out)
		kill := 1 + r.IntN(60)
		for n := 0; sc.Scan(); n++ {
			if strings.HasPrefix(sc.Text(), "error") {
				t.Fatal(sc.Text())
			}
			acked, _ = strconv.Atoi(sc.Text())
			if n == kill {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		if i%5 != 4 && i != cycles-1 {
			continue
		}
		s := open(t, Config{Dir: dir, MinFree: -1})
		seen := make([]bool, acked+1000)
		for _, l := range query(t, s, &logql.Request{Selector: selector(t, `{app=~".+"}`), Start: -1 << 62, End: 1 << 62, Columns: everything}) {
			var n int
			if _, err := fmt.Sscanf(l.body[len(l.body)-1900:], "%d", &n); err != nil || n >= len(seen) || seen[n] || l != stored(killedLine(n)) {
				t.Fatalf("cycle %d: line %d of %d: %v, again %v, got %.200v want %.200v; %+v", i, n, acked, err, n < len(seen) && seen[n], l, stored(killedLine(n)), s.Recovery())
			}
			seen[n] = true
		}
		for n := range acked {
			if !seen[n] {
				t.Fatalf("cycle %d: line %d of %d acknowledged and lost; %+v", i, n, acked, s.Recovery())
			}
		}
		if st := s.Stats(); st.DamagedPages > 0 || s.Recovery().Places > 0 {
			t.Fatalf("%+v %+v", st, s.Recovery())
		}
		s.Close()
	}
}
