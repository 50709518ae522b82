package document

import (
	"strings"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// what is what a member means.
type what uint8

const (
	nothing what = iota
	isTime
	isMessage  // the text, one member among others
	isEnvelope // the text, of which the other members are attributes
	isLevel
	isID
	isFlags
	isIgnored
	isKubernetes // the object that collectors write
	isStdStream  // stdout or stderr
	isAttr       // the stream's attribute
	isPrefix     // the same, the rest of the name being part of it
	isHost       // a name, or an object with one
	isService    // a name, or an object with one
	isContainer  // ECS
	isOrchestrator
	isInput
	isTags // Datadog's
)

// rule is what becomes of a member.
type rule struct {
	what what
	rank uint8 // of messages and times: the lowest stands
	cut  bool  // encoders write it back
	mark bool  // a collector has been here
	attr string
}

type prefixed struct {
	name string
	rule rule
}

// Rules say what members mean by their names. They are immutable once in use.
type Rules struct {
	known    [64]rule // by json.Known
	other    map[string]rule
	prefixes []prefixed
	always   bool // collectors send it
	keep     bool // a text is an envelope's, or stays a member: encoders give it another name
}

func (r *Rules) set(name string, ru rule) {
	if bit, ok := json.Known([]byte(name)); ok {
		r.known[bit] = ru
		return
	}
	if r.other == nil {
		r.other = make(map[string]rule)
	}
	r.other[name] = ru
}

func (r *Rules) levels(names ...string) {
	for _, n := range names {
		r.set(n, rule{what: isLevel, cut: n == "level"})
	}
}

func (r *Rules) times(from uint8, names ...string) {
	for i, n := range names {
		r.set(n, rule{what: isTime, rank: from + uint8(i)})
	}
}

// Elastic are the rules for documents as they are sent to Elasticsearch: with
// the names of Fluentd and Fluent Bit, and of ECS.
func Elastic() *Rules {
	r := &Rules{always: true, keep: true}
	r.set("@timestamp", rule{what: isTime, rank: 1, cut: true})
	r.times(2, "timestamp", "time", "_time", "ts", "datetime")
	r.set("log", rule{what: isEnvelope, rank: 1})
	r.set("message", rule{what: isMessage, rank: 2})
	r.set("msg", rule{what: isMessage, rank: 3})
	r.levels("level", "log.level", "severity", "lvl", "loglevel", "levelname", "severity_text")
	r.set("kubernetes", rule{what: isKubernetes})
	r.set("stream", rule{what: isStdStream, cut: true})
	r.set("weir", rule{what: isFlags})
	r.set("host", rule{what: isHost})
	r.set("hostname", rule{what: isHost})
	r.set("host.name", rule{what: isAttr, attr: record.AttrNode})
	r.set("service", rule{what: isService})
	r.set("service.name", rule{what: isAttr, attr: record.AttrService})
	r.set("container", rule{what: isContainer})
	r.set("orchestrator", rule{what: isOrchestrator})
	r.set("input", rule{what: isInput})
	return r
}

// LineOptions are what a request with JSON lines may say of them.
type LineOptions struct {
	Message []string // names of the text, the best first; with others the text is the body and the rest fields
	Time    []string // names of the time
	Stream  []string // names of members that are attributes of the stream
	Ignore  []string // names of members to leave out
}

// Lines are the rules for JSON lines: what weir and VictoriaLogs write, and what
// applications log.
func Lines(o LineOptions) *Rules {
	r := new(Rules)
	r.times(101, "@timestamp", "timestamp", "time", "ts", "datetime", "t", "date", "eventTime")
	r.set("@timestamp", rule{what: isTime, rank: 100, cut: true})
	r.set("_time", rule{what: isTime, rank: 99, cut: true, mark: true})
	r.set("_msg", rule{what: isEnvelope, rank: 100})
	r.set("message", rule{what: isMessage, rank: 101})
	r.set("msg", rule{what: isMessage, rank: 102})
	r.set("log", rule{what: isEnvelope, rank: 103, mark: true})
	r.set("body", rule{what: isMessage, rank: 104})
	r.levels("level", "log.level", "severity", "lvl", "loglevel", "levelname", "severity_text")
	r.set("kubernetes", rule{what: isKubernetes, mark: true})
	r.set("stream", rule{what: isStdStream, cut: true})
	r.set("weir", rule{what: isFlags})
	r.set("log_record_uid", rule{what: isID})
	r.set("weir_id", rule{what: isID})
	r.set("_stream", rule{what: isIgnored})
	r.set("_stream_id", rule{what: isIgnored})
	for _, a := range []string{record.AttrCluster, record.AttrNode, record.AttrNamespace, record.AttrPod, record.AttrPodUID,
		record.AttrContainer, record.AttrContainerID, record.AttrWorkload, record.AttrService, record.AttrInput} {
		r.set(a, rule{what: isAttr, attr: a, cut: true})
	}
	r.set(record.AttrApp, rule{what: isAttr, attr: record.AttrApp})
	r.set("service", rule{what: isService})
	r.set("service.name", rule{what: isAttr, attr: record.AttrService})
	r.set("host", rule{what: isHost})
	r.set("hostname", rule{what: isHost})
	for i, n := range o.Time {
		r.set(n, rule{what: isTime, rank: uint8(min(i, 90)), cut: true, mark: true})
	}
	for i, n := range o.Message {
		r.set(n, rule{what: isEnvelope, rank: uint8(min(i, 90))})
	}
	for _, n := range o.Stream {
		switch n {
		case "stream":
			r.set(n, rule{what: isAttr, attr: n, cut: true, mark: true})
		default:
			attr := strings.TrimSpace(n)
			if c, ok := canonical[attr]; ok {
				attr = c
			}
			r.set(n, rule{what: isAttr, attr: attr, cut: true, mark: true})
		}
	}
	for _, n := range o.Ignore {
		if p, ok := strings.CutSuffix(n, "*"); ok && p != "" {
			r.prefixes = append(r.prefixes, prefixed{p, rule{what: isIgnored, mark: true}})
			continue
		}
		r.set(n, rule{what: isIgnored, mark: true})
	}
	return r
}

// Datadog are the rules for the logs that Datadog's intake takes.
// https://docs.datadoghq.com/api/latest/logs/#send-logs
func Datadog() *Rules {
	r := &Rules{always: true}
	r.set("message", rule{what: isEnvelope, rank: 1})
	r.times(1, "timestamp", "@timestamp", "date", "time", "_timestamp")
	for _, n := range []string{"timestamp", "@timestamp", "date"} {
		bit, _ := json.Known([]byte(n))
		r.known[bit].cut = true
	}
	r.set("status", rule{what: isLevel})
	r.levels("level", "severity", "log.level")
	r.set("hostname", rule{what: isHost, cut: true})
	r.set("host", rule{what: isHost, cut: true})
	r.set("service", rule{what: isService, cut: true})
	r.set("ddsource", rule{what: isAttr, attr: "source", cut: true})
	r.set("ddtags", rule{what: isTags, cut: true})
	return r
}

// canonical maps names that collectors have for attributes to the canonical ones.
var canonical = map[string]string{
	"k8s.cluster.name": record.AttrCluster, "k8s_cluster_name": record.AttrCluster, "kube_cluster_name": record.AttrCluster, "cluster_name": record.AttrCluster,
	"k8s.node.name": record.AttrNode, "k8s_node_name": record.AttrNode, "kube_node": record.AttrNode, "kubernetes.host": record.AttrNode, "host.name": record.AttrNode, "host_name": record.AttrNode,
	"k8s.namespace.name": record.AttrNamespace, "k8s_namespace_name": record.AttrNamespace, "kube_namespace": record.AttrNamespace, "kubernetes.namespace_name": record.AttrNamespace, "kubernetes.pod_namespace": record.AttrNamespace,
	"k8s.pod.name": record.AttrPod, "k8s_pod_name": record.AttrPod, "pod_name": record.AttrPod, "kubernetes.pod_name": record.AttrPod,
	"k8s.pod.uid": record.AttrPodUID, "k8s_pod_uid": record.AttrPodUID, "kubernetes.pod_id": record.AttrPodUID, "kubernetes.pod_uid": record.AttrPodUID,
	"k8s.container.name": record.AttrContainer, "k8s_container_name": record.AttrContainer, "kube_container_name": record.AttrContainer, "kubernetes.container_name": record.AttrContainer,
	"container.id": record.AttrContainerID, "kubernetes.docker_id": record.AttrContainerID,
	"container.image.name": record.AttrImage, "kubernetes.container_image": record.AttrImage,
	"service.name": record.AttrService, "service": record.AttrService,
	"log.iostream": record.AttrStream, "log.file.path": record.AttrFile,
	"host": record.AttrNode, "hostname": record.AttrNode,
}

// Canonical returns the canonical name of an attribute that collectors call name,
// name itself if it has none.
func Canonical(name string) string {
	if c, ok := canonical[name]; ok {
		return c
	}
	return name
}
