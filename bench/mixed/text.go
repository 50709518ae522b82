package mixed

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// kind is the format of a stream's lines.
type kind uint8

const (
	accessJSON kind = iota
	appJSON
	logfmt
	klog
	nginx
	plain
	java
)

// A template is a message with places for what differs: # a number, @ an
// address, % a duration, ~ hexadecimal digits, ^ an order number.
var templates = []string{
	"user ^ logged in from @", "session ~ closed after %", "connection from @:# accepted", "connection to shard # lost, retrying in %",
	"payment ^ authorised in %", "payment ^ captured, batch #", "order ^ confirmed", "order ^ moved to shipping, # items", "cache miss for key item:#",
	"cache hit ratio is #", "flushed # rows to segment ~", "commit of partition # at offset #", "consumer group rebalanced, # partitions assigned",
	"lease renewed for %", "lease expired, giving up leadership", "leader elected: node-#, term #", "snapshot ~ written in %", "retrying upstream call, attempt #",
	"upstream answered in %", "circuit to @ opened after # failures", "token bucket of tenant # refilled", "slow query took %: select * from orders where id = ^",
	"index orders_idx rebuilt, # entries", "worker # started", "worker # idle for %", "queue imports has # waiting", "message ~ delivered to topic orders",
	"mail to customer ^ sent", "template order-confirmation rendered in %", "webhook @ answered #", "config reloaded, # rules", "feature flag new-checkout is on for # percent",
	"checkpoint of stream # at #", "garbage collection took %, # MB freed", "health check of @ passed", "health check of @ failed before deadline",
	"certificate of ingress renews in # days", "scrape of @:# took %", "evaluated # rules in %", "compacted blocks # to #, ~", "fraud score of order ^ is #",
	"reserved # units of item ^", "stock of item ^ below #", "file part-#.csv read, # lines", "import ~ finished in %", "refresh token issued for user ^",
}

var (
	routes = strings.Fields(`/ /healthz /metrics /login /logout /api/v1/items /api/v1/items/{id} /api/v1/items/{id}/reviews /api/v1/cart /api/v1/cart/{id}
		/api/v1/cart/{id}/items /api/v1/checkout /api/v1/checkout/{id} /api/v1/orders /api/v1/orders/{id} /api/v1/orders/{id}/status /api/v1/payments
		/api/v1/payments/{id} /api/v1/users/{id} /api/v1/users/{id}/addresses /api/v1/search /api/v1/suggest /api/v1/categories /api/v1/categories/{id}
		/api/v1/recommendations /api/v2/items /api/v2/search /static/app.js /static/app.css /static/logo.svg /webhooks/payment /webhooks/shipping`)
	statuses = []int{200, 201, 204, 301, 304, 400, 401, 404, 429, 500, 502, 503, 504}
	shares   = []int{880, 30, 10, 5, 25, 10, 5, 20, 3, 4, 2, 4, 2} // of 1000
	agents   = []string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/127.0.0.0 Safari/537.36",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
		"okhttp/4.12.0", "curl/8.9.1", "Go-http-client/2.0", "python-requests/2.32.3", "kube-probe/1.31", "Prometheus/2.54.0", "shop-android/7.14.2 (build 8841)",
	}
	files   = []string{"controller.go", "reflector.go", "proxier.go", "server.go", "scheduler.go", "cache.go", "leaderelection.go", "request.go"}
	classes = []string{"OrderService", "CartRepository", "PaymentClient", "StockController", "HttpDispatcher", "RetryTemplate", "TransactionInterceptor", "JdbcTemplate"}
	methods = []string{"GET", "GET", "GET", "GET", "GET", "GET", "GET", "POST", "POST", "PUT", "DELETE"}
	levels  = []string{"info", "info", "info", "info", "info", "info", "info", "info", "debug", "debug", "debug", "warn", "warn", "error"}
)

// texts makes lines.
type texts struct {
	addresses []string
	traces    []string // of late; one stands in several lines
}

func newTexts(seed uint64) (t texts) {
	r := rand.New(rand.NewPCG(seed, 4))
	for range 4000 {
		t.addresses = append(t.addresses, strconv.Itoa(10+r.IntN(180))+"."+strconv.Itoa(r.IntN(256))+"."+strconv.Itoa(r.IntN(256))+"."+strconv.Itoa(1+r.IntN(254)))
	}
	for range 64 {
		t.traces = append(t.traces, t.hex(r, 32))
	}
	return t
}

const hexDigits = "0123456789abcdef"

func (t *texts) hex(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := 0; i < n; i += 16 {
		v := r.Uint64()
		for k := i; k < min(i+16, n); k++ {
			b[k] = hexDigits[v&15]
			v >>= 4
		}
	}
	return string(b)
}

// trace returns the id of a request that is under way.
func (t *texts) trace(r *rand.Rand) string {
	i := r.IntN(len(t.traces))
	if r.IntN(3) == 0 {
		t.traces[i] = t.hex(r, 32)
	}
	return t.traces[i]
}

// pick prefers the first ones.
func pick(r *rand.Rand, n int) int { return min(r.IntN(n), r.IntN(n)) }

func (t *texts) message(r *rand.Rand, dst []byte) []byte {
	for _, c := range []byte(templates[pick(r, len(templates))]) {
		switch c {
		case '#':
			dst = strconv.AppendInt(dst, int64(r.IntN(1<<(1+r.IntN(16)))), 10)
		case '@':
			dst = append(dst, t.addresses[pick(r, len(t.addresses))]...)
		case '%':
			dst = duration(r, dst)
		case '~':
			dst = append(dst, t.hex(r, 8)...)
		case '^':
			dst = strconv.AppendInt(dst, 400_000+int64(r.IntN(90_000)), 10)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func duration(r *rand.Rand, dst []byte) []byte {
	dst = strconv.AppendFloat(dst, float64(1+r.IntN(1<<(3+r.IntN(13))))/10, 'f', 1, 64)
	return append(dst, "ms"...)
}

func status(r *rand.Rand) int {
	x := r.IntN(1000)
	for i, s := range shares {
		if x -= s; x < 0 {
			return statuses[i]
		}
	}
	panic("shares do not make 1000")
}

// path appends a route with numbers in it.
func path(r *rand.Rand, dst []byte, route string) []byte {
	for {
		before, after, ok := strings.Cut(route, "{id}")
		dst = append(dst, before...)
		if !ok {
			return dst
		}
		dst = strconv.AppendInt(dst, int64(10_000+r.IntN(60_000)), 10)
		route = after
	}
}

func levelOf(status int) string {
	switch {
	case status >= 500:
		return "error"
	case status >= 400:
		return "warn"
	}
	return "info"
}

// line fills in everything but stream and time.
func (t *texts) line(r *rand.Rand, k kind, e *Entry) {
	at := time.Unix(0, e.Time).UTC()
	e.Level = levels[r.IntN(len(levels))]
	switch k {
	case accessJSON:
		t.accessJSON(r, at, e)
	case appJSON:
		t.appJSON(r, at, e)
	case logfmt:
		b := append(e.Line, "ts="...)
		b = at.AppendFormat(b, "2006-01-02T15:04:05.000Z")
		b = append(append(b, " caller="...), files[r.IntN(len(files))]...)
		b = strconv.AppendInt(append(b, ':'), int64(20+r.IntN(30)*7), 10)
		b = append(append(b, " level="...), e.Level...)
		b = append(t.message(r, append(b, ` msg="`...)), `" component=`...)
		b = append(b, []string{"store", "rules", "sender", "discovery", "tsdb"}[r.IntN(5)]...)
		e.Line = duration(r, append(b, " took="...))
	case klog:
		c := map[string]byte{"info": 'I', "debug": 'I', "warn": 'W', "error": 'E'}[e.Level]
		if e.Level == "debug" {
			e.Level = "info"
		}
		b := at.AppendFormat(append(e.Line, c), "0102 15:04:05.000000")
		b = append(append(b, "       1 "...), files[r.IntN(len(files))]...)
		b = append(strconv.AppendInt(append(b, ':'), int64(20+r.IntN(30)*11), 10), "] "...)
		e.Line = t.message(r, b)
	case nginx:
		s := status(r)
		e.Level = levelOf(s)
		b := append(append(e.Line, t.addresses[pick(r, len(t.addresses))]...), " - - ["...)
		b = at.AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
		b = append(append(b, `] "`...), methods[r.IntN(len(methods))]...)
		b = path(r, append(b, ' '), routes[pick(r, len(routes))])
		b = strconv.AppendInt(append(b, ` HTTP/1.1" `...), int64(s), 10)
		b = strconv.AppendInt(append(b, ' '), int64(r.IntN(1<<(7+r.IntN(10)))), 10)
		b = append(append(append(b, ` "-" "`...), agents[pick(r, len(agents))]...), `" `...)
		b = strconv.AppendFloat(b, float64(r.IntN(1<<(2+r.IntN(10))))/1000, 'f', 3, 64)
		e.Line = b
	case java:
		t.java(r, at, e)
	default:
		b := at.AppendFormat(e.Line, "2006-01-02 15:04:05.000 ")
		b = append(b, strings.ToUpper(e.Level)...)
		b = append(b, "  [worker-"...)
		b = append(strconv.AppendInt(b, int64(r.IntN(16)), 10), "] "...)
		e.Line = t.message(r, b)
	}
}

func (t *texts) accessJSON(r *rand.Rand, at time.Time, e *Entry) {
	e.Status, e.Route = status(r), routes[pick(r, len(routes))]
	e.Level = levelOf(e.Status)
	b := at.AppendFormat(append(e.Line, `{"time":"`...), "2006-01-02T15:04:05.000000Z")
	b = append(append(b, `","level":"`...), e.Level...)
	b = append(b, `","msg":"request served","http_method":"`...)
	b = append(b, methods[r.IntN(len(methods))]...)
	b = path(r, append(b, `","http_path":"`...), e.Route)
	b = append(append(b, `","http_route":"`...), e.Route...)
	b = strconv.AppendInt(append(b, `","http_status":`...), int64(e.Status), 10)
	b = strconv.AppendInt(append(b, `,"bytes":`...), int64(r.IntN(1<<(7+r.IntN(10)))), 10)
	b = strconv.AppendFloat(append(b, `,"duration_ms":`...), float64(1+r.IntN(1<<(5+r.IntN(13))))/100, 'f', 2, 64)
	b = append(append(b, `,"remote":"`...), t.addresses[pick(r, len(t.addresses))]...)
	b = append(append(b, `","user_agent":"`...), agents[pick(r, len(agents))]...)
	b = append(append(b, `","request_id":"`...), t.hex(r, 16)...)
	e.Line = append(b, `"}`...)
	if r.IntN(2) == 0 {
		e.Trace = t.trace(r)
	}
}

func (t *texts) appJSON(r *rand.Rand, at time.Time, e *Entry) {
	b := at.AppendFormat(append(e.Line, `{"ts":"`...), time.RFC3339Nano)
	b = append(append(b, `","level":"`...), e.Level...)
	b = append(append(b, `","logger":"`...), []string{"http", "db", "queue", "scheduler", "audit"}[r.IntN(5)]...)
	b = append(t.message(r, append(b, `","msg":"`...)), '"')
	b = strconv.AppendInt(append(b, `,"attempt":`...), int64(1+r.IntN(3)), 10)
	b = append(append(b, `,"tenant":"t-`...), strconv.Itoa(pick(r, 200))...)
	b = strconv.AppendInt(append(b, `","order":{"id":`...), 400_000+int64(r.IntN(90_000)), 10)
	b = strconv.AppendInt(append(b, `,"total":`...), int64(r.IntN(50_000)), 10)
	e.Line = append(b, `,"currency":"EUR"},"ok":true}`...)
	if r.IntN(2) == 0 {
		e.Trace = t.trace(r)
	}
}

// java appends a line of text, and in one of eight a stack trace with it.
func (t *texts) java(r *rand.Rand, at time.Time, e *Entry) {
	trace := r.IntN(8) == 0
	if trace {
		e.Level = "error"
	}
	b := at.AppendFormat(e.Line, "2006-01-02 15:04:05,000 ")
	b = append(b, strings.ToUpper(e.Level)...)
	b = append(append(b, " [http-nio-8080-exec-"...), strconv.Itoa(1+r.IntN(20))...)
	b = append(append(append(b, "] com.example.shop."...), classes[r.IntN(len(classes))]...), " - "...)
	b = t.message(r, b)
	if trace {
		b = append(b, "\njava.lang.IllegalStateException: "...)
		b = t.message(r, b)
		first := r.IntN(len(classes))
		for i := range 8 + r.IntN(12) {
			c := classes[(first+i)%len(classes)]
			b = append(append(append(append(b, "\n\tat com.example.shop."...), c...), ".invoke("...), c...)
			b = append(strconv.AppendInt(append(b, ".java:"...), int64(30+(first*31+i*17)%400), 10), ')')
		}
	}
	e.Line = b
}
