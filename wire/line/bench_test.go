package line

import (
	"testing"
	"time"
)

// BenchmarkPaint paints one line; lines per second and core are 1e9/ns.
func BenchmarkPaint(b *testing.B) {
	for _, c := range []struct{ name, line string }{
		{"json", `{"time":"2026-11-22T10:00:00.123456789Z","level":"INFO","msg":"request completed","method":"GET","path":"/api/v1/cart/1042","status":200,"duration_ms":12.5,"user_agent":"Mozilla/5.0 (X11; Linux x86_64)","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","bytes":5120}`},
		{"json-escapes", `{"time":"2026-11-22T10:00:00.123456789Z","level":"INFO","msg":"said \"hello\"","req":{"method":"GET","url":"/"},"path":"C:\\x"}`},
		{"logfmt", `ts=2026-11-22T10:00:00.123Z caller=head.go:813 level=warn component=tsdb msg="WAL replay slow" elapsed=3.2s path=/data/wal series=120344`},
		{"klog", `I1122 10:00:00.123456       1 controller.go:117] "Reconciling" pod="shop/cart-1" attempt=3`},
		{"text", `10.1.2.3 - - [22/Nov/2026:10:00:00 +0000] "GET /cart?id=7 HTTP/1.1" 200 512 "https://shop.example/" "Mozilla/5.0 (X11; Linux x86_64)"`},
		{"stack", `{"level":"error","ts":"2026-11-22T10:00:00.123Z","msg":"no connection","stacktrace":"main.(*Pool).get\n\t/app/db/pool.go:88\nmain.main\n\t/app/main.go:31\nruntime.main\n\t/usr/local/go/src/runtime/proc.go:285"}`},
	} {
		for name, s := range map[string]Style{"/color": {Color: true, Zone: time.UTC}, "": {Zone: time.UTC}} {
			b.Run(c.name+name, func(b *testing.B) {
				p := NewPainter(s)
				it := Item{Time: noon, Body: []byte(c.line), Who: p.Who(cartName, "")}
				var buf []byte
				b.SetBytes(int64(len(c.line)))
				b.ReportAllocs()
				for b.Loop() {
					it.Time = noon + (it.Time-noon+1e6)%1e9
					buf = p.Append(buf[:0], &it)
				}
			})
		}
	}
}
