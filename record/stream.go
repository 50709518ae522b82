package record

import (
	"slices"
	"strings"
)

// Attr is a name and its value.
type Attr struct {
	Name, Value string
}

// Canonical names of a stream's attributes: the ones people type in LogQL.
// Every wire maps them to its own convention.
const (
	AttrCluster     = "cluster"
	AttrNode        = "node"
	AttrNamespace   = "namespace"
	AttrPod         = "pod"
	AttrPodUID      = "pod_uid"
	AttrContainer   = "container"
	AttrContainerID = "container_id"
	AttrRestart     = "restart"
	AttrImage       = "image"
	AttrWorkload    = "workload" // kind/name, for example deployment/api
	AttrApp         = "app"
	AttrService     = "service_name"
	AttrStream      = "stream"     // stdout or stderr
	AttrInput       = "input"      // kubernetes, file, journald, …
	AttrFile        = "file"       // path of a plain file
	AttrTenant      = "__tenant__" // whose logs these are, where several share a store
)

// Stream says who wrote a record. It is immutable and meant to be shared by
// all records of one writer: encoders keep what they make of a Stream under
// its pointer. When an attribute changes, a new Stream is made.
type Stream struct {
	attrs       []Attr
	labels      []Attr
	annotations []Attr
	hash        uint64
}

// NewStream returns a Stream with the given attributes (canonical names), pod
// labels and pod annotations (names as in Kubernetes). Attributes with an
// empty value are left out; of two with one name the later wins. The
// arguments are copied.
func NewStream(attrs, labels, annotations []Attr) *Stream {
	s := &Stream{attrs: tidy(attrs), labels: tidy(labels), annotations: tidy(annotations)}
	// FNV-1a; stable over processes.
	h := uint64(14695981039346656037)
	for i, set := range [][]Attr{s.attrs, s.labels, s.annotations} {
		h = (h ^ uint64(i)) * 1099511628211
		for _, a := range set {
			for _, t := range [2]string{a.Name, a.Value} {
				for j := range len(t) {
					h = (h ^ uint64(t[j])) * 1099511628211
				}
				h = (h ^ 0xff) * 1099511628211
			}
		}
	}
	s.hash = h
	return s
}

func tidy(in []Attr) []Attr {
	out := make([]Attr, 0, len(in))
	for i, a := range in {
		later := slices.ContainsFunc(in[i+1:], func(b Attr) bool { return b.Name == a.Name })
		if a.Value != "" && !later {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b Attr) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Attrs returns the stream's attributes, sorted by name. Do not modify.
func (s *Stream) Attrs() []Attr { return s.attrs }

// Labels returns the pod's labels, sorted by name. Do not modify.
func (s *Stream) Labels() []Attr { return s.labels }

// Annotations returns the chosen pod annotations, sorted by name. Do not
// modify.
func (s *Stream) Annotations() []Attr { return s.annotations }

// Hash is a stable hash over everything in the stream.
func (s *Stream) Hash() uint64 { return s.hash }

// Get returns the attribute of that canonical name, "" if there is none. A
// name of the form label_x_y or annotation_x_y finds the pod label or
// annotation whose name, with everything but letters, digits and underscores
// replaced by underscores, is x_y.
func (s *Stream) Get(name string) string {
	if v, ok := find(s.attrs, name); ok {
		return v
	}
	if rest, ok := strings.CutPrefix(name, "label_"); ok {
		return findSanitized(s.labels, rest)
	}
	if rest, ok := strings.CutPrefix(name, "annotation_"); ok {
		return findSanitized(s.annotations, rest)
	}
	return ""
}

// Label returns the pod label of exactly that name, "" if there is none.
func (s *Stream) Label(name string) string {
	v, _ := find(s.labels, name)
	return v
}

func find(set []Attr, name string) (string, bool) {
	for i := range set {
		if set[i].Name == name {
			return set[i].Value, true
		}
	}
	return "", false
}

func findSanitized(set []Attr, name string) string {
	for _, a := range set {
		if SanitizeName(a.Name) == name {
			return a.Value
		}
	}
	return ""
}

// SanitizeName returns the name as a LogQL label name: every byte that is not
// an ASCII letter, digit or underscore becomes an underscore.
func SanitizeName(name string) string {
	ok := func(c byte) bool {
		return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	}
	for i := range len(name) {
		if !ok(name[i]) {
			b := []byte(name)
			for j := range b {
				if !ok(b[j]) {
					b[j] = '_'
				}
			}
			return string(b)
		}
	}
	return name
}
