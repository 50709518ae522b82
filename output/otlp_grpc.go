package output

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/otlp"
)

// exportMethod is the service's only one.
const exportMethod = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"

// otlpGRPC is OTLP over gRPC. Its connection is replaced under the rules of
// client's generations; an old one is closed when its last call has ended.
type otlpGRPC struct {
	conf   HTTPConfig
	target string
	tls    bool
	shown  string
	gzip   bool
	files  *material
	dial   *dialer
	md     metadata.MD

	mu     sync.Mutex
	gen    *grpcConn
	closed bool
}

// grpcConn is one generation.
type grpcConn struct {
	conn    *grpc.ClientConn
	until   time.Time // when a new one takes its place
	version int
	users   int // calls under way, and one while it is the present generation
}

func newOTLPGRPC(c OTLPConfig, u *url.URL) (*otlpGRPC, error) {
	method, err := c.compression(compressGzip, compressNone)
	if err != nil {
		return nil, err
	}
	switch {
	case c.CompressionLevel != 0:
		return nil, errors.New("output: over gRPC the compression level cannot be chosen")
	case c.ProxyFromEnvironment:
		return nil, errors.New("output: a proxy is not supported over gRPC; use http(s)://host:4318")
	case u.Path != "/" || u.RawQuery != "":
		return nil, fmt.Errorf("output: URL %s: over gRPC there is no path; write %s://%s", redactURL(u), u.Scheme, u.Host)
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "4317")
	}
	files, err := newMaterial(&c.HTTPConfig)
	if err != nil {
		return nil, fmt.Errorf("output %s: %w", redactURL(u), err)
	}
	md := metadata.MD{}
	for k, v := range c.Headers {
		if k = strings.ToLower(k); strings.HasPrefix(k, "grpc-") {
			return nil, fmt.Errorf("output: header %q is gRPC's own", k)
		}
		md.Set(k, string(v))
	}
	return &otlpGRPC{
		conf: c.HTTPConfig, target: host, tls: u.Scheme == "grpcs", shown: c.shown(&url.URL{Scheme: u.Scheme, Host: u.Host}), gzip: method == compressGzip,
		files: files, dial: newDialer(c.Resolver, c.Timeout, c.Address), md: md,
	}, nil
}

func (o *otlpGRPC) String() string   { return o.shown }
func (o *otlpGRPC) GoString() string { return o.shown }

func (o *otlpGRPC) Reloads() (used, failed uint64) { return o.files.stats() }

// Close closes the connection when the calls under way have ended.
func (o *otlpGRPC) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return o.retire()
}

// acquire returns the connection to use now; the caller must release it.
func (o *otlpGRPC) acquire() (*grpcConn, snapshot, error) {
	snap := o.files.current()
	now := o.conf.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, snap, errClosed
	}
	if g := o.gen; g != nil && (g.version < snap.version || !now.Before(g.until)) {
		if err := o.retire(); err != nil {
			o.conf.Logger.Debug("closing an old connection failed", "url", o.shown, "error", err)
		}
	}
	if o.gen == nil {
		conn, err := o.connect(snap)
		if err != nil {
			return nil, snap, err
		}
		o.gen = &grpcConn{conn: conn, until: now.Add(o.conf.lifetime()), version: snap.version, users: 1}
	}
	o.gen.users++
	return o.gen, snap, nil
}

func (o *otlpGRPC) connect(snap snapshot) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if o.tls {
		creds = credentials.NewTLS(snap.tls.Clone())
	}
	// passthrough: the dialer looks the host up, for every connection.
	return grpc.NewClient("passthrough:///"+o.target,
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return o.dial.dial(ctx, "tcp", addr) }),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: lostPeer / 2, Timeout: lostPeer / 2}),
		grpc.WithUserAgent(o.conf.userAgent()),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(maxAnswer)),
	)
}

// release ends a use of g. After a failed attempt nobody else begins one.
func (o *otlpGRPC) release(g *grpcConn, failed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := o.unuse(g)
	if failed && o.gen == g {
		err = errors.Join(err, o.retire())
	}
	if err != nil {
		o.conf.Logger.Debug("closing a connection failed", "url", o.shown, "error", err)
	}
}

func (o *otlpGRPC) retire() error {
	g := o.gen
	o.gen = nil
	if g == nil {
		return nil
	}
	return o.unuse(g)
}

func (o *otlpGRPC) unuse(g *grpcConn) error {
	if g.users--; g.users == 0 {
		return g.conn.Close()
	}
	return nil
}

func (o *otlpGRPC) export(ctx context.Context, enc *encoders, parts []record.Part) (exported, error) {
	w := getWork()
	e := enc.get()
	w.raw = e.Append(w.raw[:0], parts)
	enc.put(e)
	size := len(w.raw)
	var head metadata.MD
	answer, err := o.call(ctx, w, grpc.Header(&head))
	if err != nil {
		return exported{}, err
	}
	x := exported{size: size}
	if x.rejected, x.message, err = otlp.ParseResponse(answer); err != nil {
		return exported{}, &ack.SendError{Kind: ack.Retry, Err: fmt.Errorf("POST %s: %w", o.shown, err)}
	}
	x.message = plainReason(x.message)
	if v := head.Get(wire.RefusedHeader); len(v) == 1 {
		x.refused = v[0]
	}
	return x, nil
}

// call sends w.raw and gives w away: gRPC puts it back when it has let go of
// the bytes, which may be after the call.
func (o *otlpGRPC) call(ctx context.Context, w *work, opts ...grpc.CallOption) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.conf.Timeout, errAttemptTimeout)
	defer cancel()
	g, snap, err := o.acquire()
	if err != nil {
		w.put()
		return nil, &ack.SendError{Kind: ack.Retry, Err: fmt.Errorf("POST %s: %w", o.shown, err)}
	}
	md := o.md
	if a := o.conf.Auth.header(snap.token); a != "" {
		md = o.md.Copy()
		md.Set("authorization", a)
	}
	ctx = metadata.NewOutgoingContext(ctx, md)
	if o.gzip {
		opts = append(opts, grpc.UseCompressor(compressGzip))
	}
	var answer []byte
	err = g.conn.Invoke(ctx, exportMethod, w, &answer, opts...)
	st := status.Convert(err)
	if st.Code() == codes.Unimplemented && o.gzip && strings.Contains(st.Message(), "ecompressor") {
		o.conf.Logger.Warn("the server does not know gzip; set compression: none", "url", o.shown)
	}
	if st.Code() == codes.Unauthenticated || st.Code() == codes.PermissionDenied {
		o.files.look()
	}
	lost := st.Code() == codes.Unavailable || st.Code() == codes.DeadlineExceeded
	o.release(g, lost)
	if lost {
		o.files.look()
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
			return nil, &ack.SendError{Kind: ack.Retry, Err: fmt.Errorf("POST %s: %w", o.shown, cause)}
		}
		return nil, o.refused(st)
	}
	return answer, nil
}

// refused classifies a status.
func (o *otlpGRPC) refused(st *status.Status) *ack.SendError {
	e := &ack.SendError{Code: int(st.Code())}
	what := st.Code().String()
	if m := plainReason(st.Message()); m != "" {
		what += ": " + m
	}
	switch st.Code() {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.AlreadyExists:
		e.Kind = ack.Rejected
	case codes.Unauthenticated:
		e.Kind = ack.Unauthorized
		what += "; credentials are missing, wrong or expired: check auth"
	case codes.PermissionDenied:
		e.Kind = ack.Unauthorized
		what += "; the credentials do not allow this: check auth and the role's permissions"
	case codes.Unimplemented, codes.NotFound:
		what += "; nothing takes logs there: check the url and compression"
	case codes.ResourceExhausted:
		// grpc-go: "received message larger than max (… vs. …)"; others alike.
		if m := strings.ToLower(st.Message()); strings.Contains(m, "larger than max") || strings.Contains(m, "exceeds maximum size") || strings.Contains(m, "message too large") {
			e.Kind = ack.TooLarge
		}
	}
	if e.Kind == ack.Retry {
		for _, d := range st.Details() {
			if ri, ok := d.(*errdetails.RetryInfo); ok {
				e.RetryAfter = capRetryAfter(ri.GetRetryDelay().AsDuration())
			}
		}
	}
	e.Err = fmt.Errorf("POST %s: %s", o.shown, what)
	if st.Code() == codes.DeadlineExceeded { // the server's clock was first
		e.Err = fmt.Errorf("%w: %w", e.Err, errAttemptTimeout)
	}
	return e
}

// Probe exports nothing, which is a valid request.
func (o *otlpGRPC) Probe(ctx context.Context) error {
	w := getWork()
	w.raw = w.raw[:0]
	if _, err := o.call(ctx, w); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}

// rawCodec passes bytes through: requests are encoded already.
type rawCodec struct{}

// Name is that of the codec the server is to use.
func (rawCodec) Name() string { return "proto" }

// Marshal returns the bytes of a *work, which goes back when they are freed.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	w, ok := v.(*work)
	if !ok {
		return nil, fmt.Errorf("output: cannot send a %T", v)
	}
	return mem.BufferSlice{mem.NewBuffer(&w.raw, givesBack{w})}, nil
}

// Unmarshal copies an answer into a *[]byte.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	p, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("output: cannot receive a %T", v)
	}
	*p = data.Materialize()
	return nil
}

// givesBack is the pool to which gRPC returns the bytes of a work.
type givesBack struct{ w *work }

// Get is not used.
func (givesBack) Get(n int) *[]byte {
	p := make([]byte, n)
	return &p
}

// Put ends the work's use.
func (g givesBack) Put(*[]byte) { g.w.put() }
