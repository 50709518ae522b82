package buffer

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// benchPart is a Part of n lines of 200 bytes, of a push: without a generation.
func mixed(x uint64) uint64 {
	x = (x + 1) * 0x9e3779b97f4a7c15
	return (x ^ x>>29) * 0xbf58476d1ce4e5b9
}

func benchPart(n int) record.Part {
	b := record.NewBatch(nil)
	token := new(ack.Token)
	token.Expect(1)
	st := b.AddStream(record.StreamRef{Stream: worldStream, Token: token})
	for i := range n {
		r := mixed(uint64(i))
		line := fmt.Sprintf(`{"ts":"2026-11-23T05:%02d:%02d.%03dZ","level":"info","msg":"request served","path":"/api/v1/items/%d","status":200,"trace_id":"%016x","took_ms":%d,"user":"u-%06d"}`, i/60%60, i%60, r%1000, r>>8%5000, r*r, r>>20%900, r>>30%1_000_000)
		sp := b.AppendString(line + strings.Repeat(" ", max(0, 200-len(line))))
		b.Add(record.Record{Body: sp, Source: sp, Stream: st, Time: int64(i)})
	}
	b.Freeze()
	return record.NewPart(b, b.Live())
}

// BenchmarkDiskPut is Put → durable for groups of so many Parts of 10 lines. MB/s
// is of log text.
func BenchmarkDiskPut(b *testing.B) {
	for _, group := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint("group=", group), func(b *testing.B) {
			d := openDisk(b, DiskConfig{Dir: b.TempDir(), MaxBytes: 1 << 40, Memory: 1 << 20})
			p := benchPart(10)
			b.SetBytes(int64(group) * 10 * 200)
			b.ReportAllocs()
			for b.Loop() {
				for range group {
					p.Batch().Retain()
					d.Put(p)
				}
				if err := d.Sync(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			s := d.Stats()
			b.ReportMetric(float64(s.SyncTime.Microseconds())/float64(s.Syncs), "µs/fsync")
			b.ReportMetric(float64(s.Syncs)/float64(b.N), "fsyncs/op")
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for name, from := range map[string]int{"plain": 0, "packed": packFrom} {
		b.Run(name, func(b *testing.B) {
			p := benchPart(1000)
			e := encoder{packFrom: from}
			var buf []byte
			b.SetBytes(1000 * 200)
			b.ReportAllocs()
			for b.Loop() {
				buf = e.frame(buf[:0], p.Batch(), p.Index(), 0, place{})
			}
			b.ReportMetric(float64(len(buf))/(1000*200), "bytes/byte")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, from := range map[string]int{"plain": 0, "packed": packFrom} {
		b.Run(name, func(b *testing.B) {
			p := benchPart(1000)
			e := encoder{packFrom: from}
			buf := e.frame(nil, p.Batch(), p.Index(), 0, place{})
			var dec decoder
			var pool record.Pool
			release := pool.Put
			b.SetBytes(1000 * 200)
			b.ReportAllocs()
			for b.Loop() {
				batch := pool.Get(release)
				fr, _ := parseFrame(buf, 0)
				if !fr.intact(buf[frameHead:]) {
					b.Fatal("damaged")
				}
				if fr.packed {
					unpack(buf[frameHead:], batch)
				} else {
					copy(batch.Reserve(fr.size), buf[frameHead:])
					batch.Extend(fr.size)
				}
				if dec.decode(batch, 0, fr.records, nil) != nil {
					b.Fatal("cannot be decoded")
				}
				batch.Release()
			}
		})
	}
}
