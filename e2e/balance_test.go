package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers for one name, over UDP on loopback, and for the targets of its
// SRV record, if it has one: host0, host1, … with an address each.
type nameServer struct {
	addr string
	mu   sync.Mutex
	name string
	ips  []string
	deaf bool // answers SERVFAIL
	srv  []dnsmessage.SRVResource
}

func newNameServer(t *testing.T, name string, ips ...string) *nameServer {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s := &nameServer{addr: c.LocalAddr().String(), name: name, ips: ips}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if out := s.answer(buf[:n]); out != nil {
				_, _ = c.WriteTo(out, from) // who does not hear it asks again
			}
		}
	}()
	return s
}

func (s *nameServer) set(deaf bool, ips ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf, s.ips = deaf, ips
}

func (s *nameServer) answer(query []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	out := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true}, Questions: m.Questions}
	switch {
	case s.deaf:
		out.RCode = dnsmessage.RCodeServerFailure
	case q.Type == dnsmessage.TypeA && s.target(q.Name.String()) != "":
		out.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
			Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(s.target(q.Name.String())).To4())},
		}}
	case q.Name.String() != s.name+"." && s.target(q.Name.String()) == "":
		out.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeSRV:
		for i := range s.srv {
			out.Answers = append(out.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &s.srv[i]})
		}
	case q.Type == dnsmessage.TypeA:
		for _, ip := range s.ips {
			out.Answers = append(out.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(ip).To4())},
			})
		}
	}
	p, err := out.Pack()
	if err != nil {
		return nil
	}
	return p
}

// target returns the address of a target of the SRV record, "" if it is none.
func (s *nameServer) target(name string) string {
	for i, r := range s.srv {
		if r.Target.String() == name {
			return s.ips[i]
		}
	}
	return ""
}

// freePortOf returns a port that is free at all of the addresses.
func freePortOf(t *testing.T, ips ...string) string {
	t.Helper()
	for range 100 {
		_, port, _ := net.SplitHostPort(freePort(t))
		if !slices.ContainsFunc(ips, func(ip string) bool {
			ln, err := net.Listen("tcp", net.JoinHostPort(ip, port))
			if err == nil {
				ln.Close()
			}
			return err != nil
		}) {
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// front is an address that leads to a destination.
type front struct {
	requests atomic.Int64
	server   *http.Server
}

func newFront(t *testing.T, addr, to string) *front {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) }
	f := new(front)
	f.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.Add(1)
		proxy.ServeHTTP(w, r)
	})}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	go f.server.Serve(ln)
	t.Cleanup(func() { f.server.Close() })
	return f
}

// The addresses of a name are endpoints of their own: one that is added gets its
// share, one that is gone from DNS gets nothing any more, one that is dead costs
// nothing but its share, and a DNS server in trouble changes nothing. All lines
// arrive once.
func TestFailure88_EndpointsByDNS(t *testing.T) {
	ips := []string{"127.0.0.11", "127.0.0.12", "127.0.0.13"}
	n := newNodeDir(t)
	d := startSink(t, "esstub")
	port := freePortOf(t, ips...)
	var fronts []*front
	for _, ip := range ips {
		fronts = append(fronts, newFront(t, net.JoinHostPort(ip, port), d.URL))
	}
	dns := newNameServer(t, "search.test", ips[0], ips[1])
	g := startGenerator(t, n, "-rate", "2", "-pods", "6", "-max-size", "20000000")
	a := startAgent(t, n, fmt.Sprintf(`
inputs: {kubernetes: {root: '%s', metadata: path}}
outputs:
  elasticsearch/main:
    url: 'dns+http://search.test:%s'
    discovery: {every: 1s, server: '%s'}
    batch: {bytes: 64KiB, wait: 20ms}
    retry: {for: forever, min_delay: 20ms, max_delay: 200ms}
    eject: {errors: 2, for: 2s}
    timeout: 5s
`, n.root, port, dns.addr))
	// During returns how many requests each address gets until there were so many.
	during := func(total int64) (got []int64) {
		t.Helper()
		var before []int64
		for _, f := range fronts {
			before = append(before, f.requests.Load())
		}
		eventually(t, fmt.Sprintf("%d requests", total), func() bool {
			got = got[:0]
			sum := int64(0)
			for i, f := range fronts {
				got = append(got, f.requests.Load()-before[i])
				sum += got[i]
			}
			return sum >= total
		}, a.tail)
		return got
	}
	reaches := func(what string, ok func(got []int64) bool) {
		t.Helper()
		var got []int64
		eventually(t, what, func() bool { got = during(60); return ok(got) }, func() string { return fmt.Sprint(got) })
		t.Logf("%s: %d", what, got)
	}
	reaches("two addresses", func(got []int64) bool { return min(got[0], got[1]) > 15 && got[2] == 0 })
	dns.set(false, ips...)
	reaches("a third", func(got []int64) bool { return min(got[0], got[1], got[2]) > 8 })
	dns.set(false, ips[1], ips[2])
	reaches("the first has left", func(got []int64) bool { return got[0] == 0 && min(got[1], got[2]) > 15 })
	fronts[1].server.Close()
	reaches("the second is dead", func(got []int64) bool { return got[0]+got[1] == 0 })
	dns.set(true)
	reaches("DNS is in trouble", func(got []int64) bool { return got[0]+got[1] == 0 })
	if m := a.metrics(); m["weir_output_failed_lookups_total"] == 0 {
		eventually(t, "it is counted", func() bool { return a.metrics()["weir_output_failed_lookups_total"] > 0 }, a.tail)
	}
	dns.set(false, ips[0], ips[2])
	reaches("another in its place", func(got []int64) bool { return got[1] == 0 && min(got[0], got[2]) > 15 })
	delivered(t, d, a, n.journal, g.finish(true))
	d.clean(n.journal)
	a.term()
}

// A SRV record's targets are endpoints, its priorities groups: the second is used
// while the first does not work. Names, ports and addresses are known to the
// configured server alone.
func TestFailure88_EndpointsBySRV(t *testing.T) {
	n := newNodeDir(t)
	d := startSink(t, "esstub")
	dns := newNameServer(t, "_search._tcp.test", "127.0.0.14", "127.0.0.15")
	var fronts []*front
	var srv []dnsmessage.SRVResource
	for i, ip := range dns.ips {
		port := freePortOf(t, ip)
		fronts = append(fronts, newFront(t, net.JoinHostPort(ip, port), d.URL))
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		srv = append(srv, dnsmessage.SRVResource{Priority: uint16(10 * (i + 1)), Port: uint16(number), Target: dnsmessage.MustNewName(fmt.Sprintf("host%d.test.", i))})
	}
	dns.mu.Lock()
	dns.srv = srv
	dns.mu.Unlock()
	g := startGenerator(t, n, "-rate", "1", "-pods", "4", "-max-size", "20000000")
	a := startAgent(t, n, fmt.Sprintf(`
inputs: {kubernetes: {root: '%s', metadata: path}}
outputs:
  elasticsearch/main:
    url: 'srv+http://_search._tcp.test'
    discovery: {every: 1s, server: '%s'}
    batch: {bytes: 64KiB, wait: 20ms}
    retry: {for: forever, min_delay: 20ms, max_delay: 200ms}
    eject: {errors: 2, for: 2s}
    timeout: 5s
`, n.root, dns.addr))
	eventually(t, "the first takes all", func() bool { return fronts[0].requests.Load() > 20 }, a.tail)
	if n := fronts[1].requests.Load(); n > 0 {
		t.Errorf("%d requests went to the second, which is for when the first does not work", n)
	}
	fronts[0].server.Close()
	eventually(t, "the second takes over", func() bool { return fronts[1].requests.Load() > 20 }, a.tail)
	delivered(t, d, a, n.journal, g.finish(true))
	d.clean(n.journal)
	a.term()
}

// An agent with two gateways behind one name, and one in reserve: whichever of them
// is killed, every line arrives once, since ids survive the way; the reserve is
// used only while both are away.
func TestFailure53_AgentsOverGateways(t *testing.T) {
	ips := []string{"127.0.0.21", "127.0.0.22", "127.0.0.23"}
	n := newNodeDir(t)
	d := startSink(t, "esstub")
	port := freePortOf(t, ips...)
	dns := newNameServer(t, "gateways.localhost", ips[0], ips[1])
	gateways := make([]*process, len(ips))
	up := func(i int) {
		dir := filepath.Join(n.dir, ips[i])
		config := filepath.Join(dir, "weir.yaml")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf(`inputs: {otlp: {http: '%s'}}
outputs:
  elasticsearch/main: {url: '%s', index: 'logs', batch: {bytes: 256KiB, wait: 20ms}, retry: {for: forever, min_delay: 20ms, max_delay: 200ms}, buffer: {disk: 64MiB}}
listen: {users: [{name: agents, token: of-the-agents, relay: true}]}
state: '%s'
`, net.JoinHostPort(ips[i], port), d.URL, filepath.Join(dir, "state"))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		gateways[i] = start(t, filepath.Join(dir, "stderr"), io.Discard, weir(t), "run", "-c", config)
	}
	for i := range ips {
		up(i)
	}
	g := startGenerator(t, n, "-rate", "1", "-pods", "6", "-max-size", "20000000")
	a := startAgent(t, n, fmt.Sprintf(`
inputs: {kubernetes: {root: '%s', metadata: path}}
outputs:
  otlp/gateways:
    groups:
      - {url: 'dns+http://gateways.localhost:%s/v1/logs'}
      - {url: 'http://%s:%s/v1/logs'}
    auth: {bearer: of-the-agents}
    failback: 1s
    discovery: {every: 1s, server: '%s'}
    batch: {bytes: 64KiB, wait: 20ms}
    retry: {for: forever, min_delay: 20ms, max_delay: 200ms}
    eject: {errors: 2, for: 1s}
    timeout: 5s
`, n.root, port, ips[2], port, dns.addr))
	arrives := func(what string, more uint64) {
		t.Helper()
		before := d.state().Account.Distinct
		eventually(t, what, func() bool { return d.state().Account.Distinct > before+more }, a.tail)
	}
	used := func() float64 { // how many endpoints of the group in use there are
		return a.metrics()["weir_output_endpoint_used"]
	}
	arrives("lines come", 500)
	for i := range 2 {
		gateways[i].signal(9)
		arrives(fmt.Sprintf("lines come without gateway %d", i), 500)
		up(i)
		arrives("lines come", 500)
	}
	gateways[0].signal(9)
	gateways[1].signal(9)
	eventually(t, "the reserve is used", func() bool { return used() == 1 }, a.tail)
	arrives("lines come over the reserve", 500)
	up(0)
	up(1)
	eventually(t, "the gateways are used again", func() bool { return used() == 2 }, a.tail)
	arrives("lines come", 500)
	delivered(t, d, a, n.journal, g.finish(true))
	d.clean(n.journal)
	st := d.state()
	t.Logf("arrived %+v, %d conflicts", st.Account, st.Stub.Conflicts)
	a.term()
}
