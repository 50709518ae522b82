package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindLogs(t *testing.T) {
	dir := t.TempDir()
	pods, docker, system := filepath.Join(dir, "pods"), filepath.Join(dir, "docker", "*", "*-json.log"), filepath.Join(dir, "*.log")
	if _, err := findLogs(pods, docker, system); err == nil || !strings.Contains(err.Error(), "weir up app.log") {
		t.Fatalf("nothing there: %v", err)
	}
	for _, step := range []struct{ make, want string }{
		{filepath.Join(dir, "syslog.log"), system},
		{filepath.Join(dir, "docker"), docker},
		{pods, pods},
	} {
		var err error
		if strings.HasSuffix(step.make, ".log") {
			err = os.WriteFile(step.make, nil, 0o600)
		} else {
			err = os.Mkdir(step.make, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := findLogs(pods, docker, system); err != nil || got != step.want {
			t.Errorf("with %s: %q, %v; want %q", step.make, got, err, step.want)
		}
	}
}
