package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCodeMappings(t *testing.T) {
	const smaps = `00400000-01064000 r-xp 00000000 fe:00 247530                             /bin/weir
Size:              12688 kB
Rss:                9000 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
01064000-01da4000 r--p 00c64000 fe:00 247530                             /bin/weir
Rss:                9000 kB
Anonymous:             0 kB
01da4000-01da5000 r--p 019a4000 fe:00 247530                             /bin/weir
Rss:                   4 kB
Anonymous:             4 kB
01da5000-01e39000 rw-p 019a5000 fe:00 247530                             /bin/weir
Rss:                 500 kB
Anonymous:             0 kB
01e39000-03e87000 rw-p 00000000 00:00 0 
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 247531                     /lib/bin/weir
Anonymous:             0 kB
7ffd8a5f0000-7ffd8a5f2000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
`
	want := []mapping{{0x400000, 0x1064000}, {0x1064000, 0x1da4000}}
	got := codeMappings(strings.NewReader(smaps), "/bin/weir")
	if d := cmp.Diff(want, got, cmp.AllowUnexported(mapping{})); d != "" {
		t.Error(d)
	}
}

// A program from which its code was taken must go on as if nothing had been.
func TestReleaseStart(t *testing.T) {
	if os.Getenv("WEIR_TEST_RELEASE") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestReleaseStart$", "-test.v")
		cmd.Env = append(os.Environ(), "WEIR_TEST_RELEASE=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "code out and back") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if len(codeMappings(strings.NewReader(string(smaps)), exe)) == 0 {
		t.Errorf("no mapping of %s found in\n%s", exe, smaps)
	}
	before := rssFile(t)
	releaseStart()
	if after := rssFile(t); after >= before {
		t.Errorf("%s of the file are mapped, as before (%s)", after, before)
	}
	t.Log("code out and back")
}

// rssFile returns the line RssFile of /proc/self/status; two of one length
// compare as their numbers do.
func rssFile(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "RssFile:") {
			return line
		}
	}
	t.Skip("the kernel tells no RssFile")
	return ""
}
