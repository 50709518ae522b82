package document

import (
	"bytes"
	"strings"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// fluentdNames reports whether the object kubernetes has the names that weir's
// encoder writes, which Fluentd's and Fluent Bit's filters have.
func fluentdNames(val []byte) bool {
	return bytes.Contains(val, podName) || bytes.Contains(val, namespaceName) || bytes.Contains(val, containerName)
}

var podName, namespaceName, containerName = []byte(`"pod_name"`), []byte(`"namespace_name"`), []byte(`"container_name"`)

// Attrs collects attributes within the limits of a stream: what exceeds them is
// left out of it.
type Attrs struct {
	Limits              *wire.Limits
	Attrs               []record.Attr
	Labels, Annotations []record.Attr
}

// Put adds an attribute; of two with one name the later stands.
func (a *Attrs) Put(name, value string) {
	// However it is written: a tenant's logs are no other's to write.
	if record.SanitizeName(name) != record.AttrTenant {
		a.put(&a.Attrs, name, value)
	}
}

func (a *Attrs) put(set *[]record.Attr, name, value string) {
	if len(*set) < a.Limits.Labels && name != "" && value != "" && len(name) <= a.Limits.NameBytes && len(value) <= a.Limits.ValueBytes {
		*set = append(*set, record.Attr{Name: name, Value: value})
	}
}

// Stream returns the stream of the attributes, for a tenant if there is one.
func (a *Attrs) Stream(tenant string) *record.Stream {
	if tenant != "" {
		a.Attrs = append(a.Attrs, record.Attr{Name: record.AttrTenant, Value: tenant})
	}
	return record.NewStream(a.Attrs, a.Labels, a.Annotations)
}

// newStream makes the stream of the object at hand.
func (d *Decoder) newStream(text []byte, sent *Sent) (*record.Stream, error) {
	a := Attrs{Limits: &d.limits}
	for _, at := range sent.Attrs {
		a.Put(at.Name, at.Value)
	}
	// ECS has one thing in several places: the surest last.
	for pass := range 2 {
		for i := range d.scan.Members {
			m, ru := &d.scan.Members[i], d.of[i]
			if (ru.what == isKubernetes || ru.what == isAttr) != (pass == 1) {
				continue
			}
			d.member(&a, text, m, ru)
		}
	}
	return a.Stream(d.tenant), nil
}

func (d *Decoder) member(a *Attrs, text []byte, m *json.Member, ru rule) {
	val := text[m.Val.Off:m.Val.End()]
	scalar := func() string {
		if m.ValEscaped {
			return string(json.Unescape(nil, val))
		}
		return string(val)
	}
	object := m.Kind == record.JSON && len(val) > 0 && val[0] == '{'
	switch ru.what {
	case isStdStream:
		a.Put(record.AttrStream, string(val))
	case isAttr:
		a.Put(ru.attr, scalar())
	case isKubernetes:
		kubernetes(a, val)
	case isHost:
		if object {
			Walk(val, func(path, value string) {
				if path == "name" || path == "hostname" {
					a.Put(record.AttrNode, value)
				}
			})
		} else if m.Kind == record.String {
			a.Put(record.AttrNode, scalar())
		}
	case isService:
		if object {
			Walk(val, func(path, value string) {
				if path == "name" {
					a.Put(record.AttrService, value)
				}
			})
		} else if m.Kind == record.String {
			a.Put(record.AttrService, scalar())
		}
	case isContainer:
		if object {
			Walk(val, func(path, value string) {
				switch path {
				case "id":
					a.Put(record.AttrContainerID, value)
				case "name":
					a.Put(record.AttrContainer, value)
				case "image.name":
					a.Put(record.AttrImage, value)
				}
			})
		} else if m.Kind == record.String {
			a.Put(record.AttrContainer, scalar())
		}
	case isOrchestrator:
		if object {
			Walk(val, func(path, value string) {
				if path == "cluster.name" {
					a.Put(record.AttrCluster, value)
				}
			})
		}
	case isInput:
		if object {
			Walk(val, func(path, value string) {
				if path == "type" {
					a.Put(record.AttrInput, value)
				}
			})
		} else if m.Kind == record.String {
			a.Put(record.AttrInput, scalar())
		}
	case isEnvelope, isMessage:
		if object {
			Walk(val, func(path, value string) {
				if path == "file.path" {
					a.Put(record.AttrFile, value)
				}
			})
		}
	case isTags:
		if m.Kind == record.String {
			Tags(a, scalar())
		}
	}
}

// Tags reads a list of Datadog's tags, env:prod,team:shop, into attributes.
func Tags(a *Attrs, list string) {
	for tag := range strings.SplitSeq(list, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(tag), ":")
		if !ok {
			value = "true"
		}
		a.Put(Canonical(name), value)
	}
}

// Walk calls f for every string, number and boolean in an object of checked JSON,
// with the names that lead to it, joined by dots. Arrays are JSON text.
func Walk(val []byte, f func(path, value string)) {
	var r json.Reader
	r.Reset(val)
	walk(&r, val, "", f)
}

func walk(r *json.Reader, val []byte, path string, f func(path, value string)) {
	if !r.Enter('{') {
		return
	}
	for {
		s, esc, more := r.Name()
		if !more {
			return
		}
		name := val[s.Off:s.End()]
		if esc {
			name = json.Unescape(nil, name)
		}
		at := path + string(name)
		switch r.Kind() {
		case '{':
			walk(r, val, at+".", f) // no deeper than json.MaxDepth
		case '"':
			s, esc, _ := r.String()
			v := val[s.Off:s.End()]
			if esc {
				v = json.Unescape(nil, v)
			}
			f(at, string(wire.AppendText(nil, v)))
		case '[':
			if s, ok := r.Skip(); ok {
				f(at, string(val[s.Off:s.End()]))
			}
		default:
			if s, kind, ok := r.Scalar(); ok && kind != record.Null {
				f(at, string(val[s.Off:s.End()]))
			}
		}
	}
}

// kubernetes reads the object that collectors write: Fluentd's and Fluent Bit's
// names, those of ECS, and Vector's.
func kubernetes(a *Attrs, val []byte) {
	var owners [len(workloads)]string
	Walk(val, func(path, value string) {
		if l, ok := strings.CutPrefix(path, "labels."); ok {
			a.put(&a.Labels, l, value)
			return
		}
		if l, ok := strings.CutPrefix(path, "pod_labels."); ok {
			a.put(&a.Labels, l, value)
			return
		}
		if l, ok := strings.CutPrefix(path, "annotations."); ok {
			a.put(&a.Annotations, l, value)
			return
		}
		if c, ok := kubernetesNames[path]; ok {
			a.Put(c, value)
			return
		}
		if kind, ok := strings.CutSuffix(path, ".name"); ok {
			for i, w := range workloads {
				if w == kind {
					owners[i] = value
					return
				}
			}
		}
		if strings.HasPrefix(path, "pod_annotations.") || strings.HasPrefix(path, "namespace_labels.") || strings.HasPrefix(path, "namespace_annotations.") || strings.HasPrefix(path, "node_labels.") || strings.HasPrefix(path, "node.labels.") {
			if !fluentdNames(val) {
				return // stays in the body
			}
		}
		if fluentdNames(val) {
			a.Put("kubernetes."+path, value)
		}
	})
	for i, name := range owners {
		if name != "" {
			a.Put(record.AttrWorkload, workloads[i]+"/"+name)
			break
		}
	}
}

var workloads = [...]string{"deployment", "statefulset", "daemonset", "cronjob", "job", "replicaset"}

var kubernetesNames = map[string]string{
	"cluster_name": record.AttrCluster, "host": record.AttrNode, "node.name": record.AttrNode, "node_name": record.AttrNode, "pod_node_name": record.AttrNode,
	"namespace_name": record.AttrNamespace, "namespace": record.AttrNamespace, "pod_namespace": record.AttrNamespace,
	"pod_name": record.AttrPod, "pod.name": record.AttrPod, "pod_id": record.AttrPodUID, "pod.uid": record.AttrPodUID, "pod_uid": record.AttrPodUID,
	"container_name": record.AttrContainer, "container.name": record.AttrContainer,
	"docker_id": record.AttrContainerID, "container_id": record.AttrContainerID,
	"container_image": record.AttrImage, "container.image": record.AttrImage,
	"workload": record.AttrWorkload, "restart_count": record.AttrRestart, "container.restart_count": record.AttrRestart,
}
