package cri

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/record"
)

func benchmarkFrame(b *testing.B, c Config, line func(i int) string) {
	var sb strings.Builder
	for i := 0; sb.Len() < 256<<10; i++ {
		sb.WriteString(line(i))
	}
	data := []byte(sb.String())
	batch := record.NewBatch(nil)
	j := NewJoiner(c)
	j.Begin(record.ID{Lo: 1}, 0, 0)
	n := 0
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset(nil)
		// The chunk is there already, as if it had been read.
		sp := batch.Extend(copy(batch.Reserve(len(data)), data))
		j.Frame(batch, sp, 0, testStreams, testNow, More)
		n += batch.NumRecords()
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

func stamp(i int) string {
	return time.Unix(1709210096, 123456789).Add(time.Duration(i) * 37 * time.Millisecond).UTC().Format("2006-01-02T15:04:05.000000000Z07:00")
}

func text(n int) string { return strings.Repeat("some words of a log line; ", n/26+1)[:n] }

func BenchmarkCRI300(b *testing.B) {
	body := text(260)
	benchmarkFrame(b, Config{}, func(i int) string { return stamp(i) + " stdout F " + body + "\n" })
}

// BenchmarkCRI300Trimmed has times as containerd writes them, without trailing
// zeros.
func BenchmarkCRI300Trimmed(b *testing.B) {
	body := text(260)
	benchmarkFrame(b, Config{}, func(i int) string {
		return time.Unix(1709210096, int64(i)*37_000_001).UTC().Format(time.RFC3339Nano) + " stdout F " + body + "\n"
	})
}

func BenchmarkCRIParts(b *testing.B) {
	body := text(16 << 10)
	benchmarkFrame(b, Config{}, func(i int) string { return stamp(i) + fmt.Sprintf(" stdout %c ", "PF"[i%2]) + body + "\n" })
}

func BenchmarkDockerPlain300(b *testing.B) {
	body := text(220)
	benchmarkFrame(b, Config{}, func(i int) string {
		return `{"log":"` + body + `\n","stream":"stdout","time":"` + stamp(i) + `"}` + "\n"
	})
}

func BenchmarkDockerJSON300(b *testing.B) {
	body := strings.Repeat(`\"key\":\"some value\",`, 10)
	benchmarkFrame(b, Config{}, func(i int) string {
		return `{"log":"{` + body + `}\n","stream":"stdout","time":"` + stamp(i) + `"}` + "\n"
	})
}

func BenchmarkPlain300(b *testing.B) {
	body := text(299)
	benchmarkFrame(b, Config{Format: Plain}, func(int) string { return body + "\n" })
}

// BenchmarkMultiline frames what containers write, 60 % JSON and 40 % text, of which
// one line in 20 is of a stack trace, with joining off and on.
func BenchmarkMultiline(b *testing.B) {
	short, long := text(180), text(300)
	line := func(i int) string {
		switch k := i % 100; {
		case k < 60:
			return `{"time":"2026-11-22T12:00:00Z","level":"info","msg":"` + short + `","n":` + fmt.Sprint(i) + `}`
		case k < 90:
			return "2026-11-22 12:00:00 INFO " + long
		case k < 95:
			return "\tat com.example.shop.OrderService.place(OrderService.java:131)"
		}
		return "level=info caller=main.go:1 msg=" + short
	}
	auto := mustMultiline(b, MultilineConfig{Traces: "auto"})
	first := mustMultiline(b, MultilineConfig{First: `^(\{|\d{4}-|level=)`})
	for _, c := range []struct {
		name string
		c    Config
		wrap func(i int) string
	}{
		{"cri/off", Config{}, nil}, {"cri/auto", Config{Multiline: auto}, nil}, {"cri/first", Config{Multiline: first}, nil},
		{"plain/off", Config{Format: Plain}, line}, {"plain/auto", Config{Format: Plain, Multiline: auto}, line},
	} {
		b.Run(c.name, func(b *testing.B) {
			benchmarkFrame(b, c.c, func(i int) string {
				if c.wrap != nil {
					return c.wrap(i) + "\n"
				}
				return stamp(i) + " stdout F " + line(i) + "\n"
			})
		})
	}
}
