package mixed

import (
	"bytes"
	"time"
)

// Truth is what a corpus has in it.
type Truth struct {
	Config      Config
	Rows, Bytes int64
	// Metadata is the size of structured metadata, names and values, beside Bytes.
	Metadata int64

	Needle     string // 32 hexadecimal digits that are in one line
	NeedleTime int64
	NeedleLine string

	LiteralRows int64            // lines with Literal
	Status      map[int]int64    // lines of JSON access logs
	Routes      map[string]int64 // the same by http_route
	LastTimes   []int64          // of App's last lines, the newest first
	LastLines   []string

	Streams []Stream
	// Minutes is how many lines a stream has in each minute from Start on,
	// Levels how many of a level there are.
	Minutes [][]uint32
	Levels  map[string][]int64
}

func newTruth(g *Generator) *Truth {
	t := &Truth{Config: g.cfg, Needle: g.needle, Streams: g.streams, Status: make(map[int]int64), Routes: make(map[string]int64), Levels: make(map[string][]int64)}
	for range g.streams {
		t.Minutes = append(t.Minutes, make([]uint32, t.NumMinutes()))
	}
	return t
}

// NumMinutes is how many minutes the corpus has.
func (t *Truth) NumMinutes() int { return int(t.Config.Span / time.Minute) }

// End is when the corpus is over.
func (t *Truth) End() time.Time { return t.Config.Start.Add(t.Config.Span) }

func (t *Truth) add(e *Entry) {
	t.Rows++
	t.Bytes += int64(len(e.Line))
	if e.Trace != "" {
		t.Metadata += int64(len("trace_id") + len(e.Trace))
	}
	if e.Meta {
		t.Metadata += int64(len("detected_level") + len(e.Level))
	}
	if bytes.Contains(e.Line, []byte(Literal)) {
		t.LiteralRows++
	}
	if bytes.Contains(e.Line, []byte(t.Needle)) {
		t.NeedleTime, t.NeedleLine = e.Time, string(e.Line)
	}
	if e.Route != "" {
		t.Status[e.Status]++
		t.Routes[e.Route]++
	}
	minute := (e.Time - t.Config.Start.UnixNano()) / int64(time.Minute)
	t.Minutes[e.Stream][minute]++
	if t.Levels[e.Level] == nil {
		t.Levels[e.Level] = make([]int64, t.NumMinutes())
	}
	t.Levels[e.Level][minute]++
	if t.Streams[e.Stream].app.name == App {
		t.LastTimes = append(t.LastTimes, e.Time)
		t.LastLines = append(t.LastLines, string(e.Line))
		if len(t.LastTimes) >= 4*Last {
			t.cut()
		}
	}
}

// cut keeps the last lines only.
func (t *Truth) cut() {
	from := max(0, len(t.LastTimes)-Last)
	t.LastTimes = append(t.LastTimes[:0], t.LastTimes[from:]...)
	t.LastLines = append(t.LastLines[:0], t.LastLines[from:]...)
}
