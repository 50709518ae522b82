package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha512"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// forwardSender speaks Fluent Forward v1: PackedForward messages, each with an
// ack, and the handshake if there is a shared key.
// https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1
type forwardSender struct {
	target *sendTarget
	o      *sendOptions
	tls    *tls.Config
	conn   net.Conn
	r      *msgp.Reader
	chunk  uint64
	buf    []byte
	packed []byte
}

func newForwardSender(t *sendTarget, o *sendOptions) (*forwardSender, error) {
	s := &forwardSender{target: t, o: o}
	switch o.compression {
	case "", "none", "gzip":
	default:
		return nil, usageError("--compression %s: forward takes none or gzip", o.compression)
	}
	var first [8]byte
	_, _ = rand.Read(first[:]) // never fails
	for _, c := range first {
		s.chunk = s.chunk<<8 | uint64(c)
	}
	if t.tls {
		conf, err := o.tlsConfig()
		if err != nil {
			return nil, err
		}
		s.tls = conf
	}
	return s, nil
}

// Close closes the connection.
func (s *forwardSender) Close() error {
	if s.conn == nil {
		return nil
	}
	c := s.conn
	s.conn = nil
	return c.Close()
}

func (s *forwardSender) broken(err error) error {
	_ = s.Close() // it is broken
	var se *ack.SendError
	if errors.As(err, &se) {
		return se
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the server closed the connection")
	}
	return &ack.SendError{Err: err}
}

func (s *forwardSender) open(ctx context.Context) error {
	conn, err := dialSocket(ctx, s.target, s.tls)
	if err != nil {
		return err
	}
	s.conn = conn
	s.r = msgp.NewReader(conn)
	if err := conn.SetDeadline(time.Now().Add(sendTimeout)); err != nil {
		return s.broken(err)
	}
	if s.o.sharedKey != "" {
		if err := s.handshake(); err != nil {
			return s.broken(err)
		}
	}
	return nil
}

// handshake proves that both sides know the shared key.
func (s *forwardSender) handshake() error {
	var helo []any
	if err := s.read(&helo, "HELO"); err != nil {
		return err
	}
	options, _ := helo[1].(map[string]any)
	nonce, auth := bytesOf(options["nonce"]), bytesOf(options["auth"])
	var salt [16]byte
	_, _ = rand.Read(salt[:]) // never fails
	user, digest := "", ""
	if len(auth) > 0 {
		user, digest = s.o.user, sha(auth, []byte(s.o.user), []byte(s.o.password))
	}
	ping := msgp.AppendArrayHeader(nil, 6)
	ping = msgp.AppendString(ping, "PING")
	ping = msgp.AppendString(ping, hostName())
	ping = msgp.AppendBytes(ping, salt[:])
	ping = msgp.AppendString(ping, sha(salt[:], []byte(hostName()), nonce, []byte(s.o.sharedKey)))
	ping = msgp.AppendString(ping, user)
	ping = msgp.AppendString(ping, digest)
	if _, err := s.conn.Write(ping); err != nil {
		return err
	}
	var pong []any
	if err := s.read(&pong, "PONG"); err != nil {
		return err
	}
	if len(pong) < 5 {
		return errors.New("the answer to PING is too short")
	}
	if ok, _ := pong[1].(bool); !ok {
		return &ack.SendError{Kind: ack.Unauthorized, Err: fmt.Errorf("the server refuses: %v", pong[2])}
	}
	if host := bytesOf(pong[3]); sha(salt[:], host, nonce, []byte(s.o.sharedKey)) != string(bytesOf(pong[4])) {
		return &ack.SendError{Kind: ack.Unauthorized, Err: errors.New("the server does not know the shared key")}
	}
	return nil
}

func sha(parts ...[]byte) string {
	sum := sha512.Sum512(bytes.Join(parts, nil))
	return hex.EncodeToString(sum[:])
}

func bytesOf(v any) []byte {
	switch v := v.(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	}
	return nil
}

// read reads an array whose first element is a word.
func (s *forwardSender) read(into *[]any, word string) error {
	v, err := s.r.ReadIntf()
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", word, err)
	}
	list, _ := v.([]any)
	if len(list) < 2 || string(bytesOf(list[0])) != word {
		return fmt.Errorf("the server said something else than %s", word)
	}
	*into = list
	return nil
}

// Send sends the records and waits for the ack.
func (s *forwardSender) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	if s.conn == nil {
		if err := s.open(ctx); err != nil {
			return ack.Result{}, err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := s.conn.SetDeadline(time.Now().Add(sendTimeout)); err != nil {
		return ack.Result{}, s.broken(err)
	}
	s.packed = s.packed[:0]
	n := 0
	eachRecord(parts, func(b *record.Batch, i int) {
		n++
		r, attrs := b.Record(i), b.Stream(i).Attrs()
		s.packed = msgp.AppendArrayHeader(s.packed, 2)
		// EventTime: ext type 0, seconds and nanoseconds in 4 bytes each.
		sec, nano := r.Time/1e9, r.Time%1e9
		s.packed = append(s.packed, 0xd7, 0x00, byte(sec>>24), byte(sec>>16), byte(sec>>8), byte(sec),
			byte(nano>>24), byte(nano>>16), byte(nano>>8), byte(nano))
		s.packed = msgp.AppendMapHeader(s.packed, uint32(1+len(attrs)))
		s.packed = msgp.AppendString(s.packed, "log")
		s.packed = msgp.AppendStringFromBytes(s.packed, b.Body(i))
		for _, a := range attrs {
			s.packed = msgp.AppendString(s.packed, a.Name)
			s.packed = msgp.AppendString(s.packed, a.Value)
		}
	})
	s.chunk++
	id := chunkID(s.chunk)
	options := uint32(2)
	entries := s.packed
	if s.o.compression == "gzip" {
		options++
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		_, err := w.Write(s.packed)
		if err = errors.Join(err, w.Close()); err != nil {
			return ack.Result{}, err
		}
		entries = z.Bytes()
	}
	s.buf = msgp.AppendArrayHeader(s.buf[:0], 3)
	s.buf = msgp.AppendString(s.buf, "weir.send")
	s.buf = msgp.AppendBytes(s.buf, entries)
	s.buf = msgp.AppendMapHeader(s.buf, options)
	s.buf = msgp.AppendString(s.buf, "size")
	s.buf = msgp.AppendInt(s.buf, n)
	s.buf = msgp.AppendString(s.buf, "chunk")
	s.buf = msgp.AppendString(s.buf, id)
	if options == 3 {
		s.buf = msgp.AppendString(s.buf, "compressed")
		s.buf = msgp.AppendString(s.buf, "gzip")
	}
	if _, err := s.conn.Write(s.buf); err != nil {
		return ack.Result{}, s.broken(err)
	}
	v, err := s.r.ReadIntf()
	if err != nil {
		return ack.Result{}, s.broken(fmt.Errorf("waiting for the ack: %w", err))
	}
	m, _ := v.(map[string]any)
	if got := string(bytesOf(m["ack"])); got != id {
		return ack.Result{}, s.broken(fmt.Errorf("the ack is of chunk %q, not of %q", got, id))
	}
	return ack.Result{Bytes: len(s.buf)}, nil
}
