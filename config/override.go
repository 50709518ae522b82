package config

import (
	"reflect"
	"slices"
	"strings"
)

// overrides applies the environment and flags to a tree of nodes. It knows
// from the schema what a path means, so that a value is split, or read as
// YAML, only where a list or map belongs.
type overrides struct {
	c   *collector
	env func(string) (string, bool)
	// taken maps the names of environment variables that mean something to
	// their path.
	taken map[string]string
}

// target is a place in the schema.
type target struct {
	typ reflect.Type // nil: a whole component
}

// envNameOf returns WEIR_OUTPUTS_LOKI_URL for outputs, loki, url.
func envNameOf(path []string) string {
	up := strings.ToUpper(strings.Join(path, "_"))
	return "WEIR_" + strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, up)
}

// environment puts the values of WEIR_… variables into root. Components with a
// name must stand in root to be found; those without are made.
func (o *overrides) environment(root *node) *node {
	walk := func(path []string, t target) {
		name := envNameOf(path)
		if other, ok := o.taken[name]; ok && other != strings.Join(path, ".") {
			if _, set := o.env(name); set {
				o.c.addf(Pos{File: name}, 1, "means both %s and %s", other, strings.Join(path, "."))
			}
			return
		}
		o.taken[name] = strings.Join(path, ".")
		if text, set := o.env(name); set && text != "" {
			root = o.put(root, path, t, text, Pos{File: name})
		}
	}
	for _, f := range fieldsOf(reflect.TypeFor[Config]()) {
		types := typesOf(f.typ)
		if types == nil {
			leaves([]string{f.name}, f.typ, walk)
			continue
		}
		var ids []string
		for _, t := range types {
			ids = append(ids, t.name)
		}
		if given := root.get(f.name); given != nil {
			for _, e := range given.entries {
				if !slices.Contains(ids, e.key) {
					ids = append(ids, e.key)
				}
			}
		}
		for _, id := range ids {
			t := findType(types, ID(id).Type())
			if t == nil {
				continue
			}
			walk([]string{f.name, id}, target{})
			for _, g := range t.fields() {
				leaves([]string{f.name, id, g.name}, g.typ, walk)
			}
		}
	}
	return root
}

// unknown warns about set variables that look like ours and mean nothing.
// Kubernetes itself sets some for services (WEIR_GATEWAY_PORT …).
func (o *overrides) unknown(set []string) {
	tops := names(fieldsOf(reflect.TypeFor[Config]()))
	for _, name := range set {
		rest, ours := strings.CutPrefix(name, "WEIR_")
		if !ours || o.taken[name] != "" || strings.Contains(rest, "_SERVICE_") || strings.HasSuffix(rest, "_PORT") || strings.Contains(rest, "_PORT_") {
			continue
		}
		first, _, deeper := strings.Cut(rest, "_")
		if deeper && slices.Contains(tops, strings.ToLower(first)) {
			var all []string
			for k := range o.taken {
				if strings.HasPrefix(k, "WEIR_"+first) {
					all = append(all, k)
				}
			}
			slices.Sort(all)
			p := o.c.warnf(Pos{File: name}, 1, "this environment variable sets nothing")
			if best := nearest(name, all); best != "" {
				p.Hint = `did you mean "` + best + `"?`
			}
		}
	}
}

func typesOf(t reflect.Type) []componentType {
	switch t {
	case reflect.TypeFor[Inputs]():
		return inputTypes
	case reflect.TypeFor[Outputs]():
		return outputTypes
	}
	return nil
}

// leaves calls visit for every place below path that takes a value of its own.
func leaves(path []string, t reflect.Type, visit func([]string, target)) {
	if t.Kind() == reflect.Struct && !isScalar(t) {
		for _, f := range fieldsOf(t) {
			leaves(append(path[:len(path):len(path)], f.name), f.typ, visit)
		}
		return
	}
	visit(path, target{t})
}

// flag applies one --set key.path=value.
func (o *overrides) flag(root *node, arg string) *node {
	key, text, ok := strings.Cut(arg, "=")
	pos := Pos{File: "--set " + key}
	if !ok || key == "" {
		o.c.addf(Pos{File: "--set"}, 1, "needs key.path=value")
		return root
	}
	path := strings.Split(key, ".")
	t, ok := o.find(pos, path)
	if !ok {
		return root
	}
	if t.typ == reflect.TypeFor[Secret]() && !strings.HasPrefix(text, "${") {
		o.c.warnf(pos, 1, "every user of this host can read a secret given as a flag").Hint = "give it as ${env:NAME} or ${file:/path}"
	}
	return o.put(root, path, t, text, pos)
}

// find looks a path up in the schema.
func (o *overrides) find(pos Pos, path []string) (target, bool) {
	typ, fs := reflect.TypeFor[Config](), fieldsOf(reflect.TypeFor[Config]())
	for i := 0; i < len(path); i++ {
		where := ""
		if i > 0 {
			where = " in " + strings.Join(path[:i], ".")
		}
		f := findField(fs, path[i])
		if f == nil {
			o.c.addf(pos, 1, "unknown key %q%s", shorten(path[i]), where).Hint = suggest(path[i], names(fs))
			return target{}, false
		}
		typ, fs = f.typ, nil
		if types := typesOf(typ); types != nil && i+1 < len(path) {
			i++
			t := findType(types, ID(path[i]).Type())
			if t == nil {
				var known []string
				for _, t := range types {
					known = append(known, t.name)
				}
				o.c.addf(pos, 1, "unknown %s type %q", strings.TrimSuffix(path[i-1], "s"), shorten(ID(path[i]).Type())).Hint = suggest(ID(path[i]).Type(), known)
				return target{}, false
			}
			typ, fs = nil, t.fields()
			continue
		}
		switch {
		case typ.Kind() == reflect.Struct && !isScalar(typ):
			fs = fieldsOf(typ)
		case typ.Kind() == reflect.Map && i+2 == len(path): // one key of a free map
			return target{typ.Elem()}, true
		case i+1 < len(path):
			o.c.addf(pos, 1, "%s has no keys below it", strings.Join(path[:i+1], "."))
			return target{}, false
		}
	}
	return target{typ}, true
}

// put returns root with text at path.
func (o *overrides) put(root *node, path []string, t target, text string, pos Pos) *node {
	val := &node{kind: scalarNode, pos: pos, text: text, raw: text}
	structured := t.typ == nil || !isScalar(t.typ) || hasMapForm(t.typ) && strings.HasPrefix(text, "{")
	switch {
	case !structured, text == "off" && t.typ == nil:
	case t.typ != nil && t.typ.Kind() == reflect.Slice && isScalar(t.typ.Elem()) && !strings.HasPrefix(text, "["):
		val = &node{kind: listNode, pos: pos}
		for item := range strings.SplitSeq(text, ",") {
			item = strings.TrimSpace(item)
			val.items = append(val.items, &node{kind: scalarNode, pos: pos, text: item, raw: item})
		}
	default:
		sub := newCollector()
		n, ok := sub.parse(pos.File, []byte(text))
		if !ok || len(sub.list) > 0 {
			msg := "bad YAML"
			if len(sub.list) > 0 {
				msg = sub.list[0].Message
			}
			o.c.addf(pos, 1, "%s", msg)
			return root
		}
		if n == nil {
			return root
		}
		n.place(pos)
		val = n
	}
	return graft(root, path, pos, val)
}

// place gives the whole tree one place.
func (n *node) place(pos Pos) {
	n.pos = pos
	for i := range n.entries {
		n.entries[i].keyPos = pos
		n.entries[i].val.place(pos)
	}
	for _, m := range n.items {
		m.place(pos)
	}
}

// graft returns a copy of root's spine with val at path.
func graft(root *node, path []string, pos Pos, val *node) *node {
	if len(path) == 0 {
		return val
	}
	out := &node{kind: mapNode, pos: pos}
	if root != nil && root.kind == mapNode {
		out.pos = root.pos
		out.entries = slices.Clone(root.entries)
	}
	keyPos := pos
	for _, e := range out.entries {
		if e.key == path[0] {
			keyPos = e.keyPos
		}
	}
	out.set(path[0], keyPos, graft(out.get(path[0]), path[1:], pos, val))
	return out
}
