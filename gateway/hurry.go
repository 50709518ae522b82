package gateway

import (
	"net/http"
	"sync"
	"time"
)

// lastBytes is how long a stop waits for bodies of which nothing more comes.
const lastBytes = time.Second

// openBodies are the requests under way whose bodies may still come.
type openBodies struct {
	mu   sync.Mutex
	open map[*http.ResponseController]struct{}
}

// add notes a request until done is called.
func (b *openBodies) add(w http.ResponseWriter) (done func()) {
	c := http.NewResponseController(w)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		b.open = make(map[*http.ResponseController]struct{})
	}
	b.open[c] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.open, c)
	}
}

// hurry ends the patience with bodies that are half sent: who sends none of the rest
// within a second is told to come again. A body of which more comes sets its own
// deadline again.
func (b *openBodies) hurry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.open {
		_ = c.SetReadDeadline(time.Now().Add(lastBytes)) // where there is none, nobody is waited for
	}
}

// hurryBodies makes a Shutdown of the server hurry.
func hurryBodies(s *http.Server) {
	var b openBodies
	next := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			defer b.add(w)()
		}
		next.ServeHTTP(w, r)
	})
	s.RegisterOnShutdown(b.hurry)
}
