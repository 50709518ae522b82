package config

import (
	"fmt"
	"reflect"
	"slices"
)

// Outputs are the outputs in the order in which they were given.
type Outputs []Output

// Output is one output.
type Output struct {
	ID ID
	// Settings is *ElasticsearchOutput (also for opensearch), *LokiOutput,
	// *OTLPOutput, *JSONLOutput, *FileOutput, *StdoutOutput or *StoreOutput.
	Settings OutputSettings
}

// OutputSettings is what every output's settings can say.
type OutputSettings interface {
	// Common returns how records are queued, batched and retried.
	Common() *Delivery
	// Endpoints returns the connection settings, nil for local outputs.
	Endpoints() *Remote
}

// Delivery is what all outputs have in common.
type Delivery struct {
	Batch  Batch  `yaml:"batch" doc:"How records are put together to one request."`
	Retry  Retry  `yaml:"retry" doc:"What happens after a failed attempt."`
	Buffer Buffer `yaml:"buffer" doc:"The queue before the output."`
	DLQ    DLQ    `yaml:"dlq" doc:"The dead-letter queue, on disk in the state directory: records that the destination refuses for good."`
}

// Common returns d.
func (d *Delivery) Common() *Delivery { return d }

// Endpoints returns nil: the output is local.
func (d *Delivery) Endpoints() *Remote { return nil }

// Batch bounds a request.
type Batch struct {
	Bytes Size     `yaml:"bytes" default:"2MiB" min:"1KiB" max:"256MiB" doc:"Bytes of records in one request at most; a single record may exceed them. At most buffer.memory, and lowered to it if not given."`
	Wait  Duration `yaml:"wait" default:"1s" min:"1ms" max:"1h" doc:"How long the first record waits for more."`
}

// Retry says how often and how long to try.
type Retry struct {
	For      Duration `yaml:"for" word:"forever=9223372036854775807" min:"1s" default:"forever" doc:"How long a record is tried; after it the record is a dead letter."`
	MinDelay Duration `yaml:"min_delay" default:"500ms" min:"1ms" max:"1h" doc:"Delay after the first failure; it doubles, with jitter. Lowered to max_delay if not given."`
	MaxDelay Duration `yaml:"max_delay" default:"30s" min:"1ms" max:"24h" doc:"Longest delay."`
}

// Buffer is the queue before an output.
type Buffer struct {
	Memory   Size     `yaml:"memory" default:"16MiB" min:"64KiB" doc:"Bytes that wait in memory at most. With disk: bytes on their way to the disk and from it, each."`
	Disk     Size     `yaml:"disk" word:"off=0" min:"1MiB" default:"off" doc:"Bytes that wait on disk at most, in the state directory. What was read or pushed is safe when it is there, and outlives the process. off: only memory. In the role gateway 1GiB unless given, for outputs over the network."`
	MaxAge   Duration `yaml:"max_age" word:"off=0" min:"1s" default:"off" doc:"How long a record may wait on disk; after it the record is dropped and counted. Time in which weir does not run does not count. off: any time."`
	WhenFull string   `yaml:"when_full" enum:"auto,wait,reject,drop" default:"auto" doc:"wait: inputs stop reading, and who pushes waits. reject: who pushes is refused (429), files wait. drop: records are dropped for this output, and counted. auto is reject."`

	Compression string `yaml:"compression" enum:"s2,none" default:"s2" doc:"Compression of what waits on disk. s2: about a quarter of the bytes. none costs less processor time where the disk is fast and large."`
}

// OnDisk reports whether the queue is on disk.
func (b *Buffer) OnDisk() bool { return b.Disk > 0 }

// DLQ is the dead-letter queue of an output.
type DLQ struct {
	Max      Size   `yaml:"max" default:"1GiB" min:"1MiB" doc:"Bytes on disk at most."`
	WhenFull string `yaml:"when_full" enum:"wait,drop" default:"wait" doc:"wait: refused records stay with the output until there is room. drop: they are dropped, and counted."`
}

// Remote is what all outputs over the network have in common. Exactly one of
// URL and URLs is set; use List.
type Remote struct {
	URL         URL               `yaml:"url" scheme:"http,https" lookup:"true" doc:"Address of the destination. dns+ before the scheme: every address of the host is an endpoint; srv+: every target of that SRV record."`
	URLs        []URL             `yaml:"urls" scheme:"http,https" lookup:"true" doc:"Addresses of several equal destinations, instead of url."`
	Groups      []Group           `yaml:"groups" doc:"Groups of destinations, instead of url: the first that works is used."`
	Balance     string            `yaml:"balance" enum:"round_robin,least_inflight,hash,failover" default:"round_robin" doc:"How requests are spread over the endpoints. hash: the same records always go to the same endpoint, see hash_by. failover: each url is a group of its own."`
	HashBy      []string          `yaml:"hash_by" doc:"What balance: hash goes by: attributes of the stream such as namespace and pod, or fields of the record such as trace_id. The whole stream if empty."`
	Failback    Duration          `yaml:"failback" default:"30s" min:"0s" max:"24h" doc:"How long a better group must have worked before it is used again."`
	Discovery   Discovery         `yaml:"discovery" doc:"How dns+ and srv+ are looked up."`
	Auth        Auth              `yaml:"auth" doc:"Credentials: user with password, api_key, bearer or bearer_file."`
	TLS         TLS               `yaml:"tls" doc:"Settings of TLS, at least 1.2. Files are read again when they change."`
	Headers     map[string]Secret `yaml:"headers" doc:"HTTP headers (metadata for gRPC) added to every request. Their values count as secrets."`
	Proxy       string            `yaml:"proxy" enum:"none,environment" default:"none" doc:"environment: use HTTPS_PROXY and alike."`
	Timeout     Duration          `yaml:"timeout" default:"30s" min:"100ms" max:"1h" doc:"Longest time for one attempt."`
	Age         Duration          `yaml:"max_connection_age" default:"5m" min:"1s" max:"24h" doc:"How long a connection is used, a fifth more or less, before another takes its place and the host is looked up again."`
	Concurrency Concurrency       `yaml:"concurrency" doc:"Requests at the same time."`
	Eject       Eject             `yaml:"eject" doc:"When an endpoint is left out for a while."`
}

// Group is one of several groups of destinations.
type Group struct {
	URL  URL   `yaml:"url" lookup:"true" doc:"Address of the only destination of the group."`
	URLs []URL `yaml:"urls" lookup:"true" doc:"Addresses of the group's destinations."`
}

// Discovery says how names become endpoints.
type Discovery struct {
	Every  Duration `yaml:"every" default:"30s" min:"1s" max:"24h" doc:"How often names are looked up again, a fifth more or less; also soon after a connection failed."`
	Server Address  `yaml:"server" doc:"host:port of the DNS server to ask instead of the system's."`
}

// Place is an address and where it stands.
type Place struct {
	URL   URL
	Group int
	Path  string // below the output, such as groups[1].urls[0]
}

// Places returns all addresses, whichever way they were given.
func (r *Remote) Places() []Place {
	var list []Place
	add := func(group int, at string, one URL, many []URL) {
		if one != "" {
			list = append(list, Place{one, group, at + "url"})
			return
		}
		for i, u := range many {
			list = append(list, Place{u, group, fmt.Sprintf("%surls[%d]", at, i)})
		}
	}
	add(0, "", r.URL, r.URLs)
	for i, g := range r.Groups {
		add(i, fmt.Sprintf("groups[%d].", i), g.URL, g.URLs)
	}
	return list
}

// Looked reports whether any address is looked up.
func (r *Remote) Looked() bool {
	return slices.ContainsFunc(r.Places(), func(p Place) bool { return p.URL.Lookup() != "" })
}

// Concurrency bounds the requests in flight; the number in use follows the
// destination's answers.
type Concurrency struct {
	Max int `yaml:"max" default:"4" min:"1" max:"1024" doc:"Requests at the same time at most; fewer when the destination is slow or refuses."`
}

// Eject says when an endpoint is left out.
type Eject struct {
	Errors int      `yaml:"errors" default:"5" min:"1" max:"1000000" doc:"Failures in a row after which an endpoint is left out."`
	For    Duration `yaml:"for" default:"30s" min:"100ms" max:"24h" doc:"How long it is left out."`
}

// Auth is one way to authenticate; at most one is set.
type Auth struct {
	User       string `yaml:"user" doc:"User of HTTP basic authentication."`
	Password   Secret `yaml:"password" doc:"Password of that user."`
	APIKey     Secret `yaml:"api_key" doc:"Elasticsearch API key, in its encoded form."`
	Bearer     Secret `yaml:"bearer" doc:"Bearer token."`
	BearerFile Path   `yaml:"bearer_file" doc:"File with a bearer token; read again when it changes."`
}

// TLS are the settings of a TLS client.
type TLS struct {
	CA                 Path   `yaml:"ca" doc:"File with the certificates of the authorities to trust; the system's if empty."`
	Cert               Path   `yaml:"cert" doc:"File with the client's certificate."`
	Key                Path   `yaml:"key" doc:"File with the client's key."`
	ServerName         string `yaml:"server_name" doc:"Name expected in the server's certificate; the URL's host if empty."`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify" default:"false" doc:"Accepts any certificate. Anyone on the way can then read and change the logs."`
}

// ElasticsearchOutput sends to the _bulk API of Elasticsearch or OpenSearch.
type ElasticsearchOutput struct {
	Remote      `yaml:",inline"`
	Index       Template `yaml:"index" default:"weir-%Y.%m.%d" doc:"Index or data stream; ${namespace} and other attributes are filled in, and %Y %m %d from the record's time in UTC."`
	DataStream  bool     `yaml:"data_stream" default:"false" doc:"The index is a data stream: op is create."`
	Naming      string   `yaml:"naming" enum:"fluentd,ecs" default:"fluentd" doc:"Names of the fields: as fluentd and fluent-bit write them, or Elastic Common Schema."`
	Op          string   `yaml:"op" enum:"create,index" default:"create" doc:"create: a record that is there already stays. index: it is written again."`
	IDs         bool     `yaml:"ids" default:"true" doc:"Gives every document an _id made from its place in the source, so that nothing is stored twice."`
	Compression string   `yaml:"compression" enum:"none,gzip" default:"gzip" doc:"Compression of requests."`
	Delivery    `yaml:",inline"`
}

// LokiOutput sends to Loki's push API, protobuf with snappy.
type LokiOutput struct {
	Remote   `yaml:",inline"`
	Tenant   Template `yaml:"tenant" doc:"Tenant, sent as X-Scope-OrgID; ${namespace} and other attributes are filled in."`
	Labels   []string `yaml:"labels" default:"[cluster, namespace, node, workload, app, service_name, container, stream, input]" doc:"Attributes that become index labels; the others are structured metadata."`
	Delivery `yaml:",inline"`
}

// OTLPOutput sends OTLP over HTTP or gRPC.
type OTLPOutput struct {
	Remote      `yaml:",inline"`
	Compression string `yaml:"compression" enum:"none,gzip,zstd" default:"gzip" doc:"Compression of requests."`
	Delivery    `yaml:",inline"`
}

// JSONLOutput posts one JSON object per line to any URL.
type JSONLOutput struct {
	Remote      `yaml:",inline"`
	Compression string `yaml:"compression" enum:"none,gzip,zstd" default:"none" doc:"Compression of requests."`
	Keys        Keys   `yaml:"keys" doc:"Names of the members that every line has."`
	Delivery    `yaml:",inline"`
}

// Keys are names of members of a JSON line.
type Keys struct {
	Time    string `yaml:"time" default:"_time" doc:"Member with the time."`
	Message string `yaml:"message" default:"_msg" doc:"Member with the text of a record that is not a JSON object."`
}

// FileOutput writes to a file that it rotates itself.
type FileOutput struct {
	Path     Path   `yaml:"path" required:"true" doc:"File to append to; %Y %m %d %j %H %M are filled in from the clock, in UTC."`
	Format   string `yaml:"format" enum:"json,line,raw" default:"json" doc:"json: an object a line. line: for people. raw: only the text."`
	MaxSize  Size   `yaml:"max_size" default:"100MiB" min:"4KiB" doc:"Size at which the file is rotated."`
	Keep     int    `yaml:"keep" default:"5" min:"1" max:"100000" doc:"Rotated files kept."`
	Sync     bool   `yaml:"sync" default:"true" doc:"Records count as delivered only when they are on the disk."`
	Keys     Keys   `yaml:"keys" doc:"Names of the members that every line has, for json."`
	Delivery `yaml:",inline"`
}

// StdoutOutput writes to standard output.
type StdoutOutput struct {
	Format   string `yaml:"format" enum:"json,line,raw" default:"json" doc:"json: an object a line. line: for people. raw: only the text."`
	Prefix   bool   `yaml:"prefix" default:"false" doc:"With raw, writes [name] before each line: the name of the file that it stood in."`
	Resume   bool   `yaml:"resume" default:"false" doc:"Remembers what was written, in the state directory, so that also after a kill no line is written twice. In the role sidecar true unless given."`
	Keys     Keys   `yaml:"keys" doc:"Names of the members that every line has, for json."`
	Delivery `yaml:",inline"`
}

// StoreOutput writes into the embedded store.
type StoreOutput struct {
	Delivery `yaml:",inline"`
}

// Endpoints returns the connection settings.
func (o *ElasticsearchOutput) Endpoints() *Remote { return &o.Remote }

// Endpoints returns the connection settings.
func (o *LokiOutput) Endpoints() *Remote { return &o.Remote }

// Endpoints returns the connection settings.
func (o *OTLPOutput) Endpoints() *Remote { return &o.Remote }

// Endpoints returns the connection settings.
func (o *JSONLOutput) Endpoints() *Remote { return &o.Remote }

// componentType describes a type of input or output.
type componentType struct {
	name, doc string
	new       func() any
	defaults  map[string]string // by path below the component; they win over the tags
	schemes   []string          // of url and urls; nil: as in the tags
}

// schemesOf returns the schemes of addresses of an output of that type.
func schemesOf(settings OutputSettings) []string {
	for i := range outputTypes {
		if t := &outputTypes[i]; reflect.TypeOf(t.new()) == reflect.TypeOf(settings) && t.schemes != nil {
			return t.schemes
		}
	}
	return []string{"http", "https"}
}

var inputTypes = []componentType{
	{name: "kubernetes", doc: "The logs of this node's containers.", new: func() any { return new(KubernetesInput) }},
	{name: "file", doc: "Plain log files.", new: func() any { return new(FileInput) }},
	{name: "kafka", doc: "Topics of a Kafka, as a member of a consumer group.", new: func() any { return new(KafkaInput) }},
	{name: "otlp", doc: "OTLP, pushed over gRPC or HTTP.", new: func() any { return new(OTLPInput) }},
	{name: "loki", doc: "Pushes as to Loki.", new: func() any { return new(HTTPInput) }},
	{name: "elasticsearch", doc: "Bulk requests as to Elasticsearch or OpenSearch, and what their clients ask before.", new: func() any { return new(HTTPInput) }},
	{name: "splunk_hec", doc: "Pushes as to Splunk's HTTP Event Collector.", new: func() any { return new(HTTPInput) }},
	{name: "datadog", doc: "Pushes as to Datadog's intake of logs.", new: func() any { return new(HTTPInput) }},
	{name: "audit", doc: "Kubernetes' audit webhook.", new: func() any { return new(HTTPInput) }},
	{name: "journald", doc: "Uploads of systemd-journal-upload.", new: func() any { return new(HTTPInput) }},
	{name: "http", doc: "Lines of text or JSON, posted.", new: func() any { return new(HTTPInput) }},
	{name: "forward", doc: "Fluentd, Fluent Bit, docker and their like, over the Forward Protocol.", new: func() any { return new(ForwardInput) }},
	{name: "syslog", doc: "Syslog, RFC 5424 and 3164, over TCP, TLS, UDP or a unix socket such as /dev/log.", new: func() any { return new(SyslogInput) }},
	{name: "gelf", doc: "GELF, Graylog's format, over TCP, TLS or UDP.", new: func() any { return new(GELFInput) }},
	{name: "socket", doc: "Lines of text or JSON over TCP, TLS, UDP or a unix socket.", new: func() any { return new(SocketInput) }},
}

var outputTypes = []componentType{
	{name: "elasticsearch", doc: "Elasticsearch's _bulk API.", new: func() any { return new(ElasticsearchOutput) }},
	{name: "opensearch", doc: "OpenSearch's _bulk API.", new: func() any { return new(ElasticsearchOutput) }},
	{name: "loki", doc: "Loki's push API (protobuf).", new: func() any { return new(LokiOutput) },
		defaults: map[string]string{"batch.bytes": "1MiB"}},
	{name: "otlp", doc: "An OTLP endpoint: http(s)://host:4318 or grpc(s)://host:4317.", new: func() any { return new(OTLPOutput) },
		schemes: []string{"http", "https", "grpc", "grpcs"}},
	{name: "jsonl", doc: "POST of one JSON object per line, as VictoriaLogs and Vector take it.", new: func() any { return new(JSONLOutput) }},
	{name: "kafka", doc: "Topics of a Kafka, with an idempotent producer.", new: func() any { return new(KafkaOutput) }},
	{name: "s3", doc: "Objects in S3, MinIO or alike: Parquet or lines of JSON.", new: func() any { return new(S3Output) },
		defaults: map[string]string{"batch.bytes": "32MiB", "batch.wait": "5m", "buffer.memory": "64MiB"}},
	{name: "clickhouse", doc: "A table of ClickHouse, over HTTP.", new: func() any { return new(ClickHouseOutput) },
		defaults: map[string]string{"batch.bytes": "8MiB"}},
	{name: "splunk_hec", doc: "Splunk's HTTP Event Collector.", new: func() any { return new(SplunkOutput) },
		defaults: map[string]string{"batch.bytes": "512KiB"}},
	{name: "http", doc: "Any URL: lines or an array of JSON, plain lines, or a template.", new: func() any { return new(HTTPOutput) }},
	{name: "forward", doc: "A Fluentd, Fluent Bit or weir over the Forward Protocol: tcp://host:24224 or tls://host:24224.", new: func() any { return new(ForwardOutput) },
		schemes: []string{"tcp", "tls"}, defaults: map[string]string{"batch.bytes": "2MiB"}},
	{name: "syslog", doc: "A receiver of syslog: tcp://host:514, tls://host:6514 or udp://host:514.", new: func() any { return new(SyslogOutput) },
		schemes: []string{"tcp", "tls", "udp"}, defaults: map[string]string{"batch.bytes": "1MiB", "concurrency.max": "1"}},
	{name: "file", doc: "A file that weir rotates itself.", new: func() any { return new(FileOutput) },
		defaults: map[string]string{"batch.bytes": "1MiB", "batch.wait": "200ms"}},
	{name: "stdout", doc: "Standard output.", new: func() any { return new(StdoutOutput) },
		defaults: map[string]string{"batch.bytes": "256KiB", "batch.wait": "50ms"}},
	{name: "store", doc: "The embedded store of this process, which listen.http makes searchable; the section store says where and how long it keeps logs.",
		new: func() any { return new(StoreOutput) }, defaults: map[string]string{"batch.bytes": "1MiB", "batch.wait": "50ms"}},
}
