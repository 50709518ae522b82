package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/weirlog/weir/bench/measure"
	"github.com/weirlog/weir/bench/peers"
	"github.com/weirlog/weir/bench/verify"
)

// Result is one run of one participant.
type Result struct {
	Peer           string   `json:"peer"`
	Version        string   `json:"version,omitempty"`
	Form           string   `json:"form"`
	Round          int      `json:"round"`
	Bytes          int64    `json:"log_bytes"`
	CPU            Secs     `json:"cpu_s"`                     // from start to end, all processes
	SteadyCPU      Secs     `json:"steady_cpu_s"`              // from 10 % of the records to 90 %
	SteadyShare    Secs     `json:"steady_share"`              // that part of the records
	Wall           Secs     `json:"wall_s"`                    // from start to the last record
	FirstWall      Secs     `json:"first_wall_s"`              // from start to the first record
	Peak           int64    `json:"peak_rss"`                  // bytes
	Mean           int64    `json:"mean_rss"`                  // bytes, while records came
	Wire           uint64   `json:"wire_bytes"`                // of request bodies
	Plain          uint64   `json:"plain_bytes"`               // decompressed
	Requests       uint64   `json:"requests"`                  //
	Rate           Secs     `json:"written_mb_s,omitempty"`    // live: 10^6 bytes of log
	LinesPerSecond Secs     `json:"written_lines_s,omitempty"` // live
	KilledAt       Secs     `json:"killed_at,omitempty"`       // kill: share of the records that had come
	Busy           Secs     `json:"busy,omitempty"`            // live: share of a processor while logs were written
	Bad            string   `json:"bad,omitempty"`             // the first request that must not be sent
	Error          string   `json:"error,omitempty"`
	Strange        []string `json:"strange,omitempty"` // the first records that are not what was written
	verify.Verdict
}

// Secs is a number in the report with no more digits than it is worth.
type Secs float64

// MarshalJSON keeps six digits.
func (s Secs) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(s), 'g', 6, 64), nil
}

// PerCPU is records per CPU-second of the whole run.
func (r *Result) PerCPU() float64 {
	if r.CPU == 0 {
		return 0
	}
	return float64(r.Records) / float64(r.CPU)
}

// SteadyPerCPU is the same without start and end; 0 if the run was too short
// to say.
func (r *Result) SteadyPerCPU() float64 {
	if r.SteadyCPU < 0.05 {
		return 0
	}
	return float64(r.Records) * float64(r.SteadyShare) / float64(r.SteadyCPU)
}

// MBPerCPU is megabytes (10^6) of log file per CPU-second.
func (r *Result) MBPerCPU() float64 {
	if r.CPU == 0 || r.Written == 0 {
		return 0
	}
	return float64(r.Bytes) * float64(r.Records) / float64(r.Written) / 1e6 / float64(r.CPU)
}

// bench is what all runs share.
type bench struct {
	ctx      context.Context // its end stops the present run
	sink     *sink
	dir      string // for everything that is written
	cpu      int
	interval time.Duration // between samples
	patience time.Duration // how long nothing may come
	quiet    time.Duration // how long late doubles are waited for
	verbose  bool
	keep     bool // the directories of runs
	request  map[peers.Form]int
	extra    []string // environment of participants
	api      *apiServer
}

func newBench(ctx context.Context, s *sink, dir string) *bench {
	return &bench{ctx: ctx, sink: s, dir: dir, cpu: -1, interval: 50 * time.Millisecond, patience: 15 * time.Second, quiet: time.Second, request: make(map[peers.Form]int)}
}

// A run is one participant at work. A participant that is killed and started
// again is the same run.
type run struct {
	b       *bench
	p       *participant
	job     peers.Job
	command peers.Command
	log     *os.File
	out     *os.File // standard output, if not the log
	proc    *measure.Process
	began   time.Time
	before  time.Duration // CPU of processes that were killed
	peak    int64
	samples []sample
}

type sample struct {
	at   time.Duration
	cpu  time.Duration
	rss  int64
	read int64
	sinkStats
}

// prepare makes the run's directory and configuration, with a clean sink.
func (b *bench) prepare(p *participant, root string) (*run, error) {
	if err := b.sink.reset(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, p.peer.Name+"-")
	if err != nil {
		return nil, err
	}
	r := &run{b: b, p: p}
	u, err := url.Parse(b.sink.addr.URL)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return nil, err
	}
	_, linesPort, err := net.SplitHostPort(b.sink.addr.Lines)
	if err != nil {
		return nil, err
	}
	tcp, err := strconv.Atoi(linesPort)
	if err != nil {
		return nil, err
	}
	r.job = peers.Job{Form: p.form, Binary: p.binary, Root: root, URL: b.sink.addr.URL, Host: u.Hostname(), Port: port, TCPPort: tcp, Dir: dir}
	if r.command, err = p.peer.Prepare(r.job); err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	if b.api != nil && p.peer.Name == weirName {
		if err := b.api.configure(&r.command); err != nil {
			return nil, err
		}
	}
	if r.log, err = os.Create(filepath.Join(dir, "log.txt")); err != nil {
		return nil, err
	}
	if b.verbose {
		r.show()
	}
	return r, nil
}

// show prints how the participant is started.
func (r *run) show() {
	fmt.Fprintf(os.Stderr, "\n--- %s: %v %v\n", r.p, r.command.Env, r.command.Args)
	for _, f := range r.command.Files {
		text, err := os.ReadFile(f)
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(os.Stderr, "--- %s\n%s\n", f, text)
	}
}

// start starts the participant, again after a kill.
func (r *run) start() error {
	if r.began.IsZero() {
		r.began = time.Now()
	}
	stdout := r.log
	switch {
	case r.command.StdoutToSink:
		c, err := net.Dial("tcp", r.b.sink.addr.Lines)
		if err != nil {
			return err
		}
		defer c.Close()
		if r.out, err = c.(*net.TCPConn).File(); err != nil {
			return err
		}
		defer r.out.Close()
		stdout = r.out
	case r.p.form.Protocol == peers.Null:
		stdout = nil
	}
	spec := measure.Spec{
		Args: r.command.Args, Env: environment(r.job.Dir, append(r.b.extra, r.command.Env...)...),
		Dir: r.job.Dir, CPU: r.b.cpu, Stderr: r.log,
	}
	if stdout != nil {
		spec.Stdout = stdout
	}
	var err error
	r.proc, err = measure.Start(spec)
	return err
}

// sample looks at the participant and the sink.
func (r *run) sample() (*sample, error) {
	st, err := r.b.sink.stats()
	if err != nil {
		return nil, err
	}
	u := r.proc.Usage()
	r.peak = max(r.peak, u.Peak)
	r.samples = append(r.samples, sample{at: time.Since(r.began), cpu: r.before + u.CPU, rss: u.RSS, read: u.Read, sinkStats: st})
	return &r.samples[len(r.samples)-1], nil
}

var errEnded = errors.New("it ended by itself")

// watch samples until done says so, or the participant ends.
func (r *run) watch(done func(s *sample) bool) error {
	tick := time.NewTicker(r.b.interval)
	defer tick.Stop()
	for {
		ended := false
		select {
		case <-r.b.ctx.Done():
			return context.Cause(r.b.ctx)
		case <-r.proc.Done():
			ended = true
		case <-tick.C:
		}
		s, err := r.sample()
		if err != nil {
			return err
		}
		if ended && r.p.peer.Name == floorName && r.proc.Err() == nil {
			return nil
		}
		if ended {
			return fmt.Errorf("%w: %v", errEnded, r.proc.Err())
		}
		if done(s) {
			return nil
		}
	}
}

// kill kills the participant at once; start starts it again.
func (r *run) kill() {
	r.proc.Kill()
	r.before += r.proc.Usage().CPU
}

// finish ends the participant and judges.
func (r *run) finish(round int, bytes int64, lines []uint32, cause error) (Result, error) {
	res := Result{Peer: r.p.peer.Name, Version: r.p.version, Form: r.p.form.String(), Round: round, Bytes: bytes}
	ended := r.proc.Stop(stopPatience)
	u := r.proc.Usage()
	res.CPU = Secs((r.before + u.CPU).Seconds())
	res.Peak = max(r.peak, u.Peak)
	if cause != nil {
		res.Error = cause.Error() + r.tail()
	} else if !ended {
		res.Error = fmt.Sprintf("did not end within %v of SIGTERM", stopPatience)
	}
	st, err := r.b.sink.stats()
	if err != nil {
		return res, err
	}
	res.Wire, res.Plain, res.Requests = st.Wire, st.Plain, st.Requests
	if len(st.Bad) > 0 {
		res.Bad = st.Bad[0]
	}
	res.Strange = st.Strange
	if res.Verdict, err = r.b.sink.judge(lines); err != nil {
		return res, err
	}
	r.shape(&res)
	if err := r.log.Close(); err != nil {
		return res, err
	}
	if !r.b.keep {
		return res, os.RemoveAll(r.job.Dir)
	}
	return res, nil
}

const stopPatience = 20 * time.Second

// shape fills in what follows from the samples.
func (r *run) shape(res *Result) {
	var all uint64
	for i := range r.samples {
		all = max(all, r.samples[i].arrived())
	}
	var lo, hi *sample
	var mean, n int64
	for i := range r.samples {
		s := &r.samples[i]
		got := s.arrived()
		if got > 0 && res.FirstWall == 0 {
			res.FirstWall = Secs(s.at.Seconds())
		}
		if got > 0 && got <= all && s.rss > 0 && res.Wall == 0 {
			mean, n = mean+s.rss, n+1
		}
		if lo == nil && got*10 >= all && got > 0 {
			lo = s
		}
		if hi == nil && got*10 >= all*9 && got > 0 {
			hi = s
		}
		if res.Wall == 0 && got == all && all > 0 {
			res.Wall = Secs(s.at.Seconds())
		}
	}
	if n > 0 {
		res.Mean = mean / n
	}
	if lo != nil && hi != nil && all > 0 {
		res.SteadyCPU = Secs((hi.cpu - lo.cpu).Seconds())
		res.SteadyShare = Secs(float64(hi.arrived()-lo.arrived()) / float64(all))
	}
}

// tail returns the end of the participant's log.
func (r *run) tail() string {
	data, err := os.ReadFile(r.log.Name())
	if err != nil || len(data) == 0 {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return "\n" + string(bytes.Join(lines[max(0, len(lines)-8):], []byte("\n")))
}
