package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/bench/mixed"
	"github.com/weirlog/weir/bench/stores"
)

// TestWeir compares weir with nobody, on little: everything it answers is what
// the corpus holds. Then what the corpus is said to hold is changed.
func TestWeir(t *testing.T) {
	dir := t.TempDir()
	o := &options{size: 4e6, streams: 40, clients: 2, seed: 1, cpu: -1, ownCPU: -1, patience: time.Minute, hurry: true}
	p := participant{Store: stores.Weir(), binary: binary}
	p.Settle = func(context.Context, *http.Client, *stores.Job) (bool, error) { return true, nil }
	p.Quiet = time.Second
	pushes, truth, err := mixed.Write(filepath.Join(dir, "pushes"), o.corpus(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	defer pushes.Close()
	r := &run{o: o, p: &p, truth: truth, dir: filepath.Join(dir, "data")}
	res, err := r.all(t.Context(), pushes)
	if err != nil {
		t.Fatalf("%v%s", err, r.tail())
	}
	if len(res.Queries) != len(stores.Queries) {
		t.Errorf("%d queries", len(res.Queries))
	}
	for _, m := range res.Queries {
		if m.Wrong != "" || m.Warm <= 0 || m.Runs < leastRuns {
			t.Errorf("%s: %s", m.Query, m)
		}
	}
	if in := res.Ingest; in.CPU <= 0 || in.Peak <= 0 || in.Mean <= 0 || in.Data+in.WAL <= 0 {
		t.Errorf("%+v", res.Ingest)
	}
	rep := report{Results: []result{res}}
	truth.LiteralRows++
	truth.LastTimes[3]++
	truth.Minutes[7][100]++
	truth.Levels["error"][200]--
	truth.Status[503]++
	truth.NeedleLine += " "
	o.reuse = true
	again, err := r.all(t.Context(), pushes)
	if err != nil {
		t.Fatal(err)
	}
	right := 0
	for _, m := range again.Queries {
		if m.Wrong == "" {
			right++
		}
	}
	if right != 2 { // the phrase and the routes
		t.Errorf("%d answers are taken for right", right)
	}
	again.Store = "other"
	rep.Results = append(rep.Results, again)
	var out strings.Builder
	rep.print(&out)
	for _, want := range []string{"| weir |", "**wrong**", "other, " + string(stores.JSON503)} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// binary is weir, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "weir-bench-")
	if err == nil {
		binary = filepath.Join(dir, "weir")
		err = goBuild("../..", "./cmd/weir", binary, "CGO_ENABLED=0")
	}
	if err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		log.Print(err)
	}
	os.Exit(code)
}

// TestUp has weir up read what is written; the modes fail if anything is
// missing in the end.
func TestUp(t *testing.T) {
	o := &options{seed: 1, cpu: -1, ownCPU: -1, duration: time.Second, lines: 1000}
	for name, mode := range map[string]func(context.Context, string, []participant) error{"latency": o.latency, "laptop": o.laptop} {
		if err := mode(t.Context(), t.TempDir(), []participant{{Store: stores.Weir(), binary: binary}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"1GB": 1e9, "1.5MB": 15e5, "20kB": 2e4, "7": 7} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	if _, err := parseSize("big"); err == nil {
		t.Error("big is a size")
	}
}
