package kube

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// TokenUser is the service account of a token, and the pod that it was made for if
// the token says so.
type TokenUser struct {
	Namespace, ServiceAccount string
	Pod, PodUID, Node         string
}

// ErrBadToken is what TokenReviews.Review returns for a token that is not good, or
// not one of a service account, or for somebody else.
var ErrBadToken = errors.New("kube: the token is not valid")

// errNotAsked says that only the API server could have told.
var errNotAsked = errors.New("kube: the token is not known, and was not asked for")

// TokenReviewsConfig is what TokenReviews needs to know.
type TokenReviewsConfig struct {
	// Kubeconfig is the path of a kubeconfig; "" means the pod's service account.
	Kubeconfig string
	// Audiences are for whom tokens must have been made, one of them at least.
	Audiences []string
	// Clock is the time; nil means time.Now.
	Clock func() time.Time
}

// TokenReviews asks the API server whose tokens of service accounts are, and
// remembers the answers. Permission needed: create of tokenreviews. Safe for
// concurrent use.
//
// https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
type TokenReviews struct {
	rest      rest.Interface
	http      *http.Client
	audiences []string
	clock     func() time.Time
	slots     chan struct{}

	mu    sync.Mutex
	good  answers
	bad   answers
	calls map[[sha256.Size]byte]*call
	s     TokenStats
}

// TokenStats tells how asking goes.
type TokenStats struct {
	Asked, Failed, Bad uint64 // requests; those without an answer; answers that it is not good
	Stale              uint64 // times an old answer had to do, as there was no new one
	Known              int    // good tokens that are remembered
}

type answer struct {
	user  TokenUser
	until time.Time // when it is asked for again
	last  time.Time // until when it will do if there is no answer
}

type call struct {
	done chan struct{}
	user TokenUser
	err  error
}

// How long answers count. A token whose pod is gone is good for goodFor more.
const (
	goodFor    = 2 * time.Minute // as long as kubelet's own (authentication.webhook.cacheTTL)
	staleFor   = 15 * time.Minute
	retryAfter = 5 * time.Second
	badFor     = 10 * time.Second

	maxAnswers    = 20_000 // of each kind
	reviewTimeout = 10 * time.Second
	maxReviews    = 16 // at a time
)

// NewTokenReviews does not talk to the API server.
func NewTokenReviews(c TokenReviewsConfig) (*TokenReviews, error) {
	if len(c.Audiences) == 0 || slices.Contains(c.Audiences, "") {
		return nil, errors.New("kube: tokens need an audience")
	}
	rc, hc, err := restClient(c.Kubeconfig, "/apis", authv1.SchemeGroupVersion, authv1.AddToScheme)
	if err != nil {
		return nil, err
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return &TokenReviews{
		rest: rc, http: hc, audiences: slices.Clone(c.Audiences), clock: c.Clock, slots: make(chan struct{}, maxReviews),
		good: answers{m: make(map[[sha256.Size]byte]answer)}, bad: answers{m: make(map[[sha256.Size]byte]answer)}, calls: make(map[[sha256.Size]byte]*call),
	}, nil
}

// Close closes idle connections.
func (t *TokenReviews) Close() { utilnet.CloseIdleConnectionsFor(t.http.Transport) }

// Stats returns the numbers of now.
func (t *TokenReviews) Stats() TokenStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.s
	s.Known = len(t.good.m)
	return s
}

// Review returns whose token it is. Without ask it answers from memory or not at
// all. While the API server does not answer, what it said before counts for a
// while, though never beyond the token's own end.
func (t *TokenReviews) Review(ctx context.Context, token string, ask bool) (TokenUser, error) {
	key := sha256.Sum256([]byte(token))
	now := t.clock()
	t.mu.Lock()
	old, known := t.good.m[key]
	switch bad, ok := t.bad.m[key]; {
	case known && now.Before(old.until):
		t.mu.Unlock()
		return old.user, nil
	case ok && now.Before(bad.until):
		t.mu.Unlock()
		return TokenUser{}, ErrBadToken
	case !ask:
		t.mu.Unlock()
		return TokenUser{}, errNotAsked
	}
	c, ours := t.calls[key], false
	if c == nil {
		c, ours = &call{done: make(chan struct{})}, true
		t.calls[key] = c
	}
	t.mu.Unlock()
	if !ours {
		select {
		case <-c.done:
			return c.user, c.err
		case <-ctx.Done():
			return TokenUser{}, ctx.Err()
		}
	}
	// Others wait for it: who asked first may leave.
	c.user, c.err = t.ask(context.WithoutCancel(ctx), token)
	t.mu.Lock()
	defer t.mu.Unlock()
	defer close(c.done)
	delete(t.calls, key)
	now = t.clock()
	end := expiry(token)
	switch {
	case c.err == nil:
		delete(t.bad.m, key)
		t.good.put(key, answer{c.user, earliest(now.Add(goodFor), end), earliest(now.Add(goodFor+staleFor), end)}, now)
	case errors.Is(c.err, ErrBadToken):
		t.s.Bad++
		delete(t.good.m, key)
		t.bad.put(key, answer{until: now.Add(badFor)}, now)
	case known && now.Before(old.last):
		t.s.Stale++
		old.until = earliest(now.Add(retryAfter), old.last)
		t.good.m[key] = old
		c.user, c.err = old.user, nil
	}
	return c.user, c.err
}

// answers are those of one kind, maxAnswers at most.
type answers struct {
	m     map[[sha256.Size]byte]answer
	swept time.Time
}

// put remembers an answer, in the place of those that are of no use any more, or of
// any.
func (s *answers) put(key [sha256.Size]byte, a answer, now time.Time) {
	if len(s.m) >= maxAnswers && now.Sub(s.swept) > time.Second {
		s.swept = now
		for k, old := range s.m {
			if now.After(old.until) && now.After(old.last) {
				delete(s.m, k)
			}
		}
	}
	for k := range s.m {
		if len(s.m) < maxAnswers {
			break
		}
		delete(s.m, k)
	}
	s.m[key] = a
}

func earliest(a, b time.Time) time.Time {
	if b.IsZero() || a.Before(b) {
		return a
	}
	return b
}

// expiry returns when the token ends as it says itself, which the API server has
// looked at; zero if it says nothing.
func expiry(token string) time.Time {
	part := strings.Split(token, ".")
	if len(part) != 3 {
		return time.Time{}
	}
	p, err := base64.RawURLEncoding.DecodeString(part[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp int64 `json:"exp"`
	}
	if json.Unmarshal(p, &claims) != nil || claims.Exp <= 0 {
		return time.Time{}
	}
	return time.Unix(claims.Exp, 0)
}

// ask asks the API server.
func (t *TokenReviews) ask(ctx context.Context, token string) (TokenUser, error) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	select {
	case t.slots <- struct{}{}:
	case <-ctx.Done():
		return TokenUser{}, fmt.Errorf("kube: review a token: %w", ctx.Err())
	}
	defer func() { <-t.slots }()
	review := &authv1.TokenReview{Spec: authv1.TokenReviewSpec{Token: token, Audiences: t.audiences}}
	err := t.rest.Post().Resource("tokenreviews").Body(review).Do(ctx).Into(review)
	t.mu.Lock()
	t.s.Asked++
	if err != nil {
		t.s.Failed++
	}
	t.mu.Unlock()
	if err != nil {
		why := "Kubernetes API server does not answer"
		if apierrors.IsForbidden(err) {
			why = "Kubernetes API server forbids it: the account needs create on tokenreviews.authentication.k8s.io"
		}
		if reason := apierrors.ReasonForError(err); reason != "" {
			// Without the server's own words: they may hold the request.
			err = errors.New(string(reason))
		}
		return TokenUser{}, fmt.Errorf("kube: review a token: %s: %w", why, err)
	}
	u := &review.Status.User
	rest, ok := strings.CutPrefix(u.Username, "system:serviceaccount:")
	namespace, account, both := strings.Cut(rest, ":")
	// A server that knows nothing of audiences names none.
	ours := slices.ContainsFunc(review.Status.Audiences, func(a string) bool { return slices.Contains(t.audiences, a) })
	if !review.Status.Authenticated || !ok || !both || !ours {
		return TokenUser{}, ErrBadToken
	}
	extra := func(name string) string {
		if v := u.Extra["authentication.kubernetes.io/"+name]; len(v) == 1 {
			return v[0]
		}
		return ""
	}
	return TokenUser{Namespace: namespace, ServiceAccount: account, Pod: extra("pod-name"), PodUID: extra("pod-uid"), Node: extra("node-name")}, nil
}
