package demo

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlog/weir/cri"
	"github.com/weirlog/weir/record"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// events are those of a cluster until a time.
func events(c Config, until time.Time) []Event {
	k := New(c)
	var out []Event
	for e := k.Next(); e.Time.Before(until); e = k.Next() {
		out = append(out, e)
	}
	return out
}

func text(list []Event) string {
	var b strings.Builder
	for _, e := range list {
		fmt.Fprintf(&b, "%d %d %s/%s %s", e.Time.UnixNano(), e.Kind, e.Pod.Namespace, e.Pod.Name, e.Pod.UID)
		if e.Container != nil {
			fmt.Fprintf(&b, " %s %d %t %d %s", e.Container.Name, e.Restart, e.Stderr, e.Story, e.Text)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestSameSeedSameEvents(t *testing.T) {
	c := Config{Seed: 7, Start: noon.Add(-time.Hour), Now: noon, Rate: 5}
	one := text(events(c, noon.Add(time.Hour)))
	if two := text(events(c, noon.Add(time.Hour))); one != two {
		t.Error(cmp.Diff(one[:2000], two[:2000]))
	}
	c.Seed++
	if one == text(events(c, noon.Add(time.Hour))) {
		t.Error("another seed makes the same")
	}
}

func TestOrderAndRate(t *testing.T) {
	for _, rate := range []float64{2, 10, 200} {
		c := Config{Seed: 1, Start: noon.Add(-time.Hour), Now: noon, Rate: rate}
		lines, last := 0, time.Time{}
		for _, e := range events(c, noon) {
			if e.Time.Before(last) {
				t.Fatalf("%v after %v", e.Time, last)
			}
			last = e.Time
			if e.Kind == Line {
				lines++
				if strings.ContainsAny(e.Text, "\n\x00") {
					t.Errorf("not one line: %q", e.Text)
				}
			}
		}
		if got := float64(lines) / 3600; got < rate*0.8 || got > rate*1.3 {
			t.Errorf("%g lines a second, want about %g", got, rate)
		}
	}
}

// TestStories holds the queries of the stories to their lines: exactly those that
// tell the story have what the query looks for.
func TestStories(t *testing.T) {
	finds := []struct {
		words string
		in    func(*Pod) bool
	}{
		{"acquirer timed out", func(p *Pod) bool { return p.Namespace == "payments" }},
		{"duration:", func(p *Pod) bool { return p.Name == "postgres-0" }},
		{"DISCOUNT_RATE", func(p *Pod) bool { return p.Workload == "deployment/orders" }},
		{"heap out of memory", func(p *Pod) bool { return p.Workload == "deployment/recommender" }},
	}
	for seed := range uint64(3) {
		c := Config{Seed: seed, Start: noon.Add(-2 * time.Hour), Now: noon}
		k := New(c)
		if len(k.Stories()) != len(finds) {
			t.Fatalf("%d stories", len(k.Stories()))
		}
		told := make([]int, len(finds)+1)
		for _, e := range events(c, noon) {
			if e.Kind != Line {
				continue
			}
			told[e.Story]++
			for i, f := range finds {
				s := k.Stories()[i]
				if !strings.Contains(s.Query, f.words) {
					t.Fatalf("%s does not look for %q", s.Query, f.words)
				}
				if found := f.in(e.Pod) && strings.Contains(e.Text, f.words); found != (e.Story == i+1) {
					t.Errorf("story %d, found %t by %s: %s", e.Story, found, s.Query, e.Text)
				}
				// A request that began in time may end a few seconds later.
				if e.Story == i+1 && (e.Time.Before(s.From) || !s.To.IsZero() && e.Time.After(s.To.Add(10*time.Second))) {
					t.Errorf("%s at %v, outside of %v to %v", s.Name, e.Time, s.From, s.To)
				}
			}
		}
		for i, n := range told[1:] {
			if n < 3 {
				t.Errorf("seed %d: story %d has %d lines", seed, i+1, n)
			}
		}
	}
}

// content reads a log file, plain or compressed.
func content(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(path, ".gz") {
		return b
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if b, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	return b
}

// messages frames a container's file as an agent does.
func messages(t *testing.T, data []byte) []string {
	t.Helper()
	s := record.NewStream([]record.Attr{{Name: "pod", Value: "p"}}, nil, nil)
	j := cri.NewJoiner(cri.Config{Format: cri.CRI, MaxLine: 1 << 20})
	j.Begin(record.ID{Lo: 1}, 0, 0)
	b := record.NewBatch(nil)
	span := b.Append(data)
	if n := j.Frame(b, span, 0, [2]*record.Stream{s, s}, 0, cri.More); n != len(data) {
		t.Fatalf("%d of %d bytes framed", n, len(data))
	}
	var out []string
	for i := range b.NumRecords() {
		if r := b.Record(i); r.Flags&(record.ParseError|record.Partial|record.Continued) != 0 {
			t.Errorf("not a whole CRI line: %v %q", r.Flags, b.Body(i))
		}
		out = append(out, string(b.Body(i)))
	}
	return out
}

// TestNode writes a cluster's past and some of what is live, and finds every line
// once: in the files, or counted as removed with one.
func TestNode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pods")
	c := Config{Seed: 3, Start: noon.Add(-30 * time.Minute), Now: noon, Rate: 30}
	n, err := OpenNode(NodeConfig{Dir: dir, MaxBytes: 40 << 20, Keep: noon})
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]int)
	for _, e := range events(c, noon.Add(45*time.Minute)) {
		if err := n.Apply(e); err != nil {
			t.Fatal(err)
		}
		if e.Kind == Line {
			want[e.Text]++
		}
	}
	if err := n.Settle(); err != nil {
		t.Fatal(err)
	}
	s := n.Stats()
	if s.Rotations < 5 || s.Restarts < 3 || s.Removed == 0 || s.Pods < 20 {
		t.Errorf("%+v: the test wants more to happen", s)
	}
	var disk int64
	found, zipped := 0, 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == Marker {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		disk += info.Size()
		if strings.HasSuffix(path, ".gz") {
			zipped++
		}
		for _, m := range messages(t, content(t, path)) {
			if want[m]--; want[m] < 0 {
				t.Errorf("%s: not written, or twice: %.100q", path, m)
			}
			found++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found+s.Removed != s.Lines {
		t.Errorf("%d lines found and %d removed of %d", found, s.Removed, s.Lines)
	}
	if disk != n.Disk() || zipped == 0 {
		t.Errorf("%d bytes on disk, %d counted, %d files zipped", disk, n.Disk(), zipped)
	}
	if _, err := OpenNode(NodeConfig{Dir: dir}); !errors.Is(err, ErrRunning) {
		t.Errorf("a second one: %v", err)
	}
	if err := Remove(dir); !errors.Is(err, ErrRunning) {
		t.Errorf("removed while running: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	// Another begins anew in the same place.
	if n, err = OpenNode(NodeConfig{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

func TestNodeStaysWithinBound(t *testing.T) {
	dir := t.TempDir()
	const most = 2 << 20
	n, err := OpenNode(NodeConfig{Dir: dir, MaxBytes: most, Keep: noon})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, e := range events(Config{Seed: 1, Start: noon.Add(-30 * time.Minute), Now: noon, Rate: 60}, noon) {
		if err := n.Apply(e); err != nil {
			t.Fatal(err)
		}
		if n.Disk() > most {
			t.Fatalf("%d bytes", n.Disk())
		}
	}
	if n.Stats().Removed == 0 {
		t.Error("nothing had to be removed: the test tests nothing")
	}
}

func TestForeignDirectory(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine.txt")
	if err := os.WriteFile(mine, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenNode(NodeConfig{Dir: dir}); !errors.Is(err, ErrForeign) {
		t.Errorf("open: %v", err)
	}
	if err := Remove(dir); !errors.Is(err, ErrForeign) {
		t.Errorf("remove: %v", err)
	}
	if err := Remove(t.TempDir()); !errors.Is(err, ErrForeign) {
		t.Errorf("remove an empty one: %v", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
	// What people put beside a demo stays.
	demo := t.TempDir()
	n, err := OpenNode(NodeConfig{Dir: demo})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(n.Close(), os.WriteFile(filepath.Join(demo, "notes"), nil, 0o600), Remove(demo)); err != nil {
		t.Fatal(err)
	}
	if list, err := os.ReadDir(demo); err != nil || len(list) != 1 || list[0].Name() != "notes" {
		t.Errorf("%v, %v", list, err)
	}
}

func BenchmarkPast(b *testing.B) {
	for b.Loop() {
		n := len(events(Config{Seed: 1, Start: noon.Add(-2 * time.Hour), Now: noon}, noon))
		b.ReportMetric(float64(n), "events")
	}
}
