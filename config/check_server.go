package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// store checks the embedded store and fills in where it is.
func (k *checker) store() {
	c := k.cfg
	if c.Store.Path == "" {
		c.Store.Path = Path(filepath.Join(string(c.State), "store"))
	}
	for i, r := range c.Store.Rules {
		if r.Match == "" {
			continue // reported already
		}
		if err := checkStoreSelector(string(r.Match)); err != nil {
			k.inValue(fmt.Sprintf("store.rules[%d].match", i), err)
		}
	}
	var first ID
	for _, o := range c.Outputs {
		if _, ok := o.Settings.(*StoreOutput); !ok {
			continue
		}
		if first != "" {
			k.err("outputs."+string(o.ID), "there is one store, and outputs.%s writes into it", first)
		}
		first = o.ID
	}
	if first != "" {
		return
	}
	if k.given("store") && !strings.HasPrefix(k.nodes["store"].pos.File, "preset ") {
		k.warn("store", "there is no output of type store: nothing is kept").Hint = "add outputs: {store: {}}"
	}
}

// takes reports whether records come in although there is no input: listen.http
// takes pushes.
func (k *checker) takes() bool { return k.cfg.Listen.HTTP != "" }

func (k *checker) listen() {
	l := &k.cfg.Listen
	if l.HTTP != "" && !l.HTTP.Loopback() && !l.Authenticated() && !l.Insecure {
		k.err("listen.http", "anyone who reaches %s could read the logs: there is no authentication", l.HTTP).Hint = "listen on 127.0.0.1, give listen.users or listen.tls.client_ca, or say insecure: true"
	}
	if l.HTTP != "" && l.HTTP == l.Probe && !strings.HasSuffix(string(l.HTTP), ":0") {
		k.err("listen.probe", "is the same address as listen.http")
	}
	t := l.TLS
	switch {
	case (t.Cert == "") != (t.Key == ""):
		have, miss := "cert", "key"
		if t.Cert == "" {
			have, miss = miss, have
		}
		k.err("listen.tls."+have, "needs %s too", miss)
	case t.ClientCA != "" && t.Cert == "":
		k.err("listen.tls.client_ca", "needs cert and key too")
	}
	if l.HTTP != "" && !l.HTTP.Loopback() && len(l.Users) > 0 && t.Cert == "" {
		k.warn("listen.users", "credentials come in without TLS").Hint = "give listen.tls: {cert: …, key: …}"
	}
	if slices.Contains(l.CORS, "*") && !l.Authenticated() {
		k.warn("listen.cors", "any page that somebody on this network looks at could write logs").Hint = "name the origins, or give listen.users"
	}
	k.users(l)
	if m := &l.Limits; m.Decompressed < m.Body && !k.given("listen.limits.decompressed") {
		m.Decompressed = m.Body
	} else if m.Decompressed < m.Body && k.given("listen.limits.body") {
		k.err("listen.limits.body", "is more than listen.limits.decompressed (%s)", m.Decompressed)
	} else if m.Decompressed < m.Body {
		m.Body = m.Decompressed
	}
	if l.TenantHeader && !l.Authenticated() && l.HTTP != "" && !l.HTTP.Loopback() {
		k.warn("listen.tenant_header", "without authentication everybody can name any tenant")
	}
}

// broken reports whether what was given at that path could not be read.
func (k *checker) broken(path string) bool {
	g := k.nodes[path]
	return g.node != nil && g.broken
}
