package gateway

import (
	"context"
	"crypto/x509"
	"net/netip"

	"github.com/weirlog/weir/record"
)

// Credentials are what somebody shows to be let in. Fields that the protocol or
// the sender does not have are empty.
type Credentials struct {
	User, Password string
	Token          string
	Cert           *x509.Certificate // verified
	Addr           netip.Addr
	Tenant         string // as claimed, such as in the header X-Scope-OrgID
}

// Identity is who somebody is.
type Identity struct {
	Name   string
	Tenant string
	// Attrs are added to all streams of the sender, and win over what it says.
	Attrs []record.Attr
}

// What somebody may be let in for.
const (
	ScopeIngest = "ingest"
	ScopeQuery  = "query"
	ScopeAdmin  = "admin"
)

// Authenticator finds out who somebody is. Safe for concurrent use.
type Authenticator interface {
	// Authenticate returns an *AuthError if the credentials are not good for the
	// scope.
	Authenticate(ctx context.Context, c Credentials, scope string) (Identity, error)
}

// AuthError is a refusal.
type AuthError struct {
	Status int // 400, 401 or 403, as in HTTP
	Msg    string
}

func (e *AuthError) Error() string { return e.Msg }
