package output

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/forward"
)

// ForwardConfig configures NewForward.
type ForwardConfig struct {
	HTTPConfig // URL: tcp://host:port or tls://host:port; Auth: User and Password; Compression: none, gzip, zstd
	Encoding   forward.Config
	// Tag of a record; a Send makes a message for each there is.
	Tag *wire.Template
	// SharedKey answers the receiver's question for it; "" if it asks none.
	SharedKey Secret
	// Hostname is who we say we are; "" is the host's name.
	Hostname string
	// NoAck asks for no acknowledgements: records count as delivered when the
	// kernel has taken them.
	NoAck bool
}

// Forward sends the Fluentd Forward Protocol to a Fluentd, Fluent Bit or weir, in
// PackedForward mode.
// https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1
type Forward struct {
	*socket
	enc     *encoders
	zip     *compressors
	tag     *wire.Template
	noAck   bool
	key     Secret
	host    string
	scratch sync.Pool // *grouping
}

// NewForward returns an output to one receiver.
func NewForward(c ForwardConfig) (*Forward, error) {
	if c.Tag == nil {
		return nil, errors.New("output: forward: the tag is missing")
	}
	s, err := newSocket(c.HTTPConfig, "tcp", "tls")
	if err != nil {
		return nil, err
	}
	method := c.Compression
	if method == "" {
		method = compressGzip
	}
	if method == compressSnappy {
		return nil, fmt.Errorf("output %s: the protocol has no compression %s", s.shown, method)
	}
	zip, err := newCompressors(method, c.CompressionLevel)
	if err != nil {
		return nil, err
	}
	enc := forward.NewEncoder(c.Encoding)
	o := &Forward{socket: s, zip: zip, tag: c.Tag, noAck: c.NoAck, key: c.SharedKey, host: c.Hostname,
		enc: newEncoders(enc, func() encoder { return enc.Clone() })}
	if o.host == "" {
		if o.host, err = os.Hostname(); err != nil {
			o.host = "weir"
		}
	}
	if o.key != "" {
		s.begin = o.handshake
	}
	return o, nil
}

// handshake answers the receiver's questions.
func (o *Forward) handshake(c *socketConn) error {
	p, err := c.message()
	if err != nil {
		return fmt.Errorf("handshake: the receiver does not ask for the shared key: %w", err)
	}
	hello, err := forward.ParseHello(p)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	nonce := slices.Clone(hello.Nonce)
	salt := []byte(rand.Text())
	a := o.conf.Auth
	ping := forward.NewPing(hello, o.host, salt, string(o.key), a.User, string(a.Password))
	if _, err := c.Write(ping.Append(nil)); err != nil {
		return err
	}
	if p, err = c.message(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	pong, err := forward.ParsePong(p)
	switch {
	case err != nil:
		return fmt.Errorf("handshake: %w", err)
	case !pong.OK:
		return &ack.SendError{Kind: ack.Unauthorized, Err: fmt.Errorf("the receiver refuses us: %q; check shared_key and auth", pong.Reason[:min(len(pong.Reason), 100)])}
	case !pong.KeyMatches(salt, nonce, string(o.key)):
		return &ack.SendError{Kind: ack.Unauthorized, Err: errors.New("the receiver does not know the shared key")}
	}
	return nil
}

// message reads the next message that the receiver sends. It is valid until the
// next.
func (c *socketConn) message() ([]byte, error) {
	f := forward.Framer{Max: 16 << 10, AnyValue: true}
	for {
		n, err := f.Next(c.in[c.from:])
		if err != nil {
			return nil, err
		}
		if n > 0 {
			p := c.in[c.from : c.from+n]
			c.from += n
			return p, nil
		}
		c.in = slices.Grow(c.in[:copy(c.in, c.in[c.from:])], 512)
		c.from = 0
		if n, err = c.Read(c.in[len(c.in):cap(c.in)]); n == 0 && err != nil {
			return nil, err
		}
		c.in = c.in[:len(c.in)+n]
	}
}

// Send sends the records of parts, messages for each tag, all on one connection,
// and waits for their acknowledgements. Records of messages that were not
// acknowledged, where others were, are failures to be tried again.
func (o *Forward) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	g, _ := o.scratch.Get().(*grouping)
	if g == nil {
		g = &grouping{byName: map[string]int{}}
	}
	defer o.scratch.Put(g)
	defer g.reset()
	g.split(o.tag, parts)
	w := getWork()
	defer w.put()
	enc := o.enc.get()
	defer o.enc.put(enc)
	w.comp = w.comp[:0]
	var messages []message
	for i := range g.groups {
		t := &g.groups[i]
		m := message{group: t}
		w.raw = w.raw[:0]
		for _, r := range t.runs {
			b := parts[r.part].Batch()
			for from := r.from; from < r.to; {
				to := from
				// How long they become is seen at the first few.
				most := 16
				if m.records > 0 {
					most = max(1, maxMessage/4*m.records/len(w.raw))
				}
				for size := 0; to < r.to && size < maxMessage/4 && to-from < most; to++ {
					size += b.RecordSize(int(t.idx[to]))
				}
				some := parts[r.part].Select(t.idx[from:to])
				w.raw = enc.Append(w.raw, []record.Part{some})
				some.Finish()
				m.runs = append(m.runs, run{r.part, from, to})
				m.records += to - from
				from = to
				if len(w.raw) >= maxMessage {
					if err := o.seal(w, &m); err != nil {
						return ack.Result{}, err
					}
					messages = append(messages, m)
					m = message{group: t}
					w.raw = w.raw[:0]
				}
			}
		}
		if m.records > 0 {
			if err := o.seal(w, &m); err != nil {
				return ack.Result{}, err
			}
			messages = append(messages, m)
		}
	}
	acked := 0
	err := o.attempt(ctx, func(c *socketConn) error {
		if _, err := c.Write(w.comp); err != nil || o.noAck {
			return err
		}
		for acked < len(messages) {
			p, err := c.message()
			if err != nil {
				return fmt.Errorf("%d of %d messages were acknowledged: %w", acked, len(messages), err)
			}
			id, ok := forward.ParseAck(p)
			at := slices.IndexFunc(messages, func(m message) bool { return !m.acked && m.chunk == string(id) })
			if !ok || at < 0 {
				return errors.New("the answer is no acknowledgement of what was sent")
			}
			messages[at].acked = true
			acked++
		}
		return nil
	})
	res := ack.Result{Bytes: len(w.comp)}
	if err == nil {
		return res, nil
	}
	if acked == 0 {
		return ack.Result{}, err
	}
	for i := range messages {
		m := &messages[i]
		if m.acked {
			continue
		}
		for _, run := range m.runs {
			for _, rec := range m.group.idx[run.from:run.to] {
				res.Failures = append(res.Failures, ack.Failure{Part: run.part, Record: rec, Reason: "not acknowledged: " + err.Error()})
			}
		}
	}
	slices.SortFunc(res.Failures, func(a, b ack.Failure) int {
		return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Record, b.Record))
	})
	return res, nil
}

// maxMessage is about how long the entries of a message become: a receiver closes
// the connection on one that is longer than it takes, 6 MB by default at Fluent
// Bit, which says nothing and would go on for ever.
const maxMessage = 2 << 20

// message is one of those that a Send sends.
type message struct {
	group   *tenantGroup
	runs    []run // of the group's idx
	records int
	chunk   string
	acked   bool
}

// seal appends the message whose entries are w.raw to w.comp.
func (o *Forward) seal(w *work, m *message) error {
	if !o.noAck {
		// A name that says nothing of what is in it: records without an id may be
		// alike, and each counts.
		var id [16]byte
		rand.Read(id[:])
		m.chunk = base64.StdEncoding.EncodeToString(id[:])
	}
	entries, method := w.raw, ""
	if o.zip.method != compressNone {
		z, err := o.zip.get()
		if err != nil {
			return fmt.Errorf("compress the message: %w", err)
		}
		w.resp = w.resp[:0]
		z.Reset(sliceWriter{&w.resp})
		_, err = z.Write(w.raw)
		err = errors.Join(err, z.Close())
		o.zip.put(z)
		if err != nil {
			return fmt.Errorf("compress the message: %w", err)
		}
		entries, method = w.resp, o.zip.method
	}
	w.comp = forward.AppendPacked(w.comp, m.group.tenant, len(entries))
	w.comp = append(w.comp, entries...)
	w.comp = forward.AppendOption(w.comp, m.records, m.chunk, method)
	return nil
}
