package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
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

// terminal STATE sends SIGTERM to the process with that state directory.
func terminal(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(pidOf(ts, args[0]).Signal(syscall.SIGTERM))
}

// pidOf returns the process with that state directory.
func pidOf(ts *testscript.TestScript, state string) *os.Process {
	data, err := os.ReadFile(ts.MkAbs(state + "/positions/checkpoint.lock"))
	ts.Check(err)
	pid, err := strconv.Atoi(strings.Fields(string(data))[0])
	ts.Check(err)
	p, err := os.FindProcess(pid)
	ts.Check(err)
	return p
}

// kill9 STATE sends SIGKILL to the process with that state directory.
func kill9(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(pidOf(ts, args[0]).Signal(syscall.SIGKILL))
}

// waitrows STATE N waits until the store of a running process has that many
// rows, no more.
func waitRows(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	var rows int64
	until(ts, args[1]+" rows", func() bool {
		var r statusReport
		if err := ask(context.Background(), ts.MkAbs(args[0]), "/v1/status", &r); err != nil || r.Store == nil {
			return false
		}
		if rows = r.Store.Rows; rows > want {
			ts.Fatalf("%d rows are in the store, want %d", rows, want)
		}
		return rows == want
	})
}

// address STATE NAME puts host:port of the process's HTTP listener into an
// environment variable.
func address(ts *testscript.TestScript, _ bool, args []string) {
	waitReady(ts, false, args[:1])
	var r statusReport
	ts.Check(ask(context.Background(), ts.MkAbs(args[0]), "/v1/status", &r))
	_, host, _ := strings.Cut(r.HTTP, "://")
	ts.Setenv(args[1], host)
}

// flip PATTERN changes the byte in the middle of the only file that matches.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	files, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(files) != 1 {
		ts.Fatalf("%s matches %q", args[0], files)
	}
	data, err := os.ReadFile(files[0])
	ts.Check(err)
	data[len(data)/2] ^= 0x40
	ts.Check(os.WriteFile(files[0], data, 0o644))
}

// http METHOD URL [NAME: VALUE…] [@BODY] prints a request's answer: the status,
// then the body. NOW in the file that is the request's body is the time in
// nanoseconds.
func httpCommand(ts *testscript.TestScript, _ bool, args []string) {
	var body io.Reader
	header := make(http.Header)
	for _, a := range args[2:] {
		if file, ok := strings.CutPrefix(a, "@"); ok {
			text := ts.ReadFile(file)
			text = strings.ReplaceAll(text, "NOW", strconv.FormatInt(time.Now().UnixNano(), 10))
			body = strings.NewReader(text)
			continue
		}
		name, value, _ := strings.Cut(a, ": ")
		header.Set(name, value)
	}
	req, err := http.NewRequest(args[0], args[1], body)
	ts.Check(err)
	req.Header = header
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%d\n%s", resp.StatusCode, answer)
}

// waitdegraded STATE waits until the process says that something is amiss.
func waitDegraded(ts *testscript.TestScript, _ bool, args []string) {
	until(ts, "a degraded process", func() bool {
		var r statusReport
		err := ask(context.Background(), ts.MkAbs(args[0]), "/v1/status", &r)
		return err == nil && len(r.Degraded) > 0
	})
}
