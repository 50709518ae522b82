// Package mixed makes the logs that stores are compared over: JSON access and
// application logs, logfmt, klog, nginx, plain text and stack traces of many
// containers over some hours, with trace ids as structured metadata, as bodies
// of Loki's push API. It knows what is in them: what a store answers is
// compared with Truth.
//
// A corpus depends on its Config alone, byte for byte.
package mixed

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Config says what to make.
type Config struct {
	Seed    uint64
	Streams int
	Bytes   int64 // of lines, about; Truth.Bytes is exact
	// Start is the time before the first line, a whole minute; Span is how long
	// the lines take, whole minutes.
	Start time.Time
	Span  time.Duration
	// Clients is among how many senders the streams are shared out; a body
	// has about BodyBytes of lines, those of one sender.
	Clients   int
	BodyBytes int
	// Derive leaves it to the store to find the level of every line. Otherwise a
	// line that is not JSON has it as structured metadata, detected_level, as
	// agents send it: stores differ in what they find in a klog line.
	Derive bool
}

// What queries look for.
const (
	// Literal stands in one of twenty lines, and is shorter than what filters of
	// stores are made of.
	Literal = "conn"
	// Absent is in no line, though each of its words is in many.
	Absent = "lease expired before upstream commit"
	// App is an application with some of the streams.
	App = "checkout"
	// Cluster is a label that all streams have.
	Cluster = "bench"
	// Last is how many of the last lines of App Truth has.
	Last = 100
)

// A Label is a name and its value.
type Label struct{ Name, Value string }

// A Stream is one container's output.
type Stream struct {
	Labels []Label
	Text   string // the labels as a selector, in Loki's format
	app    *app
	client int
}

// An Entry is a line with what belongs to it.
type Entry struct {
	Stream int
	Time   int64 // nanoseconds; no two are equal, none is on a whole minute
	Line   []byte
	Level  string
	Trace  string // 32 hexadecimal digits, or nothing
	Meta   bool   // the level goes along as structured metadata
	Status int    // of an access log as JSON; else 0
	Route  string
}

type app struct {
	namespace, name string
	kind            kind
	weight          float64
}

var apps = []app{
	{"shop", "gateway", accessJSON, 14}, {"shop", App, accessJSON, 6}, {"shop", "catalog", accessJSON, 8}, {"shop", "cart", accessJSON, 5},
	{"payments", "ledger", appJSON, 6}, {"payments", "fraud", appJSON, 5}, {"payments", "settlement", appJSON, 3}, {"shop", "search", appJSON, 4},
	{"platform", "auth", logfmt, 6}, {"platform", "notifier", logfmt, 4}, {"monitoring", "prometheus", logfmt, 4}, {"monitoring", "alertmanager", logfmt, 2},
	{"kube-system", "coredns", klog, 4}, {"kube-system", "kube-proxy", klog, 3}, {"kube-system", "scheduler", klog, 3},
	{"ingress", "nginx", nginx, 12}, {"data", "worker", plain, 6}, {"data", "importer", plain, 5}, {"data", "kafka", plain, 4}, {"shop", "orders", java, 5},
}

// streams makes the streams, with how often each writes: applications differ,
// and the containers of one too.
func (g *Generator) makeStreams() {
	r := rand.New(rand.NewPCG(g.cfg.Seed, 1))
	count := make(map[string]int)
	var total float64
	for i := range g.cfg.Streams {
		a := &apps[i%len(apps)]
		pod := fmt.Sprintf("%s-%08x%02x-%05x", a.name, r.Uint32(), i/len(apps)%7, r.Uint32N(1<<20))
		output := "stdout"
		if a.kind == klog || i%17 == 16 {
			output = "stderr"
		}
		s := Stream{app: a, client: i % g.cfg.Clients, Labels: []Label{
			{"app", a.name}, {"cluster", Cluster}, {"container", a.name}, {"namespace", a.namespace},
			{"node", fmt.Sprintf("node-%02d", i%max(1, min(40, g.cfg.Streams/10)))}, {"pod", pod}, {"stream", output},
		}}
		s.Text = "{"
		for k, l := range s.Labels {
			if k > 0 {
				s.Text += ", "
			}
			s.Text += fmt.Sprintf("%s=%q", l.Name, l.Value)
		}
		s.Text += "}"
		g.streams = append(g.streams, s)
		count[a.name]++
		total += a.weight / float64(count[a.name])
		g.cumulative = append(g.cumulative, total)
	}
}

// A Generator makes entries in the order of their times.
type Generator struct {
	cfg        Config
	rng        *rand.Rand
	streams    []Stream
	cumulative []float64 // weights of streams, added up
	texts      texts
	n, total   int64
	step       int64
	needleAt   int64
	needle     string
	entry      Entry
}

// New prepares a corpus.
func New(cfg Config) (*Generator, error) {
	if cfg.Streams < 1 || cfg.Clients < 1 || cfg.Bytes < 1 || cfg.BodyBytes < 1 || cfg.Span < time.Minute || cfg.Span%time.Minute != 0 || cfg.Start.UnixNano()%int64(time.Minute) != 0 {
		return nil, fmt.Errorf("a corpus of %+v", cfg)
	}
	g := &Generator{cfg: cfg, total: 1, step: 1}
	g.makeStreams()
	// How many lines there are has to be known for their times.
	const trial = 20_000
	g.rng = rand.New(rand.NewPCG(cfg.Seed, 2))
	g.texts = newTexts(cfg.Seed)
	var size int64
	for range trial {
		g.fill(cfg.Start.UnixNano())
		size += int64(len(g.entry.Line))
	}
	g.total = max(cfg.Bytes*trial/size, 10)
	g.step = int64(cfg.Span) / g.total
	g.rng = rand.New(rand.NewPCG(cfg.Seed, 3))
	g.texts = newTexts(cfg.Seed)
	g.needle = g.texts.hex(g.rng, 32)
	g.needleAt = g.total / 3
	return g, nil
}

// Streams are all streams.
func (g *Generator) Streams() []Stream { return g.streams }

// Next returns the next entry; nil at the end. It is valid until the next call.
func (g *Generator) Next() *Entry {
	if g.n == g.total {
		return nil
	}
	at := g.cfg.Start.UnixNano() + g.n*g.step + 1 + g.rng.Int64N(g.step-1)
	if at%int64(time.Minute) == 0 {
		at--
	}
	g.fill(at)
	if g.n == g.needleAt {
		g.entry.Line = fmt.Appendf(g.entry.Line[:0], "%s INFO  [worker-3] job %s accepted from queue imports", time.Unix(0, at).UTC().Format("2006-01-02 15:04:05.000"), g.needle)
		g.entry.Level, g.entry.Meta, g.entry.Status, g.entry.Route = "info", !g.cfg.Derive, 0, ""
	}
	g.n++
	return &g.entry
}

func (g *Generator) fill(at int64) {
	x := g.rng.Float64() * g.cumulative[len(g.cumulative)-1]
	i, _ := slices.BinarySearch(g.cumulative, x)
	e := &g.entry
	*e = Entry{Stream: min(i, len(g.streams)-1), Time: at, Line: e.Line[:0]}
	k := g.streams[e.Stream].app.kind
	e.Meta = !g.cfg.Derive && k != accessJSON && k != appJSON
	g.texts.line(g.rng, k, e)
}
