package output

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// KafkaConn says how brokers are reached.
type KafkaConn struct {
	Brokers []string // host:port, any of the cluster
	UseTLS  bool     // implied by TLS
	TLS     TLS
	SASL    SASL
	// Timeout bounds one attempt; default 30 s.
	Timeout  time.Duration
	Resolver Resolver
	Now      func() time.Time
	Logger   *slog.Logger
	Version  string
}

// SASL says who the client is. The zero SASL is nobody.
type SASL struct {
	Mechanism string // plain, scram-sha-256 or scram-sha-512
	User      string
	Password  Secret
}

func (c *KafkaConn) complete() error {
	if len(c.Brokers) == 0 {
		return errors.New("output: kafka: brokers are missing")
	}
	for _, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			return fmt.Errorf("output: kafka: broker %q: write host:port", b)
		}
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return errors.New("output: kafka: tls needs cert and key, or neither")
	}
	c.UseTLS = c.UseTLS || c.TLS != (TLS{})
	if _, err := c.SASL.mechanism(); err != nil {
		return err
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Timeout < 0 {
		return errors.New("output: kafka: timeout must be positive")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.TLS.InsecureSkipVerify {
		c.Logger.Warn("TLS certificates of this output are NOT verified: anyone on the way can read and change the logs",
			"brokers", c.Brokers, "setting", "tls.insecure_skip_verify")
	}
	return nil
}

func (s SASL) mechanism() (sasl.Mechanism, error) {
	switch s.Mechanism {
	case "":
		if s.User != "" || s.Password != "" {
			return nil, errors.New("output: kafka: sasl needs a mechanism: plain, scram-sha-256 or scram-sha-512")
		}
		return nil, nil
	case "plain":
		return plain.Auth{User: s.User, Pass: string(s.Password)}.AsMechanism(), nil
	case "scram-sha-256":
		return scram.Auth{User: s.User, Pass: string(s.Password)}.AsSha256Mechanism(), nil
	case "scram-sha-512":
		return scram.Auth{User: s.User, Pass: string(s.Password)}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("output: kafka: unknown sasl mechanism %q, want plain, scram-sha-256 or scram-sha-512", s.Mechanism)
}

// options returns what producers and consumers have in common.
func (c *KafkaConn) options(t *tls.Config, last *lastTrouble) ([]kgo.Opt, error) {
	d := newDialer(c.Resolver, c.Timeout, "")
	id := "weir"
	if c.Version != "" {
		id += "-" + c.Version
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ClientID(id), kgo.SoftwareNameAndVersion("weir", orUnknown(c.Version)),
		kgo.WithLogger(last), kgo.WithHooks(last), kgo.DisableClientMetrics(), kgo.ConnIdleTimeout(9 * time.Minute),
		kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := d.dial(ctx, network, addr)
			if err != nil || !c.UseTLS {
				return conn, err
			}
			conf := t.Clone()
			if conf.ServerName == "" {
				conf.ServerName, _, _ = net.SplitHostPort(addr)
			}
			tc := tls.Client(conn, conf)
			if err := tc.HandshakeContext(ctx); err != nil {
				_ = conn.Close() // the handshake's error is what matters
				return nil, err
			}
			return tc, nil
		}),
	}
	m, err := c.SASL.mechanism()
	if err != nil {
		return nil, err
	}
	if m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	return opts, nil
}

func orUnknown(s string) string {
	if s == "" {
		return "dev"
	}
	return s
}

func kafkaCodec(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd", "":
		return kgo.ZstdCompression().WithLevel(1), nil
	}
	return kgo.CompressionCodec{}, fmt.Errorf("output: kafka: unknown compression %q, want none, gzip, snappy, lz4 or zstd", name)
}

// kafkaClient is a producer with its connections. It is replaced as a whole when
// certificates changed or the brokers fenced it.
type kafkaClient struct {
	cl         *kgo.Client
	maxMessage int
	version    int // of the certificates
	users      int // with one for being current; guarded by Kafka.mu
	last       *lastTrouble
}

// acquire returns the producer to use now; the caller must release it.
func (o *Kafka) acquire() (*kafkaClient, error) {
	snap := o.files.current()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, errClosed
	}
	if o.gen != nil && o.gen.version < snap.version {
		o.retire()
	}
	if o.gen == nil {
		last := &lastTrouble{log: o.log}
		opts, err := o.conf.options(snap.tls, last)
		if err != nil {
			return nil, err
		}
		codec, err := kafkaCodec(o.conf.Compression)
		if err != nil {
			return nil, err
		}
		opts = append(opts,
			kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(int32(o.conf.MaxMessage)),
			// Send waits for all of its records and bounds them.
			kgo.MaxBufferedRecords(1<<30), kgo.ProducerLinger(2*time.Millisecond),
			kgo.RecordRetries(o.retries), kgo.UnknownTopicRetries(2), kgo.ProduceRequestTimeout(min(10*time.Second, o.conf.Timeout)),
			// A Send that gives up leaves nothing behind.
			kgo.AllowIdempotentProduceCancellation(),
			kgo.MetadataMinAge(250*time.Millisecond),
		)
		if o.conf.AllowAutoCreate {
			opts = append(opts, kgo.AllowAutoTopicCreation())
		}
		cl, err := kgo.NewClient(opts...)
		if err != nil {
			return nil, err
		}
		o.gen = &kafkaClient{cl: cl, maxMessage: o.conf.MaxMessage, version: snap.version, users: 1, last: last}
	}
	o.gen.users++
	return o.gen, nil
}

// release ends a use of g, which nobody else begins to use if it is spent.
func (o *Kafka) release(g *kafkaClient, spent bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if spent && o.gen == g {
		o.retire()
	}
	g.unuse()
}

// retire takes the current producer out of use. The caller holds mu.
func (o *Kafka) retire() {
	if o.gen != nil {
		o.gen.unuse()
		o.gen = nil
	}
}

func (g *kafkaClient) unuse() {
	if g.users--; g.users == 0 {
		g.cl.Close() // all its records have their outcome
	}
}

// Close ends the producer when the Sends under way have ended.
func (o *Kafka) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.retire()
	return nil
}

// hasTopic is an error if the brokers do not have the topic.
func (g *kafkaClient) hasTopic(ctx context.Context, name string) error {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &name
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, g.cl)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return err
		}
	}
	return nil
}

// lastTrouble remembers what the brokers last had against us: a Send that ends by
// its deadline says more with it. It also is the client's logger.
type lastTrouble struct {
	log *slog.Logger

	mu  sync.Mutex
	err error
	at  time.Time
}

// Level is what the client logs at.
func (l *lastTrouble) Level() kgo.LogLevel { return kgo.LogLevelInfo }

// Log notes errors and passes warnings on as details.
func (l *lastTrouble) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	for i := 0; i+1 < len(keyvals); i += 2 {
		if err, ok := keyvals[i+1].(error); ok {
			l.note(err)
		}
	}
	if level <= kgo.LogLevelWarn {
		l.log.Debug("kafka client: "+msg, keyvals...)
	}
}

// OnBrokerConnect notes why a connection failed.
func (l *lastTrouble) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err != nil {
		l.note(err)
	}
}

// note remembers err, unless it is of our own making.
func (l *lastTrouble) note(err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || strings.HasPrefix(err.Error(), "producer id") {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var ke *kerr.Error
	if !errors.As(err, &ke) && errors.As(l.err, &ke) && time.Since(l.at) < 5*time.Second {
		return // what a broker says tells more than how the connection ended
	}
	l.err, l.at = err, time.Now()
}

// recent returns the trouble of the last d, nil if there was none.
func (l *lastTrouble) recent(d time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.at) > d {
		return nil
	}
	return l.err
}
