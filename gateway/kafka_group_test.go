package gateway

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirlog/weir/record"
)

// gatedSink has no room until its gate is open.
type gatedSink struct {
	*heldSink
	asked chan struct{} // closed when somebody waits for room
	once  sync.Once
	gate  chan struct{}
}

func (s *gatedSink) Room() <-chan struct{} { return s.gate }

func (s *gatedSink) Get() *record.Batch {
	select {
	case <-s.gate:
		return s.heldSink.Get()
	default:
		s.once.Do(func() { close(s.asked) })
		return nil
	}
}

// commitLog sees every commit a cluster gets. answer, if not nil, may answer one.
type commitLog struct {
	mu      sync.Mutex
	commits []string // partition:offset
	seen    chan struct{}
}

func watchCommits(c *kfake.Cluster, answer func(*kmsg.OffsetCommitRequest) kmsg.Response) *commitLog {
	l := &commitLog{seen: make(chan struct{}, 1)}
	c.ControlKey(kmsg.OffsetCommit.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r := req.(*kmsg.OffsetCommitRequest)
		if answer != nil {
			if resp := answer(r); resp != nil {
				return resp, nil, true
			}
		}
		l.mu.Lock()
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				l.commits = append(l.commits, fmt.Sprintf("%d:%d", p.Partition, p.Offset))
			}
		}
		l.mu.Unlock()
		select {
		case l.seen <- struct{}{}:
		default:
		}
		return nil, nil, false
	})
	return l
}

func (l *commitLog) wait(t *testing.T, commit string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		if slices.Contains(l.all(), commit) {
			return
		}
		select {
		case <-l.seen:
		case <-deadline:
			t.Fatalf("commits are %q, want %s", l.all(), commit)
		}
	}
}

func (l *commitLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.commits)
}

// A member that was busy while a partition went to another one puts none of it any
// more, and commits none: the other has not finished what comes before.
func TestKafkaInputKeepsOffItsOldPartitions(t *testing.T) {
	c := kafkaCluster(t, "in")
	commits := watchCommits(c, nil)
	var msgs []*kgo.Record
	for i := range 20 {
		msgs = append(msgs, &kgo.Record{Value: fmt.Append(nil, i%2), Partition: int32(i % 2)})
	}
	produce(t, c, "in", msgs...)
	a := &gatedSink{heldSink: newHeldSink(), asked: make(chan struct{}), gate: make(chan struct{})}
	ka, stopA := runKafka(t, c, a, nil)
	<-a.asked // it has polled and has no room
	b := newHeldSink()
	b.hold = true
	_, stopB := runKafka(t, c, b, nil)
	b.wait(t, 10) // one of the partitions
	close(a.gate)
	mine, other := "0", "1"
	if b.got[0] == mine {
		mine, other = other, mine
	}
	a.wait(t, 10)
	commits.wait(t, mine+":10")
	a.mu.Lock()
	if slices.Contains(a.got, other) {
		t.Errorf("the first member went on with a partition that it had lost: %q", a.got)
	}
	a.mu.Unlock()
	for _, at := range commits.all() {
		if at[:1] == other {
			t.Errorf("offset %s was committed; nobody has finished it", at)
		}
	}
	if sum, waiting := ka.Tally(); sum.Read != 10 || waiting != 0 {
		t.Errorf("the first member has read %d, %d pieces under way", sum.Read, waiting)
	}
	b.mu.Lock()
	for _, batch := range b.held {
		batch.Release()
	}
	b.held = nil
	b.mu.Unlock()
	commits.wait(t, other+":10")
	stopA()
	stopB()
}

// What was under way when a partition went is delivered and counted, and not
// committed.
func TestKafkaInputCountsWhatItLost(t *testing.T) {
	c := kafkaCluster(t, "in")
	commits := watchCommits(c, nil)
	var msgs []*kgo.Record
	for i := range 20 {
		msgs = append(msgs, &kgo.Record{Value: fmt.Append(nil, i%2), Partition: int32(i % 2)})
	}
	produce(t, c, "in", msgs...)
	a, b := newHeldSink(), newHeldSink()
	a.hold, b.hold = true, true
	ka, stopA := runKafka(t, c, a, nil)
	a.wait(t, 20)
	_, stopB := runKafka(t, c, b, nil)
	b.wait(t, 10)
	a.mu.Lock()
	for _, batch := range a.held {
		batch.Release()
	}
	a.held, a.hold = nil, false
	a.mu.Unlock()
	mine, other := "0", "1"
	if b.got[0] == mine {
		mine, other = other, mine
	}
	commits.wait(t, mine+":10")
	if sum, waiting := ka.Tally(); sum.Read != 20 || waiting != 0 {
		t.Errorf("the first member has read %d, %d pieces under way", sum.Read, waiting)
	}
	stopA()
	for _, at := range commits.all() {
		if at[:1] == other {
			t.Errorf("offset %s was committed by who does not have the partition", at)
		}
	}
	stopB()
}

// A commit that the broker refuses is made again, also if nothing more comes.
func TestKafkaInputCommitsAgain(t *testing.T) {
	c := kafkaCluster(t, "in")
	refused := 0
	commits := watchCommits(c, func(r *kmsg.OffsetCommitRequest) kmsg.Response {
		if refused++; refused > 2 {
			return nil
		}
		resp := r.ResponseKind().(*kmsg.OffsetCommitResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.InvalidCommitOffsetSize.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	})
	produce(t, c, "in", text("a", "b", "c")...)
	_, stop := runKafka(t, c, newHeldSink(), nil)
	commits.wait(t, "0:3")
	stop()
	if got := commits.all(); len(got) != 1 {
		t.Errorf("commits %q, want one", got)
	}
}
