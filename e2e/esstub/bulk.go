package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/e2e/internal/fault"
	"github.com/weirlog/weir/e2e/internal/journal"
	"github.com/weirlog/weir/e2e/internal/strictjson"
)

// params are the query parameters that the bulk API documents, and the common
// ones.
var params = map[string]bool{
	"pipeline": true, "refresh": true, "routing": true, "_source": true, "_source_excludes": true, "_source_includes": true, "timeout": true,
	"wait_for_active_shards": true, "require_alias": true, "require_data_stream": true, "list_executed_pipelines": true, "include_source_on_error": true,
	"pretty": true, "human": true, "error_trace": true, "filter_path": true, "format": true,
}

// metaKeys are the members of an action that the bulk API documents.
var metaKeys = map[string]bool{
	"_index": true, "_id": true, "routing": true, "version": true, "version_type": true, "if_seq_no": true, "if_primary_term": true,
	"pipeline": true, "require_alias": true, "require_data_stream": true, "retry_on_conflict": true, "dynamic_templates": true,
	"list_executed_pipelines": true, "_source": true,
}

// maxForeign bounds the documents without a mark that GET /_control shows.
const maxForeign = 200

// item is an action with its document and, later, its outcome.
type item struct {
	action string
	index  string
	id     string
	hasID  bool
	doc    []byte

	needStream, needAlias bool // require_data_stream, require_alias

	mark   journal.Mark
	marked bool
	date   bool // has a @timestamp that is a date

	status int
	kind   string // of the error
	reason string
}

func (it *item) refuse(status int, kind, format string, args ...any) {
	it.status, it.kind, it.reason = status, kind, fmt.Sprintf(format, args...)
}

func (s *stub) bulk(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	p, ok := s.body(w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	s.stat.Bulks++
	s.mu.Unlock()
	ct := r.Header.Get("Content-Type")
	if mt, _, err := mime.ParseMediaType(ct); err != nil || mt != "application/x-ndjson" && mt != "application/json" &&
		!strings.HasPrefix(mt, "application/vnd.elasticsearch+") {
		s.lockedViolate("content type %q", ct)
		s.fail(w, r, 406, "media_type_header_exception", "Content-Type header ["+ct+"] is not supported")
		return
	}
	for k := range r.URL.Query() {
		if !params[k] {
			s.lockedViolate("query parameter %q", k)
			s.fail(w, r, 400, "illegal_argument_exception", "request ["+r.URL.Path+"] contains unrecognized parameter: ["+k+"]")
			return
		}
	}
	defaults := item{index: r.PathValue("index")}
	for name, v := range map[string]*bool{"require_data_stream": &defaults.needStream, "require_alias": &defaults.needAlias} {
		if err := setBool(v, r.URL.Query().Get(name)); err != nil {
			s.lockedViolate("query parameter %s: %v", name, err)
			s.fail(w, r, 400, "illegal_argument_exception", err.Error())
			return
		}
	}
	items, kind, reason := parseBulk(p, defaults)
	if reason != "" {
		s.lockedViolate("bulk body: %s", reason)
		s.fail(w, r, 400, kind, reason)
		return
	}
	cfg := s.in.Config()
	for i := range items {
		it := &items[i]
		if it.status != 0 {
			s.lockedViolate("document %d: %s", i, it.reason)
			continue
		}
		if it.action == "delete" {
			continue
		}
		if !it.marked || !poison(cfg, it.mark) {
			continue
		}
		s.acct.Refuse(it.mark)
		s.in.Count("item_400")
		if cfg.PoisonWhole {
			s.fail(w, r, 400, "document_parsing_exception", "failed to parse: poison")
			return
		}
		it.refuse(400, "document_parsing_exception", "[1:1] failed to parse field [took] of type [long] in document with id '%s'.", it.id)
	}
	s.mu.Lock()
	for i := range items {
		if it := &items[i]; it.status == 0 {
			switch {
			case s.in.Draw(cfg.PItem429, "item_429"):
				it.refuse(429, "es_rejected_execution_exception", "rejected execution of TimedRunnable on EsThreadPoolExecutor[name = stub-0/write, queue capacity = 10000]")
			case s.in.Draw(cfg.PItem503, "item_503"):
				it.refuse(503, "unavailable_shards_exception", "[%s][0] primary shard is not active Timeout: [1m]", it.index)
			default:
				s.store(it)
			}
		}
	}
	s.stat.Items += uint64(len(items))
	s.mu.Unlock()
	out := response(items, time.Since(begin))
	if f := r.URL.Query().Get("filter_path"); f != "" {
		if q, err := filterPath(out, strings.Split(f, ",")); err == nil {
			out = q
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Write(out)
}

// poison decides by the record whether it is refused each time.
func poison(cfg fault.Config, m journal.Mark) bool {
	if cfg.PItem400 <= 0 {
		return false
	}
	h := xxh3.HashString("poison" + m.Stream + strconv.FormatUint(m.Seq, 10))
	return float64(h)/float64(math.MaxUint64) < cfg.PItem400
}

// parseBulk splits a body into its items. A wrong action line spoils the whole
// request, and reason says why; a wrong document only its item. Items begin as
// defaults, what the request's path and parameters say.
func parseBulk(p []byte, defaults item) (items []item, kind, reason string) {
	const illegal = "illegal_argument_exception"
	if len(p) == 0 {
		return nil, "parse_exception", "request body is required"
	}
	if p[len(p)-1] != '\n' {
		return nil, illegal, "The bulk request must be terminated by a newline [\\n]"
	}
	var d strictjson.Doc
	for n := 1; len(p) > 0; n++ {
		line, rest, _ := bytes.Cut(p, []byte{'\n'})
		p = rest
		if len(bytes.TrimSpace(line)) == 0 || line[0] != '{' {
			return nil, illegal, fmt.Sprintf("Malformed action/metadata line [%d], expected START_OBJECT", n)
		}
		err := d.Parse(line)
		if err != nil {
			return nil, "x_content_parse_exception", fmt.Sprintf("action/metadata line [%d]: %v", n, err)
		}
		it := defaults
		for _, m := range d.Members {
			switch m.Depth {
			case 1:
				if it.action != "" {
					return nil, illegal, fmt.Sprintf("Malformed action/metadata line [%d], expected FIELD_NAME but found more", n)
				}
				if it.action = string(m.Key); m.Kind != strictjson.Object {
					return nil, illegal, fmt.Sprintf("Malformed action/metadata line [%d], expected START_OBJECT", n)
				}
			case 2:
				if !metaKeys[string(m.Key)] {
					return nil, illegal, fmt.Sprintf("Action/metadata line [%d] contains an unknown parameter [%s]", n, m.Key)
				}
				if k := string(m.Key); (k == "_index" || k == "_id") && m.Kind != strictjson.String {
					return nil, illegal, fmt.Sprintf("Malformed action/metadata line [%d], expected a simple value for field [%s]", n, k)
				}
				switch string(m.Key) {
				case "_index":
					it.index = string(m.Text())
				case "_id":
					it.id, it.hasID = string(m.Text()), true
				case "require_data_stream":
					err = setBool(&it.needStream, string(m.Value))
				case "require_alias":
					err = setBool(&it.needAlias, string(m.Value))
				}
				if err != nil {
					return nil, illegal, fmt.Sprintf("action/metadata line [%d]: %s: %v", n, m.Key, err)
				}
			}
		}
		switch it.action {
		case "create", "index":
		case "delete":
			if !it.hasID {
				return nil, "action_request_validation_exception", "Validation Failed: 1: id is missing;"
			}
			items = append(items, it)
			continue
		case "update":
			return nil, illegal, "the stub knows no updates"
		default:
			return nil, illegal, fmt.Sprintf("Malformed action/metadata line [%d], expected field [create], [delete], [index] or [update] but found [%s]", n, it.action)
		}
		if it.index == "" {
			return nil, "action_request_validation_exception", "Validation Failed: 1: index is missing;"
		}
		if it.hasID && it.id == "" {
			return nil, illegal, "if _id is specified it must not be empty"
		}
		if len(it.id) > 512 {
			return nil, illegal, fmt.Sprintf("id is too long, must be no longer than 512 bytes but was: %d", len(it.id))
		}
		if len(p) == 0 {
			return nil, illegal, fmt.Sprintf("action line [%d] has no document", n)
		}
		n++
		it.doc, p, _ = bytes.Cut(p, []byte{'\n'})
		if err := d.Parse(it.doc); err != nil || len(it.doc) == 0 || it.doc[0] != '{' {
			it.refuse(400, "document_parsing_exception", "failed to parse: line %d: %v", n, err)
		} else if it.mark, it.marked, err = d.Mark(); err != nil {
			it.refuse(400, "document_parsing_exception", "the stub: line %d: %v", n, err)
		} else if ts, ok := d.Find("@timestamp"); ok {
			if it.date = isDate(ts); !it.date {
				it.refuse(400, "document_parsing_exception", "failed to parse field [@timestamp] of type [date]")
			}
		}
		items = append(items, it)
	}
	return items, "", ""
}

// setBool takes a boolean as Elasticsearch does: true, false, or nothing, which
// leaves v as it is.
func setBool(v *bool, text string) error {
	switch text {
	case "true", "false":
		*v = text == "true"
	case "":
	default:
		return fmt.Errorf("failed to parse value [%s] as only [true] or [false] are allowed", text)
	}
	return nil
}

// isDate is strict_date_optional_time||epoch_millis, roughly.
func isDate(m strictjson.Member) bool {
	switch m.Kind {
	case strictjson.Number:
		_, err := strconv.ParseFloat(string(m.Value), 64)
		return err == nil
	case strictjson.String:
		t := string(m.Text())
		if _, err := strconv.ParseFloat(t, 64); err == nil {
			return true
		}
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02", "2006-01-02T15:04Z07:00"} {
			if _, err := time.Parse(layout, t); err == nil {
				return true
			}
		}
	}
	return false
}

// store carries out an item under s.mu. What must be a data stream or an alias
// and is none is refused before anything is made; aliases the stub has none.
func (s *stub) store(it *item) {
	switch {
	case it.needAlias:
		s.violate("require_alias for %s", it.index)
		it.refuse(404, "index_not_found_exception", "no such index [%s] and [require_alias] request flag is [true] and [%[1]s] is not an alias", it.index)
		return
	case it.needStream && !s.isDataStream(it.index):
		s.violate("require_data_stream for %s", it.index)
		it.refuse(404, "index_not_found_exception", "no such index [%s] and [require_data_stream] request flag is [true] and [%[1]s] is not a data stream", it.index)
		return
	}
	idx, err := s.index(it.index)
	if err != nil {
		s.violate("%v", err)
		it.refuse(400, "invalid_index_name_exception", "Invalid %v", err)
		return
	}
	if idx.dataStream {
		switch _, ok := s.indexes[it.index]; {
		case it.action != "create":
			s.violate("%s in data stream %s", it.action, it.index)
			it.refuse(400, "illegal_argument_exception", "only write ops with an op_type of create are allowed in data streams")
			return
		case ok && !it.date:
			s.violate("no @timestamp in data stream %s", it.index)
			it.refuse(400, "document_parsing_exception", "data stream timestamp field [@timestamp] is missing")
			return
		}
	}
	key := xxh3.HashString128(it.index + "\x00" + it.id).Bytes()
	_, there := s.ids[key]
	if it.action == "delete" {
		it.status = 404
		if there {
			delete(s.ids, key)
			idx.docs--
			it.status = 200
		}
		return
	}
	if it.hasID && there && it.action == "create" {
		s.stat.Conflicts++
		if it.marked && !s.acct.Match(it.mark) {
			s.stat.Collisions++
		}
		it.refuse(409, "version_conflict_engine_exception", "[%s]: version conflict, document already exists (current version [1])", it.id)
		return
	}
	s.seq++
	var idHash uint64
	if it.hasID {
		s.ids[key] = struct{}{}
		idHash = xxh3.HashString(it.id) | 1
	} else {
		s.stat.NoID++
		it.id = "stub-" + strconv.FormatUint(s.seq, 36)
	}
	it.status = 201
	if there && it.hasID {
		it.status = 200
		s.stat.Updated++
	} else {
		s.stat.Created++
		idx.docs++
	}
	if it.marked {
		s.acct.Add(it.mark, idHash)
	} else {
		s.acct.Foreign()
		if len(s.foreign) < maxForeign && len(it.doc) < 64<<10 {
			s.foreign = append(s.foreign, bytes.Clone(it.doc))
		}
	}
	if s.opt.keep > 0 {
		h := hit{Index: it.index, ID: it.id, Source: json.RawMessage(bytes.Clone(it.doc))}
		if len(s.kept) < s.opt.keep {
			s.kept = append(s.kept, h)
		} else {
			s.kept[s.keptNext] = h
			s.keptNext = (s.keptNext + 1) % len(s.kept)
		}
	}
}

// response encodes the outcomes.
func response(items []item, took time.Duration) []byte {
	failed := false
	b := make([]byte, 0, 64+160*len(items))
	var list []byte
	quote := func(dst []byte, s string) []byte {
		q, _ := json.Marshal(s)
		return append(dst, q...)
	}
	list = append(list, '[')
	for i := range items {
		it := &items[i]
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, `{"`...)
		list = append(list, it.action...)
		list = append(list, `":{"_index":`...)
		list = quote(list, it.index)
		list = append(list, `,"_id":`...)
		if it.id == "" {
			list = append(list, "null"...)
		} else {
			list = quote(list, it.id)
		}
		if it.kind != "" {
			failed = true
			list = append(list, `,"error":{"type":`...)
			list = quote(list, it.kind)
			list = append(list, `,"reason":`...)
			list = quote(list, it.reason)
			list = append(list, '}')
		} else {
			result := map[int]string{200: "updated", 201: "created", 404: "not_found"}[it.status]
			if it.action == "delete" && it.status == 200 {
				result = "deleted"
			}
			list = append(list, `,"_version":1,"result":"`...)
			list = append(list, result...)
			list = append(list, `","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":0,"_primary_term":1`...)
		}
		list = append(list, `,"status":`...)
		list = strconv.AppendInt(list, int64(it.status), 10)
		list = append(list, "}}"...)
	}
	list = append(list, ']')
	b = append(b, `{"errors":`...)
	b = strconv.AppendBool(b, failed)
	b = append(b, `,"took":`...)
	b = strconv.AppendInt(b, took.Milliseconds(), 10)
	b = append(b, `,"items":`...)
	b = append(b, list...)
	return append(b, '}')
}
