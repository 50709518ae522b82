package output

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/jsonl"
)

// JSONLConfig configures NewJSONL.
type JSONLConfig struct {
	HTTPConfig // Compression: none (default), gzip, zstd
	Encoding   jsonl.Config
	// StreamFields are the names VictoriaLogs makes streams of; nil is
	// DefaultStreamFields. Only for URLs ending in /insert/jsonline.
	StreamFields []string
}

// DefaultStreamFields are the names of VictoriaLogs' stream fields unless
// configured: those whose values last.
var DefaultStreamFields = []string{
	record.AttrCluster, record.AttrNode, record.AttrNamespace, record.AttrPod, record.AttrContainer,
	record.AttrStream, record.AttrInput, record.AttrFile,
}

// JSONL posts newline-delimited JSON to a URL. Any 2xx answer but a web page
// delivers the whole request; 400 and 422 reject it. Nothing in it can be answered for a
// single record, and there are no ids that servers know: delivery is
// at-least-once.
//
// A URL ending in /insert/jsonline is VictoriaLogs': the arguments
// _stream_fields, _time_field and _msg_field are added unless the URL has them.
// https://docs.victoriametrics.com/victorialogs/data-ingestion/#json-stream-api
type JSONL struct {
	*client
	enc    *encoders
	zip    *compressors
	url    *url.URL
	header http.Header
}

// NewJSONL returns an output to one endpoint.
func NewJSONL(c JSONLConfig) (*JSONL, error) {
	conf, u, err := c.HTTPConfig.checked("http", "https")
	if err != nil {
		return nil, err
	}
	method, err := conf.compression(compressNone, compressGzip, compressZstd)
	if err != nil {
		return nil, err
	}
	zip, err := newCompressors(method, conf.CompressionLevel)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(u.Path, "/insert/jsonline") {
		addVictoriaLogsArgs(u, &c)
	}
	cl, err := newClient(conf, u)
	if err != nil {
		return nil, err
	}
	enc := jsonl.New(c.Encoding)
	return &JSONL{
		client: cl, zip: zip, url: u, header: conf.headerFor("application/x-ndjson"),
		enc: newEncoders(enc, func() encoder { return enc.Clone() }),
	}, nil
}

func addVictoriaLogsArgs(u *url.URL, c *JSONLConfig) {
	have := u.Query()
	add := func(name, value string) {
		if have.Has(name) || value == "" {
			return
		}
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += name + "=" + url.QueryEscape(value)
	}
	streams := c.StreamFields
	if streams == nil {
		streams = DefaultStreamFields
	}
	timeKey, msgKey := c.Encoding.Keys.Time, c.Encoding.Keys.Message
	if timeKey == "" {
		timeKey = "_time"
	}
	if msgKey == "" {
		msgKey = "_msg"
	}
	add("_stream_fields", strings.Join(streams, ","))
	add("_time_field", timeKey)
	// The first that a line has: a JSON body keeps its own name for it.
	add("_msg_field", msgKey+",message,msg,log")
}

// Send posts the records of parts.
func (o *JSONL) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	w := getWork()
	defer w.put()
	a, size, err := o.exchange(ctx, w, o.zip, o.enc, parts, request{url: o.url, header: o.header, limit: maxAnswer})
	if err != nil {
		return ack.Result{}, err
	}
	if a.status/100 != 2 || isPage(a.body) {
		return ack.Result{}, o.refused(a, "")
	}
	return ack.Result{Bytes: size}, nil
}

// Probe posts an empty request.
func (o *JSONL) Probe(ctx context.Context) error {
	w := getWork()
	defer w.put()
	a, err := o.post(ctx, w, &request{url: o.url, header: o.header, limit: maxAnswer})
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return o.probe(a)
}
