package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/cri"
	"github.com/weirlog/weir/kube"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/tail"
)

// perPod obeys what pods' annotations say about their lines: parser, multi-line
// records, rate. What they say is looked at when a container is described, once for
// every value; records are looked at only if a stream of their batch has wishes. A
// value that means nothing has no effect but to be told, once per pod and value.
//
// It is a step for the records of one input. Everything happens in that input's
// goroutine, as tail's contract of Describe and Put is.
type perPod struct {
	tell   func(k tail.Container, annotation, text string)
	misses *parseMisses

	// A round begins when the descriptions are made anew; what it does not meet
	// again is forgotten with the next.
	version        uint64
	values, old    map[wish]*granted
	told, toldOnce map[trouble]bool
	parsers        map[*record.Stream]stage.Parser
	parse          *stage.PerStream
	rates          []*podRate
}

// wish is a kind of annotation and its value.
type wish struct{ kind, value string }

// trouble is what is told once.
type trouble struct{ uid, annotation, text string }

// maxExpressions is how many different regular expressions the pods of a node may ask
// for, each of which takes up to half a megabyte.
const maxExpressions = 200

// maxValues is how many values are remembered.
const maxValues = 10_000

// granted is what a wish means; one of these, or err.
type granted struct {
	parser stage.Parser
	joins  *cri.Multiline
	rate   *podRate
	err    string
	full   bool // an err that may pass

	by         tail.Container // who asked for it last
	annotation string
}

// podRate is a rate, which each of the containers that wish for it has.
type podRate struct {
	limit *stage.RateLimit
	of    map[*record.Stream]bool
}

func newPerPod(misses *parseMisses, tell func(k tail.Container, annotation, text string)) *perPod {
	p := &perPod{
		tell: tell, misses: misses, values: map[wish]*granted{}, told: map[trouble]bool{}, parsers: map[*record.Stream]stage.Parser{},
	}
	p.parse = stage.NewPerStream(func(s *record.Stream) stage.Parser { return p.parsers[s] })
	return p
}

// round begins a round if the version of the descriptions is another.
func (p *perPod) round(version uint64) uint64 {
	if version == p.version {
		return version
	}
	p.version = version
	p.old, p.values = p.values, make(map[wish]*granted)
	p.toldOnce, p.told = p.told, make(map[trouble]bool)
	clear(p.parsers)
	for _, r := range p.rates {
		clear(r.of)
	}
	p.rates = nil
	return version
}

// obey gives the container, or file of a volume, what m.wishes asks for. d.Streams must
// be the final ones.
func (p *perPod) obey(k tail.Container, m *podMetadata, d *tail.Description) {
	for _, text := range m.fileErrors {
		annotation, text, _ := strings.Cut(text, ": ")
		p.trouble(k, annotation, text)
	}
	for _, a := range m.strays {
		p.trouble(k, a, "the pod has no container of that name; it has "+strings.Join(slices.Sorted(maps.Keys(m.containers)), ", "))
	}
	w := &m.wishes
	for i, s := range d.Streams {
		if g := p.grant(k, kube.AnnotationParser, w.Parser[i]); g != nil {
			p.parsers[s] = g.parser
		}
	}
	if g := p.grant(k, kube.AnnotationMultiline, w.Multiline); g != nil {
		d.Multiline = g.joins
	}
	if g := p.grant(k, kube.AnnotationRate, w.Rate); g != nil {
		for _, s := range d.Streams {
			g.rate.of[s] = true
		}
		if !slices.Contains(p.rates, g.rate) {
			p.rates = append(p.rates, g.rate)
		}
	}
}

// grant returns what a wish means, nil if there is none or it means nothing.
func (p *perPod) grant(k tail.Container, kind string, w kube.Wish) *granted {
	if w.Annotation == "" {
		return nil
	}
	key := wish{kind, strings.TrimSpace(w.Value)}
	g := p.values[key]
	if g == nil {
		if g = p.old[key]; g == nil {
			g = p.read(key)
		}
		g.by, g.annotation = k, w.Annotation
		if len(p.values) < maxValues && !g.full {
			p.values[key] = g
		}
	}
	if g.err != "" {
		p.trouble(k, w.Annotation, g.err)
		return nil
	}
	return g
}

// expression reports whether a value holds a regular expression.
func (w wish) expression() bool {
	return strings.HasPrefix(w.value, "regex:") || strings.HasPrefix(w.value, "first:")
}

// read finds out what a value means, in the words of the configuration.
func (p *perPod) read(w wish) *granted {
	if w.expression() {
		n := 0
		for other := range p.values {
			if other.expression() {
				n++
			}
		}
		if n >= maxExpressions {
			return &granted{full: true, err: fmt.Sprintf("the pods of this node ask for more than %d different regular expressions", maxExpressions)}
		}
	}
	g := new(granted)
	var err error
	switch w.kind {
	case kube.AnnotationParser:
		var c config.Parser
		if err = c.UnmarshalText([]byte(w.value)); err == nil {
			g.parser, err = newParser(&c, p.misses.counter("annotation", &c), func() {
				p.trouble(g.by, g.annotation, "the regular expression takes more than a microsecond for a byte: for ten seconds at a time records pass on unparsed")
			})
		}
	case kube.AnnotationMultiline:
		var c config.Multiline
		if err = c.UnmarshalText([]byte(w.value)); err == nil {
			if g.joins, err = c.Joining(); g.joins == nil {
				g.joins = cri.Off // and not what is configured
			}
		}
	case kube.AnnotationRate:
		var c config.RateLimit
		switch err = c.UnmarshalText([]byte(w.value)); {
		case err != nil:
		case c.Lines.N == 0 && c.Bytes.N == 0:
			err = errors.New(`a rate of 0 lets nothing through; weir.dev/exclude: "true" does that`)
		default:
			g.rate, err = newPodRate(&c)
		}
	}
	if err != nil {
		return &granted{err: config.Explain(err)}
	}
	return g
}

func newPodRate(c *config.RateLimit) (*podRate, error) {
	r := &podRate{of: make(map[*record.Stream]bool)}
	var err error
	r.limit, err = rateLimitStep(c, func(s *record.Stream) bool { return r.of[s] })
	return r, err
}

// trouble tells, if that has not been told.
func (p *perPod) trouble(k tail.Container, annotation, text string) {
	t := trouble{k.UID, annotation, text}
	if !p.told[t] && !p.toldOnce[t] {
		p.tell(k, annotation, text)
	}
	p.told[t] = true
}

// Process implements pipeline.Stage.
func (p *perPod) Process(b *record.Batch, now time.Time) error {
	for _, r := range p.rates {
		_ = r.limit.Process(b, now) // it cannot fail
	}
	if len(p.parsers) == 0 {
		return nil
	}
	return p.parse.Process(b, now)
}

// annotationTrouble counts an annotation that has no effect and says so in the log and
// at the pod.
type annotationTrouble struct {
	log    *slog.Logger
	events atomic.Pointer[podEvents] // nil: nobody can be told
	n      atomic.Uint64
}

func (t *annotationTrouble) tell(k tail.Container, annotation, text string) {
	t.n.Add(1)
	if t.log != nil {
		t.log.Warn("annotation ignored", "namespace", k.Namespace, "pod", k.Pod, "annotation", annotation, "error", text)
	}
	t.events.Load().warn(k, annotation, text)
}
