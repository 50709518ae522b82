package kube

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Ours, and those of others that are obeyed so that moving in needs no edit.
const (
	annExclude          = "weir.dev/exclude" // also with .<container> behind it
	annFluentBit        = "fluentbit.io/exclude"
	annVectorContainers = "vector.dev/exclude-containers"
	labelVector         = "vector.dev/exclude"
	fluentBitContainer  = annFluentBit + "-" // <container> behind it
	excludeContainer    = annExclude + "."
	maxBadAnnotations   = 8
)

// exclusion fills in what the pod's annotations and labels say about
// collecting its logs. A container's own word beats the pod's, and ours beats
// those of others. A value that is neither true nor false is noted and has no
// effect: it must never stop the collection.
func (p *Pod) exclusion(o *corev1.Pod) {
	set := func(container string, v bool) {
		if p.ExcludeContainers == nil {
			p.ExcludeContainers = make(map[string]bool)
		}
		p.ExcludeContainers[container] = v
	}
	for _, c := range strings.Split(o.Annotations[annVectorContainers], ",") {
		if c = strings.TrimSpace(c); c != "" {
			set(c, true)
		}
	}
	p.Exclude = strings.TrimSpace(o.Labels[labelVector]) == "true"
	if v, ok := p.annotation(o, annFluentBit); ok && v {
		p.Exclude = true
	}
	// Those of containers: first the foreign ones, then ours.
	for _, prefix := range []string{fluentBitContainer, excludeContainer} {
		for _, k := range sortedKeys(o.Annotations) {
			if c, found := strings.CutPrefix(k, prefix); found && c != "" {
				if v, ok := p.annotation(o, k); ok {
					set(c, v)
				}
			}
		}
	}
	if v, ok := p.annotation(o, annExclude); ok {
		p.Exclude = v
	}
}

// annotation reads a truth value.
func (p *Pod) annotation(o *corev1.Pod, name string) (v, ok bool) {
	text, found := o.Annotations[name]
	if !found {
		return false, false
	}
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	if len(p.BadAnnotations) < maxBadAnnotations {
		p.BadAnnotations = append(p.BadAnnotations, name)
	}
	return false, false
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
