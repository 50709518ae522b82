package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Whatever the rotation, the files together hold what was written.
func TestFilesHoldEverything(t *testing.T) {
	for _, how := range []string{"none", "rename", "replace", "copytruncate"} {
		t.Run(how, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.log")
			f, err := openFile(path, how, 10)
			if err != nil {
				t.Fatal(err)
			}
			var want []byte
			for n := range 95 {
				line := []byte(strconv.Itoa(n) + "\n")
				want = append(want, line...)
				if _, err := f.Write(line); err != nil {
					t.Fatal(err)
				}
			}
			old, err := filepath.Glob(path + "-*") // in the order of their numbers
			if err != nil || how != "none" && len(old) != 9 {
				t.Fatal(old, err)
			}
			var got []byte
			for _, name := range append(old, path) {
				b, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, b...)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("the files hold %q", got)
			}
		})
	}
	if _, err := openFile(filepath.Join(t.TempDir(), "app.log"), "somehow", 10); err == nil {
		t.Error("an unknown rotation is taken")
	}
}
