package main

import (
	"context"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

const scriptPatience = time.Minute

// until polls a condition; the scripts wait for what another process does.
func until(ts *testscript.TestScript, what string, cond func() bool) {
	deadline := time.Now().Add(scriptPatience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			ts.Fatalf("waited in vain for %s", what)
		}
		<-tick.C
	}
}

// waitfor FILE REGEXP waits until the file has a match.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	re := regexp.MustCompile(args[1])
	until(ts, args[1], func() bool {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && re.Match(data)
	})
}

// waitready STATE waits until the process with that state directory has looked
// at its files.
func waitReady(ts *testscript.TestScript, _ bool, args []string) {
	until(ts, "a running weir", func() bool {
		var r statusReport
		if err := ask(context.Background(), ts.MkAbs(args[0]), "/v1/status", &r); err != nil {
			return false
		}
		for _, in := range r.Inputs {
			if !in.LastPass.After(r.Started) {
				return false
			}
		}
		return true
	})
}

// term STATE sends SIGTERM to the process with that state directory.
func term(ts *testscript.TestScript, _ bool, args []string) {
	data, err := os.ReadFile(ts.MkAbs(args[0] + "/positions/checkpoint.lock"))
	ts.Check(err)
	pid, err := strconv.Atoi(strings.Fields(string(data))[0])
	ts.Check(err)
	p, err := os.FindProcess(pid)
	ts.Check(err)
	ts.Check(p.Signal(syscall.SIGTERM))
}
