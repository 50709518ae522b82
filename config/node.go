package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

type kind uint8

const (
	scalarNode kind = iota
	mapNode
	listNode
)

// node is a piece of configuration before it has a type.
type node struct {
	kind kind
	pos  Pos
	// of a scalar
	text string // its value, ${…} filled in
	raw  string // its value as written
	null bool
	// broken says that a reference in it could not be filled in, which has
	// been reported.
	broken bool
	style  yaml.Style // also of a map
	// of a map or list
	entries []entry
	items   []*node
}

type entry struct {
	key    string
	keyPos Pos
	val    *node
}

func (n *node) get(key string) *node {
	if n != nil && n.kind == mapNode {
		for _, e := range n.entries {
			if e.key == key {
				return e.val
			}
		}
	}
	return nil
}

func (n *node) set(key string, pos Pos, val *node) {
	for i := range n.entries {
		if n.entries[i].key == key {
			n.entries[i].val, n.entries[i].keyPos = val, pos
			return
		}
	}
	n.entries = append(n.entries, entry{key, pos, val})
}

// width is how many characters a caret should mark.
func (n *node) width() int {
	if n.kind != scalarNode {
		return 1
	}
	w := utf8.RuneCountInString(n.raw)
	if n.style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		w += 2
	}
	return max(w, 1)
}

func (k kind) String() string { return [...]string{"a single value", "a map", "a list"}[k] }

// Bounds of what is read, far above any honest configuration.
const (
	maxFileSize = 8 << 20
	maxNodes    = 50_000 // after aliases are followed
	maxDepth    = 64
)

// parse reads the bytes of one file. It returns nil where there is nothing, and
// reports all it can; ok is false when the file cannot be trusted as a whole.
func (c *collector) parse(file string, data []byte) (root *node, ok bool) {
	c.src[file] = splitLines(data)
	if len(data) > maxFileSize {
		c.addf(Pos{file, 1, 1}, 1, "the file is larger than %s", Size(maxFileSize))
		return nil, false
	}
	if !c.readable(file, data) {
		return nil, false
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		c.addf(Pos{file, 1, 1}, 1, "%s", err)
		return nil, false
	}
	var doc yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		return nil, true
	case err != nil:
		c.syntax(file, err)
		return nil, false
	}
	var next yaml.Node
	switch err := loader.Load(&next); {
	case errors.Is(err, io.EOF):
	case err != nil:
		c.syntax(file, err)
		return nil, false
	default:
		p := c.addf(Pos{file, max(next.Line, 1), max(next.Column, 1)}, 1, "a second YAML document starts here: one file holds one")
		p.Hint = "give each a file of its own"
		return nil, false
	}
	conv := converter{c: c, file: file}
	before := len(c.list)
	root = conv.node(&doc, 0)
	return root, len(c.list) == before || !conv.fatal
}

// readable reports bytes that no YAML file may hold.
func (c *collector) readable(file string, data []byte) bool {
	line, col := 1, 1
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			c.addf(Pos{file, line, col}, 1, "the file is not UTF-8: byte 0x%02x", data[i])
			return false
		case r == '\r' && i+1 < len(data) && data[i+1] == '\n':
		case r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == 0x85 || r == '\u2028' || r == '\u2029':
			// YAML takes some of them for line breaks, and nobody sees them.
			c.addf(Pos{file, line, col}, 1, "control character U+%04X", r).Hint = fmt.Sprintf("inside double quotes write \\u%04x", r)
			return false
		}
		if i += size; r == '\n' {
			line, col = line+1, 1
		} else if r != '\uFEFF' || i > size {
			col++
		}
	}
	return true
}

// syntax reports what the YAML parser says.
func (c *collector) syntax(file string, err error) {
	lines := c.src[file]
	pos, msg, hint := Pos{file, 1, 1}, err.Error(), ""
	var le *yaml.LoadError
	var les *yaml.LoadErrors
	if errors.As(err, &les) && len(les.Errors) > 0 {
		le = les.Errors[0]
	} else {
		errors.As(err, &le)
	}
	if le != nil {
		msg = le.Message
		if le.Mark.Line > 0 {
			pos.Line, pos.Column = le.Mark.Line, max(le.Mark.Column, 1)
		}
		if ctx := le.ContextMark; ctx.Line > 0 && atEnd(lines, pos.Line, pos.Column) && strings.HasPrefix(le.ContextMsg, "while ") {
			pos.Line, pos.Column = ctx.Line, max(ctx.Column, 1)
			msg = strings.TrimPrefix(le.ContextMsg, "while ") + " that starts here: " + msg
		} else if le.ContextMsg != "" && ctx.Line > 0 && ctx.Line != pos.Line {
			msg = le.ContextMsg + " (from line " + itoa(ctx.Line) + "): " + msg
		}
	}
	if n := len(lines); pos.Line > n && n > 0 {
		pos.Line, pos.Column = n, utf8.RuneCountInString(lines[n-1])+1
	}
	line := ""
	if pos.Line <= len(lines) {
		line = lines[pos.Line-1]
	}
	switch at := tail(line, pos.Column); {
	case strings.HasPrefix(strings.TrimLeft(line, " "), "\t") && strings.Contains(msg, "cannot start any token"):
		msg, hint = "a tab cannot indent YAML", "use spaces"
	case strings.Contains(msg, "cannot start any token") && at != "":
		hint = "quote values that start with " + at[:1]
	case strings.Contains(line, "${") && strings.Contains(msg, "did not find expected"):
		hint = "inside { } and [ ] put quotes around ${…}"
	case strings.Contains(msg, "mapping values are not allowed"):
		hint = "quote a value that holds ': ', or see whether the line is indented too far"
	}
	c.addf(pos, 1, "bad YAML: %s", msg).Hint = hint
}

// atEnd reports whether nothing but blank space follows the place.
func atEnd(lines []string, line, col int) bool {
	if line < 1 {
		return false
	}
	for i := line - 1; i < len(lines); i++ {
		rest := lines[i]
		if i == line-1 {
			rest = tail(rest, col)
		}
		if strings.TrimSpace(rest) != "" {
			return false
		}
	}
	return true
}

// tail returns the part of the line from the character col on.
func tail(line string, col int) string {
	for i := range line {
		if col--; col == 0 {
			return line[i:]
		}
	}
	return ""
}

func splitLines(data []byte) []string {
	if len(data) > maxFileSize {
		data = data[:maxFileSize]
	}
	s := strings.TrimPrefix(strings.ToValidUTF8(string(data), "\uFFFD"), "\uFEFF")
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\r")
	}
	if n := len(lines); n > 1 && lines[n-1] == "" {
		lines = lines[:n-1]
	}
	return lines
}

// converter makes nodes of the parser's, following aliases and merges.
type converter struct {
	c     *collector
	file  string
	nodes int
	fatal bool
	stack []*yaml.Node // aliases being followed
}

func (v *converter) pos(y *yaml.Node) Pos {
	return Pos{v.file, max(y.Line, 1), max(y.Column, 1)}
}

func (v *converter) node(y *yaml.Node, depth int) *node {
	if v.fatal {
		return nil
	}
	if v.nodes++; v.nodes > maxNodes || depth > maxDepth {
		what := "nested too deeply"
		if v.nodes > maxNodes {
			what = "too much configuration, aliases included"
		}
		v.c.addf(v.pos(y), 1, "%s", what)
		v.fatal = true
		return nil
	}
	switch y.Kind {
	case yaml.DocumentNode:
		if len(y.Content) == 0 {
			return nil
		}
		return v.node(y.Content[0], depth)
	case yaml.AliasNode:
		for _, a := range v.stack {
			if a == y.Alias {
				v.c.addf(v.pos(y), len(y.Value)+1, "*%s stands inside itself", shorten(y.Value))
				v.fatal = true
				return nil
			}
		}
		v.stack = append(v.stack, y.Alias)
		n := v.node(y.Alias, depth+1)
		v.stack = v.stack[:len(v.stack)-1]
		return n
	case yaml.ScalarNode:
		return &node{kind: scalarNode, pos: v.pos(y), text: y.Value, raw: y.Value, style: y.Style, null: y.ShortTag() == "!!null"}
	case yaml.SequenceNode:
		n := &node{kind: listNode, pos: v.pos(y)}
		for _, item := range y.Content {
			if m := v.node(item, depth+1); m != nil {
				n.items = append(n.items, m)
			}
		}
		return n
	case yaml.MappingNode:
		return v.mapping(y, depth)
	}
	v.c.addf(v.pos(y), 1, "this kind of YAML is not supported")
	v.fatal = true
	return nil
}

func (v *converter) mapping(y *yaml.Node, depth int) *node {
	n := &node{kind: mapNode, pos: v.pos(y), style: y.Style}
	seen := make(map[string]Pos)
	var merges []*yaml.Node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, val := y.Content[i], y.Content[i+1]
		if k.Kind == yaml.AliasNode {
			k = &yaml.Node{Kind: k.Alias.Kind, Value: k.Alias.Value, Tag: k.Alias.Tag, Line: k.Line, Column: k.Column}
		}
		if k.Kind != yaml.ScalarNode {
			v.c.addf(v.pos(k), 1, "a key must be a single word")
			continue
		}
		if k.ShortTag() == "!!merge" {
			merges = append(merges, val)
			continue
		}
		if first, dup := seen[k.Value]; dup {
			v.c.addf(v.pos(k), utf8.RuneCountInString(k.Value), "key %q is given twice", shorten(k.Value)).Hint = "first at " + first.String()
			continue
		}
		seen[k.Value] = v.pos(k)
		if m := v.node(val, depth+1); m != nil {
			n.entries = append(n.entries, entry{k.Value, v.pos(k), m})
		}
	}
	for _, m := range merges { // what the map itself says wins
		got := v.node(m, depth+1)
		var from []*node
		switch {
		case got == nil:
			continue
		case got.kind == listNode:
			from = got.items
		default:
			from = []*node{got}
		}
		for _, f := range from {
			if f.kind != mapNode {
				v.c.addf(v.pos(m), 1, "<< needs a map, not %s", f.kind)
				continue
			}
			for _, e := range f.entries {
				if n.get(e.key) == nil {
					n.entries = append(n.entries, e)
				}
			}
		}
	}
	return n
}
