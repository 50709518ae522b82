// Command latency measures how long a line takes from being written into a file
// until it is seen in a tail and found by a query, and what the process that
// keeps it uses meanwhile.
//
//	go build -o /tmp/weir ./cmd/weir && go run ./e2e/latency -weir /tmp/weir
//
// It runs weir up on a file of its own, in a directory that it removes, and
// writes lines at a fixed rate. A line carries its number; its age is measured
// with one clock.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

type config struct {
	weir     string
	rate     int
	duration time.Duration
	limit    time.Duration
}

func main() {
	var c config
	flag.StringVar(&c.weir, "weir", "weir", "the binary")
	flag.IntVar(&c.rate, "rate", 1000, "lines a second")
	flag.DurationVar(&c.duration, "for", 30*time.Second, "how long")
	flag.DurationVar(&c.limit, "p99", time.Second, "fail if a 99th percentile is longer")
	flag.Parse()
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, "latency:", err)
		os.Exit(1)
	}
}

// written remembers when each line was written.
type written struct {
	mu sync.Mutex
	at []time.Time
}

func (w *written) add() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = append(w.at, time.Now())
	return len(w.at) - 1
}

func (w *written) age(n int) (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n < 0 || n >= len(w.at) {
		return 0, false
	}
	return time.Since(w.at[n]), true
}

func (w *written) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.at)
}

func (c *config) run() error {
	dir, err := os.MkdirTemp("", "weir-latency-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file, err := os.Create(filepath.Join(dir, "app.log"))
	if err != nil {
		return err
	}
	defer file.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := ln.Addr().String()
	ln.Close()

	cmd := exec.Command(c.weir, "up", "-o", "raw", "--label", "app=latency", "--state", filepath.Join(dir, "state"), "--listen", addr, file.Name())
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		_ = cmd.Wait()                          // 0, or 130
	}()
	if err := ready(addr); err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var lines written
	var tailed, queried []time.Duration
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	wg.Go(func() {
		var err error
		tailed, err = tail(ctx, addr, &lines)
		errs <- err
	})
	wg.Go(func() {
		var err error
		queried, err = query(ctx, addr, &lines)
		errs <- err
	})
	cpu := cpuSeconds(cmd.Process.Pid)
	if err := c.write(file, &lines); err != nil {
		return err
	}
	cpu = cpuSeconds(cmd.Process.Pid) - cpu
	now, peak := memory(cmd.Process.Pid)
	time.Sleep(2 * time.Second) // what is still on its way
	cancel()
	wg.Wait()
	if err := errors.Join(<-errs, <-errs); err != nil {
		return err
	}
	fmt.Printf("%d lines at %d a second\n", lines.len(), c.rate)
	slow := show("written → tail ", tailed, c.limit)
	slow = show("written → query", queried, c.limit) || slow
	fmt.Printf("RSS %d MiB, at most %d MiB; %.1f %% of a CPU\n", now>>10, peak>>10, 100*cpu/c.duration.Seconds())
	if len(tailed) != lines.len() {
		return fmt.Errorf("the tail had %d of %d lines", len(tailed), lines.len())
	}
	if slow {
		return fmt.Errorf("a 99th percentile is longer than %v", c.limit)
	}
	return nil
}

func ready(addr string) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + addr + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return errors.New("weir does not become ready")
}

// write writes lines at the rate, one write each, as programs do.
func (c *config) write(f *os.File, lines *written) error {
	const text = `{"level":"info","msg":"order accepted","number":%d,"customer":"c-%d","ms":%d,"path":"/api/orders"}` + "\n"
	begin := time.Now()
	for n := 0; ; n++ {
		due := begin.Add(time.Duration(n) * time.Second / time.Duration(c.rate))
		if due.Sub(begin) >= c.duration {
			return nil
		}
		if d := time.Until(due); d > 0 {
			time.Sleep(d)
		}
		lines.add()
		if _, err := fmt.Fprintf(f, text, n, n%997, n%71); err != nil {
			return err
		}
	}
}

// number returns the number in a line.
func number(line string) int {
	_, rest, _ := strings.Cut(line, `"number":`)
	digits, _, _ := strings.Cut(rest, ",")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return -1
	}
	return n
}

// tail follows the lines and returns how old each was.
func tail(ctx context.Context, addr string, lines *written) ([]time.Duration, error) {
	u := "ws://" + addr + "/loki/api/v1/tail?" + url.Values{"query": {`{app="latency"}`}, "limit": {"1000"}}.Encode()
	conn, _, err := websocket.Dial(ctx, u, nil)
	if err != nil {
		return nil, fmt.Errorf("tail: %w", err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(64 << 20)
	var out []time.Duration
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return out, nil
			}
			return out, fmt.Errorf("tail: %w", err)
		}
		var m struct {
			Streams []struct {
				Values [][]any `json:"values"`
			} `json:"streams"`
		}
		if err := json.Unmarshal(data, &m); err != nil {
			return out, fmt.Errorf("tail: %w", err)
		}
		for _, s := range m.Streams {
			for _, v := range s.Values {
				line, _ := v[1].(string)
				if age, ok := lines.age(number(line)); ok {
					out = append(out, age)
				}
			}
		}
	}
}

// query asks for the newest line again and again until it is there, and returns
// how old it was then.
func query(ctx context.Context, addr string, lines *written) ([]time.Duration, error) {
	var out []time.Duration
	last := -1
	for ctx.Err() == nil {
		n := lines.len() - 1
		if n == last {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		last = n
		for {
			found, err := ask(ctx, addr, fmt.Sprintf(`{app="latency"} |= "\"number\":%d,"`, n))
			if ctx.Err() != nil {
				return out, nil
			}
			if err != nil {
				return out, err
			}
			age, _ := lines.age(n)
			if found {
				out = append(out, age)
				break
			}
			if age > 30*time.Second {
				return out, fmt.Errorf("query: line %d is not found after %v", n, age)
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(17 * time.Millisecond) // so that it is out of step with batches
	}
	return out, nil
}

func ask(ctx context.Context, addr, q string) (bool, error) {
	u := "http://" + addr + "/loki/api/v1/query_range?" + url.Values{"query": {q}, "since": {"10m"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return false, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("query: %s: %s", resp.Status, body)
	}
	return strings.Contains(string(body), "number"), nil
}

// show prints percentiles and reports whether the 99th is too long.
func show(what string, d []time.Duration, limit time.Duration) bool {
	if len(d) == 0 {
		fmt.Println(what, "never")
		return true
	}
	slices.Sort(d)
	at := func(p float64) time.Duration { return d[int(p*float64(len(d)-1))].Round(time.Millisecond) }
	fmt.Printf("%s  p50 %v  p90 %v  p99 %v  max %v  (%d)\n", what, at(.5), at(.9), at(.99), at(1), len(d))
	return at(.99) > limit
}

// memory returns a process's memory and the most it had, in KiB.
func memory(pid int) (now, peak int) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.Atoi(fields[1]) // of other lines: not used
		switch fields[0] {
		case "VmRSS:":
			now = n
		case "VmHWM:":
			peak = n
		}
	}
	return now, peak
}

// cpuSeconds returns what a process has used.
func cpuSeconds(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}
