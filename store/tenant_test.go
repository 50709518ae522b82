package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

func TestServiceName(t *testing.T) {
	for _, c := range []struct{ labels, want string }{
		{"", "unknown_service"},
		{"filename=/var/log/x", "unknown_service"},
		{"service_name=own,app=a", "own"},
		{"app=a,service=s,container=c", "s"},
		{"container=c,app=a", "a"},
		{"application=b,container=c", "b"},
		{"app_name=n,name=m", "n"},
		{"name=m,app_kubernetes_io_name=k", "m"},
		{"app.kubernetes.io/name=k,container=c", "k"},
		{"container_name=cn,container=c", "c"},
		{"container_name=cn,workload=deployment/w", "cn"},
		{"k8s_container_name=kc,component=o", "kc"},
		{"component=o,job=j", "o"},
		{"workload=deployment/w,job=j", "deployment/w"},
		{"job=j,k8s_job_name=kj", "j"},
		{"k8s_job_name=kj,pod=p", "kj"},
		{"service.name=otlp", "otlp"},
		{"service.name=other,service_name=own", "own"},
	} {
		st := streamOf(record.NewStream(parseSet(c.labels), nil, nil))
		var got string
		for _, a := range st.Labels {
			if a.Name == record.AttrService {
				got = a.Value
			}
		}
		if got != c.want {
			t.Errorf("{%s}: service_name %q, want %q", c.labels, got, c.want)
		}
		if !slices.IsSortedFunc(st.Labels, func(a, b record.Attr) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("{%s}: not sorted: %v", c.labels, st.Labels)
		}
	}
}

// Names that become __tenant__ once they are made valid do not make a tenant.
func TestTenantForged(t *testing.T) {
	st := streamOf(record.NewStream(parseSet("--tenant--=evil,..tenant..=more,__tenant__=good,app=a"), nil, nil))
	got := formatSet(st.Labels)
	if labels, ok := visible("good", st.Labels); !ok || strings.Contains(formatSet(labels), "good") {
		t.Errorf("%s: visible %v as %v", got, ok, labels)
	}
	for _, tenant := range []string{"evil", "more"} {
		if _, ok := visible(tenant, st.Labels); ok {
			t.Errorf("%s: visible to %s", got, tenant)
		}
	}
	st = streamOf(record.NewStream(parseSet("--tenant--=evil,app=a"), nil, nil))
	if _, ok := visible("evil", st.Labels); ok {
		t.Errorf("%s: visible to evil", formatSet(st.Labels))
	}
}

// TestTenants fills a store with three tenants, in segments and in memory, and
// looks from each.
func TestTenants(t *testing.T) {
	s := open(t, Config{})
	r := rand.New(rand.NewPCG(3, 3))
	ctx := context.Background()
	byTenant := map[string][]line{}
	tails := map[string]*Tail{}
	tenants := []string{"a", "b", ""}
	for _, name := range tenants {
		tail, err := s.Tail(name, selector(t, `{app=~".+"}`), 10000)
		if err != nil {
			t.Fatal(err)
		}
		defer tail.Close()
		tails[name] = tail
	}
	for i := range 600 {
		l := someLine(r, i)
		if i%7 == 0 {
			l.labels += ",Big=x" // sorts before __tenant__
		}
		plain := l
		if name := tenants[r.IntN(3)]; name != "" {
			byTenant[name] = append(byTenant[name], plain)
			l.labels += ",__tenant__=" + name
		}
		byTenant[""] = append(byTenant[""], l)
		mustSend(t, s, l)
		if i == 400 {
			if err := s.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	read := func(tenant, sel string) []line {
		t.Helper()
		got, err := tryQuery(s, tenant, &logql.Request{Selector: selector(t, sel), Start: -1 << 62, End: 1 << 62, Columns: everything, Order: logql.Order(r.IntN(3))})
		if err != nil {
			t.Fatal(err)
		}
		// What may match is looked at again by the engine.
		return slices.DeleteFunc(got, func(l line) bool {
			return selector(t, sel).Decided(parseSet(l.labels), func(string) bool { return false }) == logql.No
		})
	}
	for _, name := range tenants {
		same(t, read(name, `{app=~".+"}`), byTenant[name])
		var got []line
		for len(got) < len(byTenant[name]) {
			rows, dropped, err := tails[name].Next(ctx)
			if err != nil || dropped > 0 {
				t.Fatal(dropped, err)
			}
			for _, row := range rows {
				l := line{labels: formatSet(row.Labels), time: row.Time, severity: row.Severity, body: string(row.Line)}
				var meta []record.Attr
				for _, a := range row.Meta {
					if a.Name == record.AttrPodUID {
						l.resource = a.Value
					} else {
						meta = append(meta, a)
					}
				}
				l.attrs = formatSet(meta)
				got = append(got, l)
			}
		}
		same(t, got, byTenant[name])
	}
	// The label is not there for who has not to see it, and nobody reads through it.
	for _, sel := range []string{`{__tenant__="b"}`, `{app=~".+", __tenant__="a"}`} {
		if got := read("a", sel); len(got) > 0 {
			t.Errorf("%s as a: %d rows", sel, len(got))
		}
	}
	if got := len(read("", `{__tenant__="b"}`)); got != len(byTenant["b"]) {
		t.Errorf("%d rows of b, want %d", got, len(byTenant["b"]))
	}
	if got := read("nobody", `{app=~".+"}`); len(got) > 0 {
		t.Errorf("nobody sees %d rows", len(got))
	}
	for _, name := range tenants {
		checkStreams(t, s, name, byTenant[name], -1<<62, 1<<62, true)
	}
}

// checkStreams compares Streams with the lines; exactly, or only which streams
// must be there.
func checkStreams(t *testing.T, s *Store, tenant string, lines []line, start, end int64, exact bool) {
	t.Helper()
	type sums struct{ rows, bytes int64 }
	want := map[string]sums{}
	for _, l := range lines {
		if l.time < start || l.time >= end {
			continue
		}
		k := want[stored(l).labels]
		k.rows++
		k.bytes += int64(len(l.body))
		want[stored(l).labels] = k
	}
	var total, wantTotal sums
	seen := map[string]bool{}
	err := s.Streams(context.Background(), tenant, selector(t, `{app=~".+"}`), start, end, func(st StreamStats) error {
		name := formatSet(st.Labels)
		if seen[name] {
			t.Errorf("%s again", name)
		}
		seen[name] = true
		total.rows += st.Rows
		total.bytes += st.Bytes
		w, ok := want[name]
		if exact && (!ok || st.Rows != w.rows) || st.Blocks == 0 || st.Rows == 0 {
			t.Errorf("%s: %+v, want %+v", name, st, w)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range want {
		wantTotal.rows += w.rows
		wantTotal.bytes += w.bytes
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
	near := func(a, b int64) bool { return a > b*8/10-50 && a < b*12/10+50 }
	if !near(total.bytes/100, wantTotal.bytes/100) || !near(total.rows, wantTotal.rows) {
		t.Errorf("%+v, want about %+v", total, wantTotal)
	}
}

func TestStreams(t *testing.T) {
	s := open(t, Config{})
	r := rand.New(rand.NewPCG(5, 5))
	lines := fill(t, s, r, 6000)
	checkStreams(t, s, "", lines, -1<<62, 1<<62, true)
	for range 50 {
		from := base + r.Int64N(3*dayNs)
		checkStreams(t, s, "", lines, from, from+1+r.Int64N(2*dayNs), false)
	}
	stop := fmt.Errorf("enough")
	n := 0
	err := s.Streams(context.Background(), "", selector(t, `{app="app1"}`), -1<<62, 1<<62, func(st StreamStats) error {
		n++
		if !strings.Contains(formatSet(st.Labels), "app=app1") {
			t.Errorf("%v", st.Labels)
		}
		return stop
	})
	if err != stop || n != 1 {
		t.Error(err, n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Streams(ctx, "", selector(t, `{app="app1"}`), -1<<62, 1<<62, func(StreamStats) error { return nil }); err != context.Canceled {
		t.Error(err)
	}
	for _, matcher := range []string{`{trace="none"}`, `{pod_uid="none"}`} {
		err := s.Streams(context.Background(), "", selector(t, matcher), -1<<62, base, func(st StreamStats) error {
			t.Errorf("%s: %+v", matcher, st)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkStreams(b *testing.B) {
	s := open(b, Config{MemtableBytes: 4 << 20})
	for i := range 40 {
		var ls []line
		for k := range 5000 {
			ls = append(ls, line{labels: fmt.Sprintf("app=app%d,pod=pod-%d", k%50, k), time: base + int64(i*5000+k)*1e6, body: fmt.Sprintf("line %d %d %s", i, k, strings.Repeat("x", 100))})
		}
		mustSend(b, s, ls...)
	}
	if err := s.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	sel := selector(b, `{app=~".+"}`)
	for _, c := range []struct {
		name       string
		start, end int64
	}{{"all", -1 << 62, 1 << 62}, {"short", base + 100e9, base + 101e9}} {
		b.Run(c.name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				s.Streams(context.Background(), "", sel, c.start, c.end, func(StreamStats) error { n++; return nil })
			}
			b.ReportMetric(float64(n)/float64(b.N), "streams")
			b.ReportMetric(float64(s.Stats().Segments), "segments")
		})
	}
}
