package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
)

// A form is a protocol with an encoding, as in otlp+gzip.
type form struct{ proto, encoding string }

func (f form) String() string {
	if f.encoding == "" {
		return f.proto
	}
	return f.proto + "+" + f.encoding
}

// target is where a gateway listens.
type target struct{ grpc, http, push string }

func (t target) url(f form) string {
	switch f.proto {
	case "grpc":
		return "http://" + t.grpc + "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
	case "loki":
		return "http://" + t.push + "/loki/api/v1/push"
	}
	return "http://" + t.http + "/v1/logs"
}

// load is what all clients did.
type load struct {
	raw, requests, again atomic.Int64
	mu                   sync.Mutex
	latencies            []time.Duration
	acked                [][]uint32 // per client and body: how often the answer was yes
	err                  error
}

func (l *load) quantile(q float64) time.Duration {
	slices.Sort(l.latencies)
	if len(l.latencies) == 0 {
		return 0
	}
	return l.latencies[int(q*float64(len(l.latencies)-1))]
}

// push sends until so many bytes of text are acknowledged or ctx ends, each
// client over a connection of its own, one request after the other. A refusal that
// says to come again is sent again after the pause.
func push(ctx context.Context, t target, f form, bodies [][]body, total int64, pause time.Duration) *load {
	l := &load{acked: make([][]uint32, len(bodies))}
	var wg sync.WaitGroup
	url := t.url(f)
	for c := range bodies {
		l.acked[c] = make([]uint32, len(bodies[c]))
		wg.Go(func() {
			if err := l.client(ctx, url, f, bodies[c], l.acked[c], total, pause); err != nil && ctx.Err() == nil {
				l.mu.Lock()
				l.err = err
				l.mu.Unlock()
			}
		})
	}
	wg.Wait()
	return l
}

func (l *load) client(ctx context.Context, url string, f form, bodies []body, acked []uint32, total int64, pause time.Duration) error {
	tr := &http.Transport{MaxIdleConnsPerHost: 1, MaxConnsPerHost: 1, DisableCompression: true, Protocols: new(http.Protocols), WriteBufferSize: 64 << 10}
	if f.proto == "grpc" {
		tr.Protocols.SetUnencryptedHTTP2(true)
	} else {
		tr.Protocols.SetHTTP1(true)
	}
	defer tr.CloseIdleConnections()
	hc := &http.Client{Transport: tr}
	var took []time.Duration
	for i := 0; ctx.Err() == nil && l.raw.Load() < total; i = (i + 1) % len(bodies) {
		b := &bodies[i]
		began := time.Now()
		for {
			ok, err := send(ctx, hc, url, f, b)
			if err != nil {
				return err
			}
			if ok {
				break
			}
			l.again.Add(1)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
		}
		took = append(took, time.Since(began))
		acked[i]++
		l.raw.Add(int64(b.raw))
		l.requests.Add(1)
	}
	l.mu.Lock()
	l.latencies = append(l.latencies, took...)
	l.mu.Unlock()
	return nil
}

// send sends a request and reports whether it was acknowledged; false means that
// it is to be sent again.
func send(ctx context.Context, hc *http.Client, url string, f form, b *body) (ok bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b.data))
	if err != nil {
		return false, err
	}
	switch {
	case f.proto == "grpc":
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
		if f.encoding != "" {
			req.Header.Set("Grpc-Encoding", f.encoding)
		}
	default:
		req.Header.Set("Content-Type", "application/x-protobuf")
		if f.encoding == "gzip" {
			req.Header.Set("Content-Encoding", "gzip")
		}
	}
	resp, err := hc.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, err
	}
	if f.proto == "grpc" && resp.StatusCode == 200 {
		if len(answer) > 5 && answer[0] == 1 { // as compressed as the request was
			z, err := gzip.NewReader(bytes.NewReader(answer[5:]))
			if err != nil {
				return false, err
			}
			message, err := io.ReadAll(z)
			if err != nil {
				return false, err
			}
			answer = append(answer[:5], message...)
		}
		status := resp.Trailer.Get("Grpc-Status")
		if status == "" {
			status = resp.Header.Get("Grpc-Status")
		}
		switch {
		case status == "0" && len(answer) <= 7: // a prefix, and perhaps an empty partial success
			return true, nil
		case status == "8" || status == "14":
			return false, nil
		}
		return false, fmt.Errorf("grpc-status %s: %s %q", status, resp.Header.Get("Grpc-Message"), answer)
	}
	switch {
	case resp.StatusCode == 429 || resp.StatusCode == 503:
		return false, nil
	case resp.StatusCode/100 != 2 || f.proto == "otlp" && len(answer) > 2:
		return false, fmt.Errorf("HTTP %d: %.300q", resp.StatusCode, answer)
	}
	return true, nil
}
