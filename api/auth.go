package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
)

// Auth says who may use the API and which tenant is whose. The zero Auth lets
// everybody in, and there is only the one tenant "" then.
type Auth struct {
	// Users are the credentials that are accepted; none means everybody.
	Users []User
	// Tenants says that every request is for a tenant: the credential's, or, if
	// TenantHeader is set and the credential has none, the one in the header
	// X-Scope-OrgID. A request without a tenant is refused.
	Tenants      bool
	TenantHeader bool
}

// User is a credential: a name and a password (HTTP Basic), or, without a name,
// a bearer token.
type User struct {
	Name   string
	Secret Secret
	// Tenant is whose logs the credential is for. Without Auth.Tenants it means
	// nothing.
	Tenant string
}

// Secret is the SHA-256 of a password or token. It shows nothing of it.
type Secret [sha256.Size]byte

// NewSecret returns the Secret of a password or token.
func NewSecret(s string) Secret { return sha256.Sum256([]byte(s)) }

// String implements fmt.Stringer.
func (Secret) String() string { return "***" }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return "***" }

const maxTenant = 150 // bytes; Loki's limit

// SetAuth replaces who may use the API. Tails that are open stay.
func (s *Server) SetAuth(a Auth) error {
	a.Users = append([]User(nil), a.Users...)
	for i, u := range a.Users {
		if u.Secret == (Secret{}) || u.Secret == NewSecret("") {
			return fmt.Errorf("api: user %d (%q) has an empty password or token", i+1, u.Name)
		}
		if strings.Contains(u.Name, ":") {
			return fmt.Errorf("api: the user name %q has a colon, which HTTP Basic cannot say", u.Name)
		}
		if u.Tenant != "" {
			if err := checkTenant(u.Tenant); err != nil {
				return fmt.Errorf("api: user %d (%q): %w", i+1, u.Name, err)
			}
		}
	}
	s.auth.Store(&a)
	return nil
}

// tenant finds out whose logs a request is for.
func (s *Server) tenant(r *http.Request) (string, error) {
	a := s.auth.Load()
	var user *User
	if len(a.Users) > 0 {
		if user = a.find(r); user == nil {
			return "", &httpError{http.StatusUnauthorized, "no valid credentials"}
		}
	}
	if !a.Tenants {
		return "", nil
	}
	header := r.Header.Get("X-Scope-OrgID")
	switch {
	case user != nil && user.Tenant != "":
		if header != "" && header != user.Tenant {
			return "", &httpError{http.StatusForbidden, "the credentials are not for the tenant in X-Scope-OrgID"}
		}
		return user.Tenant, nil
	case header == "" || !a.TenantHeader:
		return "", &httpError{http.StatusUnauthorized, "no org id"}
	}
	if err := checkTenant(header); err != nil {
		return "", &httpError{http.StatusBadRequest, err.Error()}
	}
	return header, nil
}

// checkTenant accepts what Loki does for one tenant.
func checkTenant(t string) error {
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

// find returns the user whose credential the request has. It takes as long
// whichever it is.
func (a *Auth) find(r *http.Request) (found *User) {
	name, secret, ok := r.BasicAuth()
	if !ok {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return nil
		}
		name, secret = "", strings.TrimSpace(token)
	} else if name == "" {
		return nil
	}
	sum := NewSecret(secret)
	who := NewSecret(name)
	for i := range a.Users {
		u := &a.Users[i]
		has := NewSecret(u.Name)
		if subtle.ConstantTimeCompare(sum[:], u.Secret[:])&subtle.ConstantTimeCompare(who[:], has[:]) == 1 {
			found = u
		}
	}
	return found
}
