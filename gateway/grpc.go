package gateway

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirlog/weir/wire/otlp"
)

// The unary calls of gRPC are requests of HTTP/2 with a prefix before the message
// and a status in the trailer. Served as such they are under the same limits as
// every other push: a message is decompressed into a batch, as much of it as there
// is memory for. See docs/decisions/0006-gateway.md.
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

const grpcType = "application/grpc"

// grpcPrefix is a byte that says whether the message is compressed, and its
// length.
const grpcPrefix = 5

// grpcOTLP registers OTLP's service over gRPC, and the one that says that the
// process is well, as Kubernetes' gRPC probes ask.
func (h *HTTP) grpcOTLP(decoders *sync.Pool) {
	h.handle("/opentelemetry.proto.collector.logs.v1.LogsService/Export", endpoint{
		protocol: "otlp_grpc", fail: failGRPC, serve: func(ctx context.Context, u *push) error { return u.grpcOTLP(ctx, decoders) },
	})
	h.mux.HandleFunc("/grpc.health.v1.Health/Check", func(w http.ResponseWriter, r *http.Request) {
		answerGRPC(w, []byte{8, 1}) // SERVING
	})
	// Other methods: gRPC's own answer.
	for _, service := range []string{"/opentelemetry.proto.collector.trace.v1.TraceService/", "/opentelemetry.proto.collector.metrics.v1.MetricsService/", "/grpc.health.v1.Health/"} {
		h.mux.HandleFunc(service, func(w http.ResponseWriter, r *http.Request) {
			failGRPC(w, r, http.StatusNotFound, "unknown method "+clip(r.URL.Path)+": weir takes logs", 0)
		})
	}
}

func (u *push) grpcOTLP(ctx context.Context, decoders *sync.Pool) error {
	if t := u.Header.Get("Content-Type"); t != grpcType && !strings.HasPrefix(t, grpcType+"+") && !strings.HasPrefix(t, grpcType+";") {
		return &httpError{http.StatusUnsupportedMediaType, "the content type is not application/grpc"}
	}
	if t := u.Header.Get("Grpc-Timeout"); t != "" {
		d, ok := grpcTimeout(t)
		if !ok {
			return &httpError{http.StatusBadRequest, fmt.Sprintf("grpc-timeout %q is none", clip(t))}
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	if err := u.readMessage(ctx); err != nil {
		return err
	}
	d := decoders.Get().(*otlp.Decoder)
	var err error
	u.out, err = d.Protobuf(u.b, u.body, u.id.Tenant, u.now)
	decoders.Put(d)
	if err != nil {
		return malformed(err)
	}
	refused, err := u.take(ctx)
	if err != nil {
		return err
	}
	message := ""
	if u.out.Refused > 0 {
		u.tellPositions(refused)
		message = u.summary(refused)
	}
	answerGRPC(u.w, otlp.AppendResponse(nil, int64(u.out.Refused), message, false))
	return nil
}

// readMessage reads the only message of a call into the batch, uncompressed.
func (u *push) readMessage(ctx context.Context) error {
	src, err := u.source()
	if err != nil {
		return err
	}
	defer src.done()
	var prefix [grpcPrefix]byte
	if _, err := io.ReadFull(src, prefix[:]); err != nil {
		if e := src.failure(ctx, err); e != nil {
			return e
		}
		return &httpError{http.StatusBadRequest, "there is no message"}
	}
	size := int64(binary.BigEndian.Uint32(prefix[1:]))
	if size > u.c.Limits.Body {
		return tooLarge(u.c.Limits.Body)
	}
	encoding := ""
	switch prefix[0] {
	case 0:
	case 1:
		if encoding = u.Header.Get("Grpc-Encoding"); encoding == "" || encoding == "identity" {
			return &httpError{http.StatusBadRequest, "the message is compressed, and grpc-encoding does not say how"}
		}
	default:
		return &httpError{http.StatusBadRequest, "the message's prefix is damaged"}
	}
	message := &io.LimitedReader{R: src, N: size}
	if err := u.decode(ctx, src, message, encoding); err != nil {
		return err
	}
	if message.N > 0 {
		// A decompressor that had enough, or a sender that sent less than it said.
		if _, err := io.Copy(io.Discard, message); err != nil || message.N > 0 {
			return &httpError{http.StatusBadRequest, "the message is shorter than its prefix says"}
		}
	}
	if n, _ := src.Read(prefix[:1]); n > 0 {
		return &httpError{http.StatusBadRequest, "a call has one message"}
	}
	return nil
}

// answerGRPC answers with a message.
func answerGRPC(w http.ResponseWriter, message []byte) {
	h := w.Header()
	h.Set("Content-Type", grpcType)
	h.Set("Grpc-Accept-Encoding", "gzip,zstd,snappy,deflate,identity")
	h.Set("Trailer", "Grpc-Status")
	p := make([]byte, grpcPrefix, grpcPrefix+len(message))
	binary.BigEndian.PutUint32(p[1:], uint32(len(message)))
	_, _ = w.Write(append(p, message...)) // who has gone needs no answer
	h.Set("Grpc-Status", "0")
}

// failGRPC answers with a status: a header alone.
func failGRPC(w http.ResponseWriter, r *http.Request, status int, msg string, after time.Duration) {
	h := w.Header()
	if r.ProtoMajor < 2 {
		// No client of gRPC: it would not find the status.
		failText(w, r, http.StatusUpgradeRequired, "gRPC needs HTTP/2", 0)
		return
	}
	code := rpcCode(status)
	st := otlp.Status{Code: code, Message: msg}
	if after > 0 {
		st.RetryAfter, st.HasRetryAfter = int64(after), true
	}
	h.Set("Content-Type", grpcType)
	h.Set("Grpc-Accept-Encoding", "gzip,zstd,snappy,deflate,identity")
	h.Set("Grpc-Status", strconv.Itoa(int(code)))
	h.Set("Grpc-Message", strings.ReplaceAll(url.QueryEscape(msg), "+", "%20"))
	h.Set("Grpc-Status-Details-Bin", base64.RawStdEncoding.EncodeToString(otlp.AppendStatus(nil, st, false)))
	w.WriteHeader(http.StatusOK)
}

// grpcTimeout reads the header: at most eight digits and a unit.
func grpcTimeout(s string) (time.Duration, bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	units := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond}
	unit, ok := units[s[len(s)-1]]
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if !ok || err != nil {
		return 0, false
	}
	if n > uint64(time.Duration(1<<62)/unit) {
		return 1 << 62, true
	}
	return time.Duration(n) * unit, true
}
