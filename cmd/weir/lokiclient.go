package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// lokiClient asks a server that speaks Loki's HTTP API: a weir or a Loki.
// https://grafana.com/docs/loki/latest/reference/loki-http-api/
type lokiClient struct {
	http   *http.Client
	base   string // without a slash at the end
	header http.Header
	user   *url.Userinfo
	what   string // for messages
	socket string // state directory, if it is the process on this host
	page   int    // lines in one answer at most
	// closed gives back what was opened for the client; it may be nil.
	closed func() error
	local  bool // a store of this host
	// damaged tells how many damaged places queries have met; may be nil.
	damaged func() int64
}

func (c *lokiClient) close() error {
	c.http.CloseIdleConnections()
	if c.closed != nil {
		return c.closed()
	}
	return nil
}

// lokiAnswer is the envelope of all answers to queries.
type lokiAnswer struct {
	Status   string   `json:"status"`
	Warnings []string `json:"warnings"`
	Data     struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
		Stats      struct {
			Summary struct {
				Bytes   int64   `json:"totalBytesProcessed"`
				Lines   int64   `json:"totalLinesProcessed"`
				Seconds float64 `json:"execTime"`
			} `json:"summary"`
		} `json:"stats"`
	} `json:"data"`
}

// lokiStream is a stream of lines in an answer.
type lokiStream struct {
	Labels map[string]string `json:"stream"`
	Values []lokiEntry       `json:"values"`
}

// lokiEntry is a line: ["time", "text", {"structuredMetadata": {…}, "parsed": {…}}].
type lokiEntry struct {
	time         int64
	line         string
	meta, parsed map[string]string
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *lokiEntry) UnmarshalJSON(b []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	if len(parts) < 2 {
		return errors.New("an entry has a time and a line")
	}
	var ts string
	if err := json.Unmarshal(parts[0], &ts); err != nil {
		return err
	}
	var err error
	if e.time, err = strconv.ParseInt(ts, 10, 64); err != nil {
		return err
	}
	if err := json.Unmarshal(parts[1], &e.line); err != nil {
		return err
	}
	if len(parts) > 2 {
		var more struct {
			Meta   map[string]string `json:"structuredMetadata"`
			Parsed map[string]string `json:"parsed"`
		}
		if err := json.Unmarshal(parts[2], &more); err != nil {
			return err
		}
		e.meta, e.parsed = more.Meta, more.Parsed
	}
	return nil
}

// lokiSeries is a series of numbers in an answer: Value of an instant query,
// Values of a range query.
type lokiSeries struct {
	Labels map[string]string `json:"metric"`
	Value  lokiPoint         `json:"value"`
	Values []lokiPoint       `json:"values"`
}

// lokiPoint is [seconds, "value"].
type lokiPoint struct {
	time  float64
	value string
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *lokiPoint) UnmarshalJSON(b []byte) error {
	pair := [2]any{&p.time, &p.value}
	return json.Unmarshal(b, &pair)
}

// query asks a query endpoint.
func (c *lokiClient) query(ctx context.Context, path string, form url.Values) (*lokiAnswer, error) {
	var a lokiAnswer
	if err := c.get(ctx, path, form, &a); err != nil {
		return nil, err
	}
	return &a, nil
}

// serverError is an answer with an error.
type serverError struct {
	status int
	text   string
}

func (e *serverError) Error() string { return e.text }

// get asks an endpoint and decodes the answer.
func (c *lokiClient) get(ctx context.Context, path string, form url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	for k, v := range c.header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Loki-Response-Encoding-Flags", "categorize-labels")
	req.Header.Set("User-Agent", "weir/"+version())
	if c.user != nil {
		password, _ := c.user.Password()
		req.SetBasicAuth(c.user.Username(), password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if c.socket != "" {
			return adminError(c.socket, err)
		}
		return &exitError{exitUnreachable, fmt.Errorf("%s cannot be reached: %w", c.what, errors.Unwrap(err))}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
		if err != nil || len(strings.TrimSpace(string(text))) == 0 {
			text = []byte(resp.Status)
		}
		return &serverError{resp.StatusCode, strings.TrimSpace(string(text))}
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("the answer of %s cannot be read: %w", c.what, err)
	}
	return nil
}

// inProcess is a transport to a handler in this process.
type inProcess struct{ h http.Handler }

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	pr, pw := io.Pipe()
	w := &pipeWriter{header: make(http.Header), pw: pw, ready: make(chan struct{})}
	go func() {
		defer func() {
			err := io.EOF
			if v := recover(); v != nil {
				err = io.ErrUnexpectedEOF
				if v != http.ErrAbortHandler {
					err = fmt.Errorf("panic: %v", v)
				}
			}
			w.WriteHeader(http.StatusOK)
			_ = pw.CloseWithError(err) // never fails
		}()
		t.h.ServeHTTP(w, r)
	}()
	<-w.ready
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Header: w.header, Body: pr, Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1,
	}, nil
}

type pipeWriter struct {
	header http.Header
	pw     *io.PipeWriter
	once   sync.Once
	status int
	ready  chan struct{}
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status = status
		close(w.ready)
	})
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pw.Write(p)
}
