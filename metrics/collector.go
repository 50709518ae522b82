package metrics

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Snapshot is the state of the process at one moment. Durations are in
// seconds, sizes in bytes. Maps are keyed by the value of the label.
type Snapshot struct {
	Inputs  []Input
	Outputs []Output
	Kube    *Kube  // nil without a watch
	Store   *Store // nil without one
	API     *API   // nil without a store
	Pushes  []Push
	Senders *Senders // nil if nobody can push or ask
	Config  Config
	Webhook *Webhook // nil but in the role webhook

	BudgetUsed, BudgetLimit int64
	StepErrors              uint64
	Parsers                 []Parser
	CheckpointErrors        uint64
}

// Input is one input.
type Input struct {
	ID             string
	Bytes          map[string]Bytes // by namespace
	LagSeconds     float64
	OldestUnacked  float64
	Files          map[string]int
	OpenHandles    int
	HeldBytes      int64
	Reclaimed      int64
	Rotations      uint64
	MaybeLost      int64
	Gaps           map[string]uint64
	Errors         map[string]uint64
	SinceLastPass  float64
	LastPassIsSane bool
}

// Parser is a parser and how many records were not what it was told.
type Parser struct {
	Name, At string
	Errors   uint64
}

// Bytes are the byte counters of the ledger: Written = Read + Unread + Lost.
type Bytes struct{ Written, Read, Unread, Lost int64 }

// Output is one output.
type Output struct {
	Name                string
	Read                uint64
	Records             map[[2]string]uint64 // by class and reason
	Waiting             int64
	BufferBytes         int64
	BufferCapacity      int64
	OldestSeconds       float64
	Requests            map[string]uint64
	BytesSent           uint64
	Retried             uint64
	Inflight            int
	ConcurrencyLimit    int
	Healthy, Endpoints  int
	Each                []Endpoint // at most maxEndpoints have series of their own
	Lookups             *Lookups   // nil if no addresses are looked up
	LastSuccess         time.Time
	DeadLetterBytes     int64
	HasDeadLetterOnDisk bool
	Disk                *DiskBuffer // nil with a buffer in memory
}

// Endpoint is one endpoint of an output.
type Endpoint struct {
	Name               string
	Healthy            bool // not ejected
	Used               bool // of the group in use
	Inflight, Limit    int
	Requests, Failures uint64
}

// maxEndpoints is how many endpoints of an output have series of their own.
const maxEndpoints = 100

// Lookups is how often an output's addresses were looked up.
type Lookups struct{ Done, Failed uint64 }

// DiskBuffer is an output's buffer on disk.
type DiskBuffer struct {
	Records        int64
	Segments       int
	Full, Failing  bool
	Syncs, Groups  uint64
	SyncSeconds    float64
	Errors         uint64
	Poisoned       uint64
	DamagedRecords uint64
	DamagedBytes   uint64
	Quarantined    uint64
	Dropped        uint64
	Known          uint64
}

// Webhook is the admission webhook.
type Webhook struct {
	Requests       map[string]uint64 // by result
	Expires        time.Time         // of the certificate; zero before there is one
	CertificateBad uint64            // times it could not be renewed, or told to the API server
}

// Kube is the watch of this node's pods.
type Kube struct {
	Synced           bool
	Pods             int
	WatchRestarts    uint64
	LastEvent        time.Time
	AnnotationErrors uint64
}

// Store is the embedded store.
type Store struct {
	Rows, Doubles, TooOld                int64
	Segments                             int
	SegmentRows, SegmentBytes, DiskBytes int64
	MaxDisk                              int64 // 0: no limit
	MemtableRows, MemtableBytes          int64
	Sources                              int
	WALErrors, FlushErrors, DamagedPages int64
	Flushes, Compactions                 int64
	Expired, ExpiredRows                 int64
	LowDisk                              bool

	RecoveredRows, RecoveryLostRows            int64
	RecoveryDamagedPlaces, RecoveryMissingSegs int
}

// API is the HTTP API.
type API struct {
	Requests                map[[2]string]int64 // by endpoint and class of status
	Seconds                 map[string]float64  // by endpoint
	Running, Waiting, Tails int64
	Rows, Bytes             int64
	TailRows, TailDropped   int64
	ResponseBytes, Panics   int64
}

// Senders is what is known of all who push or ask over the network.
type Senders struct {
	Connections         int // of HTTP
	Refused, Cut        int64
	Memory, MemoryLimit int64
	Allowed, Denied     map[string]int64 // by scope
	Tenants             []Tenant
	Reviews             map[string]uint64 // of ServiceAccount tokens by answer; nil if nobody asks
}

// Tenant is what a tenant pushed.
type Tenant struct {
	Name                  string
	Bytes, Records, Today int64
	Refused               map[string]int64 // by limit
}

// Push is what came in by one protocol.
type Push struct {
	Protocol                         string
	Requests                         map[string]int64 // by result
	Records, Refused, Bytes, Decoded int64
}

// Config is the state of the configuration.
type Config struct {
	LastReloadOK bool
	Accepted     uint64
	Refused      uint64
	LoadedAt     time.Time
}

// Collector turns snapshots into metrics.
type Collector struct {
	version  string
	start    time.Time
	snapshot func() Snapshot
	now      func() time.Time
	descs    map[string]*prometheus.Desc
	kinds    map[string]prometheus.ValueType
}

// NewCollector returns a collector that calls snapshot at each scrape, which
// must be safe for concurrent use.
func NewCollector(version string, snapshot func() Snapshot) *Collector {
	c := &Collector{
		version: version, start: time.Now(), snapshot: snapshot, now: time.Now,
		descs: make(map[string]*prometheus.Desc, len(defs)),
		kinds: make(map[string]prometheus.ValueType, len(defs)),
	}
	for _, d := range defs {
		c.descs[d.name] = prometheus.NewDesc(d.name, d.help, d.labels, nil)
		c.kinds[d.name] = d.kind
	}
	return c
}

// Handler serves /metrics.
func (c *Collector) Handler() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	emit := func(name string, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.descs[name], c.kinds[name], v, labels...)
	}
	s := c.snapshot()
	now := c.now()
	emit("weir_build_info", 1, c.version, runtime.Version())
	emit("weir_start_time_seconds", seconds(c.start))
	for i := range s.Inputs {
		collectInput(emit, &s.Inputs[i])
	}
	for i := range s.Outputs {
		collectOutput(emit, &s.Outputs[i], now)
	}
	emit("weir_budget_used_bytes", float64(s.BudgetUsed))
	emit("weir_budget_limit_bytes", float64(s.BudgetLimit))
	emit("weir_step_errors_total", float64(s.StepErrors))
	for _, p := range s.Parsers {
		emit("weir_parse_errors_total", float64(p.Errors), p.Name, p.At)
	}
	emit("weir_checkpoint_errors_total", float64(s.CheckpointErrors))
	if k := s.Kube; k != nil {
		emit("weir_kube_synced", bit(k.Synced))
		emit("weir_kube_pods", float64(k.Pods))
		emit("weir_kube_watch_restarts_total", float64(k.WatchRestarts))
		if !k.LastEvent.IsZero() {
			emit("weir_kube_last_event_seconds", now.Sub(k.LastEvent).Seconds())
		}
		emit("weir_annotation_errors_total", float64(k.AnnotationErrors))
	}
	if h := s.Webhook; h != nil {
		for result, n := range h.Requests {
			emit("weir_webhook_requests_total", float64(n), result)
		}
		if !h.Expires.IsZero() {
			emit("weir_webhook_certificate_expires_seconds", float64(h.Expires.Unix()))
		}
		emit("weir_webhook_certificate_errors_total", float64(h.CertificateBad))
	}
	if s.Store != nil {
		collectStore(emit, s.Store)
	}
	if s.API != nil {
		collectAPI(emit, s.API)
	}
	if s.Senders != nil {
		collectSenders(emit, s.Senders)
	}
	for i := range s.Pushes {
		collectPush(emit, &s.Pushes[i])
	}
	emit("weir_config_reload_success", bit(s.Config.LastReloadOK))
	emit("weir_config_reloads_total", float64(s.Config.Accepted), "accepted")
	emit("weir_config_reloads_total", float64(s.Config.Refused), "refused")
	emit("weir_config_reload_seconds", seconds(s.Config.LoadedAt))
}

type emitFunc func(name string, v float64, labels ...string)

func collectInput(emit emitFunc, in *Input) {
	for ns, b := range in.Bytes {
		emit("weir_input_written_bytes_total", float64(b.Written), in.ID, ns)
		emit("weir_input_read_bytes_total", float64(b.Read), in.ID, ns)
		emit("weir_input_unread_bytes_total", float64(b.Unread), in.ID, ns)
		emit("weir_input_lost_bytes_total", float64(b.Lost), in.ID, ns)
	}
	emit("weir_input_lag_seconds", in.LagSeconds, in.ID)
	emit("weir_input_oldest_unacked_seconds", in.OldestUnacked, in.ID)
	for state, n := range in.Files {
		emit("weir_input_files", float64(n), in.ID, state)
	}
	emit("weir_input_open_handles", float64(in.OpenHandles), in.ID)
	emit("weir_input_held_bytes", float64(in.HeldBytes), in.ID)
	emit("weir_input_reclaimed_bytes_total", float64(in.Reclaimed), in.ID)
	emit("weir_rotate_truncations_total", float64(in.Rotations), in.ID)
	emit("weir_rotate_maybe_lost_bytes_total", float64(in.MaybeLost), in.ID)
	for reason, n := range in.Gaps {
		emit("weir_input_gaps_total", float64(n), in.ID, reason)
	}
	for kind, n := range in.Errors {
		emit("weir_input_errors_total", float64(n), in.ID, kind)
	}
	if in.LastPassIsSane {
		emit("weir_input_last_pass_seconds", in.SinceLastPass, in.ID)
	}
}

func collectOutput(emit emitFunc, o *Output, now time.Time) {
	emit("weir_read_records_total", float64(o.Read), o.Name)
	for k, n := range o.Records {
		switch k[0] {
		case "delivered":
			emit("weir_delivered_records_total", float64(n), o.Name, k[1])
		case "dropped":
			emit("weir_dropped_records_total", float64(n), o.Name, k[1])
		case "dead":
			emit("weir_dead_records_total", float64(n), o.Name, k[1])
		}
	}
	emit("weir_waiting_records", float64(o.Waiting), o.Name)
	emit("weir_buffer_bytes", float64(o.BufferBytes), o.Name)
	emit("weir_buffer_capacity_bytes", float64(o.BufferCapacity), o.Name)
	emit("weir_buffer_oldest_seconds", o.OldestSeconds, o.Name)
	for code, n := range o.Requests {
		emit("weir_output_requests_total", float64(n), o.Name, code)
	}
	emit("weir_output_bytes_total", float64(o.BytesSent), o.Name)
	emit("weir_output_retried_records_total", float64(o.Retried), o.Name)
	emit("weir_output_inflight", float64(o.Inflight), o.Name)
	emit("weir_output_concurrency_limit", float64(o.ConcurrencyLimit), o.Name)
	emit("weir_output_healthy_endpoints", float64(o.Healthy), o.Name)
	emit("weir_output_endpoints", float64(o.Endpoints), o.Name)
	for _, e := range o.Each[:min(len(o.Each), maxEndpoints)] {
		emit("weir_output_endpoint_healthy", bit(e.Healthy), o.Name, e.Name)
		emit("weir_output_endpoint_used", bit(e.Used), o.Name, e.Name)
		emit("weir_output_endpoint_inflight", float64(e.Inflight), o.Name, e.Name)
		emit("weir_output_endpoint_concurrency_limit", float64(e.Limit), o.Name, e.Name)
		emit("weir_output_endpoint_requests_total", float64(e.Requests), o.Name, e.Name)
		emit("weir_output_endpoint_failures_total", float64(e.Failures), o.Name, e.Name)
	}
	if l := o.Lookups; l != nil {
		emit("weir_output_lookups_total", float64(l.Done), o.Name)
		emit("weir_output_failed_lookups_total", float64(l.Failed), o.Name)
	}
	if !o.LastSuccess.IsZero() {
		emit("weir_output_last_success_seconds", now.Sub(o.LastSuccess).Seconds(), o.Name)
	}
	if o.HasDeadLetterOnDisk {
		emit("weir_dlq_bytes", float64(o.DeadLetterBytes), o.Name)
	}
	if b := o.Disk; b != nil {
		for name, v := range map[string]float64{
			"records": float64(b.Records), "segments": float64(b.Segments), "full": bit(b.Full), "failing": bit(b.Failing),
			"fsyncs_total": float64(b.Syncs), "fsync_seconds_total": b.SyncSeconds, "groups_total": float64(b.Groups), "errors_total": float64(b.Errors),
			"poisoned_segments_total": float64(b.Poisoned), "quarantined_segments_total": float64(b.Quarantined),
			"damaged_records_total": float64(b.DamagedRecords), "damaged_bytes_total": float64(b.DamagedBytes),
			"dropped_records_total": float64(b.Dropped), "known_records_total": float64(b.Known),
		} {
			emit("weir_buffer_"+name, v, o.Name)
		}
	}
}

func collectStore(emit emitFunc, s *Store) {
	for name, n := range map[string]int64{
		"rows_total": s.Rows, "doubled_rows_total": s.Doubles, "too_old_rows_total": s.TooOld, "segments": int64(s.Segments),
		"segment_rows": s.SegmentRows, "segment_bytes": s.SegmentBytes, "disk_bytes": s.DiskBytes,
		"memtable_rows": s.MemtableRows, "memtable_bytes": s.MemtableBytes, "sources": int64(s.Sources),
		"flushes_total": s.Flushes, "compactions_total": s.Compactions, "damaged_pages_total": s.DamagedPages,
		"expired_segments_total": s.Expired, "expired_rows_total": s.ExpiredRows,
		"recovered_rows": s.RecoveredRows, "recovery_lost_rows": s.RecoveryLostRows,
		"recovery_damaged_places": int64(s.RecoveryDamagedPlaces), "recovery_missing_segments": int64(s.RecoveryMissingSegs),
	} {
		emit("weir_store_"+name, float64(n))
	}
	emit("weir_store_errors_total", float64(s.WALErrors), "wal")
	emit("weir_store_errors_total", float64(s.FlushErrors), "flush")
	emit("weir_store_low_disk", bit(s.LowDisk))
	if s.MaxDisk > 0 {
		emit("weir_store_max_disk_bytes", float64(s.MaxDisk))
	}
}

func collectAPI(emit emitFunc, a *API) {
	for k, n := range a.Requests {
		emit("weir_api_requests_total", float64(n), k[0], k[1])
	}
	for k, n := range a.Seconds {
		emit("weir_api_request_seconds_total", n, k)
	}
	for name, n := range map[string]int64{
		"queries_running": a.Running, "queries_waiting": a.Waiting, "tails": a.Tails,
		"scanned_rows_total": a.Rows, "scanned_bytes_total": a.Bytes,
		"tail_rows_total": a.TailRows, "tail_dropped_rows_total": a.TailDropped,
		"response_bytes_total": a.ResponseBytes, "panics_total": a.Panics,
	} {
		emit("weir_api_"+name, float64(n))
	}
}

func collectPush(emit emitFunc, p *Push) {
	for result, n := range p.Requests {
		emit("weir_push_requests_total", float64(n), p.Protocol, result)
	}
	emit("weir_push_records_total", float64(p.Records), p.Protocol)
	emit("weir_push_refused_records_total", float64(p.Refused), p.Protocol)
	emit("weir_push_bytes_total", float64(p.Bytes), p.Protocol)
	emit("weir_push_decoded_bytes_total", float64(p.Decoded), p.Protocol)
}

func collectSenders(emit emitFunc, s *Senders) {
	emit("weir_listen_connections", float64(s.Connections))
	emit("weir_listen_refused_connections_total", float64(s.Refused), "refused")
	emit("weir_listen_refused_connections_total", float64(s.Cut), "cut")
	emit("weir_push_memory_bytes", float64(s.Memory))
	emit("weir_push_memory_limit_bytes", float64(s.MemoryLimit))
	for scope, n := range s.Allowed {
		emit("weir_auth_requests_total", float64(n), scope, "allowed")
	}
	for scope, n := range s.Denied {
		emit("weir_auth_requests_total", float64(n), scope, "denied")
	}
	for _, t := range s.Tenants {
		emit("weir_tenant_bytes_total", float64(t.Bytes), t.Name)
		emit("weir_tenant_records_total", float64(t.Records), t.Name)
		emit("weir_tenant_day_bytes", float64(t.Today), t.Name)
		for limit, n := range t.Refused {
			emit("weir_tenant_refused_pushes_total", float64(n), t.Name, limit)
		}
	}
	for answer, n := range s.Reviews {
		emit("weir_token_reviews_total", float64(n), answer)
	}
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
