package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/weirlog/weir/e2e/internal/account"
	"github.com/weirlog/weir/e2e/internal/journal"
)

// password is what the backend asks for, so that the Secret is proven, too.
const password = "a password of the Secret"

// backend is the program esstub, which stands for Elasticsearch, on the node's
// loopback; pods reach it at 10.99.0.1, with the same port.
type backend struct {
	addr     string // on the node's loopback
	journals string // where the journals are of those whose lines come to it
	open     bool   // it asks for no password
	cmd      *exec.Cmd
	URL      string `json:"url"`
	Control  string `json:"control"`
}

// stub is where the agent sends everything.
var stub = backend{addr: "127.0.0.1:9200", journals: journals}

func (b *backend) start() error {
	b.cmd = exec.Command("esstub", "-addr", b.addr)
	if !b.open {
		b.cmd.Args = append(b.cmd.Args, "-user", "weir:"+password)
	}
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	b.cmd.Stderr = os.Stderr
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := b.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("esstub does not start: %w", err)
	}
	return json.Unmarshal(line, b)
}

func (b *backend) stop() {
	if b.cmd != nil && b.cmd.Process != nil {
		b.cmd.Process.Kill()
		b.cmd.Wait()
	}
}

// state is what the backend says of itself, as far as stories need it.
type state struct {
	Account account.Stats     `json:"account"`
	Counts  map[string]uint64 `json:"counts"`
	Stub    struct {
		Conflicts, Collisions uint64
	} `json:"stub"`
	Violations []string          `json:"violations"`
	Foreign    []json.RawMessage `json:"foreign"`
}

func (b *backend) call(t *testing.T, method, url string, body []byte, into any) {
	t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("weir", password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = errors.New(string(p))
	}
	if err == nil {
		err = json.Unmarshal(p, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
}

func (b *backend) state(t *testing.T) state {
	t.Helper()
	var s state
	b.call(t, "GET", b.Control+"/_control", nil, &s)
	return s
}

// faults changes the backend's faults.
func (b *backend) faults(t *testing.T, config string) {
	t.Helper()
	var s state
	b.call(t, "POST", b.Control+"/_control", []byte(config), &s)
}

const noFaults = `{"down":false,"freeze":false,"latency":"","slow_read":0,"p_429":0,"p_503":0,"p_reset_after":0}`

// verdict compares everything that arrived with everything that pods wrote
// since the backend is there.
func (b *backend) verdict(t *testing.T) *account.Verdict {
	t.Helper()
	all := filepath.Join(t.TempDir(), "journal")
	if err := merge(all, b.journals, ""); err != nil {
		t.Fatal(err)
	}
	v := new(account.Verdict)
	b.call(t, "GET", b.Control+"/_verdict?streams=1&log="+all, nil, v)
	return v
}

// merge makes one journal of those in a directory of all pods whose names begin so.
// It is complete if they are.
func merge(path, dir, prefix string) (err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	w, err := journal.Create(path)
	if err != nil {
		return err
	}
	complete := true
	for i, f := range files {
		if !strings.HasPrefix(f.Name(), prefix) {
			continue
		}
		done, err := journal.Read(filepath.Join(dir, f.Name()), journal.Visitor{
			Stream: func(s journal.Stream) { s.Index = uint32(i); w.Stream(s) },
			Line:   func(l journal.Line) { l.Stream = uint32(i); w.Line(l) },
		})
		if err != nil {
			return err
		}
		complete = complete && done
	}
	if !complete {
		return w.Flush()
	}
	return w.Close()
}

// runs returns the journals of a pod's runs, and whether all of them have ended.
func runs(t *testing.T, pod string) (files []string, ended bool) {
	t.Helper()
	return stub.runs(t, pod)
}

func (b *backend) runs(t *testing.T, pod string) (files []string, ended bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.journals, pod+"-*"))
	if err != nil {
		t.Fatal(err)
	}
	return files, len(files) > 0 && !slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, ".open") })
}

// written returns what the runs of a pod have noted so far.
func written(t *testing.T, pod string) (lines, bytes uint64) {
	t.Helper()
	return stub.written(t, pod)
}

func (b *backend) written(t *testing.T, pod string) (lines, bytes uint64) {
	t.Helper()
	files, _ := b.runs(t, pod)
	for _, f := range files {
		if _, err := journal.Read(f, journal.Visitor{Line: func(l journal.Line) { lines++; bytes += uint64(l.Bytes) }}); err != nil {
			t.Fatal(err)
		}
	}
	return lines, bytes
}
