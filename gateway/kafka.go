package gateway

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/otlp"
)

// KafkaConfig configures NewKafka.
type KafkaConfig struct {
	Brokers []string // host:port, some of the cluster
	Topics  []string
	Group   string // of consumers, which share the partitions
	// Format of the values: text and auto (as they are; the pipeline's steps look
	// into them), json (one that is no JSON is marked as an error) or otlp
	// (ExportLogsServiceRequests in protobuf).
	Format string
	// FromEnd begins partitions that the group has no offset of at their end
	// instead of their beginning.
	FromEnd bool
	Labels  map[string]string  // attributes of every record
	TLS     func() *tls.Config // asked for every connection; nil: without
	// Mechanism is plain, scram-sha-256 or scram-sha-512, with User and Password;
	// "" is nobody.
	Mechanism, User, Password string
	Version                   string
	Limits                    wire.Limits
	Logger                    *slog.Logger
}

// Kafka is an input that consumes topics as a member of a consumer group. A
// partition's offset is committed when every record before it is finished at
// every output, so that nothing is lost whatever ends; after an end without
// leave, or when a partition moves to another member, what was under way is read
// again, with the same ids: a record is identified by its topic, partition and
// offset, or by the header weir-id that weir's own output writes.
//
// A value that cannot be read is a record as it stands, flagged as an error: it
// stops nothing.
type Kafka struct {
	cfg  KafkaConfig
	opts []kgo.Opt

	// committing is held from reading what is finished until the broker has
	// answered, and by what forgets a partition: no commit of a partition can come
	// after another member has got it. It is locked before mu.
	committing sync.Mutex

	mu      sync.Mutex
	parts   map[kafkaPartition]*kafkaProgress // of this member now
	retired []*kafkaProgress                  // of other members; something of them is under way
	sum     ack.Tally                         // of what is finished

	commitEvery, farewell time.Duration // for tests
}

type kafkaPartition struct {
	topic     string
	partition int32
}

// kafkaProgress is what was read of a partition since it was assigned.
type kafkaProgress struct {
	tracker    ack.Tracker[kgo.EpochOffset]
	stream     *record.Stream
	generation record.ID

	// With Kafka.mu: everything before finished is finished, and the broker knows
	// it up to committed.
	finished  kgo.EpochOffset
	committed int64
}

// kafkaHeaderID is the header in which weir's own output writes a record's id.
const kafkaHeaderID = "weir-id"

const (
	kafkaBatch   = 256 << 10 // bytes of values in a batch, about
	kafkaRecords = 4096      // records of a poll
)

// NewKafka returns the input. It connects when it runs.
func NewKafka(c KafkaConfig) (*Kafka, error) {
	if len(c.Brokers) == 0 || len(c.Topics) == 0 || c.Group == "" {
		return nil, errors.New("kafka input: brokers, topics and group are needed")
	}
	switch c.Format {
	case "":
		c.Format = "auto"
	case "text", "json", "auto", "otlp":
	default:
		return nil, fmt.Errorf("kafka input: unknown format %q, want text, json, auto or otlp", c.Format)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	k := &Kafka{cfg: c, parts: make(map[kafkaPartition]*kafkaProgress), commitEvery: time.Second, farewell: 3 * time.Second}
	start := kgo.NewOffset().AtStart()
	if c.FromEnd {
		start = kgo.NewOffset().AtEnd()
	}
	id := "weir"
	if c.Version != "" {
		id += "-" + c.Version
	}
	dial := &net.Dialer{Timeout: 10 * time.Second, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	k.opts = []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ClientID(id), kgo.DisableClientMetrics(), kgo.WithLogger(kafkaLog{c.Logger}),
		kgo.ConsumerGroup(c.Group), kgo.ConsumeTopics(c.Topics...), kgo.ConsumeResetOffset(start), kgo.DisableAutoCommit(),
		kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// Between a poll and AllowRebalance what was polled is of partitions this
		// member has.
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsRevoked(k.revoked), kgo.OnPartitionsLost(k.lost),
		// What is fetched ahead is bounded, and so is what it decompresses to.
		kgo.FetchMaxBytes(8 << 20), kgo.FetchMaxPartitionBytes(2 << 20), kgo.MaxConcurrentFetches(2), kgo.MaxDecompressBatchBytes(64 << 20),
		kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			if c.TLS == nil {
				return dial.DialContext(ctx, network, addr)
			}
			return (&tls.Dialer{NetDialer: dial, Config: c.TLS()}).DialContext(ctx, network, addr)
		}),
	}
	m, err := kafkaSASL(c)
	if err != nil {
		return nil, err
	}
	if m != nil {
		k.opts = append(k.opts, kgo.SASL(m))
	}
	return k, nil
}

func kafkaSASL(c KafkaConfig) (sasl.Mechanism, error) {
	switch c.Mechanism {
	case "":
		return nil, nil
	case "plain":
		return plain.Auth{User: c.User, Pass: c.Password}.AsMechanism(), nil
	case "scram-sha-256":
		return scram.Auth{User: c.User, Pass: c.Password}.AsSha256Mechanism(), nil
	case "scram-sha-512":
		return scram.Auth{User: c.User, Pass: c.Password}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("kafka input: unknown sasl mechanism %q", c.Mechanism)
}

// kafkaLog passes the client's warnings on as details: what it cannot cure comes
// out of polls.
type kafkaLog struct{ log *slog.Logger }

func (l kafkaLog) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l kafkaLog) Log(_ kgo.LogLevel, msg string, keyvals ...any) {
	l.log.Debug("kafka client: "+msg, keyvals...)
}

// Tally returns what became of the records that are finished, with those under
// way in sum as far as they are counted, and how many pieces are under way.
func (k *Kafka) Tally() (sum ack.Tally, waiting int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	sum.Add(&k.sum)
	add := func(p *kafkaProgress) {
		n, _ := p.tracker.Open()
		waiting += int64(n)
		p.tracker.Peek(&sum)
	}
	for _, p := range k.parts {
		add(p)
	}
	for _, p := range k.retired {
		add(p)
	}
	return sum, waiting
}

// Run consumes until ctx ends. It then waits a little for what is under way,
// commits and leaves the group.
func (k *Kafka) Run(ctx context.Context, sink record.Sink) error {
	cl, err := kgo.NewClient(k.opts...)
	if err != nil {
		return fmt.Errorf("kafka input: %w", err)
	}
	stop := make(chan struct{})
	var commits sync.WaitGroup
	commits.Go(func() {
		t := time.NewTicker(k.commitEvery)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				k.commit(ctx, cl)
			case <-stop:
				return
			}
		}
	})
	r := &kafkaReader{k: k, sink: sink, dec: otlp.NewDecoder(k.cfg.Limits, new(wire.StreamCache)), scratch: record.NewBatch(nil)}
	err = k.consume(ctx, cl, r)
	close(stop)
	commits.Wait()
	k.leave(cl)
	return err
}

// consume reads until ctx ends or the sink fails.
func (k *Kafka) consume(ctx context.Context, cl *kgo.Client, r *kafkaReader) error {
	var said time.Time
	for ctx.Err() == nil {
		fetches := cl.PollRecords(ctx, kafkaRecords)
		if fetches.IsClientClosed() {
			return errors.New("kafka input: the client is closed")
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			if ctx.Err() == nil && time.Since(said) > 10*time.Second {
				said = time.Now()
				k.cfg.Logger.Error("reading from Kafka fails; it is tried again", "topic", topic, "partition", partition, "error", err)
			}
		})
		ids := make(map[string][16]byte)
		for i := range fetches {
			for j := range fetches[i].Topics {
				if t := &fetches[i].Topics[j]; t.TopicID != [16]byte{} {
					ids[t.Topic] = t.TopicID
				}
			}
		}
		type piece struct {
			at   kafkaPartition
			p    *kafkaProgress
			msgs []*kgo.Record
		}
		var pieces []piece
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if len(p.Records) > 0 {
				at := kafkaPartition{p.Topic, p.Partition}
				pieces = append(pieces, piece{at, k.progress(at, ids[p.Topic]), p.Records})
			}
		})
		// Outputs may be full for long, and who does not rejoin in time is out of the
		// group: from here on partitions may go, and partition looks whether they have.
		cl.AllowRebalance()
		for _, x := range pieces {
			if err := r.partition(ctx, x.at, x.p, x.msgs); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
	return nil
}

// progress returns that of a partition, which begins now if there is none.
func (k *Kafka) progress(at kafkaPartition, id [16]byte) *kafkaProgress {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.parts[at]
	if p == nil {
		attrs := []record.Attr{{Name: record.AttrInput, Value: "kafka"}, {Name: "topic", Value: at.topic}}
		for name, value := range k.cfg.Labels {
			attrs = append(attrs, record.Attr{Name: name, Value: value})
		}
		p = &kafkaProgress{stream: record.NewStream(attrs, nil, nil), generation: kafkaGeneration(at.topic, at.partition, id)}
		k.parts[at] = p
	}
	return p
}

// kafkaGeneration is the key of a partition's life: of a topic that was deleted
// and made again the id is another.
func kafkaGeneration(topic string, partition int32, id [16]byte) record.ID {
	b := append([]byte("kafka\x00"), id[:]...)
	b = append(b, topic...)
	b = binary.BigEndian.AppendUint32(append(b, 0), uint32(partition))
	h := xxh3.Hash128(b)
	return record.ID{Hi: h.Hi, Lo: h.Lo}
}

// track returns the token of what was read of a partition up to pos, or nil if
// the partition is not this member's any more, under the assignment that p began
// with.
func (k *Kafka) track(at kafkaPartition, p *kafkaProgress, pos kgo.EpochOffset) *ack.Token {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.parts[at] != p {
		return nil
	}
	return p.tracker.Track(pos, time.Now())
}

// advance moves over what is finished and returns the offsets the broker does not
// know yet.
func (k *Kafka) advance() map[string]map[int32]kgo.EpochOffset {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.retired = slices.DeleteFunc(k.retired, func(p *kafkaProgress) bool {
		p.tracker.Advance(&k.sum)
		open, _ := p.tracker.Open()
		return open == 0
	})
	out := make(map[string]map[int32]kgo.EpochOffset)
	for at, p := range k.parts {
		if pos, ok := p.tracker.Advance(&k.sum); ok {
			p.finished = pos
		}
		if p.finished.Offset == p.committed {
			continue
		}
		if out[at.topic] == nil {
			out[at.topic] = make(map[int32]kgo.EpochOffset)
		}
		out[at.topic][at.partition] = p.finished
	}
	return out
}

func (k *Kafka) commit(ctx context.Context, cl *kgo.Client) {
	k.committing.Lock()
	defer k.committing.Unlock()
	k.commitLocked(ctx, cl)
}

// commitLocked commits what is finished. What the broker does not take is
// committed with the next. k.committing is held.
func (k *Kafka) commitLocked(ctx context.Context, cl *kgo.Client) {
	offsets := k.advance()
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	cl.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if err == nil {
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					if e := kerr.ErrorForCode(p.ErrorCode); e != nil && err == nil {
						err = fmt.Errorf("topic %s partition %d: %w", t.Topic, p.Partition, e)
					}
				}
			}
		}
		if err != nil {
			k.cfg.Logger.Warn("committing offsets to Kafka failed; it is tried again, or the records are read again", "group", k.cfg.Group, "error", err)
			return
		}
		for topic, ps := range offsets {
			for n, o := range ps {
				if p := k.parts[kafkaPartition{topic, n}]; p != nil {
					p.committed = o.Offset
				}
			}
		}
	})
}

// revoked commits what is finished of partitions that go to another member, and
// forgets them.
func (k *Kafka) revoked(ctx context.Context, cl *kgo.Client, gone map[string][]int32) {
	k.committing.Lock()
	defer k.committing.Unlock()
	k.commitLocked(ctx, cl)
	k.forget(gone)
}

// lost forgets partitions that another member may have already.
func (k *Kafka) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	k.committing.Lock()
	defer k.committing.Unlock()
	k.forget(gone)
}

// forget retires partitions: what is under way of them is delivered and counted,
// and not committed. k.committing is held.
func (k *Kafka) forget(gone map[string][]int32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for topic, ps := range gone {
		for _, n := range ps {
			at := kafkaPartition{topic, n}
			if p := k.parts[at]; p != nil {
				delete(k.parts, at)
				k.retired = append(k.retired, p)
			}
		}
	}
}

// leave waits a little for what is under way, commits, and leaves the group.
func (k *Kafka) leave(cl *kgo.Client) {
	for end := time.Now().Add(k.farewell); time.Now().Before(end); {
		k.commit(context.Background(), cl)
		if _, open := k.Tally(); open == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond) // deliveries tell nobody
	}
	k.commit(context.Background(), cl)
	cl.CloseAllowingRebalance()
}

// kafkaReader makes batches of messages. It is for one goroutine.
type kafkaReader struct {
	k       *Kafka
	sink    record.Sink
	dec     *otlp.Decoder
	scratch *record.Batch
}

// partition puts the messages of one partition, as long as it is this member's.
// The rest is read by who has it now; if this member gets it back, too.
func (r *kafkaReader) partition(ctx context.Context, at kafkaPartition, p *kafkaProgress, msgs []*kgo.Record) error {
	for len(msgs) > 0 {
		b, err := r.room(ctx)
		if err != nil {
			return err
		}
		n := 0
		for n < len(msgs) && (n == 0 || b.Len() < kafkaBatch && len(b.Streams()) < 1<<15) {
			r.add(b, p, msgs[n])
			n++
		}
		last := msgs[n-1]
		token := r.k.track(at, p, kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: last.Offset + 1})
		if token == nil {
			b.Release()
			return nil
		}
		for i := range b.Streams() {
			b.SetToken(uint16(i), token)
		}
		b.AddToken(token) // also if there is no record
		if err := r.sink.Put(ctx, b); err != nil {
			return err
		}
		msgs = msgs[n:]
	}
	return nil
}

// room returns a batch as soon as there is room for one.
func (r *kafkaReader) room(ctx context.Context) (*record.Batch, error) {
	for {
		room := r.sink.Room()
		if b := r.sink.Get(); b != nil {
			return b, nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// add appends the records of a message.
func (r *kafkaReader) add(b *record.Batch, p *kafkaProgress, m *kgo.Record) {
	if m.Value == nil {
		return // a tombstone
	}
	now := time.Now().UnixNano()
	var flags record.Flags
	switch r.k.cfg.Format {
	case "otlp":
		r.scratch.Reset(nil)
		if _, err := r.dec.Protobuf(r.scratch, r.scratch.Append(m.Value), "", now); err == nil {
			r.decode(b, p, m, now)
			return
		}
		flags |= record.ParseError
	case "json":
		if !stdjson.Valid(m.Value) {
			flags |= record.ParseError
		}
	}
	body := b.Append(m.Value)
	at := m.Timestamp.UnixNano()
	if m.Timestamp.IsZero() || m.Timestamp.Unix() <= 0 {
		at = now
	}
	i := b.Add(record.Record{
		Time: at, Observed: at, Start: m.Offset, End: m.Offset + 1, Body: body, Source: body, Flags: flags,
		Stream: b.AddStream(record.StreamRef{Stream: p.stream, Generation: p.generation}),
	})
	for _, h := range m.Headers {
		if h.Key == kafkaHeaderID {
			if id, ok := record.ParseID(string(h.Value)); ok && !id.IsZero() {
				b.SetID(i, id)
			}
		}
	}
}

// decode appends the records of a message that is known to be well-formed.
func (r *kafkaReader) decode(b *record.Batch, p *kafkaProgress, m *kgo.Record, now int64) {
	first := b.NumRecords()
	if _, err := r.dec.Protobuf(b, b.Append(m.Value), "", now); err != nil {
		return // it was well-formed a moment ago
	}
	for i := first; i < b.NumRecords(); i++ {
		if _, has := b.SenderID(i); has {
			continue
		}
		rec := b.Record(i)
		// Where it stands in the topic names it: the message and its place in it.
		at := int64(i - first)
		b.SetID(i, wire.SourceID(p.generation, m.Offset, at, b.Bytes(rec.Source)))
	}
}
