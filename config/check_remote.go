package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// remote checks addresses, credentials and TLS.
func (k *checker) remote(p string, r *Remote, schemes []string) {
	var ways []string
	for _, w := range []string{"url", "urls", "groups"} {
		if k.given(p + "." + w) {
			ways = append(ways, w)
		}
	}
	switch {
	case len(ways) > 1:
		k.err(p+"."+ways[1], "%s and %s are both given", ways[0], ways[1]).Hint = ways[0] + " is at " + k.nodes[p+"."+ways[0]].pos.String() + "; keep one"
	case len(ways) == 0:
		k.err(p, "url is missing").Hint = "address of the destination; urls for several"
	case ways[0] == "urls" && len(r.URLs) == 0, ways[0] == "groups" && len(r.Groups) == 0:
		k.err(p+"."+ways[0], "is empty")
	}
	for i, g := range r.Groups {
		at := fmt.Sprintf("%s.groups[%d]", p, i)
		switch one, many := k.given(at+".url"), k.given(at+".urls"); {
		case one && many:
			k.err(at+".urls", "url and urls are both given")
		case !one && len(g.URLs) == 0:
			k.err(at, "url or urls is missing")
		}
	}
	k.balance(p, r)
	secure, seen := 0, make(map[URL]bool)
	for _, place := range r.Places() {
		u, where := place.URL, p+"."+place.Path
		if u == "" {
			continue // reported already
		}
		if seen[u] {
			k.warn(where, "%s is given twice", u)
		}
		seen[u] = true
		pu, err := url.Parse(string(u.Plain()))
		if err != nil {
			continue
		}
		if len(r.Groups) > 0 && !slices.Contains(schemes, u.Scheme()) { // of others it is known already
			k.err(where, "scheme %q does not fit here", u.Scheme()).Hint = suggest(u.Scheme(), schemes)
		}
		k.lookup(where, r, u, pu)
		tls := u.Scheme() == "https" || u.Scheme() == "grpcs" || u.Scheme() == "tls"
		if tls {
			secure++
		}
		if pu.Fragment != "" {
			k.err(where, "a URL to send to has no #fragment")
		}
		if pu.User != nil {
			if r.Auth != (Auth{}) {
				k.err(where, "there are credentials in the URL and in auth").Hint = "keep those in auth"
			} else {
				k.warn(where, "there are credentials in the URL").Hint = "move them to auth: {user: …, password: '${env:…}'}"
			}
		} else if secretQuery.MatchString(string(u)) {
			k.warn(where, "there seems to be a secret in the URL").Hint = "send it in headers"
		}
		if !tls && (r.Auth != (Auth{}) || pu.User != nil) && !loopbackHost(pu.Hostname()) {
			k.warn(where, "credentials are sent without TLS")
		}
		if ip, err := netip.ParseAddr(pu.Hostname()); err == nil && (ip.Unmap() == netip.AddrFrom4([4]byte{169, 254, 169, 254})) {
			k.err(where, "this is the address of the cloud's metadata service")
		}
	}
	t := r.TLS
	if (t.Cert == "") != (t.Key == "") {
		have, miss := "cert", "key"
		if t.Cert == "" {
			have, miss = miss, have
		}
		k.err(p+".tls."+have, "needs %s too", miss)
	}
	if k.given(p+".tls") && t != (TLS{}) && len(r.Places()) > 0 && secure == 0 {
		k.err(p+".tls", "is given, but no url has the scheme https, grpcs or tls")
	}
	if t.InsecureSkipVerify {
		k.warn(p+".tls.insecure_skip_verify", "anyone on the way can read and change the logs")
	}
	k.auth(p+".auth", r.Auth)
	for name := range r.Headers {
		if !headerName(name) {
			k.err(p+".headers."+name, "bad header name %q", shorten(name))
		} else if strings.ContainsAny(string(r.Headers[name]), "\r\n\x00") {
			k.err(p+".headers."+name, "the value holds a line break")
		}
		if strings.EqualFold(name, "authorization") && r.Auth != (Auth{}) {
			k.err(p+".headers."+name, "there are credentials in headers and in auth").Hint = "keep those in auth"
		}
	}
}

// lookup checks an address whose host is looked up.
func (k *checker) lookup(where string, r *Remote, u URL, pu *url.URL) {
	if u.Lookup() == "" {
		return
	}
	if r.Proxy == "environment" {
		k.err(where, "%s+ and a proxy contradict each other: the proxy looks names up", u.Lookup())
	}
	if _, err := netip.ParseAddr(pu.Hostname()); err == nil {
		k.err(where, "%s+ needs a name, not an address", u.Lookup()).Hint = "write " + u.Plain().String()
	}
	if u.Lookup() != "srv" {
		return
	}
	if pu.Port() != "" {
		k.err(where, "a SRV record names the ports itself").Hint = "leave out :" + pu.Port()
	}
	if !strings.HasPrefix(pu.Hostname(), "_") {
		k.warn(where, "names of SRV records begin with _service._tcp.").Hint = "for all addresses of a host write dns+" + u.Plain().String()
	}
}

// balance checks how requests are spread.
func (k *checker) balance(p string, r *Remote) {
	if len(r.HashBy) > 0 && r.Balance != "hash" {
		k.err(p+".hash_by", "has a meaning only for balance: hash")
	}
	for i, name := range r.HashBy {
		if name == "" {
			k.err(fmt.Sprintf("%s.hash_by[%d]", p, i), "is empty")
		}
	}
	if k.given(p+".groups") && r.Balance == "failover" {
		k.err(p+".balance", "failover makes each address a group of its own, and groups are given").Hint = "within a group: round_robin, least_inflight or hash"
	}
	if k.given(p+".failback") && len(r.Groups) < 2 && r.Balance != "failover" && !r.Looked() {
		k.warn(p+".failback", "there is one group only: nothing to go back to")
	}
	if k.given(p+".discovery") && !r.Looked() {
		k.warn(p+".discovery", "no address begins with dns+ or srv+: nothing is looked up").Hint = "a host without them is looked up for each connection, and one of its addresses used"
	}
}

func (k *checker) auth(p string, a Auth) {
	var ways []string
	if a.User != "" || a.Password != "" {
		ways = append(ways, "user")
		switch {
		case a.User == "":
			k.err(p+".password", "needs user too")
		case a.Password == "":
			k.err(p+".user", "needs password too")
		}
	}
	for _, w := range []struct {
		name string
		set  bool
	}{{"api_key", a.APIKey != ""}, {"bearer", a.Bearer != ""}, {"bearer_file", a.BearerFile != ""}} {
		if w.set {
			ways = append(ways, w.name)
		}
	}
	if len(ways) > 1 {
		k.err(p, "%s contradict each other", strings.Join(ways, " and ")).Hint = "keep one"
	}
	for name, s := range map[string]Secret{"password": a.Password, "api_key": a.APIKey, "bearer": a.Bearer} {
		if strings.ContainsAny(string(s), "\r\n\x00") {
			k.err(p+"."+name, "holds a line break")
		}
	}
}

func loopbackHost(host string) bool {
	return Address(net.JoinHostPort(host, "1")).Loopback()
}

func headerName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}
