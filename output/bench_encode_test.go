//go:build unix

package output

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/clickhouse"
	"github.com/weirlog/weir/wire/forward"
	"github.com/weirlog/weir/wire/jsonl"
	"github.com/weirlog/weir/wire/line"
	"github.com/weirlog/weir/wire/otlp"
	"github.com/weirlog/weir/wire/splunk"
	"github.com/weirlog/weir/wire/syslog"
)

// cpuTime returns the CPU time of this process, user and system, in seconds.
func cpuTime(b *testing.B) float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return float64(r.Utime.Sec+r.Stime.Sec) + float64(r.Utime.Usec+r.Stime.Usec)/1e6
}

// BenchmarkEncode measures what the encoders of the outputs cost, in CPU time and
// not in time, so that other programs on the machine do not matter:
//
//	go test ./output -run '^$' -bench BenchmarkEncode -cpu 1
//
// cpu-ms/MiB is per MiB of the records' text, and out/in how many bytes come of one.
func BenchmarkEncode(b *testing.B) {
	parts, size, _ := benchParts()
	mib := float64(size) / (1 << 20)
	run := func(name string, encode func(dst []byte) ([]byte, error)) {
		b.Run(name, func(b *testing.B) {
			var buf []byte
			var err error
			if buf, err = encode(buf[:0]); err != nil { // grows the memory
				b.Fatal(err)
			}
			b.ReportAllocs()
			from, n := cpuTime(b), 0
			for b.Loop() {
				if buf, err = encode(buf[:0]); err != nil {
					b.Fatal(err)
				}
				n++
			}
			b.ReportMetric((cpuTime(b)-from)*1e3/mib/float64(n), "cpu-ms/MiB")
			b.ReportMetric(float64(len(buf))/float64(size), "out/in")
			b.ReportMetric(0, "ns/op")
		})
	}
	ch, err := clickhouse.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	sys, err := syslog.NewEncoder(syslog.Config{StructuredData: "weir@32473", Counted: true, IDs: true, MaxBytes: 64 << 10})
	if err != nil {
		b.Fatal(err)
	}
	template := func(s string) *wire.Template {
		t, err := wire.ParseTemplate(s, wire.SanitizeText)
		if err != nil {
			b.Fatal(err)
		}
		return t
	}
	record, err := ParseRecordTemplate(`{"timestamp":{{.time}},"message":{{.text}},"service":{{.container}},"level":{{.level}}}`)
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range []struct {
		name string
		enc  encoder
	}{
		{"jsonl", jsonl.New(jsonl.Config{IDs: true})},
		{"otlp", otlp.New(otlp.Config{})},
		{"clickhouse", ch},
		{"splunk", splunk.NewEncoder(splunk.EncoderConfig{
			Source: template("${namespace}/${pod}/${container}"), Sourcetype: template("kube:container:${container}"), Host: template("${node}")})},
		{"forward/text", forward.NewEncoder(forward.Config{IDs: true})},
		{"forward/merge", forward.NewEncoder(forward.Config{IDs: true, Merge: true})},
		{"syslog", sys},
		{"http/lines", line.New(line.Config{Raw: true})},
		{"http/template", &templateEncoder{t: record, between: "\n"}},
	} {
		run(e.name, func(dst []byte) ([]byte, error) { return e.enc.Append(dst, parts), nil })
	}
	run("parquet", func([]byte) ([]byte, error) { return parquetObject(parts) })
	for _, method := range []string{compressZstd, compressGzip} {
		zip, err := newCompressors(method, 0)
		if err != nil {
			b.Fatal(err)
		}
		encs := newEncoders(jsonl.New(jsonl.Config{IDs: true}), nil)
		w := new(work)
		run(fmt.Sprintf("jsonl+%s", method), func([]byte) ([]byte, error) {
			body, _, err := zip.encode(w, encs, parts, false)
			return body, err
		})
	}
}
