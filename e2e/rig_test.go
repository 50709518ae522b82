package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirlog/weir/e2e/internal/account"
	"github.com/weirlog/weir/e2e/internal/journal"
)

// full selects the full sizes; see README.md.
var full = os.Getenv("WEIR_E2E_FULL") == "1"

// patience is how long a story waits for a condition that must come true. It
// only bounds a failure.
func patience() time.Duration {
	if full {
		return 10 * time.Minute
	}
	return 2 * time.Minute
}

var binDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "weir-e2e-")
	if err != nil {
		panic(err)
	}
	binDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

var builds sync.Map // package → *build

type build struct {
	once sync.Once
	path string
	err  error
}

// binary builds a program of this module, once per run.
func binary(t *testing.T, pkg string) string {
	t.Helper()
	v, _ := builds.LoadOrStore(pkg, new(build))
	b := v.(*build)
	b.once.Do(func() {
		b.path = filepath.Join(binDir, filepath.Base(pkg))
		out, err := exec.Command("go", "build", "-o", b.path, pkg).CombinedOutput()
		if err != nil {
			b.err = fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

const weirPkg = "github.com/weirlog/weir/cmd/weir"

// weir returns the path of the program under test: $WEIR_E2E_BINARY, else
// built from here.
func weir(t *testing.T) string {
	t.Helper()
	if p := os.Getenv("WEIR_E2E_BINARY"); p != "" {
		return p
	}
	return binary(t, weirPkg)
}

// process is a child. All end with the test.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr string // file
	done   chan struct{}
	err    error
}

// start starts a child. Its first lines of standard output go to out, the rest
// is read and forgotten unless all is set, in which case out gets everything.
func start(t *testing.T, stderr string, out io.Writer, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), stderr: stderr, done: make(chan struct{})}
	f, err := os.OpenFile(stderr, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p.cmd.Stderr, p.cmd.Stdout = f, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() { p.cmd.Process.Kill(); <-p.done })
	return p
}

// signal sends sig and waits for the end; it returns the exit code, -1 for a
// death by signal.
func (p *process) signal(sig syscall.Signal) int {
	p.t.Helper()
	p.cmd.Process.Signal(sig)
	return p.wait()
}

func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience()):
		p.cmd.Process.Signal(syscall.SIGQUIT) // stacks go to stderr
		p.t.Fatalf("%s does not end\n%s", filepath.Base(p.cmd.Path), p.tail())
		return 0
	}
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// tail returns the end of the child's standard error.
func (p *process) tail() string {
	b, _ := os.ReadFile(p.stderr)
	if len(b) > 6000 {
		b = append([]byte("… "), b[len(b)-6000:]...)
	}
	return string(b)
}

// eventually polls until cond is true. explain is asked when it never is.
func eventually(t *testing.T, what string, cond func() bool, explain func() string) {
	t.Helper()
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience())
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never: %s\n%s", what, explain())
		}
	}
}

// destination is a running esstub or sink.
type destination struct {
	*process
	URL     string `json:"url"`
	Control string `json:"control"`
	GRPC    string `json:"grpc"`
}

// startSink starts esstub or sink.
func startSink(t *testing.T, program string, args ...string) *destination {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	bin := binary(t, "github.com/weirlog/weir/e2e/"+program)
	d := new(destination)
	d.process = start(t, filepath.Join(t.TempDir(), program+".stderr"), w, bin, args...)
	w.Close()
	defer r.Close()
	lines := bufio.NewScanner(r)
	for d.Control == "" && lines.Scan() {
		if err := json.Unmarshal(lines.Bytes(), d); err != nil {
			t.Fatal(err)
		}
	}
	if d.Control == "" {
		t.Fatalf("%s did not start: %s", program, d.tail())
	}
	return d
}

// sinkState is what GET /_control says, as far as stories need it.
type sinkState struct {
	Account account.Stats     `json:"account"`
	Counts  map[string]uint64 `json:"counts"`
	Indexes map[string]uint64 `json:"indexes"`
	Stub    struct {
		Conflicts, Collisions, Violations, Created uint64
	} `json:"stub"`
	Violations []string          `json:"violations"`
	Foreign    []json.RawMessage `json:"foreign"` // esstub only: the first documents without a mark
}

func (d *destination) get(path string, v any) {
	d.t.Helper()
	resp, err := http.Get(path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = errors.New(string(p))
	}
	if err == nil {
		err = json.Unmarshal(p, v)
	}
	if err != nil {
		d.t.Fatalf("%s: %v", path, err)
	}
}

func (d *destination) state() (s sinkState) {
	d.t.Helper()
	d.get(d.Control+"/_control", &s)
	return s
}

// faults changes the faults that the JSON object names.
func (d *destination) faults(object string) {
	d.t.Helper()
	resp, err := http.Post(d.Control+"/_control", "application/json", strings.NewReader(object))
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	if p, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
		d.t.Fatalf("faults %s: %s", object, p)
	}
}

func (d *destination) verdict(log string) *account.Verdict {
	d.t.Helper()
	v := new(account.Verdict)
	d.get(d.Control+"/_verdict?log="+url.QueryEscape(log), v)
	return v
}

// clean fails the test unless everything in the journal arrived exactly once
// and nothing sent was out of order.
func (d *destination) clean(log string) {
	d.t.Helper()
	if err := d.verdict(log).Err(); err != nil {
		d.t.Error(err)
	}
	d.strict()
}

// strict fails the test if the destination had to complain.
func (d *destination) strict() {
	d.t.Helper()
	if s := d.state(); s.Stub.Violations != 0 || s.Stub.Collisions != 0 {
		d.t.Errorf("%d violations, %d ids given to two different lines: %q", s.Stub.Violations, s.Stub.Collisions, s.Violations)
	}
}

// generator is a running loggen.
type generator struct {
	*process
	root, journal string
	out           *bytes.Buffer
}

// node is a directory for a fake node's files.
type node struct {
	dir, root, journal, state string
}

func newNodeDir(t *testing.T) node {
	dir := t.TempDir()
	n := node{dir, filepath.Join(dir, "log", "pods"), filepath.Join(dir, "journal"), filepath.Join(dir, "state")}
	if err := os.MkdirAll(n.root, 0o755); err != nil {
		t.Fatal(err)
	}
	return n
}

func startGenerator(t *testing.T, n node, args ...string) *generator {
	t.Helper()
	g := &generator{root: n.root, journal: n.journal, out: new(bytes.Buffer)}
	args = append([]string{"-root", n.root, "-journal", n.journal}, args...)
	g.process = start(t, filepath.Join(n.dir, "loggen.stderr"), g.out, binary(t, "github.com/weirlog/weir/e2e/loggen"), args...)
	return g
}

// finish waits for the generator's own end, or ends it, and returns how many
// lines it wrote.
func (g *generator) finish(stop bool) uint64 {
	g.t.Helper()
	if stop {
		g.cmd.Process.Signal(syscall.SIGTERM)
	}
	if code := g.wait(); code != 0 {
		g.t.Fatalf("loggen ended with %d: %s", code, g.tail())
	}
	var end struct {
		Lines uint64  `json:"lines"`
		Bytes uint64  `json:"bytes"`
		Rate  float64 `json:"mb_per_second"`
	}
	if err := json.Unmarshal(g.out.Bytes(), &end); err != nil {
		g.t.Fatal(err)
	}
	g.t.Logf("generator: %d lines, %d bytes, %.1f MB/s", end.Lines, end.Bytes, end.Rate)
	return end.Lines
}

// deleted counts the generations that the rotator has deleted so far.
func deleted(t *testing.T, log string) (n int) {
	t.Helper()
	if _, err := journal.Read(log, journal.Visitor{Generation: func(g journal.Generation) {
		if g.Event == journal.Deleted {
			n++
		}
	}}); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return n
}

// agent is a `weir agent` with its configuration. It can be ended and started
// again; standard error of all its lives goes to one file.
type agent struct {
	*process
	t      *testing.T
	bin    string
	config string
	stderr string
	probe  string
}

// freePort returns a loopback address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// newAgent writes the configuration, to which listen is added, without
// starting anything.
func newAgent(t *testing.T, n node, config string) *agent {
	t.Helper()
	a := &agent{t: t, bin: weir(t), config: filepath.Join(n.dir, "weir.yaml"), stderr: filepath.Join(n.dir, "weir.stderr"), probe: freePort(t)}
	config += fmt.Sprintf("\nlisten: {probe: '%s'}\nstate: '%s'\ncluster: e2e\n", a.probe, n.state)
	if err := os.WriteFile(a.config, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(a.stderr)
			t.Logf("weir's log ends:\n%s", b[max(0, len(b)-4000):])
		}
	})
	return a
}

// start starts the agent.
func (a *agent) start() {
	a.t.Helper()
	a.process = start(a.t, a.stderr, io.Discard, a.bin, "agent", "-c", a.config)
}

// startAgent writes the configuration and starts the agent.
func startAgent(t *testing.T, n node, config string) *agent {
	t.Helper()
	a := newAgent(t, n, config)
	a.start()
	return a
}

// ready waits until the agent runs.
func (a *agent) ready() {
	a.t.Helper()
	eventually(a.t, "the agent runs", func() bool { return a.metrics() != nil }, a.tail)
}

func (a *agent) kill9() { a.t.Helper(); a.signal(syscall.SIGKILL) }

// term asks the agent to end and demands exit code 0.
func (a *agent) term() {
	a.t.Helper()
	if code := a.signal(syscall.SIGTERM); code != 0 {
		a.t.Errorf("after SIGTERM: %v (exit code %d)", a.cmd.ProcessState, code)
	}
}

// run runs a program to its end.
func run(t *testing.T, bin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := exec.Command(bin, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// metrics returns the agent's metrics, each summed over its labels, nil if it
// does not answer.
func (a *agent) metrics() map[string]float64 {
	resp, err := http.Get("http://" + a.probe + "/metrics")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	sums := make(map[string]float64)
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || line[0] == '#' {
			continue
		}
		name, _, _ := strings.Cut(line[:i], "{")
		if v, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
			sums[name] += v
		}
	}
	return sums
}

// balanced reports whether the ledger's equations hold in the metrics, and
// says the figures.
func balanced(m map[string]float64) (ok bool, text string) {
	w, r, u, l := m["weir_input_written_bytes_total"], m["weir_input_read_bytes_total"], m["weir_input_unread_bytes_total"], m["weir_input_lost_bytes_total"]
	rr := m["weir_read_records_total"]
	sum := m["weir_delivered_records_total"] + m["weir_waiting_records"] + m["weir_dropped_records_total"] + m["weir_dead_records_total"]
	text = fmt.Sprintf("bytes: written %.0f = read %.0f + unread %.0f + lost %.0f; records: read %.0f = %.0f (delivered %.0f, waiting %.0f, dropped %.0f, dead %.0f)",
		w, r, u, l, rr, sum, m["weir_delivered_records_total"], m["weir_waiting_records"], m["weir_dropped_records_total"], m["weir_dead_records_total"])
	return w == r+u+l && rr == sum && w > 0, text
}

// delivered waits until so many distinct lines have arrived.
func delivered(t *testing.T, d *destination, a *agent, log string, lines uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d lines arrive", lines), func() bool {
		if !a.alive() {
			t.Fatalf("the agent ended by itself with %d", a.cmd.ProcessState.ExitCode())
		}
		s := d.state().Account
		return s.Distinct+s.Refused >= lines
	}, func() string {
		_, ledger := balanced(a.metrics())
		s, v := d.state(), d.verdict(log)
		return fmt.Sprintf("arrived %+v\nfaults %v\nviolations %q\n%v\n%s\nlost: %+v", s.Account, s.Counts, s.Violations, v.Err(), ledger, v.Lost)
	})
}
