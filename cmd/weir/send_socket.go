package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// socketSender writes records to a stream or as packets in protocols without an
// answer: what was written is sent, and nobody knows more.
type socketSender struct {
	target *sendTarget
	tls    *tls.Config // nil without
	conn   net.Conn
	// message appends a record as the protocol has it.
	message func(dst []byte, b *record.Batch, i int) []byte
	// frame says how messages are told apart on a stream: counted, else by a byte.
	counted   bool
	end       byte
	zip       *gzip.Writer // of GELF over UDP; nil without
	buf, out  []byte
	datagrams int // bytes of the largest one
}

func newSocketSender(t *sendTarget, o *sendOptions) (*socketSender, error) {
	s := &socketSender{target: t, end: '\n', datagrams: 65507}
	if t.tls {
		conf, err := o.tlsConfig()
		if err != nil {
			return nil, err
		}
		s.tls = conf
	}
	if o.compression != "" && o.compression != "none" && (t.proto.name != "gelf" || t.via != "udp") {
		return nil, usageError("--compression %s: %s over %s is not compressed", o.compression, t.proto.name, t.via)
	}
	switch t.proto.name {
	case "syslog":
		s.counted = o.framing != "newline"
		s.message = appendSyslog
	case "syslog-3164":
		s.counted = o.framing == "octet"
		s.message = appendSyslog3164
	case "gelf":
		s.end = 0
		s.message = appendGELF
		s.datagrams = 1420 // what most networks take whole
		switch o.compression {
		case "gzip":
			s.zip = gzip.NewWriter(nil)
		case "", "none":
		default:
			return nil, usageError("--compression %s: gelf takes none or gzip", o.compression)
		}
	case "jsonl":
		s.message = appendJSONLine
	default:
		s.message = func(dst []byte, b *record.Batch, i int) []byte { return append(dst, b.Body(i)...) }
	}
	return s, nil
}

// dialSocket opens a connection to the target.
func dialSocket(ctx context.Context, t *sendTarget, conf *tls.Config) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	var conn net.Conn
	var err error
	switch {
	case t.via == "unix":
		if conn, err = d.DialContext(ctx, "unix", t.addr); errors.Is(err, syscall.EPROTOTYPE) {
			conn, err = d.DialContext(ctx, "unixgram", t.addr)
		}
	case conf != nil:
		td := tls.Dialer{NetDialer: &d, Config: conf}
		conn, err = td.DialContext(ctx, "tcp", t.addr)
	default:
		conn, err = d.DialContext(ctx, t.via, t.addr)
	}
	if err != nil {
		return nil, &ack.SendError{Err: err}
	}
	return conn, nil
}

// packets reports whether every message is a write of its own.
func (s *socketSender) packets() bool {
	return s.target.via == "udp" || s.conn != nil && s.conn.LocalAddr().Network() == "unixgram"
}

// Close closes the connection. A stream is closed for writing first: what is on
// its way arrives.
func (s *socketSender) Close() error {
	if s.conn == nil {
		return nil
	}
	c := s.conn
	s.conn = nil
	if h, ok := c.(interface{ CloseWrite() error }); ok && h.CloseWrite() == nil {
		// Until the other side has closed as well: then it has read everything.
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		_, _ = io.Copy(io.Discard, c)
	}
	return c.Close()
}

// Send writes the records.
func (s *socketSender) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	if s.conn == nil {
		conn, err := dialSocket(ctx, s.target, s.tls)
		if err != nil {
			return ack.Result{}, err
		}
		s.conn = conn
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return ack.Result{}, s.broken(err)
	}
	if s.packets() {
		return s.sendPackets(parts)
	}
	s.buf = s.buf[:0]
	eachRecord(parts, func(b *record.Batch, i int) {
		if !s.counted {
			s.buf = append(s.message(s.buf, b, i), s.end)
			return
		}
		s.out = s.message(s.out[:0], b, i)
		s.buf = strconv.AppendInt(s.buf, int64(len(s.out)), 10)
		s.buf = append(append(s.buf, ' '), s.out...)
	})
	if _, err := s.conn.Write(s.buf); err != nil {
		return ack.Result{}, s.broken(err)
	}
	return ack.Result{Bytes: len(s.buf)}, nil
}

// broken ends a connection on which an attempt failed.
func (s *socketSender) broken(err error) error {
	_ = s.conn.Close() // it is broken
	s.conn = nil
	return &ack.SendError{Err: err}
}

func (s *socketSender) sendPackets(parts []record.Part) (res ack.Result, err error) {
	for pi, p := range parts {
		for _, i := range p.Index() {
			s.buf = s.message(s.buf[:0], p.Batch(), int(i))
			n, err := s.packet()
			res.Bytes += n
			switch {
			case errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, errTooLong):
				res.Failures = append(res.Failures, ack.Failure{Part: pi, Record: i, Permanent: true, Reason: "too long for a datagram"})
			case err != nil && n == 0:
				// What an earlier one met comes as an error of a later one: it is told
				// of, and what is left goes out with the next attempt.
				res.Failures = append(res.Failures, ack.Failure{Part: pi, Record: i, Reason: err.Error()})
			}
		}
	}
	return res, nil
}

var errTooLong = errors.New("more than 128 chunks")

// packet sends what is in buf, in chunks if it is GELF and too long for one
// datagram.
func (s *socketSender) packet() (int, error) {
	p := s.buf
	if s.zip != nil {
		w := bytes.NewBuffer(s.out[:0])
		s.zip.Reset(w)
		if _, err := s.zip.Write(p); err != nil {
			return 0, err
		}
		if err := s.zip.Close(); err != nil {
			return 0, err
		}
		s.out = w.Bytes()
		p = s.out
	}
	if len(p) <= s.datagrams || s.target.proto.name != "gelf" {
		return s.conn.Write(p)
	}
	const head, most = 12, 128
	room := s.datagrams - head
	n := (len(p) + room - 1) / room
	if n > most {
		room = 8192 - head
		if n = (len(p) + room - 1) / room; n > most {
			return 0, errTooLong
		}
	}
	var h [head]byte
	h[0], h[1], h[11] = 0x1e, 0x0f, byte(n)
	_, _ = rand.Read(h[2:10]) // never fails
	sent := 0
	for k := range n {
		h[10] = byte(k)
		chunk := append(h[:head:head], p[k*room:min(len(p), (k+1)*room)]...)
		m, err := s.conn.Write(chunk)
		sent += m
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// Syslog's facility user, severity informational.
const syslogPriority = "<14>"

// appendSyslog appends a message of RFC 5424, with the attributes as structured
// data.
func appendSyslog(dst []byte, b *record.Batch, i int) []byte {
	s := b.Stream(i)
	dst = append(dst, syslogPriority+"1 "...)
	dst = time.Unix(0, b.Record(i).Time).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	dst = append(dst, ' ')
	dst = appendHeader(dst, hostName(), 255)
	dst = append(dst, ' ')
	dst = appendHeader(dst, s.Get(record.AttrService), 48)
	dst = append(dst, " - - "...)
	open := false
	for _, a := range s.Attrs() {
		if a.Name == record.AttrService {
			continue
		}
		if !open {
			dst, open = append(dst, "[labels@32473"...), true
		}
		dst = append(dst, ' ')
		dst = appendHeader(dst, a.Name, 32)
		dst = append(dst, '=', '"')
		for _, c := range []byte(a.Value) {
			if c == '"' || c == '\\' || c == ']' {
				dst = append(dst, '\\')
			}
			dst = append(dst, c)
		}
		dst = append(dst, '"')
	}
	if open {
		dst = append(dst, "] "...)
	} else {
		dst = append(dst, "- "...)
	}
	return append(dst, b.Body(i)...)
}

// appendHeader appends a field of the header: printable ASCII without blanks.
func appendHeader(dst []byte, s string, most int) []byte {
	n := len(dst)
	for _, c := range []byte(s) {
		if c > ' ' && c < 0x7f && c != '"' && c != '=' && c != ']' && len(dst)-n < most {
			dst = append(dst, c)
		}
	}
	if len(dst) == n {
		dst = append(dst, '-')
	}
	return dst
}

// appendSyslog3164 appends a message of RFC 3164, which has the local time and no
// year.
func appendSyslog3164(dst []byte, b *record.Batch, i int) []byte {
	dst = append(dst, syslogPriority...)
	dst = time.Unix(0, b.Record(i).Time).AppendFormat(dst, time.Stamp)
	dst = append(dst, ' ')
	dst = appendHeader(dst, hostName(), 255)
	dst = append(dst, ' ')
	dst = appendHeader(dst, b.Stream(i).Get(record.AttrService), 32)
	dst = append(dst, ": "...)
	return append(dst, b.Body(i)...)
}

// chunkID is what a message of Forward is acknowledged by.
func chunkID(n uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return fmt.Sprintf("%x", b)
}
