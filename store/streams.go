package store

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/record"
	"github.com/zeebo/xxh3"
)

// indexLabels are the canonical attributes that are labels of the index; the
// other canonical ones are structured metadata, the same for all rows of a
// stream. Attributes with other names were labels where they came from, and are
// labels here, unless there is a dot in the name: no label has one, but what
// OpenTelemetry says of a resource does, and its values may be many.
var indexLabels = map[string]bool{
	record.AttrCluster: true, record.AttrNamespace: true, record.AttrNode: true, record.AttrWorkload: true, record.AttrApp: true,
	record.AttrService: true, record.AttrContainer: true, record.AttrPod: true, record.AttrStream: true, record.AttrInput: true, record.AttrTenant: true,
	record.AttrPodUID: false, record.AttrContainerID: false, record.AttrRestart: false, record.AttrImage: false, record.AttrFile: false,
}

// serviceLabels are those that name a service, the best first.
var serviceLabels = []string{
	record.AttrService, "service", "app", "application", "app_name", "name", "app_kubernetes_io_name", "container", "container_name",
	"k8s_container_name", "component", "workload", "job", "k8s_job_name",
}

// service is the value of the label service_name for a stream with these labels
// and, in another set, this resource.
func service(sets ...[]record.Attr) string {
	for _, name := range serviceLabels {
		for _, set := range sets {
			for _, a := range set {
				if a.Name == name {
					return a.Value
				}
			}
		}
	}
	return "unknown_service"
}

// streamOf returns the labels and the resource of a stream. Every stream has a
// service_name, whichever way it came.
func streamOf(s *record.Stream) columns.Stream {
	var out columns.Stream
	add := func(set *[]record.Attr, name, value string) {
		if name != record.AttrTenant {
			// Nobody becomes a tenant by a name that looks like it.
			if name = labelName(name); name == record.AttrTenant {
				name += "_"
			}
		}
		for _, have := range [2][]record.Attr{out.Labels, out.Resource} {
			for slices.ContainsFunc(have, func(a record.Attr) bool { return a.Name == name }) {
				name += "_"
			}
		}
		*set = append(*set, record.Attr{Name: name, Value: strings.ToValidUTF8(value, "\ufffd")})
	}
	// The canonical ones first: they have their names before others that only
	// look like them in the end.
	for _, a := range s.Attrs() {
		if index, canonical := indexLabels[a.Name]; index {
			add(&out.Labels, a.Name, a.Value)
		} else if canonical {
			add(&out.Resource, a.Name, a.Value)
		}
	}
	for _, a := range s.Attrs() {
		if _, canonical := indexLabels[a.Name]; !canonical && !strings.Contains(a.Name, ".") {
			add(&out.Labels, a.Name, a.Value)
		}
	}
	for _, a := range s.Attrs() {
		if _, canonical := indexLabels[a.Name]; !canonical && strings.Contains(a.Name, ".") {
			add(&out.Resource, a.Name, a.Value)
		}
	}
	if !slices.ContainsFunc(out.Labels, func(a record.Attr) bool { return a.Name == record.AttrService }) {
		out.Labels = append(out.Labels, record.Attr{Name: record.AttrService, Value: service(out.Labels, out.Resource)})
	}
	for _, a := range s.Labels() {
		add(&out.Resource, "label_"+a.Name, a.Value)
	}
	for _, a := range s.Annotations() {
		add(&out.Resource, "annotation_"+a.Name, a.Value)
	}
	for _, set := range [2][]record.Attr{out.Labels, out.Resource} {
		slices.SortFunc(set, func(a, b record.Attr) int { return strings.Compare(a.Name, b.Name) })
	}
	out.ID = xxh3.Hash(appendSet(nil, out.Labels))
	return out
}

func labelName(s string) string {
	s = record.SanitizeName(s)
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		s = "_" + s
	}
	return s
}

// streamKey is what tells streams apart, and what the log has of one.
func streamKey(dst []byte, s *columns.Stream) []byte {
	return appendSet(appendSet(dst, s.Labels), s.Resource)
}

func appendSet(dst []byte, set []record.Attr) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(set)))
	for _, a := range set {
		dst = binary.AppendUvarint(dst, uint64(len(a.Name)))
		dst = append(dst, a.Name...)
		dst = binary.AppendUvarint(dst, uint64(len(a.Value)))
		dst = append(dst, a.Value...)
	}
	return dst
}

// parseStream reads what streamKey wrote.
func parseStream(p []byte) (s columns.Stream, ok bool) {
	r := reader{p: p}
	labels := r.p
	s.Labels = r.set()
	s.ID = xxh3.Hash(labels[:len(labels)-len(r.p)])
	s.Resource = r.set()
	return s, !r.bad && len(r.p) == 0
}

// reader takes apart what is in memory; after an error it is bad and everything
// is zero.
type reader struct {
	p   []byte
	bad bool
}

func (r *reader) u() uint64 {
	v, n := binary.Uvarint(r.p)
	if n <= 0 {
		r.bad, r.p = true, nil
		return 0
	}
	r.p = r.p[n:]
	return v
}

func (r *reader) i() int64 {
	v, n := binary.Varint(r.p)
	if n <= 0 {
		r.bad, r.p = true, nil
		return 0
	}
	r.p = r.p[n:]
	return v
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.p)) {
		r.bad, r.p = true, nil
		return nil
	}
	v := r.p[:n]
	r.p = r.p[n:]
	return v
}

// key reads a key if there is one; none is zero.
func (r *reader) key(there bool) record.ID {
	if !there {
		return record.ID{}
	}
	b := r.bytes(16)
	if b == nil {
		return record.ID{}
	}
	return parseKey(b)
}

func (r *reader) set() []record.Attr {
	n := r.u()
	if n > uint64(len(r.p)) {
		r.bad = true
		return nil
	}
	var out []record.Attr
	for range n {
		name := string(r.bytes(r.u()))
		out = append(out, record.Attr{Name: name, Value: string(r.bytes(r.u()))})
	}
	return out
}

// compareStreams is the order of streams in a segment: by labels, so that what
// belongs together compresses together and the rows of equal labels are
// neighbours.
func compareStreams(a, b *columns.Stream) int {
	if c := compareSets(a.Labels, b.Labels); c != 0 {
		return c
	}
	return compareSets(a.Resource, b.Resource)
}

func compareSets(a, b []record.Attr) int {
	return slices.CompareFunc(a, b, func(x, y record.Attr) int {
		if c := strings.Compare(x.Name, y.Name); c != 0 {
			return c
		}
		return strings.Compare(x.Value, y.Value)
	})
}
