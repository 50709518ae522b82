package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirlog/weir/wire/splunk"
)

func init() { httpProtocols["splunk_hec"] = (*HTTP).splunk }

// Codes of the HTTP Event Collector that are answered here.
// https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector
const (
	hecSuccess       = 0
	hecTokenRequired = 2
	hecInvalidAuth   = 3
	hecInvalidToken  = 4
	hecNoData        = 5
	hecInvalidData   = 6
	hecInternal      = 8
	hecBusy          = 9
	hecBadChannel    = 11
	hecNoEvent       = 12
	hecBlankEvent    = 13
	hecAckDisabled   = 14
	hecBadFields     = 15
	hecNoQueryAuth   = 16
	hecHealthy       = 17
	hecStopping      = 23
	hecTooLarge      = 27
)

var hecText = map[int]string{
	hecSuccess: "Success", hecTokenRequired: "Token is required", hecInvalidAuth: "Invalid authorization", hecInvalidToken: "Invalid token",
	hecNoData: "No data", hecInvalidData: "Invalid data format", hecInternal: "Internal server error", hecBusy: "Server is busy",
	hecBadChannel: "Invalid data channel", hecNoEvent: "Event field is required", hecBlankEvent: "Event field cannot be blank",
	hecAckDisabled: "ACK is disabled", hecBadFields: "Error in handling indexed fields", hecNoQueryAuth: "Query string authorization is not enabled",
	hecHealthy: "HEC is healthy", hecStopping: "Server is shutting down", hecTooLarge: "Request entity too large",
}

// splunk registers the HTTP Event Collector.
func (h *HTTP) splunk() {
	cache := h.cache("splunk")
	s := &hec{acks: hecAcks{channels: make(map[string]*hecChannel)},
		decoders: sync.Pool{New: func() any { return splunk.NewDecoder(h.cfg.Limits.Records, cache) }}}
	pushes := func(protocol string, raw bool) endpoint {
		return endpoint{protocol: protocol, fail: failHEC, credentials: hecCredentials, methods: []string{http.MethodPost, http.MethodPut},
			serve: func(ctx context.Context, u *push) error { return u.hec(ctx, s, raw) }}
	}
	const root = "/services/collector"
	for _, p := range []string{"", "/event", "/event/1.0"} {
		h.handle(root+p, pushes("splunk_event", false))
	}
	for _, p := range []string{"/raw", "/raw/1.0"} {
		h.handle(root+p, pushes("splunk_raw", true))
	}
	for _, p := range []string{"/health", "/health/1.0"} {
		h.handle(root+p, endpoint{protocol: "splunk_api", fail: failHEC, open: true, methods: []string{http.MethodGet},
			serve: func(_ context.Context, u *push) error {
				answerHEC(u.w, http.StatusOK, hecHealthy, "")
				return nil
			}})
	}
	for _, p := range []string{"/ack", "/ack/1.0"} {
		h.handle(root+p, endpoint{protocol: "splunk_api", fail: failHEC, credentials: hecCredentials,
			serve: func(_ context.Context, u *push) error { return u.hecAck(s) }})
	}
}

// hec is what the requests of a collector share.
type hec struct {
	decoders sync.Pool
	acks     hecAcks
}

func hecCredentials(r *http.Request, c *Credentials) {
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Splunk") {
		c.Token = strings.TrimSpace(token)
	} else if c.Password != "" {
		// Basic: the token is the password, whatever the user's name.
		c.Token = c.Password
	}
}

// eventMark stands in an error's text before the number of the event at fault.
const eventMark = "\x00"

// hecFail is the error whose answer is that code, of status 400.
func hecFail(code int) error { return &httpError{http.StatusBadRequest, hecText[code]} }

// hecEvent is hecFail for the event with that number.
func hecEvent(code, number int) error {
	return &httpError{http.StatusBadRequest, hecText[code] + eventMark + strconv.Itoa(number)}
}

// hec answers events and raw text: 200 and code 0 if all are durable. An event
// that is malformed ends the request: those before it are taken, the answer names
// its number.
func (u *push) hec(ctx context.Context, s *hec, raw bool) error {
	q := u.URL.Query()
	if u.Header.Get("Authorization") == "" && q.Has("token") {
		return hecFail(hecNoQueryAuth)
	}
	channel := u.Header.Get("X-Splunk-Request-Channel")
	if channel == "" {
		channel = q.Get("channel")
	}
	if channel != "" && !isGUID(channel) {
		return hecFail(hecBadChannel)
	}
	if err := u.readBody(ctx, false); err != nil {
		return err
	}
	of := splunk.Metadata{Host: q.Get("host"), Source: q.Get("source"), Sourcetype: q.Get("sourcetype"), Index: q.Get("index")}
	if t := q.Get("time"); t != "" {
		if f, err := strconv.ParseFloat(t, 64); err == nil && f > 0 && f < 1<<33 {
			of.Time = int64(f*1e6) * 1000
		}
	}
	d := s.decoders.Get().(*splunk.Decoder)
	var err error
	if raw {
		u.out, err = d.Raw(u.b, u.body, of, u.id.Tenant, u.now)
	} else {
		u.out, err = d.Events(u.b, u.body, of, u.id.Tenant, u.now)
	}
	s.decoders.Put(d)
	var bad *splunk.EventError
	if err != nil && !errors.As(err, &bad) {
		return malformed(err)
	}
	if bad == nil && u.b.NumRecords() == 0 {
		return hecFail(hecNoData)
	}
	var refused []Refusal
	if u.b.NumRecords() > 0 {
		if refused, err = u.take(ctx); err != nil {
			return err
		}
	}
	if bad != nil {
		return hecEvent(bad.Code, bad.Number)
	}
	if len(refused) > 0 {
		return hecEvent(hecInvalidData, int(refused[0].Record))
	}
	more := ""
	if channel != "" {
		if id, ok := s.acks.next(u.id.Name, channel); ok {
			more = fmt.Sprintf(`,"ackId":%d`, id)
		}
	}
	answerHEC(u.w, http.StatusOK, hecSuccess, more)
	return nil
}

// isGUID reports whether a channel is one: 8-4-4-4-12 hexadecimal digits.
func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if c-'0' > 9 && c|0x20-'a' > 5 {
			return false
		}
	}
	return true
}

// hecAck answers which of the ids asked for are durable: all that were given out,
// once.
func (u *push) hecAck(s *hec) error {
	channel := u.Header.Get("X-Splunk-Request-Channel")
	if channel == "" {
		channel = u.URL.Query().Get("channel")
	}
	if !isGUID(channel) {
		return hecFail(hecBadChannel)
	}
	var ask struct {
		Acks []int64 `json:"acks"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(u.w, u.Body, 1<<20)).Decode(&ask); err != nil {
		return hecFail(hecInvalidData)
	}
	out := []byte(`{"acks":{`)
	for i, id := range ask.Acks {
		if i > 0 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, `"%d":%t`, id, s.acks.confirm(u.id.Name, channel, id))
	}
	u.w.Header().Set("Content-Type", "application/json")
	_, _ = u.w.Write(append(out, `}}`...)) // who has gone needs no answer
	return nil
}

// Bounds of what is remembered of acknowledgements.
const (
	maxHECChannels = 10_000
	maxHECPending  = 10_000 // ids of a channel that nobody has asked for
)

// hecAcks are the ids that were given out and not asked for yet. An id is given
// out when its events are durable. Safe for concurrent use.
type hecAcks struct {
	mu       sync.Mutex
	channels map[string]*hecChannel
}

type hecChannel struct {
	next    int64
	pending map[int64]struct{}
	used    time.Time
}

// next gives out an id of a channel; ok is false if there are too many channels.
func (a *hecAcks) next(who, channel string) (id int64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := who + "\x00" + channel
	c := a.channels[key]
	if c == nil {
		if len(a.channels) >= maxHECChannels {
			a.forget()
		}
		c = &hecChannel{pending: make(map[int64]struct{})}
		a.channels[key] = c
	}
	c.used = time.Now()
	id = c.next
	c.next++
	c.pending[id] = struct{}{}
	delete(c.pending, id-maxHECPending)
	return id, true
}

// forget forgets the channel that was used longest ago.
func (a *hecAcks) forget() {
	var oldest string
	var since time.Time
	for k, c := range a.channels {
		if oldest == "" || c.used.Before(since) {
			oldest, since = k, c.used
		}
	}
	delete(a.channels, oldest)
}

func (a *hecAcks) confirm(who, channel string, id int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.channels[who+"\x00"+channel]
	if c == nil {
		return false
	}
	_, ok := c.pending[id]
	delete(c.pending, id)
	return ok
}

func answerHEC(w http.ResponseWriter, status, code int, more string) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"text":%s,"code":%d%s}`, quote(hecText[code]), code, more) // who has gone needs no answer
}

// failHEC answers with the code that Splunk has for an error.
func failHEC(w http.ResponseWriter, r *http.Request, status int, msg string, _ time.Duration) {
	code, more := hecInternal, ""
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		// 401: nothing shown, or in no form that is known; 403: a token that is
		// none.
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		switch {
		case scheme == "":
			status, code = http.StatusUnauthorized, hecTokenRequired
		case token == "" || !strings.EqualFold(scheme, "Splunk") && !strings.EqualFold(scheme, "Basic") && !strings.EqualFold(scheme, "Bearer"):
			status, code = http.StatusUnauthorized, hecInvalidAuth
		default:
			status, code = http.StatusForbidden, hecInvalidToken
		}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		// Splunk has but this for both, and its clients wait upon it.
		status, code = http.StatusServiceUnavailable, hecBusy
		if msg == errStopping.msg {
			code = hecStopping
		}
	case http.StatusRequestEntityTooLarge:
		code = hecTooLarge
	case http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusRequestTimeout:
		code = hecInvalidData
		text, number, ok := strings.Cut(msg, eventMark)
		if ok {
			more = `,"invalid-event-number":` + number
		}
		for c, t := range hecText {
			if t == text {
				code = c
			}
		}
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		code = 404
	}
	if hecText[code] == "" {
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"text":%s,"code":%d}`, quote("The requested URL was not found on this server."), code)
		return
	}
	answerHEC(w, status, code, more)
}
