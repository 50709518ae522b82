package forward

import (
	"fmt"
	"testing"

	"github.com/weirlog/weir/record"
)

func corpus(n int) (out []byte) {
	k := pairs{"pod_name", "cart-7d4b9c-x2x1p", "namespace_name", "shop", "pod_id", "6f9d6ff4-1111-2222-3333-444455556666", "host", "node-1",
		"container_name", "cart", "docker_id", "0123456789abcdef0123456789abcdef", "container_image", "registry/shop/cart:1.2.3",
		"labels", pairs{"app", "cart", "pod-template-hash", "7d4b9c", "team", "x"}}
	for i := range n {
		out = append(out, mp([]any{at(now + i), pairs{
			"log", fmt.Sprintf("2026-11-22T10:00:00Z INFO request %d GET /cart/%d status=200 duration=12ms bytes=5123 user=ann agent=Mozilla/5.0", i, i*7),
			"stream", "stdout", "kubernetes", k}})...)
	}
	return out
}

func benchDecode(b *testing.B, msg []byte, bytes int) {
	d := decoder()
	bt := record.NewBatch(nil)
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		bt.Release()
		bt.Reset(nil)
		s := bt.Append(msg)
		if n, err := new(Framer).Next(msg); err != nil || n == 0 {
			b.Fatal(n, err)
		}
		if out, err := d.Decode(bt, s, "", now); err != nil || out.Refused > 0 {
			b.Fatal(out, err)
		}
	}
}

func BenchmarkDecodePacked(b *testing.B) {
	p := corpus(1000)
	benchDecode(b, mp([]any{"kube.x", p, pairs{"chunk", "c"}}), len(p))
}

func BenchmarkDecodeForward(b *testing.B) {
	p := corpus(1000)
	msg := append([]byte{0x92}, mp("kube.x")...)
	msg = append(append(msg, 0xdc, 1000>>8, 1000&255), p...)
	benchDecode(b, msg, len(p))
}

func BenchmarkDecodeGzip(b *testing.B) {
	p := corpus(1000)
	benchDecode(b, mp([]any{"kube.x", gz(p), pairs{"compressed", "gzip"}}), len(p))
}

func BenchmarkEncode(b *testing.B) {
	p := corpus(1000)
	bt, s := batchOf(mp([]any{"kube.x", p}))
	if _, err := decoder().Decode(bt, s, "", now); err != nil {
		b.Fatal(err)
	}
	bt.Freeze()
	part := []record.Part{record.NewPart(bt, bt.Live())}
	e := NewEncoder(Config{IDs: true, Labels: []string{"*"}})
	out := e.Append(nil, part)
	b.SetBytes(int64(len(out)))
	b.ReportAllocs()
	for b.Loop() {
		out = e.Append(out[:0], part)
	}
}
