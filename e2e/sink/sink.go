package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/e2e/internal/account"
	"github.com/weirlog/weir/e2e/internal/fault"
	"github.com/weirlog/weir/e2e/internal/journal"
	"github.com/weirlog/weir/e2e/internal/strictjson"
)

// sink takes requests of all protocols. A request is stored as a whole or not
// at all.
type sink struct {
	acct    *account.Account
	in      *fault.Injector
	maxBody int64
	wrapped http.Handler

	mu         sync.Mutex
	requests   map[string]uint64 // per protocol
	labels     map[string]uint64 // Loki streams → entries
	violations []string
	violated   uint64
}

// arrival is one record of a request.
type arrival struct {
	mark   journal.Mark
	marked bool
	id     uint64
}

func newSink(a *account.Account, in *fault.Injector, maxBody int64) *sink {
	s := &sink{acct: a, in: in, maxBody: maxBody, requests: make(map[string]uint64), labels: make(map[string]uint64)}
	s.wrapped = in.Wrap(http.HandlerFunc(s.take), func(w http.ResponseWriter, status int) { http.Error(w, http.StatusText(status), status) })
	return s
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		s.wrapped.ServeHTTP(w, r)
		return
	}
	fmt.Fprintln(w, "ok") // /ready, /health and alike
}

func (s *sink) state() map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]any{
		"requests": s.requests, "labels": s.labels,
		"stub": map[string]any{"violations": s.violated}, "violations": slices.Clone(s.violations),
	}
}

// badRequest is a request that no client must send.
type badRequest struct {
	status int
	why    string
}

func (b *badRequest) Error() string { return b.why }

func bad(format string, args ...any) error {
	return &badRequest{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func (s *sink) take(w http.ResponseWriter, r *http.Request) {
	protocol, decode := "jsonl", s.jsonl
	switch {
	case strings.HasSuffix(r.URL.Path, "/loki/api/v1/push"):
		protocol, decode = "loki", s.loki
	case strings.HasSuffix(r.URL.Path, "/v1/logs"):
		protocol, decode = "otlp", s.otlp
	}
	s.mu.Lock()
	s.requests[protocol]++
	s.mu.Unlock()
	body, err := s.body(r)
	var got []arrival
	if err == nil {
		mt, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		got, err = decode(mt, body)
	}
	if err != nil {
		status := http.StatusBadRequest
		if b, ok := err.(*badRequest); ok {
			status = b.status
		}
		if status != http.StatusRequestEntityTooLarge {
			s.violate("%s: %v", protocol, err)
		}
		http.Error(w, err.Error(), status)
		return
	}
	if s.poisoned(got) {
		http.Error(w, "poison", http.StatusBadRequest)
		return
	}
	s.store(got)
	switch protocol {
	case "loki":
		w.WriteHeader(http.StatusNoContent)
	case "otlp":
		otlpAnswer(w, r)
	}
}

func (s *sink) violate(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violated++
	if len(s.violations) < 20 {
		s.violations = append(s.violations, fmt.Sprintf(format, args...))
	}
}

// poisoned reports whether a record that must be refused each time is there.
func (s *sink) poisoned(got []arrival) bool {
	p := s.in.Config().PItem400
	yes := false
	for _, a := range got {
		h := xxh3.HashString("poison" + a.mark.Stream + strconv.FormatUint(a.mark.Seq, 10))
		if p > 0 && a.marked && float64(h)/float64(math.MaxUint64) < p {
			s.acct.Refuse(a.mark)
			s.in.Count("item_400")
			yes = true
		}
	}
	return yes
}

func (s *sink) store(got []arrival) {
	for _, a := range got {
		if a.marked {
			s.acct.Add(a.mark, a.id)
		} else {
			s.acct.Foreign()
		}
	}
}

func (s *sink) body(r *http.Request) ([]byte, error) {
	var src io.Reader = r.Body
	switch e := r.Header.Get("Content-Encoding"); e {
	case "", "identity", "snappy": // Loki's bodies are snappy with or without saying so
	case "gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, bad("gzip body: %v", err)
		}
		src = z
	case "zstd":
		z, err := zstd.NewReader(r.Body, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, bad("zstd body: %v", err)
		}
		defer z.Close()
		src = z
	default:
		return nil, &badRequest{http.StatusUnsupportedMediaType, "content encoding " + e}
	}
	p, err := io.ReadAll(io.LimitReader(src, s.maxBody+1))
	if err != nil {
		return nil, bad("read body: %v", err)
	}
	if int64(len(p)) > s.maxBody {
		return nil, &badRequest{http.StatusRequestEntityTooLarge, "body too large"}
	}
	return p, nil
}

// jsonl takes one strict JSON object per line; the last may lack its newline.
func (s *sink) jsonl(_ string, body []byte) ([]arrival, error) {
	var got []arrival
	var d strictjson.Doc
	n := 0
	for line := range bytes.Lines(body) {
		n++
		line = bytes.TrimSuffix(line, []byte("\n"))
		if len(line) == 0 || line[0] != '{' {
			return nil, bad("line %d is not an object", n)
		}
		if err := d.Parse(line); err != nil {
			return nil, bad("line %d: %v", n, err)
		}
		m, ok, err := d.Mark()
		if err != nil {
			return nil, bad("line %d: %v", n, err)
		}
		got = append(got, arrival{m, ok, 0})
	}
	if n == 0 {
		return nil, bad("empty body")
	}
	return got, nil
}
