package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

// The long forms: WEIR_TEST_KILLS is the number of cycles of the kill -9 loop,
// WEIR_TEST_SEED and WEIR_TEST_RUNS the first seed of the model tests and the one
// behind the last, WEIR_TEST_LOG=1 with -v shows the store's log of a failed run,
// WEIR_TEST_DAMAGE=all changes every byte and not some.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// line is a row as tests think of it.
type line struct {
	labels   string // of the stream: a=b,c=d
	resource string // pod_uid
	time     int64
	severity record.Severity
	attrs    string // name=value,…, sorted
	body     string
	gen      uint64 // key of the file, 0: none
	from, to int64
	id       uint64 // of what was pushed, 0: none
}

func (l line) String() string {
	return fmt.Sprintf("{%s|%s} %d %d %s %q", l.labels, l.resource, l.time, l.severity, l.attrs, l.body)
}

func parseSet(s string) []record.Attr {
	var out []record.Attr
	for _, p := range strings.Split(s, ",") {
		if n, v, ok := strings.Cut(p, "="); ok {
			out = append(out, record.Attr{Name: n, Value: v})
		}
	}
	return out
}

func formatSet(set []record.Attr) string {
	var out []string
	for _, a := range set {
		out = append(out, a.Name+"="+a.Value)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// batch makes a frozen batch of lines, and the part of all of them.
func batch(lines []line) record.Part {
	b := record.NewBatch(nil)
	for _, l := range lines {
		attrs := parseSet(l.labels)
		if l.resource != "" {
			attrs = append(attrs, record.Attr{Name: record.AttrPodUID, Value: l.resource})
		}
		ref := record.StreamRef{Stream: record.NewStream(attrs, nil, nil)}
		if l.gen != 0 {
			ref.Generation = record.ID{Hi: 1, Lo: l.gen}
		}
		body := b.AppendString(l.body)
		i := b.Add(record.Record{Time: l.time, Observed: l.time, Start: l.from, End: l.to, Body: body, Source: body, Stream: b.AddStream(ref), Severity: l.severity})
		if l.id != 0 {
			b.SetID(i, record.ID{Hi: 2, Lo: l.id})
		}
		for _, a := range parseSet(l.attrs) {
			b.SetField(i, a.Name, record.String, b.AppendString(a.Value))
		}
	}
	b.Freeze()
	return record.NewPart(b, b.Live())
}

func send(s *Store, lines ...line) (ack.Result, error) {
	p := batch(lines)
	defer p.Finish()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return s.Send(ctx, []record.Part{p})
}

func mustSend(t testing.TB, s *Store, lines ...line) {
	t.Helper()
	res, err := send(s, lines...)
	if err != nil || len(res.Failures) > 0 {
		t.Fatalf("send: %v, %+v", err, res.Failures)
	}
}

func selector(t testing.TB, s string) *logql.Selector {
	t.Helper()
	sel, err := logql.ParseMatchers(s)
	if err != nil {
		t.Fatal(err)
	}
	return sel
}

var everything = logql.Columns{Body: true, Severity: true, AllMeta: true}

// query returns the rows of a request, in the order in which they came.
func query(t testing.TB, s *Store, req *logql.Request) []line {
	t.Helper()
	out, err := tryQuery(s, "", req)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryQuery(s *Store, tenant string, req *logql.Request) ([]line, error) {
	ctx := context.Background()
	c, err := s.Source(tenant).Select(ctx, req)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var out []line
	last, first := int64(0), true
	for {
		bound, more := c.Bound()
		b, err := c.Next(ctx)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if !more {
			return nil, errors.New("a block after the last bound")
		}
		if req.Order != logql.AnyOrder {
			if !first && (req.Order == logql.Forward && bound < last || req.Order == logql.Backward && bound > last) {
				return nil, fmt.Errorf("bound %d after %d", bound, last)
			}
			last, first = bound, false
		}
		ls, err := linesOf(b, req, bound)
		if err != nil {
			return nil, err
		}
		out = append(out, ls...)
		b.Release()
	}
}

// linesOf takes a block apart and checks its promises.
func linesOf(b *logql.Block, req *logql.Request, bound int64) ([]line, error) {
	var out []line
	ended := map[*logql.Stream]bool{}
	var cur *logql.Stream
	for i, t := range b.Times {
		st := b.Streams[0]
		if b.Stream != nil {
			st = b.Streams[b.Stream[i]]
		}
		l := line{labels: formatSet(st.Labels), time: t}
		if t < req.Start || t >= req.End {
			return nil, fmt.Errorf("time %d is not in [%d, %d)", t, req.Start, req.End)
		}
		switch {
		case req.Order == logql.Forward && (t < bound || i > 0 && t < b.Times[i-1]),
			req.Order == logql.Backward && (t > bound || i > 0 && t > b.Times[i-1]):
			return nil, fmt.Errorf("time %d is out of order, bound %d", t, bound)
		case req.Order == logql.AnyOrder && st != cur:
			if ended[st] {
				return nil, errors.New("rows of a stream are not adjacent")
			}
			ended[cur], cur = true, st
		case req.Order == logql.AnyOrder && t < b.Times[i-1]:
			return nil, errors.New("times fall within a stream")
		}
		if b.Severity != nil {
			l.severity = b.Severity[i]
		}
		if b.Body != nil {
			l.body = string(b.Buf[b.Body[i].Off:b.Body[i].End()])
		}
		var meta []record.Attr
		if b.Meta != nil {
			for k := b.Meta.Off[i]; k < b.Meta.Off[i+1]; k++ {
				name, v := b.Meta.Names[b.Meta.Name[k]], b.Meta.Value[k]
				value := string(b.Meta.Buf[v.Off:v.End()])
				if name == record.AttrPodUID {
					l.resource = value
				} else {
					meta = append(meta, record.Attr{Name: name, Value: value})
				}
			}
		}
		l.attrs = formatSet(meta)
		out = append(out, l)
	}
	return out, nil
}

func all(t testing.TB, s *Store) []line {
	t.Helper()
	return query(t, s, &logql.Request{Selector: selector(t, `{app=~".+"}`), Start: -1 << 62, End: 1 << 62, Columns: everything})
}

// stored is a line as a query gives it back.
func stored(l line) line {
	l.gen, l.from, l.to, l.id = 0, 0, 0, 0
	set := parseSet(l.labels)
	if !strings.Contains(l.labels, "service_name=") {
		set = append(set, record.Attr{Name: "service_name", Value: service(set)})
	}
	l.labels, l.attrs = formatSet(set), formatSet(parseSet(l.attrs))
	return l
}

func sortLines(ls []line) []line {
	slices.SortFunc(ls, func(a, b line) int { return cmp.Compare(a.String(), b.String()) })
	return ls
}

// same compares without order.
func same(t testing.TB, got, want []line) {
	t.Helper()
	var w []line
	for _, l := range want {
		w = append(w, stored(l))
	}
	got = sortLines(slices.Clone(got))
	sortLines(w)
	for i := range max(len(got), len(w)) {
		if i >= len(got) || i >= len(w) || got[i] != w[i] {
			g, x := line{}, line{}
			if i < len(got) {
				g = got[i]
			}
			if i < len(w) {
				x = w[i]
			}
			t.Fatalf("%d rows, want %d; the first difference:\n got %v\nwant %v", len(got), len(w), g, x)
		}
	}
}

const base = int64(1_764_000_000_000_000_000) // in the middle of a day

// someLine makes a line that differs from all others by n.
func someLine(r *rand.Rand, n int) line {
	l := line{
		labels:   fmt.Sprintf("app=app%d,namespace=ns%d", r.IntN(5), r.IntN(3)),
		time:     base + r.Int64N(3*dayNs),
		severity: record.Severity(r.IntN(25)),
		body:     fmt.Sprintf("line %d %016x %s", n, r.Uint64(), strings.Repeat("abc ", r.IntN(20))),
	}
	switch r.IntN(4) {
	case 0:
		l.resource = fmt.Sprintf("uid-%d", r.IntN(3))
	case 1:
		l.attrs = fmt.Sprintf("trace=%d", r.IntN(100))
	case 2:
		l.body = fmt.Sprintf(`{"n":%d,"status":"%d","level":"info","q":"%016x"}`, n, 200+r.IntN(3), r.Uint64())
	}
	return l
}

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.FS == nil && cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Check == 0 {
		cfg.Check = -1
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return s
}
