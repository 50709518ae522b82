package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Config says where a Client sends, and how. The zero value of every field is a
// good default, but for Endpoints.
type Config struct {
	// Endpoints are the gateways, such as https://weir-gateway.logging:7410. The
	// path is /otlp/v1/logs if there is none (/v1/logs on OTLP's own port, 4318);
	// v1/logs is added to any other that does not end in it. If empty, they are
	// read from the environment: WEIR_ENDPOINTS (separated by commas), else
	// OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, else OTEL_EXPORTER_OTLP_ENDPOINT.
	Endpoints []string

	// Balance says how requests are spread over Endpoints.
	Balance Balance

	// Service is the resource attribute service.name: OTEL_SERVICE_NAME if empty,
	// else the name of the executable file.
	Service string

	// Resource holds further attributes of the resource. Without it there are those
	// of OTEL_RESOURCE_ATTRIBUTES, service.version of the main module, host.name, and
	// in a pod those of the variables POD_NAME (else HOSTNAME), POD_NAMESPACE (else
	// the service account's), POD_UID, NODE_NAME, CONTAINER_NAME, CLUSTER_NAME: see
	// the downward API. An empty value here leaves an attribute out.
	Resource map[string]string

	// Level is the least level that is logged. Default: slog.LevelInfo.
	Level slog.Leveler

	// AddSource adds code.file.path, code.line.number and code.function.name.
	AddSource bool

	// ReplaceAttr, if set, is called for each attribute that is not a group, as in
	// slog.HandlerOptions, but not for time, level and message, which are no
	// attributes here. It must be safe for concurrent use.
	ReplaceAttr func(groups []string, a slog.Attr) slog.Attr

	// Trace tells the trace and span of a record from the context it was logged
	// with. Default: what WithTrace has put there. It must be safe for concurrent use.
	Trace func(ctx context.Context) (Trace, bool)

	// Also gets every record as well, at the levels that it is enabled for: for
	// instance slog.NewJSONHandler(os.Stdout, nil), so that a node agent sees them.
	Also slog.Handler

	// BatchBytes is the size of a request before compression at which it is sent at
	// once. Default: 1 MiB.
	BatchBytes int

	// BatchWait is how long a record waits for others. Default: 1 s.
	BatchWait time.Duration

	// MemoryBytes bounds the encoded records held in memory; without a spool those
	// being sent are among them. Requests need about Concurrency times BatchBytes
	// besides. Default: 16 MiB.
	MemoryBytes int64

	// MaxRecord is the longest message, in bytes. Longer ones are cut, and marked
	// with weir.partial. Default: 1 MiB.
	MaxRecord int

	// WhenFull says what becomes of a record that there is no room for.
	WhenFull WhenFull

	// Spool keeps records in files until they are acknowledged.
	Spool Spool

	// Concurrency is how many requests may be under way at once. Default: 2.
	Concurrency int

	// Timeout is for one request, from dialling to the end of the answer. Default: 30 s.
	Timeout time.Duration

	// MaxBackoff is the longest time between two attempts at an endpoint, unless it
	// asked for a longer one by Retry-After (at most 10 minutes). The first is 250 ms,
	// and each further one up to twice as long. Default: 30 s.
	MaxBackoff time.Duration

	// MaxConnAge is how long connections live, so that gateways which are new
	// behind an address get their share. Default: 5 minutes.
	MaxConnAge time.Duration

	// NoCompression sends requests as they are. Default: gzip.
	NoCompression bool

	// Auth is how the program says who it is.
	Auth Auth

	// Tenant is the header X-Scope-OrgID.
	Tenant string

	// Headers are added to every request.
	Headers map[string]string

	// TLS is about https endpoints.
	TLS TLS

	// Proxy is as of http.Transport. Default: http.ProxyFromEnvironment.
	Proxy func(*http.Request) (*url.URL, error)

	// Logger gets the client's own troubles: one record when a state changes, never
	// one per attempt or lost record. It must not write to this client. Default: text
	// on standard error.
	Logger *slog.Logger

	// Transport takes the place of the client's own, and of TLS and Proxy.
	Transport http.RoundTripper

	open openFunc // of files of the spool, for tests
}

// Balance is a way to choose among endpoints. An endpoint that failed is left
// alone for the time of its backoff while there are others.
type Balance int

const (
	// Failover takes the first endpoint that works, in the order given.
	Failover Balance = iota
	// RoundRobin takes them in turn.
	RoundRobin
)

// WhenFull is what happens to a record while memory (and the spool, if there is
// one) is full.
type WhenFull int

const (
	// Drop drops it and counts it: the program never waits.
	Drop WhenFull = iota
	// Block makes the logging goroutine wait for room, until its context or the
	// client ends.
	Block
)

// Spool is where records wait in files. Several processes may be given one
// directory: each takes a numbered one of its own in it, and what processes that
// have ended left behind.
type Spool struct {
	// Dir is the directory. It is made if needed. Empty: no spool. New reads what is
	// there once, to count it and to find what is damaged.
	Dir string
	// MaxBytes bounds its files. Default: 256 MiB.
	MaxBytes int64
	// Wait is how long records stay in memory before they are written: what a
	// kill -9 may cost. Default: 100 ms. With SyncAlways there is none.
	Wait time.Duration
	// Sync says when files are synced.
	Sync Sync
	// SyncEvery is for SyncInterval. Default: 1 s.
	SyncEvery time.Duration
}

// Sync says what of a spool a crash of the machine may cost. A crash of the
// program alone costs at most Spool.Wait of records with any of them.
type Sync int

const (
	// SyncInterval syncs every Spool.SyncEvery.
	SyncInterval Sync = iota
	// SyncAlways makes the call that logs a record wait until it is written and
	// synced, together with what others log meanwhile. The handler's error tells if
	// that failed (package slog ignores it); the record is then still in memory, and
	// is tried again.
	SyncAlways
	// SyncNever leaves it to the operating system.
	SyncNever
)

// Auth is a credential. Token goes first, then TokenFile, then User.
type Auth struct {
	Token string
	// TokenFile is read before each request: the tokens of Kubernetes service
	// accounts change while a program runs.
	TokenFile      string
	User, Password string
}

// String says which credential it is, never its value.
func (a Auth) String() string {
	switch {
	case a.Token != "":
		return "token"
	case a.TokenFile != "":
		return "token file " + a.TokenFile
	case a.User != "":
		return "user " + a.User
	}
	return "none"
}

// GoString is as String.
func (a Auth) GoString() string { return a.String() }

// LogValue is as String.
func (a Auth) LogValue() slog.Value { return slog.StringValue(a.String()) }

// MarshalJSON is as String.
func (a Auth) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", a.String()), nil }

// TLS says whom to trust and how to be known. The files are read again when they
// change. The least version is 1.2.
type TLS struct {
	// CAFile takes the place of the system's certificate authorities.
	CAFile string
	// CertFile and KeyFile are the client's certificate.
	CertFile, KeyFile string
	// ServerName takes the place of the endpoint's host in its certificate.
	ServerName string
	// Config, if set, is what the rest is added to.
	Config *tls.Config
}

func (c Config) withDefaults() (Config, error) {
	var bad []error
	if len(c.Endpoints) == 0 {
		c.Endpoints = endpointsFromEnv(os.Getenv)
	}
	if len(c.Endpoints) == 0 {
		bad = append(bad, errors.New("no endpoint: set Endpoints, or WEIR_ENDPOINTS in the environment"))
	}
	def := func(p *time.Duration, name string, d time.Duration) {
		if *p == 0 {
			*p = d
		} else if *p < 0 {
			bad = append(bad, fmt.Errorf("%s is negative", name))
		}
	}
	def(&c.BatchWait, "BatchWait", time.Second)
	def(&c.Timeout, "Timeout", 30*time.Second)
	def(&c.MaxBackoff, "MaxBackoff", 30*time.Second)
	def(&c.MaxConnAge, "MaxConnAge", 5*time.Minute)
	def(&c.Spool.Wait, "Spool.Wait", 100*time.Millisecond)
	def(&c.Spool.SyncEvery, "Spool.SyncEvery", time.Second)
	num := func(p *int64, name string, d int64) {
		if *p == 0 {
			*p = d
		} else if *p < 0 {
			bad = append(bad, fmt.Errorf("%s is negative", name))
		}
	}
	batch, longest, conc := int64(c.BatchBytes), int64(c.MaxRecord), int64(c.Concurrency)
	num(&batch, "BatchBytes", 1<<20)
	num(&longest, "MaxRecord", 1<<20)
	num(&conc, "Concurrency", 2)
	num(&c.MemoryBytes, "MemoryBytes", 16<<20)
	num(&c.Spool.MaxBytes, "Spool.MaxBytes", 256<<20)
	c.BatchBytes, c.MaxRecord, c.Concurrency = int(min(batch, 16<<20)), int(min(longest, 8<<20)), int(min(conc, 64))
	if c.Spool.Dir != "" && c.Spool.MaxBytes < minSpool {
		bad = append(bad, fmt.Errorf("size of the spool: Spool.MaxBytes is less than %d", minSpool))
	}
	// One record, however long, must fit, and a batch must be full before memory is.
	c.MaxRecord = int(min(int64(c.MaxRecord), c.MemoryBytes/4))
	c.BatchBytes = int(min(int64(c.BatchBytes), c.MemoryBytes/4))
	if c.Balance < Failover || c.Balance > RoundRobin {
		bad = append(bad, errors.New("Balance is unknown"))
	}
	if c.WhenFull < Drop || c.WhenFull > Block {
		bad = append(bad, errors.New("WhenFull is unknown"))
	}
	if c.Spool.Sync < SyncInterval || c.Spool.Sync > SyncNever {
		bad = append(bad, errors.New("Spool.Sync is unknown"))
	}
	for k, v := range c.Headers {
		if !validHeader(k, v) {
			bad = append(bad, fmt.Errorf("header %q cannot be sent", k))
		}
	}
	if !validHeader("X-Scope-OrgID", c.Tenant) {
		bad = append(bad, errors.New("header X-Scope-OrgID: Tenant cannot be sent"))
	}
	if c.Level == nil {
		c.Level = slog.LevelInfo
	}
	if c.Trace == nil {
		c.Trace = traceOf
	}
	if c.Proxy == nil {
		c.Proxy = http.ProxyFromEnvironment
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if c.open == nil {
		c.open = openFile
	}
	c.Also = withoutDefault(c.Also)
	return c, errors.Join(bad...)
}

// withoutDefault is h, or text on standard error if h is the handler that
// slog.Default has at first: that one writes through package log, which
// slog.SetDefault turns back to the new default, this client.
func withoutDefault(h slog.Handler) slog.Handler {
	if h != nil && fmt.Sprintf("%T", h) == "*slog.defaultHandler" {
		return slog.NewTextHandler(os.Stderr, nil)
	}
	return h
}

func endpointsFromEnv(getenv func(string) string) []string {
	if s := getenv("WEIR_ENDPOINTS"); s != "" {
		var list []string
		for e := range strings.SplitSeq(s, ",") {
			if e = strings.TrimSpace(e); e != "" {
				list = append(list, e)
			}
		}
		return list
	}
	if s := getenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"); s != "" {
		return []string{s}
	}
	if s := getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); s != "" {
		// By OTLP's rules this one is a base to which v1/logs is added.
		return []string{strings.TrimSuffix(s, "/") + "/v1/logs"}
	}
	return nil
}

// parseEndpoint returns the address of an endpoint's logs.
func parseEndpoint(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		return nil, fmt.Errorf("endpoint %q: want https://HOST:PORT or http://HOST:PORT", s)
	}
	u, err := url.Parse(s)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the address, which may hold a password
		}
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("endpoint %s: want https or http", u.Redacted())
	case u.Host == "":
		return nil, fmt.Errorf("endpoint %s: no host", u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("endpoint %s: credentials belong to Auth", u.Redacted())
	}
	u.Fragment = ""
	path := strings.TrimSuffix(u.Path, "/")
	switch {
	case path == "" && u.Port() == "4318":
		u.Path = "/v1/logs"
	case path == "":
		u.Path = "/otlp/v1/logs"
	case strings.HasSuffix(path, "/v1/logs"):
		u.Path = path
	default:
		u.Path = path + "/v1/logs"
	}
	u.RawPath = ""
	return u, nil
}

func validHeader(name, value string) bool {
	if name == "" {
		return false
	}
	for _, c := range []byte(name) {
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	for _, c := range []byte(value) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
