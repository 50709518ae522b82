// Package metrics names every metric of weir in one place and turns snapshots
// of the running process into Prometheus metrics. Nothing else imports the
// Prometheus library.
//
// Hot paths do not know this package: they count per batch in their own
// fields, and a snapshot is taken when somebody scrapes.
package metrics

import (
	"fmt"
	"sort"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

type def struct {
	name   string
	help   string
	labels []string
	kind   prometheus.ValueType
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// The list is stable: a rename is a breaking change and has a line in the
// changelog.
var defs = []def{
	{"weir_build_info", "Version of the running binary; always 1.", []string{"version", "go_version"}, gauge},
	{"weir_start_time_seconds", "When the process started, in Unix seconds.", nil, gauge},

	{"weir_input_written_bytes_total", "Bytes that containers have written into their files: read + unread + lost.", []string{"input", "namespace"}, counter},
	{"weir_input_read_bytes_total", "Bytes taken from files.", []string{"input", "namespace"}, counter},
	{"weir_input_unread_bytes_total", "Bytes written and not read yet. It falls as they are read.", []string{"input", "namespace"}, gauge},
	{"weir_input_lost_bytes_total", "Bytes known to have existed that nobody can read any more.", []string{"input", "namespace"}, counter},
	{"weir_input_lag_seconds", "Age of the oldest byte written and not read yet, as far as file times tell.", []string{"input"}, gauge},
	{"weir_input_oldest_unacked_seconds", "For how long the oldest piece that was read has not been finished at every output.", []string{"input"}, gauge},
	{"weir_input_files", "Files known, by state.", []string{"input", "state"}, gauge},
	{"weir_input_open_handles", "File handles held open.", []string{"input"}, gauge},
	{"weir_input_held_bytes", "Unread bytes of deleted files that are held for reading.", []string{"input"}, gauge},
	{"weir_input_reclaimed_bytes_total", "Bytes of disk space of delivered lines that were given back (reclaim).", []string{"input"}, counter},
	{"weir_rotate_truncations_total", "Files truncated because the application does not rotate them (rotate).", []string{"input"}, counter},
	{"weir_rotate_maybe_lost_bytes_total", "Bytes that may at most have been lost by that: what can be written between the last look at a file and its truncation.", []string{"input"}, counter},
	{"weir_input_gaps_total", "Gap records written because bytes are missing, by reason.", []string{"input", "reason"}, counter},
	{"weir_input_errors_total", "Things that went wrong while reading, by kind.", []string{"input", "kind"}, counter},
	{"weir_input_last_pass_seconds", "Time since the input last looked at its files.", []string{"input"}, gauge},

	{"weir_read_records_total", "Records made from what was read, as each output is to account for them.", []string{"output"}, counter},
	{"weir_delivered_records_total", "Records the destination has taken.", []string{"output", "reason"}, counter},
	{"weir_dropped_records_total", "Records that ended without reaching this output, by reason: step, rate_limited and route on purpose, queue_full and rejected by policy.", []string{"output", "reason"}, counter},
	{"weir_dead_records_total", "Records in the dead-letter queue, by reason.", []string{"output", "reason"}, counter},
	{"weir_waiting_records", "Records read and not finished: read - delivered - dropped - dead.", []string{"output"}, gauge},

	{"weir_buffer_bytes", "Bytes that wait at the output.", []string{"output"}, gauge},
	{"weir_buffer_capacity_bytes", "Bytes that may wait in the output's queue before it is full.", []string{"output"}, gauge},
	{"weir_buffer_oldest_seconds", "Age of the oldest record that waits at the output.", []string{"output"}, gauge},
	{"weir_budget_used_bytes", "Memory of all batches alive.", nil, gauge},
	{"weir_budget_limit_bytes", "Memory that batches may use before inputs stop reading.", nil, gauge},

	{"weir_buffer_records", "Records that wait in the buffer on disk.", []string{"output"}, gauge},
	{"weir_buffer_segments", "Files of the buffer on disk.", []string{"output"}, gauge},
	{"weir_buffer_full", "1 while the buffer on disk takes nothing.", []string{"output"}, gauge},
	{"weir_buffer_failing", "1 while the buffer cannot be written: disk full, read-only or broken.", []string{"output"}, gauge},
	{"weir_buffer_fsyncs_total", "Times the buffer waited for the disk.", []string{"output"}, counter},
	{"weir_buffer_fsync_seconds_total", "How long it waited for the disk.", []string{"output"}, counter},
	{"weir_buffer_groups_total", "Groups of batches that were made durable with one write.", []string{"output"}, counter},
	{"weir_buffer_errors_total", "Failed reads and writes of the buffer; what was written is written again.", []string{"output"}, counter},
	{"weir_buffer_poisoned_segments_total", "Files given up after a failed write or sync.", []string{"output"}, counter},
	{"weir_buffer_quarantined_segments_total", "Damaged files put aside.", []string{"output"}, counter},
	{"weir_buffer_damaged_records_total", "Records the disk did not give back as they were: lost.", []string{"output"}, counter},
	{"weir_buffer_damaged_bytes_total", "Bytes of the buffer that make no sense.", []string{"output"}, counter},
	{"weir_buffer_dropped_records_total", "Records dropped because they were older than buffer.max_age.", []string{"output"}, counter},
	{"weir_buffer_known_records_total", "Records read a second time after a crash that the buffer had already.", []string{"output"}, counter},
	{"weir_output_requests_total", "Attempts by result code (ok or an error kind).", []string{"output", "code"}, counter},
	{"weir_output_bytes_total", "Bytes of request bodies as sent.", []string{"output"}, counter},
	{"weir_output_retried_records_total", "Records that were sent again.", []string{"output"}, counter},
	{"weir_output_inflight", "Attempts under way.", []string{"output"}, gauge},
	{"weir_output_concurrency_limit", "Attempts that may be under way at once.", []string{"output"}, gauge},
	{"weir_output_healthy_endpoints", "Endpoints that are not ejected.", []string{"output"}, gauge},
	{"weir_output_endpoints", "Endpoints there are: configured ones, and those that were looked up.", []string{"output"}, gauge},
	{"weir_output_endpoint_healthy", "1 if the endpoint is not ejected. Series of endpoints that are gone end; an output has those of 100.", []string{"output", "endpoint"}, gauge},
	{"weir_output_endpoint_used", "1 if the endpoint is of the group in use.", []string{"output", "endpoint"}, gauge},
	{"weir_output_endpoint_inflight", "Attempts under way at the endpoint.", []string{"output", "endpoint"}, gauge},
	{"weir_output_endpoint_concurrency_limit", "Attempts that may be under way at the endpoint at once.", []string{"output", "endpoint"}, gauge},
	{"weir_output_endpoint_requests_total", "Attempts at the endpoint.", []string{"output", "endpoint"}, counter},
	{"weir_output_endpoint_failures_total", "Attempts that failed for the endpoint's sake.", []string{"output", "endpoint"}, counter},
	{"weir_output_lookups_total", "Times the output's addresses were looked up (dns+, srv+).", []string{"output"}, counter},
	{"weir_output_failed_lookups_total", "Times not all of them were found; what was known stays in use.", []string{"output"}, counter},
	{"weir_output_last_success_seconds", "Time since an attempt last succeeded; absent before the first.", []string{"output"}, gauge},

	{"weir_dlq_bytes", "Size of the dead-letter queue on disk.", []string{"output"}, gauge},
	{"weir_parse_errors_total", "Records that are not what their parser was told, by parser and where it is given (pipeline[0].parse, inputs.file/app, annotation); they pass on unchanged.", []string{"parser", "at"}, counter},
	{"weir_step_errors_total", "Times a pipeline step reported that it is broken.", nil, counter},
	{"weir_checkpoint_errors_total", "Saves of the positions that failed; the old ones are intact.", nil, counter},

	{"weir_store_rows_total", "Rows taken by the store since the start.", nil, counter},
	{"weir_store_doubled_rows_total", "Rows not taken because they were there.", nil, counter},
	{"weir_store_too_old_rows_total", "Rows refused because retention had passed them.", nil, counter},
	{"weir_store_segments", "Segments on disk.", nil, gauge},
	{"weir_store_segment_rows", "Rows in segments.", nil, gauge},
	{"weir_store_segment_bytes", "Bytes of lines in segments.", nil, gauge},
	{"weir_store_disk_bytes", "Bytes of segments on disk, indexes included, the log before them not.", nil, gauge},
	{"weir_store_max_disk_bytes", "Bytes the store may take; absent without a limit.", nil, gauge},
	{"weir_store_memtable_rows", "Rows in memory; they are durable in the log.", nil, gauge},
	{"weir_store_memtable_bytes", "Bytes of rows in memory.", nil, gauge},
	{"weir_store_sources", "Files and senders whose finished places are remembered.", nil, gauge},
	{"weir_store_flushes_total", "Times rows in memory became segments.", nil, counter},
	{"weir_store_compactions_total", "Merges of segments.", nil, counter},
	{"weir_store_errors_total", "Failed writes by place: wal (the rows were written again), flush (is tried again).", []string{"place"}, counter},
	{"weir_store_damaged_pages_total", "Damaged places that queries met and passed over; see 'weir store check'.", nil, counter},
	{"weir_store_expired_segments_total", "Segments removed by retention.", nil, counter},
	{"weir_store_expired_rows_total", "Rows removed by retention.", nil, counter},
	{"weir_store_low_disk", "1 while nothing is taken for want of room on the disk.", nil, gauge},
	{"weir_store_recovered_rows", "Rows found again in the log at the start.", nil, gauge},
	{"weir_store_recovery_lost_rows", "Rows that were damaged beyond reading at the start.", nil, gauge},
	{"weir_store_recovery_damaged_places", "Damaged places in logs and manifest at the start.", nil, gauge},
	{"weir_store_recovery_missing_segments", "Segments that were not there at the start.", nil, gauge},

	{"weir_api_requests_total", "Requests by endpoint and class of status; 499: the client went away.", []string{"endpoint", "code"}, counter},
	{"weir_api_request_seconds_total", "Time that requests took, by endpoint; tails not.", []string{"endpoint"}, counter},
	{"weir_api_queries_running", "Queries under way.", nil, gauge},
	{"weir_api_queries_waiting", "Queries that wait for their turn.", nil, gauge},
	{"weir_api_tails", "Tails open.", nil, gauge},
	{"weir_api_scanned_rows_total", "Rows that queries looked at.", nil, counter},
	{"weir_api_scanned_bytes_total", "Bytes of lines that queries looked at.", nil, counter},
	{"weir_api_tail_rows_total", "Rows sent to tails.", nil, counter},
	{"weir_api_tail_dropped_rows_total", "Rows not sent to tails that were too slow.", nil, counter},
	{"weir_api_response_bytes_total", "Bytes of answers, before compression.", nil, counter},
	{"weir_listen_connections", "Connections of HTTP that are open.", nil, gauge},
	{"weir_listen_refused_connections_total", "Connections of HTTP that were refused, or cut for others, as there were too many.", []string{"how"}, counter},
	{"weir_push_memory_bytes", "Bytes that pushes under way hold.", nil, gauge},
	{"weir_push_memory_limit_bytes", "Bytes that pushes may hold (listen.limits.push_memory).", nil, gauge},
	{"weir_auth_requests_total", "Requests whose credentials were looked at, by scope (ingest, query, admin) and result.", []string{"scope", "result"}, counter},
	{"weir_tenant_bytes_total", "Bytes that tenants pushed, uncompressed. At most 1 000 tenants that no configuration names are told apart.", []string{"tenant"}, counter},
	{"weir_tenant_records_total", "Records that tenants pushed.", []string{"tenant"}, counter},
	{"weir_tenant_day_bytes", "Bytes of this day of UTC.", []string{"tenant"}, gauge},
	{"weir_tenant_refused_pushes_total", "Pushes refused (429) by the limit that was reached: bytes, records, day, streams.", []string{"tenant", "limit"}, counter},
	{"weir_token_reviews_total", "ServiceAccount tokens that Kubernetes was asked about: good, bad, failed (no answer).", []string{"answer"}, counter},
	{"weir_push_requests_total", "Pushes by protocol and result: taken, partial (some records were refused for good), malformed, too_large, busy (429), unavailable (503), gone (the client went away), other.", []string{"protocol", "result"}, counter},
	{"weir_push_records_total", "Records that were pushed and are durable.", []string{"protocol"}, counter},
	{"weir_push_refused_records_total", "Records refused for good of pushes of which the rest was taken.", []string{"protocol"}, counter},
	{"weir_push_bytes_total", "Bytes of pushes as sent.", []string{"protocol"}, counter},
	{"weir_push_decoded_bytes_total", "Bytes of pushes, uncompressed.", []string{"protocol"}, counter},
	{"weir_api_panics_total", "Requests that failed because of a defect of the program.", nil, counter},

	{"weir_kube_synced", "1 when the pods of this node are known from the API server.", nil, gauge},
	{"weir_kube_pods", "Pods known on this node.", nil, gauge},
	{"weir_kube_watch_restarts_total", "Times the watch had to start anew.", nil, counter},
	{"weir_webhook_requests_total", "Admission requests, by result: injected, none (nothing asked for), warned (bad annotations), failed (could not be read).", []string{"result"}, counter},
	{"weir_webhook_certificate_expires_seconds", "When the webhook's certificate ends, in Unix seconds.", nil, gauge},
	{"weir_webhook_certificate_errors_total", "Times the certificate could not be renewed, or the API server not be told.", nil, counter},
	{"weir_kube_last_event_seconds", "Time since the last event of the watch.", nil, gauge},
	{"weir_annotation_errors_total", "Pod annotations with a value that means nothing.", nil, counter},

	{"weir_config_reload_success", "1 if the last reload was taken, 0 if it was refused.", nil, gauge},
	{"weir_config_reloads_total", "Reloads by result.", []string{"result"}, counter},
	{"weir_config_reload_seconds", "When the running configuration was loaded, in Unix seconds.", nil, gauge},
}

// Reference returns the list of metrics as Markdown, for the documentation.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Metrics\n\nServed on `listen.probe` and `listen.http` at `/metrics`. Generated from the code; do not edit.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n")
	sorted := append([]def(nil), defs...)
	sort.SliceStable(sorted, func(i, j int) bool { return sorted[i].name < sorted[j].name })
	for _, d := range sorted {
		kind := "gauge"
		if d.kind == counter {
			kind = "counter"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.name, kind, strings.Join(d.labels, ", "), d.help)
	}
	b.WriteString("\nGo runtime and process metrics (`go_*`, `process_*`) are exported as well.\n")
	return b.String()
}
