package jsonl

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// mixed returns a batch as the node agent makes them: 60 % JSON lines of 200
// to 600 bytes, 40 % text, eight containers.
func mixed(t testing.TB) (*record.Batch, int64) {
	b := record.NewBatch(nil)
	var refs []uint16
	for i := range 8 {
		refs = append(refs, b.AddStream(record.StreamRef{
			Generation: record.ID{Hi: 1, Lo: uint64(i) + 1},
			Stream: record.NewStream([]record.Attr{
				{Name: record.AttrCluster, Value: "prod-eu"}, {Name: record.AttrNode, Value: "ip-10-0-12-34.eu-central-1.compute.internal"},
				{Name: record.AttrNamespace, Value: "shop"}, {Name: record.AttrPod, Value: fmt.Sprintf("checkout-7d9c5b6f4-x%d", i)},
				{Name: record.AttrPodUID, Value: "8c4a0c7e-6a53-4f0e-9d1c-0d5f4f6f2b1a"}, {Name: record.AttrContainer, Value: "checkout"},
				{Name: record.AttrWorkload, Value: "deployment/checkout"}, {Name: record.AttrApp, Value: "checkout"},
				{Name: record.AttrStream, Value: "stdout"}, {Name: record.AttrInput, Value: "kubernetes"},
			}, []record.Attr{{Name: "app.kubernetes.io/name", Value: "checkout"}, {Name: "pod-template-hash", Value: "7d9c5b6f4"}}, nil),
		}))
	}
	var sc json.Scanner
	var bytes int64
	for i := range 2000 {
		pad := strings.Repeat("x", 60+i*7%300)
		body := fmt.Sprintf(`{"ts":"2026-11-22T10:00:00.%06dZ","level":"info","logger":"checkout.cart","msg":"order %d accepted %s","order_id":%d,"amount":12.5,"user":"u-%d"}`, i, i, pad, i, i)
		flags := record.ValidUTF8 | record.JSONObject
		if i%5 >= 3 {
			body = fmt.Sprintf(`10.1.2.3 - - [22/Nov/2026:10:00:00 +0000] "GET /cart/%d HTTP/1.1" 200 %d "-" "%s"`, i, i, pad)
			flags = record.ValidUTF8
		}
		sp := b.AppendString(body)
		bytes += int64(sp.Len)
		r := record.Record{Time: 1795428000e9 + int64(i)*1e6, Start: int64(sp.Off), End: int64(sp.End()), Body: sp, Source: sp, Stream: refs[i/10%8], Flags: flags, Severity: record.Info}
		if flags.Has(record.JSONObject) {
			if !sc.Object(b.Bytes(sp)) {
				t.Fatal(sc.Err())
			}
			r.KnownKeys = sc.Known
		}
		b.Add(r)
	}
	b.Freeze()
	return b, bytes
}

func BenchmarkAppend(bm *testing.B) {
	b, n := mixed(bm)
	e := New(Config{})
	parts := []record.Part{record.NewPart(b, b.Live())}
	buf := e.Append(nil, parts)
	bm.SetBytes(n)
	bm.ReportAllocs()
	for bm.Loop() {
		buf = e.Append(buf[:0], parts)
	}
	bm.ReportMetric(float64(len(buf))/float64(n), "out/in")
}
