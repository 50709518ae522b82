package logql

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	texttemplate "text/template"
	"text/template/parse"
	"time"
)

// Bounds of what a template may make of one line.
const (
	maxTemplateOutput = 1 << 20
	maxTemplateSteps  = 10_000 // rounds of range
)

var errTooLong = fmt.Errorf("the result is longer than %d bytes", maxTemplateOutput)

// template is the argument of line_format or label_format: Go's text/template
// with Loki's functions. It is for one goroutine.
type template struct {
	parts []templatePart // if it has only texts and labels
	t     *texttemplate.Template
	names []string // of the labels it looks at
	all   bool     // it may look at any label
	line  bool     // it looks at the line
	time  bool     // it looks at the row's time

	e     *entry
	out   limitedWriter
	steps int
	data  map[string]string
	list  []Label
}

// templatePart is a text, or a label if name is set.
type templatePart struct{ text, name string }

func newTemplate(s string, pos int) (*template, error) {
	t := &template{}
	tt, err := texttemplate.New("").Option("missingkey=zero").Funcs(functions).Funcs(t.own()).Parse(s)
	if err != nil {
		msg := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "template: "), ":1: ")
		return nil, errorAt(pos, "bad template: %s", msg)
	}
	t.t = tt
	if tt.Tree == nil || tt.Root == nil { // empty
		t.parts = []templatePart{}
		return t, nil
	}
	if len(tt.Templates()) > 1 {
		return nil, errorAt(pos, "bad template: define and block cannot stand here")
	}
	if err := t.inspect(tt.Root); err != nil {
		return nil, errorAt(pos, "bad template: %v", err)
	}
	t.simple(tt.Root)
	return t, nil
}

// own returns the functions that need the row.
func (t *template) own() texttemplate.FuncMap {
	return texttemplate.FuncMap{
		"__line__":      func() string { return string(t.e.line) },
		"__timestamp__": func() time.Time { return time.Unix(0, t.e.time).UTC() },
		"now":           func() time.Time { return time.Unix(0, t.e.now).UTC() },
		boundedFunc:     t.bounded,
	}
}

// boundedFunc is put behind everything that range goes over.
const boundedFunc = "__bounded__"

// bounded refuses what range could go over for ever.
func (t *template) bounded(v any) (any, error) {
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map:
		if t.steps += r.Len(); t.steps > maxTemplateSteps {
			return nil, fmt.Errorf("range goes over more than %d items", maxTemplateSteps)
		}
	case reflect.Invalid:
	case reflect.String:
		return nil, errors.New("range cannot go over a string")
	default:
		return nil, fmt.Errorf("range cannot go over %s", r.Kind())
	}
	return v, nil
}

// inspect learns what the template looks at, and refuses what has no bound.
func (t *template) inspect(n parse.Node) error {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		for _, c := range n.Nodes {
			if err := t.inspect(c); err != nil {
				return err
			}
		}
	case *parse.ActionNode:
		return t.inspect(n.Pipe)
	case *parse.PipeNode:
		if n == nil {
			return nil
		}
		for _, c := range n.Cmds {
			if err := t.inspect(c); err != nil {
				return err
			}
		}
	case *parse.CommandNode:
		for _, a := range n.Args {
			if err := t.inspect(a); err != nil {
				return err
			}
		}
	case *parse.FieldNode:
		t.names = append(t.names, n.Ident[0])
	case *parse.DotNode:
		t.all = true
	case *parse.VariableNode:
		if n.Ident[0] == "$" {
			if len(n.Ident) > 1 {
				t.names = append(t.names, n.Ident[1])
			} else {
				t.all = true
			}
		}
	case *parse.ChainNode:
		return t.inspect(n.Node)
	case *parse.IdentifierNode:
		switch n.Ident {
		case "__line__":
			t.line = true
		case "__timestamp__":
			t.time = true
		}
	case *parse.IfNode:
		return t.inspectBranch(&n.BranchNode)
	case *parse.WithNode:
		return t.inspectBranch(&n.BranchNode)
	case *parse.RangeNode:
		id := parse.NewIdentifier(boundedFunc).SetPos(n.Pos).SetTree(t.t.Tree)
		if err := t.inspectBranch(&n.BranchNode); err != nil {
			return err
		}
		n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{NodeType: parse.NodeCommand, Pos: n.Pos, Args: []parse.Node{id}})
	case *parse.TemplateNode:
		return errors.New("template cannot stand here")
	}
	return nil
}

func (t *template) inspectBranch(n *parse.BranchNode) error {
	for _, c := range []parse.Node{n.Pipe, n.List, n.ElseList} {
		if err := t.inspect(c); err != nil {
			return err
		}
	}
	return nil
}

// simple recognises templates of texts, {{.label}} and {{__line__}}.
func (t *template) simple(root *parse.ListNode) {
	var parts []templatePart
	for _, n := range root.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			parts = append(parts, templatePart{text: string(n.Text)})
		case *parse.CommentNode:
		case *parse.ActionNode:
			if len(n.Pipe.Decl) > 0 || len(n.Pipe.Cmds) != 1 || len(n.Pipe.Cmds[0].Args) != 1 {
				return
			}
			switch a := n.Pipe.Cmds[0].Args[0].(type) {
			case *parse.FieldNode:
				if len(a.Ident) != 1 {
					return
				}
				parts = append(parts, templatePart{name: a.Ident[0]})
			case *parse.IdentifierNode:
				if a.Ident != "__line__" {
					return
				}
				parts = append(parts, templatePart{})
			default:
				return
			}
		default:
			return
		}
	}
	t.parts = parts
	if parts == nil {
		t.parts = []templatePart{}
	}
}

// run returns the template's text for the row, in its arena.
func (t *template) run(e *entry) ([]byte, error) {
	if t.parts != nil {
		return t.runParts(e)
	}
	t.e, t.steps = e, 0
	t.out.p = t.out.p[:0]
	err := t.t.Execute(&t.out, t.labels(e))
	t.e = nil
	if err != nil {
		if errors.Is(err, errTooLong) {
			return nil, errTooLong
		}
		msg := err.Error()
		if _, rest, ok := strings.Cut(msg, ` executing "" at `); ok {
			msg = rest
		}
		return nil, errors.New(msg)
	}
	e.room(len(t.out.p))
	from := len(e.arena)
	e.arena = append(e.arena, t.out.p...)
	return e.arena[from:len(e.arena):len(e.arena)], nil
}

func (t *template) runParts(e *entry) ([]byte, error) {
	t.out.p = t.out.p[:0]
	for i := range t.parts {
		p := &t.parts[i]
		switch {
		case p.name != "":
			v, _ := e.get(p.name)
			t.out.p = append(t.out.p, v...)
		case p.text != "":
			t.out.p = append(t.out.p, p.text...)
		default:
			t.out.p = append(t.out.p, e.line...)
		}
		if len(t.out.p) > maxTemplateOutput {
			return nil, errTooLong
		}
	}
	e.room(len(t.out.p))
	from := len(e.arena)
	e.arena = append(e.arena, t.out.p...)
	return e.arena[from:len(e.arena):len(e.arena)], nil
}

// labels returns the row's labels as what the template's point is.
func (t *template) labels(e *entry) map[string]string {
	if t.data == nil {
		t.data = make(map[string]string)
	}
	clear(t.data)
	if !t.all {
		for _, n := range t.names {
			if v, ok := e.get(n); ok {
				t.data[n] = v
			}
		}
		return t.data
	}
	t.list = e.labels(t.list[:0])
	for _, l := range t.list {
		t.data[l.Name] = l.Value
	}
	return t.data
}

// limitedWriter keeps what is written up to a bound.
type limitedWriter struct{ p []byte }

func (w *limitedWriter) Write(p []byte) (int, error) {
	if len(w.p)+len(p) > maxTemplateOutput {
		return 0, errTooLong
	}
	w.p = append(w.p, p...)
	return len(p), nil
}

// toFloat reads what templates calculate with.
func toFloat(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case string:
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
			return f
		}
	case bool:
		if v {
			return 1
		}
	}
	return 0
}

func toInt(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case int:
		return int64(v)
	case string:
		if n, err := strconv.ParseInt(strings.TrimSpace(v), 0, 64); err == nil {
			return n
		}
	}
	if f := toFloat(v); math.Abs(f) < 1<<63 {
		return int64(f)
	}
	return 0
}
