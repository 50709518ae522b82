package kube

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// WebhookCertConfig is what NewWebhookCert needs to know.
type WebhookCertConfig struct {
	Kubeconfig string // "" means the pod's service account
	// Namespace, Secret and Service are where the certificate is kept and what it is
	// for: <service>.<namespace>.svc.
	Namespace, Secret, Service string
	// Configuration is the name of the MutatingWebhookConfiguration whose caBundle is
	// kept up to date.
	Configuration string
	Clock         func() time.Time // nil means time.Now
}

// WebhookCert makes the certificate of an admission webhook, keeps it in a Secret that
// all replicas share, renews it, and tells the API server whom to trust. Permissions
// needed: get and update of that Secret, create of secrets, get and patch of that
// MutatingWebhookConfiguration. It is for one goroutine.
type WebhookCert struct {
	c       WebhookCertConfig
	secrets *rest.RESTClient
	hooks   *rest.RESTClient
	clients []*http.Client
}

// Lives of the certificates: a leaf is renewed when a third of its life is left, the
// authority half a year before its end; the old one is trusted until then.
const (
	leafLife  = 90 * 24 * time.Hour
	leafRenew = 30 * 24 * time.Hour
	caLife    = 3 * 365 * 24 * time.Hour
	caRenew   = 180 * 24 * time.Hour
	clockSkew = time.Hour // of whoever looks at a certificate
)

// Keys of the Secret, as cert-manager has them.
const (
	secretCA    = "ca.crt" // the authority; behind it the one before, while it is valid
	secretCAKey = "ca.key"
	secretCert  = corev1.TLSCertKey
	secretKey   = corev1.TLSPrivateKeyKey
)

// NewWebhookCert does not talk to the API server.
func NewWebhookCert(c WebhookCertConfig) (*WebhookCert, error) {
	if c.Namespace == "" || c.Secret == "" || c.Service == "" {
		return nil, errors.New("kube: the webhook's namespace, secret and service must be named")
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	w := &WebhookCert{c: c}
	var hc *http.Client
	var err error
	if w.secrets, hc, err = restClient(c.Kubeconfig, "/api", corev1.SchemeGroupVersion, corev1.AddToScheme); err != nil {
		return nil, err
	}
	w.clients = append(w.clients, hc)
	if w.hooks, hc, err = restClient(c.Kubeconfig, "/apis", admissionregistrationv1.SchemeGroupVersion, admissionregistrationv1.AddToScheme); err != nil {
		return nil, err
	}
	w.clients = append(w.clients, hc)
	return w, nil
}

// Close gives connections back.
func (w *WebhookCert) Close() {
	for _, c := range w.clients {
		utilnet.CloseIdleConnectionsFor(c.Transport)
	}
}

// Ensure returns a certificate to serve with: the Secret's, or a new one that it has
// put there, when the API server trusts it. An error with a certificate says that
// the API server could not be told. Call it at least once a day.
func (w *WebhookCert) Ensure(ctx context.Context) (*tls.Certificate, error) {
	const attempts = 5 // other replicas do the same at the same time
	var err error
	for range attempts {
		var bundle []byte
		var cert *tls.Certificate
		if bundle, cert, err = w.secret(ctx); err == nil {
			return cert, w.trust(ctx, bundle)
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			break
		}
	}
	return nil, fmt.Errorf("kube: secret %s/%s: %w", w.c.Namespace, w.c.Secret, err)
}

// secret returns what the Secret holds, after renewing what is due.
func (w *WebhookCert) secret(ctx context.Context) (bundle []byte, cert *tls.Certificate, err error) {
	s := &corev1.Secret{}
	err = w.secrets.Get().Namespace(w.c.Namespace).Resource("secrets").Name(w.c.Secret).Do(ctx).Into(s)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return nil, nil, err
	}
	data, changed, err := w.renew(s.Data)
	if err != nil {
		return nil, nil, err
	}
	if changed {
		s.Data = data
		req := w.secrets.Put().Name(w.c.Secret)
		if missing {
			s = &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: w.c.Secret, Namespace: w.c.Namespace, Labels: map[string]string{"app.kubernetes.io/name": "weir", "app.kubernetes.io/component": "webhook"}},
				Type:       corev1.SecretTypeTLS, Data: data,
			}
			req = w.secrets.Post()
		}
		if err := req.Namespace(w.c.Namespace).Resource("secrets").Body(s).Do(ctx).Error(); err != nil {
			return nil, nil, err
		}
	}
	pair, err := tls.X509KeyPair(data[secretCert], data[secretKey])
	if err != nil {
		return nil, nil, err // impossible: renew has looked
	}
	return data[secretCA], &pair, nil
}

// name is what the API server calls the webhook.
func (w *WebhookCert) name() string { return w.c.Service + "." + w.c.Namespace + ".svc" }

// renew returns the Secret's data with what is due made anew.
func (w *WebhookCert) renew(old map[string][]byte) (data map[string][]byte, changed bool, err error) {
	now := w.c.Clock()
	cas := parseCerts(old[secretCA])
	caKey := parseKey(old[secretCAKey])
	leaf, leafErr := tls.X509KeyPair(old[secretCert], old[secretKey])
	newCA := len(cas) == 0 || caKey == nil || !caKey.PublicKey.Equal(cas[0].PublicKey) || now.Add(caRenew).After(cas[0].NotAfter)
	if !newCA && leafErr == nil {
		pool := x509.NewCertPool()
		pool.AddCert(cas[0])
		cert, err := x509.ParseCertificate(leaf.Certificate[0])
		if err == nil {
			_, err = cert.Verify(x509.VerifyOptions{DNSName: w.name(), Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		}
		if err == nil && now.Add(leafRenew).Before(cert.NotAfter) {
			return old, false, nil
		}
	}
	data = make(map[string][]byte)
	if newCA {
		if caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, false, err
		}
		ca, err := makeCert(&x509.Certificate{
			Subject: pkix.Name{CommonName: "weir webhook authority"}, NotBefore: now.Add(-clockSkew), NotAfter: now.Add(caLife),
			IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
		}, nil, caKey, caKey)
		if err != nil {
			return nil, false, err
		}
		data[secretCA] = ca
		for _, c := range cas[:min(1, len(cas))] {
			if now.Before(c.NotAfter) { // replicas still serve with it
				data[secretCA] = append(data[secretCA], pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
			}
		}
		cas = parseCerts(ca)
	} else {
		data[secretCA] = old[secretCA]
	}
	if data[secretCAKey], err = encodeKey(caKey); err != nil {
		return nil, false, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, false, err
	}
	if data[secretCert], err = makeCert(&x509.Certificate{
		Subject: pkix.Name{CommonName: w.name()}, DNSNames: []string{w.name(), w.name() + ".cluster.local"},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, cas[0], key, caKey); err != nil {
		return nil, false, err
	}
	data[secretKey], err = encodeKey(key)
	return data, true, err
}

// makeCert signs a certificate for key and returns it as PEM. Without a parent it is
// signed by itself.
func makeCert(c, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	c.SerialNumber = serial
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// parseKey returns nil for what is no key of ours.
func parseKey(text []byte) *ecdsa.PrivateKey {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	k, _ := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, _ := k.(*ecdsa.PrivateKey)
	return key
}

func parseCerts(text []byte) (certs []*x509.Certificate) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return certs
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			certs = append(certs, c)
		}
	}
}

// trust has the API server trust the bundle.
func (w *WebhookCert) trust(ctx context.Context, bundle []byte) error {
	if w.c.Configuration == "" {
		return nil
	}
	const resource = "mutatingwebhookconfigurations"
	hook := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := w.hooks.Get().Resource(resource).Name(w.c.Configuration).Do(ctx).Into(hook); err != nil {
		return fmt.Errorf("kube: MutatingWebhookConfiguration %s: %w", w.c.Configuration, err)
	}
	var patch []PatchOp
	for i := range hook.Webhooks {
		at := "/webhooks/" + strconv.Itoa(i)
		if bytes.Equal(hook.Webhooks[i].ClientConfig.CABundle, bundle) {
			continue
		}
		patch = append(patch,
			PatchOp{"test", at + "/name", hook.Webhooks[i].Name}, // that it is still the same
			PatchOp{"add", at + "/clientConfig/caBundle", base64.StdEncoding.EncodeToString(bundle)})
	}
	if patch == nil {
		return nil
	}
	body, err := json.Marshal(patch)
	if err == nil {
		err = w.hooks.Patch(types.JSONPatchType).Resource(resource).Name(w.c.Configuration).Body(body).Do(ctx).Error()
	}
	if err != nil {
		return fmt.Errorf("kube: set the authority in MutatingWebhookConfiguration %s: %w", w.c.Configuration, err)
	}
	return nil
}

// ServerVersion asks the API server for its version: major and minor.
func ServerVersion(ctx context.Context, kubeconfig string) (major, minor int, err error) {
	rc, hc, err := restClient(kubeconfig, "/api", corev1.SchemeGroupVersion, corev1.AddToScheme)
	if err != nil {
		return 0, 0, err
	}
	defer utilnet.CloseIdleConnectionsFor(hc.Transport)
	body, err := rc.Get().AbsPath("/version").Do(ctx).Raw()
	if err != nil {
		return 0, 0, fmt.Errorf("kube: ask the API server for its version: %w", err)
	}
	var v struct{ Major, Minor string }
	if err := json.Unmarshal(body, &v); err != nil {
		return 0, 0, fmt.Errorf("kube: the API server's version: %w", err)
	}
	digits := func(s string) int { // "29+" with some vendors
		n := 0
		for i := 0; i < len(s) && s[i] >= '0' && s[i] <= '9' && n < 1000; i++ {
			n = n*10 + int(s[i]-'0')
		}
		return n
	}
	return digits(v.Major), digits(v.Minor), nil
}
