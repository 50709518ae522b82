package output

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

func cluster(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func topic(t testing.TB, s string) *wire.Template {
	t.Helper()
	tm, err := wire.ParseTemplate(s, wire.SanitizeTopic)
	if err != nil {
		t.Fatal(err)
	}
	return tm
}

func newKafka(t testing.TB, c *kfake.Cluster, change func(*KafkaConfig)) *Kafka {
	t.Helper()
	conf := KafkaConfig{KafkaConn: KafkaConn{Brokers: c.ListenAddrs(), Timeout: 10 * time.Second}, Topic: topic(t, "logs")}
	if change != nil {
		change(&conf)
	}
	o, err := NewKafka(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

// consumed reads n records of the topics.
func consumed(t testing.TB, c *kfake.Cluster, n int, topics ...string) []*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []*kgo.Record
	for len(got) < n && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) { got = append(got, r) })
	}
	if len(got) != n {
		t.Fatalf("got %d records, want %d", len(got), n)
	}
	return got
}

// ends returns how many records the topic has.
func ends(c *kfake.Cluster, topic string) (n int64) {
	for _, p := range c.PartitionInfos(topic) {
		n += p.HighWatermark
	}
	return n
}

func headerOf(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

func TestKafkaSends(t *testing.T) {
	c := cluster(t, kfake.SeedTopics(4, "logs-shop"))
	for _, method := range []string{"", "none", "gzip", "snappy", "lz4", "zstd"} {
		for _, format := range []string{"json", "raw", "otlp"} {
			t.Run(method+"/"+format, func(t *testing.T) {
				before := ends(c, "logs-shop")
				o := newKafka(t, c, func(k *KafkaConfig) {
					k.Topic, k.Format, k.Compression = topic(t, "logs-${namespace}"), format, method
					k.Headers = []string{"namespace", "nothing", "pod"}
				})
				if err := o.Probe(t.Context()); err != nil {
					t.Fatalf("probe: %v", err)
				}
				a, b := batchOf(testStream, "one", `{"k":1}`), batchOf(testStream, "three\nlines")
				res, err := o.Send(t.Context(), partsOf(a, b))
				if err != nil || len(res.Failures) != 0 || res.Bytes == 0 {
					t.Fatal(res, err)
				}
				all := consumed(t, c, int(before)+3, "logs-shop")
				var got []*kgo.Record
				for _, r := range all {
					if r.Offset >= before || len(all) == 3 {
						got = append(got, r)
					}
				}
				got = got[len(got)-3:]
				for i, r := range got {
					src, k := a, i
					if i == 2 {
						src, k = b, 0
					}
					if id := headerOf(r, HeaderID); id != wire.RecordID(src, k).String() {
						t.Errorf("record %d: id %q", i, id)
					}
					if headerOf(r, "namespace") != "shop" || headerOf(r, "pod") != "api-1" || len(r.Headers) != 3 {
						t.Errorf("headers %v", r.Headers)
					}
					if want := fmt.Sprintf("%016x", testStream.Hash()); string(r.Key) != want {
						t.Errorf("key %q, want %q", r.Key, want)
					}
					if r.Timestamp.UnixMilli() != src.Record(k).Time/1e6 || r.Partition != got[0].Partition {
						t.Errorf("record %d at %v in partition %d", i, r.Timestamp, r.Partition)
					}
					body := string(src.Body(k))
					switch format {
					case "raw":
						if string(r.Value) != body {
							t.Errorf("value %q, want %q", r.Value, body)
						}
					case "json":
						var m map[string]any
						if err := json.Unmarshal(r.Value, &m); err != nil || m["namespace"] != "shop" || i == 2 && m["_msg"] != body {
							t.Errorf("value %q: %v", r.Value, err)
						}
					case "otlp":
						var m collogs.ExportLogsServiceRequest
						if err := proto.Unmarshal(r.Value, &m); err != nil {
							t.Fatal(err)
						}
						l := m.ResourceLogs[0].ScopeLogs[0].LogRecords
						if len(l) != 1 || i != 1 && l[0].Body.GetStringValue() != body {
							t.Errorf("value %v", &m)
						}
					}
				}
			})
		}
	}
}

// The same memory serves Send after Send; nothing of one may show in the next.
func TestKafkaSendAfterSend(t *testing.T) {
	c := cluster(t, kfake.SeedTopics(1, "logs"))
	o := newKafka(t, c, func(k *KafkaConfig) { k.Format = "raw" })
	var want []string
	for i := range 20 {
		var bodies []string
		for k := range i*7%11 + 1 {
			bodies = append(bodies, fmt.Sprintf("%d-%d-%s", i, k, strings.Repeat("x", i*k%40)))
		}
		want = append(want, bodies...)
		if res, err := o.Send(t.Context(), someParts(bodies...)); err != nil || len(res.Failures) > 0 {
			t.Fatal(res, err)
		}
	}
	for i, r := range consumed(t, c, len(want), "logs") {
		if string(r.Value) != want[i] {
			t.Fatalf("record %d is %q, want %q", i, r.Value, want[i])
		}
	}
}

func TestKafkaUnknownTopic(t *testing.T) {
	c := cluster(t)
	o := newKafka(t, c, nil)
	_, err := o.Send(t.Context(), someParts("secretcontent"))
	se := wantKind(t, err, ack.Retry)
	if !strings.Contains(se.Error(), "allow_auto_create") || strings.Contains(se.Error(), "secretcontent") {
		t.Errorf("error %q", se)
	}
	if err := o.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "create the topic") {
		t.Errorf("probe: %v", err)
	}
	// It works as soon as the topic is there.
	if err := c.CreateTopic("logs", 1, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Send(t.Context(), someParts("a")); err != nil {
		t.Fatal(err)
	}
	c2 := cluster(t, kfake.AllowAutoTopicCreation())
	o = newKafka(t, c2, func(k *KafkaConfig) { k.AllowAutoCreate = true })
	if _, err := o.Send(t.Context(), someParts("a")); err != nil {
		t.Fatal(err)
	}
}

// One topic that is not there does not hold up the others.
func TestKafkaPartialFailure(t *testing.T) {
	c := cluster(t, kfake.SeedTopics(1, "logs-shop"))
	other := record.NewStream([]record.Attr{{Name: record.AttrNamespace, Value: "none"}}, nil, nil)
	o := newKafka(t, c, func(k *KafkaConfig) { k.Topic = topic(t, "logs-${namespace}") })
	res, err := o.Send(t.Context(), partsOf(batchOf(testStream, "a", "b"), batchOf(other, "c")))
	if err != nil || len(res.Failures) != 1 || res.Failures[0].Part != 1 || res.Failures[0].Record != 0 || res.Failures[0].Permanent {
		t.Fatalf("%+v %v", res, err)
	}
	if n := ends(c, "logs-shop"); n != 2 {
		t.Errorf("%d records", n)
	}
}

// Row 80: records whose own values name a topic that is not there wait for a while
// and then go to the dead letters: waiting for ever they would take all the room
// that others need. What is made before counts, and a topic that the
// configuration names keeps its records.
func TestFailure80_KafkaTopicOfARecord(t *testing.T) {
	c := cluster(t, kfake.SeedTopics(1, "logs-shop"))
	other := record.NewStream([]record.Attr{{Name: record.AttrNamespace, Value: "none"}}, nil, nil)
	now := time.Unix(1795000000, 0)
	o := newKafka(t, c, func(k *KafkaConfig) {
		k.Topic, k.Now = topic(t, "logs-${namespace}"), func() time.Time { return now }
	})
	send := func(permanent bool) {
		t.Helper()
		res, err := o.Send(t.Context(), partsOf(batchOf(testStream, "a"), batchOf(other, "secretcontent")))
		if err != nil || len(res.Failures) != 1 || res.Failures[0].Part != 1 || res.Failures[0].Permanent != permanent {
			t.Fatalf("%+v %v", res, err)
		}
		if r := res.Failures[0].Reason; !strings.Contains(r, "logs-none") || strings.Contains(r, "secretcontent") {
			t.Errorf("reason %q", r)
		}
	}
	send(false)
	now = now.Add(lackingFor - 1)
	send(false)
	now = now.Add(1)
	send(true)
	if res, err := o.Send(t.Context(), partsOf(batchOf(other, "b"))); err != nil || len(res.Failures) != 1 || !res.Failures[0].Permanent {
		t.Fatalf("alone: %+v %v", res, err)
	}
	if err := c.CreateTopic("logs-none", 1, nil); err != nil {
		t.Fatal(err)
	}
	if res, err := o.Send(t.Context(), partsOf(batchOf(other, "b"))); err != nil || len(res.Failures) != 0 {
		t.Fatalf("created: %+v %v", res, err)
	}
	if len(o.missing) != 0 {
		t.Errorf("remembered: %v", o.missing)
	}

	now = time.Unix(1795000000, 0)
	o = newKafka(t, c, func(k *KafkaConfig) { k.Topic, k.Now = topic(t, "none"), func() time.Time { return now } })
	for range 2 {
		if _, err := o.Send(t.Context(), someParts("a")); err == nil {
			t.Fatal("taken")
		} else {
			wantKind(t, err, ack.Retry)
		}
		now = now.Add(time.Hour)
	}
}

// Row 81: a record that is longer than a message may be is dead alone; one that
// the broker finds too long splits the request.
func TestFailure81_KafkaTooLarge(t *testing.T) {
	c := cluster(t, kfake.SeedTopics(1, "logs"))
	o := newKafka(t, c, func(k *KafkaConfig) { k.Format, k.MaxMessage = "raw", 2048 })
	res, err := o.Send(t.Context(), someParts("a", strings.Repeat("x", 3000), "b"))
	if err != nil || len(res.Failures) != 1 || res.Failures[0].Record != 1 || !res.Failures[0].Permanent {
		t.Fatalf("%+v %v", res, err)
	}
	if res, err = o.Send(t.Context(), someParts(strings.Repeat("x", 3000))); err != nil || len(res.Failures) != 1 || !res.Failures[0].Permanent {
		t.Fatalf("%+v %v", res, err)
	}

	refuse := cluster(t, kfake.SeedTopics(1, "logs"))
	produceError(refuse, kerr.MessageTooLarge.Code, -1)
	o = newKafka(t, refuse, nil)
	_, err = o.Send(t.Context(), someParts("a", "b"))
	wantKind(t, err, ack.TooLarge)
}

// produceError makes the brokers answer n produce requests (-1: all) with an error.
func produceError(c *kfake.Cluster, code int16, n int) *atomic.Int64 {
	var seen atomic.Int64
	c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if n >= 0 && seen.Load() >= int64(n) {
			return nil, nil, false
		}
		seen.Add(1)
		req := kreq.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	return &seen
}

func TestKafkaClassification(t *testing.T) {
	for _, x := range []struct {
		code      *kerr.Error
		kind      ack.ErrorKind
		permanent bool
		text      string
	}{
		{kerr.InvalidTimestamp, ack.Rejected, false, "INVALID_TIMESTAMP"},
		{kerr.InvalidRecord, ack.Rejected, false, "INVALID_RECORD"},
		{kerr.TopicAuthorizationFailed, ack.Unauthorized, false, "WRITE"},
		{kerr.ClusterAuthorizationFailed, ack.Unauthorized, false, "IDEMPOTENT_WRITE"},
		{kerr.InvalidRequiredAcks, ack.Retry, false, "INVALID_REQUIRED_ACKS"},
		{kerr.UnknownServerError, ack.Retry, false, "UNKNOWN_SERVER_ERROR"},
		{kerr.InvalidTopicException, ack.Retry, true, ""},
	} {
		t.Run(x.code.Message, func(t *testing.T) {
			c := cluster(t, kfake.SeedTopics(1, "logs"))
			produceError(c, x.code.Code, -1)
			o := newKafka(t, c, nil)
			res, err := o.Send(t.Context(), someParts("a", "secretcontent"))
			if x.permanent {
				if err != nil || len(res.Failures) != 2 || !res.Failures[0].Permanent {
					t.Fatal(res, err)
				}
				return
			}
			se := wantKind(t, err, x.kind)
			if se.Code != int(x.code.Code) || !strings.Contains(se.Error(), x.text) || strings.Contains(se.Error(), "secretcontent") {
				t.Errorf("code %d, %q", se.Code, se)
			}
		})
	}
}

// Row 91: after a leader change, while replicas are missing and after the
// producer's epoch was fenced, every record is in the topic once, in order.
func TestFailure91_KafkaLeaderReplicasAndFence(t *testing.T) {
	send := func(t *testing.T, o *Kafka, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			for try := 0; ; try++ {
				_, err := o.Send(t.Context(), someParts(fmt.Sprint(i)))
				if err == nil {
					break
				}
				if wantKind(t, err, ack.Retry); try == 10 {
					t.Fatal(err)
				}
			}
		}
	}
	check := func(t *testing.T, c *kfake.Cluster, n int) {
		t.Helper()
		for i, r := range consumed(t, c, n, "logs") {
			if string(r.Value) != fmt.Sprint(i) {
				t.Fatalf("record %d is %q", i, r.Value)
			}
		}
		if got := ends(c, "logs"); got != int64(n) {
			t.Errorf("%d records in the topic, want %d", got, n)
		}
	}
	raw := func(k *KafkaConfig) { k.Format = "raw" }
	t.Run("leader", func(t *testing.T) {
		c := cluster(t, kfake.SeedTopics(1, "logs"))
		o := newKafka(t, c, raw)
		for i := range 4 {
			send(t, o, 3*i, 3*i+3)
			if err := c.MoveTopicPartition("logs", 0, int32((int(c.LeaderFor("logs", 0))+1)%3)); err != nil {
				t.Fatal(err)
			}
		}
		check(t, c, 12)
	})
	t.Run("replicas", func(t *testing.T) {
		c := cluster(t, kfake.SeedTopics(1, "logs"))
		seen := produceError(c, kerr.NotEnoughReplicas.Code, 3)
		o := newKafka(t, c, raw)
		send(t, o, 0, 5)
		if seen.Load() != 3 {
			t.Errorf("%d refusals", seen.Load())
		}
		check(t, c, 5)
	})
	t.Run("replicas missing for long", func(t *testing.T) {
		c := cluster(t, kfake.SeedTopics(1, "logs"))
		produceError(c, kerr.NotEnoughReplicas.Code, -1)
		o := newKafka(t, c, func(k *KafkaConfig) { k.Format = "raw" })
		o.retries = 1
		_, err := o.Send(t.Context(), someParts("a"))
		se := wantKind(t, err, ack.Retry)
		if !strings.Contains(se.Error(), "min.insync.replicas") {
			t.Errorf("error %q", se)
		}
	})
	t.Run("stored but not on all replicas", func(t *testing.T) {
		c := cluster(t, kfake.SeedTopics(1, "logs"))
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend})
		send(t, newKafka(t, c, raw), 0, 5)
		check(t, c, 5)
	})
	for _, e := range []*kerr.Error{kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.OutOfOrderSequenceNumber} {
		t.Run(e.Message, func(t *testing.T) {
			c := cluster(t, kfake.SeedTopics(1, "logs"))
			o := newKafka(t, c, raw)
			send(t, o, 0, 2)
			produceError(c, e.Code, 1)
			send(t, o, 2, 5)
			check(t, c, 5)
			for i, r := range consumed(t, c, 5, "logs") {
				if want := wire.RecordID(batchOf(testStream, fmt.Sprint(i)), 0).String(); headerOf(r, HeaderID) != want {
					t.Errorf("record %d has the id %q, want %q", i, headerOf(r, HeaderID), want)
				}
			}
		})
	}
}

// Row 78, 87: the answer to a request that was stored is lost; the client asks
// again itself and the topic has each record once.
func TestFailure78_KafkaLostAnswer(t *testing.T) {
	c := cluster(t, kfake.SeedTopics(1, "logs"))
	var lost atomic.Bool
	c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		if lost.Swap(true) {
			return nil, nil, false
		}
		return nil, errors.New("cut"), true // the connection is closed without an answer
	})
	o := newKafka(t, c, func(k *KafkaConfig) { k.Format = "raw" })
	if _, err := o.Send(t.Context(), someParts(lines(50)...)); err != nil {
		t.Fatal(err)
	}
	if n := ends(c, "logs"); n != 50 || !lost.Load() {
		t.Errorf("%d records", n)
	}
}

// A Send that is given up leaves nothing behind, and the output goes on.
func TestKafkaGivenUp(t *testing.T) {
	c := cluster(t, kfake.SeedTopics(1, "logs"))
	hang := make(chan struct{})
	var hung atomic.Bool
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		if hung.Swap(true) {
			return nil, nil, false
		}
		c.SleepControl(func() { <-hang })
		return nil, errors.New("cut"), true
	})
	o := newKafka(t, c, func(k *KafkaConfig) { k.Format, k.Timeout = "raw", 500*time.Millisecond })
	_, err := o.Send(t.Context(), someParts("a"))
	se := wantKind(t, err, ack.Retry)
	if !errors.Is(se, context.DeadlineExceeded) {
		t.Errorf("error %q", se)
	}
	g, err := o.acquire()
	if err != nil {
		t.Fatal(err)
	}
	if n := g.cl.BufferedProduceRecords(); n != 0 {
		t.Errorf("%d records are still to be sent", n)
	}
	o.release(g, false)
	close(hang)
	o.conf.Timeout = 10 * time.Second
	if _, err := o.Send(t.Context(), someParts("a")); err != nil {
		t.Fatal(err)
	}
	if n := ends(c, "logs"); n != 1 {
		t.Errorf("%d records", n)
	}
}

func TestKafkaNobodyThere(t *testing.T) {
	o, err := NewKafka(KafkaConfig{KafkaConn: KafkaConn{Brokers: []string{"127.0.0.1:1"}, Timeout: time.Second}, Topic: topic(t, "logs")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.Close() }()
	_, err = o.Send(t.Context(), someParts("a"))
	if se := wantKind(t, err, ack.Retry); !strings.Contains(se.Error(), "refused") {
		t.Errorf("error %q does not say why", se)
	}
	if err := o.Probe(t.Context()); err == nil {
		t.Error("probe found something")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.Send(ctx, someParts("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	_ = o.Close()
	_, err = o.Send(t.Context(), someParts("a"))
	wantKind(t, err, ack.Retry)
}

// Row 83: wrong credentials keep the records and say what is wrong.
func TestFailure83_KafkaSASL(t *testing.T) {
	var wrong atomic.Bool
	c := cluster(t, kfake.SeedTopics(1, "logs"), kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "u", "canary-p"), kfake.Superuser("SCRAM-SHA-256", "u2", "canary-2"), kfake.Superuser("SCRAM-SHA-512", "u5", "canary-5"))
	// As a real broker answers; the fake one hangs up.
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.SASLAuthenticateRequest)
		if !wrong.Load() {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	for _, s := range []SASL{{"plain", "u", "canary-p"}, {"scram-sha-256", "u2", "canary-2"}, {"scram-sha-512", "u5", "canary-5"}} {
		o := newKafka(t, c, func(k *KafkaConfig) { k.SASL = s })
		if _, err := o.Send(t.Context(), someParts("a")); err != nil {
			t.Errorf("%s: %v", s.Mechanism, err)
		}
		wrong.Store(true)
		log, text := logTo()
		o = newKafka(t, c, func(k *KafkaConfig) {
			k.SASL, k.Timeout, k.Logger = SASL{s.Mechanism, s.User, "canary-wrong"}, 2*time.Second, log
		})
		_, err := o.Send(t.Context(), someParts("a"))
		se := wantKind(t, err, ack.Unauthorized)
		if all := se.Error() + text.String() + fmt.Sprintf("%+v %#v", o, o); strings.Contains(all, "canary") {
			t.Errorf("%s: a secret shows: %s", s.Mechanism, all)
		}
		if !strings.Contains(se.Error(), "sasl") {
			t.Errorf("error %q", se)
		}
		if err := o.Probe(t.Context()); err == nil {
			t.Error("probe succeeded")
		}
		wrong.Store(false)
	}
}

// Row 89: a broker that wants to know its clients gets the certificate that is in
// the files now, and what follows the files on its own does too.
func TestFailure89_KafkaClientCertificate(t *testing.T) {
	a, b := newAuthority(t, "old"), newAuthority(t, "new")
	dir := t.TempDir()
	write(t, dir+"/ca", a.pem)
	certPEM, keyPEM := a.issue("broker")
	broker, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(b.cert)
	c := cluster(t, kfake.SeedTopics(1, "logs"), kfake.TLS(&tls.Config{
		Certificates: []tls.Certificate{broker}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}))
	cert, key := a.issue("weir") // of an authority that the brokers do not know
	write(t, dir+"/cert", cert)
	write(t, dir+"/key", key)
	clk := newClock()
	conf := TLS{CA: dir + "/ca", Cert: dir + "/cert", Key: dir + "/key"}
	o := newKafka(t, c, func(k *KafkaConfig) { k.TLS, k.Now, k.Timeout = conf, clk.now, 2*time.Second })
	follow, err := conf.Follow(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	before := follow().Certificates[0].Certificate[0]
	_, err = o.Send(t.Context(), someParts("a"))
	if se := wantKind(t, err, ack.Retry); !strings.Contains(se.Error(), "certificate") {
		t.Errorf("error %q does not say why", se)
	}
	cert, key = b.issue("weir")
	replace(t, dir+"/cert", cert)
	replace(t, dir+"/key", key)
	clk.add(time.Minute)
	o.conf.Timeout = 20 * time.Second
	if _, err := o.Send(t.Context(), someParts("a")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); bytes.Equal(follow().Certificates[0].Certificate[0], before); {
		if time.Now().After(deadline) {
			t.Fatal("the files are not followed")
		}
		time.Sleep(50 * time.Millisecond) // it looks once a second
	}
}

func TestKafkaTLS(t *testing.T) {
	authority := newAuthority(t, "kafka")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, authority.pem)
	certPEM, keyPEM := authority.issue("broker")
	cert, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil {
		t.Fatal(err)
	}
	c := cluster(t, kfake.SeedTopics(1, "logs"), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))
	o := newKafka(t, c, func(k *KafkaConfig) { k.TLS = TLS{CA: ca} })
	if _, err := o.Send(t.Context(), someParts("a")); err != nil {
		t.Fatal(err)
	}
	o = newKafka(t, c, func(k *KafkaConfig) { k.UseTLS, k.Timeout = true, 2*time.Second })
	_, err = o.Send(t.Context(), someParts("a"))
	if se := wantKind(t, err, ack.Retry); !strings.Contains(se.Error(), "certificate") {
		t.Errorf("error %q", se)
	}
}

// Row 110, 111: what a program logs forms neither another topic nor another
// message.
func TestFailure111_KafkaInjection(t *testing.T) {
	evil := record.NewStream([]record.Attr{{Name: record.AttrNamespace, Value: "../__consumer_offsets\x00\r\n/é" + strings.Repeat("n", 400)}}, nil, nil)
	c := cluster(t, kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(1))
	o := newKafka(t, c, func(k *KafkaConfig) { k.Topic, k.AllowAutoCreate = topic(t, "logs-${namespace}"), true })
	body := "a\"}\n{\"_msg\":\"forged\"}\r\n\x00\xff"
	res, err := o.Send(t.Context(), partsOf(batchOf(evil, body)))
	if err != nil || len(res.Failures) > 0 {
		t.Fatal(res, err)
	}
	name := string(topic(t, "logs-${namespace}").Append(nil, batchOf(evil, "x"), 0))
	if len(name) > 249 || strings.ContainsAny(name, "/\x00\r\n") || !strings.HasPrefix(name, "logs-") {
		t.Fatalf("topic %q", name)
	}
	r := consumed(t, c, 1, name)[0]
	if bytes.ContainsAny(r.Value, "\n\r\x00") || !json.Valid(r.Value) {
		t.Errorf("value %q", r.Value)
	}
	if _, err := wire.ParseTemplate("a/b", wire.SanitizeTopic); err == nil {
		t.Error("a topic with a slash is taken")
	}
}

func TestKafkaConfig(t *testing.T) {
	for want, change := range map[string]func(*KafkaConfig){
		"brokers":     func(k *KafkaConfig) { k.Brokers = nil },
		"host:port":   func(k *KafkaConfig) { k.Brokers = []string{"nohost"} },
		"format":      func(k *KafkaConfig) { k.Format = "xml" },
		"compression": func(k *KafkaConfig) { k.Compression = "brotli" },
		"key":         func(k *KafkaConfig) { k.Key = "x" },
		"mechanism":   func(k *KafkaConfig) { k.SASL.User = "u" },
		"topic":       func(k *KafkaConfig) { k.Topic = nil },
		"largest":     func(k *KafkaConfig) { k.MaxMessage = 5 },
		"tls.ca":      func(k *KafkaConfig) { k.TLS.CA = "/does/not/exist" },
	} {
		conf := KafkaConfig{KafkaConn: KafkaConn{Brokers: []string{"127.0.0.1:9092"}}, Topic: topic(t, "logs")}
		change(&conf)
		if _, err := NewKafka(conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func BenchmarkKafka(b *testing.B) {
	for _, f := range []string{"json", "raw", "otlp"} {
		for _, method := range []string{"none", "zstd"} {
			b.Run(f+"/"+method, func(b *testing.B) {
				c := cluster(b, kfake.SeedTopics(4, "logs"), kfake.BlackholeProduce())
				benchmarkSend(b, newKafka(b, c, func(k *KafkaConfig) { k.Format, k.Compression = f, method }))
			})
		}
	}
}
