package output

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/otlp"
)

// otlpHTTP is OTLP over HTTP with protobuf bodies.
type otlpHTTP struct {
	*client
	zip    *compressors
	url    *url.URL
	header http.Header
}

func newOTLPHTTP(c OTLPConfig, u *url.URL) (*otlpHTTP, error) {
	method, err := c.compression(compressGzip, compressNone, compressZstd)
	if err != nil {
		return nil, err
	}
	zip, err := newCompressors(method, c.CompressionLevel)
	if err != nil {
		return nil, err
	}
	if u.Path == "/" {
		u.Path = "/v1/logs"
	}
	cl, err := newClient(c.HTTPConfig, u)
	if err != nil {
		return nil, err
	}
	return &otlpHTTP{client: cl, zip: zip, url: u, header: c.headerFor("application/x-protobuf")}, nil
}

func (o *otlpHTTP) export(ctx context.Context, enc *encoders, parts []record.Part) (exported, error) {
	w := getWork()
	defer w.put()
	a, size, err := o.exchange(ctx, w, o.zip, enc, parts, request{url: o.url, header: o.header, limit: maxAnswer})
	if err != nil {
		return exported{}, err
	}
	if a.status/100 != 2 {
		return exported{}, o.refusedOTLP(a)
	}
	x := exported{size: size}
	if x.rejected, x.message, err = partialSuccess(a); err != nil {
		return exported{}, o.refused(a, "")
	}
	x.refused = a.header.Get(wire.RefusedHeader)
	return x, nil
}

// refusedOTLP adds what the answer's google.rpc.Status says.
func (o *otlpHTTP) refusedOTLP(a answer) *ack.SendError {
	st, err := otlp.ParseStatus(a.body)
	if err != nil || isPage(a.body) {
		return o.refused(a, "")
	}
	e := o.refused(a, plainReason(st.Message))
	if e.Kind == ack.Retry && e.RetryAfter == 0 && st.HasRetryAfter {
		e.RetryAfter = capRetryAfter(time.Duration(st.RetryAfter))
	}
	return e
}

// partialSuccess reads the answer to a request that was taken. Servers that
// answer in JSON, against the specification, are understood.
func partialSuccess(a answer) (rejected int64, message string, err error) {
	if isPage(a.body) {
		return 0, "", errors.New("a web page")
	}
	if typ, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")); typ == "application/json" {
		var j struct {
			PartialSuccess struct {
				RejectedLogRecords json.RawMessage
				ErrorMessage       string
			}
		}
		if len(a.body) == 0 {
			return 0, "", nil
		}
		if err := json.Unmarshal(a.body, &j); err != nil {
			return 0, "", err
		}
		if n := j.PartialSuccess.RejectedLogRecords; n != nil {
			s := string(n)
			if u, err := strconv.Unquote(s); err == nil {
				s = u
			}
			if rejected, err = strconv.ParseInt(s, 10, 64); err != nil {
				return 0, "", err
			}
		}
		return rejected, plainReason(j.PartialSuccess.ErrorMessage), nil
	}
	rejected, message, err = otlp.ParseResponse(a.body)
	return rejected, plainReason(message), err
}

// Probe exports nothing, which is a valid request.
func (o *otlpHTTP) Probe(ctx context.Context) error {
	w := getWork()
	defer w.put()
	a, err := o.post(ctx, w, &request{url: o.url, header: o.header, limit: maxAnswer})
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return o.probe(a)
}
