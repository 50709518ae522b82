package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// appLog is an application that writes numbered lines to a file and rotates it in
// one of the ways that applications do.
type appLog struct {
	path   string
	how    string // rename, shift, replace or none
	every  int    // lines between rotations
	rate   int    // lines a second at most
	mu     sync.Mutex
	n      int // lines written
	turns  int
	f      *os.File
	w      *bufio.Writer
	err    error
	stop   chan struct{}
	closed chan struct{}
}

// line is what stands for number n: the number, a payload of which the length varies,
// and a sum over both.
func (a *appLog) line(n int) string {
	size := 20 + (n*7919)%180
	if n%997 == 0 {
		size = 6000 // more than a pipe takes whole
	}
	text := fmt.Sprintf("%d %s", n, strings.Repeat(string(rune('a'+n%26)), size))
	return fmt.Sprintf("%s %08x", text, crc32.ChecksumIEEE([]byte(text)))
}

func (a *appLog) open(flags int) {
	if a.err == nil {
		a.f, a.err = os.OpenFile(a.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|flags, 0o644)
		a.w = bufio.NewWriterSize(a.f, 512)
	}
}

// run writes until stop is closed, and closes the file.
func (a *appLog) run() {
	defer close(a.closed)
	a.open(0)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for a.err == nil {
		select {
		case <-a.stop:
			a.flush()
			a.f.Close()
			return
		case <-tick.C:
		}
		for range a.rate / 1000 {
			a.n++
			a.w.WriteString(a.line(a.n))
			a.w.WriteByte('\n')
			if a.how != "none" && a.n%a.every == 0 {
				a.rotate()
			}
		}
		if a.n%3 == 0 {
			a.flush() // in between a line stands there without its end
		}
	}
}

func (a *appLog) flush() {
	if err := a.w.Flush(); a.err == nil {
		a.err = err
	}
}

func (a *appLog) rotate() {
	a.flush()
	a.turns++
	old := fmt.Sprintf("%s-20260101-%06d", a.path, a.turns)
	switch a.how {
	case "shift": // as logrotate without dates: the higher the number, the older
		a.f.Close()
		for n := min(a.turns, 99); n > 0; n-- {
			from := a.path
			if n > 1 {
				from = fmt.Sprintf("%s.%d", a.path, n-1)
			}
			if err := os.Rename(from, fmt.Sprintf("%s.%d", a.path, n)); a.err == nil {
				a.err = err
			}
		}
		a.open(0)
	case "rename": // as logrotate's create
		a.f.Close()
		if err := os.Rename(a.path, old); a.err == nil {
			a.err = err
		}
		a.open(0)
	case "replace": // a new file takes the name at once
		a.f.Close()
		next := a.path + ".tmp"
		if err := os.WriteFile(next, nil, 0o644); a.err == nil {
			a.err = err
		}
		if err := os.Rename(a.path, old); a.err == nil {
			a.err = err
		}
		if err := os.Rename(next, a.path); a.err == nil {
			a.err = err
		}
		a.open(0)
	}
}

// startApp starts an application whose logs are in a directory of their own.
func startApp(t *testing.T, how string, every, rate int) *appLog {
	t.Helper()
	weir(t) // is built before anything is written
	a := &appLog{path: filepath.Join(t.TempDir(), "app.log"), how: how, every: every, rate: rate, stop: make(chan struct{}), closed: make(chan struct{})}
	go a.run()
	t.Cleanup(a.end)
	return a
}

func (a *appLog) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.stop:
	default:
		close(a.stop)
	}
	<-a.closed
}

// sidecarRuns collects what the lives of a sidecar wrote to standard output, as the
// container runtime does: through a pipe, to its end.
type sidecarRuns struct {
	t    *testing.T
	args []string
	out  []bytes.Buffer
	p    *process
	read chan error
	err  string
	// killed says of each life whether it ended by SIGKILL.
	killed []bool
	// maybeLost is how many bytes may be missing.
	maybeLost int
}

func (s *sidecarRuns) start() {
	s.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.out = append(s.out, bytes.Buffer{})
	into := &s.out[len(s.out)-1]
	s.p = start(s.t, s.err, w, weir(s.t), s.args...)
	w.Close()
	s.read = make(chan error, 1)
	go func() {
		_, err := io.Copy(into, r)
		r.Close()
		s.read <- err
	}()
}

// end sends a signal and waits until everything that was written has been collected.
func (s *sidecarRuns) end(sig syscall.Signal) int {
	s.t.Helper()
	code := s.p.signal(sig)
	if err := <-s.read; err != nil {
		s.t.Fatal(err)
	}
	s.killed = append(s.killed, sig == syscall.SIGKILL)
	return code
}

// finish lets a last life read what is left, however long that takes.
func (s *sidecarRuns) finish() {
	s.t.Helper()
	done := filepath.Join(s.t.TempDir(), "done")
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.args = append(s.args, "--deadline", "60s", "--until-file", done)
	s.start()
	if code := s.p.wait(); code != 0 {
		s.t.Errorf("exit code %d\n%s", code, s.p.tail())
	}
	if err := <-s.read; err != nil {
		s.t.Fatal(err)
	}
}

// verify compares with what the application wrote: every line once, with its bytes,
// those of one file in order. What a kill may do: double what was written last, one
// line or what a pipe takes whole, because nothing can note a write at the very
// moment it happens; and leave the beginning of a line longer than that before the
// line.
func (s *sidecarRuns) verify(a *appLog) {
	s.t.Helper()
	seen := make([]bool, a.n+1)
	last := make(map[int]int) // by file: the highest number seen
	lost := 0                 // bytes that are missing
	missing, torn, bad, doubled, swapped := a.n, 0, 0, 0, 0
	complain := func(format string, args ...any) {
		if bad++; bad < 5 {
			s.t.Errorf(format, args...)
		}
	}
	before := 0
	for life := range s.out {
		again := 0 // bytes of what the life before wrote
		for text := s.out[life].String(); text != ""; {
			line, rest, whole := strings.Cut(text, "\n")
			text = rest
			var n int
			if _, err := fmt.Sscanf(line, "%d ", &n); err != nil || n < 1 || n > a.n {
				complain("life %d: what is this? %.80q", life, line)
				continue
			}
			if want := a.line(n); line != want || !whole {
				if rest == "" && len(want) > 4096 && strings.HasPrefix(want, line) {
					torn++
				} else {
					complain("life %d: line %d is %.80q (%d bytes), want %.80q (%d bytes)", life, n, line, len(line), want, len(want))
				}
				continue
			}
			if seen[n] {
				again += len(line) + 1
				if doubled++; life == 0 || !s.killed[life-1] || again > 4096 && again > len(line)+1 {
					complain("life %d: line %d once more, after line %d", life, n, before)
				}
				continue
			}
			seen[n] = true
			missing--
			file := 0
			if a.how != "none" {
				file = (n - 1) / a.every
			}
			if n < last[file] {
				complain("life %d: line %d after line %d of the same file", life, n, last[file])
			}
			last[file] = max(last[file], n)
			if n < before {
				swapped++
			}
			before = n
		}
	}
	for n := 1; n <= a.n; n++ {
		if !seen[n] {
			lost += len(a.line(n)) + 1
		}
	}
	if lost > s.maybeLost {
		s.t.Errorf("%d of %d lines are missing, %d bytes, of which %d are admitted\n%s", missing, a.n, lost, s.maybeLost, s.p.tail())
	}
	if bad > 0 {
		s.t.Errorf("%d lines are wrong", bad)
	}
	s.t.Logf("%d lines, %d lives, %d rotations; by kills: %d lines doubled, %d long ones begun twice; files out of turn: %d; %d bytes missing", a.n, len(s.out), a.turns, doubled, torn, swapped, lost)
}

// A streaming sidecar is killed, or asked to end, again and again, while the
// application writes and rotates: its lives together write every line once.
func TestSidecarRestarts(t *testing.T) {
	for _, how := range []string{"none", "rename", "shift", "replace"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			lives := 35
			if full {
				lives = 200
			}
			a := startApp(t, how, 2500, 20000)
			s := &sidecarRuns{t: t, err: filepath.Join(t.TempDir(), "stderr"), args: []string{"sidecar", "--stream", a.path, "--deadline", "1s", "--linger", "100ms"}}
			for i := range lives {
				s.start()
				// A little longer than a start takes, or not quite.
				pause := time.NewTimer(time.Duration(30+rand.IntN(300)) * time.Millisecond)
				<-pause.C
				if i%10 == 9 {
					if code := s.end(syscall.SIGTERM); code != 0 {
						t.Errorf("exit code %d after SIGTERM\n%s", code, s.p.tail())
					}
				} else {
					s.end(syscall.SIGKILL)
				}
			}
			a.end()
			if a.err != nil {
				t.Fatal(a.err)
			}
			s.finish()
			s.verify(a)
		})
	}
}

// Rotations of each kind under a sidecar that lives on.
func TestSidecarRotations(t *testing.T) {
	for _, how := range []string{"rename", "shift", "replace"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			a := startApp(t, how, 1500, 20000)
			s := &sidecarRuns{t: t, err: filepath.Join(t.TempDir(), "stderr"), args: []string{"sidecar", "--stream", a.path, "--linger", "300ms"}}
			s.start()
			pause := time.NewTimer(11 * time.Second) // 140 rotations, where nothing else runs
			<-pause.C
			a.end()
			if code := s.end(syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d\n%s", code, s.p.tail())
			}
			s.verify(a)
			if a.turns < 50 {
				t.Errorf("only %d rotations: the test says nothing", a.turns)
			}
		})
	}
}

// What was streamed takes no space any more, whatever is killed in between, and no
// line is lost by that.
func TestSidecarReclaim(t *testing.T) {
	a := startApp(t, "none", 0, 20000)
	s := &sidecarRuns{t: t, err: filepath.Join(t.TempDir(), "stderr"), args: []string{"sidecar", "--stream", a.path, "--reclaim", "--deadline", "1s", "--linger", "100ms"}}
	most := int64(0)
	for range 12 {
		s.start()
		for range 8 {
			pause := time.NewTimer(100 * time.Millisecond)
			<-pause.C
			var st syscall.Stat_t
			if err := syscall.Stat(a.path, &st); err == nil {
				most = max(most, st.Blocks*512)
			}
		}
		s.end(syscall.SIGKILL)
	}
	a.end()
	s.finish()
	s.verify(a)
	st, err := os.Stat(a.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes were written, at most %d were on the disk", st.Size(), most)
	if now := st.Sys().(*syscall.Stat_t).Blocks * 512; now > 3<<20 || now > st.Size()/4 {
		t.Errorf("%d of %d bytes are still on the disk", now, st.Size())
	}
}

// A file that the application never rotates is truncated by the sidecar while the
// application writes: no more is missing than the sidecar admits.
func TestSidecarRotate(t *testing.T) {
	a := startApp(t, "none", 0, 20000)
	port := freePort(t)
	s := &sidecarRuns{t: t, err: filepath.Join(t.TempDir(), "stderr"), args: []string{
		"sidecar", "--stream", a.path, "--set", "inputs.file.rotate.size=256KiB", "--health", port, "--deadline", "1s", "--linger", "100ms",
	}}
	figures := func() (rotations, maybe int) {
		resp, err := http.Get("http://" + port + "/metrics")
		if err != nil {
			return 0, 0
		}
		defer resp.Body.Close()
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			var f float64
			if _, err := fmt.Sscanf(lines.Text(), "weir_rotate_truncations_total{input=\"file\"} %g", &f); err == nil {
				rotations = int(f)
			}
			if _, err := fmt.Sscanf(lines.Text(), "weir_rotate_maybe_lost_bytes_total{input=\"file\"} %g", &f); err == nil {
				maybe = int(f)
			}
		}
		return rotations, maybe
	}
	turns := 5
	if full {
		turns = 100
	}
	s.start()
	eventually(t, "it has rotated", func() bool { n, _ := figures(); return n >= turns }, s.p.tail)
	a.end()
	rotations, maybe := figures()
	s.end(syscall.SIGTERM)
	s.maybeLost = maybe
	s.verify(a)
	t.Logf("%d rotations, at most %d bytes lost", rotations, maybe)
	left, err := filepath.Glob(a.path + "*")
	if err != nil || len(left) > 2 {
		t.Errorf("what is left: %q", left)
	}
}

// slowSink takes JSON lines over HTTP at a rate, and knows whose requests it answered.
type slowSink struct {
	url   string
	rate  int // bytes a second over all connections
	mu    sync.Mutex
	free  time.Time // when the next byte may be taken
	lines map[int]int
	bad   int
}

func startSlowSink(t *testing.T, rate int) *slowSink {
	t.Helper()
	s := &slowSink{rate: rate, lines: make(map[int]int)}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.CloseClientConnections)
	s.url = srv.URL
	return s
}

func (s *slowSink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body []byte
	buf := make([]byte, 8<<10)
	for {
		n, err := r.Body.Read(buf)
		body = append(body, buf[:n]...)
		if n > 0 {
			s.mu.Lock()
			now := time.Now()
			if s.free.Before(now) {
				s.free = now
			}
			s.free = s.free.Add(time.Duration(n) * time.Second / time.Duration(s.rate))
			wait := time.NewTimer(s.free.Sub(now))
			s.mu.Unlock()
			select {
			case <-wait.C:
			case <-r.Context().Done():
				return
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(string(body)) {
		var rec struct {
			Msg string `json:"_msg"`
		}
		var n int
		if err := json.Unmarshal([]byte(line), &rec); err == nil {
			fmt.Sscanf(rec.Msg, "%d ", &n)
		}
		if n == 0 {
			s.bad++
		}
		s.lines[n]++
	}
}

// What an application writes in the last moment of its life arrives if the
// destination takes it within the grace period, and what does not is counted: the
// process is killed 15 s after it was asked to end.
func TestSidecarLastTenMegabytes(t *testing.T) {
	for _, c := range []struct {
		rate  int
		whole bool
	}{{1_000_000, true}, {500_000, false}} {
		t.Run(fmt.Sprint(c.rate), func(t *testing.T) {
			t.Parallel()
			sink := startSlowSink(t, c.rate)
			dir := t.TempDir()
			path, message := filepath.Join(dir, "app.log"), filepath.Join(dir, "termination-log")
			config := filepath.Join(dir, "weir.yaml")
			for name, text := range map[string]string{
				message: "",
				config: fmt.Sprintf("inputs: {file: {paths: ['%s']}}\noutputs: {jsonl: {url: '%s', compression: none}}\nsidecar: {termination_message: '%s'}\nstate: '%s'\n",
					path, sink.url, message, filepath.Join(dir, "state")),
			} {
				if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			p := start(t, filepath.Join(dir, "stderr"), io.Discard, weir(t), "sidecar", "-c", config)
			eventually(t, "it runs", func() bool {
				_, err := os.Stat(filepath.Join(dir, "state", "weir.sock"))
				return err == nil
			}, p.tail)
			a := &appLog{}
			var text []byte
			for len(text)+a.n*200 < 10_000_000 { // as the destination sees it, with names and times
				a.n++
				text = append(append(text, a.line(a.n)...), '\n')
			}
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
			kill := time.AfterFunc(15*time.Second, func() { p.cmd.Process.Kill() })
			defer kill.Stop()
			begin := time.Now()
			if code := p.signal(syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d after %s\n%s", code, time.Since(begin), p.tail())
			}
			took := time.Since(begin)
			said, err := os.ReadFile(message)
			if err != nil {
				t.Fatal(err)
			}
			var undelivered int
			if _, err := fmt.Sscanf(string(said), "undelivered=%d ", &undelivered); err != nil {
				t.Fatalf("termination message %q: %v", said, err)
			}
			sink.mu.Lock()
			defer sink.mu.Unlock()
			missing := 0
			for n := 1; n <= a.n; n++ {
				if sink.lines[n] == 0 {
					missing++
				}
				if sink.lines[n] > 1 {
					t.Errorf("line %d arrived %d times", n, sink.lines[n])
				}
			}
			t.Logf("%d lines, %d bytes, %d missing, %s; message: %s", a.n, len(text), missing, took.Round(10*time.Millisecond), said)
			if missing != undelivered || sink.bad > 0 {
				t.Errorf("%d lines are missing, %d are odd, and the message says %d", missing, sink.bad, undelivered)
			}
			if c.whole != (missing == 0) {
				t.Errorf("%d lines are missing at %d bytes a second", missing, c.rate)
			}
		})
	}
}
