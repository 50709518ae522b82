package config

import "fmt"

// join adds the tree b of another file to a: maps merge, lists append, and a
// value that both give is an error that names both places.
func (c *collector) join(a, b *node, path string) *node {
	switch {
	case a == nil || a.null && a.kind == scalarNode:
		return b
	case b == nil || b.null && b.kind == scalarNode:
		return a
	case a.kind == mapNode && b.kind == mapNode:
		for _, e := range b.entries {
			if old := a.get(e.key); old != nil {
				a.set(e.key, e.keyPos, c.join(old, e.val, sub(path, e.key)))
			} else {
				a.entries = append(a.entries, e)
			}
		}
		return a
	case a.kind == listNode && b.kind == listNode:
		a.items = append(a.items, b.items...)
		return a
	}
	c.addf(b.pos, b.width(), "%s is given in two files", path).Hint = fmt.Sprintf("also at %s", a.pos)
	return a
}

// overlay puts top over base: maps merge, anything else is replaced.
func overlay(base, top *node) *node {
	switch {
	case base == nil:
		return top
	case top == nil || top.null && top.kind == scalarNode:
		return base
	case base.kind == mapNode && top.kind == mapNode:
		out := &node{kind: mapNode, pos: top.pos, entries: append([]entry(nil), base.entries...)}
		for _, e := range top.entries {
			out.set(e.key, e.keyPos, overlay(out.get(e.key), e.val))
		}
		return out
	}
	return top
}

// sub is the path of a key below path.
func sub(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
