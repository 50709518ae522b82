package read

import (
	"fmt"
	"io"
	"net/http"
	"sync"
)

// InProcess returns a transport to a handler in this process. Answers are
// streamed: the handler waits for the reader.
func InProcess(h http.Handler) http.RoundTripper { return inProcess{h} }

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
