package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/weirlog/weir/bench/measure"
	"github.com/weirlog/weir/bench/verify"
)

// build builds the programs of this repository that take part, as releases are
// built: static and stripped; weir only if no binary of it is given. The
// working directory is bench/.
func build(dir, weir string) error {
	type program struct{ module, pkg, name string }
	programs := []program{{".", "./floor", "floor"}, {".", "./sink", "sink"}}
	if weir == "" {
		programs = append(programs, program{"..", "./cmd/weir", weirName})
	} else {
		given, err := filepath.Abs(weir)
		if err != nil {
			return err
		}
		if err := os.Symlink(given, filepath.Join(dir, weirName)); err != nil {
			return err
		}
	}
	for _, c := range programs {
		cmd := exec.Command("go", "build", "-C", c.module, "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, c.name), c.pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", c.pkg, err, out)
		}
	}
	return nil
}

// sinkStats is what the sink says of itself; see sink/control.go.
type sinkStats struct {
	verify.Counts
	Requests  uint64   `json:"requests"`
	Wire      uint64   `json:"wire"`
	Plain     uint64   `json:"plain"`
	Refused   uint64   `json:"refused"`
	Bad       []string `json:"bad"`
	Strange   []string `json:"strange"`
	LastMilli int64    `json:"last_ms"`
}

// arrived is how many records came that say which line they are.
func (s *sinkStats) arrived() uint64 { return s.Records }

type faults struct {
	Status    int  `json:"status,omitempty"`
	LatencyMS int  `json:"latency_ms,omitempty"`
	Down      bool `json:"down,omitempty"`
}

// sink is the running sink.
type sink struct {
	proc *measure.Process
	addr struct{ URL, Lines, Control string }
}

// startSink starts the sink on a processor.
func startSink(program string, cpu int) (*sink, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	proc, err := measure.Start(measure.Spec{Args: []string{program}, Env: environment(""), CPU: cpu, Stdout: w, Stderr: os.Stderr})
	if e := w.Close(); err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	s := &sink{proc: proc}
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s.addr)
	}
	if err != nil {
		proc.Kill()
		return nil, fmt.Errorf("the sink's addresses: %w", err)
	}
	return s, nil
}

var control = http.Client{Timeout: 30 * time.Second}

// ask sends a request to the sink's control port; in is nil for GET.
func (s *sink) ask(path string, in, out any) error {
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		method, body = http.MethodPost, bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, s.addr.Control+path, body)
	if err != nil {
		return err
	}
	resp, err := control.Do(req)
	if err != nil {
		return fmt.Errorf("sink: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		msg, _ := io.ReadAll(io.LimitReader(resp.Body, 1000)) // the status is enough
		return fmt.Errorf("sink: %s: %s %s", path, resp.Status, msg)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func (s *sink) reset() error {
	var f faults
	return s.ask("/reset", struct{}{}, &f)
}

func (s *sink) set(f faults) error { return s.ask("/faults", f, &f) }

func (s *sink) stats() (st sinkStats, err error) { return st, s.ask("/stats", nil, &st) }

func (s *sink) judge(lines []uint32) (v verify.Verdict, err error) {
	if lines == nil {
		lines = []uint32{}
	}
	return v, s.ask("/verdict", lines, &v)
}

// environment is all that a participant gets.
func environment(home string, more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOME=" + home}, more...)
}
