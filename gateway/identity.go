package gateway

import (
	"context"
	"crypto/x509"
	"errors"
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
	// Known is who it is if the protocol, or the permissions of a unix socket, have
	// shown that already; nil if not. It counts where nothing else does.
	Known *Identity
}

// Identity is who somebody is.
type Identity struct {
	// Name is for people, and no two identities with different Attrs have the
	// same. It holds no secret.
	Name   string
	Tenant string
	// Relay says that the sender is another weir, which tells the truth of what it
	// sends on: ids, and where records were read.
	Relay bool
	// Attrs are added to all streams of the sender, and win over what it says.
	Attrs []record.Attr
}

// What somebody may be let in for.
const (
	ScopeIngest = "ingest"
	ScopeQuery  = "query"
	ScopeAdmin  = "admin"
)

// Scopes are all there are.
func Scopes() []string { return []string{ScopeIngest, ScopeQuery, ScopeAdmin} }

// Authenticator finds out who somebody is. Safe for concurrent use.
type Authenticator interface {
	// Authenticate returns an *AuthError if the credentials are not good for the
	// scope.
	Authenticate(ctx context.Context, c Credentials, scope string) (Identity, error)
}

// AuthError is a refusal.
type AuthError struct {
	// Status is 400, 401 or 403, as in HTTP, or 503 if who it is cannot be found
	// out at the moment.
	Status int
	Msg    string
}

func (e *AuthError) Error() string { return e.Msg }

// Workload is somebody that Kubernetes knows. Fields that are not known are empty.
type Workload struct {
	Namespace, ServiceAccount string
	Pod, PodUID               string
	// Attrs are what streams of the pod carry, under canonical names.
	Attrs []record.Attr
}

// ErrBadToken is what Cluster.Review returns for a token that is not good.
var ErrBadToken = errors.New("the token is not valid")

// Cluster is what Kubernetes knows of who is there. Safe for concurrent use; its
// answers are remembered by itself.
type Cluster interface {
	// Review returns whose token it is. ErrBadToken is Kubernetes' answer; every
	// other error means that there was none. Without ask it answers from memory
	// or not at all.
	Review(ctx context.Context, token string, ask bool) (Workload, error)
	// PodAt returns the pod with that address, if there is exactly one.
	PodAt(addr netip.Addr) (Workload, bool)
}
