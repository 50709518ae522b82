package gateway

import (
	"crypto/x509"
	"fmt"
	"strings"
)

const maxTenant = 150 // bytes; Loki's limit

// CheckTenant accepts what Loki does for one tenant.
// https://grafana.com/docs/loki/latest/operations/multi-tenancy/
func CheckTenant(t string) error {
	if len(t) > maxTenant {
		return fmt.Errorf("a tenant has at most %d bytes", maxTenant)
	}
	if t == "." || t == ".." {
		return fmt.Errorf("%q is no tenant", t)
	}
	for _, c := range []byte(t) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!-_.*'()", c) >= 0) {
			return fmt.Errorf("a tenant consists of letters, digits and !-_.*'(), not %q", c)
		}
	}
	return nil
}

// tenant finds out whose logs a request is for. u is nil if everybody is let in.
func (r *rules) tenant(u *User, w *Workload, c *Credentials) (string, error) {
	if !r.Tenants {
		return "", nil
	}
	switch {
	case u != nil && u.Tenant != "":
		own, err := u.tenantOf(w)
		if err != nil {
			return "", err
		}
		if c.Tenant != "" && c.Tenant != own {
			return "", &AuthError{403, "the credentials are not for the tenant in X-Scope-OrgID"}
		}
		return own, nil
	case c.Tenant == "" || !r.TenantHeader:
		return "", &AuthError{401, "no org id"}
	}
	if err := CheckTenant(c.Tenant); err != nil {
		return "", &AuthError{400, err.Error()}
	}
	return c.Tenant, nil
}

// tenantOf fills in what the credential says.
func (u *User) tenantOf(w *Workload) (string, error) {
	if !strings.Contains(u.Tenant, "${") {
		return u.Tenant, nil
	}
	t := strings.NewReplacer("${name}", u.Name, "${namespace}", w.Namespace, "${service_account}", w.ServiceAccount).Replace(u.Tenant)
	if t == "" || strings.Contains(u.Tenant, "${namespace}") && w.Namespace == "" || CheckTenant(t) != nil {
		return "", &AuthError{403, "no tenant can be made of these credentials"}
	}
	return t, nil
}

// certName returns the name in the certificate that the pattern is for.
func certName(c *x509.Certificate, pattern string) (string, bool) {
	if cn, ok := strings.CutPrefix(pattern, "CN="); ok {
		return c.Subject.CommonName, c.Subject.CommonName != "" && glob(cn, c.Subject.CommonName, 0)
	}
	if strings.Contains(pattern, "://") {
		for _, u := range c.URIs {
			if s := u.String(); glob(pattern, s, '/') {
				return s, true
			}
		}
		return "", false
	}
	for _, s := range c.DNSNames {
		if glob(strings.ToLower(pattern), strings.ToLower(s), '.') {
			return s, true
		}
	}
	return "", false
}

// spiffeAccount returns what spiffe://trust-domain/ns/NAMESPACE/sa/ACCOUNT names,
// the form that meshes give to Kubernetes' service accounts.
func spiffeAccount(name string) (namespace, account string) {
	rest, ok := strings.CutPrefix(name, "spiffe://")
	if !ok {
		return "", ""
	}
	p := strings.Split(rest, "/")
	if len(p) != 5 || p[1] != "ns" || p[3] != "sa" {
		return "", ""
	}
	return p[2], p[4]
}

// glob reports whether s matches pattern, in which * stands for any text without
// sep.
func glob(pattern, s string, sep byte) bool {
	// Where the last star was, and what it stood for: to let it stand for more.
	star, from := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, from = i, j
			i++
		case i < len(pattern) && pattern[i] == s[j]:
			i++
			j++
		case star >= 0 && (sep == 0 || s[from] != sep):
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(pattern) && pattern[i] == '*' {
		i++
	}
	return i == len(pattern)
}
