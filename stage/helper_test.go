package stage

import (
	"testing"
	"time"

	"github.com/weirlog/weir/record"
)

// observed is when the test's lines were seen.
var observed = time.Date(2026, 11, 22, 12, 31, 7, 500_000_000, time.UTC)

// batchOf returns a batch with one record per line, seen at observed.
func batchOf(lines ...string) *record.Batch {
	b := record.NewBatch(nil)
	st := b.AddStream(record.StreamRef{Stream: record.NewStream([]record.Attr{
		{Name: "namespace", Value: "team-Shop"}, {Name: "pod", Value: "api-7f9c"}, {Name: "container", Value: "api"}},
		[]record.Attr{{Name: "app.kubernetes.io/name", Value: "api"}}, nil)})
	for _, l := range lines {
		span := b.AppendString(l)
		ns := observed.UnixNano()
		b.Add(record.Record{Body: span, Source: span, Stream: st, Time: ns, Observed: ns})
	}
	return b
}

type processor interface {
	Process(*record.Batch, time.Time) error
}

func process(t testing.TB, s processor, b *record.Batch) {
	t.Helper()
	if err := s.Process(b, observed); err != nil {
		t.Fatal(err)
	}
}

func newParse(t testing.TB, format string) *Parse {
	t.Helper()
	s, err := NewParse(ParseConfig{Format: format})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fieldsOf(b *record.Batch, i int) map[string]string {
	m := map[string]string{}
	for _, f := range b.Fields(i) {
		m[b.KeyName(f.Key)] = string(b.Bytes(f.Val))
	}
	return m
}
