package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// interrupted ARGS… runs weir against a server that takes the request and never
// answers (the flag --server is added), sends SIGINT once it has asked, and wants
// exit code 130 and nothing on stderr or stdout.
func interrupted(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	asked := make(chan net.Conn, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := c.Read(make([]byte, 1)); err == nil {
				select {
				case asked <- c:
				default:
				}
			}
		}
	}()
	// testscript has put weir where the script's PATH begins.
	weir := filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], "weir")
	cmd := exec.Command(weir, append(args, "--server", "http://"+l.Addr().String())...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"), "WEIR_SERVER=")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	ts.Check(cmd.Start())
	c := <-asked
	defer c.Close()
	ts.Check(cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait() // the code is looked at
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || out.Len() > 0 || errOut.Len() > 0 {
		ts.Fatalf("exit %d\n%s%s", code, out.String(), errOut.String())
	}
}
