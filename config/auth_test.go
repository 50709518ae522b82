package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestUsers(t *testing.T) {
	const sha = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	for _, c := range []struct{ listen, want string }{
		{"users: [{token_sha256: " + sha + "}, {name: a, password_sha256: " + sha + "}, {tokens: /x}]", ""},
		{"users: [{address: 10.0.0.0/8}, {address: '::1'}]", ""},
		{"users: [{service_account: shop/*, tenant: '${namespace}', scopes: [ingest]}]", ""},
		{"tls: {cert: c, key: k, client_ca: a, client_auth: optional}, users: [{certificate: 'spiffe://td/ns/*/sa/*', tenant: 'k-${namespace}'}]", ""},
		{"tenant_limits: {bytes: 5MiB/s, records: 20k/s, day: 1GiB, streams: 1000}", ""},
		{"users: [{token_sha256: abc}]", "users[0].token_sha256: not the 64"},
		{"users: [{name: a, password: b, token: c}]", "password and token contradict"},
		{"users: [{name: a}]", "has neither password nor token"},
		{"users: [{password_sha256: " + sha + "}]", "password_sha256 needs name too"},
		{"users: [{certificate: CN=x}]", "no listener asks for certificates"},
		{"users: [{service_account: shop}]", `bad name "shop"`},
		{"users: [{address: 10.0.0.0/99}]", "bad address"},
		{"users: [{token: abcd, tenant: '${namespace}'}]", "says nothing of a namespace"},
		{"users: [{token: abcd, tenant: '${tenant}'}]", "bad tenant name"},
		{"users: [{token: abcd, scopes: [root]}]", `unknown value "root"`},
		{"users: [{service_account: a/b}], kubernetes: {audiences: []}", "audiences: is empty"},
		{"tls: {cert: c, key: k, client_ca: a, client_auth: optional}", "optional lets everybody in"},
		{"tenant_limits: {bytes: 20k/s}", "is a rate of lines"},
		{"tenants: {a/b: {day: 1GiB}}", "bad tenant name"},
	} {
		_, _, err := load("listen: {http: '127.0.0.1:0', " + c.listen + "}")
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.listen, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %s", c.listen, err, c.want)
		case err != nil && strings.Contains(err.Error(), sha):
			t.Errorf("%s: the hash is shown: %v", c.listen, err)
		}
	}
}

// TestFailure112_OpenListenersAreRefused: nothing listens beyond loopback without
// asking who is there, unless told to.
func TestFailure112_OpenListenersAreRefused(t *testing.T) {
	const open = "listen: {http: ':7410', "
	for text, ok := range map[string]bool{
		open + "}":                                     false,
		open + "insecure: true}":                       true,
		open + "users: [{token: abcd}]}":               true,
		open + "tls: {cert: c, key: k}}":               false,
		open + "tls: {cert: c, key: k, client_ca: a}}": true,
		open + "tls: {cert: c, key: k, client_ca: a, client_auth: optional}}":                       false,
		open + "tls: {cert: c, key: k, client_ca: a, client_auth: optional}, users: [{token: t1}]}": true,
	} {
		starts(t, text, ok)
	}
	const optional = "tls: {cert: c, key: k, client_ca: a, client_auth: optional}"
	for address, local := range map[string]bool{
		"127.0.0.1:1": true, "127.1.2.3:1": true, "[::1]:1": true, "localhost:1": true, "[::ffff:127.0.0.1]:1": true,
		"0.0.0.0:1": false, ":1": false, "[::]:1": false, "[::ffff:0.0.0.0]:1": false, "[fe80::1%lo]:1": false, "gateway:1": false, "10.0.0.1:1": false,
		"localhost.example:1": false, "127.0.0.1.example:1": false,
	} {
		for _, input := range []string{"otlp: {http: '%s'", "otlp: {grpc: '%s'", "loki: {http: '%s'", "forward: {tcp: '%s'", "syslog: {tcp: '%s'", "gelf: {tcp: '%s'", "socket: {tcp: '%s'"} {
			text := "inputs: {" + fmt.Sprintf(input, address)
			starts(t, text+"}}", local)
			starts(t, text+", insecure: true}}", true)
			starts(t, text+", "+optional+"}}", false)
			starts(t, text+", tls: {cert: c, key: k, client_ca: a}}}", true)
			starts(t, text+"}}\nlisten: {users: [{address: 10.0.0.0/8}]}", true)
		}
		for _, input := range []string{"syslog: {udp: '%s'", "gelf: {udp: '%s'", "socket: {udp: '%s'"} {
			text := "inputs: {" + fmt.Sprintf(input, address)
			starts(t, text+"}}", local)
			starts(t, text+"}}\nlisten: {users: [{address: 10.0.0.0/8}]}", local) // anybody can say so
		}
		starts(t, "inputs: {forward: {shared_key: k, tcp: '"+address+"'}}", true)
	}
}

// starts checks whether a configuration is one.
func starts(t *testing.T, text string, ok bool) {
	t.Helper()
	_, _, err := load(text)
	if (err == nil) != ok {
		t.Errorf("%s: %v", text, err)
	}
	if err != nil && !strings.Contains(err.Error(), "weir.yaml:1:") {
		t.Errorf("%s: no place: %v", text, err)
	}
}

func TestTenantLimitsOver(t *testing.T) {
	cfg := mustLoad(t, "listen: {tenant_header: true, tenant_limits: {bytes: 1MiB/s, records: 10/s, day: 1GiB}, tenants: {a: {bytes: 2MiB/s}, b: {streams: 5}}}")
	l := cfg.Listen
	if a := l.TenantLimitsOf["a"].Over(l.TenantLimits); a.Bytes.N != 2<<20 || a.Records.N != 10 || a.Day != 1<<30 || a.Streams != 0 {
		t.Errorf("%+v", a)
	}
	if b := l.TenantLimitsOf["b"].Over(l.TenantLimits); b.Bytes.N != 1<<20 || b.Streams != 5 {
		t.Errorf("%+v", b)
	}
}
