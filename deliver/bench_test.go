package deliver

import (
	"context"
	"testing"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/buffer"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

func benchBatch(records, size int) *record.Batch {
	b := record.NewBatch(nil)
	st := b.AddStream(record.StreamRef{Stream: streams[0], Generation: record.ID{Hi: 1}})
	for i := range records {
		sp := b.Append(make([]byte, size))
		b.Add(record.Record{Body: sp, Source: sp, Stream: st, Start: int64(i)})
	}
	b.Freeze()
	return b
}

// BenchmarkDeliver is one part of 1000 records of 300 bytes from the queue to
// being settled, with a destination that costs nothing.
func BenchmarkDeliver(b *testing.B) {
	q := buffer.NewMemory(16 << 20)
	rooms := make(chan struct{}, 1)
	q.OnRoom(func() {
		select {
		case rooms <- struct{}{}:
		default:
		}
	})
	out := outputFunc(func(context.Context, int, []record.Part) (ack.Result, error) { return ack.Result{}, nil })
	d, err := New(Config{Name: "x", Queue: q, Endpoints: one(out)})
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.Run(context.Background()) }()
	batch := benchBatch(1000, 300)
	b.SetBytes(1000 * 300)
	b.ReportAllocs()
	for b.Loop() {
		for q.Full() {
			<-rooms
		}
		q.Put(record.NewPart(batch, batch.Live()))
	}
	q.Close()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPartial is the handling of an answer in which every tenth record
// failed, for one part of 1000 records.
func BenchmarkPartial(b *testing.B) {
	batch := benchBatch(1000, 300)
	d, err := New(Config{Name: "x", Queue: buffer.NewMemory(1), Endpoints: one(&sink{})})
	if err != nil {
		b.Fatal(err)
	}
	var failed []ack.Failure
	for i := uint32(0); i < 1000; i += 10 {
		failed = append(failed, ack.Failure{Record: i})
	}
	b.ReportAllocs()
	for b.Loop() {
		p := record.NewPart(batch, batch.Live())
		r := &request{parts: []record.Part{p}}
		if err := checkFailures(r.parts, failed); err != nil {
			b.Fatal(err)
		}
		again, _ := d.settle(r, failed)
		again.parts[0].Finish()
	}
}

// BenchmarkBury is one call with 1000 records of 300 bytes, fsync included.
func BenchmarkBury(b *testing.B) {
	d, err := OpenDeadLetters(DLQConfig{Dir: b.TempDir(), Output: "x", Max: 1 << 40, ID: wire.RecordID})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	batch := benchBatch(1000, 300)
	dead := []Dead{{Part: record.NewPart(batch, batch.Live()), Status: ack.DeadRejected, Reasons: []string{"mapping"}}}
	b.SetBytes(1000 * 300)
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Bury(context.Background(), dead); err != nil {
			b.Fatal(err)
		}
	}
}
