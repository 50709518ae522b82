package stage

import (
	"testing"

	"github.com/weirlog/weir/record"
)

var shapes = []struct{ name, line string }{
	{"json", `{"time":"2026-11-22T12:31:07.123456789Z","level":"INFO","msg":"request served","method":"GET","path":"/api/v1/orders/10382/items","status":200,"duration":13284113,"remote_addr":"10.42.3.17:51844","user_agent":"Mozilla/5.0 (X11; Linux x86_64) Gecko","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","request_id":"a3f1c0de-7d51-4fb2-9a44-0c31ad1b6f02"}`},
	{"logfmt", `ts=2026-11-22T12:31:07.123Z caller=main.go:1 level=info component=querier msg="request served" method=GET path=/api/v1/orders/10382/items status=200 duration=13.28ms`},
	{"klog", `I1122 12:31:07.123456       1 reconciler.go:118] "Reconciling object" namespace="shop" name="orders-db-0" generation=17`},
	{"spring", "2026-11-22 12:31:07.123  INFO 1 --- [nio-8080-exec-7] c.e.shop.payment.PaymentService          : Order 10382 was charged in 131 ms"},
	{"access", `10.42.3.17 - - [22/Nov/2026:12:31:07 +0000] "GET /api/v1/orders/10382/items HTTP/1.1" 200 5316 "-" "Mozilla/5.0 (X11; Linux x86_64) Gecko"`},
	{"prose", "could not find the object that was asked for, will look again in a moment; nothing is lost"},
}

// rewind makes a batch of the same lines fresh again without touching memory
// that a step would otherwise grow.
type rewind struct {
	b     *record.Batch
	recs  []record.Record
	bytes int
	buf   []byte
}

func newRewind(line string, n int) *rewind {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = line
	}
	b := batchOf(lines...)
	return &rewind{b: b, recs: append([]record.Record(nil), b.Records()...), bytes: b.Len()}
}

func (r *rewind) reset() {
	keep := r.b.Streams()[0]
	r.buf = append(r.buf[:0], r.b.Buf()[:r.bytes]...)
	r.b.Reset(nil)
	r.b.Append(r.buf)
	r.b.AddStream(keep)
	for _, rec := range r.recs {
		r.b.Add(rec)
	}
}

const perBatch = 256

func benchmark(b *testing.B, s processor, line string, before processor) {
	r := newRewind(line, perBatch)
	b.SetBytes(int64(r.bytes))
	b.ReportAllocs()
	run := func() {
		r.reset()
		if before != nil {
			before.Process(r.b, observed)
		}
		s.Process(r.b, observed)
	}
	run()
	for b.Loop() {
		run()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/perBatch, "ns/record")
}

func BenchmarkParse(b *testing.B) {
	for _, c := range shapes {
		b.Run(c.name, func(b *testing.B) { benchmark(b, newParse(b, ""), c.line, nil) })
	}
	b.Run("logfmt fields", func(b *testing.B) { benchmark(b, newParse(b, "logfmt"), shapes[1].line, nil) })
}

func BenchmarkSet(b *testing.B) {
	s := newSet(b, map[string]string{"team": `{{.namespace | trimPrefix "team-" | lower}}`})
	b.Run("text", func(b *testing.B) { benchmark(b, s, shapes[5].line, nil) })
	b.Run("json", func(b *testing.B) { benchmark(b, s, shapes[0].line, newParse(b, "")) })
}

func BenchmarkRemove(b *testing.B) {
	benchmark(b, newRemove(b, "trace_id", "user_agent"), shapes[0].line, newParse(b, ""))
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	steps := []processor{newParse(t, ""), newParse(t, "logfmt"), newSet(t, map[string]string{"team": `{{.namespace | trimPrefix "team-" | lower}}`, "level": "warn"}),
		newRemove(t, "trace_id", "user_agent"), NewFilter(false, func(*record.Batch, int) bool { return false })}
	for _, c := range shapes {
		r := newRewind(c.line, 16)
		run := func() {
			r.reset()
			for _, s := range steps {
				s.Process(r.b, observed)
			}
		}
		run()
		// A field name new to a batch costs its string.
		names := float64(keysOf(r.b))
		if n := testing.AllocsPerRun(50, run); n > names {
			t.Errorf("%s: %v allocations for 16 records, %v names", c.name, n, names)
		}
	}
}

// keysOf counts the batch's key table.
func keysOf(b *record.Batch) int {
	seen := map[uint16]bool{}
	for i := range b.NumRecords() {
		for _, f := range b.Fields(i) {
			seen[f.Key] = true
		}
	}
	return len(seen)
}
