//go:build cgo

package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/bench/mixed"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/store"
)

// row is a row as it was sent, or as DuckDB reads it.
type row struct {
	labels   map[string]string
	resource map[string]string
	meta     map[string]string
	severity uint8
	body     string
}

func (r row) String() string {
	return fmt.Sprintf("%v %v %v %d %q", r.labels, r.resource, r.meta, r.severity, r.body)
}

func (r row) equal(o row) bool {
	return maps.Equal(r.labels, o.labels) && maps.Equal(r.resource, o.resource) && maps.Equal(r.meta, o.meta) && r.severity == o.severity && r.body == o.body
}

func attrs(m map[string]string) (out []record.Attr) {
	for k, v := range m {
		out = append(out, record.Attr{Name: k, Value: v})
	}
	return out
}

// rowsByTime are rows by their times in nanoseconds; no two have the same
// microsecond, which is all that DuckDB keeps of times in UTC.
type rowsByTime map[int64]row

func (all rowsByTime) send(t *testing.T, s *store.Store, rows rowsByTime) {
	t.Helper()
	b := record.NewBatch(nil)
	for _, at := range slices.Sorted(maps.Keys(rows)) {
		r := rows[at]
		if _, double := all[at/1000]; double {
			t.Fatal("two rows of one time")
		}
		all[at/1000] = row{sanitized(r.labels), r.resource, sanitized(r.meta), r.severity, r.body}
		stream := record.NewStream(slices.Concat(attrs(r.labels), attrs(r.resource)), nil, nil)
		body := b.AppendString(r.body)
		i := b.Add(record.Record{Time: at, Observed: at, Body: body, Source: body, Stream: b.AddStream(record.StreamRef{Stream: stream}), Severity: record.Severity(r.severity)})
		for k, v := range r.meta {
			b.SetField(i, k, record.String, b.AppendString(v))
		}
	}
	b.Freeze()
	p := record.NewPart(b, b.Live())
	defer p.Finish()
	res, err := s.Send(t.Context(), []record.Part{p})
	if err != nil || len(res.Failures) > 0 {
		t.Fatalf("send: %v, %+v", err, res.Failures)
	}
}

// sanitized are names as the store has them.
func sanitized(m map[string]string) map[string]string {
	out := make(map[string]string)
	for k, v := range m {
		out[record.SanitizeName(k)] = v
	}
	return out
}

// logs are mixed logs of some streams from a time on.
func logs(t *testing.T, start time.Time, seed uint64, size int64) rowsByTime {
	t.Helper()
	g, err := mixed.New(mixed.Config{Seed: seed, Streams: 40, Bytes: size, Start: start, Span: time.Hour, Clients: 1, BodyBytes: 1e6})
	if err != nil {
		t.Fatal(err)
	}
	severity := map[string]uint8{"debug": 5, "info": 9, "warn": 13, "error": 17}
	rows := make(rowsByTime)
	for e := g.Next(); e != nil; e = g.Next() {
		r := row{labels: make(map[string]string), resource: make(map[string]string), meta: make(map[string]string), severity: severity[e.Level], body: string(e.Line)}
		for _, l := range g.Streams()[e.Stream].Labels {
			r.labels[l.Name] = l.Value
		}
		r.labels["service_name"] = r.labels["app"] // the store's own derivation
		r.resource["pod_uid"] = fmt.Sprintf("uid-%d", e.Stream)
		if e.Trace != "" {
			r.meta["trace_id"] = e.Trace
		}
		rows[e.Time] = r
	}
	return rows
}

// odd are rows that readers stumble over, of streams with labels that no
// other has.
func odd(start time.Time) rowsByTime {
	bodies := []string{
		"", " ", "\n", "nul \x00 in it", "caf\xe9 is not UTF-8", "\xff\xfe\xfd", `"quotes" and 'quotes' and \ and \x41`, "é 日本語 🐳", "\ufeffmark",
		`{"http_status":503}`, `{"a":"cut`, `{"a":1,"a":2}`, "{\"a\":\"\xc3\"}", `[1,2]`, strings.Repeat("long ", 300_000),
	}
	rows := make(rowsByTime)
	for i, b := range bodies {
		rows[start.UnixNano()+int64(i)*1234] = row{
			labels:   map[string]string{"time": "a label", "body": "another", "Ümlaut x": "é", "service_name": "odd", fmt.Sprintf("label_%d", i%3): "x"},
			resource: map[string]string{}, meta: map[string]string{`na"me`: "\\\n\t\"", "n": fmt.Sprint(i)}, severity: uint8(i % 25), body: b,
		}
	}
	return rows
}

// TestSegments has DuckDB read everything that the store wrote, in segments
// with different labels, of two days, compacted and not.
func TestSegments(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s, err := store.Open(store.Config{Dir: dir, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }, Check: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	all := make(rowsByTime)
	ctx := context.Background()
	flush := func() {
		t.Helper()
		if err := s.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	closed := now.Add(-48 * time.Hour)
	for i := range 4 {
		all.send(t, s, logs(t, closed.Add(time.Duration(i)*time.Hour), uint64(i), 1e6))
		flush()
	}
	all.send(t, s, odd(closed.Add(-time.Hour)))
	flush()
	before := s.Stats().Segments
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	st := s.Stats()
	if st.Compactions == 0 || st.Segments >= before {
		t.Errorf("%d segments, and %d after %d compactions", before, st.Segments, st.Compactions)
	}
	all.send(t, s, logs(t, now.Add(-2*time.Hour), 9, 3e6))
	flush()
	all.send(t, s, odd(now.Add(-30*time.Minute)))
	flush()

	files, err := filepath.Glob(filepath.Join(dir, "*/*.parquet"))
	if err != nil || len(files) < 3 || len(files) != s.Stats().Segments {
		t.Fatalf("%d files of %d segments, %v", len(files), s.Stats().Segments, err)
	}
	db, err := open(filepath.Join(dir, "*/*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	got := make(rowsByTime)
	promoted := 0
	for _, f := range files {
		promoted += readFile(t, db, f, got)
	}
	if promoted == 0 {
		t.Error("no member of JSON lines has a column")
	}
	if len(got) != len(all) {
		t.Errorf("%d rows, not %d", len(got), len(all))
	}
	for at, want := range all {
		if r, ok := got[at]; !ok || !r.equal(want) {
			t.Fatalf("at %d\n%v\nnot\n%v", at, r, want)
		}
	}
	together(t, db, all)
}

// readFile reads a segment on its own, by what weir.columns says of it, and
// returns how many columns of members it has.
func readFile(t *testing.T, db *sql.DB, file string, into rowsByTime) (promoted int) {
	t.Helper()
	var text string
	if err := db.QueryRow("select decode(value) from parquet_kv_metadata(?) where decode(key) = 'weir.columns'", file).Scan(&text); err != nil {
		t.Fatal(err)
	}
	var columns []struct{ Column, Role, Name string }
	if err := json.Unmarshal([]byte(text), &columns); err != nil {
		t.Fatal(err)
	}
	var bodyType string
	if err := db.QueryRow("select typeof(body) from read_parquet(?) limit 1", file).Scan(&bodyType); err != nil {
		t.Fatal(err)
	}
	query := "select "
	for i, c := range columns {
		name := `"` + strings.ReplaceAll(c.Column, `"`, `""`) + `"`
		switch {
		case c.Role == "time":
			name = "epoch_us(" + name + ")"
		case c.Role == "body" && bodyType == "VARCHAR":
			name = "encode(" + name + ")"
		}
		if i > 0 {
			query += ", "
		}
		query += name
	}
	rows, err := db.Query(query+" from read_parquet(?)", file)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	values, to := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		to[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			t.Fatal(err)
		}
		r := row{labels: map[string]string{}, resource: map[string]string{}, meta: map[string]string{}}
		members := map[string]string{}
		var at int64
		isJSON := false
		for i, c := range columns {
			switch v := values[i].(type) {
			case nil:
			case int64:
				at = v // the only one, apart from stream_id, which is unsigned
			case uint8:
				r.severity = v
			case bool:
				isJSON = v
			case []byte:
				r.body = string(v)
			case string:
				switch c.Role {
				case "label":
					r.labels[c.Name] = v
				case "field":
					members[c.Name] = v
				case "resource":
					unmarshal(t, v, &r.resource)
				case "attributes":
					unmarshal(t, v, &r.meta)
				default:
					t.Fatalf("%+v is %q", c, v)
				}
			case uint64:
			default:
				t.Fatalf("%+v is %T", c, v)
			}
		}
		if _, double := into[at]; double {
			t.Fatalf("%d stands there twice", at)
		}
		into[at] = r
		checkMembers(t, &r, isJSON, columnsOf(columns), members)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return len(columnsOf(columns))
}

func columnsOf(columns []struct{ Column, Role, Name string }) (fields []string) {
	for _, c := range columns {
		if c.Role == "field" {
			fields = append(fields, c.Name)
		}
	}
	return fields
}

func unmarshal(t *testing.T, text string, into *map[string]string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}

// checkMembers compares promoted members with the body.
func checkMembers(t *testing.T, r *row, isJSON bool, fields []string, members map[string]string) {
	t.Helper()
	body := map[string]any{}
	if isJSON {
		d := json.NewDecoder(strings.NewReader(r.body))
		d.UseNumber()
		if err := d.Decode(&body); err != nil {
			t.Fatalf("body_is_json: %q", r.body)
		}
	}
	for _, f := range fields {
		want, ok := body[f]
		if got := members[f]; ok && fmt.Sprint(want) != got || !ok && got != "" {
			t.Fatalf("column json.%s is %q: %q", f, got, r.body)
		}
	}
}

// together reads all segments as one table, as docs/formats says.
func together(t *testing.T, db *sql.DB, all rowsByTime) {
	t.Helper()
	want := make(map[string]int)
	var from, to int64
	for at, r := range all {
		want[r.labels["app"]]++
		if from == 0 || at < from {
			from = at
		}
		to = max(to, at)
	}
	rows, err := db.Query("select coalesce(app, ''), count(*) from logs group by all")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	got := make(map[string]int)
	for rows.Next() {
		var app string
		var n int
		if err := rows.Scan(&app, &n); err != nil {
			t.Fatal(err)
		}
		got[app] = n
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	var n int
	var a, b int64
	if err := db.QueryRow("select count(distinct stream_id), epoch_us(min(time)), epoch_us(max(time)) from logs").Scan(&n, &a, &b); err != nil {
		t.Fatal(err)
	}
	if a != from || b != to || n < 40 {
		t.Errorf("%d streams from %d to %d, not %d to %d", n, a, b, from, to)
	}
	// One body that is not UTF-8 makes the column a blob. A member may be a column
	// in some segments only; what the columns hold is compared above.
	var byColumn, byBody, expect int
	for _, r := range all {
		if strings.HasPrefix(r.body, "{") && strings.Contains(r.body, `"http_status":503`) {
			expect++
		}
	}
	const query = `select count(*) filter ("json.http_status" = '503'),
		count(*) filter (case when body_is_json then json_extract_string(decode(body), '$.http_status') end = '503') from logs`
	if err := db.QueryRow(query).Scan(&byColumn, &byBody); err != nil {
		t.Fatal(err)
	}
	if byBody != expect || byColumn == 0 || byColumn > byBody {
		t.Errorf("%d by column, %d by body, of %d", byColumn, byBody, expect)
	}
}
