package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/pipeline"
	"github.com/weirlog/weir/record"
)

// tapMessage is a line of the answer to GET /v1/tap. The first names what is
// tapped; later ones have a sample, or say only that the process lives, and how
// many samples were missed so far because they were not read fast enough.
type tapMessage struct {
	Component string `json:"component,omitempty"`
	// Kind is input, step or output. At a step Before and After differ; elsewhere
	// there is only After.
	Kind   string     `json:"kind,omitempty"`
	Before *tapRecord `json:"before,omitempty"`
	After  *tapRecord `json:"after,omitempty"`
	Missed uint64     `json:"missed,omitempty"`
}

// tapRecord is a record as it was at a place.
type tapRecord struct {
	Time    int64             `json:"time,string"` // Unix nanoseconds
	Level   string            `json:"level,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Body    string            `json:"body"`
	Fields  []tapField        `json:"fields,omitempty"`
	Dropped bool              `json:"dropped,omitempty"` // the step dropped it
	Cut     bool              `json:"cut,omitempty"`     // Body is only the beginning
}

type tapField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// tapAlive is how often an answer says that the process lives.
const tapAlive = time.Second

// tapPatience is how long a reader may take for a message.
const tapPatience = 30 * time.Second

// components are what can be tapped, as people name it.
func (p *process) components() (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.inputs {
		names = append(names, "inputs."+string(id))
	}
	slices.Sort(names)
	g := p.engine.Graph()
	if len(g.Steps) > 0 {
		names = append(names, "pipeline")
	}
	for _, s := range g.Steps {
		names = append(names, s.Name)
	}
	outputs := len(names)
	for _, o := range g.Outputs {
		names = append(names, "outputs."+o.Name)
	}
	slices.Sort(names[outputs:])
	return names
}

// tapPoint finds what a name means: inputs.ID, outputs.ID, pipeline, pipeline[N],
// or an id alone where there is only one such.
func (p *process) tapPoint(name string) (at pipeline.Point, full string, err error) {
	all := p.components()
	var found []string
	for _, c := range all {
		kind, id, ok := strings.Cut(c, ".")
		step := strings.HasPrefix(c, "pipeline")
		if c == name || !step && ok && id == name || step && strings.HasPrefix(c, name+".") && name != "pipeline" {
			found = append(found, kind+"."+id)
			full = c
		}
	}
	switch {
	case len(found) == 0:
		near := ""
		if n := nearestName(name, all); n != "" {
			near = ", did you mean " + n + "?"
		}
		return at, "", fmt.Errorf("there is no component %q%s; there are %s", name, near, strings.Join(all, ", "))
	case len(found) > 1:
		return at, "", fmt.Errorf("%q is %s; say which", name, strings.Join(found, " and "))
	}
	switch kind, id, _ := strings.Cut(full, "."); {
	case kind == "inputs":
		return pipeline.Point{Input: id}, full, nil
	case kind == "outputs":
		return pipeline.Point{Output: id}, full, nil
	}
	if full == "pipeline" {
		return pipeline.Point{Step: pipeline.AllSteps}, full, nil
	}
	for k, s := range p.engine.Graph().Steps {
		if s.Name == full {
			return pipeline.Point{Step: k}, full, nil
		}
	}
	return at, "", fmt.Errorf("the configuration has just changed: %s is gone", full)
}

// serveTap answers GET /v1/tap?component=…&match=…&rate=…: JSON, an object a line,
// until the client goes. It shows what is logged, also what a later step removes.
func (p *process) serveTap(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	bad := func(err error) { http.Error(w, err.Error(), http.StatusBadRequest) }
	at, full, err := p.tapPoint(q.Get("component"))
	if err != nil {
		bad(err)
		return
	}
	rate, err := strconv.ParseFloat(q.Get("rate"), 64)
	if err != nil || rate <= 0 || rate > 1e6 {
		bad(fmt.Errorf("rate %q: want samples a second", q.Get("rate")))
		return
	}
	var match pipeline.Match
	if text := q.Get("match"); text != "" {
		c, err := logql.ParseCondition(text)
		if err != nil {
			bad(err)
			return
		}
		match = c.Match
	}
	tap, err := p.engine.Tap(at, match, rate)
	if err != nil {
		bad(err)
		return
	}
	defer tap.Close()
	kind, _, _ := strings.Cut(full, ".")
	kind = map[string]string{"inputs": "input", "outputs": "output"}[kind]
	if kind == "" {
		kind = "step"
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	send := func(m tapMessage) bool {
		m.Missed = tap.Missed()
		_ = control.SetWriteDeadline(time.Now().Add(tapPatience)) // where there are none a reader just stays
		return enc.Encode(m) == nil
	}
	if !send(tapMessage{Component: full, Kind: kind}) || control.Flush() != nil {
		return
	}
	alive := time.NewTicker(tapAlive)
	defer alive.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case s := <-tap.Samples():
			m := tapMessage{}
			if kind == "step" {
				m.Before = seen(s.Before)
			}
			if s.After != nil {
				m.After = seen(s.After)
			}
			tap.Received(s)
			if !send(m) {
				return
			}
			if len(tap.Samples()) == 0 && control.Flush() != nil {
				return
			}
		case <-alive.C:
			if !send(tapMessage{}) || control.Flush() != nil {
				return
			}
		}
	}
}

func seen(s *pipeline.Seen) *tapRecord {
	r := &tapRecord{
		Time: s.Time, Body: string(s.Body), Cut: s.Cut, Dropped: s.Flags.Has(record.Dropped),
		Labels: make(map[string]string),
	}
	if s.Severity != record.Unknown {
		r.Level = s.Severity.Level()
	}
	for prefix, set := range map[string][]record.Attr{"": s.Stream.Attrs(), "label_": s.Stream.Labels(), "annotation_": s.Stream.Annotations()} {
		for _, a := range set {
			name := a.Name
			if prefix != "" {
				name = prefix + record.SanitizeName(a.Name)
			}
			r.Labels[name] = a.Value
		}
	}
	for _, f := range s.Fields {
		r.Fields = append(r.Fields, tapField{f.Name, f.Value})
	}
	return r
}
