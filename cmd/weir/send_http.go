package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	wirejson "github.com/weirlog/weir/wire/json"
)

// httpSender posts records in the protocols over HTTP that no output of weir's
// writes: those that applications speak.
type httpSender struct {
	target   *sendTarget
	url      *url.URL
	header   http.Header
	client   *http.Client
	compress string // none, gzip or zstd
	encode   func(dst []byte, parts []record.Part) []byte
	// answer looks at an answer with a good status; nil if the status says all.
	answer func(ctx context.Context, body []byte, n int) (ack.Result, error)

	body, packed []byte
	gzip         *gzip.Writer
	zstd         *zstd.Encoder
}

// sendTimeout bounds one attempt.
const sendTimeout = 30 * time.Second

func newHTTPSender(t *sendTarget, o *sendOptions) (*httpSender, error) {
	s := &httpSender{target: t, url: t.url, compress: o.compression, header: http.Header{
		"Content-Type": {"application/json"}, "User-Agent": {"weir/" + version()},
	}}
	switch s.compress {
	case "", "none":
		s.compress = "none"
	case "gzip":
		s.gzip = gzip.NewWriter(nil)
	case "zstd":
		var err error
		if s.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)); err != nil {
			return nil, err
		}
	default:
		return nil, usageError("--compression %s: %s takes none, gzip or zstd", s.compress, t.proto.name)
	}
	if o.tenant != "" {
		s.header.Set("X-Scope-OrgID", o.tenant)
	}
	switch {
	case o.token != "" && t.proto.schemes[0] == "datadog":
		s.header.Set("DD-API-KEY", o.token)
	case o.token != "" && strings.HasPrefix(t.proto.name, "splunk"):
		s.header.Set("Authorization", "Splunk "+o.token)
	case o.token != "":
		s.header.Set("Authorization", "Bearer "+o.token)
	case o.user != "":
		r := http.Request{Header: s.header}
		r.SetBasicAuth(o.user, o.password)
	case t.url.User != nil:
		r := http.Request{Header: s.header}
		p, _ := t.url.User.Password()
		r.SetBasicAuth(t.url.User.Username(), p)
	}
	for name, v := range o.headers {
		s.header.Set(name, v)
	}
	if t.url.User != nil {
		u := *t.url
		u.User = nil
		s.url = &u
	}
	switch t.proto.name {
	case "otlp-json":
		s.encode = appendOTLPJSON
		s.answer = otlpJSONAnswer
	case "loki-json":
		s.encode = appendLokiJSON
	case "splunk", "splunk-raw":
		s.encode = appendSplunk
		if t.proto.name == "splunk-raw" {
			s.encode = appendRaw
			s.header.Set("Content-Type", "text/plain; charset=utf-8")
		}
		s.header.Set("X-Splunk-Request-Channel", channelID())
		s.answer = s.splunkAnswer
	case "datadog":
		s.encode = appendDatadog
	case "gelf":
		s.encode = func(dst []byte, parts []record.Part) []byte { return appendEach(dst, parts, '\n', appendGELF) }
	case "jsonl":
		s.header.Set("Content-Type", "application/x-ndjson")
		s.encode = appendJSONL
	case "lines":
		s.header.Set("Content-Type", "text/plain; charset=utf-8")
		s.encode = appendRaw
		q := s.url.Query()
		for name, v := range o.labels {
			q.Set(name, v)
		}
		u := *s.url
		u.RawQuery = q.Encode()
		s.url = &u
	}
	conf, err := o.tlsConfig()
	if err != nil {
		return nil, err
	}
	s.client = &http.Client{Timeout: sendTimeout, Transport: &http.Transport{
		TLSClientConfig: conf, MaxIdleConnsPerHost: 1, ForceAttemptHTTP2: true, WriteBufferSize: 64 << 10,
	}}
	return s, nil
}

// channelID is a GUID, as Splunk wants the channel of a client.
func channelID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Close gives the connections back.
func (s *httpSender) Close() error {
	s.client.CloseIdleConnections()
	if s.zstd != nil {
		return s.zstd.Close()
	}
	return nil
}

// Send makes one attempt.
func (s *httpSender) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	s.body = s.encode(s.body[:0], parts)
	body, encoding, err := s.packedBody()
	if err != nil {
		return ack.Result{}, err
	}
	n := 0
	for _, p := range parts {
		n += p.Len()
	}
	answer, err := s.post(ctx, s.url, body, encoding)
	if err != nil {
		return ack.Result{}, err
	}
	res := ack.Result{}
	if s.answer != nil {
		if res, err = s.answer(ctx, answer, n); err != nil {
			return ack.Result{}, err
		}
	}
	res.Bytes = len(body)
	return res, nil
}

func (s *httpSender) packedBody() (body []byte, encoding string, err error) {
	switch s.compress {
	case "gzip":
		buf := bytes.NewBuffer(s.packed[:0])
		s.gzip.Reset(buf)
		if _, err = s.gzip.Write(s.body); err == nil {
			err = s.gzip.Close()
		}
		s.packed = buf.Bytes()
		return s.packed, "gzip", err
	case "zstd":
		s.packed = s.zstd.EncodeAll(s.body, s.packed[:0])
		return s.packed, "zstd", nil
	}
	return s.body, "", nil
}

// post returns the body of a good answer. Errors are *ack.SendError.
func (s *httpSender) post(ctx context.Context, u *url.URL, body []byte, encoding string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = s.header.Clone()
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, &ack.SendError{Err: withoutURL(err)}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, &ack.SendError{Err: fmt.Errorf("the answer broke off: %w", err)}
	}
	if resp.StatusCode/100 == 2 {
		return answer, nil
	}
	e := &ack.SendError{Code: resp.StatusCode, Err: fmt.Errorf("HTTP %s%s", resp.Status, excerpt(answer))}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
		e.RetryAfter = min(time.Duration(n)*time.Second, 10*time.Minute)
	}
	switch c := resp.StatusCode; {
	case c == http.StatusRequestEntityTooLarge:
		e.Kind = ack.TooLarge
	case c == http.StatusUnauthorized || c == http.StatusForbidden:
		e.Kind = ack.Unauthorized
	case c == http.StatusTooManyRequests || c == http.StatusRequestTimeout || c >= 500:
	default:
		e.Kind = ack.Rejected
	}
	return nil, e
}

// withoutURL takes the method and the URL from an error of an HTTP client: who
// reads it knows them.
func withoutURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

// excerpt is what a server says, short.
func excerpt(body []byte) string {
	text := strings.Join(strings.Fields(string(body)), " ")
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	if text == "" || strings.HasPrefix(text, "<") {
		return ""
	}
	return ": " + text
}

// eachRecord calls f for every record.
func eachRecord(parts []record.Part, f func(b *record.Batch, i int)) {
	for _, p := range parts {
		for _, i := range p.Index() {
			f(p.Batch(), int(i))
		}
	}
}

// appendEach appends what f appends for every record, with end behind it.
func appendEach(dst []byte, parts []record.Part, end byte, f func(dst []byte, b *record.Batch, i int) []byte) []byte {
	eachRecord(parts, func(b *record.Batch, i int) { dst = append(f(dst, b, i), end) })
	return dst
}

// appendRaw appends the lines as they are.
func appendRaw(dst []byte, parts []record.Part) []byte {
	return appendEach(dst, parts, '\n', func(dst []byte, b *record.Batch, i int) []byte { return append(dst, b.Body(i)...) })
}

// appendPairs appends the attributes of a stream as members of an object; each
// has a comma before it.
func appendPairs(dst []byte, s *record.Stream, prefix string) []byte {
	for _, a := range s.Attrs() {
		dst = append(dst, ',', '"')
		dst = append(dst, prefix...)
		dst = wirejson.AppendEscaped(dst, []byte(a.Name))
		dst = append(dst, '"', ':')
		dst = wirejson.AppendStringString(dst, a.Value)
	}
	return dst
}

// appendStreams appends an object for each run of records of one stream.
func appendStreams(dst []byte, parts []record.Part, begin func(dst []byte, s *record.Stream) []byte, one func(dst []byte, b *record.Batch, i int) []byte, end string) []byte {
	// One stream after the other, so that each stands once.
	for _, p := range parts {
		b := p.Batch()
		for si := range b.Streams() {
			open := false
			for _, i := range p.Index() {
				if int(b.Record(int(i)).Stream) != si {
					continue
				}
				if !open {
					if dst[len(dst)-1] != '[' {
						dst = append(dst, ',')
					}
					dst, open = begin(dst, b.Streams()[si].Stream), true
				} else {
					dst = append(dst, ',')
				}
				dst = one(dst, b, int(i))
			}
			if open {
				dst = append(dst, end...)
			}
		}
	}
	return dst
}

func appendLokiJSON(dst []byte, parts []record.Part) []byte {
	dst = append(dst, `{"streams":[`...)
	dst = appendStreams(dst, parts, func(dst []byte, s *record.Stream) []byte {
		dst = append(dst, `{"stream":{`...)
		at := len(dst)
		dst = appendPairs(dst, s, "")
		if len(dst) > at {
			dst = append(dst[:at], dst[at+1:]...) // the first comma
		}
		return append(dst, `},"values":[`...)
	}, func(dst []byte, b *record.Batch, i int) []byte {
		dst = append(dst, `["`...)
		dst = strconv.AppendInt(dst, b.Record(i).Time, 10)
		dst = append(dst, `",`...)
		dst = wirejson.AppendString(dst, b.Body(i))
		return append(dst, ']')
	}, "]}")
	return append(dst, "]}"...)
}

// appendOTLPJSON writes an ExportLogsServiceRequest as JSON.
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
func appendOTLPJSON(dst []byte, parts []record.Part) []byte {
	dst = append(dst, `{"resourceLogs":[`...)
	dst = appendStreams(dst, parts, func(dst []byte, s *record.Stream) []byte {
		dst = append(dst, `{"resource":{"attributes":[`...)
		for k, a := range s.Attrs() {
			if k > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"key":`...)
			name := a.Name
			if name == record.AttrService {
				name = "service.name"
			}
			dst = wirejson.AppendStringString(dst, name)
			dst = append(dst, `,"value":{"stringValue":`...)
			dst = wirejson.AppendStringString(dst, a.Value)
			dst = append(dst, "}}"...)
		}
		return append(dst, `]},"scopeLogs":[{"scope":{"name":"weir send"},"logRecords":[`...)
	}, func(dst []byte, b *record.Batch, i int) []byte {
		r := b.Record(i)
		dst = append(dst, `{"timeUnixNano":"`...)
		dst = strconv.AppendInt(dst, r.Time, 10)
		dst = append(dst, `","body":{"stringValue":`...)
		dst = wirejson.AppendString(dst, b.Body(i))
		dst = append(dst, '}')
		if id, ok := b.SenderID(i); ok {
			dst = append(dst, `,"attributes":[{"key":"log.record.uid","value":{"stringValue":"`...)
			dst = id.AppendText(dst)
			dst = append(dst, `"}}]`...)
		}
		return append(dst, '}')
	}, "]}]}")
	return append(dst, "]}"...)
}

// otlpJSONAnswer reads the partial success.
func otlpJSONAnswer(_ context.Context, body []byte, n int) (ack.Result, error) {
	var a struct {
		PartialSuccess struct {
			Rejected json.Number `json:"rejectedLogRecords"` // a string, by the mapping of 64 bits
			Message  string      `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
	if err := json.Unmarshal(body, &a); err != nil && len(body) > 0 {
		return ack.Result{}, &ack.SendError{Err: fmt.Errorf("the answer is not JSON%s", excerpt(body))}
	}
	rejected, _ := a.PartialSuccess.Rejected.Int64() // absent is 0
	if rejected == 0 {
		return ack.Result{}, nil
	}
	return ack.Result{}, &ack.SendError{Kind: ack.Rejected, Err: fmt.Errorf("%d of %d records rejected: %s", rejected, n, a.PartialSuccess.Message)}
}

func appendSplunk(dst []byte, parts []record.Part) []byte {
	return appendEach(dst, parts, '\n', func(dst []byte, b *record.Batch, i int) []byte {
		dst = append(dst, `{"time":`...)
		dst = appendSeconds(dst, b.Record(i).Time)
		dst = append(dst, `,"host":`...)
		dst = wirejson.AppendStringString(dst, hostName())
		dst = append(dst, `,"source":"weir send","event":`...)
		dst = wirejson.AppendString(dst, b.Body(i))
		dst = append(dst, `,"fields":{`...)
		at := len(dst)
		dst = appendPairs(dst, b.Stream(i), "")
		if len(dst) > at {
			dst = append(dst[:at], dst[at+1:]...)
		}
		return append(dst, "}}"...)
	})
}

// splunkAnswer waits for the acknowledgement if the server gives one.
// https://docs.splunk.com/Documentation/Splunk/latest/Data/AboutHECIDXAck
func (s *httpSender) splunkAnswer(ctx context.Context, body []byte, _ int) (ack.Result, error) {
	var a struct {
		ID *int64 `json:"ackId"`
	}
	if json.Unmarshal(body, &a) != nil || a.ID == nil {
		return ack.Result{}, nil
	}
	u := *s.url
	at := strings.Index(u.Path, "/services/collector")
	u.Path = u.Path[:max(0, at)] + "/services/collector/ack"
	u.RawQuery = "channel=" + s.header.Get("X-Splunk-Request-Channel")
	ask := fmt.Appendf(nil, `{"acks":[%d]}`, *a.ID)
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := s.post(ctx, &u, ask, "")
		if err != nil {
			return ack.Result{}, err
		}
		var acks struct {
			Acks map[string]bool `json:"acks"`
		}
		if err := json.Unmarshal(answer, &acks); err != nil {
			return ack.Result{}, &ack.SendError{Err: fmt.Errorf("the answer about ack %d is not JSON%s", *a.ID, excerpt(answer))}
		}
		if acks.Acks[strconv.FormatInt(*a.ID, 10)] {
			return ack.Result{}, nil
		}
		select {
		case <-ctx.Done():
			return ack.Result{}, &ack.SendError{Err: fmt.Errorf("ack %d did not come: %w", *a.ID, ctx.Err())}
		case <-tick.C:
		}
	}
}

func appendDatadog(dst []byte, parts []record.Part) []byte {
	dst = append(dst, '[')
	eachRecord(parts, func(b *record.Batch, i int) {
		if dst[len(dst)-1] != '[' {
			dst = append(dst, ',')
		}
		s := b.Stream(i)
		dst = append(dst, `{"ddsource":"weir send","timestamp":`...)
		dst = strconv.AppendInt(dst, b.Record(i).Time/1e6, 10)
		dst = append(dst, `,"hostname":`...)
		dst = wirejson.AppendStringString(dst, hostName())
		dst = append(dst, `,"service":`...)
		dst = wirejson.AppendStringString(dst, s.Get(record.AttrService))
		dst = append(dst, `,"ddtags":"`...)
		for k, a := range s.Attrs() {
			if k > 0 {
				dst = append(dst, ',')
			}
			dst = wirejson.AppendEscaped(dst, []byte(a.Name+":"+a.Value))
		}
		dst = append(dst, `","message":`...)
		dst = wirejson.AppendString(dst, b.Body(i))
		dst = append(dst, '}')
	})
	return append(dst, ']')
}

func appendJSONL(dst []byte, parts []record.Part) []byte {
	return appendEach(dst, parts, '\n', appendJSONLine)
}

func appendJSONLine(dst []byte, b *record.Batch, i int) []byte {
	dst = append(dst, `{"_time":"`...)
	dst = wirejson.AppendTime(dst, b.Record(i).Time)
	dst = append(dst, `","_msg":`...)
	dst = wirejson.AppendString(dst, b.Body(i))
	dst = appendPairs(dst, b.Stream(i), "")
	return append(dst, '}')
}

// appendGELF appends a message of GELF 1.1.
// https://go2docs.graylog.org/current/getting_in_log_data/gelf.html
func appendGELF(dst []byte, b *record.Batch, i int) []byte {
	dst = append(dst, `{"version":"1.1","host":`...)
	dst = wirejson.AppendStringString(dst, hostName())
	dst = append(dst, `,"short_message":`...)
	dst = wirejson.AppendString(dst, b.Body(i))
	dst = append(dst, `,"timestamp":`...)
	dst = appendSeconds(dst, b.Record(i).Time)
	dst = append(dst, `,"level":6`...)
	dst = appendPairs(dst, b.Stream(i), "_")
	return append(dst, '}')
}

// appendSeconds appends nanoseconds as seconds.
func appendSeconds(dst []byte, ns int64) []byte {
	dst = strconv.AppendInt(dst, ns/1e9, 10)
	dst = append(dst, '.')
	frac := strconv.AppendInt(nil, 1e9+ns%1e9, 10)
	return append(dst, frac[1:]...)
}

var ownHost = func() string {
	n, err := os.Hostname()
	if err != nil || n == "" {
		return "localhost"
	}
	return n
}()

func hostName() string { return ownHost }

// sendID is the id of a line, the same however often it is sent.
func sendID(run string, client int, number uint32) record.ID {
	var seed [8]byte
	if p, err := hex.DecodeString(run); err == nil {
		copy(seed[:], p)
	}
	hi := uint64(0)
	for _, c := range seed {
		hi = hi<<8 | uint64(c)
	}
	return record.ID{Hi: hi, Lo: uint64(client)<<32 | uint64(number)}
}

// tlsConfig is how connections over TLS are made.
func (o *sendOptions) tlsConfig() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.serverName, InsecureSkipVerify: o.insecure}
	if o.ca != "" {
		pool, err := poolOf(o.ca)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = pool
	}
	if o.cert != "" {
		c, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return nil, usageError("--cert %s: %v", o.cert, err)
		}
		conf.Certificates = []tls.Certificate{c}
	}
	return conf, nil
}
