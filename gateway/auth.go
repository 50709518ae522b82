package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/record"
)

// AuthConfig says who may do what, and which tenant is whose.
type AuthConfig struct {
	// Users are who is let in; none, and no Tokens, means everybody.
	Users []User
	// Tokens are directories and files of tokens.
	Tokens []TokenFiles
	// Tenants says that every request is for a tenant: the credential's, or, if
	// TenantHeader is set and the credential has none, the one that is claimed. A
	// request without a tenant is refused.
	Tenants, TenantHeader bool
	// Cluster knows tokens of service accounts and addresses of pods; may be nil.
	Cluster Cluster
	// PodNames adds to streams what Kubernetes knows of the pod whose address it
	// is, where the credential has not told already.
	PodNames bool
	// Log gets a line for every refusal, within reason; nil discards.
	Log *slog.Logger
	Now func() time.Time // nil means time.Now
}

// User is one who is let in, by exactly one of: Secret with or without Password,
// Cert, ServiceAccount, Pod, Address.
type User struct {
	// Name is that of basic authentication if Password is set, and for people
	// otherwise.
	Name string
	// Secret is that of a bearer token, or of a password if Password is set.
	Secret   Secret
	Password bool
	// Cert is a name in the client's certificate: a URI (spiffe://…), a DNS name,
	// or CN=name. * stands for any text without / (in URIs) or dot (in DNS names).
	Cert string
	// ServiceAccount and Pod are namespace/name, with *; who is there is found out
	// by a token of Kubernetes or by the address.
	ServiceAccount, Pod string
	// Address is where somebody comes from, for devices that have nothing to show.
	Address netip.Prefix

	// Tenant is whose logs the credential is for. ${name}, ${namespace} and
	// ${service_account} stand for what the credential says. Without
	// AuthConfig.Tenants it means nothing.
	Tenant string
	// Scopes are what the user may do; nil means ingest and query.
	Scopes []string
	// Relay says that the user sends the logs of others: what it says of their
	// namespace and pod stands.
	Relay bool
}

// Secret is the SHA-256 of a password or token. It shows nothing of it.
type Secret [sha256.Size]byte

// NewSecret returns the Secret of a password or token.
func NewSecret(s string) Secret { return sha256.Sum256([]byte(s)) }

// ParseSecret reads a Secret as 64 hexadecimal digits, as sha256sum prints it.
func ParseSecret(text string) (s Secret, err error) {
	p, err := hex.DecodeString(text)
	if err != nil || len(p) != len(s) {
		return s, errors.New("not the 64 hexadecimal digits of a SHA-256")
	}
	return Secret(p), nil
}

// String implements fmt.Stringer.
func (Secret) String() string { return "***" }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return "***" }

// Format implements fmt.Formatter, for the verbs that do not ask String.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("***")) }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// bad reports whether it is the Secret of nothing.
func (s Secret) bad() bool { return s == (Secret{}) || s == NewSecret("") }

// Auth is the Authenticator of a configuration. Make it with NewAuth.
type Auth struct {
	key   [16]byte // so that nobody outside knows where a secret is kept
	rules atomic.Pointer[rules]
	audit throttle
	tries reviewLimit
	count authCounters
}

// Format implements fmt.Formatter: fmt would print what is in unexported fields.
func (a *Auth) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("users")) }

// AuthStats are numbers of what was decided.
type AuthStats struct {
	// Allowed and Refused are by scope; Unknown could not be found out.
	Allowed, Refused map[string]int64
	Unknown          int64
	// Users is how many credentials there are, tokens in files among them.
	Users int
}

type authCounters struct {
	allowed, refused [3]atomic.Int64 // as in Scopes
	unknown          atomic.Int64
}

// rules are a configuration in force.
type rules struct {
	AuthConfig
	everybody bool
	passwords map[string]*User
	tokens    map[uint64][]*User // by bucket
	files     []*tokenFiles
	rest      []*User // by certificate, service account, pod and address, in order
}

// NewAuth returns an Auth with these rules.
func NewAuth(c AuthConfig) (*Auth, error) {
	a := &Auth{}
	_, _ = rand.Read(a.key[:]) // never fails
	if err := a.Set(c); err != nil {
		return nil, err
	}
	return a, nil
}

// Set replaces the rules. Those who are let in already stay. The old rules stay in
// force if it fails.
func (a *Auth) Set(c AuthConfig) error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Users = slices.Clone(c.Users)
	r := &rules{AuthConfig: c, passwords: make(map[string]*User), tokens: make(map[uint64][]*User)}
	for i := range c.Users {
		u := &c.Users[i]
		if err := u.check(); err != nil {
			return fmt.Errorf("user %d (%q): %w", i+1, u.Name, err)
		}
		if u.Scopes == nil {
			u.Scopes = []string{ScopeIngest, ScopeQuery}
		}
		switch {
		case u.Password:
			if r.passwords[u.Name] != nil {
				return fmt.Errorf("user %d (%q): there is another with this name", i+1, u.Name)
			}
			r.passwords[u.Name] = u
		case u.Secret != Secret{}:
			if u.Name == "" {
				u.Name = fmt.Sprintf("token %d", i+1)
			}
			b := a.bucket(u.Secret)
			r.tokens[b] = append(r.tokens[b], u)
		default:
			if (u.ServiceAccount != "" || u.Pod != "") && c.Cluster == nil {
				return fmt.Errorf("user %d (%q): needs access to Kubernetes", i+1, u.Name)
			}
			r.rest = append(r.rest, u)
		}
	}
	for _, f := range c.Tokens {
		t, err := newTokenFiles(f, a.bucket, c.Log, c.Now)
		if err != nil {
			return err
		}
		r.files = append(r.files, t)
	}
	r.everybody = len(c.Users) == 0 && len(c.Tokens) == 0
	a.rules.Store(r)
	return nil
}

func (u *User) check() error {
	n := 0
	for _, has := range []bool{u.Secret != Secret{} || u.Password, u.Cert != "", u.ServiceAccount != "", u.Pod != "", u.Address.IsValid()} {
		if has {
			n++
		}
	}
	switch {
	case n != 1:
		return errors.New("needs exactly one of password, token, certificate, service account, pod and address")
	case (u.Secret != Secret{} || u.Password) && u.Secret.bad():
		return errors.New("has an empty password or token")
	case u.Password && u.Name == "":
		return errors.New("a password needs a name")
	case strings.Contains(u.Name, ":") && u.Password:
		return errors.New("the name has a colon, which HTTP Basic cannot say")
	}
	if u.Tenant != "" && !strings.Contains(u.Tenant, "${") {
		if err := CheckTenant(u.Tenant); err != nil {
			return err
		}
	}
	for _, s := range u.Scopes {
		if !slices.Contains(Scopes(), s) {
			return fmt.Errorf("there is no scope %q", s)
		}
	}
	return nil
}

// bucket is where a secret is kept. It depends on it by a hash that nobody outside
// can compute, so that how long a look takes tells nothing.
func (a *Auth) bucket(s Secret) uint64 {
	var p [len(a.key) + len(s)]byte
	copy(p[:], a.key[:])
	copy(p[len(a.key):], s[:])
	sum := sha256.Sum256(p[:])
	return binary.LittleEndian.Uint64(sum[:])
}

// Stats returns the numbers of now.
func (a *Auth) Stats() AuthStats {
	r := a.rules.Load()
	s := AuthStats{Allowed: make(map[string]int64), Refused: make(map[string]int64), Unknown: a.count.unknown.Load(), Users: len(r.Users)}
	for i, scope := range Scopes() {
		s.Allowed[scope], s.Refused[scope] = a.count.allowed[i].Load(), a.count.refused[i].Load()
	}
	for _, f := range r.files {
		s.Users += f.len()
	}
	return s
}

// Everybody reports whether nobody is asked for credentials.
func (a *Auth) Everybody() bool { return a.rules.Load().everybody }

// Authenticate implements Authenticator.
func (a *Auth) Authenticate(ctx context.Context, c Credentials, scope string) (Identity, error) {
	r := a.rules.Load()
	id, err := a.who(ctx, r, &c, scope)
	i := slices.Index(Scopes(), scope)
	switch e, _ := err.(*AuthError); {
	case i < 0:
		return Identity{}, &AuthError{403, "there is no such scope"}
	case err == nil:
		a.count.allowed[i].Add(1)
		if scope == ScopeAdmin {
			r.Log.Info("admin request", "audit", true, "user", id.Name, "tenant", id.Tenant, "address", c.Addr)
		}
	case e == nil || e.Status == 503:
		a.count.unknown.Add(1)
	default:
		a.count.refused[i].Add(1)
		if skipped, ok := a.audit.allow(r.Now()); ok {
			// Of the credentials nothing: a name may be a password in the wrong place.
			r.Log.Warn("access refused", "audit", true, "scope", scope, "status", e.Status, "reason", e.Msg,
				"shown", c.shown(), "address", c.Addr, "not_told", skipped)
		}
	}
	return id, err
}

// shown says which kinds of credentials there are.
func (c *Credentials) shown() string {
	var out []string
	for _, x := range []struct {
		has  bool
		name string
	}{{c.User != "" || c.Password != "", "password"}, {c.Token != "", "token"}, {c.Cert != nil, "certificate"}, {c.Tenant != "", "tenant"}} {
		if x.has {
			out = append(out, x.name)
		}
	}
	if out == nil {
		return "nothing"
	}
	return strings.Join(out, " ")
}

var errNoCredentials = &AuthError{401, "no valid credentials"}

func (a *Auth) who(ctx context.Context, r *rules, c *Credentials, scope string) (id Identity, err error) {
	var u *User
	var w Workload // what is known of it
	if !r.everybody {
		if u, w, err = a.find(ctx, r, c); err != nil {
			return id, err
		}
		if !slices.Contains(u.Scopes, scope) {
			return id, &AuthError{403, fmt.Sprintf("these credentials are not for %s", purpose[scope])}
		}
		id.Name = u.Name
	}
	if scope == ScopeIngest && (u == nil || !u.Relay) {
		if w.Attrs == nil && r.PodNames && r.Cluster != nil && w.Namespace == "" {
			// Whoever it says to be, that is where it runs.
			if pod, ok := r.Cluster.PodAt(c.Addr); ok {
				w.Attrs = pod.Attrs
				id.Name += " in " + pod.Namespace + "/" + pod.Pod + " " + pod.PodUID
			}
		}
		id.Attrs = w.Attrs
	}
	id.Relay = u == nil && r.everybody || u != nil && u.Relay
	if w.Namespace != "" {
		id.Name = strings.TrimSpace(id.Name + " " + w.name())
	}
	id.Tenant, err = r.tenant(u, &w, c)
	return id, err
}

var purpose = map[string]string{ScopeIngest: "pushing logs", ScopeQuery: "reading logs", ScopeAdmin: "administration"}

func (w *Workload) name() string {
	s := w.Namespace + "/" + w.ServiceAccount
	if w.Pod != "" {
		s += " in " + w.Namespace + "/" + w.Pod + " " + w.PodUID
	}
	return s
}

// find returns the user whose credentials these are. Credentials that are shown and
// wrong are not made good by others.
func (a *Auth) find(ctx context.Context, r *rules, c *Credentials) (u *User, w Workload, err error) {
	switch {
	case c.User != "" || c.Password != "":
		u, ok := r.passwords[c.User]
		if !ok {
			u = &nobody
		}
		if sum := NewSecret(c.Password); subtle.ConstantTimeCompare(sum[:], u.Secret[:]) != 1 || !ok {
			return nil, w, errNoCredentials
		}
		return u, w, nil
	case c.Token != "":
		sum := NewSecret(c.Token)
		b := a.bucket(sum)
		for _, x := range r.tokens[b] {
			if subtle.ConstantTimeCompare(sum[:], x.Secret[:]) == 1 {
				u = x
			}
		}
		for _, f := range r.files {
			if x := f.find(b, &sum); x != nil && u == nil {
				u = x
			}
		}
		if u != nil {
			return u, w, nil
		}
		return a.serviceAccount(ctx, r, c)
	}
	for _, x := range r.rest {
		switch {
		case x.Cert != "" && c.Cert != nil:
			name, ok := certName(c.Cert, x.Cert)
			if ok {
				w.Namespace, w.ServiceAccount = spiffeAccount(name)
				u := *x
				u.Name = name
				return &u, Workload{Namespace: w.Namespace, ServiceAccount: w.ServiceAccount, Attrs: accountAttrs(&w)}, nil
			}
		case x.Address.IsValid() && x.Address.Contains(c.Addr):
			return x, w, nil
		case x.Pod != "":
			if pod, ok := r.Cluster.PodAt(c.Addr); ok && glob(x.Pod, pod.Namespace+"/"+pod.Pod, '/') {
				return x, pod, nil
			}
		}
	}
	if c.Known != nil {
		return &User{Name: c.Known.Name, Tenant: c.Known.Tenant, Scopes: []string{ScopeIngest}}, w, nil
	}
	return nil, w, errNoCredentials
}

// nobody has a secret that no text has.
var nobody User

// serviceAccount asks Kubernetes whose token it is.
func (a *Auth) serviceAccount(ctx context.Context, r *rules, c *Credentials) (*User, Workload, error) {
	asks := slices.ContainsFunc(r.rest, func(u *User) bool { return u.ServiceAccount != "" })
	if !asks || strings.Count(c.Token, ".") != 2 || len(c.Token) > maxToken {
		return nil, Workload{}, errNoCredentials
	}
	ask := a.tries.allow(c.Addr, r.Now())
	w, err := r.Cluster.Review(ctx, c.Token, ask)
	switch {
	case errors.Is(err, ErrBadToken):
		a.tries.failed(c.Addr, r.Now())
		return nil, w, errNoCredentials
	case err != nil && !ask:
		return nil, w, &AuthError{503, "too many tokens from this address were not valid"}
	case err != nil:
		return nil, w, &AuthError{503, "the token cannot be checked at the moment"}
	}
	for _, x := range r.rest {
		if x.ServiceAccount != "" && glob(x.ServiceAccount, w.Namespace+"/"+w.ServiceAccount, '/') {
			if w.Attrs == nil {
				w.Attrs = accountAttrs(&w)
			}
			return x, w, nil
		}
	}
	return nil, w, &AuthError{403, "this service account is not let in"}
}

// maxToken is how long a token of Kubernetes may be, in bytes.
const maxToken = 16 << 10

// AttrServiceAccount is the attribute with the name of a service account.
const AttrServiceAccount = "service_account"

// accountAttrs are what is known without asking for the pod.
func accountAttrs(w *Workload) []record.Attr {
	var out []record.Attr
	for _, a := range []record.Attr{{Name: record.AttrNamespace, Value: w.Namespace}, {Name: record.AttrPod, Value: w.Pod},
		{Name: record.AttrPodUID, Value: w.PodUID}, {Name: AttrServiceAccount, Value: w.ServiceAccount}} {
		if a.Value != "" {
			out = append(out, a)
		}
	}
	return out
}
