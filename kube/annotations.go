package kube

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Annotations about the lines of a pod's containers; with ".<container>" behind
// them, of that container only.
const (
	AnnotationParser    = "weir.dev/parser"
	AnnotationMultiline = "weir.dev/multiline"
	AnnotationRate      = "weir.dev/rate"
)

// annFluentBitParser also has _stdout or _stderr behind it, and -<container> behind
// that. https://docs.fluentbit.io/manual/pipeline/filters/kubernetes
const annFluentBitParser = "fluentbit.io/parser"

// fluentBitParsers are the parsers of Fluent Bit that are ours by another name, or by
// the same. Others are somebody's own: nobody here knows what they do.
var fluentBitParsers = map[string]string{
	"json": "json", "logfmt": "logfmt", "klog": "klog", "nginx": "access", "apache": "access", "apache2": "access", "k8s-nginx-ingress": "access",
}

// maxWish is how much of a value is kept; longer than anything that is allowed.
const maxWish = 8192

// Wish is an annotation and its value as it stands, not checked. The zero Wish says
// nothing.
type Wish struct{ Annotation, Value string }

// Wishes are what a pod's annotations say about the lines of a container.
type Wishes struct {
	Parser          [2]Wish // of stdout and of stderr
	Multiline, Rate Wish
}

// wishes keeps the annotations that Wishes looks at.
func (p *Pod) wishes(o *corev1.Pod) {
	for name, value := range o.Annotations {
		if !wishful(name) {
			continue
		}
		if p.Asked == nil {
			p.Asked = make(map[string]string)
		}
		p.Asked[name] = strings.Clone(value[:min(len(value), maxWish)])
	}
}

func wishful(name string) bool {
	for _, own := range [...]string{AnnotationParser, AnnotationMultiline, AnnotationRate} {
		if rest, ok := strings.CutPrefix(name, own); ok && (rest == "" || rest[0] == '.') {
			return true
		}
	}
	_, _, ok := fluentBitParser(name)
	return ok
}

// fluentBitParser takes the name of such an annotation apart. stream is "", _stdout or
// _stderr.
func fluentBitParser(name string) (stream, container string, ok bool) {
	rest, ok := strings.CutPrefix(name, annFluentBitParser)
	for _, s := range [...]string{"_stdout", "_stderr"} {
		if r, found := strings.CutPrefix(rest, s); found {
			rest, stream = r, s
			break
		}
	}
	if rest == "" {
		return stream, "", ok
	}
	container, dash := strings.CutPrefix(rest, "-")
	return stream, container, ok && dash && container != ""
}

// Wishes returns what the annotations say about a container. Its own word beats the
// pod's, and ours beats Fluent Bit's.
func (p *Pod) Wishes(container string) Wishes {
	if len(p.Asked) == 0 {
		return Wishes{}
	}
	own := func(name string) Wish {
		for _, n := range [...]string{name + "." + container, name} {
			if v, ok := p.Asked[n]; ok {
				return Wish{n, v}
			}
		}
		return Wish{}
	}
	w := Wishes{Multiline: own(AnnotationMultiline), Rate: own(AnnotationRate)}
	for i, stream := range [...]string{"_stdout", "_stderr"} {
		w.Parser[i] = own(AnnotationParser)
		for _, n := range [...]string{stream + "-" + container, "-" + container, stream, ""} {
			if w.Parser[i] != (Wish{}) {
				break
			}
			n = annFluentBitParser + n
			if v, ok := p.Asked[n]; ok && fluentBitParsers[v] != "" {
				w.Parser[i] = Wish{n, fluentBitParsers[v]}
			}
		}
	}
	return w
}

// Strays returns the annotations about lines that name a container which the pod does
// not have, sorted.
func (p *Pod) Strays() []string {
	var out []string
	for name := range p.Asked {
		_, container, _ := fluentBitParser(name)
		if strings.HasPrefix(name, "weir.dev/") {
			_, container, _ = strings.Cut(strings.TrimPrefix(name, "weir.dev/"), ".")
		}
		if _, there := p.Containers[container]; container != "" && !there {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
