package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/bench/corpus"
	"github.com/weirlog/weir/bench/verify"
)

// TestSmallComparison runs the modes for real, on little.
func TestSmallComparison(t *testing.T) {
	dir := t.TempDir()
	if err := build(dir, ""); err != nil {
		t.Fatal(err)
	}
	s, err := startSink(filepath.Join(dir, "sink"), -1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.proc.Kill()
	b := newBench(t.Context(), s, dir)
	b.interval, b.quiet = 10*time.Millisecond, 100*time.Millisecond
	c, err := corpus.Write(corpus.Config{Root: filepath.Join(dir, "pods"), Seed: 1}, 2, 8e6)
	if err != nil {
		t.Fatal(err)
	}
	chosen, _ := choose(everyone(b.requestSize), dir, []string{weirName, floorName}, []string{"jsonl+zstd", "elastic", "lines"})
	if len(chosen) != 6 {
		t.Fatalf("%v", chosen)
	}
	for i := range chosen {
		p := &chosen[i]
		res, err := b.catchUp(p, c, 1)
		if err != nil {
			t.Fatal(err)
		}
		if !res.Clean() || res.Error != "" || res.Bad != "" || res.Records != c.Total() || res.CPU <= 0 || p.peer.Name == weirName && res.Peak <= 0 || res.Wire == 0 {
			t.Errorf("%s: %+v", p, res)
		}
	}
	es, _ := choose(everyone(b.requestSize), dir, []string{weirName}, []string{"elastic"})
	for name, run := range map[string]func() (Result, error){
		"kill": func() (Result, error) { return b.killed(&es[0], c, 1) },
		"live": func() (Result, error) {
			return b.live(&es[0], liveOptions{duration: time.Second, LiveConfig: corpus.LiveConfig{
				Config: corpus.Config{Seed: 1}, Streams: 2, Rate: 5e6, MaxSize: 1e6, Keep: 3}}, 1)
		},
		"dead": func() (Result, error) {
			return b.live(&es[0], liveOptions{duration: time.Second, dead: true, LiveConfig: corpus.LiveConfig{
				Config: corpus.Config{Seed: 1}, Streams: 2, Lines: 1000}}, 1)
		},
	} {
		res, err := run()
		if err != nil {
			t.Fatal(err)
		}
		if !res.Clean() || res.Error != "" || res.Records < 900 {
			t.Errorf("%s: %+v", name, res)
		}
	}
}

func TestReport(t *testing.T) {
	result := func(peer, form string, round int, cpu Secs, lost uint64) Result {
		return Result{Peer: peer, Form: form, Round: round, CPU: cpu, Bytes: 4e6, Peak: 64 << 20,
			Verdict: verify.Verdict{Counts: verify.Counts{Records: 10000 - lost}, Written: 10000, Lost: lost}}
	}
	rep := Report{Mode: "catchup", Command: "go run .", Missing: []string{"vector"}, Results: []Result{
		result("weir", "elastic+gzip", 1, 0.1, 0), result("floor", "elastic+gzip", 1, 0.08, 0), result("slow", "elastic+gzip", 1, 1, 5000),
		result("weir", "elastic+gzip", 2, 0.2, 0), result("floor", "elastic+gzip", 2, 0.18, 0), result("slow", "elastic+gzip", 2, 1, 0),
	}}
	var out strings.Builder
	rep.print(&out)
	for _, want := range []string{
		"| weir elastic+gzip | 75 000 (50 000–100 000) |", "| 85 % (80–90) |", // round by round, not of the medians
		"| slow elastic+gzip | 7 500 (5 000–10 000) |", "| 12.5 × (5.0–20.0) |  |", "| 5000 | 0 | 0 | 0 |", "Not found: vector.",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if rep.Results[0].MBPerCPU() != 40 || rep.Results[2].MBPerCPU() != 2 {
		t.Errorf("%v %v MB per CPU-second", rep.Results[0].MBPerCPU(), rep.Results[2].MBPerCPU())
	}
}
