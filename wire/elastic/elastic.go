// Package elastic speaks the _bulk API of Elasticsearch and OpenSearch: it
// writes request bodies and reads their answers.
//
// Each record becomes two lines, an action and a document:
//
//	{"create":{"_index":"kubernetes-shop-2026.11.22","_id":"5f0c…"}}
//	{"stream":"stdout","kubernetes":{…},"@timestamp":"2026-11-22T10:00:00.123456789Z","level":"info","log":"hello"}
//
// A text body is the member log (message with ECS names); bytes of it that are
// not UTF-8 become U+FFFD. The members of a JSON body are merged into the
// document as they stand, by the rules of wire.Merger: one that is named like a
// member below, or like "kubernetes.pod_name", is kept as body_<name>. Names of pod labels and
// annotations have their dots replaced, because the labels app and
// app.kubernetes.io/name cannot be mapped side by side otherwise.
//
// The names, fluentd-style and ECS:
//
//	@timestamp                                @timestamp
//	log                                       message
//	level                                     log.level
//	stream                                    stream
//	input                                     input.type
//	file                                      log.file.path
//	service.name                              service.name
//	kubernetes.cluster_name                   orchestrator.cluster.name
//	kubernetes.host                           kubernetes.node.name, host.name
//	kubernetes.namespace_name                 kubernetes.namespace
//	kubernetes.pod_name                       kubernetes.pod.name
//	kubernetes.pod_id                         kubernetes.pod.uid
//	kubernetes.container_name                 kubernetes.container.name
//	kubernetes.container_image                container.image.name
//	kubernetes.docker_id                      container.id
//	kubernetes.restart_count                  kubernetes.container.restart_count
//	kubernetes.workload (deployment/api)      kubernetes.deployment.name …
//	kubernetes.labels.*                       kubernetes.labels.*
//	kubernetes.annotations.*                  kubernetes.annotations.*
//	weir.{partial,continued,gap,parse_error}  the same
//
// Other attributes of a stream, which come from the configuration of an input,
// are members of the document's top level, with ECS names of labels; those that
// begin with "kubernetes." are members of that object. The index that a document
// was pushed to (IndexAttr) is not written.
//
// A pushed document that has one of the members of a stream itself, of the kind
// that is written here (kubernetes, service, host, container, orchestrator, labels
// and, with ECS names, input are objects; stream is text), keeps it, and the
// stream's is left away: what was sent to Elasticsearch comes out as it went in.
package elastic

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// Naming is a convention for the names in documents.
type Naming string

// The conventions.
const (
	Fluentd Naming = "fluentd"
	ECS     Naming = "ecs" // https://www.elastic.co/docs/reference/ecs
)

// Op is the bulk operation.
type Op string

// The operations. Create refuses a document whose id is there already (status
// 409), Index replaces it. A data stream only takes Create.
const (
	Create Op = "create"
	Index  Op = "index"
)

// Config says how records are written.
type Config struct {
	// Index makes the name of the index or data stream; required.
	Index *wire.Template
	// DataStream says that the names are those of data streams.
	DataStream bool
	// Naming is Fluentd if empty.
	Naming Naming
	// IDs gives each document the record's id (wire.RecordID). Records that
	// have none are written without, and the server makes one up.
	IDs bool
	// Op is Create if empty.
	Op Op
	// Labels and Annotations choose the pod labels and annotations to write; a
	// name that ends in * stands for all that begin so. Nil means all.
	Labels, Annotations []string
	// Dedot takes the place of dots in the names of labels and annotations;
	// "" means "_", and "." keeps them.
	Dedot string
	// Tags are constant members of every document's top level.
	Tags []record.Attr
}

// Encoder writes bulk request bodies. It is for one goroutine.
type Encoder struct {
	cfg     Config
	streams *wire.Streams[stream]
	merge   wire.Merger
	clock   json.Clock
	open    []byte // `{"create":{"_index":"`
	msg     []byte // `,"log":`
	level   []byte // `,"level":"`
	levels  uint64 // names that stand for the level in a body
	message string
	names   []string // structural, of every document
	common  owns     // of streams without names of their own
	objects uint64   // names of members that are objects
	texts   uint64   // names of members that are text
	scan    json.Scanner
}

type owns struct{ text, json *wire.Own }

// stream is what the encoder makes of a record.Stream.
type stream struct {
	doc []byte // from the end of the action to the quote before the time
	own owns
	// action is the action line up to the quote behind the index's name or
	// the one before the id, for times in [from, to).
	action   []byte
	from, to int64

	of      *record.Stream
	without map[uint64]*stream // that documents have themselves; only doc and own are of use
}

// New returns an encoder.
func New(cfg Config) (*Encoder, error) {
	if cfg.Index == nil {
		return nil, errors.New("elastic: no index")
	}
	if cfg.Naming == "" {
		cfg.Naming = Fluentd
	}
	if cfg.Op == "" {
		cfg.Op = Create
	}
	if cfg.Dedot == "" {
		cfg.Dedot = "_"
	}
	all := []string{"*"}
	if cfg.Labels == nil {
		cfg.Labels = all
	}
	if cfg.Annotations == nil {
		cfg.Annotations = all
	}
	if cfg.Op != Create && cfg.Op != Index {
		return nil, fmt.Errorf("elastic: unknown operation %q", cfg.Op)
	}
	if cfg.DataStream && cfg.Op != Create {
		return nil, fmt.Errorf("elastic: a data stream takes only %q, not %q", Create, cfg.Op)
	}
	e := &Encoder{cfg: cfg, open: []byte(`{"` + string(cfg.Op) + `":{"_index":"`)}
	switch cfg.Naming {
	case Fluentd:
		e.message, e.level = "log", []byte(`,"level":"`)
		e.levels, _ = json.KnownMask("level")
		e.names = []string{"@timestamp", "stream", "kubernetes", "service", "input", wire.FlagsName, "service.name", "kubernetes."}
	case ECS:
		e.message, e.level = "message", []byte(`,"log.level":"`)
		e.levels, _ = json.KnownMask("log.level", "log")
		e.names = []string{"@timestamp", "stream", "kubernetes", "service", "input", "orchestrator", "host", "container", "labels", "log.file.path", wire.FlagsName,
			"service.name", "kubernetes.", "orchestrator.", "host.", "container."}
	default:
		return nil, fmt.Errorf("elastic: unknown naming %q", cfg.Naming)
	}
	for _, t := range cfg.Tags {
		for _, n := range append(e.names, e.message, "level", "log.level", "") {
			if t.Name == n {
				return nil, fmt.Errorf("elastic: tag %q has the name of another member", t.Name)
			}
		}
		e.names = append(e.names, t.Name)
	}
	e.msg = append(json.AppendStringString([]byte{','}, e.message), ':')
	e.common = e.owns(nil, 0)
	e.objects, _ = json.KnownMask("kubernetes", "service")
	e.texts, _ = json.KnownMask("stream")
	if cfg.Naming == ECS {
		more, _ := json.KnownMask("orchestrator", "host", "container", "labels", "input", "log")
		e.objects |= more
	} else {
		// Beats write an object, others text.
		more, _ := json.KnownMask("input")
		e.texts |= more
		e.objects |= more
	}
	e.streams = wire.NewStreams(func(s *record.Stream) *stream { return e.build(s, 0) })
	return e, nil
}

// Clone returns an encoder of the same configuration for another goroutine.
func (e *Encoder) Clone() *Encoder {
	c, err := New(e.cfg)
	if err != nil {
		panic(err) // the same configuration was valid before
	}
	return c
}

func (e *Encoder) owns(more []string, without uint64) owns {
	optional := []string{"level", "log.level", "trace_id", "span_id"}
	var names []string
	for _, n := range append(append([]string(nil), e.names...), more...) {
		// "service.name" is a member of service.
		top, _, _ := strings.Cut(n, ".")
		if bit, ok := json.Known([]byte(top)); !ok || without>>bit&1 == 0 {
			names = append(names, n)
		}
	}
	return owns{
		json: wire.NewOwn(names, optional),
		text: wire.NewOwn(append(names, e.message), optional),
	}
}

// build makes what is written of a stream, without the members of those names.
func (e *Encoder) build(s *record.Stream, without uint64) *stream {
	st := &stream{own: e.common, from: math.MaxInt64, to: math.MinInt64, of: s}
	o := object{dst: []byte("\"}}\n{"), without: without}
	var more []string
	if e.cfg.Naming == ECS {
		e.ecs(&o, s)
	} else {
		more = e.fluentd(&o, s)
	}
	for _, t := range e.cfg.Tags {
		o.string(t.Name, t.Value)
	}
	if len(more) > 0 || without != 0 {
		st.own = e.owns(more, without)
	}
	o.comma()
	st.doc = append(o.dst, `"@timestamp":"`...)
	return st
}

// fluentd writes the stream's names as the fluentd and Fluent Bit filters do
// and returns those of top-level members that other streams do not have.
func (e *Encoder) fluentd(o *object, s *record.Stream) (more []string) {
	o.string("stream", s.Get(record.AttrStream))
	o.string("input", s.Get(record.AttrInput))
	if v := s.Get(record.AttrService); v != "" {
		o.open("service")
		o.string("name", v)
		o.close()
	}
	o.open("kubernetes")
	o.string("cluster_name", s.Get(record.AttrCluster))
	o.string("host", s.Get(record.AttrNode))
	o.string("namespace_name", s.Get(record.AttrNamespace))
	o.string("pod_name", s.Get(record.AttrPod))
	o.string("pod_id", s.Get(record.AttrPodUID))
	o.string("container_name", s.Get(record.AttrContainer))
	o.string("container_image", s.Get(record.AttrImage))
	o.string("docker_id", s.Get(record.AttrContainerID))
	o.number("restart_count", s.Get(record.AttrRestart))
	o.string("workload", s.Get(record.AttrWorkload))
	e.maps(o, s)
	for _, a := range s.Attrs() {
		if name, ok := strings.CutPrefix(a.Name, inKubernetes); ok {
			o.string(name, a.Value)
		}
	}
	o.close()
	for _, a := range s.Attrs() {
		if a.Name == record.AttrFile || !wire.IsAttr(a.Name) {
			if e.reserved(a.Name) || a.Name == IndexAttr || strings.HasPrefix(a.Name, inKubernetes) {
				continue
			}
			o.string(a.Name, a.Value)
			more = append(more, a.Name)
		}
	}
	return more
}

// inKubernetes begins the names of attributes that are members of the object.
const inKubernetes = "kubernetes."

// reserved reports whether a stream's attribute has the name of a member that
// every document has. A configuration that asks for this gets the member.
func (e *Encoder) reserved(name string) bool {
	if name == e.message || name == "level" {
		return true
	}
	for _, n := range e.names {
		if n == name {
			return true
		}
	}
	return false
}

func (e *Encoder) ecs(o *object, s *record.Stream) {
	o.string("stream", s.Get(record.AttrStream))
	nested := func(v string, path ...string) {
		if v == "" {
			return
		}
		last := len(path) - 1
		for _, n := range path[:last] {
			o.open(n)
		}
		o.string(path[last], v)
		for range last {
			o.close()
		}
	}
	nested(s.Get(record.AttrInput), "input", "type")
	nested(s.Get(record.AttrService), "service", "name")
	nested(s.Get(record.AttrCluster), "orchestrator", "cluster", "name")
	nested(s.Get(record.AttrNode), "host", "name")
	o.string("log.file.path", s.Get(record.AttrFile))
	o.open("container")
	o.string("id", s.Get(record.AttrContainerID))
	nested(s.Get(record.AttrImage), "image", "name")
	o.close()
	o.open("kubernetes")
	o.string("namespace", s.Get(record.AttrNamespace))
	o.open("pod")
	o.string("name", s.Get(record.AttrPod))
	o.string("uid", s.Get(record.AttrPodUID))
	o.close()
	o.open("container")
	o.string("name", s.Get(record.AttrContainer))
	o.number("restart_count", s.Get(record.AttrRestart))
	o.close()
	if s.Get(record.AttrPod) != "" {
		nested(s.Get(record.AttrNode), "node", "name")
	}
	if kind, name, ok := strings.Cut(s.Get(record.AttrWorkload), "/"); ok {
		switch kind {
		case "namespace", "pod", "container", "node", "labels", "annotations", "":
			kind = "workload"
		}
		nested(name, kind, "name")
	}
	e.maps(o, s)
	o.close()
	o.open("labels")
	used := map[string]bool{}
	for _, a := range s.Attrs() {
		if !wire.IsAttr(a.Name) && a.Name != IndexAttr {
			o.string(wire.Unique(used, strings.ReplaceAll(a.Name, ".", "_")), a.Value)
		}
	}
	o.close()
}

// maps writes the chosen labels and annotations.
func (e *Encoder) maps(o *object, s *record.Stream) {
	for _, m := range []struct {
		name   string
		set    []record.Attr
		choice []string
	}{
		{"labels", s.Labels(), e.cfg.Labels},
		{"annotations", s.Annotations(), e.cfg.Annotations},
	} {
		o.open(m.name)
		used := map[string]bool{}
		for _, a := range wire.Choose(m.set, m.choice) {
			o.string(wire.Unique(used, strings.ReplaceAll(a.Name, ".", e.cfg.Dedot)), a.Value)
		}
		o.close()
	}
}

// object writes JSON members. Objects in which nothing was written leave no
// trace.
type object struct {
	dst     []byte
	marks   []int  // where the open objects begin
	without uint64 // names of the top level that are left away
	mute    int    // objects open that are
}

// leaves reports whether a member of that name is left away.
func (o *object) leaves(name string) bool {
	if o.mute > 0 {
		return true
	}
	if o.without == 0 || len(o.marks) > 0 {
		return false
	}
	top, _, _ := strings.Cut(name, ".")
	bit, ok := json.Known([]byte(top))
	return ok && o.without>>bit&1 != 0
}

func (o *object) comma() {
	if o.dst[len(o.dst)-1] != '{' {
		o.dst = append(o.dst, ',')
	}
}

func (o *object) open(name string) {
	if o.leaves(name) {
		o.mute++
		return
	}
	o.marks = append(o.marks, len(o.dst))
	o.comma()
	o.dst = json.AppendStringString(o.dst, name)
	o.dst = append(o.dst, ':', '{')
}

func (o *object) close() {
	if o.mute > 0 {
		o.mute--
		return
	}
	mark := o.marks[len(o.marks)-1]
	o.marks = o.marks[:len(o.marks)-1]
	if o.dst[len(o.dst)-1] == '{' {
		o.dst = o.dst[:mark]
		return
	}
	o.dst = append(o.dst, '}')
}

func (o *object) string(name, value string) {
	if value == "" || o.leaves(name) {
		return
	}
	o.comma()
	o.dst = json.AppendStringString(o.dst, name)
	o.dst = append(o.dst, ':')
	o.dst = json.AppendStringString(o.dst, value)
}

func (o *object) number(name, value string) {
	if !wire.IsNumber([]byte(value)) || o.leaves(name) {
		return
	}
	o.comma()
	o.dst = json.AppendStringString(o.dst, name)
	o.dst = append(o.dst, ':')
	o.dst = append(o.dst, value...)
}

// Append appends an action and a document for each record of the parts, in
// order: item k of the answer is about the k-th record.
func (e *Encoder) Append(dst []byte, parts []record.Part) []byte {
	for _, p := range parts {
		b := p.Batch()
		e.streams.Use(b)
		e.merge.Use(b)
		for _, i := range p.Index() {
			dst = e.append(dst, b, int(i))
		}
	}
	e.streams.Done()
	e.merge.Done()
	return dst
}

func (e *Encoder) append(dst []byte, b *record.Batch, i int) []byte {
	r := b.Record(i)
	s := e.streams.Get(r.Stream)
	if r.Time < s.from || r.Time >= s.to {
		e.action(s, b, i)
	}
	dst = append(dst, s.action...)
	if e.cfg.IDs {
		if id := wire.RecordID(b, i); id.IsZero() {
			dst = dst[:len(dst)-len(idOpen)] // s.doc begins with a quote
		} else {
			dst = wire.AppendID(dst, id)
		}
	}
	isJSON := r.Flags.Has(record.JSONObject)
	if isJSON && r.KnownKeys&(e.objects|e.texts) != 0 && b.Streams()[r.Stream].Generation.IsZero() {
		s = e.beside(s, b.Bytes(r.Body))
	}
	dst = append(dst, s.doc...)
	dst = e.clock.Append(dst, r.Time)
	dst = append(dst, '"')
	own := s.own.text
	if isJSON {
		own = s.own.json
	}
	dst, present, ok := e.merge.Append(dst, i, own)
	if r.Severity != record.Unknown && present&e.levels == 0 {
		dst = append(dst, e.level...)
		dst = append(dst, r.Severity.Level()...)
		dst = append(dst, '"')
	}
	if !isJSON || !ok {
		dst = append(dst, e.msg...)
		dst = json.AppendString(dst, b.Bytes(r.Body))
	}
	if r.Flags&wire.Notable != 0 {
		dst = wire.AppendFlags(append(dst, ','), r.Flags)
	}
	return append(dst, '}', '\n')
}

const idOpen = `","_id":"`

// action writes the stream's action line for the time of record i. What the
// template makes needs no escapes: wire.Sanitizer lets nothing through that
// does.
func (e *Encoder) action(s *stream, b *record.Batch, i int) {
	s.action = append(s.action[:0], e.open...)
	s.action = e.cfg.Index.Append(s.action, b, i)
	if e.cfg.IDs {
		s.action = append(s.action, idOpen...)
	}
	if e.cfg.Index.PerRecord() {
		return // the window stays empty
	}
	s.from, s.to = e.cfg.Index.Window(b.Record(i).Time)
}

// beside returns what is written of the stream beside a document that was pushed:
// not what the document has itself.
func (e *Encoder) beside(s *stream, body []byte) *stream {
	if !e.scan.Object(body) {
		return s
	}
	var has uint64
	for i := range e.scan.Members {
		m := &e.scan.Members[i]
		if m.Bit == json.NoBit {
			continue
		}
		switch bit := uint64(1) << m.Bit; {
		case e.objects&bit != 0 && m.Kind == record.JSON && body[m.Val.Off] == '{',
			e.texts&bit != 0 && m.Kind == record.String:
			has |= bit
		}
	}
	if has == 0 {
		return s
	}
	v := s.without[has]
	if v == nil {
		v = e.build(s.of, has)
		if s.without == nil {
			s.without = make(map[uint64]*stream)
		}
		s.without[has] = v
	}
	return v
}
