package cri

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weirlog/weir/record"
)

const testNow = int64(42)

var testStreams = [2]*record.Stream{
	record.NewStream([]record.Attr{{Name: record.AttrStream, Value: "stdout"}}, nil, nil),
	record.NewStream([]record.Attr{{Name: record.AttrStream, Value: "stderr"}}, nil, nil),
}

// rec is a record as tests compare it.
type rec struct {
	Stream     string
	Gen        uint64
	Start, End int64
	Time       int64
	Body       string
	Flags      record.Flags
}

func (r rec) String() string {
	return fmt.Sprintf("%s gen %d [%d,%d) t=%d flags=%b %q", r.Stream, r.Gen, r.Start, r.End, r.Time, r.Flags, r.Body)
}

func records(b *record.Batch) []rec {
	var out []rec
	for i, r := range b.Records() {
		if r.Body != r.Source || r.Time != r.Observed {
			panic("body and source, time and observed differ")
		}
		ref := b.Streams()[r.Stream]
		out = append(out, rec{ref.Stream.Get(record.AttrStream), ref.Generation.Lo, r.Start, r.End, r.Time, string(b.Body(i)), r.Flags})
	}
	return out
}

func bodies(rs []rec) []string {
	var out []string
	for _, r := range rs {
		s := r.Body
		if r.Flags.Has(record.Continued) {
			s = "…" + s
		}
		if r.Flags.Has(record.Partial) {
			s += "…"
		}
		if r.Flags.Has(record.ParseError) {
			s = "!" + s
		}
		if r.Stream == "stderr" {
			s = "2:" + s
		}
		out = append(out, s)
	}
	return out
}

// feed frames data, the bytes of the present generation from off on, growing
// the chunk by the given steps (the last one repeats) and passing what was not
// consumed again, as a tail does. It returns the records and what is left.
func feed(j *Joiner, data string, off int64, now int64, m Mode, steps ...int) (out []rec, left int) {
	pos, avail := 0, 0
	for {
		n := len(data)
		if len(steps) > 0 {
			n = max(1, steps[0])
			if len(steps) > 1 {
				steps = steps[1:]
			}
		}
		avail = min(avail+n, len(data))
		mode := More
		if avail == len(data) {
			mode = m
		}
		b := record.NewBatch(nil)
		b.AppendString("some bytes before") // spans must be relative to the buffer
		sp := b.AppendString(data[pos:avail])
		c := j.Frame(b, sp, off+int64(pos), testStreams, now, mode)
		if c < 0 || c > avail-pos {
			panic(fmt.Sprintf("consumed %d of %d", c, avail-pos))
		}
		if got := string(b.Bytes(sp)); got != data[pos:avail] {
			panic("the chunk was changed")
		}
		pos += c
		out = append(out, records(b)...)
		if avail == len(data) {
			return out, len(data) - pos
		}
	}
}

// flush emits what is open.
func flush(j *Joiner) []rec {
	b := record.NewBatch(nil)
	j.Flush(b, testStreams, 1<<62)
	return records(b)
}

func newAt(c Config) *Joiner {
	j := NewJoiner(c)
	j.Begin(record.ID{Lo: 1}, 0, 0)
	return j
}

func diff(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

const ts = "2024-02-29T12:34:56.123456789Z"
const tsNanos = int64(1709210096123456789)

func criLine(stream, tag, body string) string {
	return ts + " " + stream + " " + tag + " " + body + "\n"
}

func lines(l ...string) string { return strings.Join(l, "") }
