package buffer

import (
	"context"
	"fmt"
	"testing"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// benchPart is a Part of n lines of 200 bytes, of a push: without a generation.
func benchPart(n int) record.Part {
	b := record.NewBatch(nil)
	token := new(ack.Token)
	token.Expect(1)
	st := b.AddStream(record.StreamRef{Stream: worldStream, Token: token})
	for i := range n {
		sp := b.Append(make([]byte, 200))
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
	p := benchPart(1000)
	var e encoder
	var buf []byte
	b.SetBytes(1000 * 200)
	b.ReportAllocs()
	for b.Loop() {
		buf = e.frame(buf[:0], p.Batch(), p.Index(), 0, place{})
	}
}

func BenchmarkDecode(b *testing.B) {
	p := benchPart(1000)
	buf := new(encoder).frame(nil, p.Batch(), p.Index(), 0, place{})
	var dec decoder
	var pool record.Pool
	release := pool.Put
	b.SetBytes(1000 * 200)
	b.ReportAllocs()
	for b.Loop() {
		batch := pool.Get(release)
		copy(batch.Reserve(len(buf)-frameHead), buf[frameHead:])
		batch.Extend(len(buf) - frameHead)
		fr, _ := parseFrame(buf, 0)
		if !fr.intact(batch.Buf()) || dec.decode(batch, 0, fr.records, nil) != nil {
			b.Fatal("cannot be decoded")
		}
		batch.Release()
	}
}
