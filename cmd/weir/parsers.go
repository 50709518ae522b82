package main

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/metrics"
	"github.com/weirlog/weir/pipeline"
	"github.com/weirlog/weir/stage"
)

// parseStep returns the step of a parser, nil for one that does nothing. at is where
// the parser is given.
func (p *process) parseStep(c *config.Parser, at string) (pipeline.Stage, error) {
	if c.None() {
		return nil, nil
	}
	return newParser(c, p.misses.counter(at, c), nil)
}

// newParser returns the parser. slow is told when a regular expression costs too much
// and pauses; nil: it may cost what it will.
func newParser(c *config.Parser, misses *atomic.Uint64, slow func()) (stage.Parser, error) {
	switch {
	case c.Regex != "":
		r := stage.RegexConfig{Pattern: c.Regex, Time: c.Time, Types: c.Types, Misses: misses, Slow: slow}
		if slow != nil {
			r.Clock = time.Now
		}
		return stage.NewRegex(r)
	case c.Format == "access":
		return stage.NewAccess(stage.AccessConfig{Misses: misses}), nil
	}
	return stage.NewParse(stage.ParseConfig{Format: c.Format, Misses: misses})
}

// parseMisses counts what parsers were not made for, over reloads.
type parseMisses struct {
	mu sync.Mutex
	n  map[parserAt]*atomic.Uint64
}

type parserAt struct{ parser, at string }

func (m *parseMisses) counter(at string, c *config.Parser) *atomic.Uint64 {
	k := parserAt{cmp.Or(c.Format, "regex"), at}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n == nil {
		m.n = make(map[parserAt]*atomic.Uint64)
	}
	if m.n[k] == nil {
		m.n[k] = new(atomic.Uint64)
	}
	return m.n[k]
}

// list returns the counters of parsers that can miss.
func (m *parseMisses) list() (out []metrics.Parser) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, n := range m.n {
		if k.parser != "auto" && k.parser != "none" {
			out = append(out, metrics.Parser{Name: k.parser, At: k.at, Errors: n.Load()})
		}
	}
	return out
}
