package main

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/weirlog/weir/e2e/internal/account"
	"github.com/weirlog/weir/e2e/internal/fault"
)

type options struct {
	maxBody int64
	keep    int
	version string
	user    string
	apiKey  string
}

// stub is the server. Documents are kept as a hash of their id and what the
// account keeps; only the last few whole.
type stub struct {
	opt  options
	acct *account.Account
	in   *fault.Injector
	mux  *http.ServeMux // paths that begin with an underscore, and the root
	imux *http.ServeMux // paths that begin with the name of an index

	mu         sync.Mutex
	indexes    map[string]*index
	templates  map[string]template
	ids        map[[16]byte]struct{}
	kept       []hit // ring
	keptNext   int
	foreign    []json.RawMessage // stored documents without a mark, the first few
	seq        uint64
	stat       stats
	violations []string
	strange    map[string]uint64 // requests that the stub has no answer for
}

type index struct {
	name       string
	dataStream bool
	docs       uint64
}

type template struct {
	raw        json.RawMessage
	patterns   []string
	dataStream bool
}

type hit struct {
	Index  string          `json:"_index"`
	ID     string          `json:"_id"`
	Score  float64         `json:"_score"`
	Source json.RawMessage `json:"_source"`
}

// stats are the stub's own counters.
type stats struct {
	Bulks      uint64 `json:"bulks"`
	Items      uint64 `json:"items"`
	Created    uint64 `json:"created"`
	Updated    uint64 `json:"updated"`      // an index operation replaced a document
	Conflicts  uint64 `json:"conflicts"`    // create of an id that is there: 409
	Collisions uint64 `json:"collisions"`   // of these, with other bytes than any stored before
	NoID       uint64 `json:"no_id"`        // documents without an id
	Violations uint64 `json:"violations"`   // anything the strict checks found wrong
	TooLarge   uint64 `json:"too_large"`    // bodies answered with 413
	BodyBytes  uint64 `json:"body_bytes"`   // uncompressed
	LargestRaw uint64 `json:"largest_body"` // uncompressed
	Gzip       uint64 `json:"gzip"`         // bodies that came compressed
}

func newStub(o options, a *account.Account, in *fault.Injector) *stub {
	s := &stub{
		opt: o, acct: a, in: in, mux: http.NewServeMux(), imux: http.NewServeMux(),
		indexes: make(map[string]*index), templates: make(map[string]template), ids: make(map[[16]byte]struct{}),
		strange: make(map[string]uint64),
	}
	bulk := in.Wrap(http.HandlerFunc(s.bulk), s.refuse)
	for _, m := range []string{"POST", "PUT"} {
		s.mux.Handle(m+" /_bulk", bulk)
		s.imux.Handle(m+" /{index}/_bulk", bulk)
	}
	h := func(pattern string, f http.HandlerFunc) {
		mux := s.mux
		if strings.Contains(pattern, " /{index}") {
			mux = s.imux
		}
		mux.Handle(pattern, f)
	}
	h("GET /{$}", s.info)
	h("GET /_cluster/health", s.health)
	h("GET /_cluster/health/{index}", s.health)
	h("GET /_license", func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, 200, map[string]any{"license": map[string]any{"status": "active", "uid": "0", "type": "basic"}})
	})
	for _, p := range []string{"/_refresh", "/{index}/_refresh"} {
		for _, m := range []string{"GET ", "POST "} {
			h(m+p, func(w http.ResponseWriter, r *http.Request) {
				s.answer(w, r, 200, map[string]any{"_shards": map[string]int{"total": 1, "successful": 1, "failed": 0}})
			})
		}
	}
	for _, p := range []string{"/_count", "/{index}/_count"} {
		h("GET "+p, s.count)
		h("POST "+p, s.count)
	}
	for _, p := range []string{"/_search", "/{index}/_search"} {
		h("GET "+p, s.search)
		h("POST "+p, s.search)
	}
	h("PUT /_index_template/{name}", s.putTemplate)
	h("POST /_index_template/{name}", s.putTemplate)
	h("GET /_index_template/{name}", s.getTemplate)
	h("DELETE /_index_template/{name}", s.deleteTemplate)
	for _, kind := range []string{"_component_template", "_ilm/policy", "_ingest/pipeline"} {
		h("PUT /"+kind+"/{name}", func(w http.ResponseWriter, r *http.Request) {
			if p, ok := s.body(w, r); ok && !json.Valid(p) {
				s.fail(w, r, 400, "parse_exception", "the body is not JSON")
				return
			}
			s.answer(w, r, 200, map[string]any{"acknowledged": true})
		})
		h("GET /"+kind+"/{name}", func(w http.ResponseWriter, r *http.Request) {
			s.fail(w, r, 404, "resource_not_found_exception", kind+" ["+r.PathValue("name")+"] not found")
		})
	}
	h("GET /_cat/indices", s.cat)
	h("GET /_cat/health", s.catHealth)
	h("GET /_nodes/http", s.nodes)
	h("PUT /_data_stream/{name}", s.putDataStream)
	h("PUT /{index}", s.putIndex)
	h("GET /{index}", s.getIndex)
	s.mux.HandleFunc("/", s.unknown)
	s.imux.HandleFunc("/", s.unknown)
	return s
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	if s.opt.user != "" || s.opt.apiKey != "" {
		user, pass, basic := r.BasicAuth()
		key, isKey := strings.CutPrefix(r.Header.Get("Authorization"), "ApiKey ")
		if !(s.opt.user != "" && basic && user+":"+pass == s.opt.user || s.opt.apiKey != "" && isKey && key == s.opt.apiKey) {
			w.Header().Add("WWW-Authenticate", `Basic realm="security", charset="UTF-8"`)
			w.Header().Add("WWW-Authenticate", "ApiKey")
			s.fail(w, r, 401, "security_exception", "missing authentication credentials for REST request ["+r.URL.Path+"]")
			return
		}
	}
	if r.URL.Path == "/" || strings.HasPrefix(r.URL.Path, "/_") {
		s.mux.ServeHTTP(w, r)
		return
	}
	s.imux.ServeHTTP(w, r)
}

// state is what GET /_control adds.
func (s *stub) state() map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	docs := make(map[string]uint64)
	for n, i := range s.indexes {
		docs[n] = i.docs
	}
	return map[string]any{"stub": s.stat, "indexes": docs, "violations": slices.Clone(s.violations), "foreign": slices.Clone(s.foreign), "strange": maps.Clone(s.strange)}
}

// violate counts something that a client must never send.
func (s *stub) violate(format string, args ...any) {
	s.stat.Violations++
	if len(s.violations) < 20 {
		s.violations = append(s.violations, fmt.Sprintf(format, args...))
	}
}

func (s *stub) lockedViolate(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violate(format, args...)
}

// answer writes v as JSON, reduced by filter_path if the request has one.
func (s *stub) answer(w http.ResponseWriter, r *http.Request, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	p, err := json.Marshal(v)
	if err == nil && r.URL.Query().Has("filter_path") {
		p, err = filterPath(p, strings.Split(r.URL.Query().Get("filter_path"), ","))
	}
	if err != nil {
		http.Error(w, err.Error(), 500)
		return
	}
	w.WriteHeader(status)
	w.Write(p)
}

func (s *stub) fail(w http.ResponseWriter, r *http.Request, status int, kind, reason string) {
	cause := map[string]any{"type": kind, "reason": reason}
	s.answer(w, r, status, map[string]any{
		"error":  map[string]any{"root_cause": []any{cause}, "type": kind, "reason": reason},
		"status": status,
	})
}

// refuse answers for faults that concern the whole request.
func (s *stub) refuse(w http.ResponseWriter, status int) {
	kind, reason := "es_rejected_execution_exception", "rejected execution of coordinating operation"
	switch status {
	case 503:
		kind, reason = "cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];"
	case 401:
		kind, reason = "security_exception", "unable to authenticate"
	}
	s.fail(w, &http.Request{URL: &zeroURL}, status, kind, reason)
}

// body reads the request's body, decompressed and within the limit; if it
// cannot, it has answered.
func (s *stub) body(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	var src io.Reader = r.Body
	zipped := false
	switch e := r.Header.Get("Content-Encoding"); e {
	case "", "identity":
	case "gzip":
		zipped = true
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			// A client that died in the middle has broken no rule.
			var gone *net.OpError
			if !errors.As(err, &gone) && !errors.Is(err, io.ErrUnexpectedEOF) {
				s.lockedViolate("gzip body: %v", err)
			}
			s.fail(w, r, 400, "parse_exception", "the gzip body cannot be read")
			return nil, false
		}
		src = z
	default:
		s.lockedViolate("content encoding %q", e)
		s.fail(w, r, 415, "illegal_argument_exception", "Content-Encoding ["+e+"] is not supported")
		return nil, false
	}
	hint := max(r.ContentLength, 512)
	if hint > 32<<20 {
		hint = 32 << 20
	}
	p := make([]byte, 0, hint+512)
	limited := io.LimitReader(src, s.opt.maxBody+1)
	for {
		if len(p) == cap(p) {
			p = append(p, 0)[:len(p)]
		}
		n, err := limited.Read(p[len(p):cap(p)])
		p = p[:len(p)+n]
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			s.fail(w, r, 400, "parse_exception", "the body cannot be read: "+err.Error())
			return nil, false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if zipped {
		s.stat.Gzip++
	}
	s.stat.BodyBytes += uint64(len(p))
	s.stat.LargestRaw = max(s.stat.LargestRaw, uint64(len(p)))
	if int64(len(p)) > s.opt.maxBody {
		s.stat.TooLarge++
		s.fail(w, r, 413, "content_too_long_exception", fmt.Sprintf("entity content is too long for the configured buffer limit [%d]", s.opt.maxBody))
		return nil, false
	}
	return p, true
}

// match reports whether an index expression (names, commas, *) selects name.
func match(expr, name string) bool {
	if expr == "" || expr == "_all" {
		return true
	}
	for e := range strings.SplitSeq(expr, ",") {
		if wildcard(e, name) {
			return true
		}
	}
	return false
}

func wildcard(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	if !strings.HasPrefix(name, parts[0]) {
		return false
	}
	name = name[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(name, p)
		if i < 0 {
			return false
		}
		name = name[i+len(p):]
	}
	return strings.HasSuffix(name, parts[len(parts)-1])
}

func (s *stub) count(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n uint64
	for name, i := range s.indexes {
		if match(r.PathValue("index"), name) {
			n += i.docs
		}
	}
	s.answer(w, r, 200, map[string]any{"count": n, "_shards": map[string]int{"total": 1, "successful": 1, "skipped": 0, "failed": 0}})
}

// search is match_all with from and size over the documents that are kept.
func (s *stub) search(w http.ResponseWriter, r *http.Request) {
	req := struct {
		From int `json:"from"`
		Size int `json:"size"`
	}{0, 10}
	if p, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)); len(p) > 0 {
		if err := json.Unmarshal(p, &req); err != nil {
			s.fail(w, r, 400, "parsing_exception", err.Error())
			return
		}
	}
	for name, v := range map[string]*int{"from": &req.From, "size": &req.Size} {
		if t := r.FormValue(name); t != "" {
			if n, err := strconv.Atoi(t); err == nil && n >= 0 {
				*v = n
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var total uint64
	for name, i := range s.indexes {
		if match(r.PathValue("index"), name) {
			total += i.docs
		}
	}
	var hits []hit
	for i := range s.kept {
		h := s.kept[(s.keptNext+i)%len(s.kept)]
		if match(r.PathValue("index"), h.Index) {
			h.Score = 1
			hits = append(hits, h)
		}
	}
	from := min(max(req.From, 0), len(hits))
	hits = append([]hit{}, hits[from:min(from+max(req.Size, 0), len(hits))]...)
	s.answer(w, r, 200, map[string]any{
		"took": 1, "timed_out": false, "_shards": map[string]int{"total": 1, "successful": 1, "skipped": 0, "failed": 0},
		"hits": map[string]any{"total": map[string]any{"value": total, "relation": "eq"}, "max_score": 1.0, "hits": hits},
	})
}

func (s *stub) putTemplate(w http.ResponseWriter, r *http.Request) {
	p, ok := s.body(w, r)
	if !ok {
		return
	}
	var t struct {
		Patterns   []string        `json:"index_patterns"`
		DataStream json.RawMessage `json:"data_stream"`
		Template   json.RawMessage `json:"template"`
		Priority   int             `json:"priority"`
		ComposedOf []string        `json:"composed_of"`
		Version    int             `json:"version"`
		Meta       json.RawMessage `json:"_meta"`
		AutoCreate *bool           `json:"allow_auto_create"`
		Ignore     []string        `json:"ignore_missing_component_templates"`
		Deprecated *bool           `json:"deprecated"`
	}
	d := json.NewDecoder(strings.NewReader(string(p)))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil || len(t.Patterns) == 0 {
		s.lockedViolate("index template %s: %v", r.PathValue("name"), err)
		s.fail(w, r, 400, "x_content_parse_exception", fmt.Sprintf("[index_template] bad template: %v, %d patterns", err, len(t.Patterns)))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.templates[r.PathValue("name")] = template{raw: p, patterns: t.Patterns, dataStream: t.DataStream != nil}
	s.answer(w, r, 200, map[string]any{"acknowledged": true})
}

func (s *stub) getTemplate(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("name")
	var found []any
	for _, n := range slices.Sorted(maps.Keys(s.templates)) {
		if match(name, n) {
			found = append(found, map[string]any{"name": n, "index_template": s.templates[n].raw})
		}
	}
	if found == nil {
		s.fail(w, r, 404, "resource_not_found_exception", "index template matching ["+name+"] not found")
		return
	}
	s.answer(w, r, 200, map[string]any{"index_templates": found})
}

func (s *stub) deleteTemplate(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.templates, r.PathValue("name"))
	s.answer(w, r, 200, map[string]any{"acknowledged": true})
}

func (s *stub) putDataStream(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("name")
	if _, err := s.index(name); err != nil {
		s.fail(w, r, 400, "invalid_index_name_exception", "Invalid "+err.Error())
		return
	}
	s.answer(w, r, 200, map[string]any{"acknowledged": true})
}

func (s *stub) putIndex(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("index")
	if s.indexes[name] != nil {
		s.fail(w, r, 400, "resource_already_exists_exception", "index ["+name+"] already exists")
		return
	}
	if _, err := s.index(name); err != nil {
		s.fail(w, r, 400, "invalid_index_name_exception", "Invalid "+err.Error())
		return
	}
	s.answer(w, r, 200, map[string]any{"acknowledged": true, "shards_acknowledged": true, "index": name})
}

func (s *stub) getIndex(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("index")
	if s.indexes[name] == nil {
		s.fail(w, r, 404, "index_not_found_exception", "no such index ["+name+"]")
		return
	}
	s.answer(w, r, 200, map[string]any{name: map[string]any{"aliases": map[string]any{}, "mappings": map[string]any{}, "settings": map[string]any{}}})
}

// index returns the index or data stream of that name, made if its name is
// allowed.
func (s *stub) index(name string) (*index, error) {
	if i := s.indexes[name]; i != nil {
		return i, nil
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	i := &index{name: name, dataStream: s.isDataStream(name)}
	s.indexes[name] = i
	return i, nil
}

// isDataStream follows the templates, of which logs-*-*, metrics-*-* and
// traces-*-* are built in.
func (s *stub) isDataStream(name string) bool {
	for _, p := range []string{"logs-*-*", "metrics-*-*", "traces-*-*"} {
		if wildcard(p, name) {
			return true
		}
	}
	for _, t := range s.templates {
		for _, p := range t.patterns {
			if t.dataStream && wildcard(p, name) {
				return true
			}
		}
	}
	return false
}

// checkName applies the documented rules for names of indexes.
func checkName(name string) error {
	bad := func(why string) error { return fmt.Errorf("index name [%s], %s", name, why) }
	switch {
	case name == "":
		return bad("must not be empty")
	case name == "." || name == "..":
		return bad("must not be '.' or '..'")
	case len(name) > 255:
		return bad(fmt.Sprintf("index name is too long, (%d > 255)", len(name)))
	case strings.ContainsAny(name, `\/*?"<>| ,#:`):
		return bad(`must not contain the following characters [' ','"','*',',','/','<','>','?','\','|','#',':']`)
	case name[0] == '_' || name[0] == '-' || name[0] == '+':
		return bad("must not start with '_', '-', or '+'")
	case strings.ToLower(name) != name:
		return bad("must be lowercase")
	}
	return nil
}
