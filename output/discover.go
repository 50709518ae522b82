package output

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Names looks names up. *net.Resolver is one.
type Names interface {
	Resolver
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// How a Place's host becomes addresses.
const (
	LookupNone = ""    // not at all: the place is one endpoint
	LookupDNS  = "dns" // each of its addresses is an endpoint
	LookupSRV  = "srv" // each target of the SRV record of that name is one (RFC 2782)
)

// Place is where endpoints are, as it is configured.
type Place struct {
	URL    string // without dns+ or srv+
	Lookup string
	Group  int
}

// Target is one endpoint of a Place.
type Target struct {
	// Name tells it from others of the output and may be shown: the URL without
	// passwords, and with the address in the place of the host if that was looked
	// up.
	Name string
	URL  string
	// Address is what to connect to, host:port, if that is not what URL says.
	Address string
	Group   int
}

// Discovery finds the endpoints of an output. It is not safe for concurrent use.
type Discovery struct {
	places []Place
	urls   []*url.URL
	names  Names
	last   [][]found // of each place

	resolver Resolver // nil: the system's
}

type found struct {
	target   Target
	place    int
	priority int
}

// Resolver looks up the hosts of targets, such as those that a SRV record names, where
// they are looked up themselves; nil is the system's.
func (d *Discovery) Resolver() Resolver { return d.resolver }

// serverNames asks one DNS server.
type serverNames struct {
	net.Resolver
	server string
}

func newServerNames(server string) *serverNames {
	return &serverNames{server: server, Resolver: net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server)
		},
	}}
}

func (n *serverNames) LookupHost(ctx context.Context, host string) ([]string, error) {
	ips, err := n.Resolver.LookupHost(ctx, host)
	return ips, n.named(err)
}

func (n *serverNames) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	cname, records, err := n.Resolver.LookupSRV(ctx, service, proto, name)
	return cname, records, n.named(err)
}

// named has an error name the server that was asked: net names the system's.
func (n *serverNames) named(err error) error {
	var e *net.DNSError
	if errors.As(err, &e) {
		e.Server = n.server
	}
	return err
}

// lookupTime bounds looking up one name.
const lookupTime = 5 * time.Second

// NewDiscovery returns a Discovery of the places. With names nil the system's
// resolver is asked; server, if not empty, is the host:port of the DNS server to
// ask instead of the system's.
func NewDiscovery(places []Place, names Names, server string) (*Discovery, error) {
	d := &Discovery{places: places, names: names, last: make([][]found, len(places))}
	switch {
	case names != nil:
		d.resolver = names
	case server != "":
		d.names = newServerNames(server)
		d.resolver = d.names
	default:
		d.names = new(net.Resolver)
	}
	for _, p := range places {
		u, err := url.Parse(p.URL)
		if err != nil || u.Host == "" {
			return nil, errors.New("output: an address cannot be parsed; write scheme://host:port/path") // url.Error quotes passwords
		}
		d.urls = append(d.urls, u)
	}
	return d, nil
}

// Lookup returns the endpoints of now, in the order of groups, places and names: what was
// found last of places that cannot be looked up, or have no addresses at the
// moment, which err tells. A Service without ready pods and a DNS server in trouble
// look alike; endpoints that are gone are ejected in either case.
func (d *Discovery) Lookup(ctx context.Context) (list []Target, err error) {
	var errs []error
	for i, p := range d.places {
		u := d.urls[i]
		if p.Lookup == LookupNone {
			d.last[i] = []found{{target: Target{Name: redactURL(u), URL: p.URL, Group: p.Group}, place: i}}
			continue
		}
		now, err := d.look(ctx, p, u)
		if err == nil && len(now) == 0 {
			err = errors.New("no addresses")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s+%s: %w", p.Lookup, redactURL(u), err))
			continue
		}
		for k := range now {
			now[k].place = i
		}
		d.last[i] = now
	}
	// Priorities of SRV records are groups within groups.
	var all []found
	for _, l := range d.last {
		all = append(all, l...)
	}
	slices.SortStableFunc(all, func(a, b found) int {
		return cmp.Or(a.target.Group-b.target.Group, a.priority-b.priority, a.place-b.place, strings.Compare(a.target.Name, b.target.Name))
	})
	seen := make(map[string]bool)
	group := -1
	for i, f := range all {
		if i == 0 || f.target.Group != all[i-1].target.Group || f.priority != all[i-1].priority {
			group++
		}
		if !seen[f.target.Name] {
			seen[f.target.Name] = true
			f.target.Group = group
			list = append(list, f.target)
		}
	}
	return list, errors.Join(errs...)
}

// look asks for the targets of p.
func (d *Discovery) look(ctx context.Context, p Place, u *url.URL) ([]found, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	if p.Lookup == LookupSRV {
		_, records, err := d.names.LookupSRV(ctx, "", "", u.Hostname())
		if err != nil {
			return nil, err
		}
		var list []found
		for _, r := range records {
			if r.Target == "." { // "decidedly not available at this domain"
				continue
			}
			t := *u
			t.Host = net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port)))
			list = append(list, found{Target{Name: redactURL(&t), URL: t.String(), Group: p.Group}, 0, int(r.Priority)})
		}
		return list, nil
	}
	ips, err := d.names.LookupHost(ctx, u.Hostname())
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = defaultPorts[u.Scheme]
	}
	var list []found
	for _, ip := range oneFamily(ips) {
		t := *u
		t.Host = net.JoinHostPort(ip, port)
		list = append(list, found{Target{Name: redactURL(&t), URL: u.String(), Address: t.Host, Group: p.Group}, 0, 0})
	}
	return list, nil
}

var defaultPorts = map[string]string{"http": "80", "https": "443", "grpc": "4317", "grpcs": "4317"}

// oneFamily returns the addresses of IPv4, if there are any, else all: a host that
// has both would count twice.
func oneFamily(ips []string) []string {
	var four []string
	for _, ip := range ips {
		if strings.Contains(ip, ".") && !strings.Contains(ip, ":") {
			four = append(four, ip)
		}
	}
	if len(four) > 0 {
		return four
	}
	return ips
}
