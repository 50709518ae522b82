package gateway

import (
	"net/http"
	"sync"
	"time"
)

// lastBytes is how long a stop waits for bodies of which nothing more comes.
const lastBytes = time.Second

// hurryBodies makes a Shutdown of the server end the patience with bodies that are
// half sent: who sends none of the rest within a second is told to come again, as
// one whose connection broke is, and a stop does not wait for it.
func hurryBodies(s *http.Server) {
	var mu sync.Mutex
	open := make(map[*http.ResponseController]struct{})
	next := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		c := http.NewResponseController(w)
		mu.Lock()
		open[c] = struct{}{}
		mu.Unlock()
		defer func() {
			mu.Lock()
			delete(open, c)
			mu.Unlock()
		}()
		next.ServeHTTP(w, r)
	})
	s.RegisterOnShutdown(func() {
		mu.Lock()
		defer mu.Unlock()
		for c := range open {
			// A body of which more comes sets its own deadline again.
			_ = c.SetReadDeadline(time.Now().Add(lastBytes)) // where there is none, nobody is waited for
		}
	})
}
