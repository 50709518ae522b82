package record

import (
	"fmt"
	"runtime"
	"testing"
)

// What a garbage collection costs while 64 batches of 2048 records with five
// fields each are alive, for rows of spans (what we have) and rows of slices
// (the usual way). docs/decisions/0001-core-types.md quotes it.

type sliceField struct {
	key string
	val []byte
}

type sliceRecord struct {
	body   []byte
	fields []sliceField
}

const altBatches, altRecords, altFields = 64, 2048, 5

func BenchmarkGCSpans(b *testing.B) {
	live := make([]*Batch, altBatches)
	st := NewStream(nil, nil, nil)
	for i := range live {
		bt := NewBatch(nil)
		ref := bt.AddStream(StreamRef{Stream: st})
		for r := range altRecords {
			sp := bt.AppendString("a line of some length that is a body")
			bt.Add(Record{Body: sp, Source: sp, Stream: ref})
			for f := range altFields {
				k, _ := bt.Key(fmt.Appendf(nil, "key%d", f))
				bt.AddField(r, Field{Key: k, Val: bt.AppendString("value")})
			}
		}
		live[i] = bt
	}
	b.ResetTimer()
	for range b.N {
		runtime.GC()
	}
	runtime.KeepAlive(live)
}

func BenchmarkGCSlices(b *testing.B) {
	live := make([][]sliceRecord, altBatches)
	for i := range live {
		for range altRecords {
			rec := sliceRecord{body: []byte("a line of some length that is a body")}
			for f := range altFields {
				rec.fields = append(rec.fields, sliceField{fmt.Sprintf("key%d", f), []byte("value")})
			}
			live[i] = append(live[i], rec)
		}
	}
	b.ResetTimer()
	for range b.N {
		runtime.GC()
	}
	runtime.KeepAlive(live)
}
