package tail

import (
	"os"
	"strings"
	"testing"
	"time"
)

// copytruncate between two looks at the file: when its copy is looked at, neither what
// was written before is known nor that the file is truncated. The copy is not a file of
// its own, and nothing is lost or comes twice.
func TestFailure5_CopytruncateUnnoticed(t *testing.T) {
	for name, c := range map[string]struct {
		copied    string // when the directory is listed
		truncated bool
		after     string
		restarted bool
	}{
		"written":                     {copied: "banner\n"},
		"truncated":                   {copied: "banner\n", truncated: true},
		"truncated, written again":    {copied: "banner\n", truncated: true, after: "other\n"},
		"truncated, more than before": {copied: "banner\n", truncated: true, after: strings.Repeat("other\n", 20)},
		"empty":                       {},
		"restarted: truncated":        {copied: "banner\n", truncated: true, restarted: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			p := n.plain("app.log*") + "/app.log"
			appendFile(t, p, "banner\none\ntwo\n")
			n.start()
			n.settle()
			if c.restarted {
				n.kill()
				n.start()
				n.settle()
			}
			// The copy is in the making when the directory is listed.
			if err := os.WriteFile(p+".1", []byte(c.copied), 0o644); err != nil {
				t.Fatal(err)
			}
			change := func() {
				appendFile(t, p, "three\n")
				copyTruncate(t, p, p+".1", nil)
				if !c.truncated {
					appendFile(t, p, "banner\none\ntwo\nthree\n") // as if not yet
				}
				appendFile(t, p, c.after)
			}
			real, done := n.in.sys.openat, false
			n.in.sys.openat = func(dir int, name string, flags int) (int, error) {
				if !done && strings.HasSuffix(name, "app.log.1") {
					done = true
					if c.copied != "" {
						change()
					}
				}
				return real(dir, name, flags)
			}
			n.step(time.Second)
			if !done {
				t.Fatal("the copy was not looked at")
			}
			if c.copied == "" {
				change()
				n.step(time.Second)
			}
			if !c.truncated {
				if err := os.Truncate(p, 0); err != nil {
					t.Fatal(err)
				}
			}
			appendFile(t, p, "four\n")
			n.settle()
			want := strings.Fields("banner one two three " + c.after + " four")
			wantBodies(t, n.sink.bodies(), want...)
			if l := n.ledger(); l.Lost != 0 {
				t.Errorf("lost %d", l.Lost)
			}
			if gaps := n.sink.gaps(); len(gaps) != 0 {
				t.Errorf("gaps %v", gaps)
			}
		})
	}
}
