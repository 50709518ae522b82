package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

// Benchmarks over mixed logs: JSON of two kinds, logfmt, klog, access logs, text
// and stack traces, over six hours. WEIR_BENCH_MB is how many megabytes (of 10⁶
// bytes of lines) there are; the store's budgets are for 1000.

type corpus struct {
	parts   []record.Part
	bytes   int64
	rows    int
	needle  string
	streams int
}

const corpusSpan = 6 * 3600 * 1e9

func corpusBytes() int64 {
	if n, err := strconv.Atoi(os.Getenv("WEIR_BENCH_MB")); err == nil {
		return int64(n) * 1e6
	}
	return 64e6
}

// makeCorpus makes requests of about a megabyte, as four senders would send them.
func makeCorpus(streams int, ids bool) *corpus {
	r := rand.New(rand.NewPCG(1, uint64(streams)))
	c := &corpus{streams: streams}
	type stream struct {
		st   *record.Stream
		kind int
	}
	var all []stream
	for i := range streams {
		app := fmt.Sprintf("app-%02d", i%20)
		all = append(all, stream{record.NewStream([]record.Attr{
			{Name: record.AttrCluster, Value: "bench"}, {Name: record.AttrNamespace, Value: "ns-" + app[4:5]}, {Name: record.AttrApp, Value: app},
			{Name: record.AttrContainer, Value: app}, {Name: record.AttrNode, Value: fmt.Sprintf("node-%02d", i%40)},
			{Name: record.AttrPod, Value: fmt.Sprintf("%s-%08x-%05x", app, r.Uint32(), i)}, {Name: record.AttrStream, Value: "stdout"},
		}, nil, nil), []int{0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5, 6}[i%20]})
	}
	total := corpusBytes()
	step := corpusSpan / (total / 200)
	var batches [4]*record.Batch
	var line []byte
	traces := make([]string, 64)
	flush := func(k int) {
		if b := batches[k]; b != nil {
			b.Freeze()
			c.parts = append(c.parts, record.NewPart(b, b.Live()))
			batches[k] = nil
		}
	}
	for at := base; c.bytes < total; at += 1 + r.Int64N(2*step) {
		i := min(r.IntN(streams), r.IntN(streams), r.IntN(streams))
		st := &all[i]
		k := i % 4
		b := batches[k]
		if b == nil {
			b = record.NewBatch(nil)
			batches[k] = b
		}
		var sev record.Severity
		line, sev = appendLine(line[:0], r, st.kind, at)
		if c.bytes > total/2 && c.needle == "" && st.kind == 0 {
			c.needle = fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64())
			line = append(line, c.needle...)
		}
		body := b.Append(line)
		n := b.Add(record.Record{Time: at, Observed: at, Body: body, Source: body, Stream: b.AddStream(record.StreamRef{Stream: st.st}), Severity: sev})
		if ids {
			b.SetID(n, record.ID{Hi: uint64(c.rows), Lo: uint64(at)})
		}
		if st.kind < 2 && r.IntN(2) == 0 {
			t := &traces[r.IntN(len(traces))]
			if *t == "" || r.IntN(3) == 0 {
				*t = fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64())
			}
			b.SetField(n, "trace_id", record.String, b.AppendString(*t))
		}
		c.bytes += int64(len(line))
		c.rows++
		if b.Len() > 1e6 {
			flush(k)
		}
	}
	for k := range batches {
		flush(k)
	}
	return c
}

var (
	corpusRoutes = strings.Fields("/ /healthz /metrics /login /api/v1/items /api/v1/items/# /api/v1/cart /api/v1/cart/# /api/v1/checkout /api/v1/orders /api/v1/orders/# /api/v1/payments /api/v1/users/# /api/v1/search /static/app.js")
	corpusTexts  = []string{"user # logged in from %", "connection from %:# accepted", "connection to shard # lost, retrying in #ms", "payment # authorised in #ms",
		"order # confirmed", "cache miss for key item:#", "flushed # rows to segment ~", "commit of partition # at offset #", "lease renewed for #ms", "lease expired, giving up leadership",
		"upstream answered in #ms", "slow query took #ms: select * from orders where id = #", "queue imports has # waiting", "message ~ delivered to topic orders", "checkpoint of stream # at #",
		"health check of % passed", "scrape of %:# took #ms", "fraud score of order # is #", "import ~ finished in #ms", "refresh token issued for user #"}
	corpusAgents = []string{"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "okhttp/4.12.0", "curl/8.9.1", "kube-probe/1.31",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/127.0.0.0 Safari/537.36"}
	corpusStatus = []int{200, 200, 200, 200, 200, 200, 200, 200, 200, 201, 204, 304, 400, 404, 404, 500, 503}
)

func appendText(b []byte, r *rand.Rand, s string) []byte {
	for _, c := range []byte(s) {
		switch c {
		case '#':
			b = strconv.AppendInt(b, int64(r.IntN(2<<r.IntN(16))), 10)
		case '%':
			b = fmt.Appendf(b, "10.%d.%d.%d", r.IntN(4), r.IntN(64), r.IntN(250))
		case '~':
			b = fmt.Appendf(b, "%08x", r.Uint32())
		default:
			b = append(b, c)
		}
	}
	return b
}

func appendLine(b []byte, r *rand.Rand, kind int, ns int64) ([]byte, record.Severity) {
	at := time.Unix(0, ns).UTC()
	n := r.IntN(14)
	level, sev := "info", record.Info
	switch {
	case n < 1:
		level, sev = "error", record.Error
	case n < 3:
		level, sev = "warn", record.Warn
	case n < 6:
		level, sev = "debug", record.Debug
	}
	text := corpusTexts[min(r.IntN(len(corpusTexts)), r.IntN(len(corpusTexts)))]
	status := corpusStatus[r.IntN(len(corpusStatus))]
	route := corpusRoutes[min(r.IntN(len(corpusRoutes)), r.IntN(len(corpusRoutes)))]
	agent := corpusAgents[r.IntN(len(corpusAgents))]
	switch kind {
	case 0:
		b = at.AppendFormat(append(b, `{"time":"`...), "2006-01-02T15:04:05.000000Z")
		b = fmt.Appendf(b, `","level":"%s","msg":"request served","http_method":"GET","http_path":"`, level)
		b = appendText(b, r, route)
		b = fmt.Appendf(b, `","http_route":"%s","http_status":%d,"bytes":%d,"duration_ms":%.2f,"remote":"`, route, status, r.IntN(1<<16), r.ExpFloat64()*30)
		b = appendText(b, r, "%")
		b = fmt.Appendf(b, `","user_agent":"%s","request_id":"%016x"}`, agent, r.Uint64())
	case 1:
		b = at.AppendFormat(append(b, `{"ts":"`...), time.RFC3339Nano)
		b = fmt.Appendf(b, `","level":"%s","logger":"db","msg":"`, level)
		b = appendText(b, r, text)
		b = fmt.Appendf(b, `","attempt":%d,"tenant":"t-%d","order":{"id":%d,"total":%d,"currency":"EUR"},"ok":true}`, 1+r.IntN(3), r.IntN(200), r.IntN(90000), r.IntN(50000))
	case 2:
		b = at.AppendFormat(append(b, "ts="...), "2006-01-02T15:04:05.000Z")
		b = fmt.Appendf(b, ` caller=server.go:%d level=%s msg="`, r.IntN(300), level)
		b = append(appendText(b, r, text), `" component=store took=`...)
		b = appendText(b, r, "#ms")
	case 3:
		b = at.AppendFormat(append(b, "DIWE"[int(sev-5)/4]), "0102 15:04:05.000000")
		b = fmt.Appendf(b, "       1 proxier.go:%d] ", r.IntN(300))
		b = appendText(b, r, text)
	case 4:
		b = appendText(b, r, "% - - [")
		b = at.AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
		b = append(b, `] "GET `...)
		b = appendText(b, r, route)
		b = fmt.Appendf(b, ` HTTP/1.1" %d %d "-" "%s" %.3f`, status, r.IntN(1<<16), agent, r.ExpFloat64())
	case 5:
		b = at.AppendFormat(b, "2006-01-02 15:04:05.000 ")
		b = fmt.Appendf(b, "%s  [worker-%d] ", strings.ToUpper(level), r.IntN(16))
		b = appendText(b, r, text)
	default:
		b = at.AppendFormat(b, "2006-01-02 15:04:05,000 ")
		b = fmt.Appendf(b, "%s [http-nio-8080-exec-%d] com.example.shop.OrderService - ", strings.ToUpper(level), r.IntN(20))
		b = appendText(b, r, text)
		if r.IntN(8) == 0 {
			b = append(b, "\njava.lang.IllegalStateException: "...)
			b = appendText(b, r, text)
			for i := range 8 + r.IntN(12) {
				b = fmt.Appendf(b, "\n\tat com.example.shop.RetryTemplate.invoke(RetryTemplate.java:%d)", 30+i*17)
			}
		}
	}
	return b, sev
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// load stores a corpus as four senders would, and makes segments of it.
func (c *corpus) load(b testing.TB, s *Store) {
	work := make(chan record.Part)
	done := make(chan error)
	for range 4 {
		go func() {
			var err error
			for p := range work {
				if _, e := s.Send(context.Background(), []record.Part{p}); e != nil {
					err = e
				}
			}
			done <- err
		}()
	}
	for _, p := range c.parts {
		work <- p
	}
	close(work)
	for range 4 {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	if err := s.Maintain(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkIngest reports the processor time of everything: log, memory, segments,
// compaction; and what is on the disk per byte of lines.
func BenchmarkIngest(b *testing.B) {
	for _, bb := range []struct {
		name    string
		streams int
		ids     bool
	}{{"50", 50, false}, {"50/pushed", 50, true}, {"5000", 5000, false}} {
		b.Run(bb.name, func(b *testing.B) {
			c := makeCorpus(bb.streams, bb.ids)
			runtime.GC()
			b.ReportAllocs()
			var cpu time.Duration
			var disk, index int64
			n := 0
			for b.Loop() {
				b.StopTimer()
				dir := b.TempDir()
				s := open(b, Config{Dir: dir})
				runtime.GC()
				b.StartTimer()
				before := cpuTime()
				c.load(b, s)
				cpu += cpuTime() - before
				disk = s.Stats().DiskBytes
				names, _ := filepath.Glob(filepath.Join(dir, "2*", "*.idx"))
				index = 0
				for _, n := range names {
					if i, err := os.Stat(n); err == nil {
						index += i.Size()
					}
				}
				b.StopTimer()
				s.Close()
				n++
				b.StartTimer()
			}
			b.SetBytes(c.bytes)
			b.ReportMetric(cpu.Seconds()/float64(n)/float64(c.bytes)*1e9, "cpu-s/GB")
			b.ReportMetric(float64(disk)/float64(c.bytes), "disk/raw")
			b.ReportMetric(float64(index)/float64(c.bytes), "index/raw")
		})
	}
}

// BenchmarkQuery asks what people ask, with the query engine.
func BenchmarkQuery(b *testing.B) {
	for _, streams := range []int{50, 5000} {
		c := makeCorpus(streams, false)
		s := open(b, Config{Dir: b.TempDir()})
		c.load(b, s)
		c.parts = nil
		runtime.GC()
		for _, q := range []struct {
			name, text string
			limit      int
			step       time.Duration
		}{
			{"needle", `{cluster="bench"} |= "` + c.needle + `"`, 100, 0},
			{"absent", `{cluster="bench"} |= "lease expired before upstream commit"`, 100, 0},
			{"literal", `sum(count_over_time({cluster="bench"} |= "conn" [6h]))`, 0, 0},
			{"last", `{app="app-03"}`, 100, 0},
			{"per stream", `sum by (pod) (count_over_time({cluster="bench"}[1m]))`, 0, time.Minute},
			{"errors", `sum by (detected_level) (count_over_time({cluster="bench"} | detected_level="error" [1m]))`, 0, time.Minute},
			{"json", `sum(count_over_time({cluster="bench"} | json | http_status="503" [6h]))`, 0, 0},
			{"topk", `topk(10, sum by (http_route) (count_over_time({cluster="bench"} | json | __error__="" [6h])))`, 0, 0},
		} {
			b.Run(fmt.Sprintf("%s/%d", q.name, streams), func(b *testing.B) {
				b.ReportAllocs()
				e, err := logql.Parse(q.text)
				if err != nil {
					b.Fatal(err)
				}
				p := logql.Params{Start: base, End: base + corpusSpan, Step: int64(q.step), Limit: q.limit, Direction: logql.Backward}
				if q.limit == 0 && q.step == 0 {
					p.Start = p.End
				}
				before, n := cpuTime(), 0
				for b.Loop() {
					if _, err := logql.Run(context.Background(), s.Source(""), e, p); err != nil {
						b.Fatal(err)
					}
					n++
				}
				b.ReportMetric((cpuTime()-before).Seconds()*1e3/float64(n)/float64(c.bytes)*1e9, "cpu-ms/GB")
			})
		}
		s.Close()
	}
}
