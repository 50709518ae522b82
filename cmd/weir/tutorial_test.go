package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestTutorial runs every command of the tutorial and of the recipes on the
// logs of weir demo and compares what it prints, times left out: -update writes
// what they print now. Blocks of code without a $ are only read (TestExamplesWork).
func TestTutorial(t *testing.T) {
	if testing.Short() {
		t.Skip("makes two hours of logs")
	}
	t.Parallel()
	home := t.TempDir()
	shell := func(line string) string {
		t.Helper()
		cmd := exec.Command("sh", "-c", line)
		path := weirProcess(t, home).Path
		cmd.Dir = home
		cmd.Env = []string{"HOME=" + home, "PATH=" + filepath.Dir(path) + ":" + os.Getenv("PATH"), "TMPDIR=" + home, "TZ=UTC", "XDG_STATE_HOME=" + filepath.Join(home, "state-home")}
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		stuck := time.AfterFunc(scriptPatience, func() { _ = cmd.Process.Kill() })
		defer stuck.Stop()
		if err := cmd.Run(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, errOut.String())
		}
		return out.String()
	}
	shell("weir demo --no-follow")
	shell("weir up weir-demo --no-follow --listen off -o raw")
	for _, name := range []string{"tutorial-logql.md", "recipes.md"} {
		path := filepath.Join("../../docs", name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var next []string
		code, skip := false, false
		var want, got []string
		var command string
		compare := func() {
			if command != "" && withoutTimes(strings.Join(want, "\n")) != withoutTimes(strings.Join(got, "\n")) && !*update {
				t.Errorf("%s: %s\nprints\n%s\nnot\n%s", name, command, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			command, want, got, skip = "", nil, nil, false
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			if strings.HasPrefix(line, "```") {
				compare()
				code = !code
			}
			if c, ok := strings.CutPrefix(line, "$ "); code && ok {
				compare()
				command, skip = c, true
				next = append(next, line)
				if out := strings.TrimRight(shell(c), "\n"); out != "" {
					got = strings.Split(out, "\n")
					next = append(next, got...)
				}
				continue
			}
			if skip {
				want = append(want, line)
				continue
			}
			next = append(next, line)
		}
		if *update {
			if err := os.WriteFile(path, []byte(strings.Join(next, "\n")), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

var clockTimes = regexp.MustCompile(`\d{4}-\d\d-\d\d(T| )\d\d:\d\d:\d\d([.,]\d+)?Z?|\d\d:\d\d:\d\d|report-\d+|[╵│]\d\d:\d\d|\d\d:\d\d\b`)

func withoutTimes(s string) string { return clockTimes.ReplaceAllString(s, "TIME") }
