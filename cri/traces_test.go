package cri

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
)

// corpus reads a file of testdata/traces: what programs wrote, cut by lines of %% into
// the records that it should become. Those of java, python, node, ruby and go are from
// running programs; dotnet's and log are from documentation and experience.
func corpus(t testing.TB, name string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "traces", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.TrimSuffix(string(data), "\n")
	if name == "single" {
		return strings.Split(text, "\n")
	}
	return strings.Split(text, "\n%%\n")
}

var corpora = []string{"java", "python", "node", "ruby", "go", "dotnet", "log", "single"}

func TestTracesAreOneRecord(t *testing.T) {
	for _, name := range corpora {
		want := corpus(t, name)
		sets := []string{"auto"}
		if slices.Contains(Traces(), name) {
			sets = append(sets, name)
		}
		for _, traces := range sets {
			t.Run(name+" by "+traces, func(t *testing.T) {
				m := mustMultiline(t, MultilineConfig{Traces: traces})
				text := strings.Join(want, "\n") + "\n"
				j := newAt(Config{Format: Plain, Multiline: m})
				rs, _ := feed(j, text, 0, testNow, More)
				diff(t, "plain", bodies(append(rs, flush(j)...)), want)
				j = newAt(Config{Format: Plain, Multiline: m})
				rs, _ = feed(j, strings.ReplaceAll(text, "\n", "\r\n"), 0, testNow, More)
				for i := range rs {
					rs[i].Body = strings.ReplaceAll(rs[i].Body, "\r", "")
				}
				var windows []string
				for _, b := range bodies(append(rs, flush(j)...)) {
					windows = append(windows, strings.ReplaceAll(b, "\r", ""))
				}
				diff(t, "with carriage returns", windows, want)
			})
		}
	}
}

// TestFailure46_TwoStreamsInterleaved frames every pair of corpora as stdout and
// stderr of one container, line by line in turn.
func TestFailure46_TwoStreamsInterleaved(t *testing.T) {
	m := mustMultiline(t, MultilineConfig{Traces: "auto"})
	for _, a := range corpora {
		for _, b := range corpora {
			want := [2][]string{corpus(t, a), corpus(t, b)}
			var queues [2][]string
			for s := range want {
				queues[s] = strings.Split(strings.Join(want[s], "\n"), "\n")
			}
			var text strings.Builder
			for i := 0; len(queues[0])+len(queues[1]) > 0; i++ {
				s := i % 2
				if len(queues[s]) == 0 {
					s = 1 - s
				}
				text.WriteString(formatPart(false, s, queues[s][0], false))
				queues[s] = queues[s][1:]
			}
			j := newAt(Config{Multiline: m})
			rs, _ := feed(j, text.String(), 0, testNow, More)
			rs = append(rs, flush(j)...)
			for s, name := range []string{"stdout", "stderr"} {
				got := ofStream(rs, name)
				for i := range got {
					got[i].Stream = ""
				}
				diff(t, a+" and "+b+", "+name, bodies(got), want[s])
			}
		}
	}
}

// TestALineLongAfterDoesNotContinue: by the times of the runtime, whenever it is read.
func TestALineLongAfterDoesNotContinue(t *testing.T) {
	m := mustMultiline(t, MultilineConfig{Traces: "java"})
	line := func(sec, body string) string { return "2024-02-29T12:34:" + sec + "Z stdout F " + body + "\n" }
	j := newAt(Config{Multiline: m})
	rs, _ := feed(j, line("01", "ERROR a")+line("01.9", "\tat a.B(C)")+line("03", "\tat a.C(D)")+line("03.5", "\tat a.D(E)"), 0, testNow, More)
	diff(t, "records", bodies(append(rs, flush(j)...)), []string{"ERROR a\n\tat a.B(C)", "\tat a.C(D)\n\tat a.D(E)"})
}

func TestAPatternSaysWhatBegins(t *testing.T) {
	j := newAt(Config{Format: Plain, Multiline: mustMultiline(t, MultilineConfig{First: `^\d{4}-`})})
	rs, _ := feed(j, "rest\n2026-a\nb\n\n{\"c\":1}\n2026-d\n2026-e\n", 0, testNow, More)
	diff(t, "records", bodies(append(rs, flush(j)...)), []string{"rest", "2026-a\nb\n\n{\"c\":1}", "2026-d", "2026-e"})
}

func TestMultilineConfigIsChecked(t *testing.T) {
	for _, c := range []MultilineConfig{
		{}, {Traces: "cobol"}, {Traces: "java", First: "a"}, {First: "("}, {First: strings.Repeat("a", MaxPattern+1)}, {Traces: "java", MaxLines: -1}, {Traces: "java", Wait: -1},
	} {
		if _, err := NewMultiline(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

// TestDue: a single line waits half of the time, one that is no trouble a quarter.
func TestDue(t *testing.T) {
	for text, wait := range map[string]int64{"all is well\n": 250, "ERROR boom\n": 500, "panic: x\n": 1000, "a ERROR\n\tat b(C)\n": 1000, `{"a":1}` + "\n": -1} {
		j := newAt(Config{Format: Plain, Multiline: mustMultiline(t, MultilineConfig{Traces: "auto", Wait: 1000})})
		rs, _ := feed(j, text, 0, testNow, More)
		if wait < 0 {
			if len(rs) != 1 || j.Due(testNow+1e9, 1e9) {
				t.Errorf("%q waits", text)
			}
			continue
		}
		b := record.NewBatch(nil)
		if len(rs) != 0 || j.Due(testNow+wait-1, 1e9) || j.FlushDue(b, testStreams, testNow+wait-1, 1e9) != 0 || !j.Due(testNow+wait, 1e9) || !j.Due(testNow+10, 10) {
			t.Errorf("%q does not wait for %d", text, wait)
		}
		if j.FlushDue(b, testStreams, testNow+wait, 1e9) != 1 || j.Due(1<<60, 1) || b.Record(0).Flags != 0 {
			t.Errorf("%q is not there after %d", text, wait)
		}
	}
}

func TestMatchingAllocatesNothing(t *testing.T) {
	m := mustMultiline(t, MultilineConfig{Traces: "auto"})
	var lines [][]byte
	for _, name := range corpora {
		for _, r := range corpus(t, name) {
			for l := range strings.SplitSeq(r, "\n") {
				lines = append(lines, []byte(l))
			}
		}
	}
	if n := testing.AllocsPerRun(20, func() {
		at, before := noTrace, lines[0]
		for _, l := range lines {
			if m.look(l) || at != noTrace {
				at, _ = m.next(at, before, l)
			}
			before = l
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
