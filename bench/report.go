package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Report is what -json writes.
type Report struct {
	Mode    string    `json:"mode"`
	When    time.Time `json:"when"`
	Machine string    `json:"machine"`
	Command string    `json:"command"`
	Missing []string  `json:"not_found,omitempty"`
	Results []Result  `json:"results"`
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

// row is all rounds of a participant.
type row struct {
	peer, form string
	rounds     []Result
}

func (r *row) protocol() string { p, _, _ := strings.Cut(r.form, "+"); return p }

func rows(results []Result) (all []*row) {
	for _, res := range results {
		i := slices.IndexFunc(all, func(r *row) bool { return r.peer == res.Peer && r.form == res.Form })
		if i < 0 {
			i = len(all)
			all = append(all, &row{peer: res.Peer, form: res.Form})
		}
		all[i].rounds = append(all[i].rounds, res)
	}
	return all
}

// stat is the minimum, median and maximum of a figure.
type stat struct{ min, med, max float64 }

func (r *row) stat(f func(*Result) float64) (s stat) {
	var v []float64
	for i := range r.rounds {
		if x := f(&r.rounds[i]); x > 0 {
			v = append(v, x)
		}
	}
	return summary(v)
}

func summary(v []float64) (s stat) {
	if len(v) == 0 {
		return s
	}
	slices.Sort(v)
	return stat{v[0], (v[(len(v)-1)/2] + v[len(v)/2]) / 2, v[len(v)-1]}
}

// sum adds a count over the rounds.
func (r *row) sum(f func(*Result) uint64) (n uint64) {
	for i := range r.rounds {
		n += f(&r.rounds[i])
	}
	return n
}

// ratio is figure a over figure b, round by round.
func ratio(a, b *row, f func(*Result) float64) stat {
	var v []float64
	for i := range a.rounds {
		for k := range b.rounds {
			if x, y := f(&a.rounds[i]), f(&b.rounds[k]); a.rounds[i].Round == b.rounds[k].Round && x > 0 && y > 0 {
				v = append(v, x/y)
			}
		}
	}
	return summary(v)
}

func find(all []*row, peer, form string) *row {
	for _, r := range all {
		if r.peer == peer && (r.form == form || form == "") {
			return r
		}
	}
	return nil
}

// jsonlines is the form that weir has its headline figure in.
const jsonlines = "jsonl+zstd"

// weirFor is weir's row to compare r with: the same form, else the same
// protocol; nil if weir has neither.
func weirFor(all []*row, r *row) *row {
	if w := find(all, weirName, r.form); w != nil {
		return w
	}
	for _, w := range all {
		if w.peer == weirName && w.protocol() == r.protocol() {
			return w
		}
	}
	return nil
}

// print writes a Markdown table.
func (rep *Report) print(w io.Writer) {
	all := rows(rep.Results)
	fmt.Fprintf(w, "\n%s, %s: `%s`\n\n", rep.Mode, rep.When.Format("2006-01-02 15:04"), rep.Command)
	fmt.Fprintf(w, "%s\n\n", rep.Machine)
	switch rep.Mode {
	case "catchup", "null":
		speedTable(w, all)
	case "live", "kill":
		lossTable(w, all)
	default:
		memoryTable(w, all)
	}
	for _, r := range all {
		for _, res := range r.rounds {
			if res.Bad != "" {
				fmt.Fprintf(w, "\n%s %s: a request was refused: %s\n", r.peer, r.form, res.Bad)
			}
			if res.Error != "" {
				fmt.Fprintf(w, "\n%s %s, round %d: %s\n", r.peer, r.form, res.Round, res.Error)
			}
		}
	}
	if len(rep.Missing) > 0 {
		fmt.Fprintf(w, "\nNot found: %s.\n", strings.Join(rep.Missing, ", "))
	}
}

func speedTable(w io.Writer, all []*row) {
	fmt.Fprintln(w, "| participant | records/CPU-s: median (min–max) | without start | MB/CPU-s | of the floor | weir is, same protocol | weir is, as JSON lines | peak RSS, MiB | mean | wire B/record | lost | doubled | altered | foreign |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range all {
		per := r.stat((*Result).PerCPU)
		of := ""
		if f := find(all, floorName, r.form); f != nil && f != r {
			s := ratio(r, f, (*Result).PerCPU)
			of = fmt.Sprintf("%.0f %% (%.0f–%.0f)", 100*s.med, 100*s.min, 100*s.max)
		}
		times := func(f *row) string {
			if f == nil || r.peer == floorName || r.peer == weirName {
				return ""
			}
			s := ratio(f, r, (*Result).PerCPU)
			if s.med == 0 {
				return ""
			}
			return fmt.Sprintf("%.1f × (%.1f–%.1f)", s.med, s.min, s.max)
		}
		fmt.Fprintf(w, "| %s %s | %s (%s–%s) | %s | %.0f | %s | %s | %s | %s | %.0f | %s |\n", r.peer, r.form,
			thousands(per.med), thousands(per.min), thousands(per.max), thousands(r.stat((*Result).SteadyPerCPU).med),
			r.stat((*Result).MBPerCPU).med, of, times(weirFor(all, r)), times(find(all, weirName, jsonlines)), r.memory(),
			r.stat(func(r *Result) float64 { return float64(r.Wire) / float64(max(r.Records, 1)) }).med, r.losses())
	}
}

func lossTable(w io.Writer, all []*row) {
	fmt.Fprintln(w, "| participant | written | lost | lost % | doubled | doubled % | re-sent | altered | foreign | CPU-s | peak RSS, MiB | mean | written, MB/s | last record, s |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range all {
		written := r.sum(func(r *Result) uint64 { return r.Written })
		percent := func(n uint64) string { return fmt.Sprintf("%.2f", 100*float64(n)/float64(max(written, 1))) }
		lost, doubled := r.sum(func(r *Result) uint64 { return r.Lost }), r.sum(func(r *Result) uint64 { return r.Doubled })
		fmt.Fprintf(w, "| %s %s | %d | %d | %s | %d | %s | %d | %d | %d | %.2f | %s | %.1f | %.0f |\n", r.peer, r.form, written,
			lost, percent(lost), doubled, percent(doubled), r.sum(func(r *Result) uint64 { return r.Resent }),
			r.sum(func(r *Result) uint64 { return r.Altered }), r.sum(func(r *Result) uint64 { return r.Foreign }),
			r.stat(func(r *Result) float64 { return float64(r.CPU) }).med, r.memory(),
			r.stat(func(r *Result) float64 { return float64(r.Rate) }).med, r.stat(func(r *Result) float64 { return float64(r.Wall) }).max)
	}
}

func memoryTable(w io.Writer, all []*row) {
	fmt.Fprintln(w, "| participant | peak RSS, MiB | mean | CPU, % of a core | lines/s written | lost | doubled | altered | foreign |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|")
	for _, r := range all {
		fmt.Fprintf(w, "| %s %s | %s | %.2f | %.0f | %s |\n", r.peer, r.form, r.memory(),
			100*r.stat(func(r *Result) float64 { return float64(r.Busy) }).med,
			r.stat(func(r *Result) float64 { return float64(r.LinesPerSecond) }).med, r.losses())
	}
}

func (r *row) memory() string {
	const mib = 1 << 20
	return fmt.Sprintf("%.0f | %.0f", r.stat(func(r *Result) float64 { return float64(r.Peak) / mib }).max,
		r.stat(func(r *Result) float64 { return float64(r.Mean) / mib }).med)
}

func (r *row) losses() string {
	return fmt.Sprintf("%d | %d | %d | %d", r.sum(func(r *Result) uint64 { return r.Lost }), r.sum(func(r *Result) uint64 { return r.Doubled }),
		r.sum(func(r *Result) uint64 { return r.Altered }), r.sum(func(r *Result) uint64 { return r.Foreign }))
}

// thousands writes a number as people read it.
func thousands(v float64) string {
	if v == 0 {
		return "–"
	}
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// save writes the report as JSON.
func (rep *Report) save(path string) error {
	slices.SortStableFunc(rep.Results, func(a, b Result) int { return cmp.Compare(a.Round, b.Round) })
	data, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
