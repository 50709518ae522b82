package gateway

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/record"
)

func newAuth(t *testing.T, c AuthConfig) *Auth {
	t.Helper()
	a, err := NewAuth(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ask returns who it is, or the status and words of the refusal.
func ask(t *testing.T, a *Auth, c Credentials, scope string) string {
	t.Helper()
	id, err := a.Authenticate(t.Context(), c, scope)
	if err != nil {
		var ae *AuthError
		if !errors.As(err, &ae) {
			t.Fatalf("%v is no *AuthError", err)
		}
		return fmt.Sprint(ae.Status, " ", ae.Msg)
	}
	out := id.Name + "|" + id.Tenant
	for _, at := range id.Attrs {
		out += " " + at.Name + "=" + at.Value
	}
	return out
}

// cluster is what Kubernetes knows in a test.
type cluster struct {
	tokens map[string]Workload
	pods   map[string]Workload
	asked  int
	down   bool
}

func (c *cluster) Review(_ context.Context, token string, ask bool) (Workload, error) {
	if !ask {
		return Workload{}, errors.New("not known")
	}
	c.asked++
	if c.down {
		return Workload{}, errors.New("connection refused")
	}
	if w, ok := c.tokens[token]; ok {
		return w, nil
	}
	return Workload{}, ErrBadToken
}

func (c *cluster) PodAt(a netip.Addr) (Workload, bool) {
	w, ok := c.pods[a.String()]
	return w, ok
}

func certFor(t *testing.T, cn string, uris, dns []string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, DNSNames: dns}
	for _, s := range uris {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		c.URIs = append(c.URIs, u)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAuthenticate(t *testing.T) {
	api := Workload{Namespace: "shop", ServiceAccount: "api", Pod: "api-1", PodUID: "u1"}
	known := &cluster{
		tokens: map[string]Workload{"a.b.c": api, "x.y.z": {Namespace: "other", ServiceAccount: "x"}, "r.e.l": {Namespace: "weir", ServiceAccount: "agent", Pod: "agent-1", PodUID: "u9"}},
		pods:   map[string]Workload{"10.0.0.7": {Namespace: "shop", Pod: "web-1", PodUID: "u2", Attrs: []record.Attr{{Name: "namespace", Value: "shop"}, {Name: "pod", Value: "web-1"}}}},
	}
	a := newAuth(t, AuthConfig{
		Tenants: true, TenantHeader: true, Cluster: known, PodNames: true,
		Users: []User{
			{Name: "ann", Password: true, Secret: NewSecret("pw"), Tenant: "blue"},
			{Name: "free", Password: true, Secret: NewSecret("pw")},
			{Secret: NewSecret("tok"), Tenant: "red"},
			{Name: "push", Secret: NewSecret("pushonly"), Tenant: "red", Scopes: []string{ScopeIngest}},
			{Cert: "spiffe://td/ns/*/sa/*", Tenant: "${namespace}"},
			{Cert: "*.example.org", Tenant: "dns"},
			{Cert: "CN=robot", Tenant: "cn"},
			{Name: "relay", ServiceAccount: "weir/agent", Tenant: "all", Relay: true},
			{Name: "sa", ServiceAccount: "shop/*", Tenant: "${namespace}"},
			{Name: "net", Address: netip.MustParsePrefix("192.168.0.0/16"), Tenant: "devices", Scopes: []string{ScopeIngest}},
			{Name: "pod", Pod: "shop/*", Tenant: "${namespace}"},
		},
	})
	addr := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	for _, c := range []struct {
		name  string
		c     Credentials
		scope string
		want  string
	}{
		{"password", Credentials{User: "ann", Password: "pw"}, ScopeQuery, "ann|blue"},
		{"wrong password", Credentials{User: "ann", Password: "pw2"}, ScopeQuery, "401 no valid credentials"},
		{"wrong name", Credentials{User: "bob", Password: "pw"}, ScopeQuery, "401 no valid credentials"},
		{"password as token", Credentials{Token: "pw"}, ScopeQuery, "401 no valid credentials"},
		{"token as password", Credentials{User: "push", Password: "pushonly"}, ScopeIngest, "401 no valid credentials"},
		{"token", Credentials{Token: "tok"}, ScopeQuery, "token 3|red"},
		{"no admin", Credentials{Token: "tok"}, ScopeAdmin, "403 these credentials are not for administration"},
		{"ingest only", Credentials{Token: "pushonly"}, ScopeQuery, "403 these credentials are not for reading logs"},
		{"nothing", Credentials{}, ScopeQuery, "401 no valid credentials"},
		{"own tenant named", Credentials{Token: "tok", Tenant: "red"}, ScopeQuery, "token 3|red"},
		{"other's tenant", Credentials{Token: "tok", Tenant: "blue"}, ScopeQuery, "403 the credentials are not for the tenant in X-Scope-OrgID"},
		{"free to name one", Credentials{User: "free", Password: "pw", Tenant: "green"}, ScopeQuery, "free|green"},
		{"but names none", Credentials{User: "free", Password: "pw"}, ScopeQuery, "401 no org id"},
		{"a bad one", Credentials{User: "free", Password: "pw", Tenant: "a/b"}, ScopeQuery, "400 a tenant consists of letters, digits and !-_.*'(), not '/'"},
		{"dots", Credentials{User: "free", Password: "pw", Tenant: ".."}, ScopeQuery, `400 ".." is no tenant`},
		{"spiffe", Credentials{Cert: certFor(t, "", []string{"spiffe://td/ns/shop/sa/api"}, nil)}, ScopeQuery, "spiffe://td/ns/shop/sa/api shop/api|shop"},
		{"other trust domain", Credentials{Cert: certFor(t, "robot2", []string{"spiffe://td2/ns/shop/sa/api"}, nil)}, ScopeQuery, "401 no valid credentials"},
		{"star is one segment", Credentials{Cert: certFor(t, "", []string{"spiffe://td/ns/shop/x/sa/api"}, nil)}, ScopeQuery, "401 no valid credentials"},
		{"dns", Credentials{Cert: certFor(t, "", nil, []string{"A.example.org"})}, ScopeQuery, "A.example.org|dns"},
		{"dns, two labels", Credentials{Cert: certFor(t, "", nil, []string{"a.b.example.org"})}, ScopeQuery, "401 no valid credentials"},
		{"cn", Credentials{Cert: certFor(t, "robot", nil, nil)}, ScopeQuery, "robot|cn"},
		{"good cert, bad token", Credentials{Cert: certFor(t, "robot", nil, nil), Token: "bad"}, ScopeQuery, "401 no valid credentials"},
		{"service account", Credentials{Token: "a.b.c"}, ScopeIngest, "sa shop/api in shop/api-1 u1|shop namespace=shop pod=api-1 pod_uid=u1 service_account=api"},
		{"not let in", Credentials{Token: "x.y.z"}, ScopeIngest, "403 this service account is not let in"},
		{"relay keeps names", Credentials{Token: "r.e.l"}, ScopeIngest, "relay weir/agent in weir/agent-1 u9|all"},
		{"address", Credentials{Addr: addr("192.168.3.4")}, ScopeIngest, "net|devices"},
		{"address reads", Credentials{Addr: addr("192.168.3.4")}, ScopeQuery, "403 these credentials are not for reading logs"},
		{"pod", Credentials{Addr: addr("10.0.0.7")}, ScopeIngest, "pod shop/ in shop/web-1 u2|shop namespace=shop pod=web-1"},
		{"token from a pod", Credentials{Token: "tok", Addr: addr("10.0.0.7")}, ScopeIngest, "token 3 in shop/web-1 u2|red namespace=shop pod=web-1"},
		{"nobody's address", Credentials{Addr: addr("10.0.0.8")}, ScopeIngest, "401 no valid credentials"},
	} {
		if got := ask(t, a, c.c, c.scope); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	known.down = true
	if got := ask(t, a, Credentials{Token: "n.e.w"}, ScopeIngest); got != "503 the token cannot be checked at the moment" {
		t.Errorf("API server down: %s", got)
	}
	if got := ask(t, a, Credentials{Token: "tok"}, ScopeIngest); got != "token 3|red" {
		t.Errorf("API server down, own token: %s", got)
	}
	s := a.Stats()
	if s.Unknown != 1 || s.Refused[ScopeAdmin] != 1 || s.Allowed[ScopeQuery] == 0 || s.Users != 11 {
		t.Errorf("stats %+v", s)
	}
}

// TestEverybody: without users there are no questions, and one tenant.
func TestEverybody(t *testing.T) {
	a := newAuth(t, AuthConfig{})
	for _, c := range []Credentials{{}, {Token: "x"}, {User: "u", Password: "p"}, {Tenant: "t"}} {
		if got := ask(t, a, c, ScopeQuery); got != "|" {
			t.Errorf("%+v: %s", c, got)
		}
	}
	if err := a.Set(AuthConfig{Tenants: true, TenantHeader: true}); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, a, Credentials{}, ScopeQuery); got != "401 no org id" {
		t.Error(got)
	}
	if got := ask(t, a, Credentials{Tenant: "t"}, ScopeQuery); got != "|t" {
		t.Error(got)
	}
}

func TestBadAuth(t *testing.T) {
	for i, u := range []User{
		{}, {Name: "x"}, {Secret: NewSecret("")}, {Name: "x", Password: true}, {Password: true, Secret: NewSecret("x")},
		{Name: "a:b", Password: true, Secret: NewSecret("x")}, {Secret: NewSecret("x"), Cert: "CN=x"},
		{Secret: NewSecret("x"), Tenant: "a/b"}, {Secret: NewSecret("x"), Scopes: []string{"root"}}, {ServiceAccount: "a/b"},
	} {
		if _, err := NewAuth(AuthConfig{Users: []User{u}}); err == nil {
			t.Errorf("%d: %+v is taken", i, u)
		}
	}
}

// TestFailure112_TriesAreBounded: bad tokens do not become as many requests to the
// API server; another address is not touched.
func TestFailure112_TriesAreBounded(t *testing.T) {
	known := &cluster{tokens: map[string]Workload{"a.b.c": {Namespace: "shop", ServiceAccount: "api"}}}
	now := time.Unix(1e9, 0)
	a := newAuth(t, AuthConfig{Cluster: known, Users: []User{{ServiceAccount: "shop/*"}}, Now: func() time.Time { return now }})
	bad, good := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	var busy int
	for i := range 1000 {
		if got := ask(t, a, Credentials{Token: fmt.Sprintf("%d.x.y", i), Addr: bad}, ScopeIngest); strings.HasPrefix(got, "503") {
			busy++
		}
	}
	if known.asked > 25 || busy < 900 {
		t.Errorf("%d requests to Kubernetes, %d times busy", known.asked, busy)
	}
	if got := ask(t, a, Credentials{Token: "a.b.c", Addr: good}, ScopeIngest); !strings.Contains(got, "namespace=shop") {
		t.Error(got)
	}
	now = now.Add(time.Minute)
	if got := ask(t, a, Credentials{Token: "a.b.c", Addr: bad}, ScopeIngest); !strings.Contains(got, "namespace=shop") {
		t.Errorf("after a minute: %s", got)
	}
	asked := known.asked
	for _, rubbish := range []string{"x", "a.b", "a.b.c.d", strings.Repeat("a", maxToken) + ".b.c"} {
		ask(t, a, Credentials{Token: rubbish, Addr: good}, ScopeIngest)
	}
	if known.asked != asked {
		t.Error("what is no token of Kubernetes was asked for")
	}
}

// TestFailure112_Secrets: no word of what is shown or configured gets into logs,
// errors or any form of printing; and comparing takes as long whatever is wrong.
func TestFailure112_Secrets(t *testing.T) {
	const canary = "canary-7f3a"
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(canary)))
	var logged bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	dir := t.TempDir()
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "app"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(canary + "\n")
	now := time.Unix(1e9, 0)
	conf := AuthConfig{
		Log: log, Now: func() time.Time { return now }, Tokens: []TokenFiles{{Path: dir}},
		Users: []User{{Name: "ann", Password: true, Secret: NewSecret(canary)}, {Secret: NewSecret(canary + "2")}},
	}
	a := newAuth(t, conf)
	show := []any{conf, &conf, a, conf.Users[0], conf.Users[0].Secret, &conf.Users[0].Secret}
	for _, c := range []Credentials{{User: canary, Password: canary}, {Token: canary + "3"}, {User: "ann", Password: canary + "4"}, {Token: canary, Tenant: canary}} {
		for _, scope := range Scopes() {
			id, err := a.Authenticate(t.Context(), c, scope)
			show = append(show, id, err)
		}
	}
	for _, bad := range []string{"sha256:" + canary, "sha256:" + sum + canary} {
		write(bad)
		now = now.Add(time.Hour)
		_, err := a.Authenticate(t.Context(), Credentials{Token: canary}, ScopeQuery)
		if err != nil {
			t.Error("a bad file took a good token away")
		}
		_, err = NewAuth(AuthConfig{Tokens: []TokenFiles{{Path: dir}}})
		if err == nil {
			t.Error("a bad file is taken")
		}
		show = append(show, err)
	}
	out := logged.String()
	for _, v := range show {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			out += fmt.Sprintf(verb+"\n", v)
		}
		p, _ := json.Marshal(v) // what cannot be marshalled is printed nowhere
		out += string(p)
	}
	raw := sha256.Sum256([]byte(canary))
	for _, c := range []string{canary, sum, strings.ToUpper(sum), fmt.Sprint(raw)[1:20], string(raw[:])} {
		if i := strings.Index(out, c); i >= 0 {
			t.Errorf("%.20q was told: %s", c, out[max(0, i-200):min(len(out), i+60)])
		}
	}
	if !strings.Contains(out, "access refused") {
		t.Error("nothing was logged")
	}
}

func TestTokenFiles(t *testing.T) {
	now := time.Unix(1e9, 0)
	dir := t.TempDir()
	// As kubelet mounts a Secret: links to a link to a directory.
	version := func(name string, files map[string]string) {
		d := filepath.Join(dir, name)
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		for f, text := range files {
			if err := os.WriteFile(filepath.Join(d, f), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_ = os.Symlink("..data/"+f, filepath.Join(dir, f)) // may be there
		}
		if err := os.Symlink(name, filepath.Join(dir, "tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte("hashed")))
	version("..1", map[string]string{"shop": "one\n# a comment\ntwo\n", "blog": "sha256:" + hash})
	a := newAuth(t, AuthConfig{Now: func() time.Time { return now }, Tenants: true, Tokens: []TokenFiles{{Path: dir, Tenant: "${name}"}}})
	check := func(token, want string) {
		t.Helper()
		if got := ask(t, a, Credentials{Token: token}, ScopeQuery); got != want {
			t.Errorf("%s: %s, want %s", token, got, want)
		}
	}
	check("one", "shop|shop")
	check("two", "shop|shop")
	check("hashed", "blog|blog")
	check("sha256:"+hash, "401 no valid credentials") // the hash is no token
	check(hash, "401 no valid credentials")
	check("# a comment", "401 no valid credentials")
	version("..2", map[string]string{"shop": "two\nthree\n"})
	check("one", "shop|shop") // within the second
	now = now.Add(2 * time.Second)
	check("one", "401 no valid credentials")
	check("three", "shop|shop")
	check("hashed", "401 no valid credentials") // a link that leads nowhere
	if n := a.Stats().Users; n != 2 {
		t.Errorf("%d users", n)
	}
	// The last token goes, and another comes.
	if err := os.Remove(filepath.Join(dir, "shop")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Second)
	check("three", "401 no valid credentials")
	if err := os.Symlink("..data/shop", filepath.Join(dir, "shop")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Second)
	check("three", "shop|shop")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Second)
	check("three", "shop|shop") // unreadable is not empty
	if _, err := NewAuth(AuthConfig{Tokens: []TokenFiles{{Path: dir}}}); err == nil {
		t.Error("a path that is not there is taken")
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		sep        byte
		want       bool
	}{
		{"a/*", "a/b", '/', true}, {"a/*", "a/b/c", '/', false}, {"*/*", "a/b", '/', true}, {"*", "a/b", '/', false},
		{"a*c", "abbc", 0, true}, {"a*c", "abbcd", 0, false}, {"*a*b*", "xxaxxbxx", 0, true}, {"**", "", 0, true}, {"", "", 0, true},
		{"", "a", 0, false}, {"a*", "a", '/', true}, {"*.x", "a.b.x", '.', false}, {"*.*.x", "a.b.x", '.', true},
	} {
		if got := glob(c.pattern, c.s, c.sep); got != c.want {
			t.Errorf("glob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

// TestFailure110_Tenants: no credential makes a tenant that is a path.
func TestFailure110_Tenants(t *testing.T) {
	a := newAuth(t, AuthConfig{Tenants: true, TenantHeader: true, Users: []User{{Cert: "CN=*", Tenant: "${name}"}, {Secret: NewSecret("t")}}})
	for _, name := range []string{"..", ".", "../x", "a/b", "a\\b", "a\x00b", "a b", "é", strings.Repeat("a", 151), "a\nb", "%2e%2e", "a|b"} {
		if got := ask(t, a, Credentials{Token: "t", Tenant: name}, ScopeIngest); !strings.HasPrefix(got, "400 ") {
			t.Errorf("%q: %s", name, got)
		}
		if name == "a\x00b" {
			continue // no certificate has it
		}
		c := &x509.Certificate{Subject: pkix.Name{CommonName: name}}
		if got := ask(t, a, Credentials{Cert: c}, ScopeIngest); !strings.HasPrefix(got, "403 ") {
			t.Errorf("certificate %q: %s", name, got)
		}
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	var users []User
	for i := range 1000 {
		users = append(users, User{Secret: NewSecret(fmt.Sprint("token", i)), Tenant: fmt.Sprint("t", i)})
	}
	a, err := NewAuth(AuthConfig{Users: users, Tenants: true})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if id, err := a.Authenticate(b.Context(), Credentials{Token: "token999"}, ScopeIngest); err != nil || id.Tenant != "t999" {
			b.Fatal(id, err)
		}
	}
}

// Where somebody comes from is what the connection says, not what a header says.
func TestFailure112_ForwardedHeadersAreNotBelieved(t *testing.T) {
	auth, err := NewAuth(AuthConfig{Users: []User{{Name: "devices", Address: netip.MustParsePrefix("10.0.0.0/8")}}})
	if err != nil {
		t.Fatal(err)
	}
	h := newServer(t, &pushStore{}, Config{Auth: auth})
	for remote, want := range map[string]int{"192.0.2.1:1": 401, "10.1.2.3:1": 204, "[::ffff:10.1.2.3]:1": 204, "[fe80::1%eth0]:1": 401} {
		r := httptest.NewRequest("POST", "/lines", strings.NewReader("x\n"))
		r.RemoteAddr = remote
		for _, name := range []string{"X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP"} {
			r.Header.Set(name, "10.0.0.1")
		}
		r.Header.Set("Forwarded", `for="10.0.0.1"`)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("from %s: %d %s, want %d", remote, w.Code, w.Body, want)
		}
	}
}
