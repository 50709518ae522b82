package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/jsonl"
	"github.com/weirlog/weir/wire/otlp"
)

// KafkaConfig configures NewKafka.
type KafkaConfig struct {
	KafkaConn
	// Topic of a record; made with wire.SanitizeTopic.
	Topic *wire.Template
	// AllowAutoCreate lets the brokers make a topic that is not there.
	AllowAutoCreate bool
	// Key is stream (the default): records of one stream go to one partition, in
	// their order; none: partitions are filled in turn; else use KeyTemplate.
	Key string
	// KeyTemplate makes the key, if it is not nil.
	KeyTemplate *wire.Template
	// Format of a value: json (the default; wire/jsonl), raw (the message) or
	// otlp (an ExportLogsServiceRequest with one record).
	Format string
	JSON   jsonl.Config
	OTLP   otlp.Config
	// Headers are the attributes of a record's stream that become headers.
	Headers []string
	// Compression: none, gzip, snappy, lz4 or zstd; "" is zstd.
	Compression string
	// MaxMessage is the most bytes of a record, and of a batch of them as it is
	// sent; default 1 000 000, a little less than what brokers take.
	MaxMessage int
}

// HeaderID is the header with a record's id, 32 hexadecimal digits.
const HeaderID = "weir-id"

// Kafka produces records to topics of a Kafka, or what speaks its protocol. The
// producer is idempotent and waits for all in-sync replicas (acks=all): what it
// repeats by itself within a Send, after a leader change for example, stands in
// the topic once and in order. A Send that gives up (its context ended) leaves
// nothing behind that is still to be sent; what it does not know of is sent
// again by a later Send and may then stand there twice, with the same header
// weir-id.
//
// The answer is per record: what a batch was refused for is tried again alone
// if others of the request went through, so that in the end a request has only
// what is refused, and bisecting finds the record.
type Kafka struct {
	conf  KafkaConfig
	log   *slog.Logger
	files *material
	topic *wire.Template
	enc   *encoders // nil for raw
	lines bool      // enc makes lines
	works chan *kafkaWork
	// retries is how often a batch is tried again within a Send after brokers
	// said no: about 6 s.
	retries int

	mu      sync.Mutex
	gen     *kafkaClient
	missing map[string]time.Time // topics that are not there, and since when
	closed  bool
}

// NewKafka returns an output to the cluster of the brokers. It connects at the
// first Send.
func NewKafka(c KafkaConfig) (*Kafka, error) {
	if c.Topic == nil {
		return nil, errors.New("output: kafka: topic is missing")
	}
	if err := c.KafkaConn.complete(); err != nil {
		return nil, err
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = 1_000_000
	}
	if c.MaxMessage < 1024 || c.MaxMessage > 1<<30 {
		return nil, errors.New("output: kafka: the largest message must be 1 KiB to 1 GiB")
	}
	if _, err := kafkaCodec(c.Compression); err != nil {
		return nil, err
	}
	o := &Kafka{conf: c, log: c.Logger, topic: c.Topic, works: make(chan *kafkaWork, 4), retries: 6, missing: make(map[string]time.Time)}
	switch c.Format {
	case "", "json":
		e := jsonl.New(c.JSON)
		o.enc, o.lines = newEncoders(e, func() encoder { return e.Clone() }), true
	case "otlp":
		e := otlp.New(c.OTLP)
		o.enc = newEncoders(e, func() encoder { return e.Clone() })
	case "raw":
	default:
		return nil, fmt.Errorf("output: kafka: unknown format %q, want json, raw or otlp", c.Format)
	}
	switch c.Key {
	case "", "stream", "none":
	default:
		return nil, fmt.Errorf("output: kafka: unknown key %q, want stream or none", c.Key)
	}
	var err error
	if o.files, err = newMaterial(&HTTPConfig{TLS: c.TLS, Logger: c.Logger, Now: c.Now}); err != nil {
		return nil, fmt.Errorf("output: kafka: %w", err)
	}
	return o, nil
}

// String names the output.
func (o *Kafka) String() string { return "kafka " + strings.Join(o.conf.Brokers, ",") }

// GoString is String.
func (o *Kafka) GoString() string { return o.String() }

// Reloads returns how often changed certificates were read and put to use, and
// how often they could not be.
func (o *Kafka) Reloads() (used, failed uint64) { return o.files.stats() }

// Send produces the records of parts and waits for the answer to each.
func (o *Kafka) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.conf.Timeout, errAttemptTimeout)
	defer cancel()
	g, err := o.acquire()
	if err != nil {
		return ack.Result{}, &ack.SendError{Kind: ack.Retry, Err: fmt.Errorf("%s: %w", o, err)}
	}
	w := o.work()
	o.fill(w, parts)
	w.produce(ctx, g)
	fatal := slices.ContainsFunc(w.errs, isFatal)
	lost := false // a promise was kept although the client may still look at the record
	for _, err := range w.errs {
		lost = lost || err != nil
	}
	res, err := o.judge(ctx, g, w, parts)
	o.release(g, fatal)
	if fatal {
		o.log.Warn("the brokers do not accept this producer any more; the next attempt uses a new one", "output", o.String(), "error", err)
	}
	if !lost {
		o.recycle(w)
	}
	return res, err
}

// kafkaWork is the memory of one Send.
type kafkaWork struct {
	buf   []byte
	recs  []kgo.Record
	hdrs  []kgo.RecordHeader
	spans []kafkaSpan
	errs  []error
	mu    sync.Mutex // guards errs and next while promises are kept
	next  int        // where the record of the next error is likely
	names []string   // topics, interned
	topic []byte
	size  int
}

// kafkaSpan says where in the buffer stand key, id, value and headers of a
// record.
type kafkaSpan struct {
	key, id, val, end int
	topic             string
	hdr               int // of hdrs, where its own begin
}

func (o *Kafka) work() *kafkaWork {
	select {
	case w := <-o.works:
		return w
	default:
		return new(kafkaWork)
	}
}

// recycle keeps the memory, which nobody looks at any more.
func (o *Kafka) recycle(w *kafkaWork) {
	if cap(w.buf) > maxKept {
		return
	}
	clear(w.recs)
	clear(w.hdrs)
	clear(w.spans)
	w.buf, w.recs, w.hdrs, w.spans, w.errs, w.size = w.buf[:0], w.recs[:0], w.hdrs[:0], w.spans[:0], w.errs[:0], 0
	if len(w.names) > 1024 {
		w.names = nil
	}
	select {
	case o.works <- w:
	default:
	}
}

// name returns the topic that stands in w.topic as a string, mostly one made
// before.
func (w *kafkaWork) name() string {
	for i := len(w.names) - 1; i >= 0 && i >= len(w.names)-16; i-- {
		if w.names[i] == string(w.topic) {
			return w.names[i]
		}
	}
	w.names = append(w.names, string(w.topic))
	return w.names[len(w.names)-1]
}

// fill encodes the records.
func (o *Kafka) fill(w *kafkaWork, parts []record.Part) {
	var enc encoder
	if o.enc != nil {
		enc = o.enc.get()
		defer o.enc.put(enc)
	}
	one := make([]record.Part, 1)
	for pi, p := range parts {
		b := p.Batch()
		var rest []byte
		if o.lines { // the lines of the whole part first; records point at them
			at := len(w.buf)
			w.buf = enc.Append(w.buf, parts[pi:pi+1])
			rest = w.buf[at:]
		}
		off := len(w.buf) - len(rest)
		for k, i := range p.Index() {
			s := kafkaSpan{hdr: len(w.hdrs)}
			switch {
			case o.lines:
				n := bytes.IndexByte(rest, '\n')
				s.val, s.end = off, off+n
				rest, off = rest[n+1:], off+n+1
			case enc != nil:
				s.val = len(w.buf)
				one[0] = p.Select(p.Index()[k : k+1])
				w.buf = enc.Append(w.buf, one)
				one[0].Finish()
				s.end = len(w.buf)
			default:
				s.val = len(w.buf)
				w.buf = append(w.buf, b.Bytes(b.Record(int(i)).Body)...)
				s.end = len(w.buf)
			}
			w.topic = o.topic.Append(w.topic[:0], b, int(i))
			s.topic = w.name()
			s.key = len(w.buf)
			switch {
			case o.conf.KeyTemplate != nil:
				w.buf = o.conf.KeyTemplate.Append(w.buf, b, int(i))
			case o.conf.Key != "none":
				w.buf = wire.AppendID(w.buf, record.ID{Lo: b.Stream(int(i)).Hash()})
				w.buf = append(w.buf[:s.key], w.buf[s.key+16:]...)
			}
			s.id = len(w.buf)
			if id := wire.RecordID(b, int(i)); !id.IsZero() {
				w.buf = wire.AppendID(w.buf, id)
				w.hdrs = append(w.hdrs, kgo.RecordHeader{Key: HeaderID})
			}
			for _, name := range o.conf.Headers {
				if v := b.Stream(int(i)).Get(name); v != "" {
					w.hdrs = append(w.hdrs, kgo.RecordHeader{Key: name, Value: []byte(v)})
				}
			}
			w.spans = append(w.spans, s)
			w.recs = append(w.recs, kgo.Record{Timestamp: time.UnixMilli(b.Record(int(i)).Time / 1e6)})
		}
	}
	// The buffer does not move any more.
	for k := range w.spans {
		s, r := &w.spans[k], &w.recs[k]
		hdrEnd := len(w.hdrs)
		if k+1 < len(w.spans) {
			hdrEnd = w.spans[k+1].hdr
		}
		r.Topic, r.Value = s.topic, w.buf[s.val:s.end:s.end]
		if s.id > s.key {
			r.Key = w.buf[s.key:s.id:s.id]
		}
		r.Headers = w.hdrs[s.hdr:hdrEnd:hdrEnd]
		if len(r.Headers) > 0 && r.Headers[0].Key == HeaderID {
			r.Headers[0].Value = w.buf[s.id : s.id+32]
		}
		w.size += len(r.Value) + len(r.Key)
	}
}

// errTooLong is the outcome of a record that was not produced.
var errTooLong = errors.New("the record is longer than max_message_bytes")

// produce produces all records and waits until the outcome of each is known.
func (w *kafkaWork) produce(ctx context.Context, g *kafkaClient) {
	w.errs = slices.Grow(w.errs[:0], len(w.recs))[:len(w.recs)]
	clear(w.errs)
	w.next = 0
	var left atomic.Int64
	left.Store(int64(len(w.recs)) + 1)
	done := make(chan struct{})
	finish := func() {
		if left.Add(-1) == 0 {
			close(done)
		}
	}
	promise := func(r *kgo.Record, err error) {
		if err != nil {
			w.fail(r, err)
		}
		finish()
	}
	for i := range w.recs {
		if recordOverhead+len(w.recs[i].Value)+len(w.recs[i].Key) > g.maxMessage {
			promise(&w.recs[i], errTooLong)
			continue
		}
		g.cl.Produce(ctx, &w.recs[i], promise)
	}
	finish()
	<-done
}

// recordOverhead is about what a batch and a record add to key and value.
const recordOverhead = 256

// Probe asks the brokers for a producer id and, if it is always the same, for the
// topic.
func (o *Kafka) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.conf.Timeout, errAttemptTimeout)
	defer cancel()
	g, err := o.acquire()
	if err != nil {
		return fmt.Errorf("probe: %s: %w", o, err)
	}
	defer o.release(g, false)
	if err := g.cl.Ping(ctx); err != nil {
		return fmt.Errorf("probe: %w", o.explain(ctx, g, err))
	}
	if _, _, err := g.cl.ProducerID(ctx); err != nil {
		return fmt.Errorf("probe: %w", o.explain(ctx, g, err))
	}
	if o.topic.Const() && !o.conf.AllowAutoCreate {
		name := string(o.topic.Append(nil, emptyRecord(), 0))
		if err := g.hasTopic(ctx, name); err != nil {
			return fmt.Errorf("probe: topic %s: %w", name, o.explain(ctx, g, err))
		}
	}
	return nil
}

// emptyRecord returns a batch with one record of nobody.
func emptyRecord() *record.Batch {
	b := record.NewBatch(nil)
	b.Add(record.Record{Stream: b.AddStream(record.StreamRef{Stream: record.NewStream(nil, nil, nil)})})
	return b
}
