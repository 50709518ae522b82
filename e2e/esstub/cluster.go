package main

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"
)

// What clients ask about the cluster before they write.

func (s *stub) info(w http.ResponseWriter, r *http.Request) {
	s.answer(w, r, 200, map[string]any{
		"name": "stub-0", "cluster_name": "stub", "cluster_uuid": "c3R1YnN0dWJzdHVic3R1Yg",
		"version": map[string]any{
			"number": s.opt.version, "build_flavor": "default", "build_type": "tar", "build_snapshot": false, "lucene_version": "9.11.1",
			"minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0",
		},
		"tagline": "You Know, for Search",
	})
}

func (s *stub) health(w http.ResponseWriter, r *http.Request) {
	s.answer(w, r, 200, map[string]any{
		"cluster_name": "stub", "status": "green", "timed_out": false, "number_of_nodes": 1, "number_of_data_nodes": 1,
		"active_primary_shards": 1, "active_shards": 1, "unassigned_shards": 0, "active_shards_percent_as_number": 100.0,
	})
}

func (s *stub) cat(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	for _, n := range slices.Sorted(maps.Keys(s.indexes)) {
		fmt.Fprintf(w, "green open %s %d\n", n, s.indexes[n].docs)
	}
}

// catHealth is what clients of the old kind look at to see whether anyone is
// there. https://www.elastic.co/docs/api/doc/elasticsearch/v8/operation/operation-cat-health
func (s *stub) catHealth(w http.ResponseWriter, r *http.Request) {
	now := time.Now().UTC()
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	fmt.Fprintf(w, "%d %s stub green 1 1 1 1 0 0 0 0 - 100.0%%\n", now.Unix(), now.Format("15:04:05"))
}

// nodes is nodes info, as clients that discover nodes ask for it: the one node
// is where the request came to.
// https://www.elastic.co/docs/api/doc/elasticsearch/v8/operation/operation-nodes-info
func (s *stub) nodes(w http.ResponseWriter, r *http.Request) {
	addr := r.Host
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		addr = a.String()
	}
	s.answer(w, r, 200, map[string]any{
		"_nodes": map[string]int{"total": 1, "successful": 1, "failed": 0}, "cluster_name": "stub",
		"nodes": map[string]any{"c3R1Yi0w": map[string]any{
			"name": "stub-0", "transport_address": addr, "host": "127.0.0.1", "ip": "127.0.0.1", "version": s.opt.version, "build_flavor": "default",
			"roles": []string{"data", "ingest", "master"},
			"http":  map[string]any{"bound_address": []string{addr}, "publish_address": addr, "max_content_length_in_bytes": s.opt.maxBody},
		}},
	})
}

// maxStrange bounds the requests that GET /_control lists under "strange".
const maxStrange = 50

// unknown answers what the stub does not know, and remembers it: a client that
// asks for it is not proved to be at home.
func (s *stub) unknown(w http.ResponseWriter, r *http.Request) {
	what := r.Method + " " + r.URL.Path
	s.mu.Lock()
	if _, ok := s.strange[what]; ok || len(s.strange) < maxStrange {
		s.strange[what]++
	}
	s.mu.Unlock()
	s.answer(w, r, 400, map[string]any{"error": "no handler found for uri [" + r.URL.Path + "] and method [" + r.Method + "]", "status": 400})
}
