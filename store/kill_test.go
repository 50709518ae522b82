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
	"sync"
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

// killedFiles is how many files are sent at once, each by a sender of its own.
const killedFiles = 3

func runKilled(dir string) {
	s, err := Open(Config{Dir: dir, MemtableBytes: 64 << 10, SegmentBytes: 1 << 20, Check: -1, MinFree: -1})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	go func() {
		for {
			s.Maintain(context.Background())
		}
	}()
	var wg sync.WaitGroup
	for file, from := range strings.Split(os.Getenv(killEnv+"_FROM"), ",") {
		wg.Go(func() {
			n, _ := strconv.Atoi(from)
			r := rand.New(rand.NewPCG(uint64(n), uint64(file)))
			for {
				var ls []line
				for range 1 + r.IntN(20) {
					ls = append(ls, killedLine(file, n))
					n++
				}
				p := batch(ls)
				if _, err := s.Send(context.Background(), []record.Part{p}); err != nil {
					fmt.Println("error", err)
					return
				}
				p.Finish()
				fmt.Println(file, n) // one write
			}
		})
	}
	wg.Wait()
}

// killedLine is line n of a file; it has the same place whoever makes it.
func killedLine(file, n int) line {
	r := rand.New(rand.NewPCG(uint64(n), uint64(file)))
	l := someLine(r, n)
	if file == killedFiles-1 {
		l.id = uint64(1 + n) // pushed, with ids
	} else {
		l.gen, l.from, l.to = uint64(1+file), int64(n)*2000, int64(n+1)*2000
	}
	l.body += fmt.Sprintf("%01900d", n*killedFiles+file)
	return l
}

// FAILURES 53, 64: kill -9 of a process that stores, again and again, also while
// it recovers.
func TestFailure53_64_Kill(t *testing.T) {
	cycles := 25
	if n, err := strconv.Atoi(os.Getenv("WEIR_TEST_KILLS")); err == nil {
		cycles = n
	}
	if testing.Short() {
		cycles = 3
	}
	r := rand.New(rand.NewPCG(53, uint64(time.Now().UnixNano())))
	var dir string
	var acked [killedFiles]int
	total, early := 0, 0
	for i := range cycles {
		if i%100 == 0 {
			os.RemoveAll(dir)
			dir, acked = t.TempDir(), [killedFiles]int{}
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killEnv+"="+dir, fmt.Sprintf("%s_FROM=%d,%d,%d", killEnv, acked[0], acked[1], acked[2]))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := 1 + r.IntN(150)
		if r.IntN(5) == 0 {
			timer := time.AfterFunc(time.Duration(r.IntN(40))*time.Millisecond, func() { cmd.Process.Kill() })
			defer timer.Stop()
			early++
		}
		sc := bufio.NewScanner(out)
		for n := 0; sc.Scan(); n++ {
			var file, upTo int
			if _, err := fmt.Sscan(sc.Text(), &file, &upTo); err != nil {
				t.Fatal(sc.Text())
			}
			total += upTo - acked[file]
			acked[file] = upTo
			if n == kill {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		if i%5 == 4 || i == cycles-1 {
			checkKilled(t, i, dir, acked)
		}
	}
	t.Logf("%d cycles, %d of them killed soon after the start; %d lines acknowledged", cycles, early, total)
}

// checkKilled looks for every acknowledged line, and that no line is there twice
// or was not sent.
func checkKilled(t *testing.T, cycle int, dir string, acked [killedFiles]int) {
	t.Helper()
	s := open(t, Config{Dir: dir, MinFree: -1})
	seen := map[int]bool{}
	req := &logql.Request{Selector: selector(t, `{app=~".+"}`), Start: -1 << 62, End: 1 << 62, Columns: everything, Order: logql.Order(cycle / 5 % 3)}
	for _, l := range query(t, s, req) {
		id, err := strconv.Atoi(l.body[len(l.body)-1900:])
		if err != nil {
			t.Fatalf("cycle %d: %v", cycle, err)
		}
		file, n := id%killedFiles, id/killedFiles
		want := stored(killedLine(file, n))
		switch {
		case n >= acked[file]+20:
			t.Fatalf("cycle %d: line %d of file %d was never sent, only up to %d", cycle, n, file, acked[file])
		case l != want:
			t.Fatalf("cycle %d: line %d of file %d:\n got %.300v\nwant %.300v", cycle, n, file, l, want)
		case seen[id]:
			t.Fatalf("cycle %d: line %d of file %d twice; %+v", cycle, n, file, s.Recovery())
		}
		seen[id] = true
	}
	for file := range acked {
		for n := range acked[file] {
			if !seen[n*killedFiles+file] {
				t.Fatalf("cycle %d: line %d of file %d, of %d acknowledged, is lost; %+v", cycle, n, file, acked[file], s.Recovery())
			}
		}
	}
	if st, rec := s.Stats(), s.Recovery(); st.DamagedPages > 0 || rec.Places > 0 || len(rec.Quarantined) > 0 {
		t.Fatalf("cycle %d: %+v %+v", cycle, st, rec)
	}
	rep, err := s.Check(context.Background(), CheckOptions{})
	if err != nil || len(rep.Bad) > 0 {
		t.Fatalf("cycle %d: %+v, %v", cycle, rep, err)
	}
	s.Close()
}
