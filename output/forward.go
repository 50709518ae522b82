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

// Send sends the records of parts, a message for each tag, all on one connection,
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
	chunks := make([]string, len(g.groups))
	w.comp = w.comp[:0]
	for i := range g.groups {
		t := &g.groups[i]
		if !o.noAck {
			// A name that says nothing of what is in it: records without an id may be
			// alike, and each counts.
			var id [16]byte
			rand.Read(id[:])
			chunks[i] = base64.StdEncoding.EncodeToString(id[:])
		}
		sub := t.parts(parts)
		w.raw = enc.Append(w.raw[:0], sub)
		for _, p := range sub {
			p.Finish()
		}
		entries, method := w.raw, ""
		if o.zip.method != compressNone {
			z, err := o.zip.get()
			if err != nil {
				return ack.Result{}, fmt.Errorf("compress the message: %w", err)
			}
			w.resp = w.resp[:0]
			z.Reset(sliceWriter{&w.resp})
			_, err = z.Write(w.raw)
			err = errors.Join(err, z.Close())
			o.zip.put(z)
			if err != nil {
				return ack.Result{}, fmt.Errorf("compress the message: %w", err)
			}
			entries, method = w.resp, o.zip.method
		}
		w.comp = forward.AppendPacked(w.comp, t.tenant, len(entries))
		w.comp = append(w.comp, entries...)
		w.comp = forward.AppendOption(w.comp, len(t.idx), chunks[i], method)
	}
	acked := 0
	err := o.attempt(ctx, func(c *socketConn) error {
		if _, err := c.Write(w.comp); err != nil || o.noAck {
			return err
		}
		for acked < len(chunks) {
			p, err := c.message()
			if err != nil {
				return fmt.Errorf("%d of %d messages were acknowledged: %w", acked, len(chunks), err)
			}
			id, ok := forward.ParseAck(p)
			if !ok || string(id) != chunks[acked] {
				return errors.New("the answer is no acknowledgement of what was sent")
			}
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
	for i := acked; i < len(g.groups); i++ {
		t := &g.groups[i]
		for _, run := range t.runs {
			for _, rec := range t.idx[run.from:run.to] {
				res.Failures = append(res.Failures, ack.Failure{Part: run.part, Record: rec, Reason: "not acknowledged: " + err.Error()})
			}
		}
	}
	slices.SortFunc(res.Failures, func(a, b ack.Failure) int {
		return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Record, b.Record))
	})
	return res, nil
}
