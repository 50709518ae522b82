package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// maxAnswer bounds an answer's body where the protocol has no long ones, and
// what is read of one only to use the connection again.
const maxAnswer = 64 << 10

// client makes requests to one endpoint. Its connections form a generation: a
// transport that is replaced as a whole when it is old, when the certificates
// changed, or when an attempt on it failed, so that nothing of a dead address
// or an old certificate is left. Requests in flight finish on the old one,
// whose connections are closed when they become idle.
type client struct {
	conf  HTTPConfig
	url   *url.URL
	shown string // the URL as errors may show it
	log   *slog.Logger
	files *material
	dial  *dialer

	mu     sync.Mutex
	gen    *generation
	closed bool

	plain  atomic.Bool  // the server refused our compression
	expect atomic.Int64 // until when (Unix seconds) large requests ask first
}

type generation struct {
	rt      *http.Transport
	until   time.Time // when a new one takes its place
	version int       // of the certificates
}

func newClient(conf HTTPConfig, u *url.URL) (*client, error) {
	files, err := newMaterial(&conf)
	if err != nil {
		return nil, fmt.Errorf("output %s: %w", redactURL(u), err)
	}
	return &client{
		conf: conf, url: u, shown: conf.shown(u), log: conf.Logger, files: files,
		dial: newDialer(conf.Resolver, conf.Timeout, conf.Address),
	}, nil
}

// String names the endpoint. It also keeps fmt from printing fields.
func (c *client) String() string { return c.shown }

// GoString is String.
func (c *client) GoString() string { return c.shown }

// Close closes idle connections; later requests fail.
func (c *client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.gen != nil {
		c.gen.rt.CloseIdleConnections()
		c.gen = nil
	}
	return nil
}

// Reloads returns how often changed certificates or tokens were read and put
// to use, and how often they could not be.
func (c *client) Reloads() (used, failed uint64) { return c.files.stats() }

var errClosed = errors.New("the output is closed")

// generation returns the connections to use now.
func (c *client) generation() (*generation, snapshot, error) {
	snap := c.files.current()
	now := c.conf.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, snap, errClosed
	}
	if g := c.gen; g != nil {
		if g.version >= snap.version && now.Before(g.until) {
			return g, snap, nil
		}
		g.rt.CloseIdleConnections()
	}
	c.gen = &generation{rt: c.transport(snap), until: now.Add(c.conf.lifetime()), version: snap.version}
	return c.gen, snap, nil
}

// drop forgets the connections of g, unless somebody already did.
func (c *client) drop(g *generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g.rt.CloseIdleConnections()
	if c.gen == g {
		c.gen = nil
	}
}

func (c *client) transport(snap snapshot) *http.Transport {
	t := &http.Transport{
		DialContext:           c.dial.dial,
		TLSClientConfig:       snap.tls.Clone(),
		TLSHandshakeTimeout:   min(maxDial, c.conf.Timeout),
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   64, // deliver limits how many are in use
		IdleConnTimeout:       min(90*time.Second, c.conf.MaxConnAge),
		ResponseHeaderTimeout: c.conf.Timeout,
		ExpectContinueTimeout: time.Second,
		// An answer is small; decompressing one is a way to be bombed.
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxAnswer,
		WriteBufferSize:        64 << 10,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: lostPeer / 2,
			PingTimeout:     lostPeer / 2,
		},
	}
	if c.conf.ProxyFromEnvironment {
		t.Proxy = http.ProxyFromEnvironment
	}
	return t
}

// request is one POST, unless the method is another.
type request struct {
	method   string // "": POST
	url      *url.URL
	header   http.Header // not modified
	encoding string
	extra    [2]string // one more header, if its name is not empty
	body     []byte    // lies in the work
	limit    int       // of the answer's body
}

// answer is what came back; body lies in the work.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// askFirst is how long large requests use "Expect: 100-continue" after one
// without an answer, and askFirstSize is what is large: a server that
// answers 413 and closes is heard only if the request waits for it.
const (
	askFirst     = 10 * time.Minute
	askFirstSize = 64 << 10
)

// exchange encodes the records of parts and posts them, and once more without
// compression if the destination does not take that. size is the length of the
// body as sent.
func (c *client) exchange(ctx context.Context, w *work, zip *compressors, enc *encoders, parts []record.Part, req request) (a answer, size int, err error) {
	for {
		body, encoding, err := zip.encode(w, enc, parts, c.plain.Load())
		if err != nil {
			return answer{}, 0, err
		}
		req.body, req.encoding = body, encoding
		if a, err = c.post(ctx, w, &req); err != nil {
			return answer{}, 0, err
		}
		if !c.refusesCompression(a, encoding) {
			return a, len(body), nil
		}
	}
}

// post makes one attempt. The error is an *ack.SendError of Kind Retry: no
// answer, or not all of it.
func (c *client) post(ctx context.Context, w *work, r *request) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.conf.Timeout, errAttemptTimeout)
	defer cancel()
	g, snap, err := c.generation()
	if err != nil {
		return answer{}, c.noAnswer(err)
	}
	w.payload.attach(r.body)
	defer w.payload.detach()
	h := r.header.Clone()
	if r.encoding != "" {
		h.Set("Content-Encoding", r.encoding)
	}
	if r.extra[0] != "" {
		h.Set(r.extra[0], r.extra[1])
	}
	if a := c.conf.Auth.header(snap.token); a != "" {
		h.Set("Authorization", a)
	}
	asked := len(r.body) >= askFirstSize && c.conf.Now().Unix() < c.expect.Load()
	if asked {
		h.Set("Expect", "100-continue")
	}
	host := r.url.Host
	if v := h.Get("Host"); v != "" {
		host = v
		h.Del("Host")
	}
	method := r.method
	if method == "" {
		method = http.MethodPost
	}
	req := (&http.Request{
		Method: method, URL: r.url, Host: host, Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(len(r.body)), Body: w.payload.reader(),
		GetBody: func() (io.ReadCloser, error) { return w.payload.reader(), nil },
	}).WithContext(ctx)
	if len(r.body) == 0 {
		req.Body, req.GetBody = http.NoBody, nil
	}
	// RoundTrip, not a Client: redirects must not be followed.
	resp, err := g.rt.RoundTrip(req)
	if err == nil {
		w.resp, err = readAll(w.resp, resp.Body, r.limit)
		_ = resp.Body.Close() // nothing can be done about an answer's end
		if errors.Is(err, errAnswerTooLarge) && resp.StatusCode/100 != 2 {
			err = nil // an error page; its beginning will do
		}
	}
	if err == nil {
		switch resp.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			c.files.look()
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			c.drop(g) // a balancer may lead the next connection to a healthier server
		case http.StatusExpectationFailed:
			if asked {
				c.expect.Store(0)
			}
		}
		return answer{resp.StatusCode, resp.Header, w.resp}, nil
	}
	if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
		err = cause
	}
	if errors.Is(err, context.Canceled) {
		return answer{}, c.noAnswer(err)
	}
	c.drop(g)
	c.files.look()
	// How a hang-up shows (reset, broken pipe, closed, EOF) is a matter of luck.
	c.expect.Store(c.conf.Now().Add(askFirst).Unix())
	return answer{}, c.noAnswer(err)
}

var errAttemptTimeout = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)

func (c *client) noAnswer(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // its text quotes the whole URL
	}
	if strings.Contains(err.Error(), "malformed HTTP") {
		err = errors.New("the answer is not HTTP") // the error quotes it
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() && !errors.Is(err, errAttemptTimeout) {
		err = fmt.Errorf("no answer in time: %w", err)
	}
	return &ack.SendError{Kind: ack.Retry, Err: fmt.Errorf("POST %s: %w", c.shown, err)}
}

// refused classifies an answer that is not a success. detail is what the
// protocol says about it, without content of records; it may be empty.
func (c *client) refused(a answer, detail string) *ack.SendError {
	e := &ack.SendError{Code: a.status}
	what := fmt.Sprintf("%d %s", a.status, http.StatusText(a.status))
	if detail != "" {
		what += ": " + detail
	}
	var todo string
	switch s := a.status; {
	case s == http.StatusBadRequest, s == http.StatusUnprocessableEntity:
		e.Kind = ack.Rejected
	case s == http.StatusRequestEntityTooLarge:
		e.Kind = ack.TooLarge
	case s == http.StatusUnauthorized:
		e.Kind, todo = ack.Unauthorized, "credentials are missing, wrong or expired: check auth"
	case s == http.StatusForbidden, s == http.StatusProxyAuthRequired:
		e.Kind, todo = ack.Unauthorized, "the credentials do not allow this: check auth and the role's permissions"
	case s >= 300 && s < 400:
		to := "nowhere"
		if l := a.header.Get("Location"); l != "" {
			to = redactLink(l)
		}
		todo = "redirects to " + to + " and redirects are not followed: change the url if that is right"
	case s == http.StatusNotFound, s == http.StatusMethodNotAllowed:
		todo = "nothing takes logs at this address: check the url's path"
	case s == http.StatusUnsupportedMediaType:
		todo = "the server does not take this format or compression: check the output's type"
	case s >= 200 && s < 300:
		todo = "the answer is not of this protocol: is a proxy or login page in between?"
	}
	if e.Kind == ack.Retry {
		e.RetryAfter = parseRetryAfter(a.header.Get("Retry-After"), c.conf.Now())
	}
	if todo != "" {
		what += "; " + todo
	}
	e.Err = fmt.Errorf("POST %s: %s", c.shown, what)
	return e
}

// refusesCompression reports whether the answer says so, once: from then on
// requests are sent uncompressed.
func (c *client) refusesCompression(a answer, encoding string) bool {
	if a.status != http.StatusUnsupportedMediaType || encoding == "" {
		return false
	}
	if !c.plain.Swap(true) {
		c.log.Warn("the server refuses compressed requests, sending uncompressed from now on", "url", c.shown, "compression", encoding)
	}
	return true
}

// probe judges the answer to an empty request: anything but an answer about
// credentials, address or the server's health shows that logs would be taken.
func (c *client) probe(a answer) error {
	switch {
	case a.status/100 == 2 && !isPage(a.body), a.status == http.StatusBadRequest, a.status == http.StatusUnprocessableEntity,
		a.status == http.StatusLengthRequired, a.status == http.StatusUnsupportedMediaType:
		return nil
	}
	return c.refused(a, "")
}

// isPage reports whether an answer's body is a web page: what proxies and login
// pages send with status 200.
func isPage(body []byte) bool {
	body = bytes.TrimLeft(body, "\ufeff \t\r\n")
	return len(body) > 0 && body[0] == '<'
}
