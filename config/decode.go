package config

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// decoder puts nodes into structs and reports what does not fit.
type decoder struct {
	*collector
	nodes map[string]given // by path
}

// given is a value that somebody gave, with the place and width of its key.
type given struct {
	*node
	key      Pos
	keyWidth int
}

// place returns what a caret should mark: a single value itself, the key of
// anything else.
func (g given) place() (Pos, int) {
	if g.node == nil {
		return Pos{}, 1
	}
	if g.kind != scalarNode && g.key != (Pos{}) {
		return g.key, g.keyWidth
	}
	return g.pos, g.width()
}

// note remembers that the entry's value was given for path.
func (d *decoder) note(path string, e entry) {
	d.nodes[path] = given{e.val, e.keyPos, utf8.RuneCountInString(e.key)}
}

// fail reports an error about a node's value.
func (d *decoder) fail(n *node, format string, args ...any) *Problem {
	return d.addf(n.pos, n.width(), format, args...)
}

// structure decodes a map into the struct v.
func (d *decoder) structure(n *node, v reflect.Value, path string) {
	d.keys(n, fieldsOf(v.Type()), path, func(f *field, n *node, p string) {
		d.value(n, v.FieldByIndex(f.index), f, p)
	})
}

// keys calls use for every key of the map n that is a field.
func (d *decoder) keys(n *node, fs []field, path string, use func(f *field, n *node, path string)) {
	if n == nil || n.null {
		return
	}
	if n.kind != mapNode {
		p := d.fail(n, "%s: needs a map, not %s", orTop(path), n.kind)
		p.Hint = suggestKeys(names(fs))
		return
	}
	for _, e := range n.entries {
		f := findField(fs, e.key)
		if f == nil {
			d.unknownKey(n, e, path, names(fs))
			continue
		}
		p := sub(path, f.name)
		d.note(p, e)
		use(f, e.val, p)
	}
}

func orTop(path string) string {
	if path == "" {
		return "the configuration"
	}
	return path
}

func suggestKeys(keys []string) string { return suggest("", keys) }

func (d *decoder) unknownKey(parent *node, e entry, path string, allowed []string) {
	where := ""
	if path != "" {
		where = " in " + path
	}
	p := d.addf(e.keyPos, utf8.RuneCountInString(e.key), "unknown key %q%s", shorten(e.key), where)
	p.Hint = suggest(e.key, allowed)
	p.context = lineBefore(e.keyPos, parent)
	if e.val.kind == scalarNode && secretLike(e.key, nearest(e.key, allowed)) {
		d.hide(e.val)
	}
}

func secretLike(words ...string) bool {
	for _, w := range words {
		w = strings.ToLower(w)
		if strings.HasSuffix(w, "_file") {
			continue
		}
		for _, s := range []string{"pass", "pwd", "secret", "token", "key", "bearer", "auth", "cred"} {
			if strings.Contains(w, s) {
				return true
			}
		}
	}
	return false
}

// lineBefore returns the number of the line before pos if the braces of the
// map open there, for showing both.
func lineBefore(pos Pos, parent *node) int {
	if parent.style&yaml.FlowStyle != 0 && parent.pos.File == pos.File && parent.pos.Line == pos.Line-1 {
		return pos.Line - 1
	}
	return 0
}

// hide remembers that a scalar is a secret, so that no message shows it.
func (d *decoder) hide(n *node) {
	if n.kind != scalarNode {
		return
	}
	for _, text := range []string{n.raw, n.text} {
		if reference.MatchString(text) {
			continue
		}
		for line := range strings.SplitSeq(text, "\n") {
			if line = strings.TrimSpace(line); len(line) >= 4 {
				d.secrets = append(d.secrets, line)
			}
		}
	}
}

// value decodes n into v.
func (d *decoder) value(n *node, v reflect.Value, f *field, path string) {
	if n.null && n.kind == scalarNode {
		return // as if it were not there
	}
	switch x := v.Addr().Interface().(type) {
	case *Inputs:
		*x = nil
		d.components(n, path, inputTypes, func(id ID, settings any) { *x = append(*x, Input{id, settings}) })
		return
	case *Outputs:
		*x = nil
		d.components(n, path, outputTypes, func(id ID, settings any) { *x = append(*x, Output{id, settings.(OutputSettings)}) })
		return
	case *[]Step:
		*x = d.steps(n, path)
		return
	}
	t := v.Type()
	switch {
	case n.kind == mapNode && hasMapForm(t):
		v.SetZero()
		setDefaults(v, nil, "")
		d.structure(n, v, path)
	case isScalar(t):
		d.scalar(n, v, f, path)
	case t.Kind() == reflect.Struct:
		d.structure(n, v, path)
	case t.Kind() == reflect.Slice:
		d.list(n, v, f, path)
	case t.Kind() == reflect.Map:
		d.dict(n, v, f, path)
	default:
		panic("config: cannot decode " + t.String())
	}
}

func (d *decoder) scalar(n *node, v reflect.Value, f *field, path string) {
	if v.Type() == reflect.TypeFor[Secret]() {
		d.hide(n)
	}
	if n.kind != scalarNode {
		p := d.fail(n, "%s: needs a single value, not %s", path, n.kind)
		if f != nil && f.enum != nil {
			p.Hint = suggest("", f.enum)
		}
		return
	}
	if n.broken {
		return
	}
	before := reflect.New(v.Type()).Elem()
	before.Set(v)
	err := setScalar(v, n.text, f)
	if err == nil {
		return
	}
	v.Set(before)
	p := d.fail(n, "%s: %s", path, err)
	var se *syntaxError
	if errors.As(err, &se) {
		p.Hint = se.hint
		d.pointInto(p, n, se.off)
	}
	if n.text != n.raw {
		p.Message += " (from " + redactURL(shorten(n.raw)) + ")"
		if mayBeSecret(n.raw) {
			p.Message = path + ": bad value (from " + redactURL(shorten(n.raw)) + ")"
			p.Hint = ""
		}
	}
}

// pointInto moves the caret to a byte of the node's text, if that is known.
func (d *decoder) pointInto(p *Problem, n *node, off int) {
	if off >= 0 && n.text == n.raw {
		if p.caret = d.inside(n, off); p.caret != n.pos {
			p.width = 1
		}
	}
}

// mayBeSecret reports whether the references in a text lead to what no message
// should show.
func mayBeSecret(raw string) bool {
	if strings.Contains(raw, "${file:") {
		return true
	}
	for {
		_, rest, ok := strings.Cut(raw, "${env:")
		if !ok {
			return false
		}
		name, _, _ := strings.Cut(rest, "}")
		if secretLike(name) {
			return true
		}
		raw = rest
	}
}

// list decodes a list; a single value stands for a list of one.
func (d *decoder) list(n *node, v reflect.Value, f *field, path string) {
	elem := v.Type().Elem()
	items := n.items
	switch {
	case n.kind == scalarNode && isScalar(elem):
		items = []*node{n}
	case n.kind != listNode:
		d.fail(n, "%s: needs a list, not %s", path, n.kind)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		p := path + "[" + strconv.Itoa(i) + "]"
		if item.null {
			d.fail(item, "%s: is empty", p)
			continue
		}
		if item != n {
			d.nodes[p] = given{node: item}
		}
		if elem.Kind() == reflect.Struct && !isScalar(elem) {
			setDefaults(v.Index(i), nil, "")
		}
		d.value(item, v.Index(i), f, p)
	}
}

// dict decodes a map with free keys.
func (d *decoder) dict(n *node, v reflect.Value, f *field, path string) {
	if n.kind != mapNode {
		d.fail(n, "%s: needs a map, not %s", path, n.kind)
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range n.entries {
		p := sub(path, e.key)
		if e.key == "" {
			d.addf(e.keyPos, 1, "%s: empty key", path)
			continue
		}
		d.note(p, e)
		if e.val.null && e.val.kind == scalarNode {
			continue
		}
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(e.val, item, nil, p)
		v.SetMapIndex(reflect.ValueOf(e.key), item)
	}
}

// components decodes a map from id to settings.
func (d *decoder) components(n *node, path string, types []componentType, add func(ID, any)) {
	kind := strings.TrimSuffix(path, "s")
	var known []string
	for _, t := range types {
		known = append(known, t.name)
	}
	if n.kind != mapNode {
		d.fail(n, "%s: needs a map, not %s", path, n.kind).Hint = suggest("", known)
		return
	}
	for _, e := range n.entries {
		if e.val.kind == scalarNode && e.val.text == "off" {
			continue // switches off what a preset has
		}
		var id ID
		width := utf8.RuneCountInString(e.key)
		if err := id.UnmarshalText([]byte(e.key)); err != nil {
			p := d.addf(e.keyPos, width, "%s: %s", path, err)
			p.Hint = "an id is type or type/name, of letters, digits, - and _"
			continue
		}
		t := findType(types, id.Type())
		if t == nil {
			p := d.addf(e.keyPos, utf8.RuneCountInString(id.Type()), "unknown %s type %q", kind, shorten(id.Type()))
			p.Hint = suggest(id.Type(), known)
			continue
		}
		p := sub(path, e.key)
		d.note(p, e)
		settings := t.new()
		v := reflect.ValueOf(settings).Elem()
		setDefaults(v, t.defaults, "")
		d.keys(e.val, t.fields(), p, func(f *field, n *node, path string) {
			d.value(n, v.FieldByIndex(f.index), f, path)
		})
		add(id, settings)
	}
}

// fields returns the keys of the type's settings.
func (t *componentType) fields() []field {
	fs := fieldsOf(reflect.TypeOf(t.new()).Elem())
	for i := range fs {
		if fs[i].schemes != nil && t.schemes != nil {
			fs[i].schemes = t.schemes
		}
	}
	return fs
}

func findType(types []componentType, name string) *componentType {
	for i := range types {
		if types[i].name == name {
			return &types[i]
		}
	}
	return nil
}

// steps decodes the pipeline.
func (d *decoder) steps(n *node, path string) []Step {
	if n.kind != listNode {
		d.fail(n, "%s: needs a list, not %s", path, n.kind).Hint = "write each step as - step: settings"
		return nil
	}
	fs := fieldsOf(reflect.TypeFor[Step]())
	out := make([]Step, len(n.items)) // a bad step keeps its place
	for i, item := range n.items {
		p := path + "[" + strconv.Itoa(i) + "]"
		d.nodes[p] = given{node: item}
		if item.kind == scalarNode || item.kind == mapNode && len(item.entries) != 1 {
			d.fail(item, "%s: a step is a map with a single key", p).Hint = suggestKeys(names(fs))
			continue
		}
		s := &out[i]
		v := reflect.ValueOf(s).Elem()
		d.keys(item, fs, p, func(f *field, n *node, path string) {
			if n.null {
				d.fail(n, "%s: is empty", path)
				return
			}
			s.Kind = f.name
			d.value(n, v.FieldByIndex(f.index), f, path)
		})
	}
	return out
}
