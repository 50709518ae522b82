package kube

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

// secretAPI is as much of an API server as the webhook's certificate needs.
type secretAPI struct {
	t      *testing.T
	decode runtime.Decoder

	mu       sync.Mutex
	secret   *corev1.Secret
	version  int
	hook     admissionregistrationv1.MutatingWebhookConfiguration
	patches  int
	writes   int
	denied   string // method that is refused
	between  func() // before the next write is looked at
	noConfig bool
}

func newSecretAPI(t *testing.T) (*secretAPI, string) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	a := &secretAPI{t: t, decode: serializer.NewCodecFactory(scheme).UniversalDeserializer()}
	a.hook.Name = "weir-webhook"
	a.hook.APIVersion, a.hook.Kind = "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"
	a.hook.Webhooks = []admissionregistrationv1.MutatingWebhook{{Name: "one.weir.dev"}, {Name: "two.weir.dev"}}
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":%q}}],"contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],"current-context":"x","users":[{"name":"u","user":{}}]}`, srv.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return a, path
}

func (a *secretAPI) status(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"said the test"}`, reason, code)
}

func (a *secretAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.Method != "GET" && a.between != nil {
		f := a.between
		a.between = nil
		f()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	reply := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			a.t.Error(err)
		}
	}
	if r.Method == a.denied {
		a.status(w, 403, "Forbidden")
		return
	}
	const hooks, secrets = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/weir-webhook", "/api/v1/namespaces/logging/secrets"
	switch {
	case r.URL.Path == "/version":
		reply(map[string]string{"major": "1", "minor": "29+"})
	case r.URL.Path == hooks && a.noConfig:
		a.status(w, 404, "NotFound")
	case r.URL.Path == hooks && r.Method == "GET":
		reply(&a.hook)
	case r.URL.Path == hooks && r.Method == "PATCH":
		var ops []PatchOp
		if err := json.Unmarshal(body, &ops); err != nil || r.Header.Get("Content-Type") != "application/json-patch+json" {
			a.t.Errorf("patch %s: %v", body, err)
		}
		for i, op := range ops {
			at := &a.hook.Webhooks[i/2]
			switch {
			case op.Op == "test" && op.Value == at.Name:
			case op.Op == "add" && op.Path == fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", i/2):
				at.ClientConfig.CABundle, _ = base64.StdEncoding.DecodeString(op.Value.(string))
			default:
				a.t.Errorf("op %+v", op)
			}
		}
		a.patches++
		reply(&a.hook)
	case r.URL.Path == secrets+"/weir-webhook" && r.Method == "GET":
		if a.secret == nil {
			a.status(w, 404, "NotFound")
			return
		}
		reply(a.secret)
	case r.URL.Path == secrets && r.Method == "POST", r.URL.Path == secrets+"/weir-webhook" && r.Method == "PUT":
		o, _, err := a.decode.Decode(body, nil, nil)
		if err != nil {
			a.t.Errorf("%s: %v", r.Method, err)
			a.status(w, 400, "BadRequest")
			return
		}
		s := o.(*corev1.Secret)
		switch {
		case r.Method == "POST" && a.secret != nil:
			a.status(w, 409, "AlreadyExists")
			return
		case r.Method == "PUT" && s.ResourceVersion != a.secret.ResourceVersion:
			a.status(w, 409, "Conflict")
			return
		}
		a.version++
		a.writes++
		s.ResourceVersion, s.APIVersion, s.Kind = fmt.Sprint(a.version), "v1", "Secret"
		a.secret = s
		reply(s)
	default:
		a.t.Errorf("%s %s", r.Method, r.URL.Path)
		a.status(w, 404, "NotFound")
	}
}

// trusts reports whether the API server would take the certificate at that time.
func (a *secretAPI) trusts(cert []byte, at time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	leaf, err := x509.ParseCertificate(cert)
	if err != nil {
		return err
	}
	for _, h := range a.hook.Webhooks {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(h.ClientConfig.CABundle)
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: "weir-webhook.logging.svc", Roots: roots, CurrentTime: at}); err != nil {
			return err
		}
	}
	return nil
}

func newWebhookCert(t *testing.T, kubeconfig string, now *time.Time) *WebhookCert {
	t.Helper()
	w, err := NewWebhookCert(WebhookCertConfig{
		Kubeconfig: kubeconfig, Namespace: "logging", Secret: "weir-webhook", Service: "weir-webhook", Configuration: "weir-webhook",
		Clock: func() time.Time { return *now },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func TestWebhookCert(t *testing.T) {
	api, config := newSecretAPI(t)
	now := time.Now()
	a, b := newWebhookCert(t, config, &now), newWebhookCert(t, config, &now)
	// Both find no Secret; b's is there when a writes its own.
	api.between = func() {
		if _, err := b.Ensure(t.Context()); err != nil {
			t.Error(err)
		}
	}
	first, err := a.Ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if api.writes != 1 || api.patches != 1 {
		t.Errorf("%d writes, %d patches", api.writes, api.patches)
	}
	for _, at := range []time.Time{now, now.Add(-50 * time.Minute), now.Add(leafLife - time.Minute)} {
		if err := api.trusts(first.Certificate[0], at); err != nil {
			t.Errorf("at %v: %v", at.Sub(now), err)
		}
	}
	// Nothing is due: nothing is written.
	now = now.Add(leafLife - leafRenew - time.Hour)
	if _, err := a.Ensure(t.Context()); err != nil || api.writes != 1 || api.patches != 1 {
		t.Errorf("%v; %d writes, %d patches", err, api.writes, api.patches)
	}
	// The leaf is due, the authority stays.
	now = now.Add(2 * time.Hour)
	second, err := b.Ensure(t.Context())
	if err != nil || api.writes != 2 || api.patches != 1 {
		t.Errorf("%v; %d writes, %d patches", err, api.writes, api.patches)
	}
	for _, cert := range [][]byte{first.Certificate[0], second.Certificate[0]} {
		if err := api.trusts(cert, now); err != nil {
			t.Error(err)
		}
	}
	// The authority is due: while replicas still serve with the old one, both are trusted.
	now = now.Add(caLife - caRenew - leafLife)
	third, err := a.Ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(leafLife)
	fourth, err := a.Ensure(t.Context())
	if err != nil || api.patches != 2 {
		t.Fatalf("%v; %d patches", err, api.patches)
	}
	for i, cert := range [][]byte{third.Certificate[0], fourth.Certificate[0]} {
		if err := api.trusts(cert, now.Add(-time.Duration(1-i)*time.Hour)); err != nil {
			t.Errorf("certificate %d: %v", i+3, err)
		}
	}
}

// Somebody has put something else into the Secret.
func TestWebhookCertRepairs(t *testing.T) {
	now := time.Now()
	for name, spoil := range map[string]func(map[string][]byte){
		"empty":           func(d map[string][]byte) { clear(d) },
		"no key":          func(d map[string][]byte) { delete(d, secretKey) },
		"rubbish":         func(d map[string][]byte) { d[secretCert] = []byte("rubbish") },
		"no CA":           func(d map[string][]byte) { d[secretCA] = nil },
		"another CA key":  func(d map[string][]byte) { d[secretCAKey] = d[secretKey] },
		"for another DNS": nil,
	} {
		t.Run(name, func(t *testing.T) {
			api, config := newSecretAPI(t)
			w := newWebhookCert(t, config, &now)
			if spoil == nil {
				w.c.Service = "other"
			}
			if _, err := w.Ensure(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.c.Service = "weir-webhook"
			if spoil != nil {
				spoil(api.secret.Data)
			}
			cert, err := w.Ensure(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := api.trusts(cert.Certificate[0], now); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWebhookCertRefused(t *testing.T) {
	now := time.Now()
	api, config := newSecretAPI(t)
	w := newWebhookCert(t, config, &now)
	api.denied = "POST"
	if cert, err := w.Ensure(t.Context()); cert != nil || err == nil || !strings.Contains(err.Error(), "secret logging/weir-webhook") {
		t.Errorf("%v", err)
	}
	// It can serve, but nobody trusts it: both are told.
	api.denied = "PATCH"
	cert, err := w.Ensure(t.Context())
	if cert == nil || err == nil || !strings.Contains(err.Error(), "MutatingWebhookConfiguration weir-webhook") {
		t.Errorf("%v, %v", cert != nil, err)
	}
	api.denied, api.noConfig = "", true
	if cert, err = w.Ensure(t.Context()); cert == nil || err == nil {
		t.Errorf("%v", err)
	}
	if major, minor, err := ServerVersion(t.Context(), config); major != 1 || minor != 29 || err != nil {
		t.Errorf("%d.%d, %v", major, minor, err)
	}
}
