package main

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/weirlog/weir/config"
)

// sendProtocol is a protocol that weir send speaks.
type sendProtocol struct {
	name    string
	schemes []string // of a TARGET, without what comes behind a +
	port    string   // where its servers listen, and so does weir
	path    string   // of its requests; "" if it has none
	via     []string // transports, the usual one first: http, grpc, tcp, udp, unix
	// tells says that the server answers each request, so that what it has taken
	// is known.
	tells bool
	doc   string
}

// sendProtocols is the table of protocols, as the help shows it. Where two have
// a scheme in common the first is meant.
var sendProtocols = []sendProtocol{
	{"otlp", []string{"otlp"}, "4318", "/v1/logs", []string{"http"}, true, "OTLP over HTTP, protobuf"},
	{"otlp-json", []string{"otlp-json"}, "4318", "/v1/logs", []string{"http"}, true, "OTLP over HTTP, JSON"},
	{"otlp-grpc", []string{"otlp-grpc", "grpc"}, "4317", "", []string{"grpc"}, true, "OTLP over gRPC"},
	{"loki", []string{"loki"}, "3100", "/loki/api/v1/push", []string{"http"}, true, "Loki's push API, protobuf with snappy"},
	{"loki-json", []string{"loki-json"}, "3100", "/loki/api/v1/push", []string{"http"}, true, "Loki's push API, JSON"},
	{"elasticsearch", []string{"elasticsearch", "es", "opensearch"}, "9200", "/_bulk", []string{"http"}, true, "Elasticsearch's _bulk"},
	{"splunk", []string{"splunk", "hec"}, "8088", "/services/collector/event", []string{"http"}, true, "Splunk's HTTP event collector, events"},
	{"splunk-raw", []string{"splunk-raw", "hec-raw"}, "8088", "/services/collector/raw", []string{"http"}, true, "the same, raw lines"},
	{"datadog", []string{"datadog"}, "8282", "/api/v2/logs", []string{"http"}, true, "Datadog's intake of logs"},
	{"gelf", []string{"gelf"}, "12201", "/gelf", []string{"udp", "tcp", "http"}, false, "GELF, in chunks over UDP"},
	{"forward", []string{"forward", "fluentd"}, "24224", "", []string{"tcp", "unix"}, true, "Fluent Forward, with ack"},
	{"syslog", []string{"syslog"}, "5514", "", []string{"tcp", "udp", "unix"}, false, "syslog of RFC 5424"},
	{"syslog-3164", []string{"syslog-3164"}, "5514", "", []string{"tcp", "udp", "unix"}, false, "syslog of RFC 3164"},
	{"jsonl", []string{"jsonl"}, "7410", "/insert/jsonline", []string{"http", "tcp", "udp", "unix"}, false, "a JSON object a line"},
	{"lines", []string{"lines"}, "5140", "/lines", []string{"tcp", "udp", "unix", "http"}, false, "plain lines"},
}

// sendTarget is where weir send sends, and how.
type sendTarget struct {
	proto sendProtocol
	via   string // http, grpc, tcp, udp or unix
	tls   bool
	url   *url.URL // over HTTP and gRPC: as a client of that wants it
	addr  string   // of a socket: host:port, or a path
}

// tells reports whether the server says what it has taken.
func (t *sendTarget) tells() bool { return t.proto.tells || t.via == "http" }

// String is the target as it may be shown: without a password.
func (t *sendTarget) String() string {
	if t.url != nil {
		return t.url.Redacted()
	}
	scheme := t.proto.name + "+" + t.via
	if t.tls {
		scheme = t.proto.name + "+tls"
	}
	return scheme + "://" + t.addr
}

// parseSendTarget reads TARGET: PROTOCOL[+TRANSPORT]://HOST[:PORT][/PATH], or the
// http(s) URL that a client of the protocol is given, whose protocol is named or
// seen from its path or port.
func parseSendTarget(arg, protocol string) (*sendTarget, error) {
	if !strings.Contains(arg, "://") {
		return nil, usageError("%q is no address; give a URL such as otlp://127.0.0.1:4318 or syslog+udp://127.0.0.1:5514", arg)
	}
	u, err := url.Parse(arg)
	if err != nil {
		return nil, usageError("%s: not a URL", config.URL(arg))
	}
	t := &sendTarget{}
	scheme, via, _ := strings.Cut(strings.ToLower(u.Scheme), "+")
	switch scheme {
	case "grpcs", "https":
		t.tls = true
		scheme = strings.TrimSuffix(scheme, "s")
	}
	switch {
	case protocol != "":
		if t.proto, err = protocolNamed(protocol); err != nil {
			return nil, err
		}
		if scheme != "http" && scheme != "grpc" && !slices.Contains(t.proto.schemes, scheme) {
			switch {
			case slices.Contains([]string{"tcp", "udp", "unix", "tls"}, scheme) && via == "":
				via = scheme
			case protocolOf(scheme) != nil && strings.HasPrefix(t.proto.name, protocolOf(scheme).name):
			default:
				return nil, usageError("%s: the scheme and --protocol %s contradict each other", config.URL(arg), protocol)
			}
		}
		if scheme == "http" || scheme == "grpc" {
			via = scheme
		}
	case scheme == "http":
		t.proto, via = protocolOfURL(u), "http"
	default:
		p := protocolOf(scheme)
		if p == nil {
			return nil, unknownProtocol(u.Scheme)
		}
		t.proto = *p
	}
	switch via {
	case "":
		t.via = t.proto.via[0]
	case "tls":
		t.tls = true
		t.via = "tcp"
	case "https":
		t.tls, t.via = true, "http"
	case "grpcs":
		t.tls, t.via = true, "grpc"
	default:
		t.via = via
	}
	if t.via == "http" && t.proto.name == "otlp-grpc" || t.via == "grpc" && t.proto.name == "otlp" {
		t.proto, _ = protocolNamed(map[string]string{"http": "otlp", "grpc": "otlp-grpc"}[t.via])
	}
	if !slices.Contains(t.proto.via, t.via) {
		return nil, usageError("%s goes over %s, not over %s", t.proto.name, strings.Join(t.proto.via, ", "), t.via)
	}
	if t.via == "unix" {
		if t.addr = u.Host + u.Path; t.addr == "" {
			return nil, usageError("%s: names no socket: %s+unix:///run/weir/log.sock", config.URL(arg), t.proto.name)
		}
		return t, nil
	}
	if u.Hostname() == "" {
		return nil, usageError("%s: names no host", config.URL(arg))
	}
	port := u.Port()
	if port == "" {
		port = t.proto.port
		switch {
		case scheme == "http" && t.tls:
			port = "443"
		case scheme == "http":
			port = "80"
		}
	}
	t.addr = net.JoinHostPort(u.Hostname(), port)
	if t.via == "http" || t.via == "grpc" {
		t.url = &url.URL{Scheme: t.via, Host: t.addr, Path: u.Path, RawQuery: u.RawQuery, User: u.User}
		if t.tls {
			t.url.Scheme += "s"
		}
		if t.via == "http" && strings.Trim(u.Path, "/") == "" {
			t.url.Path = t.proto.path
		}
	}
	return t, nil
}

func protocolOf(scheme string) *sendProtocol {
	for i := range sendProtocols {
		if slices.Contains(sendProtocols[i].schemes, scheme) {
			return &sendProtocols[i]
		}
	}
	return nil
}

func protocolNamed(name string) (sendProtocol, error) {
	if p := protocolOf(strings.ToLower(name)); p != nil {
		return *p, nil
	}
	return sendProtocol{}, unknownProtocol(name)
}

func unknownProtocol(name string) error {
	names := protocolNames()
	hint := ""
	if near := nearestName(strings.ToLower(name), names); near != "" {
		hint = fmt.Sprintf(", did you mean %s?", near)
	}
	return usageError("%q is no protocol that weir sends%s; there are %s", name, hint, strings.Join(names, ", "))
}

func protocolNames() []string {
	names := make([]string, len(sendProtocols))
	for i, p := range sendProtocols {
		names[i] = p.name
	}
	return names
}

// protocolOfURL guesses the protocol of an http URL by its path, else by its
// port, else takes OTLP.
func protocolOfURL(u *url.URL) sendProtocol {
	path := strings.TrimSuffix(u.Path, "/")
	best := sendProtocols[0]
	for _, p := range sendProtocols {
		if p.path != "" && strings.HasSuffix(path, p.path) {
			return p
		}
		if strings.Trim(path, "/") == "" && u.Port() == p.port && slices.Contains(p.via, "http") && best.name == "otlp" && p.port != "7410" {
			best = p
		}
	}
	for part, name := range map[string]string{"/services/collector": "splunk", "/api/prom/push": "loki", "/v1/input": "datadog"} {
		if strings.Contains(path, part) {
			best, _ = protocolNamed(name)
		}
	}
	return best
}
