package syslog

import (
	"fmt"
	"testing"

	gorfc3164 "github.com/leodido/go-syslog/v4/rfc3164"
	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/weirlog/weir/record"
)

func corpus5424(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf(`<134>1 2026-11-22T10:00:%02d.%06dZ host-%d app-%d %d ID47 [req@32473 id="%d" user="ann"] GET /cart/%d status=200 duration=12ms bytes=5123 agent=Mozilla/5.0`, i/100%60, i, i/50%4, i/10%5, i%97, i, i*7))
	}
	return out
}

func corpus3164(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf(`<134>Nov 22 10:00:%02d host-%d app-%d[%d]: GET /cart/%d status=200 duration=12ms bytes=5123 user=ann agent=Mozilla/5.0`, i/100%60, i/50%4, i/10%5, i%97, i*7))
	}
	return out
}

func benchDecode(b *testing.B, msgs []string) {
	var p []byte
	for _, m := range msgs {
		p = append(append(p, m...), '\n')
	}
	d := decoder()
	bt := record.NewBatch(nil)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		bt.Release()
		bt.Reset(nil)
		if out, err := d.Decode(bt, bt.Append(p), "", now.UnixNano()); err != nil || out.Records != len(msgs) {
			b.Fatal(out, err)
		}
	}
}

func BenchmarkDecode5424(b *testing.B) { benchDecode(b, corpus5424(1000)) }
func BenchmarkDecode3164(b *testing.B) { benchDecode(b, corpus3164(1000)) }

// What the library does in the same time, without framing and records.
func BenchmarkGoSyslog5424(b *testing.B) {
	msgs, parser := corpus5424(1000), rfc5424.NewParser()
	n := 0
	for _, m := range msgs {
		n += len(m)
	}
	b.SetBytes(int64(n))
	b.ReportAllocs()
	for b.Loop() {
		for _, m := range msgs {
			if _, err := parser.Parse([]byte(m)); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkGoSyslog3164(b *testing.B) {
	msgs, parser := corpus3164(1000), gorfc3164.NewParser()
	n := 0
	for _, m := range msgs {
		n += len(m)
	}
	b.SetBytes(int64(n))
	b.ReportAllocs()
	for b.Loop() {
		for _, m := range msgs {
			if _, err := parser.Parse([]byte(m)); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	bt := record.NewBatch(nil)
	var p []byte
	for _, m := range corpus5424(1000) {
		p = append(append(p, m...), '\n')
	}
	if _, err := decoder().Decode(bt, bt.Append(p), "", now.UnixNano()); err != nil {
		b.Fatal(err)
	}
	bt.Freeze()
	part := []record.Part{record.NewPart(bt, bt.Live())}
	e, err := NewEncoder(Config{StructuredData: "weir@32473", Counted: true})
	if err != nil {
		b.Fatal(err)
	}
	out := e.Append(nil, part)
	b.SetBytes(int64(len(out)))
	b.ReportAllocs()
	for b.Loop() {
		out = e.Append(out[:0], part)
	}
}
