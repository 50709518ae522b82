package config

import (
	"fmt"
	"slices"
	"strings"
)

// ClickHouseOutput inserts into a table of ClickHouse over HTTP.
type ClickHouseOutput struct {
	Remote      `yaml:",inline"`
	Database    string            `yaml:"database" default:"default" doc:"Database."`
	Table       string            `yaml:"table" default:"otel_logs" doc:"Table; it must exist, see docs/delivery.md."`
	Columns     map[string]string `yaml:"columns" doc:"Columns and what goes into them, instead of those of OpenTelemetry's otel_logs: {ts: time, msg: body, ns: '${namespace}'}. Sources: time, observed_time, time_unix, time_unix_milli, time_unix_nano, level, severity_number, body, id, trace_id, span_id, service, resource, attributes, stream, or a template."`
	Deduplicate bool              `yaml:"deduplicate" default:"true" doc:"Sends insert_deduplication_token, made of the records' ids, so that an insert that is repeated stores nothing twice. The table must be Replicated, or have non_replicated_deduplication_window."`
	AsyncInsert bool              `yaml:"async_insert" default:"false" doc:"Lets the server collect inserts; it is waited for (wait_for_async_insert), so that delivered still means stored."`
	Settings    map[string]string `yaml:"settings" doc:"Settings of ClickHouse added to every insert. An empty value takes away one that weir sends (date_time_input_format, input_format_parallel_parsing, wait_end_of_query), for old servers."`
	Compression string            `yaml:"compression" enum:"none,gzip,zstd" default:"gzip" doc:"Compression of requests."`
	Delivery    `yaml:",inline"`
}

// Endpoints returns the connection settings.
func (o *ClickHouseOutput) Endpoints() *Remote { return &o.Remote }

// ClickHouseSources are what a column can be filled with, besides templates.
var ClickHouseSources = []string{
	"time", "observed_time", "time_unix", "time_unix_milli", "time_unix_nano", "level", "severity_number", "body", "id", "trace_id", "span_id", "service", "resource", "attributes", "stream",
}

func (o *ClickHouseOutput) check(k *checker, p string) {
	for name, v := range map[string]string{"database": o.Database, "table": o.Table} {
		if v == "" || strings.ContainsAny(v, "\x00\r\n") || len(v) > 200 {
			k.err(p+"."+name, "bad name %q", shorten(v))
		}
	}
	if k.given(p+".columns") && len(o.Columns) == 0 {
		k.err(p+".columns", "is empty")
	}
	for name, source := range o.Columns {
		if name == "" || len(name) > 200 || strings.ContainsAny(name, "\x00\r\n") {
			k.err(p+".columns", "bad name of a column %q", shorten(name))
		}
		if !slices.Contains(ClickHouseSources, source) && !strings.Contains(source, "${") {
			k.err(p+".columns."+name, "unknown source %q", shorten(source)).Hint = "one of " + strings.Join(ClickHouseSources, ", ") + ", or a template such as '${namespace}'"
		}
	}
	for name := range o.Settings {
		if slices.Contains([]string{"query", "database", "user", "password", "insert_deduplication_token", "wait_for_async_insert", "async_insert"}, name) {
			k.err(p+".settings."+name, "is set by weir")
		} else if !envName(name) {
			k.err(p+".settings", "bad name of a setting %q", shorten(name))
		}
	}
	if o.AsyncInsert && o.Deduplicate && k.given(p+".async_insert") {
		k.warn(p+".async_insert", "the server joins inserts: it removes doubles only with async_insert_deduplicate").Hint = fmt.Sprintf("settings: {async_insert_deduplicate: %q}", "1")
	}
}
