package cri

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
)

func TestLines(t *testing.T) {
	docker := func(log string) string {
		return `{"log":"` + log + `","stream":"stdout","time":"` + ts + `"}` + "\n"
	}
	for _, tt := range []struct {
		name   string
		format Format
		in     string
		want   []string
	}{
		{"full", Auto, criLine("stdout", "F", "hello"), []string{"hello"}},
		{"stderr", Auto, criLine("stderr", "F", "hello"), []string{"2:hello"}},
		{"second line", Auto, lines(criLine("stdout", "F", "a"), criLine("stderr", "F", "b")), []string{"a", "2:b"}},
		{"joined", Auto, lines(criLine("stdout", "P", "a"), criLine("stdout", "P", "b"), criLine("stdout", "F", "c")), []string{"abc"}},
		{"further tags", Auto, lines(criLine("stdout", "P:x:y", "a"), criLine("stdout", "F:x", "b")), []string{"ab"}},
		{"empty message", Auto, criLine("stdout", "F", ""), []string{""}},
		{"empty message, no blank", Auto, ts + " stdout F\n", []string{""}},
		{"extra blank is the message's", Auto, criLine("stdout", "F", "  x "), []string{"  x "}},
		{"only white space", Auto, criLine("stdout", "F", " \t"), []string{" \t"}},
		{"carriage return stays", Auto, criLine("stdout", "F", "x\r"), []string{"x\r"}},
		{"missing tag", Auto, ts + " stdout hello\n", []string{"!" + ts + " stdout hello"}},
		{"unknown tag", Auto, ts + " stdout X hello\n", []string{"!" + ts + " stdout X hello"}},
		{"tag runs on", Auto, ts + " stdout FULL\n", []string{"!" + ts + " stdout FULL"}},
		{"unknown stream", Auto, ts + " stdlog F x\n", []string{"!" + ts + " stdlog F x"}},
		{"two blanks", Auto, ts + "  stdout F x\n", []string{"!" + ts + "  stdout F x"}},
		{"no header", Auto, "hello\n", []string{"!hello"}},
		{"empty line", Auto, "\n", []string{"!"}},
		{"odd line between parts", Auto, lines(criLine("stdout", "P", "a"), "odd\n", criLine("stdout", "F", "b")), []string{"!odd", "ab"}},
		{"endless tags", Auto, ts + " stdout F:" + strings.Repeat("x", 300) + " a\n", []string{"!" + ts + " stdout F:" + strings.Repeat("x", 300) + " a"}},
		{"docker", Auto, docker(`hello\n`), []string{"hello"}},
		{"docker stderr, other order", Auto, `{"time":"` + ts + `","stream":"stderr","log":"a\n"}` + "\n", []string{"2:a"}},
		{"docker attributes", Auto, `{"log":"a\n","stream":"stderr","attrs":{"tag":"a","x":[1,{"y":"}]"}]},"n":-1.5e3,"time":"` + ts + `"}` + "\n", []string{"2:a"}},
		{"docker white space", Docker, `  { "log" : "a\n" , "stream" : "stdout" , "time" : "` + ts + `" } ` + "\r\n", []string{"a"}},
		{"docker joined", Auto, lines(docker("a"), docker(`b\u000a`)), []string{"ab"}},
		{"docker carriage return", Auto, docker(`a\r\n`), []string{"a\r"}},
		{"docker escapes", Auto, docker(`\"\\\/\b\f\n\r\t\u0041\n`), []string{"\"\\/\b\f\n\r\tA"}},
		{"docker escaped backslash before n", Auto, lines(docker(`a\\n`), docker(`\n`)), []string{`a\n`}},
		{"docker bad escape", Auto, docker(`a\x`), []string{"!" + strings.TrimSuffix(docker(`a\x`), "\n")}},
		{"docker without stream", Auto, `{"log":"a\n","time":"` + ts + `"}` + "\n", []string{`!{"log":"a\n","time":"` + ts + `"}`}},
		{"docker with bad time", Auto, `{"log":"a\n","stream":"stdout","time":"now"}` + "\n", []string{`!{"log":"a\n","stream":"stdout","time":"now"}`}},
		{"docker log not a string", Auto, `{"log":null,"stream":"stdout","time":"` + ts + `"}` + "\n", []string{`!{"log":null,"stream":"stdout","time":"` + ts + `"}`}},
		{"json line that is not docker's", Auto, `{"a":1}` + "\n", []string{`!{"a":1}`}},
		{"docker only", Docker, criLine("stdout", "F", "a"), []string{"!" + strings.TrimSuffix(criLine("stdout", "F", "a"), "\n")}},
		{"cri only", CRI, docker(`a\n`), []string{"!" + strings.TrimSuffix(docker(`a\n`), "\n")}},
		{"plain", Plain, "a\n\nb\r\n" + docker(`a\n`), []string{"a", "", "b\r", strings.TrimSuffix(docker(`a\n`), "\n")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, left := feed(newAt(Config{Format: tt.format}), tt.in, 0, testNow, More)
			diff(t, "records", bodies(got), tt.want)
			if left != 0 {
				t.Errorf("%d bytes are left", left)
			}
			if len(got) > 0 && tt.format != Plain && got[len(got)-1].End != int64(len(tt.in)) {
				t.Errorf("last record ends at %d, want %d", got[len(got)-1].End, len(tt.in))
			}
		})
	}
}

func TestFailure31_PartialsJoinedPerStream(t *testing.T) {
	in := lines(
		criLine("stdout", "P", "out1 "), criLine("stderr", "P", "err1 "),
		criLine("stdout", "P", "out2 "), criLine("stderr", "F", "err2"),
		criLine("stderr", "F", "err3"), criLine("stdout", "F", "out3"),
	)
	n := int64(len(criLine("stdout", "P", "out1 ")))
	want := []rec{
		{"stderr", 1, n, int64(strings.Index(in, "err2")) + 5, tsNanos, "err1 err2", 0},
		{"stderr", 1, int64(strings.Index(in, "err2")) + 5, int64(strings.Index(in, "err3")) + 5, tsNanos, "err3", 0},
		{"stdout", 1, 0, int64(len(in)), tsNanos, "out1 out2 out3", 0},
	}
	for step := 1; step < len(in); step++ {
		got, _ := feed(newAt(Config{}), in, 0, testNow, More, step)
		diff(t, "records", got, want)
	}
}

func TestFailure32_PartialOverRotation(t *testing.T) {
	j := newAt(Config{})
	a := lines(criLine("stdout", "F", "x"), criLine("stdout", "P", "one "))
	b := lines(criLine("stderr", "F", "y"), criLine("stdout", "P", "two "))
	c := criLine("stdout", "F", "three")
	var got []rec
	for i, part := range []string{a, b, c} {
		if i > 0 {
			j.Begin(record.ID{Lo: uint64(i) + 1}, int64(len([]string{a, b}[i-1])), 0)
		}
		r, left := feed(j, part, 0, testNow, More)
		got = append(got, r...)
		if left != 0 {
			t.Fatal("bytes left")
		}
	}
	first := int64(len(criLine("stdout", "F", "x")))
	diff(t, "records", got, []rec{
		{"stdout", 1, 0, first, tsNanos, "x", 0},
		{"stderr", 2, 0, first, tsNanos, "y", 0},
		{"stdout", 1, first, int64(len(a + b + c)), tsNanos, "one two three", 0},
	})
}

func TestFailure33_KillBetweenPartialAndFull(t *testing.T) {
	in := lines(criLine("stdout", "P", "one "), criLine("stderr", "F", "between"), criLine("stdout", "F", "two"), criLine("stdout", "F", "three"))
	full, _ := feed(newAt(Config{}), in, 0, testNow, More)
	// Killed after every line; the state is kept as JSON.
	for cut := 0; cut <= len(in); cut++ {
		if cut > 0 && in[cut-1] != '\n' {
			continue
		}
		j := newAt(Config{})
		got, _ := feed(j, in[:cut], 0, testNow, More)
		text, err := json.Marshal(j.State())
		if err != nil {
			t.Fatal(err)
		}
		var s State
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		from := cut
		for _, p := range s.Open {
			if p.Open {
				from = min(from, int(p.Start))
			}
		}
		j = NewJoiner(Config{})
		j.Restore(s)
		j.Begin(record.ID{Lo: 1}, 0, int64(cut))
		rest, _ := feed(j, in[from:], int64(from), testNow, More)
		diff(t, "records", append(got, rest...), full)
	}
}

func TestFailure34_PartialNeverFinished(t *testing.T) {
	j := newAt(Config{})
	in := lines(criLine("stdout", "P", "one "), criLine("stdout", "P", "two"))
	feed(j, in, 0, testNow, More)
	b := record.NewBatch(nil)
	if n := j.Flush(b, testStreams, testNow); n != 0 {
		t.Errorf("flushed %d messages that are not old enough", n)
	}
	if n := j.Flush(b, testStreams, testNow+1); n != 1 {
		t.Errorf("flushed %d messages, want 1", n)
	}
	diff(t, "flushed", records(b), []rec{{"stdout", 1, 0, int64(len(in)), tsNanos, "one two", record.Partial}})
	if s := j.State(); s.Open[0].Open || !s.Open[0].Continued {
		t.Errorf("state %+v", s)
	}
	// What follows of the line is a continuation, also after a restart.
	s := j.State()
	j = NewJoiner(Config{})
	j.Restore(s)
	j.Begin(record.ID{Lo: 1}, 0, int64(len(in)))
	got, _ := feed(j, lines(criLine("stdout", "P", "three "), criLine("stdout", "F", "four"), criLine("stdout", "F", "five")), int64(len(in)), testNow, More)
	diff(t, "rest", bodies(got), []string{"…three four", "five"})
}

func TestFailure36_DockerEscapes(t *testing.T) {
	d := func(log string) string {
		return `{"log":"` + log + `","stream":"stdout","time":"` + ts + `"}` + "\n"
	}
	k16 := strings.Repeat("0123456789abcdef", 1024)
	got, _ := feed(newAt(Config{}), lines(
		d(`\u0000\ud83d\ude00\ud83d \ude00\ud83d\u0041\u2028<\u003e\n`),
		d(k16), d(k16), d(`end\n`),
	), 0, testNow, More)
	diff(t, "records", bodies(got), []string{"\x00😀\uFFFD \uFFFD\uFFFDA\u2028<>", k16 + k16 + "end"})
}

func TestFailure37_SwitchingFormats(t *testing.T) {
	in := lines(criLine("stdout", "F", "cri"), `{"log":"docker\n","stream":"stderr","time":"`+ts+`"}`+"\n", "plain\n", criLine("stdout", "F", "cri"))
	got, _ := feed(newAt(Config{}), in, 0, testNow, More)
	diff(t, "records", bodies(got), []string{"cri", "2:docker", "!plain", "cri"})
}

func TestFailure40_BytesKept(t *testing.T) {
	body := "\ufeffa\x00b\r\v\f\u2028\x1b[31mred\x1b]0;x\a\xff\xc0\x80\xed\xa0\x80"
	got, _ := feed(newAt(Config{}), criLine("stdout", "F", body), 0, testNow, More)
	diff(t, "records", bodies(got), []string{body})
}

func TestFailure39_InvalidUTF8KeptByDocker(t *testing.T) {
	got, _ := feed(newAt(Config{}), `{"log":"\t\xff\xed\xa0\x80\n","stream":"stdout","time":"`+ts+`"}`+"\n", 0, testNow, More)
	diff(t, "bad escape", bodies(got)[0][:1], "!")
	got, _ = feed(newAt(Config{}), "{\"log\":\"\\t\xff\xed\xa0\x80\\n\",\"stream\":\"stdout\",\"time\":\""+ts+"\"}\n", 0, testNow, More)
	diff(t, "records", bodies(got), []string{"\t\xff\xed\xa0\x80"})
}

func TestFailure24_NULRunsSkipped(t *testing.T) {
	hole := strings.Repeat("\x00", 100_000)
	in := lines(criLine("stdout", "F", "a"), hole, criLine("stdout", "F", "b"), hole, "\n", hole, criLine("stdout", "F", "c"), hole)
	for _, step := range []int{len(in), 4096, 99_999} {
		j := newAt(Config{})
		got, left := feed(j, in, 0, testNow, More, step)
		diff(t, "records", bodies(got), []string{"a", "b", "c"})
		if left != 0 || j.Stats().NULBytes != uint64(4*len(hole)) {
			t.Errorf("left %d, NUL bytes %d", left, j.Stats().NULBytes)
		}
	}
	// Behind a torn line.
	j := newAt(Config{MaxLine: 1000})
	torn := ts + " stdout F torn" + strings.Repeat("\x00", 5_000_000) + "\n" + criLine("stdout", "F", "next")
	got, _ := feed(j, torn, 0, testNow, More, 1<<20)
	if len(got) != 2 || got[1].Body != "next" || got[0].Body != "torn" {
		t.Errorf("%d records: %v", len(got), bodies(got))
	}
}

func TestFailure38_LongLines(t *testing.T) {
	const max = 1000
	text := strings.Repeat("0123456789", 400_000)
	next := criLine("stdout", "F", "next")
	for name, tt := range map[string]struct {
		format Format
		in     string
		want   string // all pieces together
	}{
		"one physical line": {Auto, criLine("stdout", "F", text) + next, text},
		"many parts":        {Auto, strings.Repeat(criLine("stdout", "P", text[:990]), 20) + criLine("stdout", "F", "end") + next, strings.Repeat(text[:990], 20) + "end"},
		"long part first":   {Auto, criLine("stdout", "P", text) + criLine("stdout", "F", "end") + next, text + "end"},
		"odd":               {Auto, text + "\n" + next, text},
		"plain":             {Plain, text + "\nnext\n", text},
		"docker":            {Auto, `{"log":"` + text[:200_000] + `\n","stream":"stdout","time":"` + ts + `"}` + "\n" + next, text[:200_000]},
	} {
		t.Run(name, func(t *testing.T) {
			var want []rec
			for _, step := range []int{len(tt.in), 300_000, 1 << 20} {
				j := newAt(Config{Format: tt.format, MaxLine: max})
				got, left := feed(j, tt.in, 0, testNow, More, step)
				if left != 0 {
					t.Fatalf("%d bytes left", left)
				}
				var all strings.Builder
				for i, r := range got[:len(got)-1] {
					all.WriteString(r.Body)
					if len(r.Body) > max {
						t.Errorf("a piece of %d bytes", len(r.Body))
					}
					if r.Flags.Has(record.Continued) != (i > 0) || r.Flags.Has(record.Partial) != (i < len(got)-2) {
						t.Errorf("piece %d of %d has flags %b", i, len(got)-1, r.Flags)
					}
					if i > 0 && got[i-1].End != r.Start {
						t.Errorf("piece %d begins at %d, the one before ends at %d", i, r.Start, got[i-1].End)
					}
				}
				if all.String() != tt.want {
					t.Errorf("%d bytes, want %d", all.Len(), len(tt.want))
				}
				if last := got[len(got)-1]; last.Body != "next" || last.Flags != 0 {
					t.Errorf("the line behind: %v", last)
				}
				if want == nil {
					want = got
				}
				diff(t, "other chunks, other records", got, want)
			}
		})
	}
}

func TestCutAndEnd(t *testing.T) {
	for _, tt := range []struct {
		name   string
		format Format
		m      Mode
		in     []string
		want   []string
	}{
		{"cut", CRI, Cut, []string{ts + " stdout F abc", "def", "g\n" + criLine("stdout", "F", "x")}, []string{"abc…", "…def…", "…g", "x"}},
		{"cut takes complete lines first", CRI, Cut, []string{criLine("stdout", "F", "x") + ts + " stdout F abc"}, []string{"x"}},
		{"cut of a part", CRI, Cut, []string{ts + " stdout P abc", "def\n" + criLine("stdout", "F", "g") + criLine("stdout", "F", "x")}, []string{"abc…", "…def…", "…g", "x"}},
		{"cut behind a part", CRI, Cut, []string{criLine("stdout", "P", "ab"), ts + " stdout F cd", "ef\n"}, []string{"abcd…", "…ef"}},
		{"end", CRI, End, []string{criLine("stdout", "F", "x") + ts + " stdout F abc"}, []string{"x", "abc…"}},
		{"end, then the newline", CRI, End, []string{ts + " stdout F abc", "\n" + criLine("stdout", "F", "x")}, []string{"abc…", "x"}},
		{"end in the header", CRI, End, []string{ts + " stdout F", " abc\n"}, []string{"!" + ts + " stdout F…", "!… abc"}},
		{"end of plain", Plain, End, []string{"abc", "def\nx\n"}, []string{"abc…", "…def", "x"}},
		{"end of docker", Docker, End, []string{`{"log":"a\n","stream":"stdout","time":"` + ts + `"}`, "\n"}, []string{"a…"}},
		{"end in docker", Docker, End, []string{`{"log":"a`, "b\"}\n"}, []string{`!{"log":"a…`, `!…b"}`}},
		{"end of nothing", Plain, End, []string{""}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// Once with one Joiner, once restarted at every position.
			for _, restart := range []bool{false, true} {
				j := newAt(Config{Format: tt.format})
				var got []rec
				var off int64
				for _, in := range tt.in {
					if restart {
						s := j.State()
						from := off
						if s.Open[0].Open {
							from = s.Open[0].Start
						}
						j = NewJoiner(Config{Format: tt.format})
						j.Restore(s)
						j.Begin(record.ID{Lo: 1}, 0, off)
						if from < off {
							all := strings.Join(tt.in, "")
							feed(j, all[from:off], from, testNow, More)
						}
					}
					r, left := feed(j, in, off, testNow, tt.m)
					off += int64(len(in) - left)
					got = append(got, r...)
				}
				b := bodies(got)
				for i := range b { // "…!" reads badly in the table
					b[i] = strings.Replace(b[i], "…!", "!…", 1)
				}
				diff(t, "records", b, tt.want)
			}
		})
	}
}

func TestFailure41_EmptyLinesKept(t *testing.T) {
	got, _ := feed(newAt(Config{}), lines(criLine("stdout", "F", ""), criLine("stdout", "F", " \t"), criLine("stderr", "F", "")), 0, testNow, More)
	diff(t, "records", bodies(got), []string{"", " \t", "2:"})
	got, _ = feed(newAt(Config{Format: Plain}), "\n\n \n", 0, testNow, More)
	diff(t, "plain records", bodies(got), []string{"", "", " "})
}

func TestFailure44_OrderOfTheFile(t *testing.T) {
	late := strings.Replace(criLine("stdout", "F", "earlier"), "12:34:56", "12:34:55", 1)
	got, _ := feed(newAt(Config{}), lines(criLine("stdout", "F", "a"), criLine("stderr", "F", "b"), late, criLine("stdout", "F", "c")), 0, testNow, More)
	diff(t, "records", bodies(got), []string{"a", "2:b", "earlier", "c"})
	for i := 1; i < len(got); i++ {
		if got[i].Start != got[i-1].End {
			t.Errorf("offsets do not tell the order: %v behind %v", got[i], got[i-1])
		}
	}
	if got[0].Time != got[1].Time || got[2].Time != got[0].Time-1e9 {
		t.Errorf("times changed: %v", got)
	}
}
