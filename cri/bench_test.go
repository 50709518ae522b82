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
