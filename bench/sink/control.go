package main

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/weirlog/weir/bench/verify"
)

// Stats is what the sink says of itself.
type Stats struct {
	verify.Counts
	Requests  uint64   `json:"requests"`
	Wire      uint64   `json:"wire"`    // bytes of bodies as they came
	Plain     uint64   `json:"plain"`   // bytes of bodies after decompression
	Refused   uint64   `json:"refused"` // requests answered with the status asked for
	Bad       []string `json:"bad,omitempty"`
	Strange   []string `json:"strange,omitempty"`
	LastMilli int64    `json:"last_ms"` // since when nothing came
}

type faults struct {
	Status    int  `json:"status"`     // answer to every request, 0 is none
	LatencyMS int  `json:"latency_ms"` // before an answer
	Down      bool `json:"down"`       // refuse connections
}

func (s *sink) stats() Stats {
	st := Stats{Counts: s.acct.Counts()}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Requests, st.Wire, st.Plain, st.Refused = s.requests, s.wire, s.plain, s.refused
	st.Bad = append(st.Bad, s.bad...)
	st.Strange = append(st.Strange, s.strange...)
	st.LastMilli = time.Since(s.last).Milliseconds()
	return st
}

func (s *sink) control(gates ...*gate) http.Handler {
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // the runner is gone if this fails
	}
	set := func(w http.ResponseWriter, f faults) {
		s.faults.Store(&f)
		for _, g := range gates {
			if f.Down {
				g.shut()
			} else if err := g.open(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		reply(w, f)
	}
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.stats()) })
	mux.HandleFunc("GET /samples", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		reply(w, s.samples)
	})
	mux.HandleFunc("POST /verdict", func(w http.ResponseWriter, r *http.Request) {
		var lines []uint32
		if err := json.NewDecoder(r.Body).Decode(&lines); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		reply(w, s.acct.Judge(lines))
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		s.reset()
		set(w, faults{})
	})
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var f faults
		if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		set(w, f)
	})
	return mux
}
