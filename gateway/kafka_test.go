package gateway

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/otlp"
)

// heldSink takes batches and keeps them until they are let go.
type heldSink struct {
	mu     sync.Mutex
	hold   bool
	held   []*record.Batch
	got    []string // bodies
	ids    []string
	flags  []record.Flags
	change chan struct{}
}

func newHeldSink() *heldSink { return &heldSink{change: make(chan struct{}, 1)} }

func (s *heldSink) Get() *record.Batch    { return record.NewBatch(nil) }
func (s *heldSink) Room() <-chan struct{} { return nil }

func (s *heldSink) Put(_ context.Context, b *record.Batch) error {
	b.Freeze()
	b.Tokens()[0].CountRead(len(b.Live()))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range b.Live() {
		s.got = append(s.got, string(b.Body(int(i))))
		s.ids = append(s.ids, wire.RecordID(b, int(i)).String())
		s.flags = append(s.flags, b.Record(int(i)).Flags)
	}
	if s.hold {
		s.held = append(s.held, b)
	} else {
		b.Release()
	}
	select {
	case s.change <- struct{}{}:
	default:
	}
	return nil
}

func (s *heldSink) wait(t *testing.T, n int) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		have := len(s.got)
		s.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-s.change:
		case <-deadline:
			t.Fatalf("%d records, want %d", have, n)
		}
	}
}

func kafkaCluster(t *testing.T, topics ...string) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topics...), kfake.GroupMinSessionTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func produce(t *testing.T, c *kfake.Cluster, topic string, msgs ...*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), msgs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func text(ss ...string) (out []*kgo.Record) {
	for _, s := range ss {
		out = append(out, &kgo.Record{Value: []byte(s), Timestamp: time.UnixMilli(1795000000123)})
	}
	return out
}

// runKafka runs an input and returns what ends it.
func runKafka(t *testing.T, c *kfake.Cluster, sink record.Sink, change func(*KafkaConfig)) (k *Kafka, stop func()) {
	t.Helper()
	conf := KafkaConfig{Brokers: c.ListenAddrs(), Topics: []string{"in"}, Group: "g", Labels: map[string]string{"team": "x"}}
	if change != nil {
		change(&conf)
	}
	k, err := NewKafka(conf)
	if err != nil {
		t.Fatal(err)
	}
	k.commitEvery, k.farewell = 20*time.Millisecond, 200*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx, sink) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return k, stop
}

func TestKafkaInput(t *testing.T) {
	c := kafkaCluster(t, "in")
	id := "0123456789abcdef0123456789abcdef"
	msgs := text("one", `{"k":1}`, "")
	msgs[1].Headers = []kgo.RecordHeader{{Key: "weir-id", Value: []byte(id)}}
	msgs = append(msgs, &kgo.Record{Value: nil}, &kgo.Record{Value: []byte("last")})
	produce(t, c, "in", msgs...)
	sink := newHeldSink()
	k, stop := runKafka(t, c, sink, nil)
	sink.wait(t, 4)
	stop()
	if fmt.Sprint(sink.got) != "[one {\"k\":1}  last]" || sink.ids[1] != id || sink.ids[0] == sink.ids[3] {
		t.Errorf("%q %q", sink.got, sink.ids)
	}
	sum, waiting := k.Tally()
	if sum.Read != 4 || waiting != 0 {
		t.Errorf("read %d, waiting %d", sum.Read, waiting)
	}
	// Another process goes on behind the last.
	produce(t, c, "in", text("more")...)
	sink = newHeldSink()
	_, stop = runKafka(t, c, sink, nil)
	sink.wait(t, 1)
	stop()
	if fmt.Sprint(sink.got) != "[more]" {
		t.Errorf("%q", sink.got)
	}
}

// What is not finished when the process ends is read again, with the same ids.
func TestKafkaInputCommitsWhatIsFinished(t *testing.T) {
	c := kafkaCluster(t, "in")
	produce(t, c, "in", text("a", "b", "c")...)
	first := newHeldSink()
	first.hold = true
	k, stop := runKafka(t, c, first, nil)
	first.wait(t, 3)
	produce(t, c, "in", text("d")...)
	first.wait(t, 4)
	if _, open := k.Tally(); open != int64(len(first.held)) {
		t.Errorf("%d open", open)
	}
	// The last piece is finished, the first is not.
	first.held[len(first.held)-1].Release()
	stop()
	again := newHeldSink()
	_, stop = runKafka(t, c, again, nil)
	again.wait(t, 4)
	stop()
	if fmt.Sprint(again.got, again.ids) != fmt.Sprint(first.got, first.ids) {
		t.Errorf("%q %q, then %q %q", first.got, first.ids, again.got, again.ids)
	}
}

// Row 80: a message that cannot be read is kept as it is, and stops nothing.
func TestFailure80_KafkaPoison(t *testing.T) {
	c := kafkaCluster(t, "in")
	src := record.NewBatch(nil)
	st := src.AddStream(record.StreamRef{Stream: record.NewStream([]record.Attr{{Name: "namespace", Value: "shop"}}, nil, nil)})
	for _, s := range []string{"x", "y"} {
		sp := src.AppendString(s)
		src.Add(record.Record{Time: 1795000000e9, Body: sp, Source: sp, Stream: st})
	}
	src.Freeze()
	good := otlp.New(otlp.Config{}).Append(nil, []record.Part{record.NewPart(src, src.Live())})
	produce(t, c, "in", &kgo.Record{Value: good}, &kgo.Record{Value: []byte("\xff\xffpoison")}, &kgo.Record{Value: good[:len(good)-3]}, &kgo.Record{Value: good})
	sink := newHeldSink()
	_, stop := runKafka(t, c, sink, func(k *KafkaConfig) { k.Format = "otlp" })
	sink.wait(t, 6)
	stop()
	if fmt.Sprintf("%q", sink.got) != fmt.Sprintf("%q", []string{"x", "y", "\xff\xffpoison", string(good[:len(good)-3]), "x", "y"}) {
		t.Errorf("%q", sink.got)
	}
	seen := map[string]bool{}
	for i, id := range sink.ids {
		if seen[id] || id == (record.ID{}).String() {
			t.Errorf("id %s of record %d", id, i)
		}
		seen[id] = true
		if bad := i == 2 || i == 3; sink.flags[i].Has(record.ParseError) != bad {
			t.Errorf("record %d has flags %v", i, sink.flags[i])
		}
	}
	produce(t, c, "in", text("{\"a\":1}", "no json")...)
	sink = newHeldSink()
	_, stop = runKafka(t, c, sink, func(k *KafkaConfig) { k.Format, k.Group = "json", "g2" })
	sink.wait(t, 6)
	stop()
	if n := len(sink.got); sink.flags[n-2].Has(record.ParseError) || !sink.flags[n-1].Has(record.ParseError) {
		t.Errorf("%q %v", sink.got, sink.flags)
	}
}

// Two members share the partitions; a member that leaves loses nothing.
func TestKafkaInputRebalance(t *testing.T) {
	c := kafkaCluster(t, "in")
	a, b := newHeldSink(), newHeldSink()
	_, stopA := runKafka(t, c, a, nil)
	_, stopB := runKafka(t, c, b, nil)
	n := 0
	put := func(many int) {
		for range many {
			produce(t, c, "in", &kgo.Record{Value: fmt.Append(nil, n), Partition: int32(n % 2)})
			n++
		}
	}
	if _, err := c.WaitGroupStable(t.Context(), "g", 2); err != nil {
		t.Fatal(err)
	}
	put(20)
	stopA()
	put(20)
	deadline := time.Now().Add(20 * time.Second)
	for {
		seen := map[string]string{}
		for _, s := range []*heldSink{a, b} {
			s.mu.Lock()
			for i, body := range s.got {
				if id, twice := seen[body]; twice && id != s.ids[i] {
					t.Errorf("%s has two ids", body)
				}
				seen[body] = s.ids[i]
			}
			s.mu.Unlock()
		}
		if len(seen) == n {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d", len(seen), n)
		}
		<-b.change
	}
	stopB()
}
