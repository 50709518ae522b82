package output

import (
	"fmt"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// encoder is what every wire encoder has: it appends the records of parts, in
// order. An encoder keeps what it made of streams and is for one goroutine.
type encoder interface {
	Append(dst []byte, parts []record.Part) []byte
}

// maxEncoders is how many encoders an output keeps between Sends.
const maxEncoders = 8

// encoders keeps encoders with their caches for reuse. Unlike a sync.Pool it
// survives garbage collections: an empty cache costs a Send more than the
// cache weighs.
type encoders struct {
	free chan encoder
	make func() encoder
}

func newEncoders(first encoder, more func() encoder) *encoders {
	e := &encoders{free: make(chan encoder, maxEncoders), make: more}
	e.free <- first
	return e
}

func (e *encoders) get() encoder {
	select {
	case enc := <-e.free:
		return enc
	default:
		return e.make()
	}
}

func (e *encoders) put(enc encoder) {
	select {
	case e.free <- enc:
	default:
	}
}

// encode fills w with the request's body and returns it. Compressing goes part
// by part, so that the uncompressed whole never stands in memory; whole says
// that the format does not allow that.
func (c *compressors) encode(w *work, e *encoders, parts []record.Part, plain bool) (body []byte, encoding string, err error) {
	enc := e.get()
	defer e.put(enc)
	w.raw, w.comp = w.raw[:0], w.comp[:0]
	if plain || c.method == compressNone {
		w.raw = enc.Append(w.raw, parts)
		return w.raw, "", nil
	}
	z, err := c.get()
	if err != nil {
		return nil, "", fmt.Errorf("compress the request: %w", err)
	}
	defer c.put(z)
	z.Reset(sliceWriter{&w.comp})
	for i := range parts {
		w.raw = enc.Append(w.raw[:0], parts[i:i+1])
		if _, err := z.Write(w.raw); err != nil {
			return nil, "", fmt.Errorf("compress the request: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, "", fmt.Errorf("compress the request: %w", err)
	}
	return w.comp, c.method, nil
}

// count returns the number of records of parts.
func count(parts []record.Part) int {
	n := 0
	for _, p := range parts {
		n += p.Len()
	}
	return n
}

// walker finds (part, record) of the k-th record, for growing k.
type walker struct {
	parts []record.Part
	part  int
	base  int // records before that part
}

func (w *walker) at(k int) (part int, rec uint32) {
	for k-w.base >= w.parts[w.part].Len() {
		w.base += w.parts[w.part].Len()
		w.part++
	}
	return w.part, w.parts[w.part].Index()[k-w.base]
}

// failAll returns the result in which every record of parts failed for now.
func failAll(fs []ack.Failure, parts []record.Part, reason string) []ack.Failure {
	for i, p := range parts {
		for _, r := range p.Index() {
			fs = append(fs, ack.Failure{Part: i, Record: r, Reason: reason})
		}
	}
	return fs
}
