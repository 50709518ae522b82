package kube

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The chart brings the Secret, empty, so that uninstalling takes it away; the webhook
// fills it, leaves its type, and is trusted.
func TestWebhookCertFillsTheChartsSecret(t *testing.T) {
	api, config := newSecretAPI(t)
	api.secret = &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, Type: corev1.SecretTypeOpaque,
		ObjectMeta: metav1.ObjectMeta{Name: "weir-webhook", Namespace: "logging", ResourceVersion: "7", Labels: map[string]string{"app.kubernetes.io/managed-by": "Helm"}},
	}
	now := time.Now()
	cert, err := newWebhookCert(t, config, &now).Ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := api.trusts(cert.Certificate[0], now); err != nil {
		t.Error(err)
	}
	if s := api.secret; s.Type != corev1.SecretTypeOpaque || s.Labels["app.kubernetes.io/managed-by"] != "Helm" || len(s.Data[corev1.TLSPrivateKeyKey]) == 0 || api.writes != 1 {
		t.Errorf("%s %v, %d keys, %d writes", s.Type, s.Labels, len(s.Data), api.writes)
	}
}
