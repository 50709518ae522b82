package cri

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
	"pgregory.net/rapid"
)

// FuzzFrame frames arbitrary bytes whole and in chunks, over a rotation, and
// with a restart, and wants the same records.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(lines(criLine("stdout", "P", "a"), criLine("stderr", "F", "b"), criLine("stdout", "F", "c"))), byte(0), byte(10), uint64(1), uint16(50))
	f.Add([]byte("\x00\x00\n\x00odd\n"+`{"log":"\u00e4\n","stream":"stdout","time":"`+ts+`"}`+"\n"), byte(0), byte(3), uint64(2), uint16(3))
	f.Add([]byte(ts+" stdout F "+strings.Repeat("x", 300)+"\n"), byte(1), byte(100), uint64(3), uint16(200))
	f.Add([]byte("plain\r\n\nlast"), byte(3), byte(200), uint64(4), uint16(7))
	f.Add([]byte(criLine("stdout", "P", "ab")+criLine("stdout", "P", strings.Repeat("0123456789", 99))+criLine("stderr", "F", "x")+criLine("stdout", "F", "end")), byte(0), byte(40), uint64(5), uint16(900))
	f.Add([]byte(strings.Repeat("y", 700)+strings.Repeat("\x00", 700)+"\n"+criLine("stdout", "F", "end")), byte(0), byte(30), uint64(6), uint16(800))
	f.Add([]byte(`{"log":"`+strings.Repeat("z", 500)+`\n","stream":"stdout","time":"`+ts+`"}`+"\n"), byte(0), byte(63), uint64(7), uint16(600))
	f.Fuzz(func(t *testing.T, data []byte, format, maxLine byte, seed uint64, at uint16) {
		c := Config{Format: Format(format % 4), MaxLine: int(maxLine)%64 + 1}
		whole := begun(newSmall(c))
		want, left := feed(whole, string(data), 0, testNow, End)
		if left != 0 {
			t.Fatalf("End left %d bytes", left)
		}
		checkCover(t, want, whole)

		rnd := rand.New(rand.NewPCG(seed, 1))
		var steps []int
		for n := 0; n < len(data); {
			s := 1 + rnd.IntN(1+rnd.IntN(len(data)))
			steps = append(steps, s)
			n += s
		}
		if len(steps) > 0 {
			got, _ := feed(begun(newSmall(c)), string(data), 0, testNow, End, steps...)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("in chunks %v:\n%v\nwhole:\n%v", steps, got, want)
			}
		}

		// Stop anywhere and go on from the state.
		cut := int(at) % (len(data) + 1)
		j := begun(newSmall(c))
		got, left := feed(j, string(data[:cut]), 0, testNow, More)
		pos := int64(cut - left)
		got = append(got, resume(t, c, j.State(), pos, data, End)...)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("restarted at %d:\n%v\nwhole:\n%v", pos, got, want)
		}
	})
}

// newSmall returns a Joiner that takes lines in pieces early.
func newSmall(c Config) *Joiner {
	j := NewJoiner(c)
	j.slack = 400
	return j
}

func begun(j *Joiner) *Joiner {
	j.Begin(record.ID{Lo: 1}, 0, 0)
	return j
}

// resume makes a new Joiner from s, taken at pos of generation 1.
func resume(t *testing.T, c Config, s State, pos int64, data []byte, m Mode) []rec {
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back State
	if err := json.Unmarshal(text, &back); err != nil || back != s {
		t.Fatalf("state %s: %v", text, err)
	}
	from := pos
	for _, p := range s.Open {
		if p.Open {
			from = min(from, p.Start)
		}
	}
	j := newSmall(c)
	j.Restore(s)
	j.Begin(record.ID{Lo: 1}, 0, pos)
	out, _ := feed(j, string(data[from:]), from, testNow, m)
	return out
}

// checkCover wants the records of every stream not to overlap.
func checkCover(t *testing.T, rs []rec, j *Joiner) {
	t.Helper()
	var end [2]int64
	for _, r := range rs {
		s := 0
		if r.Stream == "stderr" {
			s = 1
		}
		if r.Flags.Has(record.ParseError) {
			continue // may stand between the parts of a message
		}
		if r.Start < end[s] || r.End <= r.Start {
			t.Fatalf("overlap: %v after %d", r, end[s])
		}
		end[s] = r.End
		if len(r.Body) > j.max {
			t.Fatalf("too long: %v", r)
		}
	}
}

// FuzzDocker compares with encoding/json.
func FuzzDocker(f *testing.F) {
	for _, s := range []string{
		`{"log":"a\n","stream":"stdout","time":"` + ts + `"}`,
		`{"log":"\ud83d\ude00 \ud83d \\ \" \u0000","stream":"stderr","attrs":{"a":[1,"}"]},"time":"` + ts + `"}`,
		`{"log":"a","log":"b","stream":"stdout","time":"` + ts + `"}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\n\x00") || !utf8.ValidString(line) {
			return
		}
		j := NewJoiner(Config{Format: Docker})
		j.Begin(record.ID{Lo: 1}, 0, 0)
		got, _ := feed(j, line+"\n", 0, testNow, More)
		got = append(got, flush(j)...)
		if len(got) != 1 {
			t.Fatalf("%d records: %v", len(got), got)
		}
		var want map[string]any
		err := json.Unmarshal([]byte(line), &want)
		odd := got[0].Flags.Has(record.ParseError)
		if odd && got[0].Body != line {
			t.Fatalf("odd line changed: %q", got[0].Body)
		}
		if err != nil {
			return // we do not look closely at values we skip
		}
		log, ok1 := want["log"].(string)
		stream, ok2 := want["stream"].(string)
		at, ok3 := want["time"].(string)
		if !ok1 || !ok2 || !ok3 || stream != "stdout" && stream != "stderr" {
			if !odd {
				t.Fatalf("taken for docker's: %q", line)
			}
			return
		}
		if odd {
			if strings.Count(line, `\`) == strings.Count(log, `\`) && strings.HasSuffix(at, "Z") && at == ts {
				// No escape outside of log, or none at all: it had to be taken.
				if !strings.Contains(line, `\`) && strings.Count(line, `"log"`) == 1 && strings.Count(line, `"stream"`) == 1 && strings.Count(line, `"time"`) == 1 {
					t.Fatalf("not taken for docker's: %q", line)
				}
			}
			return
		}
		if strings.HasSuffix(log, "\n") != !got[0].Flags.Has(record.Partial) || strings.TrimSuffix(log, "\n") != got[0].Body || stream != got[0].Stream {
			t.Fatalf("got %v, want %q", got[0], log)
		}
	})
}

// TestModel writes messages as a runtime does, cut into parts, the streams
// interleaved, over rotations, with restarts anywhere, and wants them back.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxLine := rapid.IntRange(2, 40).Draw(t, "maxLine")
		docker := rapid.Bool().Draw(t, "docker")
		limit := rapid.IntRange(1, 12).Draw(t, "limit")
		n := rapid.IntRange(1, 12).Draw(t, "messages")
		var want [2][]string
		var queues [2][]string // of lines
		for i := range n {
			s := rapid.IntRange(0, 1).Draw(t, "stream")
			msg := fmt.Sprintf("%d:%s", i, rapid.StringMatching(`[a-z"\\é ]{0,30}`).Draw(t, "message"))
			want[s] = append(want[s], msg)
			for rest := msg; ; {
				k := min(limit, len(rest))
				for k < len(rest) && !utf8.RuneStart(rest[k]) {
					k++
				}
				queues[s] = append(queues[s], formatPart(docker, s, rest[:k], k < len(rest)))
				if rest = rest[k:]; rest == "" {
					break
				}
			}
		}
		gens := []string{""}
		for len(queues[0])+len(queues[1]) > 0 {
			s := rapid.IntRange(0, 1).Draw(t, "next")
			if len(queues[s]) == 0 {
				s = 1 - s
			}
			gens[len(gens)-1] += queues[s][0]
			queues[s] = queues[s][1:]
			if rapid.IntRange(0, 3).Draw(t, "rotate") == 0 {
				gens = append(gens, "")
			}
		}
		c := Config{MaxLine: maxLine}
		j := newSmall(c)
		var got [2][]string
		type place struct {
			stream     string
			gen        uint64
			start, end int64
		}
		seen := map[place]bool{} // what ids are made of
		var more [2]bool         // the last record of the stream was flagged Partial
		take := func(rs []rec) {
			for _, r := range rs {
				s := 0
				if r.Stream == "stderr" {
					s = 1
				}
				if len(r.Body) > maxLine || r.Flags.Has(record.ParseError) {
					t.Fatalf("bad record %v", r)
				}
				at := place{r.Stream, r.Gen, r.Start, r.End}
				if seen[at] || r.End <= r.Start {
					t.Fatalf("no place of its own: %v", r)
				}
				seen[at] = true
				if r.Flags.Has(record.Continued) != more[s] {
					t.Fatalf("continued, or not: %v", r)
				}
				if more[s] {
					got[s][len(got[s])-1] += r.Body
				} else {
					got[s] = append(got[s], r.Body)
				}
				more[s] = r.Flags.Has(record.Partial)
			}
		}
		id := func(g int) record.ID { return record.ID{Lo: uint64(g) + 1} }
		size := func(g int) int64 {
			if g < 0 {
				return 0
			}
			return int64(len(gens[g]))
		}
		for g := range gens {
			j.Begin(id(g), size(g-1), 0)
			cut := rapid.IntRange(0, len(gens[g])).Draw(t, "cut")
			rs, left := feed(j, gens[g][:cut], 0, testNow, More, rapid.IntRange(1, 100).Draw(t, "step"))
			take(rs)
			if rapid.IntRange(0, 3).Draw(t, "flush") == 0 {
				take(flush(j))
			}
			pos := cut - left
			if rapid.Bool().Draw(t, "restart") {
				s := j.State()
				fromGen, from := g, int64(pos)
				for _, p := range s.Open {
					if p.Open && (int(p.Generation.Lo)-1 < fromGen || int(p.Generation.Lo)-1 == fromGen && p.Start < from) {
						fromGen, from = int(p.Generation.Lo)-1, p.Start
					}
				}
				j = NewJoiner(c)
				j.Restore(s)
				for r := fromGen; r < g; r++ {
					j.Begin(id(r), size(r-1), size(r))
					rs, _ := feed(j, gens[r][from:], from, testNow, More)
					take(rs)
					from = 0
				}
				j.Begin(id(g), size(g-1), int64(pos))
				rs, _ := feed(j, gens[g][from:], from, testNow, More)
				take(rs)
				continue
			}
			rs, left = feed(j, gens[g][pos:], int64(pos), testNow, More)
			take(rs)
			if left != 0 {
				t.Fatalf("%d bytes left", left)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %q, want %q\nfiles %q", got, want, gens)
		}
	})
}

func formatPart(docker bool, s int, body string, more bool) string {
	stream := [2]string{"stdout", "stderr"}[s]
	if docker {
		if !more {
			body += "\n"
		}
		text, _ := json.Marshal(body)
		return `{"log":` + string(text) + `,"stream":"` + stream + `","time":"` + ts + `"}` + "\n"
	}
	if more {
		return criLine(stream, "P", body)
	}
	return criLine(stream, "F", body)
}
