package config

import (
	"reflect"
	"slices"
)

// Changes says what a reload has to do.
type Changes struct {
	// Added, Removed and Changed are component ids.
	AddedInputs, RemovedInputs, ChangedInputs    []ID
	AddedOutputs, RemovedOutputs, ChangedOutputs []ID
	// Other are the top-level keys that differ, beside inputs and outputs.
	Other []string
}

// None reports whether nothing differs.
func (c Changes) None() bool {
	return len(c.AddedInputs)+len(c.RemovedInputs)+len(c.ChangedInputs)+
		len(c.AddedOutputs)+len(c.RemovedOutputs)+len(c.ChangedOutputs)+len(c.Other) == 0
}

// Diff returns what differs in effect between two configurations, values of
// references included: a new password in a file changes its output. Where
// something was given, and in which order components stand, makes no
// difference.
func Diff(from, to *Config) Changes {
	var ch Changes
	a, b := make(map[ID]string), make(map[ID]string)
	var order []ID
	for _, in := range from.Inputs {
		a[in.ID] = settingsText(in.Settings)
		order = append(order, in.ID)
	}
	for _, in := range to.Inputs {
		b[in.ID] = settingsText(in.Settings)
		order = append(order, in.ID)
	}
	ch.AddedInputs, ch.RemovedInputs, ch.ChangedInputs = compare(order, a, b)
	clear(a)
	clear(b)
	order = order[:0]
	for _, out := range from.Outputs {
		a[out.ID] = settingsText(out.Settings)
		order = append(order, out.ID)
	}
	for _, out := range to.Outputs {
		b[out.ID] = settingsText(out.Settings)
		order = append(order, out.ID)
	}
	ch.AddedOutputs, ch.RemovedOutputs, ch.ChangedOutputs = compare(order, a, b)

	fs := fieldsOf(reflect.TypeFor[Config]())
	for i := range fs {
		f := &fs[i]
		if f.name == "inputs" || f.name == "outputs" {
			continue
		}
		if fieldText(from, f) != fieldText(to, f) {
			ch.Other = append(ch.Other, f.name)
		}
	}
	return ch
}

func compare(order []ID, a, b map[ID]string) (added, removed, changed []ID) {
	slices.Sort(order)
	for _, id := range slices.Compact(order) {
		x, old := a[id]
		y, now := b[id]
		switch {
		case !old:
			added = append(added, id)
		case !now:
			removed = append(removed, id)
		case x != y:
			changed = append(changed, id)
		}
	}
	return added, removed, changed
}

// settingsText is a component's settings with secrets in clear; it stays in
// the process.
func settingsText(settings any) string {
	e := emitter{reveal: true}
	v := reflect.ValueOf(settings).Elem()
	e.structure(v, fieldsOf(v.Type()), "", "")
	return v.Type().Name() + "\n" + e.text()
}

func fieldText(c *Config, f *field) string {
	e := emitter{reveal: true}
	e.member(reflect.ValueOf(c).Elem().FieldByIndex(f.index), f, f.name, "")
	return e.text()
}

func (e *emitter) text() string {
	n := 0
	for _, l := range e.lines {
		n += len(l.text) + 1
	}
	b := make([]byte, 0, n)
	for _, l := range e.lines {
		b = append(append(b, l.text...), '\n')
	}
	return string(b)
}
