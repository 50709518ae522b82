package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlog/weir/bench/mixed"
	"github.com/weirlog/weir/bench/stores"
)

// report is what -json writes.
type report struct {
	When    time.Time `json:"when"`
	Machine string    `json:"machine"`
	Command string    `json:"command"`
	Corpus  string    `json:"corpus"`
	Missing []string  `json:"not_found,omitempty"`
	Results []result  `json:"results"`
}

// result is a participant in a round.
type result struct {
	Store   string  `json:"store"`
	Version string  `json:"version,omitempty"`
	Ack     string  `json:"ack"`
	Round   int     `json:"round"`
	Ingest  *ingest `json:"ingest,omitempty"`
	Queries []query `json:"queries,omitempty"`
	Error   string  `json:"error,omitempty"`
}

// ingest is what taking the corpus took; seconds and bytes.
type ingest struct {
	Bytes    int64   `json:"bytes"` // of lines
	PushCPU  float64 `json:"push_cpu_s"`
	PushWall float64 `json:"push_wall_s"`
	CPU      float64 `json:"cpu_s"` // with what was done later: flushes, merges, compaction
	Peak     int64   `json:"peak_rss"`
	Mean     int64   `json:"mean_rss"` // while it was pushed
	Data     int64   `json:"data"`
	WAL      int64   `json:"wal"`
}

// query is what a query took; seconds and bytes.
type query struct {
	Query     string  `json:"query"`
	Label     string  `json:"label,omitempty"`
	Text      string  `json:"text"`
	First     float64 `json:"first_cpu_s"`
	FirstWall float64 `json:"first_wall_s"`
	Warm      float64 `json:"warm_cpu_s"`
	Wall      float64 `json:"wall_s"` // median
	Runs      int     `json:"runs"`
	Size      int     `json:"bytes"` // of the answer
	Peak      int64   `json:"peak_rss"`
	Wrong     string  `json:"wrong,omitempty"`
}

func (m query) String() string {
	if m.Wrong != "" {
		return "wrong: " + m.Wrong
	}
	return fmt.Sprintf("%s ms CPU first, %s then (%d ×), %s ms wall, %d bytes, peak %d MiB", milli(m.First), milli(m.Warm), m.Runs, milli(m.Wall), m.Size, m.Peak>>20)
}

func (rep *report) setCorpus(t *mixed.Truth, p *mixed.Pushes) {
	rep.Corpus = fmt.Sprintf("%d lines of %d streams, %.3f GB, %.0f MB of structured metadata beside them, %v from %s on; %d requests, %.0f MB with snappy",
		t.Rows, t.Config.Streams, float64(t.Bytes)/1e9, float64(t.Metadata)/1e6, t.Config.Span, t.Config.Start.Format("2006-01-02 15:04"), len(p.Bodies), float64(p.Size)/1e6)
}

// machine describes the computer in a line.
func machine() string {
	model := runtime.GOARCH
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := bytes.Cut(data, []byte("model name")); ok {
			line, _, _ := bytes.Cut(rest, []byte("\n"))
			model = strings.TrimLeft(string(line), "\t: ")
		}
	}
	kernel := ""
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	return fmt.Sprintf("%d × %s, Linux %s, %s", runtime.NumCPU(), model, kernel, runtime.Version())
}

// names are the participants in the order of the report.
func (rep *report) names() (names []string) {
	for _, r := range rep.Results {
		if !slices.Contains(names, r.Store) {
			names = append(names, r.Store)
		}
	}
	return names
}

// print writes Markdown tables. Figures are medians of the rounds.
func (rep *report) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s: `%s`\n\n%s. %s.\n", rep.When.Format("2006-01-02 15:04"), rep.Command, rep.Machine, rep.Corpus)
	rep.printIngest(w)
	rep.printQueries(w)
	for _, r := range rep.Results {
		if r.Error != "" {
			fmt.Fprintf(w, "\n%s, round %d: %s\n", r.Store, r.Round, r.Error)
		}
	}
	if len(rep.Missing) > 0 {
		fmt.Fprintf(w, "\nNot found: %s.\n", strings.Join(rep.Missing, ", "))
	}
}

func (rep *report) printIngest(w io.Writer) {
	head := false
	for _, name := range rep.names() {
		of := func(f func(*ingest) float64) float64 {
			var v []float64
			for _, r := range rep.Results {
				if r.Store == name && r.Ingest != nil {
					v = append(v, f(r.Ingest))
				}
			}
			return median(v)
		}
		if of(func(in *ingest) float64 { return float64(in.Bytes) }) == 0 {
			continue
		}
		if !head {
			fmt.Fprint(w, "\n| store | CPU-s per GB | of it while pushed | disk per byte of line | WAL beside it, MB | peak RSS, MiB | mean | wall, s | an answered push is |\n|---|---|---|---|---|---|---|---|---|\n")
			head = true
		}
		gb := func(in *ingest) float64 { return float64(in.Bytes) / 1e9 }
		i := slices.IndexFunc(rep.Results, func(r result) bool { return r.Store == name })
		fmt.Fprintf(w, "| %s | %.1f | %.1f | %.3f | %.0f | %.0f | %.0f | %.0f | %s |\n", name,
			of(func(in *ingest) float64 { return in.CPU / gb(in) }), of(func(in *ingest) float64 { return in.PushCPU / gb(in) }),
			of(func(in *ingest) float64 { return float64(in.Data) / float64(in.Bytes) }), of(func(in *ingest) float64 { return float64(in.WAL) / 1e6 }),
			of(func(in *ingest) float64 { return float64(in.Peak) / (1 << 20) }), of(func(in *ingest) float64 { return float64(in.Mean) / (1 << 20) }),
			of(func(in *ingest) float64 { return in.PushWall }), rep.Results[i].Ack)
	}
}

func (rep *report) printQueries(w io.Writer) {
	names := rep.names()
	fmt.Fprint(w, "\nCPU milliseconds: the first time after a start / again and again; (wall); peak RSS in MiB.\n\n| query |")
	for _, n := range names {
		fmt.Fprintf(w, " %s |", n)
	}
	fmt.Fprint(w, "\n|---|"+strings.Repeat("---|", len(names))+"\n")
	var notes []string
	for _, q := range stores.Queries {
		fmt.Fprintf(w, "| %s |", q)
		for _, n := range names {
			var cells []string
			for _, label := range rep.labels(n, q) {
				text, note := rep.cell(n, q, label)
				cells = append(cells, text)
				if note != "" {
					notes = append(notes, fmt.Sprintf("%s, %s %s: %s", n, q, label, note))
				}
			}
			fmt.Fprintf(w, " %s |", strings.Join(cells, "<br>"))
		}
		fmt.Fprintln(w)
	}
	for _, n := range notes {
		fmt.Fprintf(w, "\n%s\n", n)
	}
}

func (rep *report) labels(store string, q stores.Query) (labels []string) {
	for _, r := range rep.Results {
		for _, m := range r.Queries {
			if r.Store == store && m.Query == string(q) && !slices.Contains(labels, m.Label) {
				labels = append(labels, m.Label)
			}
		}
	}
	return labels
}

func (rep *report) cell(store string, q stores.Query, label string) (text, note string) {
	var first, warm, wall []float64
	var peak int64
	for _, r := range rep.Results {
		for _, m := range r.Queries {
			if r.Store != store || m.Query != string(q) || m.Label != label {
				continue
			}
			if m.Wrong != "" {
				return strings.TrimSpace(label + " **wrong**"), m.Wrong
			}
			first, warm, wall = append(first, m.First), append(warm, m.Warm), append(wall, m.Wall)
			peak = max(peak, m.Peak)
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s / **%s** (%s) %d", label, milli(median(first)), milli(median(warm)), milli(median(wall)), peak>>20)), ""
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Clone(v)
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// milli writes seconds as milliseconds with two digits that count.
func milli(s float64) string {
	switch ms := s * 1000; {
	case ms < 1:
		return fmt.Sprintf("%.2f", ms)
	case ms < 10:
		return fmt.Sprintf("%.1f", ms)
	default:
		return fmt.Sprintf("%.0f", ms)
	}
}

// save writes the report as JSON.
func (rep *report) save(path string) error {
	data, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
