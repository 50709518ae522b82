package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// topSample is what a process counts at one moment.
type topSample struct {
	at      time.Time
	metrics promMetrics
	status  *statusReport // nil of a process that is only asked for its metrics
}

// promMetrics are the metrics of a process by name.
type promMetrics map[string][]promValue

type promValue struct {
	labels map[string]string
	value  float64
}

// parseMetrics reads Prometheus' text format.
// https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
func parseMetrics(r io.Reader) (promMetrics, error) {
	m := make(promMetrics)
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), 1<<20)
	for in.Scan() {
		line := strings.TrimSpace(in.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, labels, rest, ok := parseSeries(line)
		if !ok {
			return nil, fmt.Errorf("not a line of metrics: %.60q", line)
		}
		text, _, _ := strings.Cut(strings.TrimSpace(rest), " ") // a time may follow
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("not a line of metrics: %.60q", line)
		}
		m[name] = append(m[name], promValue{labels, v})
	}
	return m, in.Err()
}

func parseSeries(line string) (name string, labels map[string]string, rest string, ok bool) {
	end := strings.IndexAny(line, "{ \t")
	if end <= 0 {
		return "", nil, "", false
	}
	name, rest = line[:end], line[end:]
	if rest[0] != '{' {
		return name, nil, rest, true
	}
	labels = make(map[string]string)
	for rest = rest[1:]; ; {
		rest = strings.TrimLeft(rest, ", ")
		if strings.HasPrefix(rest, "}") {
			return name, labels, rest[1:], true
		}
		key, more, ok := strings.Cut(rest, `="`)
		if !ok {
			return "", nil, "", false
		}
		var b strings.Builder
		i := 0
		for ; i < len(more) && more[i] != '"'; i++ {
			if more[i] == '\\' && i+1 < len(more) {
				if i++; more[i] == 'n' {
					b.WriteByte('\n')
					continue
				}
			}
			b.WriteByte(more[i])
		}
		if i == len(more) {
			return "", nil, "", false
		}
		labels[key] = b.String()
		rest = more[i+1:]
	}
}

// sum adds the values of a metric whose labels are those given, as name, value.
func (m promMetrics) sum(name string, labels ...string) float64 {
	total := 0.0
	for _, v := range m[name] {
		if v.has(labels) {
			total += v.value
		}
	}
	return total
}

// get is sum, and whether there is any.
func (m promMetrics) get(name string, labels ...string) (float64, bool) {
	for _, v := range m[name] {
		if v.has(labels) {
			return m.sum(name, labels...), true
		}
	}
	return 0, false
}

func (v *promValue) has(labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		if v.labels[labels[i]] != labels[i+1] {
			return false
		}
	}
	return true
}

// values returns the values of a label over some metrics, sorted.
func (m promMetrics) values(label string, names ...string) (list []string) {
	for _, name := range names {
		for _, v := range m[name] {
			if x, ok := v.labels[label]; ok && !slices.Contains(list, x) {
				list = append(list, x)
			}
		}
	}
	slices.Sort(list)
	return list
}

// topSource asks a process for samples.
type topSource func(ctx context.Context) (*topSample, error)

// localTop asks the process of a state directory.
func localTop(state string) topSource {
	client := adminClient(state)
	return func(ctx context.Context) (*topSample, error) {
		s := &topSample{at: time.Now(), status: new(statusReport)}
		if err := ask(ctx, state, "/v1/status", s.status); err != nil {
			return nil, err
		}
		var err error
		s.metrics, err = fetchMetrics(ctx, client, "http://weir/metrics", nil, func(err error) error { return adminError(state, err) })
		return s, err
	}
}

// remoteTop asks a process for its metrics.
func (f *sourceFlags) remoteTop(server string) (topSource, error) {
	c, err := f.remote(server)
	if err != nil {
		return nil, err
	}
	sign := func(r *http.Request) {
		r.Header = c.Header.Clone()
		if c.User != nil {
			p, _ := c.User.Password()
			r.SetBasicAuth(c.User.Username(), p)
		}
	}
	return func(ctx context.Context) (*topSample, error) {
		s := &topSample{at: time.Now()}
		var err error
		s.metrics, err = fetchMetrics(ctx, c.HTTP, c.Base+"/metrics", sign, func(err error) error {
			return &exitError{exitUnreachable, fmt.Errorf("%s cannot be reached: %w", c.What, withoutURL(err))}
		})
		if err == nil && len(s.metrics["weir_build_info"]) == 0 {
			err = &exitError{exitUnreachable, fmt.Errorf("%s has metrics, but it is no weir", c.What)}
		}
		return s, err
	}, nil
}

// mostMetrics bounds an answer.
const mostMetrics = 64 << 20

func fetchMetrics(ctx context.Context, client *http.Client, url string, sign func(*http.Request), explain func(error) error) (promMetrics, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if sign != nil {
		sign(req)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &exitError{exitUnreachable, fmt.Errorf("GET %s: %s", url, resp.Status)}
	}
	return parseMetrics(io.LimitReader(resp.Body, mostMetrics))
}

// topReport is what weir top shows; -o json prints it. Rates are of the time
// between two samples; what is not known is left out.
type topReport struct {
	Time     time.Time `json:"time"`
	Seconds  float64   `json:"seconds"` // between the samples; 0 for the first, which has no rates
	Version  string    `json:"version"`
	Node     string    `json:"node,omitempty"`
	Up       float64   `json:"up_seconds"`
	Healthy  *bool     `json:"healthy,omitempty"`
	Problems []string  `json:"problems,omitempty"`

	BudgetUsed  int64 `json:"budget_used"`
	BudgetLimit int64 `json:"budget_limit"`

	Inputs  []topRow `json:"inputs"`
	Pushed  []topRow `json:"pushed"`
	Outputs []topRow `json:"outputs"`
	Tenants []topRow `json:"tenants,omitempty"`
	Store   *topRow  `json:"store,omitempty"`
}

// topRow is a line of a table. Numbers by the names of topColumns.
type topRow struct {
	Name      string             `json:"name"`
	Values    map[string]float64 `json:"values"`
	Endpoints []endpointStatus   `json:"endpoints,omitempty"`
	Notes     []string           `json:"notes,omitempty"`
}

func (r *topRow) set(name string, v float64, ok bool) {
	if ok {
		r.Values[name] = v
	}
}

// topOf makes a report of two samples; before is nil for the first.
func topOf(before, now *topSample) *topReport {
	m := now.metrics
	r := &topReport{Time: now.at, Inputs: []topRow{}, Pushed: []topRow{}, Outputs: []topRow{}}
	for _, v := range m["weir_build_info"] {
		r.Version = v.labels["version"]
	}
	if start := m.sum("weir_start_time_seconds"); start > 0 {
		r.Up = float64(now.at.UnixNano())/1e9 - start
	}
	r.BudgetUsed, r.BudgetLimit = int64(m.sum("weir_budget_used_bytes")), int64(m.sum("weir_budget_limit_bytes"))
	if s := now.status; s != nil {
		r.Node, r.Healthy = s.Node, &s.Healthy
		r.Problems = append(append(r.Problems, s.Problems...), s.Degraded...)
	}
	if before != nil {
		r.Seconds = now.at.Sub(before.at).Seconds()
	}
	// rate is what a counter gained in a second, not known if it was not there or
	// began anew.
	rate := func(name string, labels ...string) (float64, bool) {
		if before == nil || r.Seconds <= 0 {
			return 0, false
		}
		b, had := now.metrics.get(name, labels...)
		a, _ := before.metrics.get(name, labels...)
		return (b - a) / r.Seconds, had && b >= a
	}
	gauge := func(row *topRow, column, name string, labels ...string) {
		v, ok := m.get(name, labels...)
		row.set(column, v, ok)
	}
	counted := func(row *topRow, column, name string, labels ...string) {
		v, ok := rate(name, labels...)
		row.set(column, v, ok)
	}
	// meantime is the seconds that each of some took.
	meantime := func(row *topRow, column, seconds, number string, labels ...string) {
		s, ok1 := rate(seconds, labels...)
		n, ok2 := rate(number, labels...)
		row.set(column, s/n, ok1 && ok2 && n > 0)
	}

	for _, id := range m.values("input", "weir_input_read_bytes_total", "weir_input_last_pass_seconds") {
		row := topRow{Name: id, Values: map[string]float64{}}
		counted(&row, "bytes/s", "weir_input_read_bytes_total", "input", id)
		gauge(&row, "unread", "weir_input_unread_bytes_total", "input", id)
		gauge(&row, "lost", "weir_input_lost_bytes_total", "input", id)
		gauge(&row, "lag", "weir_input_lag_seconds", "input", id)
		gauge(&row, "unacked", "weir_input_oldest_unacked_seconds", "input", id)
		gauge(&row, "errors", "weir_input_errors_total", "input", id)
		if now.status != nil {
			for _, in := range now.status.Inputs {
				if in.ID == id && in.WaitsForRoom {
					row.Notes = append(row.Notes, "waits: an output is full or the memory is spent")
				}
			}
		}
		r.Inputs = append(r.Inputs, row)
	}
	for _, p := range m.values("protocol", "weir_push_requests_total", "weir_push_records_total") {
		if m.sum("weir_push_requests_total", "protocol", p)+m.sum("weir_push_records_total", "protocol", p) == 0 {
			continue // nobody has
		}
		row := topRow{Name: p, Values: map[string]float64{}}
		counted(&row, "records/s", "weir_push_records_total", "protocol", p)
		counted(&row, "bytes/s", "weir_push_decoded_bytes_total", "protocol", p)
		counted(&row, "requests/s", "weir_push_requests_total", "protocol", p)
		busy, _ := rate("weir_push_requests_total", "protocol", p, "result", "busy")
		down, ok := rate("weir_push_requests_total", "protocol", p, "result", "unavailable")
		row.set("busy/s", busy+down, ok || before != nil)
		gauge(&row, "refused", "weir_push_refused_records_total", "protocol", p)
		meantime(&row, "latency", "weir_push_seconds_total", "weir_push_requests_total", "protocol", p)
		bad := 0.0
		for _, v := range m["weir_push_requests_total"] {
			if v.labels["protocol"] == p && slices.Contains([]string{"malformed", "too_large", "denied", "other"}, v.labels["result"]) {
				bad += v.value
			}
		}
		row.set("errors", bad, true)
		r.Pushed = append(r.Pushed, row)
	}
	for _, o := range m.values("output", "weir_buffer_capacity_bytes", "weir_output_concurrency_limit") {
		row := topRow{Name: o, Values: map[string]float64{}}
		counted(&row, "records/s", "weir_delivered_records_total", "output", o)
		counted(&row, "bytes/s", "weir_output_bytes_total", "output", o)
		counted(&row, "requests/s", "weir_output_requests_total", "output", o)
		gauge(&row, "waiting", "weir_waiting_records", "output", o)
		gauge(&row, "buffered", "weir_buffer_bytes", "output", o)
		gauge(&row, "capacity", "weir_buffer_capacity_bytes", "output", o)
		gauge(&row, "oldest", "weir_buffer_oldest_seconds", "output", o)
		gauge(&row, "inflight", "weir_output_inflight", "output", o)
		gauge(&row, "limit", "weir_output_concurrency_limit", "output", o)
		gauge(&row, "endpoints", "weir_output_endpoints", "output", o)
		gauge(&row, "healthy", "weir_output_healthy_endpoints", "output", o)
		gauge(&row, "dead", "weir_dead_records_total", "output", o)
		counted(&row, "retried/s", "weir_output_retried_records_total", "output", o)
		meantime(&row, "latency", "weir_output_request_seconds_total", "weir_output_requests_total", "output", o)
		failed := 0.0
		for _, v := range m["weir_output_requests_total"] {
			if v.labels["output"] == o && v.labels["code"] != "ok" {
				failed += v.value
			}
		}
		row.set("failed", failed, true)
		if c := row.Values["capacity"]; c > 0 {
			row.set("full", row.Values["buffered"]/c, true)
		}
		if now.status != nil {
			for _, s := range now.status.Outputs {
				if s.ID != o {
					continue
				}
				row.Endpoints = s.Endpoints
				// An error that deliveries have come after is over.
				if s.LastError != "" && s.LastErrorAt.After(s.LastSuccess) {
					row.Notes = append(row.Notes, s.LastError)
				}
			}
		}
		r.Outputs = append(r.Outputs, row)
	}
	for _, t := range m.values("tenant", "weir_tenant_records_total", "weir_tenant_bytes_total") {
		row := topRow{Name: t, Values: map[string]float64{}}
		counted(&row, "records/s", "weir_tenant_records_total", "tenant", t)
		counted(&row, "bytes/s", "weir_tenant_bytes_total", "tenant", t)
		counted(&row, "limited/s", "weir_tenant_limited_requests_total", "tenant", t)
		r.Tenants = append(r.Tenants, row)
	}
	if disk, ok := m.get("weir_store_disk_bytes"); ok {
		row := &topRow{Name: "store", Values: map[string]float64{"disk": disk}}
		counted(row, "records/s", "weir_store_rows_total")
		gauge(row, "max_disk", "weir_store_max_disk_bytes")
		row.Values["rows"] = m.sum("weir_store_segment_rows") + m.sum("weir_store_memtable_rows")
		r.Store = row
	}
	return r
}

// sortRows puts the rows with the most of a column first; by name if nothing has
// the column.
func sortRows(rows []topRow, column string) {
	slices.SortStableFunc(rows, func(a, b topRow) int {
		x, okX := a.Values[column]
		y, okY := b.Values[column]
		if okX != okY {
			if okX {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(y, x), cmp.Compare(a.Name, b.Name))
	})
}
