package output

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// pushed reads the lines of a push request: streams (1) of entries (2) with a
// line (2).
func pushed(t testing.TB, r *http.Request) []string {
	t.Helper()
	p, err := io.ReadAll(r.Body)
	if err == nil {
		p, err = s2.Decode(nil, p)
	}
	if err != nil {
		t.Errorf("read the push: %v", err)
	}
	var out []string
	for _, stream := range sub(t, p, 1) {
		for _, entry := range sub(t, stream, 2) {
			for _, line := range sub(t, entry, 2) {
				out = append(out, string(line))
			}
		}
	}
	return out
}

func sub(t testing.TB, p []byte, field protowire.Number) (out [][]byte) {
	t.Helper()
	for len(p) > 0 {
		num, typ, n := protowire.ConsumeTag(p)
		if n < 0 {
			t.Errorf("protobuf: %v", protowire.ParseError(n))
			return nil
		}
		p = p[n:]
		if num == field && typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(p)
			out = append(out, v)
		}
		if n = protowire.ConsumeFieldValue(num, typ, p); n < 0 {
			t.Errorf("protobuf: %v", protowire.ParseError(n))
			return nil
		}
		p = p[n:]
	}
	return out
}

func newLoki(t testing.TB, conf HTTPConfig, tenant string) *Loki {
	t.Helper()
	c := LokiConfig{HTTPConfig: conf}
	if tenant != "" {
		var err error
		if c.Tenant, err = wire.ParseTemplate(tenant, wire.SanitizeTenant); err != nil {
			t.Fatal(err)
		}
	}
	o, err := NewLoki(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

func TestLokiPush(t *testing.T) {
	for path, want := range map[string]string{"": "/loki/api/v1/push", "/tenant1/": "/tenant1/loki/api/v1/push", "/x/push": "/x/push"} {
		var got []string
		var r0 *http.Request
		s := server(t, func(w http.ResponseWriter, r *http.Request) {
			got, r0 = pushed(t, r), r
			w.WriteHeader(http.StatusNoContent)
		})
		o := newLoki(t, HTTPConfig{URL: s.URL + path}, "")
		mustSend(t, o, "one", `{"a":1}`)
		if d := cmp.Diff([]string{"one", `{"a":1}`}, got); d != "" {
			t.Error(d)
		}
		if r0.URL.Path != want || r0.Header.Get("Content-Type") != "application/x-protobuf" || r0.Header.Get("Content-Encoding") != "" || r0.Header.Get("X-Scope-OrgID") != "" {
			t.Errorf("%s %v", r0.URL, r0.Header)
		}
		if err := o.Probe(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if _, err := NewLoki(LokiConfig{HTTPConfig: HTTPConfig{URL: "http://h", Compression: "gzip"}}); err == nil {
		t.Error("no error for gzip")
	}
}

func TestLokiRefusals(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		kind   ack.ErrorKind
		text   string
	}{
		{400, "entry for stream '{app=\"canary\"}' has timestamp too old: 2020-01-01T00:00:00Z, oldest acceptable timestamp is: 2026-01-01T00:00:00Z", ack.Rejected, "too_old"},
		{400, "Max entry size '262144' bytes exceeded for stream '{app=\"canary\"}' while adding an entry with length '300000' bytes", ack.Rejected, "line_too_long"},
		{400, "something 'canary' new", ack.Rejected, "something … new"},
		{429, "Ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '10' lines totaling '1000' bytes, reduce log volume", ack.Retry, "rate_limited"},
		{429, "Ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '10' lines totaling '8388608' bytes, reduce log volume", ack.TooLarge, "rate_limited"},
		{429, "Maximum active stream limit exceeded when trying to create stream {app=\"canary\"}, reduce", ack.Retry, "stream_limit"},
		{413, "", ack.TooLarge, "413"},
		{500, "rpc error: code = ResourceExhausted desc = trying to send message larger than max (8388608 vs. 4194304)", ack.TooLarge, "500"},
		{500, "<html>canary</html>", ack.Retry, "500"},
		{503, "", ack.Retry, "503"},
		{401, "no org id", ack.Unauthorized, "no org id"},
		{200, "<html>canary</html>", ack.Retry, "proxy"},
	} {
		s := server(t, func(w http.ResponseWriter, r *http.Request) {
			pushed(t, r)
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		})
		o := newLoki(t, HTTPConfig{URL: s.URL}, "")
		_, err := o.Send(t.Context(), someParts("a"))
		se := wantKind(t, err, c.kind)
		if se.Code != c.status || !strings.Contains(se.Error(), c.text) || strings.Contains(se.Error(), "canary") {
			t.Errorf("%d %q: error %q", c.status, c.body, se)
		}
	}
}

func nsStream(ns string) *record.Stream {
	return record.NewStream([]record.Attr{{Name: record.AttrNamespace, Value: ns}}, nil, nil)
}

// mixedBatch has records of the namespaces in turn, with the body ns-number.
func mixedBatch(n int, namespaces ...string) *record.Batch {
	b := record.NewBatch(nil)
	for i := range n {
		ns := namespaces[i%len(namespaces)]
		sp := b.AppendString(fmt.Sprintf("%s-%d", ns, i))
		b.Add(record.Record{Time: testTime + int64(i), Body: sp, Source: sp, Start: int64(i), End: int64(i + 1),
			Stream: b.AddStream(record.StreamRef{Stream: nsStream(ns)})})
	}
	b.Freeze()
	return b
}

func TestLokiTenants(t *testing.T) {
	var mu sync.Mutex
	got := map[string][]string{}
	fail := map[string]int{}
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		tenant := r.Header.Get("X-Scope-OrgID")
		l := pushed(t, r)
		mu.Lock()
		defer mu.Unlock()
		if st := fail[tenant]; st != 0 {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(st)
			return
		}
		got[tenant] = append(got[tenant], l...)
	})
	o := newLoki(t, HTTPConfig{URL: s.URL}, "${namespace}")
	b1, b2 := mixedBatch(6, "a", "b", "c"), mixedBatch(4, "b", "../c\r\nX: y")
	ps := partsOf(b1, b2)
	for range 2 { // the second time with used memory
		clear(got)
		res, err := o.Send(t.Context(), ps)
		if err != nil || len(res.Failures) != 0 || res.Bytes == 0 {
			t.Fatalf("%+v, %v", res, err)
		}
		if d := cmp.Diff(map[string][]string{
			"a": {"a-0", "a-3"}, "b": {"b-0", "b-1", "b-2", "b-4"}, "c": {"c-2", "c-5"}, "_c__X__y": {"../c\r\nX: y-1", "../c\r\nX: y-3"},
		}, sorted(got)); d != "" {
			t.Fatal(d)
		}
	}
	// One tenant fails: only its records are failures, in order.
	fail["b"] = 429
	clear(got)
	res, err := o.Send(t.Context(), ps)
	if err != nil {
		t.Fatal(err)
	}
	var where [][2]int
	for _, f := range res.Failures {
		where = append(where, [2]int{f.Part, int(f.Record)})
		if f.Permanent || !strings.Contains(f.Reason, "429") {
			t.Errorf("failure %+v", f)
		}
	}
	if d := cmp.Diff([][2]int{{0, 1}, {0, 4}, {1, 0}, {1, 2}}, where); d != "" || res.RetryAfter == 0 || len(got) != 3 {
		t.Errorf("%s, %+v, %d tenants stored", d, res, len(got))
	}
	// That tenant alone: its own error.
	_, err = o.Send(t.Context(), []record.Part{ps[0].Select([]uint32{1, 4})})
	if se := wantKind(t, err, ack.Retry); se.RetryAfter == 0 {
		t.Errorf("%+v", se)
	}
	// All fail: what splits comes first, or records could wait for ever.
	fail["a"], fail["c"], fail["_c__X__y"] = 503, 413, 400
	_, err = o.Send(t.Context(), ps)
	wantKind(t, err, ack.TooLarge)
	fail["c"] = 401
	_, err = o.Send(t.Context(), ps)
	wantKind(t, err, ack.Rejected)
	if b1.Frozen(); true {
		for _, p := range ps { // our counts are the last: nothing was released or kept by the output
			p.Finish()
		}
		b1.Release()
		b2.Release()
	}
	if err := o.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLokiTenantByTime(t *testing.T) {
	var mu sync.Mutex
	got := map[string][]string{}
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got[r.Header.Get("X-Scope-OrgID")] = pushed(t, r)
	})
	o := newLoki(t, HTTPConfig{URL: s.URL}, "t-%S")
	b := record.NewBatch(nil)
	si := b.AddStream(record.StreamRef{Stream: nsStream("a")})
	for i := range 2 {
		sp := b.AppendString(fmt.Sprint(i))
		b.Add(record.Record{Time: testTime + int64(i)*1e9, Body: sp, Source: sp, Stream: si})
	}
	b.Freeze()
	if _, err := o.Send(t.Context(), partsOf(b)); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 {
		t.Errorf("tenants %v", got)
	}
}

func sorted(m map[string][]string) map[string][]string {
	for _, v := range m {
		for i := range v {
			for j := i; j > 0 && v[j] < v[j-1]; j-- {
				v[j], v[j-1] = v[j-1], v[j]
			}
		}
	}
	return m
}

func TestPlainReason(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "",
		"rate limit exceeded":              "rate limit exceeded",
		"bad value 'x y' in \"field\" `q`": "bad value … in … …",
		"don't stop":                       "don't stop",
		"[a[b]c] {d{e}f} g":                "… … g",
		"open 'quote":                      "open …",
		"two\r\nlines\x1b[31mred":          "two lines …",
		strings.Repeat("é", 300):           strings.Repeat("é", 100) + "…",
	} {
		if got := plainReason(in); got != want {
			t.Errorf("%q → %q, want %q", in, got, want)
		}
	}
}

// A weir says which records it refused for good: those are failures, and nothing
// is sent again, whatever the order in the request was.
func TestLokiPartlyRefused(t *testing.T) {
	for _, tenant := range []string{"", "${namespace}"} {
		var mu sync.Mutex
		requests := 0
		s := server(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			requests++
			var at []uint32
			for i, l := range pushed(t, r) {
				if strings.HasSuffix(l, "1") || strings.HasSuffix(l, "4") {
					at = append(at, uint32(i))
				}
			}
			if at == nil {
				w.WriteHeader(204)
				return
			}
			w.Header().Set(wire.RefusedHeader, string(wire.AppendPositions(nil, at)))
			w.WriteHeader(400)
			fmt.Fprintf(w, "entry for stream '{}' has timestamp too old: x,\ntotal ignored: %d out of 9", len(at))
		})
		o := newLoki(t, HTTPConfig{URL: s.URL}, tenant)
		ps := partsOf(mixedBatch(6, "a", "b"), mixedBatch(3, "b", "c"))
		res, err := o.Send(t.Context(), ps)
		if err != nil {
			t.Fatal(err)
		}
		var where [][2]int
		for _, f := range res.Failures {
			where = append(where, [2]int{f.Part, int(f.Record)})
			if !f.Permanent || f.Reason == "" {
				t.Errorf("%+v", f)
			}
		}
		if d := cmp.Diff([][2]int{{0, 1}, {0, 4}, {1, 1}}, where); d != "" {
			t.Errorf("tenant %q: %s", tenant, d)
		}
		if want := map[string]int{"": 1, "${namespace}": 3}[tenant]; requests != want {
			t.Errorf("tenant %q: %d requests, want %d", tenant, requests, want)
		}
	}
	// Positions that cannot be are not believed.
	s := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(wire.RefusedHeader, "7")
		w.WriteHeader(400)
	})
	_, err := newLoki(t, HTTPConfig{URL: s.URL}, "").Send(t.Context(), partsOf(mixedBatch(3, "a")))
	wantKind(t, err, ack.Rejected)
}
