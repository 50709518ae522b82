package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// User is somebody who may use the HTTP API and push, by one credential.
type User struct {
	Name           string   `yaml:"name" doc:"Name, for password; otherwise only for logs."`
	Password       Secret   `yaml:"password" doc:"Password, for basic authentication."`
	PasswordSHA256 Secret   `yaml:"password_sha256" doc:"SHA-256 of a long random password, instead of it: printf %s PASSWORD | sha256sum."`
	Token          Secret   `yaml:"token" doc:"Token (Authorization: Bearer, and where else a protocol carries one), instead of name and password."`
	TokenSHA256    Secret   `yaml:"token_sha256" doc:"SHA-256 of a token, instead of it: printf %s TOKEN | sha256sum."`
	Tokens         Path     `yaml:"tokens" doc:"File of tokens, or directory of such files, as a mounted Secret is one: each line a token, or sha256: and its hash. The name of the file is that of the user. Read again when they change."`
	Certificate    string   `yaml:"certificate" doc:"Name in a client's certificate: a URI such as 'spiffe://td/ns/*/sa/*' (* is any text without /), a DNS name (* is one label), or CN=name. Needs tls.client_ca."`
	ServiceAccount string   `yaml:"service_account" doc:"Kubernetes service account as namespace/name, with *; its pods show a token made for kubernetes.audiences."`
	Pod            string   `yaml:"pod" doc:"Pods as namespace/name, with *; they are known by their address, which proxies and the host's network hide."`
	Address        string   `yaml:"address" doc:"Address or network (10.1.0.0/16) of devices that cannot show anything. Over UDP anybody can say to come from there."`
	Tenant         string   `yaml:"tenant" doc:"The user's tenant: sees and writes only its logs. ${name}, ${namespace} and ${service_account} stand for what the credential says. Once a user has one all need one, or tenant_header; without any there are no tenants and everybody sees everything."`
	Scopes         []string `yaml:"scopes" enum:"ingest,query,admin" doc:"What the user may do: ingest (push), query (read), admin. If empty, ingest and query; for pod and address ingest."`
	Relay          bool     `yaml:"relay" default:"false" doc:"The user sends the logs of others, as an agent does: what it says of their namespace and pod stands. Otherwise what Kubernetes says of the user wins."`
}

// ListenKubernetes is what Kubernetes is asked about those who push.
type ListenKubernetes struct {
	Audiences  []string `yaml:"audiences" default:"[weir]" doc:"For whom tokens of service accounts must be made (serviceAccountToken.audience of the projected volume), one of them at least."`
	PodNames   bool     `yaml:"pod_names" default:"false" doc:"Adds the names of the pod whose address it is to what is pushed, over what the sender says. Needs to get, list and watch pods in all namespaces."`
	Kubeconfig Path     `yaml:"kubeconfig" doc:"File with the access to the API server; the pod's service account if empty."`
}

// TenantLimits is how much a tenant may push. Zero is any amount.
type TenantLimits struct {
	Bytes        Rate `yaml:"bytes" doc:"Bytes of bodies, uncompressed, in the long run, such as 5MiB/s; any amount if empty."`
	Burst        Size `yaml:"burst" doc:"Bytes that may come at once beyond that; what comes in ten seconds if empty. The request with which it ends is taken whole."`
	Records      Rate `yaml:"records" doc:"Records in the long run, such as 20k/s; any number if empty."`
	RecordsBurst int  `yaml:"records_burst" min:"1" doc:"Records that may come at once beyond that; what comes in ten seconds if empty."`
	Day          Size `yaml:"day" min:"1KiB" doc:"Bytes in a day of UTC; any amount if empty. What is used is kept over restarts."`
	Streams      int  `yaml:"streams" min:"1" doc:"Different streams within about an hour; any number if empty."`
}

// Over returns t with what it does not say taken from d.
func (t TenantLimits) Over(d TenantLimits) TenantLimits {
	if t.Bytes == (Rate{}) {
		t.Bytes, t.Burst = d.Bytes, max(t.Burst, d.Burst)
	}
	if t.Records == (Rate{}) {
		t.Records, t.RecordsBurst = d.Records, max(t.RecordsBurst, d.RecordsBurst)
	}
	if t.Day == 0 {
		t.Day = d.Day
	}
	if t.Streams == 0 {
		t.Streams = d.Streams
	}
	return t
}

// Authenticated reports whether http asks who somebody is.
func (l *Listen) Authenticated() bool { return len(l.Users) > 0 || l.TLS.Authenticates() }

// Authenticates reports whether clients without a certificate are cut.
func (t *ListenTLS) Authenticates() bool { return t.ClientCA != "" && t.ClientAuth != "optional" }

// Tenants reports whether requests have a tenant.
func (l *Listen) Tenants() bool {
	return l.TenantHeader || slices.ContainsFunc(l.Users, func(u User) bool { return u.Tenant != "" })
}

// AsksKubernetes reports whether the API server is needed to know who somebody is.
func (l *Listen) AsksKubernetes() (tokens, pods bool) {
	for _, u := range l.Users {
		tokens, pods = tokens || u.ServiceAccount != "", pods || u.Pod != ""
	}
	return tokens, pods || l.Kubernetes.PodNames
}

// Network returns where an address user comes from.
func (u *User) Network() (netip.Prefix, error) {
	if a, err := netip.ParseAddr(u.Address); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(u.Address)
	if err != nil {
		return p, bad("such as 10.1.2.3 or 10.1.0.0/16", "bad address %q", shorten(u.Address))
	}
	return p.Masked(), nil
}

// https://grafana.com/docs/loki/latest/operations/multi-tenancy/
var tenantName = regexp.MustCompile(`^[A-Za-z0-9!_*'()-][A-Za-z0-9!_.*'()-]{0,149}$`)

// tenantPart is what stands for a piece of a credential.
var tenantPart = regexp.MustCompile(`\$\{(?:name|namespace|service_account)\}`)

var (
	accountPattern = regexp.MustCompile(`^[a-z0-9*.-]+/[a-z0-9*.-]+$`)
	sha256Hex      = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)
)

// users checks who may use what.
func (k *checker) users(l *Listen) {
	names, tokens := make(map[string]int), make(map[Secret]int)
	for i := range l.Users {
		u := &l.Users[i]
		p := fmt.Sprintf("listen.users[%d]", i)
		k.credential(l, u, p)
		if u.Password != "" || u.PasswordSHA256 != "" {
			if j, dup := names[u.Name]; dup {
				k.err(p+".name", "listen.users[%d] has this name too", j)
			}
			names[u.Name] = i
		}
		if u.Token != "" {
			if j, dup := tokens[u.Token]; dup {
				k.err(p+".token", "listen.users[%d] has this token too", j)
			}
			tokens[u.Token] = i
		}
		if u.Tenant == "" && l.Tenants() && !l.TenantHeader {
			k.err(p, "has no tenant, but others have: its requests would all be refused").Hint = "give it a tenant, or say tenant_header: true"
		}
		if plain := tenantPart.ReplaceAllString(u.Tenant, "x"); u.Tenant != "" && !tenantName.MatchString(plain) {
			k.err(p+".tenant", "bad tenant name %q", shorten(u.Tenant)).Hint = "letters, digits and !-_.*'(), not starting with a dot, at most 150"
		}
		if strings.Contains(u.Tenant, "${namespace}") && u.ServiceAccount == "" && u.Pod == "" && !strings.HasPrefix(u.Certificate, "spiffe://") {
			k.err(p+".tenant", "this credential says nothing of a namespace")
		}
		if u.Scopes == nil && (u.Pod != "" || u.Address != "") {
			u.Scopes = []string{"ingest"}
		}
	}
	for name := range l.TenantLimitsOf {
		if !tenantName.MatchString(name) {
			k.err("listen.tenants."+name, "bad tenant name %q", shorten(name))
		}
	}
	k.tenantLimits("listen.tenant_limits", l.TenantLimits)
	for name, t := range l.TenantLimitsOf {
		k.tenantLimits("listen.tenants."+name, t)
	}
	if len(l.TenantLimitsOf) > 0 && !l.Tenants() {
		k.warn("listen.tenants", "there are no tenants: no user has one")
	}
	if l.TLS.ClientCA != "" && l.TLS.ClientAuth == "optional" && len(l.Users) == 0 {
		k.err("listen.tls.client_auth", "optional lets everybody in: there are no users")
	}
	for _, in := range k.cfg.Inputs {
		// Whatever the protocol, its TLS is called so.
		if f := reflect.Indirect(reflect.ValueOf(in.Settings)).FieldByName("TLS"); f.IsValid() {
			if t, ok := f.Interface().(ListenTLS); ok && t.ClientCA != "" && t.ClientAuth == "optional" && len(l.Users) == 0 {
				k.err("inputs."+string(in.ID)+".tls.client_auth", "optional lets everybody in: there are no users")
			}
		}
	}
}

// credential checks that a user has one, and that it can be one.
func (k *checker) credential(l *Listen, u *User, p string) {
	type kind struct {
		name  string
		value string
	}
	var given []string
	for _, c := range []kind{{"password", string(u.Password)}, {"password_sha256", string(u.PasswordSHA256)}, {"token", string(u.Token)}, {"token_sha256", string(u.TokenSHA256)},
		{"tokens", string(u.Tokens)}, {"certificate", u.Certificate}, {"service_account", u.ServiceAccount}, {"pod", u.Pod}, {"address", u.Address}} {
		if k.broken(p + "." + c.name) {
			return // reported already
		}
		if c.value == "" {
			continue
		}
		given = append(given, c.name)
		if strings.ContainsAny(c.value, "\r\n\x00") {
			k.err(p+"."+c.name, "holds a line break")
		}
	}
	switch {
	case len(given) == 0:
		k.err(p, "has neither password nor token").Hint = "give name and password, or token, or tokens, certificate, service_account, pod, address"
		return
	case len(given) > 1:
		k.err(p, "%s and %s contradict each other", given[0], given[1]).Hint = "keep one, or make two users"
		return
	}
	c := p + "." + given[0]
	switch given[0] {
	case "password", "password_sha256":
		switch {
		case u.Name == "":
			k.err(p, "%s needs name too", given[0])
		case strings.Contains(u.Name, ":"):
			k.err(p+".name", "a name for basic authentication has no colon")
		}
		if u.PasswordSHA256 != "" && !sha256Hex.MatchString(string(u.PasswordSHA256)) {
			k.err(c, "not the 64 hexadecimal digits of a SHA-256").Hint = "printf %s PASSWORD | sha256sum"
		}
	case "token_sha256":
		if !sha256Hex.MatchString(string(u.TokenSHA256)) {
			k.err(c, "not the 64 hexadecimal digits of a SHA-256").Hint = "printf %s TOKEN | sha256sum"
		}
	case "certificate":
		ca := l.TLS.ClientCA != ""
		for _, in := range k.cfg.Inputs {
			f := reflect.Indirect(reflect.ValueOf(in.Settings)).FieldByName("TLS")
			if f.IsValid() {
				t, ok := f.Interface().(ListenTLS)
				ca = ca || ok && t.ClientCA != ""
			}
		}
		if !ca {
			k.err(c, "no listener asks for certificates").Hint = "give listen.tls.client_ca"
		}
		if strings.Trim(strings.TrimPrefix(u.Certificate, "CN="), "*") == "" {
			k.warn(c, "takes every certificate of client_ca")
		}
	case "service_account", "pod":
		if !accountPattern.MatchString(u.ServiceAccount + u.Pod) {
			k.err(c, "bad name %q", shorten(u.ServiceAccount+u.Pod)).Hint = "namespace/name, such as shop/api, shop/* or */*"
		}
		if given[0] == "service_account" && len(l.Kubernetes.Audiences) == 0 {
			k.err("listen.kubernetes.audiences", "is empty: tokens for everybody would do, those of the API server among them")
		}
	case "address":
		if _, err := u.Network(); err != nil {
			k.inValue(c, err)
		}
	}
}

func (k *checker) tenantLimits(p string, t TenantLimits) {
	if t.Bytes != (Rate{}) && !t.Bytes.Bytes {
		k.err(p+".bytes", "is a rate of lines, not of bytes").Hint = "such as 5MiB/s"
	}
	if t.Records.Bytes {
		k.err(p+".records", "is a rate of bytes, not of records").Hint = "such as 20k/s"
	}
}
