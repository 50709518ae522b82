package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"weir": main, "kubectl-weir": main, "kubectl_complete-weir": main})
}

// TestScripts runs the stories in testdata/script: the command line as people
// use it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TMPDIR", e.WorkDir)
			e.Setenv("XDG_STATE_HOME", e.WorkDir+"/state-home")
			return os.MkdirAll(e.WorkDir+"/pods", 0o755)
		},
		RequireUniqueNames: true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"waitfor": waitFor, "waitready": waitReady, "term": terminal,
			"kill9": kill9, "waitrows": waitRows, "address": address, "flip": flip, "http": httpCommand, "waitdegraded": waitDegraded, "interrupted": interrupted, "kubeapi": kubeapi,
		},
	})
}
