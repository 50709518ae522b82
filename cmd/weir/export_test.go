package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
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
