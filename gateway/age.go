package gateway

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// connAge is how long a connection over HTTP is used, a tenth more or less: so
// senders that keep theirs for ever find gateways that have come since, and do
// not all look for them at the same time.
const connAge = 10 * time.Minute

type retireKey struct{}

// AgeConnections lets the server tell clients to open another connection once
// theirs is old: with the answer to a request, after which HTTP/1.1 closes and
// HTTP/2 says GOAWAY. What is under way on it ends as ever. It comes last, when
// the server's Handler is there.
func AgeConnections(s *http.Server) { ageConnections(s, connAge, rand.Float64, time.Now) }

func ageConnections(s *http.Server, age time.Duration, random func() float64, now func() time.Time) {
	s.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, retireKey{}, now().Add(time.Duration(float64(age)*(0.9+0.2*random()))))
	}
	next := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if at, ok := r.Context().Value(retireKey{}).(time.Time); ok && now().After(at) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
