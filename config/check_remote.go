package config

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// remote checks addresses, credentials and TLS.
func (k *checker) remote(p string, r *Remote) {
	switch {
	case k.given(p+".url") && k.given(p+".urls"):
		k.err(p+".urls", "url and urls are both given").Hint = "url is at " + k.nodes[p+".url"].pos.String() + "; keep one"
	case k.given(p+".urls") && len(r.URLs) == 0:
		k.err(p+".urls", "is empty")
	case !k.given(p+".url") && !k.given(p+".urls"):
		k.err(p, "url is missing").Hint = "address of the destination; urls for several"
	}
	secure, seen := 0, make(map[URL]bool)
	for i, u := range r.List() {
		where := urlPath(p, r, i)
		if u == "" {
			continue // reported already
		}
		if seen[u] {
			k.warn(where, "%s is given twice", u)
		}
		seen[u] = true
		pu, err := url.Parse(string(u))
		if err != nil {
			continue
		}
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
	if k.given(p+".tls") && t != (TLS{}) && len(r.List()) > 0 && secure == 0 {
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
