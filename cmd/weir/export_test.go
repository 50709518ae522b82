package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/weirlog/weir/wire/export"
)

// The program under test saves more often than it would if this is set.
func init() {
	if n, err := strconv.ParseInt(os.Getenv("WEIR_TEST_EXPORT_SAVE"), 10, 64); err == nil {
		exportSave = n
	}
}

// An export that is killed again and again has every byte once in the end.
func TestExportKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	weir := filepath.Join(dir, "weir") // testscript.Main goes by the name
	if err := os.Symlink(self, weir); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "app.log")
	var want bytes.Buffer
	for i := range 120_000 {
		fmt.Fprintf(&want, "2026-11-22T10:00:00Z level=info msg=\"request %d done\" pad=%s\n", i, strings.Repeat("x", i%120))
	}
	if err := os.WriteFile(log, want.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "WEIR_TEST_EXPORT_SAVE=50000", "HOME="+dir)
	state := filepath.Join(dir, "state")
	run := func(args ...string) *exec.Cmd {
		cmd := exec.Command(weir, append(args, "--state", state)...)
		cmd.Env = env
		return cmd
	}
	if out, err := run("up", "--no-follow", "-o", "raw", log).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out[:min(len(out), 2000)])
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, to := range []string{"one.log", "one.log.zst", "parts/"} {
		killed := 0
		began := time.Now()
		if out, err := run("export", "--to", filepath.Join(dir, "warm-"+strings.TrimSuffix(to, "/")), "-o", "raw").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		patience := time.Since(began) / 8
		for {
			args := []string{"export", "--to", filepath.Join(dir, to), "-o", "raw"}
			if to[len(to)-1] == '/' {
				args[2] += "/"
				args = append(args, "--part", "1MiB")
			}
			cmd := run(args...)
			var errOut bytes.Buffer
			cmd.Stderr = &errOut
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			patience += patience / 4
			timer := time.AfterFunc(patience/2+time.Duration(r.Int64N(int64(patience))), func() { _ = cmd.Process.Kill() })
			err := cmd.Wait()
			timer.Stop()
			if err == nil {
				break
			}
			if cmd.ProcessState.Exited() {
				if killed > 0 && strings.Contains(errOut.String(), "exists already") {
					break // the last one was killed when all was done
				}
				t.Fatalf("%v: %s", err, errOut.Bytes())
			}
			if killed++; killed > 300 {
				t.Fatal("it does not come to an end")
			}
		}
		t.Logf("%s: killed %d times", to, killed)
		var got []byte
		switch to {
		case "one.log":
			got, err = os.ReadFile(filepath.Join(dir, to))
		case "one.log.zst":
			got = unzstd(t, filepath.Join(dir, to))
		default:
			var list []string
			list, err = filepath.Glob(filepath.Join(dir, to, "logs-*.log"))
			for _, name := range list {
				b, e := os.ReadFile(name)
				if e != nil || len(b) > 1<<20 {
					t.Fatalf("%s: %d bytes, %v", name, len(b), e)
				}
				got = append(got, b...)
			}
		}
		if err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("%s: %d bytes, want %d; %v", to, len(got), want.Len(), err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "one*.p*")); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}

// Ctrl-C keeps what there is, says how to go on, and the same command does.
func TestExportInterrupted(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	weir := filepath.Join(dir, "weir")
	if err := os.Symlink(self, weir); err != nil {
		t.Fatal(err)
	}
	stuck := make(chan struct{}, 10)
	var stalls atomic.Bool
	stalls.Store(true)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/weir/v1/export" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", export.FrameType)
		var out []byte
		start, _ := strconv.ParseInt(r.FormValue("start"), 10, 64)
		end, _ := strconv.ParseInt(r.FormValue("end"), 10, 64)
		for at := int64(1_700_000_000e9); at < 1_700_000_010e9; at += 1e9 {
			if at < start || at >= end {
				continue
			}
			if stalls.Load() && at == 1_700_000_005e9 {
				_, _ = w.Write(out)
				_ = http.NewResponseController(w).Flush()
				stuck <- struct{}{}
				<-r.Context().Done()
				return
			}
			line := fmt.Sprintf("line %d\n", at/1e9)
			f := export.Frame{Kind: export.Data, Safe: true, Rows: 1, Raw: uint64(len(line)), First: at, Last: at}
			out = append(f.AppendHeader(out, len(line)), line...)
		}
		f := export.Frame{Kind: export.End}
		_, _ = w.Write(f.AppendHeader(out, 0))
	}))
	defer srv.Close()
	to := filepath.Join(dir, "x.log")
	run := func() (*exec.Cmd, *bytes.Buffer) {
		cmd := exec.Command(weir, "export", "--server", srv.URL, "--parallel", "1", "--since", "2023-11-14T22:00:00Z", "--until", "2023-11-14T22:30:00Z", "--to", to)
		cmd.Env = append(os.Environ(), "WEIR_TEST_EXPORT_SAVE=1")
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, &errOut
	}
	cmd, errOut := run()
	<-stuck
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if cmd.ProcessState.ExitCode() != exitInterrupted || !strings.Contains(errOut.String(), "interrupted") || !strings.Contains(errOut.String(), "the same command goes on from there") || strings.Count(errOut.String(), "\n") != 1 {
		t.Fatalf("%v: %s", err, errOut)
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("it has its name already")
	}
	stalls.Store(false)
	cmd, errOut = run()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, errOut)
	}
	got, err := os.ReadFile(to)
	var want string
	for i := range 10 {
		want += fmt.Sprintf("line %d\n", 1_700_000_000+i)
	}
	if err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
}

func unzstd(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What a name says about an export.
func TestExportTarget(t *testing.T) {
	flags := exportFlags{to: "x.jsonl.zst"}
	target, err := flags.target()
	if err != nil || target.format != "jsonl" || target.compress != "zstd" || target.name(1, 0) != "x.jsonl.zst" || target.planPath() != "x.jsonl.zst.plan" {
		t.Errorf("%+v, %v", target, err)
	}
	flags = exportFlags{to: "d/", format: "csv", compress: "gzip", part: "1h"}
	if target, err = flags.target(); err != nil || target.name(7, 1_700_000_000e9) != "logs-20231114T220000Z.csv.gz" || target.planPath() != "d/export.plan" {
		t.Errorf("%+v, %v", target, err)
	}
	flags = exportFlags{to: "x.parquet", part: "1GiB"}
	if target, err = flags.target(); err != nil || target.name(7, 0) != "x-00007.parquet" || target.size != 1<<30 {
		t.Errorf("%+v, %v", target, err)
	}
}
