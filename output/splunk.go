package output

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/splunk"
)

// SplunkConfig configures NewSplunk.
type SplunkConfig struct {
	HTTPConfig // URL with or without /services/collector; Auth is not used; Compression: gzip (default), none
	Token      Secret
	TokenFile  string // instead; read again when it changes
	Encoding   splunk.EncoderConfig
	// Ack waits until the indexers have acknowledged the events.
	Ack bool
	// AckEvery is how often to ask, default 500 ms; AckTimeout how long, default
	// 2 min.
	AckEvery, AckTimeout time.Duration
}

// Splunk sends events to the HTTP Event Collector of a Splunk, or what speaks its
// protocol. Without Ack, delivered means that the collector took the events into
// its memory; with it, that the indexers have them. The collector knows no ids:
// delivery is at-least-once, and every event has the indexed field weir_id.
//
// A request is refused as a whole. Bad events (codes 6, 12, 13, 15) are found by
// bisecting; everything that the token, the channel or the server is to blame
// for is tried again.
// https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector
type Splunk struct {
	*client
	enc        *encoders
	zip        *compressors
	events     *url.URL
	acks       *url.URL // nil without Ack
	header     http.Header
	token      Secret
	tokens     *material // with the token's file
	constIndex bool
	every, max time.Duration
}

// NewSplunk returns an output to one collector.
func NewSplunk(c SplunkConfig) (*Splunk, error) {
	c.Auth = Auth{}
	conf, u, err := c.HTTPConfig.checked("http", "https")
	if err != nil {
		return nil, err
	}
	conf.Auth = Auth{} // also not that of the URL
	if (c.Token == "") == (c.TokenFile == "") {
		return nil, errors.New("output: splunk: give a token or the token's file")
	}
	if !validHeaderValue(string(c.Token)) {
		return nil, errors.New("output: splunk: the token holds characters that no header may have")
	}
	method, err := conf.compression(compressGzip, compressNone)
	if err != nil {
		return nil, err
	}
	zip, err := newCompressors(method, conf.CompressionLevel)
	if err != nil {
		return nil, err
	}
	o := &Splunk{zip: zip, header: conf.headerFor("application/json"), token: c.Token, every: c.AckEvery, max: c.AckTimeout}
	o.constIndex = c.Encoding.Index == nil || c.Encoding.Index.Const()
	if c.TokenFile != "" {
		if o.tokens, err = newMaterial(&HTTPConfig{Auth: Auth{BearerFile: c.TokenFile}, Logger: conf.Logger, Now: conf.Now}); err != nil {
			return nil, err
		}
	}
	if o.client, err = newClient(conf, u); err != nil {
		return nil, err
	}
	base := *u
	path := strings.TrimSuffix(base.Path, "/")
	path = strings.TrimSuffix(strings.TrimSuffix(path, "/event"), "/services/collector")
	base.Path = path + "/" // JoinPath makes a relative path of an empty one
	o.events = base.JoinPath("services/collector/event")
	if c.Ack {
		q := o.events.Query()
		q.Set("channel", newChannel())
		o.events.RawQuery = q.Encode()
		o.acks = base.JoinPath("services/collector/ack")
		o.acks.RawQuery = o.events.RawQuery
	}
	if o.every <= 0 {
		o.every = 500 * time.Millisecond
	}
	if o.max <= 0 {
		o.max = 2 * time.Minute
	}
	e := splunk.NewEncoder(c.Encoding)
	o.enc = newEncoders(e, func() encoder { return e.Clone() })
	return o, nil
}

// newChannel returns a random UUID.
func newChannel() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (o *Splunk) authorization() [2]string {
	token := string(o.token)
	if o.tokens != nil {
		token = o.tokens.current().token
	}
	return [2]string{"Authorization", "Splunk " + token}
}

// hecAnswer is what the collector says.
type hecAnswer struct {
	Code  *int            `json:"code"`
	AckID *uint64         `json:"ackId"`
	Acks  map[string]bool `json:"acks"`
}

// Send posts the events of parts, and waits for their acknowledgement.
func (o *Splunk) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	w := getWork()
	defer w.put()
	a, size, err := o.exchange(ctx, w, o.zip, o.enc, parts, request{url: o.events, header: o.header, extra: o.authorization(), limit: maxAnswer})
	if err != nil {
		return ack.Result{}, err
	}
	h, err := o.judge(a)
	if err == nil && o.acks != nil {
		err = o.wait(ctx, w, h)
	}
	if err != nil {
		return ack.Result{}, err
	}
	return ack.Result{Bytes: size}, nil
}

// judge returns what the answer says; the error is an *ack.SendError.
func (o *Splunk) judge(a answer) (h hecAnswer, err error) {
	ok := json.Unmarshal(bytes.TrimSpace(a.body), &h) == nil && h.Code != nil
	if a.status == http.StatusOK && ok && *h.Code == 0 {
		return h, nil
	}
	detail := ""
	if ok {
		detail = "code " + strconv.Itoa(*h.Code)
	}
	e := o.refused(a, detail)
	if e.Kind == ack.Rejected {
		e.Kind = ack.Retry // only some of the 400s are about the events
	}
	if ok {
		todo := ""
		switch *h.Code {
		case 6, 12, 13, 15: // data format, event missing, event blank, indexed fields
			e.Kind = ack.Rejected
		case 7:
			todo = "the token may not write to this index, or there is none: check index"
			if !o.constIndex {
				e.Kind = ack.Rejected
			}
		case 1, 2, 3, 4:
			e.Kind, todo = ack.Unauthorized, "the token is wrong or disabled: check token"
		case 10, 11:
			todo = "the token has indexer acknowledgement: set ack: {enabled: true}"
		case 14:
			todo = "the token has no indexer acknowledgement: set ack: {enabled: false}"
		}
		if todo != "" {
			e.Err = fmt.Errorf("%w; %s", e.Err, todo)
		}
	}
	if e.Kind == ack.Unauthorized && o.tokens != nil {
		o.tokens.look()
	}
	return h, e
}

// wait asks until the indexers have acknowledged the request that h answers.
func (o *Splunk) wait(ctx context.Context, w *work, h hecAnswer) error {
	if h.AckID == nil {
		return &ack.SendError{Kind: ack.Retry, Err: fmt.Errorf("POST %s: the answer has no ackId: the token has no indexer acknowledgement; set ack: {enabled: false}", o.shown)}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.max, errNotAcked)
	defer cancel()
	id := strconv.FormatUint(*h.AckID, 10)
	tick := time.NewTimer(o.every)
	defer tick.Stop()
	var last error
	for {
		select {
		case <-ctx.Done():
			err := context.Cause(ctx)
			if last != nil {
				err = fmt.Errorf("%w (%w)", err, last)
			}
			return &ack.SendError{Kind: ack.Retry, Err: fmt.Errorf("POST %s: %w", o.shown, err)}
		case <-tick.C:
		}
		a, err := o.post(ctx, w, &request{url: o.acks, header: o.header, extra: o.authorization(), body: []byte(`{"acks":[` + id + `]}`), limit: maxAnswer})
		var got hecAnswer
		switch {
		case err != nil:
			last = err
		case a.status != http.StatusOK || json.Unmarshal(a.body, &got) != nil || got.Acks == nil:
			last = o.refused(a, "asking for acknowledgements")
		case got.Acks[id]:
			return nil
		}
		tick.Reset(o.every)
	}
}

var errNotAcked = fmt.Errorf("the indexers have not acknowledged the events in time; they are sent again: %w", context.DeadlineExceeded)

// Probe posts nothing, which the collector refuses (code 5) only after it has
// accepted the token.
func (o *Splunk) Probe(ctx context.Context) error {
	w := getWork()
	defer w.put()
	a, err := o.post(ctx, w, &request{url: o.events, header: o.header, extra: o.authorization(), limit: maxAnswer})
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	h, err := o.judge(a)
	if h.Code != nil && *h.Code == 5 || err == nil {
		return nil
	}
	return fmt.Errorf("probe: %w", err)
}
