package output

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlog/weir/record"
)

// names is what a test's DNS knows.
type names struct {
	hosts map[string][]string
	srv   map[string][]*net.SRV
	err   error
}

func (n *names) LookupHost(_ context.Context, host string) ([]string, error) {
	if n.err != nil {
		return nil, n.err
	}
	ips, ok := n.hosts[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return ips, nil
}

func (n *names) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	if service != "" || proto != "" {
		return "", nil, fmt.Errorf("asked for service %q of %q", service, proto)
	}
	if n.err != nil {
		return "", nil, n.err
	}
	return name, n.srv[name], nil
}

func TestDiscovery(t *testing.T) {
	dns := &names{
		hosts: map[string][]string{"gw": {"10.0.0.2", "10.0.0.1"}, "dual": {"fd00::1", "10.0.1.1", "fd00::2"}, "six": {"fd00::2", "fd00::1"}},
		srv: map[string][]*net.SRV{"_otlp._tcp.gw": {
			{Target: "b.gw.", Port: 4000, Priority: 10}, {Target: "c.gw.", Port: 4000, Priority: 20}, {Target: "a.gw.", Port: 4001, Priority: 10}},
			"_none._tcp.gw": {{Target: "."}}},
	}
	for _, c := range []struct {
		name   string
		places []Place
		want   []Target
		err    string
	}{
		{"plain", []Place{{URL: "http://u:p@h:1/x?token=y"}}, []Target{{"http://h:1/x?…", "http://u:p@h:1/x?token=y", "", 0}}, ""},
		{"dns", []Place{{URL: "http://gw:4318/v1/logs", Lookup: "dns"}}, []Target{
			{"http://10.0.0.1:4318/v1/logs", "http://gw:4318/v1/logs", "10.0.0.1:4318", 0},
			{"http://10.0.0.2:4318/v1/logs", "http://gw:4318/v1/logs", "10.0.0.2:4318", 0}}, ""},
		{"usual ports", []Place{{URL: "https://gw", Lookup: "dns"}, {URL: "grpc://gw", Lookup: "dns", Group: 1}}, []Target{
			{"https://10.0.0.1:443", "https://gw", "10.0.0.1:443", 0}, {"https://10.0.0.2:443", "https://gw", "10.0.0.2:443", 0},
			{"grpc://10.0.0.1:4317", "grpc://gw", "10.0.0.1:4317", 1}, {"grpc://10.0.0.2:4317", "grpc://gw", "10.0.0.2:4317", 1}}, ""},
		{"both families", []Place{{URL: "tcp://dual:1", Lookup: "dns"}, {URL: "tcp://six:1", Lookup: "dns"}}, []Target{
			{"tcp://10.0.1.1:1", "tcp://dual:1", "10.0.1.1:1", 0}, {"tcp://[fd00::1]:1", "tcp://six:1", "[fd00::1]:1", 0}, {"tcp://[fd00::2]:1", "tcp://six:1", "[fd00::2]:1", 0}}, ""},
		{"srv", []Place{{URL: "http://last", Group: 3}, {URL: "http://_otlp._tcp.gw/v1/logs", Lookup: "srv"}}, []Target{
			{"http://a.gw:4001/v1/logs", "http://a.gw:4001/v1/logs", "", 0}, {"http://b.gw:4000/v1/logs", "http://b.gw:4000/v1/logs", "", 0},
			{"http://c.gw:4000/v1/logs", "http://c.gw:4000/v1/logs", "", 1}, {"http://last", "http://last", "", 2}}, ""},
		{"nothing there", []Place{{URL: "http://x", Lookup: "dns"}, {URL: "http://_none._tcp.gw", Lookup: "srv"}, {URL: "http://h"}},
			[]Target{{"http://h", "http://h", "", 0}}, "dns+http://x: lookup x: no such host\nsrv+http://_none._tcp.gw: no addresses"},
		{"twice", []Place{{URL: "http://gw:1", Lookup: "dns"}, {URL: "http://10.0.0.1:1", Group: 1}}, []Target{
			{"http://10.0.0.1:1", "http://gw:1", "10.0.0.1:1", 0}, {"http://10.0.0.2:1", "http://gw:1", "10.0.0.2:1", 0}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := NewDiscovery(c.places, dns, "")
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.Lookup(t.Context())
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if text := fmt.Sprint(err); err == nil && c.err != "" || err != nil && text != c.err {
				t.Errorf("error %q, want %q", text, c.err)
			}
		})
	}
}

// A name that cannot be looked up any more keeps what it had.
func TestDiscoveryKeepsWhatItKnows(t *testing.T) {
	dns := &names{hosts: map[string][]string{"gw": {"10.0.0.1"}, "other": {"10.9.0.1"}}}
	d, err := NewDiscovery([]Place{{URL: "http://gw:1", Lookup: "dns"}, {URL: "http://other:1", Lookup: "dns"}}, dns, "")
	if err != nil {
		t.Fatal(err)
	}
	look := func(want int, ok bool) {
		t.Helper()
		list, err := d.Lookup(t.Context())
		if len(list) != want || (err == nil) != ok {
			t.Errorf("%v, %v", list, err)
		}
	}
	look(2, true)
	delete(dns.hosts, "gw")
	dns.hosts["other"] = []string{"10.9.0.1", "10.9.0.2"}
	look(3, false)
	dns.hosts["gw"] = []string{"10.0.0.7", "10.0.0.8"}
	look(4, true)
	dns.err = errors.New("timeout")
	look(4, false)
}

// What was looked up is connected to; the name stays in Host and in TLS.
func TestAddressInsteadOfHost(t *testing.T) {
	var host string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { host = r.Host }))
	defer s.Close()
	o, err := NewJSONL(JSONLConfig{HTTPConfig: HTTPConfig{URL: "http://gateways.logging:4318/x", Address: s.Listener.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if _, err := o.Send(t.Context(), []record.Part{}); err != nil || host != "" && host != "gateways.logging:4318" {
		t.Errorf("%v, host %q", err, host)
	}
	if err := o.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if host != "gateways.logging:4318" {
		t.Errorf("Host is %q", host)
	}
	s.Close()
	if err := o.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), s.Listener.Addr().String()) {
		t.Errorf("the error does not name the address: %v", err)
	}
	if _, err := NewJSONL(JSONLConfig{HTTPConfig: HTTPConfig{URL: "http://h", Address: "10.0.0.1:1", ProxyFromEnvironment: true}}); err == nil {
		t.Error("an address with a proxy")
	}
}
