package config

import (
	"net/url"
	"strings"
)

// Store says where the embedded store keeps logs, and how long.
type Store struct {
	Path      Path        `yaml:"path" doc:"Directory of the store; 'store' in the state directory if empty."`
	Retention Duration    `yaml:"retention" word:"forever=0" default:"7d" min:"24h" doc:"How long logs are kept after their time, in whole days. forever: until max_disk needs the room."`
	Rules     []StoreRule `yaml:"rules" doc:"Other retentions for some streams; the first rule that matches decides."`
	MaxDisk   Size        `yaml:"max_disk" word:"unlimited=0" default:"10GiB" min:"64MiB" doc:"Bytes on disk at most; the oldest logs make room."`
	MinFree   Size        `yaml:"min_free" word:"none=0" default:"64MiB" min:"1MiB" doc:"Bytes that stay free on the disk: below them nothing is taken until there is room again."`
	Memtable  Memtable    `yaml:"memtable" doc:"Rows in memory. They are durable in the log beside it, and searchable."`
	Cache     Size        `yaml:"cache" default:"32MiB" min:"1MiB" max:"16GiB" doc:"Bytes of indexes kept in memory."`
	Recent    int         `yaml:"recent_pushes" word:"none=0" default:"1000000" min:"1000" max:"100000000" doc:"Pushed rows that are remembered by their ids, the latest of them: one that is pushed again, as its sender did not hear the answer, is not stored again. One takes about 32 bytes of memory, and 16 on disk."`
}

// StoreRule is a retention for some streams.
type StoreRule struct {
	Match     Condition `yaml:"match" required:"true" doc:"Selector of the streams, by labels of the index."`
	Retention Duration  `yaml:"retention" word:"forever=0" required:"true" min:"24h" doc:"How long their logs are kept."`
}

// Memtable bounds the rows in memory.
type Memtable struct {
	Bytes Size     `yaml:"bytes" default:"32MiB" min:"1MiB" max:"1GiB" doc:"Bytes of rows that become segments; as many again may come meanwhile."`
	Age   Duration `yaml:"age" default:"30m" min:"1s" max:"24h" doc:"How long rows wait for that at most."`
}

// Listen says on which addresses the process answers, and whom.
type Listen struct {
	HTTP           Address                 `yaml:"http" doc:"Address of the HTTP API, such as 127.0.0.1:7410; off if empty: queries as Loki has them if there is a store, and pushes by all protocols over HTTP, each below its path. They go to the store if there is one, else through the pipeline. Beyond loopback it needs users, tls.client_ca or insecure: true."`
	TLS            ListenTLS               `yaml:"tls" doc:"TLS of http. The files are read again when they change."`
	Users          []User                  `yaml:"users" doc:"Who may use http, beyond /healthz, /readyz and /metrics, and push to the inputs; nobody is asked if empty."`
	TenantHeader   bool                    `yaml:"tenant_header" default:"false" doc:"Takes the tenant from the header X-Scope-OrgID where the user has none; a request without one is refused. For clients that may name any tenant, such as a proxy that sets the header."`
	Limits         ListenLimits            `yaml:"limits" doc:"What requests to http may cost."`
	Kubernetes     ListenKubernetes        `yaml:"kubernetes" doc:"What Kubernetes is asked about those who push."`
	TenantLimits   TenantLimits            `yaml:"tenant_limits" doc:"How much each tenant may push; all together if there are no tenants."`
	TenantLimitsOf map[string]TenantLimits `yaml:"tenants" doc:"The same for single tenants, by name; what is not said there is as in tenant_limits."`
	CORS           []Origin                `yaml:"cors" doc:"Whose pages may push from browsers, such as https://app.example.com, to http and to the inputs; '*' for all of them."`
	Probe          Address                 `yaml:"probe" doc:"Address of GET /healthz, /readyz and /metrics, such as :7411; off if empty. It shows no log content and asks for no credentials."`
	Insecure       bool                    `yaml:"insecure" default:"false" doc:"Lets http listen beyond loopback without authentication."`
}

// ListenLimits bounds what requests cost.
type ListenLimits struct {
	QueryTime        Duration `yaml:"query_time" default:"1m" min:"1s" max:"24h" doc:"How long a query may take."`
	QueryLines       int      `yaml:"query_lines" default:"50000" min:"1" max:"10000000" doc:"Lines in one answer at most."`
	Queries          int      `yaml:"queries" word:"auto=0" default:"auto" min:"1" max:"10000" doc:"Queries at a time; 64 more wait. auto: two for each processor, at least 4."`
	Tails            int      `yaml:"tails" default:"64" min:"1" max:"100000" doc:"Tails at a time."`
	Body             Size     `yaml:"body" default:"20MiB" min:"1KiB" max:"1GiB" doc:"Bytes of a push, as sent."`
	Decompressed     Size     `yaml:"decompressed" default:"64MiB" min:"1KiB" max:"1GiB" doc:"Bytes of a push, decompressed."`
	PushMemory       Size     `yaml:"push_memory" default:"128MiB" min:"1MiB" doc:"Bytes of all pushes under way; what does not fit is answered with 429. One sender gets three quarters at most, and less if there are others."`
	Connections      int      `yaml:"connections" default:"10000" min:"16" max:"1000000" doc:"Connections over HTTP at a time, over all listeners, and not more than half of the files that the system allows the process. When all are taken, whoever has the most gives one up."`
	ConnectionsPerIP int      `yaml:"connections_per_ip" default:"1000" min:"1" max:"1000000" doc:"Connections from one address at a time."`
}

// ListenTLS is the server's side of TLS.
type ListenTLS struct {
	Cert       Path   `yaml:"cert" doc:"File with the certificate and its chain, PEM."`
	Key        Path   `yaml:"key" doc:"File with the key, PEM."`
	ClientCA   Path   `yaml:"client_ca" doc:"File with CA certificates, PEM; clients must have a certificate of one of them."`
	ClientAuth string `yaml:"client_auth" enum:"require,optional" default:"require" doc:"require: clients without a certificate of client_ca are cut. optional: they need another credential of listen.users."`
}

// Origin is where a page in a browser is from: a scheme, a host and perhaps a port.
type Origin string

// UnmarshalText checks that browsers would write it so.
func (o *Origin) UnmarshalText(text []byte) error {
	s := string(text)
	u, err := url.Parse(s)
	if s != "*" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != s || s != strings.ToLower(s)) {
		return bad("an origin is a scheme, a host and perhaps a port, in small letters and without a path, such as https://app.example.com; '*' for all", "bad origin %q", shorten(s))
	}
	*o = Origin(s)
	return nil
}
