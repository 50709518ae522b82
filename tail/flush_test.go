package tail

import (
	"fmt"
	"testing"
	"time"
)

// What was acknowledged shortly before a kill is not sent again: it is flushed
// long before it is saved. Where very many files have news at once they wait
// for the save, and the lines come again.
func TestFlushBetweenSaves(t *testing.T) {
	for _, files := range []int{1, flushNews, flushNews + 1} {
		t.Run(fmt.Sprint(files), func(t *testing.T) {
			n := newNode(t)
			n.start()
			var paths []string
			for i := range files {
				p := n.path(fmt.Sprint("p", i), "c", "0.log")
				text, _ := n.lines(0, 1)
				appendFile(t, p, text)
				paths = append(paths, p)
			}
			n.step(time.Second)
			n.settle()
			n.step(2 * youth) // saves; the next save is a second away
			for _, p := range paths {
				text, _ := n.lines(1, 1)
				appendFile(t, p, text)
			}
			n.step(300 * time.Millisecond) // the next poll, and read
			n.step(flushEvery)
			n.step(flushEvery)
			if got := len(n.sink.bodies()); got != 2*files {
				t.Fatalf("%d records before the kill, want %d", got, 2*files)
			}
			n.kill()
			n.start()
			n.settle()
			want := 2 * files
			if files > flushNews {
				want += files
			}
			if got := len(n.sink.bodies()); got != want {
				t.Errorf("%d records, want %d", got, want)
			}
		})
	}
}
