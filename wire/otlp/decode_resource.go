package otlp

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// canonicalNames maps attributes of the resource to canonical ones: what the
// encoder writes, read backwards.
var canonicalNames = func() map[string]string {
	m := map[string]string{
		"k8s.container.restart_count": record.AttrRestart,
		"weir.workload":               record.AttrWorkload,
		"log.iostream":                record.AttrStream,
		"log.file.path":               record.AttrFile,
	}
	for name, wire := range resourceNames {
		m[wire] = name
	}
	return m
}()

// workloadKinds are the attributes that name a pod's workload, the owner's owner
// before the owner.
var workloadKinds = [6]string{"deployment", "statefulset", "daemonset", "cronjob", "job", "replicaset"}

// promoted are those attributes that Loki makes index labels of by default and
// that have no canonical name. Others stay with the stream under their own
// names.
// https://grafana.com/docs/loki/latest/send-data/otel/#format-considerations
var promoted = map[string]bool{
	"cloud.availability_zone":     true,
	"cloud.region":                true,
	"container.name":              true,
	"deployment.environment":      true,
	"deployment.environment.name": true,
	"service.namespace":           true,
	"service.instance.id":         true,
}

// sourceSize is how many bytes of the key of a stream its source has.
const sourceSize = 16

// use returns the index of the stream of the record at hand: the resource, and
// where in it the record was written.
func (d *Decoder) use() (uint16, error) {
	i, ok := d.known()
	if ok {
		return i, nil
	}
	if d.file.Len > 0 && len(d.streams) > 0 && d.repeat < len(d.resource) {
		// A large resource with very many files.
		d.add(nameFilePath, record.String, d.file)
		d.file = record.Span{}
		if i, ok = d.known(); ok {
			return i, nil
		}
	}
	d.repeat = max(0, d.repeat-len(d.resource))
	own := len(d.key) // what tells the resource's streams apart
	// The Stream is the same whichever file its records stood in.
	d.key = append(append(d.key, d.key[:own-sourceSize]...), d.resource...)
	s := d.cache.Get(d.key[own:])
	if s == nil {
		stream, err := d.newStream()
		if err != nil {
			if err != errWire {
				d.bad, err = err, nil
			}
			return 0, err
		}
		s = d.cache.Put(d.key[own:], &wire.PushedStream{Stream: stream})
	}
	if len(d.b.Streams()) == wire.MaxStreams {
		return 0, fmt.Errorf("more than %d streams in a request: %w", wire.MaxStreams, wire.ErrTooMany)
	}
	i = d.b.AddStream(record.StreamRef{Stream: s.Stream, Generation: d.source})
	d.streams[string(d.key[:own])] = i
	return i, nil
}

// known finds the stream among those of the resource and leaves the beginning of
// its key in d.key.
func (d *Decoder) known() (uint16, bool) {
	file := d.p[d.file.Off:d.file.End()]
	k := append(append(d.key[:0], d.tenant...), 0)
	k = append(append(k, d.stream...), 0)
	k = binary.AppendUvarint(k, uint64(len(file)))
	k = append(k, file...)
	k = binary.BigEndian.AppendUint64(k, d.source.Hi)
	d.key = binary.BigEndian.AppendUint64(k, d.source.Lo)
	i, ok := d.streams[string(d.key)]
	return i, ok
}

// newStream makes the Stream of the resource at hand and of the iostream and
// file of the record. An error but errWire is why the resource's records are
// refused.
func (d *Decoder) newStream() (*record.Stream, error) {
	var attrs, labels, annotations []record.Attr
	var owners [6]string // by workloadKinds
	n, size := 0, 0
	put := func(name, value string) error {
		n++
		size += len(name) + len(value)
		switch {
		case n > d.limits.Metadata:
			return fmt.Errorf("more than %d attributes", d.limits.Metadata)
		case size > d.limits.MetadataBytes:
			return fmt.Errorf("attributes of more than %d bytes", d.limits.MetadataBytes)
		case value == "":
			return nil
		}
		if l, ok := cutEither(name, "k8s.pod.label.", "k8s.pod.labels."); ok {
			labels = append(labels, record.Attr{Name: l, Value: value})
			return nil
		}
		if a, ok := cutEither(name, "k8s.pod.annotation.", "k8s.pod.annotations."); ok {
			annotations = append(annotations, record.Attr{Name: a, Value: value})
			return nil
		}
		if c, ok := canonicalNames[name]; ok {
			name = c
		} else if promoted[name] {
			name = record.SanitizeName(name)
		} else if k := workloadOf(name); k >= 0 {
			owners[k] = value
			return nil
		}
		// However it is written: a tenant's logs are no other's to write.
		if record.SanitizeName(name) == record.AttrTenant {
			return fmt.Errorf("attribute name %q is reserved", name)
		}
		if len(value) > d.limits.ValueBytes && !strings.Contains(name, ".") {
			return fmt.Errorf("attribute %q has %d bytes; limit %d", name, len(value), d.limits.ValueBytes)
		}
		attrs = append(attrs, record.Attr{Name: name, Value: value})
		return nil
	}
	err := eachField(d.resource, 0, func(num int, typ wire.ProtoType, from, to int, _ uint64) error {
		if num != resourceAttributes || typ != wire.ProtoBytes {
			return nil
		}
		return flatten(d.resource[:to], from, d.limits.NameBytes, put)
	})
	if err != nil {
		return nil, err
	}
	// The first is the workload; the others keep their names.
	first := true
	for k, name := range owners {
		switch {
		case name == "":
		case first:
			attrs = append(attrs, record.Attr{Name: record.AttrWorkload, Value: workloadKinds[k] + "/" + name})
			first = false
		default:
			attrs = append(attrs, record.Attr{Name: "k8s." + workloadKinds[k] + ".name", Value: name})
		}
	}
	attrs = append(attrs,
		record.Attr{Name: record.AttrStream, Value: d.stream},
		record.Attr{Name: record.AttrFile, Value: string(wire.AppendText(nil, d.p[d.file.Off:d.file.End()]))},
		record.Attr{Name: record.AttrTenant, Value: d.tenant})
	return record.NewStream(compact(attrs), labels, annotations), nil
}

// compact leaves out empty values, which would hide earlier ones of the name.
func compact(attrs []record.Attr) []record.Attr {
	out := attrs[:0]
	for _, a := range attrs {
		if a.Value != "" {
			out = append(out, a)
		}
	}
	return out
}

func cutEither(s, a, b string) (string, bool) {
	if rest, ok := strings.CutPrefix(s, a); ok && rest != "" {
		return rest, true
	}
	rest, ok := strings.CutPrefix(s, b)
	return rest, ok && rest != ""
}

// workloadOf returns the index of the kind that an attribute names, negative if
// none.
func workloadOf(name string) int {
	kind, ok := strings.CutPrefix(name, "k8s.")
	if !ok {
		return -1
	}
	if kind, ok = strings.CutSuffix(kind, ".name"); !ok {
		return -1
	}
	for i, k := range workloadKinds {
		if k == kind {
			return i
		}
	}
	return -1
}
