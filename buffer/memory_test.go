package buffer_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/weirlog/weir/buffer"
	"github.com/weirlog/weir/buffer/buffertest"
	"github.com/weirlog/weir/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) {
	buffertest.Run(t, func(_ buffertest.T, maxBytes int) buffertest.Queue { return buffer.NewMemory(maxBytes) })
}

func BenchmarkMemory(b *testing.B) {
	batch := record.NewBatch(nil)
	st := batch.AddStream(record.StreamRef{Stream: record.NewStream(nil, nil, nil)})
	sp := batch.Append(make([]byte, 200))
	for range 1000 {
		batch.Add(record.Record{Body: sp, Source: sp, Stream: st})
	}
	batch.Freeze()
	m := buffer.NewMemory(1 << 30)
	p := record.NewPart(batch, batch.Live())
	b.SetBytes(int64(p.Size()))
	b.ReportAllocs()
	for b.Loop() {
		m.Put(p)
		m.Put(p)
		m.TryNext()
		m.TryNext()
	}
}
