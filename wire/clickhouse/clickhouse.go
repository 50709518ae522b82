// Package clickhouse writes records for ClickHouse's HTTP interface, as lines of
// JSON (FORMAT JSONEachRow), one row per record.
//
// What goes where is said by a list of columns. The default is the table that
// the OpenTelemetry Collector's exporter makes, otel_logs:
//
//	{"ServiceName":"api","ResourceAttributes":{"k8s.namespace.name":"shop"},
//	 "Timestamp":"2026-11-22T10:00:00.123456789Z","SeverityText":"error",
//	 "SeverityNumber":17,"Body":"…","LogAttributes":{"log.record.uid":"…"}}
//
// Times are RFC 3339 in UTC and need date_time_input_format=best_effort. Bytes
// that are not UTF-8 become U+FFFD.
// https://clickhouse.com/docs/interfaces/formats/JSONEachRow
package clickhouse

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// Column is a column of the table and what goes into it: one of the sources that
// New names, or a template such as ${namespace}.
type Column struct{ Name, Source string }

// Default are the columns of otel_logs.
var Default = []Column{
	{"Timestamp", "time"}, {"TraceId", "trace_id"}, {"SpanId", "span_id"}, {"SeverityText", "level"},
	{"SeverityNumber", "severity_number"}, {"ServiceName", "service"}, {"Body", "body"},
	{"ResourceAttributes", "resource"}, {"LogAttributes", "attributes"},
}

// Encoder writes rows. It is for one goroutine.
type Encoder struct {
	columns []column
	streams *wire.Streams[stream]
	clock   json.Clock
	scratch []byte
}

type column struct {
	key    []byte // `,"name":`
	write  func(e *Encoder, dst []byte, b *record.Batch, i int, s *stream) []byte
	stream func(dst []byte, s *record.Stream) []byte // of the stream alone
	spec   Column
}

// stream is what the encoder makes of a record.Stream.
type stream struct {
	prefix []byte // from the brace on, with the columns that are the same for all of its records
	attrs  []byte // members of attributes, each behind a comma
}

// New returns an encoder for these columns; none means Default. Sources are time,
// observed_time (RFC 3339), time_unix, time_unix_milli, time_unix_nano (numbers),
// level, severity_number, body, id (text), trace_id, span_id, service, resource
// (an object: OpenTelemetry's names of the record's writer), attributes (an
// object: the record's fields), stream (stdout or stderr), or a template.
func New(columns []Column) (*Encoder, error) {
	if len(columns) == 0 {
		columns = Default
	}
	e := &Encoder{}
	for _, c := range columns {
		col := column{key: append(json.AppendStringString([]byte{','}, c.Name), ':'), spec: c}
		switch {
		case streamSources[c.Source] != nil:
			col.stream = streamSources[c.Source]
		case recordSources[c.Source] != nil:
			col.write = recordSources[c.Source]
		case strings.Contains(c.Source, "${"):
			t, err := wire.ParseTemplate(c.Source, wire.SanitizeText)
			if err != nil {
				return nil, fmt.Errorf("column %q: %w", c.Name, err)
			}
			col.write = func(e *Encoder, dst []byte, b *record.Batch, i int, _ *stream) []byte {
				e.scratch = t.Append(e.scratch[:0], b, i)
				return json.AppendString(dst, e.scratch)
			}
		default:
			return nil, fmt.Errorf("column %q: unknown source %q", c.Name, c.Source)
		}
		e.columns = append(e.columns, col)
	}
	e.streams = wire.NewStreams(e.build)
	return e, nil
}

// Clone returns an encoder of the same columns for another goroutine.
func (e *Encoder) Clone() *Encoder {
	c := &Encoder{columns: e.columns}
	c.streams = wire.NewStreams(c.build)
	return c
}

// Names returns the columns' names.
func (e *Encoder) Names() []string {
	var out []string
	for _, c := range e.columns {
		out = append(out, c.spec.Name)
	}
	return out
}

func (e *Encoder) build(s *record.Stream) *stream {
	st := &stream{prefix: []byte{'{'}}
	for _, c := range e.columns {
		if c.stream != nil {
			key := c.key
			if len(st.prefix) == 1 {
				key = key[1:]
			}
			st.prefix = c.stream(append(st.prefix, key...), s)
		}
	}
	for _, a := range [2]record.Attr{{Name: "log.iostream", Value: s.Get(record.AttrStream)}, {Name: "log.file.path", Value: s.Get(record.AttrFile)}} {
		if a.Value != "" {
			st.attrs = appendMember(st.attrs, a.Name, a.Value)
		}
	}
	return st
}

func appendMember(dst []byte, name, value string) []byte {
	dst = append(json.AppendStringString(append(dst, ','), name), ':')
	return json.AppendStringString(dst, value)
}

var streamSources = map[string]func([]byte, *record.Stream) []byte{
	"service": func(dst []byte, s *record.Stream) []byte {
		for _, name := range []string{record.AttrService, record.AttrApp, record.AttrContainer} {
			if v := s.Get(name); v != "" {
				return json.AppendStringString(dst, v)
			}
		}
		return append(dst, `""`...)
	},
	"stream": func(dst []byte, s *record.Stream) []byte {
		return json.AppendStringString(dst, s.Get(record.AttrStream))
	},
	"resource": appendResource,
}

// resourceNames are OpenTelemetry's names of the attributes.
var resourceNames = map[string]string{
	record.AttrCluster: "k8s.cluster.name", record.AttrNode: "k8s.node.name", record.AttrNamespace: "k8s.namespace.name",
	record.AttrPod: "k8s.pod.name", record.AttrPodUID: "k8s.pod.uid", record.AttrContainer: "k8s.container.name",
	record.AttrContainerID: "container.id", record.AttrImage: "container.image.name", record.AttrRestart: "k8s.container.restart_count",
	record.AttrService: "service.name", record.AttrInput: "weir.input", record.AttrApp: "weir.app",
}

var workloadKinds = []string{"deployment", "statefulset", "daemonset", "job", "cronjob", "replicaset"}

func appendResource(dst []byte, s *record.Stream) []byte {
	at := len(dst)
	used := map[string]bool{}
	add := func(name, value string) { dst = appendMember(dst, wire.Unique(used, name), value) }
	for _, a := range s.Attrs() {
		switch kind, name, ok := strings.Cut(a.Value, "/"); {
		case a.Name == record.AttrStream, a.Name == record.AttrFile:
		case a.Name == record.AttrWorkload && ok && slices.Contains(workloadKinds, kind):
			add("k8s."+kind+".name", name)
		case resourceNames[a.Name] != "":
			add(resourceNames[a.Name], a.Value)
		default:
			add(a.Name, a.Value)
		}
	}
	for _, a := range s.Labels() {
		add("k8s.pod.label."+a.Name, a.Value)
	}
	for _, a := range s.Annotations() {
		add("k8s.pod.annotation."+a.Name, a.Value)
	}
	return closeObject(dst, at)
}

// closeObject makes an object of the members behind at, each of which begins with
// a comma.
func closeObject(dst []byte, at int) []byte {
	if len(dst) == at {
		return append(dst, '{', '}')
	}
	dst[at] = '{'
	return append(dst, '}')
}

type writer = func(e *Encoder, dst []byte, b *record.Batch, i int, s *stream) []byte

var recordSources = map[string]writer{
	"time": func(e *Encoder, dst []byte, b *record.Batch, i int, _ *stream) []byte {
		return append(e.clock.Append(append(dst, '"'), b.Record(i).Time), '"')
	},
	"observed_time": func(e *Encoder, dst []byte, b *record.Batch, i int, _ *stream) []byte {
		return append(e.clock.Append(append(dst, '"'), b.Record(i).Observed), '"')
	},
	"time_unix": func(_ *Encoder, dst []byte, b *record.Batch, i int, _ *stream) []byte {
		return strconv.AppendInt(dst, b.Record(i).Time/1e9, 10)
	},
	"time_unix_milli": func(_ *Encoder, dst []byte, b *record.Batch, i int, _ *stream) []byte {
		return strconv.AppendInt(dst, b.Record(i).Time/1e6, 10)
	},
	"time_unix_nano": func(_ *Encoder, dst []byte, b *record.Batch, i int, _ *stream) []byte {
		return strconv.AppendInt(dst, b.Record(i).Time, 10)
	},
	"level": func(_ *Encoder, dst []byte, b *record.Batch, i int, _ *stream) []byte {
		if sev := b.Record(i).Severity; sev != record.Unknown {
			return wire.AppendLevel(dst, `"`, sev)
		}
		return append(dst, `""`...)
	},
	"severity_number": func(_ *Encoder, dst []byte, b *record.Batch, i int, _ *stream) []byte {
		return strconv.AppendUint(dst, uint64(b.Record(i).Severity), 10)
	},
	"body": func(_ *Encoder, dst []byte, b *record.Batch, i int, _ *stream) []byte {
		return json.AppendString(dst, b.Body(i))
	},
	"id": func(_ *Encoder, dst []byte, b *record.Batch, i int, _ *stream) []byte {
		dst = append(dst, '"')
		if id := wire.RecordID(b, i); !id.IsZero() {
			dst = wire.AppendID(dst, id)
		}
		return append(dst, '"')
	},
	"trace_id":   field("trace_id"),
	"span_id":    field("span_id"),
	"attributes": appendAttributes,
}

func field(name string) writer {
	return func(_ *Encoder, dst []byte, b *record.Batch, i int, _ *stream) []byte {
		if f, ok := b.FindField(i, name); ok && f.Kind != record.Null {
			return json.AppendString(dst, b.Bytes(f.Val))
		}
		return append(dst, `""`...)
	}
}

// appendAttributes writes the record's fields, the last of each name, as text,
// its notable flags and its id.
func appendAttributes(_ *Encoder, dst []byte, b *record.Batch, i int, s *stream) []byte {
	at := len(dst)
	dst = append(dst, s.attrs...)
	fields := b.Fields(i)
	for j, f := range fields {
		if f.Kind == record.Null || slices.ContainsFunc(fields[j+1:], func(g record.Field) bool { return g.Key == f.Key }) {
			continue
		}
		name := b.KeyName(f.Key)
		if name == "trace_id" || name == "span_id" {
			continue
		}
		if name == "log.record.uid" || name == "log.iostream" || name == "log.file.path" || strings.HasPrefix(name, "weir.") {
			name = "field_" + name
		}
		dst = append(json.AppendStringString(append(dst, ','), name), ':')
		dst = json.AppendString(dst, b.Bytes(f.Val))
	}
	if flags := b.Record(i).Flags & wire.Notable; flags != 0 {
		wire.EachFlag(flags, func(name string) { dst = appendMember(dst, "weir."+name, "true") })
	}
	if id := wire.RecordID(b, i); !id.IsZero() {
		dst = append(dst, `,"log.record.uid":"`...)
		dst = append(wire.AppendID(dst, id), '"')
	}
	return closeObject(dst, at)
}

// Append appends one line for each record of the parts, in order.
func (e *Encoder) Append(dst []byte, parts []record.Part) []byte {
	for _, p := range parts {
		b := p.Batch()
		e.streams.Use(b)
		for _, i := range p.Index() {
			s := e.streams.Get(b.Record(int(i)).Stream)
			at := len(dst)
			dst = append(dst, s.prefix...)
			for k := range e.columns {
				c := &e.columns[k]
				if c.write == nil {
					continue
				}
				key := c.key
				if len(dst) == at+1 {
					key = key[1:]
				}
				dst = c.write(e, append(dst, key...), b, int(i), s)
			}
			dst = append(dst, '}', '\n')
		}
	}
	e.streams.Done()
	return dst
}

// Query returns the INSERT statement for a table.
func (e *Encoder) Query(database, table string) string {
	var b strings.Builder
	b.WriteString("INSERT INTO ")
	if database != "" {
		b.WriteString(Quote(database) + ".")
	}
	b.WriteString(Quote(table) + " (")
	for i, c := range e.columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(Quote(c.spec.Name))
	}
	b.WriteString(") FORMAT JSONEachRow")
	return b.String()
}

// Quote returns an identifier as it stands in a query.
func Quote(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}

// Exception is what ClickHouse says when something is wrong.
type Exception struct {
	Code int
	Name string // UNKNOWN_TABLE and alike; may be empty
}

// ParseException finds an exception in an answer: "Code: 60. DB::Exception: …
// (UNKNOWN_TABLE) …". Its text is left out: it quotes values.
func ParseException(body []byte) (x Exception, ok bool) {
	text := string(body[max(0, len(body)-16<<10):])
	_, rest, found := strings.Cut(text, "Code: ")
	if !found {
		return x, false
	}
	end := 0
	for end < len(rest) && end < 6 && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(rest[:end])
	if err != nil || !strings.Contains(rest, "Exception") {
		return x, false
	}
	x.Code = n
	for rest := rest; ; {
		_, after, found := strings.Cut(rest, "(")
		if !found {
			return x, true
		}
		word, _, closed := strings.Cut(after, ")")
		if closed && len(word) > 3 && len(word) < 80 && strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == "" {
			x.Name = word // the last one: values come before it
		}
		rest = after
	}
}
