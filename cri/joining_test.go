package cri

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
	"pgregory.net/rapid"
)

func mustMultiline(t testing.TB, c MultilineConfig) *Multiline {
	t.Helper()
	m, err := NewMultiline(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// traceWords are what the lines of the random texts below are made of: each of the
// states is reached often.
var traceWords = []string{
	"plain text", "2026-11-22 12:00:00 ERROR boom", "2026-11-22 12:00:01 INFO fine", `{"a":1}`, "{", "", " ", "\tat a.B.c(B.java:1)", "\t... 3 more", "Caused by: a.b.CException: x",
	"a.b.CException: x", "   at A.B() in x.cs:line 1", " ---> A.BException: y", "--- End of stack trace ---", "/app/x.js:3", "  throw x", "  ^", "Error: x", "    at f (x.js:1:1)", "}", "Node.js v20.1.0",
	"Traceback (most recent call last):", `  File "x.py", line 1, in f`, "    f()", "ValueError: x", "During handling of the above exception, another exception occurred:",
	"panic: boom", "goroutine 1 [running]:", "main.f(0x1)", "\t/x.go:1 +0x1", "created by main.main in goroutine 1", "exit status 2", "x.rb:1:in `f': boom (RuntimeError)", "\tfrom x.rb:2:in `<main>'",
	"  indented", "\tindented",
}

// TestMultilineModel writes random lines of traces, in parts, of two streams, over
// rotations, and frames them at once; in chunks; and with restarts anywhere. The
// records must be the same, and together all lines.
func TestMultilineModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		format := rapid.SampledFrom([]Format{Auto, Plain, Docker}).Draw(t, "format")
		mc := MultilineConfig{Traces: "auto", MaxLines: rapid.IntRange(2, 8).Draw(t, "lines"), MaxBytes: rapid.IntRange(20, 300).Draw(t, "bytes")}
		if rapid.IntRange(0, 4).Draw(t, "first") == 0 {
			mc.Traces, mc.First = "", `^2026|^\{`
		}
		multi, err := NewMultiline(mc)
		if err != nil {
			t.Fatal(err)
		}
		c := Config{Format: format, MaxLine: rapid.IntRange(10, 400).Draw(t, "maxLine"), Multiline: multi}
		gens := []string{""}
		var want [2]strings.Builder // all text of a stream
		for range rapid.IntRange(1, 40).Draw(t, "n") {
			text := rapid.SampledFrom(traceWords).Draw(t, "line")
			if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
				text += strings.Repeat("long", rapid.IntRange(1, 60).Draw(t, "times")) // Docker's lines must not exceed newSmall's slack
			}
			s := 0
			if format == Plain {
				gens[len(gens)-1] += text + "\n"
			} else {
				s = rapid.IntRange(0, 1).Draw(t, "stream")
				for rest := text; ; {
					k := len(rest)
					if rapid.IntRange(0, 3).Draw(t, "part") == 0 {
						k = rapid.IntRange(0, k).Draw(t, "k")
					}
					gens[len(gens)-1] += formatPart(format == Docker, s, rest[:k], k < len(rest))
					if rest = rest[k:]; rest == "" {
						break
					}
				}
			}
			want[s].WriteString(text)
			if rapid.IntRange(0, 8).Draw(t, "rotate") == 0 {
				gens = append(gens, "")
			}
		}
		id := func(g int) record.ID { return record.ID{Lo: uint64(g) + 1} }
		size := func(g int) int64 {
			if g < 0 {
				return 0
			}
			return int64(len(gens[g]))
		}
		var whole []rec
		j := newSmall(c)
		for g := range gens {
			j.Begin(id(g), size(g-1), 0)
			rs, _ := feed(j, gens[g], 0, testNow, More)
			whole = append(whole, rs...)
		}
		whole = append(whole, flush(j)...)

		var got [2]strings.Builder
		for _, r := range whole {
			s := 0
			if r.Stream == "stderr" {
				s = 1
			}
			if r.Flags.Has(record.ParseError) || len(r.Body) > c.MaxLine || strings.Count(r.Body, "\n") >= mc.MaxLines {
				t.Fatalf("bad record %v", r)
			}
			got[s].WriteString(strings.ReplaceAll(r.Body, "\n", ""))
		}
		for s := range want {
			if got[s].String() != want[s].String() {
				t.Fatalf("stream %d: %q, want %q", s, got[s].String(), want[s].String())
			}
		}

		var parts []rec
		j = newSmall(c)
		for g := range gens {
			j.Begin(id(g), size(g-1), 0)
			rs, left := feed(j, gens[g], 0, testNow, More, rapid.IntRange(1, 60).Draw(t, "step"), rapid.IntRange(1, 200).Draw(t, "step"))
			parts = append(parts, rs...)
			if left != 0 {
				t.Fatalf("%d bytes left", left)
			}
		}
		parts = append(parts, flush(j)...)
		same(t, "in chunks", parts, whole)

		var again []rec
		j = newSmall(c)
		for g := range gens {
			j.Begin(id(g), size(g-1), 0)
			pos := 0
			for k := rapid.IntRange(0, 3).Draw(t, "restarts"); ; k-- {
				to := len(gens[g])
				if k > 0 {
					to = rapid.IntRange(pos, to).Draw(t, "to")
				}
				rs, left := feed(j, gens[g][pos:to], int64(pos), testNow, More, rapid.IntRange(1, 200).Draw(t, "step"))
				again = append(again, rs...)
				pos = to - left
				if k == 0 {
					break
				}
				// What was handed over is finished, and the process is another.
				s := j.State()
				j = newSmall(c)
				j.Restore(s)
				fromGen, from := g, int64(pos)
				for _, p := range s.Open {
					if p.Open && (int(p.Generation.Lo)-1 < fromGen || int(p.Generation.Lo)-1 == fromGen && p.Start < from) {
						fromGen, from = int(p.Generation.Lo)-1, p.Start
					}
				}
				for r := fromGen; r <= g; r++ {
					until := size(r)
					if r == g {
						until = int64(pos)
					}
					j.Begin(id(r), size(r-1), until)
					rs, left := feed(j, gens[r][from:until], from, testNow, More)
					again = append(again, rs...)
					if left != 0 && r < g {
						t.Fatalf("%d bytes left", left)
					}
					from = 0
				}
			}
		}
		again = append(again, flush(j)...)
		same(t, "with restarts", again, whole)
	})
}

// same compares records stream by stream: of which stream the next comes may differ.
func same(t interface{ Fatalf(string, ...any) }, what string, got, want []rec) {
	for _, s := range []string{"stdout", "stderr"} {
		g, w := ofStream(got, s), ofStream(want, s)
		if !reflect.DeepEqual(g, w) {
			t.Fatalf("%s, %s:\n%v\nwant\n%v", what, s, join(g), join(w))
		}
	}
}

func join(rs []rec) string {
	var b strings.Builder
	for _, r := range rs {
		fmt.Fprintln(&b, r)
	}
	return b.String()
}

func ofStream(rs []rec, s string) []rec {
	var out []rec
	for _, r := range rs {
		if r.Stream == s {
			out = append(out, r)
		}
	}
	return out
}

// FuzzMultiline frames arbitrary bytes with joining on: whole, in chunks, and with a
// restart, and wants the same records; and all text to be there.
func FuzzMultiline(f *testing.F) {
	f.Add([]byte(strings.Join(traceWords, "\n")+"\n"), byte(3), byte(0), byte(200), byte(9), uint64(1), uint16(100))
	f.Add([]byte(lines(criLine("stdout", "F", "x ERROR y"), criLine("stdout", "P", "\tat a.b"), criLine("stderr", "F", "Traceback (most recent call last):"), criLine("stdout", "F", "(C.java:1)"), criLine("stderr", "F", "  File"))), byte(0), byte(0), byte(60), byte(3), uint64(2), uint16(60))
	f.Add([]byte("2026 a\nb\nc\n2026 d\nunfinished"), byte(3), byte(1), byte(20), byte(2), uint64(3), uint16(9))
	f.Add([]byte(strings.Repeat("\tat a.b(C)\n", 40)+strings.Repeat("z", 700)+"\n\tat x.y(Z)\n"), byte(3), byte(0), byte(30), byte(4), uint64(4), uint16(460))
	first := regexp.MustCompile("^[0-9]")
	f.Fuzz(func(t *testing.T, data []byte, format, mode, maxBytes, maxLines byte, seed uint64, at uint16) {
		m := &Multiline{langs: languages[Traces()[int(mode)%len(Traces())]], maxLines: int(maxLines)%10 + 2, maxBytes: int(maxBytes) + 1, wait: 1e9}
		if mode%8 == 1 {
			m.first = first
		}
		c := Config{Format: Format(format % 4), MaxLine: int(maxBytes)%64 + 1, Multiline: m}
		whole := begun(newSmall(c))
		want, left := feed(whole, string(data), 0, testNow, End)
		if left != 0 {
			t.Fatalf("End left %d bytes", left)
		}
		want = append(want, flush(whole)...)
		checkCover(t, ofStream(want, "stdout"), whole)
		checkCover(t, ofStream(want, "stderr"), whole)

		rnd := rand.New(rand.NewPCG(seed, 1))
		var steps []int
		for n := 0; n < len(data); {
			s := 1 + rnd.IntN(1+rnd.IntN(len(data)))
			steps = append(steps, s)
			n += s
		}
		if len(steps) > 0 {
			j := begun(newSmall(c))
			got, _ := feed(j, string(data), 0, testNow, End, steps...)
			same(t, fmt.Sprint("in chunks ", steps), append(got, flush(j)...), want)
		}
		cut := int(at) % (len(data) + 1)
		j := begun(newSmall(c))
		got, left := feed(j, string(data[:cut]), 0, testNow, More)
		pos := int64(cut - left)
		next, got2 := resumed(t, c, j.State(), pos, data)
		got = append(got, got2...)
		got = append(got, flush(next)...)
		same(t, fmt.Sprint("restarted at ", pos), got, want)
	})
}

// resumed is resume that returns the Joiner too.
func resumed(t *testing.T, c Config, s State, pos int64, data []byte) (*Joiner, []rec) {
	from := pos
	for _, p := range s.Open {
		if p.Open {
			from = min(from, p.Start)
		}
	}
	j := newSmall(c)
	j.Restore(s)
	j.Begin(record.ID{Lo: 1}, 0, pos)
	out, _ := feed(j, string(data[from:]), from, testNow, End)
	return j, out
}
