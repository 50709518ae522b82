package output

import (
	"errors"
	"io"
	"sync"
)

// work is the memory of one request: what is encoded, what is sent of it, and
// the answer.
type work struct {
	raw, comp, resp []byte
	payload         payload
}

// maxKept is the largest buffer that is kept for the next request, and
// freeWork how many of each are. They are not in a sync.Pool: at one request a
// second that is empty every time, and growing the buffers again is most of
// the garbage an agent makes.
const maxKept = 4 << 20

var freeWork = make(chan *work, 4)

func getWork() *work {
	select {
	case w := <-freeWork:
		return w
	default:
		return new(work)
	}
}

// put gives the memory back. Nothing may read it any more; see payload.
func (w *work) put() {
	w.payload.detach()
	for _, p := range []*[]byte{&w.raw, &w.comp, &w.resp} {
		if cap(*p) > maxKept {
			*p = nil
		}
		*p = (*p)[:0]
	}
	select {
	case freeWork <- w:
	default:
	}
}

// payload hands a request's bytes to net/http, which may go on reading a body
// after the answer is there, or after it gave up on it. After detach nothing
// reads the bytes any more, so that they can be used again.
type payload struct {
	mu   sync.Mutex
	life int // readers of an earlier life are cut off
	data []byte
}

var errDetached = errors.New("output: the request is over")

func (p *payload) attach(data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life++
	p.data = data
}

func (p *payload) detach() { p.attach(nil) }

// reader returns a new reader of the whole payload.
func (p *payload) reader() io.ReadCloser {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &payloadReader{p: p, life: p.life}
}

type payloadReader struct {
	p    *payload
	life int
	off  int
}

func (r *payloadReader) Read(dst []byte) (int, error) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if r.life != r.p.life {
		return 0, errDetached
	}
	if r.off == len(r.p.data) {
		return 0, io.EOF
	}
	n := copy(dst, r.p.data[r.off:])
	r.off += n
	return n, nil
}

func (r *payloadReader) Close() error { return nil }

// sliceWriter appends to a slice.
type sliceWriter struct{ p *[]byte }

func (w sliceWriter) Write(p []byte) (int, error) {
	*w.p = append(*w.p, p...)
	return len(p), nil
}

// readAll reads r to its end into dst, which it returns; more than limit bytes
// is an error.
func readAll(dst []byte, r io.Reader, limit int) ([]byte, error) {
	dst = dst[:0]
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := r.Read(dst[len(dst):min(cap(dst), limit+1)])
		dst = dst[:len(dst)+n]
		if len(dst) > limit {
			return dst, errAnswerTooLarge
		}
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}

var errAnswerTooLarge = errors.New("the answer is too large")
