package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/weirlog/weir/bench/mark"
	"github.com/weirlog/weir/bench/verify"
)

type sink struct {
	acct   verify.Account
	faults atomic.Pointer[faults]
	works  chan *work

	mu       sync.Mutex
	requests uint64
	wire     uint64
	plain    uint64
	refused  uint64
	last     time.Time
	bad      []string
	strange  []string // the first records that are not whole
	samples  []string
}

func newSink() *sink {
	s := &sink{works: make(chan *work, 16), last: time.Now()}
	s.faults.Store(&faults{})
	return s
}

func (s *sink) reset() {
	s.acct.Reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests, s.wire, s.plain, s.refused, s.bad, s.strange, s.samples, s.last = 0, 0, 0, 0, nil, nil, nil, time.Now()
}

// work is what a request needs, kept for the next one.
type work struct {
	body, plain, answer []byte
	zstd                *zstd.Decoder
	gzip                *gzip.Reader
	find                mark.Finder
}

func (s *sink) getWork() *work {
	select {
	case w := <-s.works:
		return w
	default:
		w := &work{}
		w.find.Strange = s.note
		return w
	}
}

// note keeps the beginning and the end of the first records that are not what
// was written. A part of a record without a mark is not strange: it may be in
// another.
func (s *sink) note(record []byte, v mark.Verdict) {
	if v == mark.None && bytes.IndexByte(record, '~') < 0 && len(record) < 256 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.strange) < 5 {
		kind := "altered"
		if v == mark.None {
			kind = "no mark"
		}
		s.strange = append(s.strange, fmt.Sprintf("%s, %d bytes: %.300q … %.100q", kind, len(record), record, record[max(0, len(record)-100):]))
	}
}

func (s *sink) putWork(w *work) {
	select {
	case s.works <- w:
	default:
	}
}

func (s *sink) serve(l net.Listener) {
	srv := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	_ = srv.Serve(l) // ends when the gate shuts
}

// A decoder adds a request's records to the account and writes the answer's
// body into w.answer.
type decoder func(w *work, r *http.Request, body []byte) error

func (s *sink) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	status, contentType := http.StatusOK, "application/json"
	var decode decoder
	switch {
	case r.Method != http.MethodPost && r.Method != http.MethodPut:
		s.info(rw, r)
		return
	case strings.HasSuffix(path, "/_bulk"):
		decode = s.bulk
		rw.Header().Set("X-Elastic-Product", "Elasticsearch")
	case strings.HasSuffix(path, "/loki/api/v1/push"):
		decode, status = s.loki, http.StatusNoContent
	case strings.HasSuffix(path, "/v1/logs"):
		decode = s.otlp
		if !strings.Contains(r.Header.Get("Content-Type"), "json") {
			contentType = "application/x-protobuf"
		}
	case strings.HasSuffix(path, "/insert/native"), strings.HasSuffix(path, "/internal/insert"):
		decode = s.native
	case strings.HasPrefix(path, "/_"): // index templates and alike
		s.info(rw, r)
		return
	default:
		decode = s.jsonl
	}
	f := s.faults.Load()
	if f.LatencyMS > 0 {
		time.Sleep(time.Duration(f.LatencyMS) * time.Millisecond)
	}
	w := s.getWork()
	defer s.putWork(w)
	body, wire, err := w.read(r)
	if errors.Is(err, errCut) { // a client that was killed breaks no rule
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	if err == nil && f.Status != 0 {
		s.mu.Lock()
		s.refused++
		s.mu.Unlock()
		http.Error(rw, http.StatusText(f.Status), f.Status)
		return
	}
	w.answer = w.answer[:0]
	if err == nil {
		err = decode(w, r, body)
	}
	if err != nil {
		s.violation(fmt.Sprintf("%s: %v", path, err), body)
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	s.took(wire, len(body))
	s.sample(body)
	rw.Header().Set("Content-Type", contentType)
	rw.WriteHeader(status)
	if len(w.answer) > 0 {
		_, _ = rw.Write(w.answer) // the client is gone if this fails
	}
}

// info answers what clients ask before they send.
func (s *sink) info(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("X-Elastic-Product", "Elasticsearch")
	rw.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodHead {
		return
	}
	_, _ = io.WriteString(rw, `{"name":"sink","cluster_name":"sink","cluster_uuid":"c2lua3NpbmtzaW5rc2luaw","acknowledged":true,"status":"green",`+
		`"version":{"number":"8.19.0","build_flavor":"default","lucene_version":"9.12.0","minimum_wire_compatibility_version":"7.17.0",`+
		`"minimum_index_compatibility_version":"7.0.0"},"tagline":"You Know, for Search"}`+"\n")
}

func (s *sink) took(wire, plain int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	s.wire += uint64(wire)
	s.plain += uint64(plain)
	s.last = time.Now()
}

// violation notes a request that no client must send.
func (s *sink) violation(why string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bad) < 10 {
		s.bad = append(s.bad, fmt.Sprintf("%s in %.300q", why, body))
	}
}

// sample keeps the beginning of the first requests.
func (s *sink) sample(body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.samples) < 3 {
		s.samples = append(s.samples, string(body[:min(len(body), 8<<10)]))
	}
}

const maxBody = 512 << 20

var (
	errTooLarge = errors.New("the body is too large")
	errCut      = errors.New("the body did not come whole")
)

// read returns the body, decompressed, and its length on the wire. It is valid
// until the next read.
func (w *work) read(r *http.Request) (body []byte, wire int, err error) {
	if w.body, err = readInto(w.body[:0], r.Body, int(max(r.ContentLength, 0))); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errCut, err)
	}
	wire = len(w.body)
	var src io.Reader
	switch enc := r.Header.Get("Content-Encoding"); enc {
	case "", "identity", "snappy":
		return w.body, wire, nil
	case "gzip":
		if w.gzip == nil {
			w.gzip = new(gzip.Reader)
		}
		if err := w.gzip.Reset(bytes.NewReader(w.body)); err != nil {
			return nil, wire, fmt.Errorf("gzip: %w", err)
		}
		src = w.gzip
	case "zstd":
		if w.zstd == nil {
			if w.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(false)); err != nil {
				return nil, wire, err
			}
		}
		if err := w.zstd.Reset(bytes.NewReader(w.body)); err != nil {
			return nil, wire, fmt.Errorf("zstd: %w", err)
		}
		src = w.zstd
	default:
		return nil, wire, fmt.Errorf("content encoding %q", enc)
	}
	if w.plain, err = readInto(w.plain[:0], src, 4*wire); err != nil {
		return nil, wire, fmt.Errorf("decompress: %w", err)
	}
	return w.plain, wire, nil
}

// readInto appends all of r to dst, which is made large enough for hint first.
func readInto(dst []byte, r io.Reader, hint int) ([]byte, error) {
	if need := min(hint, maxBody) + 1; cap(dst) < need {
		dst = make([]byte, 0, need)
	}
	for {
		if len(dst) == cap(dst) {
			if len(dst) > maxBody {
				return dst, errTooLarge
			}
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}
