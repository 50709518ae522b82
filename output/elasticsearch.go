package output

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/elastic"
)

// ElasticsearchConfig configures NewElasticsearch.
type ElasticsearchConfig struct {
	HTTPConfig // URL without /_bulk; Compression: gzip (default), zstd, none
	Encoding   elastic.Config
}

// Elasticsearch sends records to Elasticsearch or OpenSearch with the bulk API,
// one item per record. With create and ids an item that is there already
// (409) counts as delivered, so that sending again after a lost answer stores
// nothing twice.
//
// Items are judged one by one: 429, 5xx and what an operator repairs (a missing
// permission, a closed index, a cluster out of shards) is tried again alone;
// any other 4xx is the record's own fault and permanent. Reasons name the
// error's type and the field, not the value.
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
type Elasticsearch struct {
	*client
	enc    *encoders
	zip    *compressors
	url    *url.URL
	header http.Header
	create bool
}

// maxBulkAnswer bounds the answer to a bulk request.
const maxBulkAnswer = 64 << 20

// bulkFilter leaves of the answer what is looked at. The status of every item
// stays, so that items can be counted.
const bulkFilter = "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason"

// NewElasticsearch returns an output to one node or load balancer.
func NewElasticsearch(c ElasticsearchConfig) (*Elasticsearch, error) {
	conf, u, err := c.HTTPConfig.checked("http", "https")
	if err != nil {
		return nil, err
	}
	method, err := conf.compression(compressGzip, compressZstd, compressNone)
	if err != nil {
		return nil, err
	}
	zip, err := newCompressors(method, conf.CompressionLevel)
	if err != nil {
		return nil, err
	}
	enc, err := elastic.New(c.Encoding)
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	if !strings.HasSuffix(u.Path, "/_bulk") {
		u = u.JoinPath("_bulk")
	}
	if !u.Query().Has("filter_path") {
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += bulkFilter
	}
	cl, err := newClient(conf, u)
	if err != nil {
		return nil, err
	}
	cl.shown = strings.TrimSuffix(cl.shown, "?…") // the arguments are ours
	return &Elasticsearch{
		client: cl, zip: zip, url: u, header: conf.headerFor("application/x-ndjson"),
		enc:    newEncoders(enc, func() encoder { return enc.Clone() }),
		create: c.Encoding.DataStream || c.Encoding.Op != elastic.Index,
	}, nil
}

// Send makes one bulk request of the records of parts.
func (o *Elasticsearch) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	w := getWork()
	defer w.put()
	a, size, err := o.exchange(ctx, w, o.zip, o.enc, parts, request{url: o.url, header: o.header, limit: maxBulkAnswer})
	if err != nil {
		return ack.Result{}, err
	}
	if a.status != http.StatusOK {
		return ack.Result{}, o.refused(a, bulkErrorType(a.body))
	}
	items, err := elastic.ParseBulk(a.body, count(parts))
	if err != nil {
		return ack.Result{}, o.refused(a, err.Error())
	}
	return o.judge(parts, items, parseRetryAfter(a.header.Get("Retry-After"), o.conf.Now()), size)
}

// judge turns the items' statuses into the result.
func (o *Elasticsearch) judge(parts []record.Part, items []elastic.Item, after time.Duration, size int) (ack.Result, error) {
	res := ack.Result{Bytes: size, RetryAfter: after}
	at := walker{parts: parts}
	denied := 0
	for k := range items {
		it := &items[k]
		if it.OK() || o.create && it.Status == http.StatusConflict && it.Type == "version_conflict_engine_exception" {
			continue
		}
		if it.Status == http.StatusUnauthorized || it.Status == http.StatusForbidden {
			denied++
		}
		f := ack.Failure{Permanent: permanentItem(it), Reason: itemReason(it)}
		f.Part, f.Record = at.at(k)
		res.Failures = append(res.Failures, f)
	}
	if denied > 0 && denied == len(items) {
		o.files.look()
		return ack.Result{}, &ack.SendError{Kind: ack.Unauthorized, Code: items[0].Status, Err: fmt.Errorf(
			"POST %s: every item was refused: %s; the role needs create_doc and auto_configure on the indexes", o.shown, itemReason(&items[0]))}
	}
	return res, nil
}

// permanentItem reports whether the same record would be refused again.
func permanentItem(it *elastic.Item) bool {
	switch s := it.Status; {
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s < 400, s >= 500:
		return false
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		return false // a permission, or an index made read-only by a full disk
	case s == http.StatusConflict:
		return false // not that of a document's id
	case s == http.StatusBadRequest:
		// Both are the cluster's state, whatever the status says.
		return it.Type != "index_closed_exception" &&
			!(it.Type == "validation_exception" && strings.Contains(it.Reason, "shards"))
	}
	return true
}

// itemReason is what may be told of an item's error: status, type, and the
// name of the field. The reason itself quotes values.
func itemReason(it *elastic.Item) string {
	s := fmt.Sprintf("%d", it.Status)
	if it.Type != "" {
		s += " " + plainWord(it.Type)
	}
	if f := fieldName(it.Reason); f != "" {
		s += " field " + f
	}
	return s
}

// fieldName finds the field an Elasticsearch error is about: "… field [name]
// …" or "… mapping for [name] …".
func fieldName(reason string) string {
	for _, before := range []string{"field [", "mapping for [", "mapper ["} {
		if _, rest, ok := strings.Cut(reason, before); ok {
			if name, _, ok := strings.Cut(rest, "]"); ok {
				return plainWord(name)
			}
		}
	}
	return ""
}

// plainWord returns s shortened and without characters that could be mistaken
// for something else.
func plainWord(s string) string {
	if len(s) > 120 {
		s = s[:120]
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-@/", r) {
			return r
		}
		return '_'
	}, s)
}

// bulkErrorType returns what may be told of a request's refusal.
func bulkErrorType(body []byte) string {
	it := elastic.ParseError(body)
	s := plainWord(it.Type)
	if f := fieldName(it.Reason); f != "" {
		s += " field " + f
	}
	return s
}

// Probe posts an empty bulk request, which Elasticsearch refuses (400) only
// after it has accepted the credentials.
func (o *Elasticsearch) Probe(ctx context.Context) error {
	w := getWork()
	defer w.put()
	a, err := o.post(ctx, w, &request{url: o.url, header: o.header, limit: maxAnswer})
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return o.probe(a)
}
