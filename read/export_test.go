package read

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/export"
)

// fakeRow is a row that a fake server has.
type fakeRow struct {
	time int64
	app  string
	line string
	meta string
}

// fakeRows are rows of some streams over some time: many share their time.
func fakeRows(n int) []fakeRow {
	r := rand.New(rand.NewPCG(7, 8))
	out := make([]fakeRow, n)
	at := int64(1_700_000_000_000_000_000)
	for i := range out {
		if r.IntN(3) > 0 {
			at += int64(r.IntN(2_000_000_000))
		}
		out[i] = fakeRow{at, "app" + strconv.Itoa(r.IntN(5)), fmt.Sprintf("line %d, \"quoted\" %s", i, strings.Repeat("x", r.IntN(200))), ""}
		if r.IntN(2) == 0 {
			out[i].meta = strconv.Itoa(r.IntN(1000))
		}
	}
	return out
}

// fakeServer is a weir or a Loki that fails now and then.
type fakeServer struct {
	rows  []fakeRow
	weir  bool
	limit int // rows of a page
	mu    sync.Mutex
	rand  *rand.Rand
	fail  int // one of so many requests fails; 0: none
	asked int
	open  bool // it may fail: not before it was asked once
}

func (s *fakeServer) flaky() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.fail == 0 || !s.open || s.rand.IntN(s.fail) > 0 {
		s.open = true
		return 0
	}
	return 1 + s.rand.IntN(3)
}

func (s *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start, _ := strconv.ParseInt(r.FormValue("start"), 10, 64)
	end, _ := strconv.ParseInt(r.FormValue("end"), 10, 64)
	in := func(t int64) bool { return t >= start && t < end }
	switch r.URL.Path {
	case "/weir/v1/export":
		if !s.weir {
			http.NotFound(w, r)
			return
		}
		s.stream(w, r, in)
	case "/weir/v1/stats", "/loki/api/v1/index/stats":
		var n int
		for _, row := range s.rows {
			if in(row.time) {
				n += len(row.line)
			}
		}
		fmt.Fprintf(w, `{"bytes":%d}`, n)
	case "/loki/api/v1/query_range":
		s.page(w, r, in)
	default:
		http.NotFound(w, r)
	}
}

func (s *fakeServer) stream(w http.ResponseWriter, r *http.Request, in func(int64) bool) {
	enc, err := export.New(r.FormValue("format"), nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	how := s.flaky()
	if how == 1 {
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", export.FrameType)
	cut, _ := strconv.ParseInt(r.FormValue("cut"), 10, 64)
	var streams export.Streams
	var buf, out []byte
	var f export.Frame
	send := func(safe bool) {
		f.Kind, f.Safe = export.Data, safe
		out = append(f.AppendHeader(out, len(buf)), buf...)
		f, buf = export.Frame{}, nil
	}
	for _, row := range s.rows {
		if !in(row.time) {
			continue
		}
		if f.Rows > 0 && (len(buf) > 2000 || cut > 0 && floorDiv(row.time, cut) != floorDiv(f.First, cut)) {
			send(row.time != f.Last)
		}
		if f.Rows == 0 {
			f.First = row.time
		}
		f.Last = row.time
		f.Rows++
		f.Raw += uint64(len(row.line))
		e := export.Row{Time: row.time, Line: []byte(row.line), Stream: streams.Get([]record.Attr{{Name: "app", Value: row.app}})}
		if row.meta != "" {
			e.Meta = []record.Attr{{Name: "user", Value: row.meta}}
		}
		buf = enc.Append(buf, &e)
	}
	if f.Rows > 0 {
		send(true)
	}
	if how == 2 { // an error on the way
		s.mu.Lock()
		n := s.rand.IntN(len(out) + 1)
		s.mu.Unlock()
		_, _ = w.Write(out[:n])
		panic(http.ErrAbortHandler)
	}
	if how == 3 {
		f := export.Frame{Kind: export.Error, Rows: 500}
		_, _ = w.Write(append(f.AppendHeader(out, 4), "oops"...))
		return
	}
	_, _ = w.Write((&export.Frame{Kind: export.End}).AppendHeader(out, 0))
}

func (s *fakeServer) page(w http.ResponseWriter, r *http.Request, in func(int64) bool) {
	limit, _ := strconv.Atoi(r.FormValue("limit"))
	if limit > 4*s.limit {
		http.Error(w, "max entries limit per query exceeded", http.StatusBadRequest)
		return
	}
	how := s.flaky()
	if how == 1 {
		http.Error(w, "not now", http.StatusInternalServerError)
		return
	}
	var b bytes.Buffer
	b.WriteString(`{"status":"success","data":{"resultType":"streams","result":[`)
	n := 0
	for _, row := range s.rows {
		if !in(row.time) {
			continue
		}
		if n == limit {
			break
		}
		if n++; n > 1 {
			b.WriteByte(',')
		}
		line, _ := json.Marshal(row.line)
		meta := "{}"
		if row.meta != "" {
			meta = `{"structuredMetadata":{"user":"` + row.meta + `"}}`
		}
		fmt.Fprintf(&b, `{"stream":{"app":"%s"},"values":[["%d",%s,%s]]}`, row.app, row.time, line, meta)
	}
	b.WriteString(`],"stats":{}}}`)
	if how > 1 {
		_, _ = w.Write(b.Bytes()[:b.Len()/2])
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(b.Bytes())
}

func (s *fakeServer) client(t *testing.T) *Client {
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return &Client{HTTP: srv.Client(), Base: srv.URL, What: "the fake", Page: s.limit}
}

// expected is what an export of the rows must be.
func expected(t *testing.T, rows []fakeRow, format string) []byte {
	enc, err := export.New(format, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for _, row := range rows {
		e := export.Row{Time: row.time, Line: []byte(row.line), Stream: export.NewStream([]record.Attr{{Name: "app", Value: row.app}})}
		if row.meta != "" {
			e.Meta = []record.Attr{{Name: "user", Value: row.meta}}
		}
		out = enc.Append(out, &e)
	}
	return out
}

// memOut keeps what is written.
type memOut struct{ bytes.Buffer }

func (m *memOut) Write(c *Chunk) error { _, err := m.Buffer.Write(c.Data); return err }
func (m *memOut) Reached(int64) error  { return nil }

func (s *fakeServer) job(t *testing.T, format string) *Job {
	f := &Fetch{Client: s.client(t), Format: format, Query: `{app=~".+"}`, Wait: time.Millisecond, Notice: func(error, time.Duration) {}}
	if err := f.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.Weir() != s.weir {
		t.Fatalf("a weir: %v, want %v", f.Weir(), s.weir)
	}
	return &Job{Fetch: f, From: s.rows[0].time, To: s.rows[len(s.rows)-1].time + 1, Parallel: 3}
}

// A server that fails in every way gives every line once, in order.
func TestExportFromFlakyServer(t *testing.T) {
	rows := fakeRows(3000)
	for _, weir := range []bool{true, false} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("weir=%v/%d", weir, seed), func(t *testing.T) {
				t.Parallel()
				s := &fakeServer{rows: rows, weir: weir, limit: 100, rand: rand.New(rand.NewPCG(seed, 1)), fail: 3}
				j := s.job(t, export.JSONL)
				j.Compress = []string{"", "zstd"}[seed%2]
				var out memOut
				j.Out = &out
				var cost Cost
				if err := j.Run(t.Context(), &cost); err != nil {
					t.Fatal(err)
				}
				got := out.Bytes()
				if j.Compress != "" {
					got = unpack(t, ".zst", got)
				}
				compareLines(t, sortTies(got), sortTies(expected(t, rows, export.JSONL)))
				if n := j.Progress.Rows.Load(); n != int64(len(rows)) {
					t.Errorf("%d rows counted, want %d", n, len(rows))
				}
			})
		}
	}
}

// sortTies sorts lines: a Loki's pages have those of one time in the order of
// their streams.
func sortTies(b []byte) []byte {
	lines := bytes.SplitAfter(b, []byte("\n"))
	slices.SortStableFunc(lines, bytes.Compare)
	return bytes.Join(lines, nil)
}

func compareLines(t *testing.T, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	g, w := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range min(len(g), len(w)) {
		if !bytes.Equal(g[i], w[i]) {
			t.Fatalf("%d lines, want %d; the first that differs is %d:\n%s\n%s", len(g), len(w), i, g[i], w[i])
		}
	}
	t.Fatalf("%d lines, want %d", len(g), len(w))
}

func unpack(t *testing.T, name string, b []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(b)
	switch {
	case strings.HasSuffix(name, ".zst"):
		z, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	case strings.HasSuffix(name, ".gz"):
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		r = z
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A server that stays away is an error in the end, and one that never answered
// at once.
func TestExportGivesUp(t *testing.T) {
	s := &fakeServer{rows: fakeRows(100), weir: true, limit: 100}
	j := s.job(t, export.Raw)
	j.Fetch.Patience = time.Millisecond
	j.Out = new(memOut)
	j.Fetch.Client.HTTP = &http.Client{Transport: broken{}}
	var cost Cost
	var ue *UnreachableError
	if err := j.Run(t.Context(), &cost); !errors.As(err, &ue) {
		t.Fatalf("error %v", err)
	}
	f := &Fetch{Client: j.Fetch.Client, Format: export.Raw}
	if err := f.Look(t.Context()); !errors.As(err, &ue) {
		t.Fatalf("error %v", err)
	}
}

type broken struct{}

func (broken) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New("no route") }

// errCrash stands for the end of the process.
var errCrash = errors.New("crash")

// crashing is Files until it is not: what it has written after the last save may
// be there or not.
type crashing struct {
	*Files
	left int
}

func (c *crashing) Write(ch *Chunk) error {
	if c.left--; c.left < 0 {
		return errCrash
	}
	return c.Files.Write(ch)
}

// An export that dies over and over ends with every line once, whatever the
// format, and whether in one file or in parts.
func TestExportGoesOn(t *testing.T) {
	rows := fakeRows(2000)
	for _, c := range []struct {
		format, ext, compress string
		span, size            int64
	}{
		{"jsonl", ".jsonl", "", 0, 0}, {"raw", ".log.zst", "zstd", 0, 0}, {"csv", ".csv.gz", "gzip", 0, 0}, {"parquet", ".parquet", "", 0, 0},
		{"jsonl", ".jsonl", "", int64(10 * time.Minute), 0}, {"csv", ".csv", "", 0, 50_000}, {"parquet", ".parquet", "", int64(10 * time.Minute), 0},
		{"raw", ".log.gz", "gzip", int64(10 * time.Minute), 20_000},
	} {
		for seed := range uint64(2) {
			t.Run(fmt.Sprintf("%s%s,%d,%d/%d", c.format, c.ext, c.span, c.size, seed), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(seed, 2))
				s := &fakeServer{rows: rows, weir: seed%2 == 0, limit: 100}
				wire := c.format
				if wire == "parquet" {
					wire = export.Rows
				}
				dir := t.TempDir()
				path := filepath.Join(dir, "plan")
				var head []byte
				if c.format == "csv" {
					enc, _ := export.New(export.CSV, nil)
					head = Compress(c.compress, enc.Head(nil))
				}
				var files *Files
				for n := 0; ; n++ {
					if n > 500 {
						t.Fatal("it does not come to an end")
					}
					j := s.job(t, wire)
					plan, err := LoadPlan(path)
					if errors.Is(err, fs.ErrNotExist) {
						plan, err = &Plan{Version: planVersion, From: j.From, To: j.To}, nil
					}
					if err != nil {
						t.Fatal(err)
					}
					files = &Files{
						Plan: plan, Path: path, Dir: dir, Span: c.span, Size: c.size, Head: head, Parquet: c.format == "parquet", SaveBytes: 1,
						Name: func(n int, _ int64) string { return fmt.Sprintf("part-%03d%s", n, c.ext) },
					}
					if err := files.Open(); err != nil {
						t.Fatal(err)
					}
					j.From, j.Parquet, j.Compress, j.Fetch.Cut = max(plan.From, plan.Next), c.format == "parquet", c.compress, c.span
					j.Out = &crashing{files, r.IntN(8)}
					var cost Cost
					err = j.Run(t.Context(), &cost)
					if err == nil {
						if err := files.Close(true); err != nil {
							t.Fatal(err)
						}
						break
					}
					if !errors.Is(err, errCrash) {
						t.Fatal(err)
					}
					if files.f != nil {
						if r.IntN(2) == 0 { // something that was not saved
							_, _ = files.f.Write([]byte("rubbish"))
						}
						_ = files.f.Close()
					}
				}
				list, err := filepath.Glob(filepath.Join(dir, "part-*"))
				if err != nil || c.span+c.size > 0 && len(list) < 3 || c.span+c.size == 0 && len(list) != 1 || len(list) != len(files.Plan.Parts) {
					t.Fatalf("parts %q, %v", list, err)
				}
				var got []byte
				for i, name := range list {
					b, err := os.ReadFile(name)
					if err != nil {
						t.Fatal(err)
					}
					if c.size > 0 && c.span == 0 && int64(len(b)) > c.size {
						t.Errorf("%s has %d bytes", name, len(b))
					}
					if c.format == "parquet" {
						got = append(got, parquetLines(t, b, files.Plan.Parts[i].Rows)...)
						continue
					}
					b = unpack(t, name, b)
					if c.format == "csv" {
						var ok bool
						if b, ok = bytes.CutPrefix(b, []byte("time,level,labels,line\n")); !ok {
							t.Fatalf("%s has no names", name)
						}
					}
					got = append(got, b...)
				}
				want := c.format
				if want == "parquet" {
					want = "raw"
				}
				compareLines(t, sortTies(got), sortTies(expected(t, rows, want)))
			})
		}
	}
}

// parquetLines returns the lines of a file.
func parquetLines(t *testing.T, b []byte, rows int64) []byte {
	t.Helper()
	var out []byte
	n := int64(0)
	err := columns.ReadJoined(bytes.NewReader(b), int64(len(b)), func(st *columns.Stream, row *columns.Row) error {
		out = append(append(out, row.Body...), '\n')
		n++
		return nil
	})
	if err != nil || n != rows {
		t.Fatalf("%d rows, want %d; %v", n, rows, err)
	}
	return out
}

func TestExportStops(t *testing.T) {
	s := &fakeServer{rows: fakeRows(3000), weir: true, limit: 100}
	j := s.job(t, export.Raw)
	ctx, cancel := context.WithCancel(t.Context())
	j.Out = stopper{cancel}
	var cost Cost
	if err := j.Run(ctx, &cost); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
}

type stopper struct{ cancel func() }

func (s stopper) Write(*Chunk) error  { s.cancel(); return nil }
func (s stopper) Reached(int64) error { return nil }

func TestSlices(t *testing.T) {
	s := &fakeServer{rows: fakeRows(3000), weir: true}
	j := s.job(t, export.Raw)
	list, total := j.Fetch.Slices(t.Context(), 0, 1<<62, 20_000, 4)
	if total < 200_000 || len(list) < 10 || len(list) > 60 {
		t.Errorf("%d slices of %d bytes", len(list), total)
	}
	at := int64(0)
	for _, sl := range list {
		if sl.From != at || sl.To <= sl.From || sl.Bytes > 20_000 && sl.To-sl.From > int64(time.Second) {
			t.Errorf("slice %+v, want from %d", sl, at)
		}
		at = sl.To
	}
	if at != 1<<62 {
		t.Errorf("they end at %d", at)
	}
	if list := equal(0, int64(10*time.Hour), 4); len(list) != 4 || list[3].To != int64(10*time.Hour) {
		t.Errorf("equal ones: %v", list)
	}
}

func TestPlanSame(t *testing.T) {
	a := Plan{Query: "{}", Range: "--since 1h", Format: "csv", Columns: []string{"time"}, Part: "1h", Source: "here"}
	b := a
	if d := a.Same(&b); d != "" {
		t.Error(d)
	}
	b.Columns = nil
	if d := a.Same(&b); !strings.Contains(d, "columns") {
		t.Error(d)
	}
}
