package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/weirlog/weir/wire/elastic"
)

func init() { httpProtocols["elasticsearch"] = (*HTTP).elastic }

// elasticVersion is the version of Elasticsearch whose API this is, as far as it
// goes: what clients of 7, 8 and 9 talk to.
const elasticVersion = "8.19.0"

// elasticPrefix is where everything of Elasticsearch is among other protocols.
const elasticPrefix = "/elastic"

// elastic registers Elasticsearch's API for what sends logs to it: below /elastic,
// on a port of its own at the root too, and /_bulk everywhere.
func (h *HTTP) elastic() {
	cache := h.cache("elasticsearch")
	decoders := &sync.Pool{New: func() any { return elastic.NewDecoder(h.cfg.Limits.Records, cache) }}
	e := endpoint{
		protocol: "elasticsearch", fail: failElastic, credentials: elasticCredentials,
		methods: []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete},
		serve:   func(ctx context.Context, u *push) error { return u.elastic(ctx, decoders) },
	}
	h.handle(elasticPrefix, e)
	h.handle(elasticPrefix+"/", e)
	if h.shared {
		h.handle("/_bulk", e)
	} else {
		h.handle("/", e)
	}
}

// elasticCredentials reads Authorization: ApiKey base64(id:key). The key is the
// token.
func elasticCredentials(r *http.Request, c *Credentials) {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "ApiKey") {
		return
	}
	c.Token = strings.TrimSpace(key)
	if p, err := base64.StdEncoding.DecodeString(c.Token); err == nil {
		if _, token, ok := strings.Cut(string(p), ":"); ok {
			c.Token = token
		}
	}
}

// elastic answers every request of the protocol.
func (u *push) elastic(ctx context.Context, decoders *sync.Pool) error {
	elasticHeader(u.w, u.Request)
	path := strings.Trim(strings.TrimPrefix(u.URL.Path, elasticPrefix), "/")
	index, verb, _ := strings.Cut(path, "/")
	doc, id, _ := strings.Cut(verb, "/")
	write := u.Method == http.MethodPost || u.Method == http.MethodPut
	switch {
	case write && (path == "_bulk" || doc == "_bulk" || strings.HasSuffix(path, "/_bulk")):
		// Also /index/type/_bulk, which clients of 6 and before write.
		if path == "_bulk" {
			index = ""
		}
		return u.bulk(ctx, decoders, index)
	case write && !strings.HasPrefix(index, "_") && (doc == "_doc" || doc == "_create"):
		return u.document(ctx, decoders, index, id)
	}
	u.counters = u.h.stats.of("elasticsearch_api")
	return u.elasticAPI(path)
}

// elasticHeader sets what clients look at before they look at the answer.
func elasticHeader(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	t := "application/json"
	if a := r.Header.Get("Accept"); strings.HasPrefix(a, "application/vnd.elasticsearch+json") {
		t = "application/vnd.elasticsearch+json"
		for _, v := range []string{"7", "8", "9"} {
			if strings.HasSuffix(strings.TrimSpace(a), "compatible-with="+v) {
				t += ";compatible-with=" + v
			}
		}
	}
	w.Header().Set("Content-Type", t)
}

// bulk answers _bulk: 200 with the status of every item, in order. The items that
// were taken are durable. Under load nothing is taken: 429 or 503 for the request,
// upon which clients send it again.
func (u *push) bulk(ctx context.Context, decoders *sync.Pool, index string) error {
	if err := u.readBody(ctx, false); err != nil {
		return err
	}
	d := decoders.Get().(*elastic.Decoder)
	defer decoders.Put(d)
	actions, out, err := d.Decode(u.b, u.body, index, u.id.Tenant, u.now)
	u.out = out
	if err != nil {
		return malformed(err)
	}
	if len(actions) == 0 {
		return &httpError{http.StatusBadRequest, "request body is required"}
	}
	// The answer is written before the batch has gone, with the names that are in
	// it.
	a := newBulkAnswer(u.URL.Query().Get("filter_path"))
	for i := range actions {
		it := &actions[i]
		name := u.b.Bytes(it.Index)
		if it.Index.Len == 0 {
			name = []byte(index)
		}
		a.add(it, name, u.b.Bytes(it.ID), u.now, i)
	}
	var refused []Refusal
	if u.b.NumRecords() > 0 {
		if refused, err = u.take(ctx); err != nil {
			return err
		}
	}
	took := u.h.cfg.Now().Sub(time.Unix(0, u.now)).Milliseconds()
	_, _ = u.w.Write(a.finish(actions, refused, took)) // who has gone needs no answer
	return nil
}

// document answers /index/_doc and the like: one document.
func (u *push) document(ctx context.Context, decoders *sync.Pool, index, id string) error {
	if err := u.readBody(ctx, false); err != nil {
		return err
	}
	d := decoders.Get().(*elastic.Decoder)
	out, err := d.Document(u.b, u.body, index, id, u.id.Tenant, u.now)
	decoders.Put(d)
	u.out = out
	if err != nil {
		return malformed(err)
	}
	refused, err := u.take(ctx)
	if err != nil {
		return err
	}
	if len(refused) > 0 {
		return &httpError{http.StatusBadRequest, refused[0].Reason}
	}
	if id == "" {
		id = madeID(u.now, 0)
	}
	u.w.WriteHeader(http.StatusCreated)
	_, _ = fmt.Fprintf(u.w, `{"_index":%s,"_id":%s,"_version":1,"result":"created","_shards":{"total":1,"successful":1,"failed":0},"_seq_no":0,"_primary_term":1}`, quote(index), quote(id))
	return nil
}

// elasticErrorType is the type of an exception with that status.
func elasticErrorType(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "security_exception"
	case http.StatusNotFound:
		return "resource_not_found_exception"
	case http.StatusRequestEntityTooLarge:
		return "content_too_long_exception"
	case http.StatusTooManyRequests:
		return "es_rejected_execution_exception"
	case http.StatusServiceUnavailable:
		return "unavailable_shards_exception"
	case http.StatusUnsupportedMediaType:
		return "media_type_header_exception"
	}
	if status >= 500 {
		return "exception"
	}
	return "illegal_argument_exception"
}

// failElastic answers with an error as Elasticsearch writes it.
func failElastic(w http.ResponseWriter, r *http.Request, status int, msg string, _ time.Duration) {
	elasticHeader(w, r)
	w.WriteHeader(status)
	p := []byte(`{"error":{"root_cause":[`)
	one := appendCause(nil, elasticErrorType(status), msg)
	p = append(append(p, one...), `}],`...)
	p = append(append(p, one[1:]...), `},"status":`...)
	p = fmt.Appendf(p, "%d}", status)
	_, _ = w.Write(p) // who has gone needs no answer
}

var errNotThere = errors.New("not there")

// elasticAPI answers what clients ask before they send, so that they go on: this
// is no Elasticsearch, and templates, policies and pipelines that they want to be
// there are the business of the real one behind.
func (u *push) elasticAPI(path string) error {
	body, err := elasticInfo(u.Method, path, u.Host)
	if errors.Is(err, errNotThere) {
		return &httpError{http.StatusNotFound, fmt.Sprintf("there is no [%s] here: weir takes _bulk and answers what clients ask before it", clip(u.URL.Path))}
	}
	if err != nil {
		return err
	}
	u.w.WriteHeader(http.StatusOK)
	_, _ = u.w.Write([]byte(body)) // who has gone needs no answer
	return nil
}

// elasticInfo is the answer to a request that is none for documents.
func elasticInfo(method, path, host string) (string, error) {
	read := method == http.MethodGet || method == http.MethodHead
	first, rest, _ := strings.Cut(path, "/")
	const license = `"uid":"00000000-0000-0000-0000-000000000000","type":"basic","mode":"basic","status":"active"`
	switch {
	case read && path == "":
		return `{"name":"weir","cluster_name":"weir","cluster_uuid":"d2VpciBpcyBubyBFUyEhISE","version":{"number":"` + elasticVersion +
			`","build_flavor":"default","build_type":"tar","build_hash":"0000000","build_date":"2025-07-23T00:00:00.000000000Z","build_snapshot":false,` +
			`"lucene_version":"9.12.2","minimum_wire_compatibility_version":"7.17.0","minimum_index_compatibility_version":"7.0.0"},"tagline":"You Know, for Search"}`, nil
	case read && (path == "_license" || path == "_xpack/license"):
		return `{"license":{` + license + `}}`, nil
	case read && path == "_xpack":
		return `{"build":{"hash":"0000000","date":"2025-07-23T00:00:00.000000000Z"},"license":{` + license + `},"features":{"ilm":{"available":true,"enabled":true},"security":{"available":true,"enabled":false},"data_streams":{"available":true,"enabled":true}},"tagline":"You know, for X"}`, nil
	case read && strings.HasPrefix(path, "_cluster/health"):
		return `{"cluster_name":"weir","status":"green","timed_out":false,"number_of_nodes":1,"number_of_data_nodes":1,"active_primary_shards":1,"active_shards":1,"relocating_shards":0,"initializing_shards":0,"unassigned_shards":0,"delayed_unassigned_shards":0,"number_of_pending_tasks":0,"number_of_in_flight_fetch":0,"task_max_waiting_in_queue_millis":0,"active_shards_percent_as_number":100.0}`, nil
	case read && path == "_cluster/settings":
		return `{"persistent":{},"transient":{}}`, nil
	case read && (path == "_nodes" || strings.HasPrefix(path, "_nodes/")):
		// Clients that look for nodes find the one that they have asked.
		return `{"_nodes":{"total":1,"successful":1,"failed":0},"cluster_name":"weir","nodes":{"weir":{"name":"weir","version":"` + elasticVersion +
			`","roles":["data","ingest","master"],"attributes":{},"http":{"bound_address":[` + quote(host) + `],"publish_address":` + quote(host) + `,"max_content_length_in_bytes":20971520}}}}`, nil
	case read && path == "_cat/templates", read && path == "_cat/indices":
		return `[]`, nil
	case read && (path == "_alias" || path == "_aliases" || path == "_template" || path == "_ilm/policy" || path == "_ingest/pipeline"):
		return `{}`, nil
	case read && path == "_ilm/status":
		return `{"operation_mode":"RUNNING"}`, nil
	case method == http.MethodPost && (first == "_refresh" || first == "_flush" || strings.HasSuffix(path, "/_refresh") || strings.HasSuffix(path, "/_flush")):
		return `{"_shards":{"total":1,"successful":1,"failed":0}}`, nil
	case !read && rest != "" && (first == "_template" || first == "_index_template" || first == "_component_template" || first == "_ilm" || first == "_ingest" || first == "_data_stream" || first == "_plugins" || first == "_opendistro"),
		!read && path == "_aliases":
		return `{"acknowledged":true}`, nil
	case method == http.MethodPut && first != "" && first[0] != '_':
		if rest == "" {
			return `{"acknowledged":true,"shards_acknowledged":true,"index":` + quote(first) + `}`, nil
		}
		return `{"acknowledged":true}`, nil // its mapping, settings or alias
	}
	return "", errNotThere
}
