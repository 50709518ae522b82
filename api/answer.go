package api

import (
	"bytes"
	stdjson "encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

const (
	answerBuffer = 64 << 10
	// slowest is how many bytes per second a client must take on average, once
	// the time for the first ones has passed: a query's slot and memory are held
	// until the answer is sent.
	slowest = 64 << 10
	// gzipFrom is the size from which it is worth compressing.
	gzipFrom = 1400
)

// answer writes a response piece by piece: handlers append to
// buf and call spill now and then. Nothing is sent before the first full buffer,
// so that a small answer has a length.
type answer struct {
	buf []byte

	s      *Server
	q      *request
	status int
	rc     *http.ResponseController
	zip    *gzip.Writer
	sent   bool
	since  time.Time // of the first byte
	bytes  int64     // to the connection
	err    error
}

var (
	buffers = sync.Pool{New: func() any { b := make([]byte, 0, answerBuffer+answerBuffer/4); return &b }}
	zippers = sync.Pool{New: func() any {
		z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
		return z
	}}
)

// answer begins a response.
func (s *Server) answer(q *request, contentType string) *answer {
	q.w.Header().Set("Content-Type", contentType)
	return &answer{s: s, q: q, status: http.StatusOK, buf: (*buffers.Get().(*[]byte))[:0], rc: http.NewResponseController(q.w)}
}

const jsonType = "application/json; charset=UTF-8"

// spill sends what has been appended if it is much. It reports whether the
// client still listens.
func (a *answer) spill() bool {
	if len(a.buf) >= answerBuffer {
		a.flush(false)
	}
	return a.err == nil
}

// write appends p, or sends it as it is where that is cheaper.
func (a *answer) write(p []byte) bool {
	if len(p) < answerBuffer/4 {
		a.buf = append(a.buf, p...)
		return a.spill()
	}
	a.flush(false)
	own := a.buf
	a.buf = p
	a.flush(false)
	a.buf = own
	return a.err == nil
}

// flush sends what has been appended, however long it is, a piece at a time.
func (a *answer) flush(last bool) {
	if a.err != nil || len(a.buf) == 0 && !last {
		a.buf = a.buf[:0]
		return
	}
	a.s.stats.responseBytes.Add(int64(len(a.buf)))
	h := a.q.w.Header()
	if !a.sent {
		a.sent = true
		h.Add("Vary", "Accept-Encoding")
		switch {
		case (!last || len(a.buf) >= gzipFrom) && acceptsGzip(a.q.Header):
			h.Set("Content-Encoding", "gzip")
			a.zip = zippers.Get().(*gzip.Writer)
			a.zip.Reset(deadlineWriter{a})
		case last:
			h.Set("Content-Length", strconv.Itoa(len(a.buf)))
		}
		a.q.w.WriteHeader(a.status)
	}
	if a.zip != nil {
		_, a.err = a.zip.Write(a.buf)
	} else {
		_, a.err = deadlineWriter{a}.Write(a.buf)
	}
	a.buf = a.buf[:0]
}

// deadlineWriter writes to the client piece by piece, each in its time.
type deadlineWriter struct{ a *answer }

func (d deadlineWriter) Write(p []byte) (n int, err error) {
	a := d.a
	for len(p) > 0 && err == nil {
		if w := a.s.cfg.Limits.Write; w > 0 {
			now := time.Now()
			if a.since.IsZero() {
				a.since = now
			}
			by := a.since.Add(w + time.Duration(a.bytes/slowest)*time.Second)
			if soon := now.Add(w); soon.Before(by) {
				by = soon
			}
			// A connection without deadlines (a test's recorder) has no slow reader.
			_ = a.rc.SetWriteDeadline(by)
		}
		var m int
		m, err = a.q.w.Write(p[:min(len(p), answerBuffer)])
		p = p[m:]
		n += m
		a.bytes += int64(m)
	}
	return n, err
}

// close sends the rest. Its error, if there is one, means that the client is not
// there any more or too slow.
func (a *answer) close() error {
	a.flush(true)
	if a.zip != nil {
		if err := a.zip.Close(); a.err == nil {
			a.err = err
		}
		a.zip.Reset(nil)
		zippers.Put(a.zip)
		a.zip = nil
	}
	if a.err == nil && a.s.cfg.Limits.Write > 0 {
		_ = a.rc.SetWriteDeadline(time.Time{})
	}
	buf := a.buf
	if a.buf = nil; cap(buf) <= 8*answerBuffer {
		buffers.Put(&buf)
	}
	if a.err != nil {
		return &httpError{statusGone, "the client does not read its answer: " + a.err.Error()}
	}
	return nil
}

// json answers with v.
func (s *Server) json(q *request, v any) error {
	return s.jsonAs(q, http.StatusOK, v)
}

func (s *Server) jsonAs(q *request, status int, v any) error {
	var b bytes.Buffer
	e := stdjson.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	a := s.answer(q, jsonType)
	a.status = status
	a.buf = append(a.buf, b.Bytes()...)
	return a.close()
}

// acceptsGzip reports whether the client takes gzip.
func acceptsGzip(h http.Header) bool {
	for _, v := range h.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(v, ",") {
			name, params, _ := strings.Cut(part, ";")
			name = strings.TrimSpace(name)
			if !strings.EqualFold(name, "gzip") && name != "*" {
				continue
			}
			q, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
			if !ok {
				return true
			}
			f, err := strconv.ParseFloat(q, 64)
			return err == nil && f > 0
		}
	}
	return false
}
