package e2e

import (
	"bytes"
	"context"
	bigendian "encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tinylib/msgp/msgp"

	"github.com/weirlog/weir/wire/forward"
)

// perPush is how many records each push of a pusher has.
const perPush = 5

// pusher is a sender that repeats each push, the same bytes, until it is
// acknowledged.
type pusher struct {
	number int
	name   string
	ids    bool // its records have ids of their own, or their own time
	body   func(p *pusher, n int) []byte
	send   func(ctx context.Context, body []byte, n int) (ok bool, retry time.Duration)

	mu                         sync.Mutex
	acked                      []int // pushes, ascending
	begun, resent, busy, wrong atomic.Int64
	last                       atomic.Pointer[string] // an answer that is none of those expected
}

func (p *pusher) ackedBatches() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]int(nil), p.acked...)
}

// run pushes until stop; the push under way is left when stop comes.
func (p *pusher) run(ctx context.Context, pause time.Duration) {
	for n := 0; ctx.Err() == nil; n++ {
		body := p.body(p, n)
		p.begun.Add(1)
		for try := 0; ; try++ {
			if try > 0 {
				p.resent.Add(1)
			}
			ok, wait := p.send(ctx, body, n)
			if ok {
				p.mu.Lock()
				p.acked = append(p.acked, n)
				p.mu.Unlock()
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(max(wait, 2*time.Millisecond)):
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause): // a rate, so that kills and not senders take the CPU
		}
	}
}

func (p *pusher) texts(n int) (out []string) {
	for k := range perPush {
		out = append(out, pushedText(p.number, n*perPush+k))
	}
	return out
}

// post returns how a body is posted; safe says whether a 2xx means all of it.
func (p *pusher) post(url, contentType string, safe func(answer []byte) bool, header ...string) func(context.Context, []byte, int) (bool, time.Duration) {
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: 20 * time.Second}
	return func(ctx context.Context, body []byte, _ int) (bool, time.Duration) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return false, 0
		}
		req.Header.Set("Content-Type", contentType)
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := c.Do(req)
		if err != nil {
			return false, 0
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return false, 0
		}
		return p.judge(resp.StatusCode, resp.Header.Get("Retry-After"), text, safe)
	}
}

func (p *pusher) judge(status int, after string, text []byte, safe func([]byte) bool) (bool, time.Duration) {
	switch {
	case status/100 == 2 && safe(text):
		return true, 0
	case status == 429 || status == 503:
		p.busy.Add(1)
		if after == "" {
			p.unexpected("%d without Retry-After: %s", status, text)
		}
		return false, 5 * time.Millisecond
	}
	p.unexpected("%d %s", status, text)
	return false, 5 * time.Millisecond
}

func (p *pusher) unexpected(format string, args ...any) {
	p.wrong.Add(1)
	s := p.name + ": " + fmt.Sprintf(format, args...)
	p.last.Store(&s)
}

func any2xx([]byte) bool { return true }

// epoch is the time of the first record that a pusher makes; it is the present,
// and fixed while the test runs.
var epoch = time.Now().Add(-time.Minute).Truncate(time.Millisecond).UnixNano()

// time is the time of a record: another microsecond for each, and none that is a
// whole millisecond, by which weir's store would recognise nothing.
func (p *pusher) time(n, k int) int64 {
	i := int64(n*perPush + k)
	return epoch + (i+i/999+1)*1000 + int64(p.number)
}

func otlpRequest(p *pusher, n int, uid bool) *collogspb.ExportLogsServiceRequest {
	str := func(s string) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
	}
	scope := &logspb.ScopeLogs{}
	for k, l := range p.texts(n) {
		r := &logspb.LogRecord{Body: str(l)}
		if uid {
			r.Attributes = []*commonpb.KeyValue{{Key: "log.record.uid", Value: str(fmt.Sprintf("u-%d-%d-%d", p.number, n, k))}}
		} else {
			r.TimeUnixNano = uint64(p.time(n, k))
		}
		scope.LogRecords = append(scope.LogRecords, r)
	}
	return &collogspb.ExportLogsServiceRequest{ResourceLogs: []*logspb.ResourceLogs{{
		Resource:  &resourcepb.Resource{Attributes: []*commonpb.KeyValue{{Key: "service.name", Value: str(p.name)}}},
		ScopeLogs: []*logspb.ScopeLogs{scope},
	}}}
}

// grpcSend is a unary call as gRPC makes it, over HTTP/2 without TLS: it connects
// again at once, which grpc-go's client does not.
func (p *pusher) grpcSend(addr string) func(context.Context, []byte, int) (bool, time.Duration) {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	c := &http.Client{Transport: tr, Timeout: 20 * time.Second}
	return func(ctx context.Context, body []byte, _ int) (bool, time.Duration) {
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/opentelemetry.proto.collector.logs.v1.LogsService/Export", bytes.NewReader(body))
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
		resp, err := c.Do(req)
		if err != nil {
			return false, 0
		}
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); err != nil {
			return false, 0
		}
		status := resp.Trailer.Get("Grpc-Status")
		if status == "" {
			status = resp.Header.Get("Grpc-Status")
		}
		switch status {
		case "0":
			return true, 0
		case "8", "14": // RESOURCE_EXHAUSTED, UNAVAILABLE
			p.busy.Add(1)
		default:
			p.unexpected("grpc-status %q %s", status, resp.Trailer.Get("Grpc-Message"))
		}
		return false, 5 * time.Millisecond
	}
}

const hecChannel = "0aeeac95-ac74-4aa9-b30d-6c4c0ac581ba"

// hecSend posts events and asks until their acknowledgement is there.
func (p *pusher) hecSend(addr string) func(context.Context, []byte, int) (bool, time.Duration) {
	var id int64
	post := p.post("http://"+addr+"/services/collector", "application/json", func(b []byte) bool {
		var v struct {
			Code  int
			AckID *int64 `json:"ackId"`
		}
		if json.Unmarshal(b, &v) != nil || v.Code != 0 || v.AckID == nil {
			return false
		}
		id = *v.AckID
		return true
	}, "X-Splunk-Request-Channel", hecChannel)
	var answer []byte
	ask := p.post("http://"+addr+"/services/collector/ack", "application/json", func(b []byte) bool { answer = b; return true }, "X-Splunk-Request-Channel", hecChannel)
	return func(ctx context.Context, body []byte, n int) (bool, time.Duration) {
		if ok, wait := post(ctx, body, n); !ok {
			return false, wait
		}
		// After a restart the id is unknown: false, and the events go again.
		ok, wait := ask(ctx, fmt.Appendf(nil, `{"acks":[%d]}`, id), n)
		return ok && bytes.Contains(answer, fmt.Appendf(nil, `"%d":true`, id)), wait
	}
}

// gatewayAddrs are the listeners of a gateway that pushers go to.
type gatewayAddrs struct{ grpc, otlp, loki, bulk, hec, forward string }

func (a *gatewayAddrs) inputs() string {
	return fmt.Sprintf("{otlp: {grpc: '%s', http: '%s'}, loki: {http: '%s'}, elasticsearch: {http: '%s'}, splunk_hec: {http: '%s'}, forward: {tcp: '%s'}}",
		a.grpc, a.otlp, a.loki, a.bulk, a.hec, a.forward)
}

// newPushers returns one sender for each way in, with ids of its own, with its own
// times, or with neither.
func newPushers(a *gatewayAddrs) []*pusher {
	var out []*pusher
	add := func(name string, ids bool, body func(p *pusher, n int) []byte, send func(p *pusher) func(context.Context, []byte, int) (bool, time.Duration)) {
		p := &pusher{number: len(out), name: name, ids: ids, body: body}
		p.send = send(p)
		out = append(out, p)
	}
	type sendFunc = func(context.Context, []byte, int) (bool, time.Duration)
	add("otlp-grpc-time", true, func(p *pusher, n int) []byte {
		b, _ := proto.Marshal(otlpRequest(p, n, false))
		return append(bigendian.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
	}, func(p *pusher) sendFunc { return p.grpcSend(a.grpc) })
	add("otlp-http-uid", true, func(p *pusher, n int) []byte {
		b, _ := protojson.Marshal(otlpRequest(p, n, true))
		return b
	}, func(p *pusher) sendFunc {
		return p.post("http://"+a.otlp+"/v1/logs", "application/json", func(b []byte) bool { return !bytes.Contains(b, []byte("rejected")) })
	})
	add("loki-time", true, func(p *pusher, n int) []byte {
		var values []string
		for k, l := range p.texts(n) {
			values = append(values, fmt.Sprintf(`["%d",%s]`, p.time(n, k), quoted(l)))
		}
		return fmt.Appendf(nil, `{"streams":[{"stream":{"app":"kills"},"values":[%s]}]}`, strings.Join(values, ","))
	}, func(p *pusher) sendFunc {
		return p.post("http://"+a.loki+"/loki/api/v1/push", "application/json", any2xx)
	})
	bulk := func(p *pusher) sendFunc {
		return p.post("http://"+a.bulk+"/i/_bulk", "application/x-ndjson", func(b []byte) bool { return bytes.Contains(b, []byte(`"errors":false`)) })
	}
	add("bulk-id", true, func(p *pusher, n int) []byte {
		var b []byte
		for k, l := range p.texts(n) {
			b = fmt.Appendf(b, "{\"create\":{\"_id\":\"%d-%d\"}}\n{\"message\":%s}\n", n, k, quoted(l))
		}
		return b
	}, bulk)
	add("bulk-time", true, func(p *pusher, n int) []byte {
		var b []byte
		for k, l := range p.texts(n) {
			b = fmt.Appendf(b, "{\"create\":{}}\n{\"@timestamp\":\"%s\",\"message\":%s}\n", time.Unix(0, p.time(n, k)).UTC().Format(time.RFC3339Nano), quoted(l))
		}
		return b
	}, bulk)
	add("bulk", false, func(p *pusher, n int) []byte {
		return each(p.texts(n), "{\"create\":{}}\n{\"message\":%s}\n")
	}, bulk)
	add("hec-time-ack", true, func(p *pusher, n int) []byte {
		var b []byte
		for k, l := range p.texts(n) {
			b = fmt.Appendf(b, `{"time":%d.%06d,"event":%s}`, p.time(n, k)/1e9, p.time(n, k)%1e9/1e3, quoted(l))
		}
		return b
	}, func(p *pusher) sendFunc { return p.hecSend(a.hec) })
	add("hec", false, func(p *pusher, n int) []byte { return each(p.texts(n), `{"event":%s}`) }, func(p *pusher) sendFunc {
		return p.post("http://"+a.hec+"/services/collector", "application/json", func(b []byte) bool { return bytes.Contains(b, []byte(`"code":0`)) })
	})
	add("forward-ack", true, func(p *pusher, n int) []byte {
		var e []byte
		for k, l := range p.texts(n) {
			e = msgp.AppendMapHeader(forward.AppendTime(append(e, 0x92), p.time(n, k)), 1)
			e = msgp.AppendString(msgp.AppendString(e, "log"), l)
		}
		return forward.AppendOption(append(forward.AppendPacked(nil, "kills", len(e)), e...), perPush, fmt.Sprint("chunk-", n), "")
	}, func(p *pusher) sendFunc { return forwardSend(a.forward) })
	return out
}

// forwardSend keeps a connection and waits for each chunk's acknowledgement.
func forwardSend(addr string) func(context.Context, []byte, int) (bool, time.Duration) {
	var c net.Conn
	return func(ctx context.Context, body []byte, n int) (ok bool, _ time.Duration) {
		if c == nil {
			var err error
			if c, err = new(net.Dialer).DialContext(ctx, "tcp", addr); err != nil {
				c = nil
				return false, 0
			}
		}
		stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		defer func() {
			if !ok {
				_ = c.Close()
				c = nil
			}
		}()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Write(body); err != nil {
			return false, 0
		}
		p := make([]byte, 256)
		k, err := c.Read(p)
		if err != nil {
			return false, 0
		}
		id, is := forward.ParseAck(p[:k])
		return is && string(id) == fmt.Sprint("chunk-", n), 0
	}
}

// noise is text of so many bytes that no compression makes much smaller.
func noise(n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}
