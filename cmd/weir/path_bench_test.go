package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/weirlog/weir/cri"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/elastic"
	"github.com/weirlog/weir/wire/jsonl"
)

// corpus writes about size bytes of container log as containerd does: 60 %
// JSON lines of 200 to 600 bytes, the rest text and klog, now and then a line
// in parts.
func corpus(tb testing.TB, size int) string {
	r := rand.New(rand.NewPCG(1, 2))
	path := filepath.Join(tb.TempDir(), "0.log")
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var buf []byte
	at := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	words := []string{"order", "payment", "timeout", "user", "cart", "accepted", "GET", "/api/v1/items", "retry", "connection", "upstream"}
	text := func(dst []byte, n int) []byte {
		for start := len(dst); len(dst)-start < n; {
			dst = append(dst, words[r.IntN(len(words))]...)
			dst = append(dst, ' ')
		}
		return dst
	}
	for total := 0; total < size; {
		at = at.Add(time.Duration(r.IntN(2_000_000)))
		buf = at.AppendFormat(buf[:0], time.RFC3339Nano)
		switch p := r.IntN(1000); {
		case p == 0: // a long line in parts
			for range 2 {
				buf = append(buf, " stdout P "...)
				buf = text(buf, 16384)
				buf = append(buf, '\n')
				buf = at.AppendFormat(buf, time.RFC3339Nano)
			}
			buf = append(buf, " stdout F end"...)
		case p < 600:
			buf = append(buf, " stdout F "...)
			buf = append(buf, `{"time":"`...)
			buf = at.AppendFormat(buf, time.RFC3339Nano)
			buf = append(buf, `","level":"info","msg":"`...)
			buf = text(buf, 40+r.IntN(200))
			buf = fmt.Appendf(buf, `","order":%d,"ms":%d.%d,"ok":true,"trace_id":"%032x","user":{"id":%d,"name":"n%d"},"tags":["a","b"]}`, r.IntN(1e6), r.IntN(1000), r.IntN(10), r.Uint64(), r.IntN(1e6), r.IntN(1e6))
		case p < 900:
			buf = append(buf, " stderr F "...)
			buf = append(buf, "2026-11-22 09:00:00 INFO  "...)
			buf = text(buf, 100+r.IntN(300))
		default:
			buf = append(buf, " stderr F I1122 09:00:00.123456       1 server.go:42] "...)
			buf = text(buf, 100+r.IntN(200))
		}
		buf = append(buf, '\n')
		n, err := f.Write(buf)
		if err != nil {
			tb.Fatal(err)
		}
		total += n
	}
	return path
}

// BenchmarkPath is the hot path of the agent on one core, without the
// compressor and the network: read a file, frame and join, parse, encode a
// request body. MB/s are of the log file.
func BenchmarkPath(b *testing.B) {
	path := corpus(b, 32<<20)
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	index, err := wire.ParseTemplate("kubernetes-${namespace}-%Y.%m.%d", wire.SanitizeIndex)
	if err != nil {
		b.Fatal(err)
	}
	es, err := elastic.New(elastic.Config{Index: index, IDs: true})
	if err != nil {
		b.Fatal(err)
	}
	lines := jsonl.New(jsonl.Config{})
	joins, err := cri.NewMultiline(cri.MultilineConfig{Traces: "auto"})
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		parse bool
		enc   func(dst []byte, parts []record.Part) []byte
		joins *cri.Multiline
	}{
		{"frame", false, nil, nil},
		{"frame, multiline", false, nil, joins},
		{"frame+parse", true, nil, nil},
		{"jsonl", true, lines.Append, nil},
		{"jsonl, multiline", true, lines.Append, joins},
		{"elastic", true, es.Append, nil},
		{"elastic, multiline", true, es.Append, joins},
	} {
		b.Run(c.name, func(b *testing.B) {
			attrs := []record.Attr{
				{Name: record.AttrCluster, Value: "prod"}, {Name: record.AttrNode, Value: "node-1"},
				{Name: record.AttrNamespace, Value: "shop"}, {Name: record.AttrPod, Value: "web-6d5f7c9b4-x2x2x"},
				{Name: record.AttrPodUID, Value: "b1580a7d-36d6-4718-9c9d-75c9a57782f6"}, {Name: record.AttrContainer, Value: "app"},
				{Name: record.AttrWorkload, Value: "deployment/web"}, {Name: record.AttrInput, Value: "kubernetes"},
			}
			streams := containerStreams(attrs, []record.Attr{{Name: "app", Value: "web"}, {Name: "tier", Value: "front"}}, nil)
			parse, err := stage.NewParse(stage.ParseConfig{})
			if err != nil {
				b.Fatal(err)
			}
			var pool record.Pool
			var body []byte
			records := 0
			pass := func() {
				j := cri.NewJoiner(cri.Config{Multiline: c.joins})
				j.Begin(record.ID{Hi: 1, Lo: 2}, 0, 0)
				for off := int64(0); off < info.Size(); {
					bt := pool.Get(pool.Put)
					n, err := f.ReadAt(bt.Reserve(256<<10), off)
					if err != nil && err != io.EOF {
						b.Fatal(err)
					}
					span := bt.Extend(n)
					off += int64(j.Frame(bt, span, off, streams, 0, cri.More))
					if c.parse {
						if err := parse.Process(bt, time.Time{}); err != nil {
							b.Fatal(err)
						}
					}
					records += bt.NumRecords()
					bt.Freeze()
					if c.enc != nil {
						part := record.NewPart(bt, bt.Live())
						body = c.enc(body[:0], []record.Part{part})
						part.Finish()
					}
					bt.Release()
				}
			}
			pass() // warm: pools, caches, the page cache
			records = 0
			b.SetBytes(info.Size())
			b.ReportAllocs()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			b.ResetTimer()
			before := threadCPU(b)
			for range b.N {
				pass()
			}
			cpu := threadCPU(b) - before
			b.ReportMetric(float64(info.Size())*float64(b.N)/cpu.Seconds()/1e6, "MB/cpu-s")
			b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// threadCPU is the processor time of this thread: what counts on a machine
// that does other things as well.
func threadCPU(tb testing.TB) time.Duration {
	var ru syscall.Rusage
	const rusageThread = 1 // RUSAGE_THREAD
	if err := syscall.Getrusage(rusageThread, &ru); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
