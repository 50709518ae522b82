package client

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	firstBackoff  = 250 * time.Millisecond
	maxRetryAfter = 10 * time.Minute
	maxAnswer     = 64 << 10
	// A gateway that calls everything malformed must not be asked about every
	// record alone.
	maxRefusals = 64
)

// sender sends batches to endpoints.
type sender struct {
	cfg     *Config
	trouble *trouble
	tr      transport
	zips    sync.Pool

	mu        sync.Mutex
	endpoints []*endpoint
	next      int // with RoundRobin

	requests, retries, bytes atomic.Uint64
	delivered, rejected      atomic.Uint64
}

// endpoint is one gateway. sender.mu protects it.
type endpoint struct {
	url      *url.URL
	failures int       // in a row
	until    time.Time // left alone until then
	err      error     // the last one, nil behind a success
	requests uint64
}

func (s *sender) init(cfg *Config, t *trouble) error {
	s.cfg, s.trouble = cfg, t
	for _, e := range cfg.Endpoints {
		u, err := parseEndpoint(e)
		if err != nil {
			return err
		}
		s.endpoints = append(s.endpoints, &endpoint{url: u})
	}
	return s.tr.init(cfg, t)
}

func (s *sender) close() { s.tr.close() }

// deliver sends a batch and tries again until all of it is acknowledged, or
// refused for good. Its error is the context's.
func (s *sender) deliver(ctx context.Context, b *batch) error {
	refusals := 0
	return s.part(ctx, b.res, b.buf, b.records, &refusals)
}

func (s *sender) part(ctx context.Context, res, buf []byte, records int, refusals *int) error {
	body, err := s.encode(res, buf)
	if err != nil {
		return err // cannot be: it is written to memory
	}
	for try := 0; ; try++ {
		ep, err := s.pick(ctx)
		if err != nil {
			return err
		}
		if try > 0 {
			s.retries.Add(1)
		}
		a := s.attempt(ctx, ep, body)
		if ctx.Err() != nil && a.verdict == again {
			return ctx.Err()
		}
		s.note(ep, a)
		switch a.verdict {
		case taken200:
			rejected := min(uint64(max(a.rejected, 0)), uint64(records))
			s.delivered.Add(uint64(records) - rejected)
			if rejected > 0 {
				s.rejected.Add(rejected)
				s.trouble.refused(rejected, a.err)
			} else if a.err != nil {
				s.trouble.warned(a.err)
			}
			return nil
		case tooLarge, malformed:
			if a.verdict == malformed {
				*refusals++
			}
			if records == 1 || *refusals >= maxRefusals {
				s.rejected.Add(uint64(records))
				s.trouble.refused(uint64(records), a.err)
				return nil
			}
			at, n := half(buf)
			if err := s.part(ctx, res, buf[:at], n, refusals); err != nil {
				return err
			}
			return s.part(ctx, res, buf[at:], records-n, refusals)
		}
	}
}

// half returns where the second half of some records begins, and how many are
// in the first one.
func half(buf []byte) (at, n int) {
	for {
		k := recordLen(buf[at:])
		if n > 0 && at+k > len(buf)/2 {
			return at, n
		}
		at += k
		n++
		if at+recordLen(buf[at:]) >= len(buf) {
			return at, n
		}
	}
}

// encode makes the body of a request.
func (s *sender) encode(res, buf []byte) ([]byte, error) {
	var scope, logs, request []byte
	scope = binary.AppendUvarint(appendTag(scope, logsScope, wireBytes), uint64(len(buf)))
	logs = appendTag(logs, logsResource, wireBytes)
	logs = append(binary.AppendUvarint(logs, uint64(len(res))), res...)
	request = appendTag(request, requestResourceLogs, wireBytes)
	request = binary.AppendUvarint(request, uint64(len(logs)+len(scope)+len(buf)))
	if s.cfg.NoCompression {
		return bytes.Join([][]byte{request, logs, scope, buf}, nil), nil
	}
	var out bytes.Buffer
	out.Grow(len(buf)/4 + 512)
	z, _ := s.zips.Get().(*gzip.Writer)
	if z == nil {
		var err error
		if z, err = gzip.NewWriterLevel(&out, gzip.BestSpeed); err != nil {
			return nil, err
		}
	} else {
		z.Reset(&out)
	}
	defer s.zips.Put(z)
	for _, p := range [][]byte{request, logs, scope, buf} {
		if _, err := z.Write(p); err != nil {
			return nil, err
		}
	}
	err := z.Close()
	return out.Bytes(), err
}

// pick waits for an endpoint that may be tried.
func (s *sender) pick(ctx context.Context) (*endpoint, error) {
	for {
		s.mu.Lock()
		now := time.Now()
		begin := 0
		if s.cfg.Balance == RoundRobin {
			begin = s.next
			s.next = (s.next + 1) % len(s.endpoints)
		}
		var soonest time.Time
		for i := range s.endpoints {
			ep := s.endpoints[(begin+i)%len(s.endpoints)]
			if !ep.until.After(now) {
				ep.requests++
				s.mu.Unlock()
				return ep, nil
			}
			if soonest.IsZero() || ep.until.Before(soonest) {
				soonest = ep.until
			}
		}
		s.mu.Unlock()
		if !sleep(ctx, soonest.Sub(now), nil) {
			return nil, ctx.Err()
		}
	}
}

// note keeps what an answer tells about an endpoint.
func (s *sender) note(ep *endpoint, a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.verdict != again {
		if ep.failures > 0 {
			s.trouble.works(ep.url, ep.failures)
		}
		ep.failures, ep.until, ep.err = 0, time.Time{}, nil
		return
	}
	ep.failures++
	ep.err = a.err
	wait := a.after
	if wait <= 0 {
		wait = min(firstBackoff<<min(ep.failures-1, 20), s.cfg.MaxBackoff)
	}
	// Clients that failed together do not come back together.
	wait += time.Duration(rand.Int64N(int64(wait)/4 + 1))
	if until := time.Now().Add(wait); until.After(ep.until) {
		ep.until = until
	}
	s.trouble.fails(ep.url, a.err)
}

// verdict is what an answer says about the records of a request.
type verdict int

const (
	again     verdict = iota // nothing is known to be taken
	taken200                 // taken, but for those that are rejected
	tooLarge                 // to be split
	malformed                // refused for good, as a whole
)

type answer struct {
	verdict  verdict
	rejected int64
	after    time.Duration // Retry-After
	err      error
}

// attempt is one request.
func (s *sender) attempt(ctx context.Context, ep *endpoint, body []byte) answer {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, ep.url.String(), bytes.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	h := req.Header
	for k, v := range s.cfg.Headers {
		h.Set(k, v)
	}
	h.Set("Content-Type", "application/x-protobuf")
	if h.Get("User-Agent") == "" {
		h.Set("User-Agent", "weir-client-go")
	}
	if !s.cfg.NoCompression {
		h.Set("Content-Encoding", "gzip")
	}
	if s.cfg.Tenant != "" {
		h.Set("X-Scope-OrgID", s.cfg.Tenant)
	}
	if err := s.cfg.Auth.set(req); err != nil {
		return answer{err: err}
	}
	s.requests.Add(1)
	s.bytes.Add(uint64(len(body)))
	resp, err := s.tr.roundTrip(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return judge(resp, text, err)
}

// set adds the credential to a request.
func (a *Auth) set(req *http.Request) error {
	switch {
	case a.Token != "":
		req.Header.Set("Authorization", "Bearer "+a.Token)
	case a.TokenFile != "":
		token, err := os.ReadFile(a.TokenFile)
		if err != nil {
			return fmt.Errorf("token file: %w", err)
		}
		token = bytes.TrimSpace(token)
		if !validHeader("Authorization", string(token)) {
			return fmt.Errorf("token file %s: not a token", a.TokenFile)
		}
		req.Header.Set("Authorization", "Bearer "+string(token))
	case a.User != "":
		req.SetBasicAuth(a.User, a.Password)
	}
	return nil
}

// judge reads an answer. What OTLP says must not be sent again (401, 404, 415, a
// redirect …) is: it is the configuration that is wrong then, not the records.
// https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
func judge(resp *http.Response, text []byte, err error) answer {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	a := answer{after: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	switch code := resp.StatusCode; {
	case code == http.StatusOK || code == http.StatusAccepted || code == http.StatusNoContent:
		if err != nil {
			return answer{err: fmt.Errorf("the answer is cut short: %w", err)}
		}
		if kind == "text/html" {
			return answer{err: errors.New("a web page answers, no gateway: is the address right?")}
		}
		a.verdict = taken200
		var message string
		if a.rejected, message = partialSuccess(text, kind); message != "" {
			a.err = errors.New(message)
		} else if a.rejected > 0 {
			a.err = errors.New("the gateway says not why")
		}
		return a
	case code == http.StatusRequestEntityTooLarge:
		a.verdict = tooLarge
	case (code == http.StatusBadRequest || code == http.StatusUnprocessableEntity) && kind != "" && kind != "text/html":
		// A gateway says what is wrong. What says nothing, or shows a page, is a proxy,
		// or TLS where there is none: the records are good.
		a.verdict = malformed
	case code/100 == 3:
		a.err = fmt.Errorf("%s: redirects are not followed", resp.Status)
		return a
	}
	a.err = errors.New(resp.Status)
	if msg := statusMessage(text, kind); msg != "" {
		a.err = fmt.Errorf("%s: %s", resp.Status, msg)
	}
	return a
}

// retryAfter reads a Retry-After, 0 if there is none.
func retryAfter(s string, now time.Time) time.Duration {
	if s == "" {
		return 0
	}
	var d time.Duration
	if n, err := strconv.ParseFloat(s, 64); err == nil && n >= 0 {
		d = time.Duration(min(n, maxRetryAfter.Seconds()) * float64(time.Second))
	} else if t, err := http.ParseTime(s); err == nil {
		d = t.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// eachField calls f for the fields of a protobuf message until it ends, or is not
// one.
func eachField(p []byte, f func(num uint64, n uint64, val []byte)) {
	for len(p) > 0 {
		tag, k := binary.Uvarint(p)
		if k <= 0 {
			return
		}
		p = p[k:]
		switch tag & 7 {
		case wireVarint:
			n, k := binary.Uvarint(p)
			if k <= 0 {
				return
			}
			f(tag>>3, n, nil)
			p = p[k:]
		case wireBytes:
			n, k := binary.Uvarint(p)
			if k <= 0 || n > uint64(len(p)-k) {
				return
			}
			f(tag>>3, 0, p[k:k+int(n)])
			p = p[k+int(n):]
		case wireFixed64:
			if len(p) < 8 {
				return
			}
			f(tag>>3, binary.LittleEndian.Uint64(p), nil)
			p = p[8:]
		case wireFixed32:
			if len(p) < 4 {
				return
			}
			f(tag>>3, uint64(binary.LittleEndian.Uint32(p)), nil)
			p = p[4:]
		default:
			return
		}
	}
}

// partialSuccess reads an ExportLogsServiceResponse.
func partialSuccess(text []byte, kind string) (rejected int64, message string) {
	if kind == "application/json" {
		var m struct {
			PartialSuccess struct {
				Rejected json.RawMessage `json:"rejectedLogRecords"` // a string, or a number
				Message  string          `json:"errorMessage"`
			} `json:"partialSuccess"`
		}
		if json.Unmarshal(text, &m) != nil {
			return 0, ""
		}
		rejected, _ = strconv.ParseInt(strings.Trim(string(m.PartialSuccess.Rejected), `"`), 10, 64)
		return rejected, printable(m.PartialSuccess.Message)
	}
	if kind != "application/x-protobuf" {
		return 0, ""
	}
	eachField(text, func(num, _ uint64, val []byte) {
		if num != 1 {
			return
		}
		eachField(val, func(num, n uint64, val []byte) {
			switch num {
			case 1:
				rejected = int64(n)
			case 2:
				message = string(val)
			}
		})
	})
	return rejected, printable(message)
}

// statusMessage reads why a request failed: a google.rpc.Status, or plain text.
func statusMessage(text []byte, kind string) string {
	msg := ""
	switch kind {
	case "application/x-protobuf":
		eachField(text, func(num, _ uint64, val []byte) {
			if num == 2 {
				msg = string(val)
			}
		})
	case "application/json":
		var m struct{ Message, Error string }
		if json.Unmarshal(text, &m) == nil {
			msg = m.Message + m.Error
		}
	case "text/plain":
		msg = string(text)
	}
	return printable(msg)
}

// printable is what of an answer is fit for a log: a line, not a page.
func printable(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "\uFFFD")
	if len(s) > 500 {
		s = cutString(s, 500) + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
