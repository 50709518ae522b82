package output

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/otlp"
)

// OTLPConfig configures NewOTLP.
type OTLPConfig struct {
	// HTTPConfig's URL is http(s)://host:4318, with the path /v1/logs if it has
	// none, or grpc(s)://host:4317. Compression: gzip (default), none, and zstd
	// over HTTP. Over gRPC headers are metadata, and ProxyFromEnvironment is not
	// supported.
	HTTPConfig
	Encoding otlp.Config
}

// OTLP exports records to an OpenTelemetry collector or any backend that
// speaks OTLP, over HTTP or gRPC.
//
// OTLP takes no ids: an attempt whose answer was lost is repeated, and the
// receiver can tell by the attribute log.record.uid. A partial success says
// how many records were refused but not which; it is Rejected, so that
// bisecting finds them, which sends the others again (with the same
// log.record.uid). Where all of a request were refused, or the receiver is a weir,
// which says which, they are permanent failures, each.
//
// Other than the specification has it, RESOURCE_EXHAUSTED without RetryInfo,
// INTERNAL and UNKNOWN are tried again: they say nothing about the records.
// https://opentelemetry.io/docs/specs/otlp/
type OTLP struct {
	transport
	enc    *encoders
	log    *slog.Logger
	warned atomic.Bool // of a server's remark
}

// transport is OTLP over HTTP or gRPC.
type transport interface {
	// export makes one attempt and returns how many of n records were refused.
	export(ctx context.Context, enc *encoders, parts []record.Part) (exported, error)
	Probe(ctx context.Context) error
	Reloads() (used, failed uint64)
	Close() error
	String() string
	GoString() string
}

type exported struct {
	rejected int64
	refused  string // positions of the rejected ones, of a weir
	message  string // the server's, plain
	size     int
}

// NewOTLP returns an output to one endpoint.
func NewOTLP(c OTLPConfig) (*OTLP, error) {
	conf, u, err := c.HTTPConfig.checked("http", "https", "grpc", "grpcs")
	if err != nil {
		return nil, err
	}
	c.HTTPConfig = conf
	o := &OTLP{log: conf.Logger}
	if strings.HasPrefix(u.Scheme, "grpc") {
		o.transport, err = newOTLPGRPC(c, u)
	} else {
		o.transport, err = newOTLPHTTP(c, u)
	}
	if err != nil {
		return nil, err
	}
	enc := otlp.New(c.Encoding)
	o.enc = newEncoders(enc, func() encoder { return enc.Clone() })
	return o, nil
}

// Send exports the records of parts.
func (o *OTLP) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	x, err := o.export(ctx, o.enc, parts)
	if err != nil {
		return ack.Result{}, err
	}
	n := int64(count(parts))
	switch {
	case x.rejected <= 0:
		if x.message != "" && !o.warned.Swap(true) {
			o.log.Warn("the server took the logs and remarks (said once)", "url", o.String(), "message", x.message)
		}
		return ack.Result{Bytes: x.size}, nil
	case x.rejected == n:
		res := ack.Result{Bytes: x.size, Failures: failAll(nil, parts, "rejected: "+x.message)}
		for i := range res.Failures {
			res.Failures[i].Permanent = true
		}
		return res, nil
	case x.refused != "":
		if failures, ok := o.enc.refused(x.refused, parts, "rejected: "+x.message); ok && int64(len(failures)) == x.rejected {
			return ack.Result{Bytes: x.size, Failures: failures}, nil
		}
	}
	if n == 1 {
		return ack.Result{}, &ack.SendError{Kind: ack.Retry, Err: fmt.Errorf("POST %s: the answer rejects %d records of 1", o, x.rejected)}
	}
	return ack.Result{}, &ack.SendError{Kind: ack.Rejected, Err: fmt.Errorf("POST %s: %d of %d records rejected: %s", o, x.rejected, n, x.message)}
}
