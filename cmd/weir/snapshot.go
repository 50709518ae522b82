package main

import (
	"cmp"
	"slices"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/metrics"
	"github.com/weirlog/weir/tail"
)

// ledgerReport is the ledger as `weir ledger -o json` prints it. The
// invariants hold in every row: written = read + unread + lost, and for every
// output read = delivered + waiting + dropped + dead.
//
// With a buffer on disk a container's records are finished when the buffer has
// them; what becomes of them there is counted for all together. So a container's
// row has read = delivered + buffered + waiting + dropped + dead, a buffer's
// written = delivered + waiting + dropped + dead, and the total has both.
type ledgerReport struct {
	Time       time.Time   `json:"time"`
	Live       bool        `json:"live"` // from a running process; else as last saved
	Containers []ledgerRow `json:"containers"`
	Buffers    []bufferRow `json:"buffers,omitempty"`
	Total      ledgerRow   `json:"total"`
}

type ledgerRow struct {
	Input     string `json:"input,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
	PodUID    string `json:"pod_uid,omitempty"`
	Container string `json:"container,omitempty"`
	File      string `json:"file,omitempty"`
	Pushed    bool   `json:"pushed,omitempty"` // what was pushed to Input since the start; it has no bytes

	Written int64 `json:"written"`
	Read    int64 `json:"read"`
	Unread  int64 `json:"unread"`
	Lost    int64 `json:"lost"`
	// Durable is how much of Read a kill cannot undo.
	Durable int64 `json:"durable"`

	Records uint64      `json:"records"`
	Outputs []outputRow `json:"outputs"`
}

type outputRow struct {
	Output    string            `json:"output"`
	Read      uint64            `json:"read"`
	Delivered uint64            `json:"delivered"`
	Buffered  uint64            `json:"buffered,omitempty"` // of a container: on disk, and counted there from then on
	Waiting   uint64            `json:"waiting"`
	Dropped   uint64            `json:"dropped"`
	Dead      uint64            `json:"dead"`
	Reasons   map[string]uint64 `json:"reasons,omitempty"` // dropped/step, dead/rejected …
}

func (r *ledgerRow) name() string {
	switch {
	case r.Pushed:
		return r.Input + " (pushed)"
	case r.File != "":
		return r.File
	case r.Pod != "":
		return r.Namespace + "/" + r.Pod + "/" + r.Container
	default:
		return "(containers gone long ago)"
	}
}

// balanced reports whether both equations hold.
func (r *ledgerRow) balanced() bool {
	if r.Written != r.Read+r.Unread+r.Lost {
		return false
	}
	for _, o := range r.Outputs {
		if o.Read != o.Delivered+o.Buffered+o.Waiting+o.Dropped+o.Dead {
			return false
		}
	}
	return true
}

func (r *ledgerRow) add(o ledgerRow) {
	r.Written += o.Written
	r.Read += o.Read
	r.Unread += o.Unread
	r.Lost += o.Lost
	r.Durable += o.Durable
	r.Records += o.Records
	for _, x := range o.Outputs {
		i := slices.IndexFunc(r.Outputs, func(y outputRow) bool { return y.Output == x.Output })
		if i < 0 {
			r.Outputs = append(r.Outputs, outputRow{Output: x.Output})
			i = len(r.Outputs) - 1
		}
		y := &r.Outputs[i]
		y.Read += x.Read
		y.Delivered += x.Delivered
		y.Buffered += x.Buffered
		y.Waiting += x.Waiting
		y.Dropped += x.Dropped
		y.Dead += x.Dead
		for k, n := range x.Reasons {
			if y.Reasons == nil {
				y.Reasons = make(map[string]uint64)
			}
			y.Reasons[k] += n
		}
	}
}

// outputRows turns a tally into rows. An output that never had to account for a
// record of the container has no row: one that was added later owes nothing for
// what was read before, one that was removed nothing for what came after.
func outputRows(t *ack.Tally, names []string) []outputRow {
	var rows []outputRow
	for i, counts := range t.Outputs {
		row := outputRow{Output: names[i], Read: counts[ack.Open]}
		for s, n := range counts {
			st := ack.Status(s)
			if n == 0 || st == ack.Open {
				continue
			}
			switch st.Class() {
			case "delivered":
				row.Delivered += n
			case "buffered":
				row.Buffered += n
			case "dropped":
				row.Dropped += n
			case "dead":
				row.Dead += n
			}
			if st.Reason() != "" {
				if row.Reasons == nil {
					row.Reasons = make(map[string]uint64)
				}
				row.Reasons[st.Class()+"/"+st.Reason()] += n
			}
		}
		// More ended than read is left unbalanced, for --check to find.
		if ended := row.Delivered + row.Buffered + row.Dropped + row.Dead; ended < row.Read {
			row.Waiting = row.Read - ended
		} else if ended == 0 {
			continue
		}
		rows = append(rows, row)
	}
	return rows
}

func ledgerRows(input string, s *tail.Stats, names []string) []ledgerRow {
	var rows []ledgerRow
	for i := range s.Ledgers {
		l := &s.Ledgers[i]
		k := l.Container
		row := ledgerRow{
			Input: input, Namespace: k.Namespace, Pod: k.Pod, PodUID: k.UID, Container: k.Container,
			Written: l.Written, Read: l.Read, Unread: l.Unread, Lost: l.Lost, Durable: l.Durable,
			Records: l.Records.Read, Outputs: outputRows(&l.Records, names),
		}
		if k.Pod == "" {
			row.File = k.Path
		}
		rows = append(rows, row)
	}
	return rows
}

func (r *ledgerReport) finish() {
	slices.SortFunc(r.Containers, func(a, b ledgerRow) int {
		return cmp.Or(cmp.Compare(a.name(), b.name()), cmp.Compare(a.PodUID, b.PodUID))
	})
	for _, row := range r.Containers {
		r.Total.add(row)
	}
	slices.SortFunc(r.Buffers, func(a, b bufferRow) int { return cmp.Compare(a.Output, b.Output) })
	for _, b := range r.Buffers {
		r.Total.addBuffer(b)
	}
}

// ledger returns the ledger of the running process.
func (p *process) ledger() *ledgerReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &ledgerReport{Time: time.Now(), Live: true, Containers: []ledgerRow{}}
	names := p.book.Names()
	for id, in := range p.inputs {
		if in.tail == nil {
			continue // it has no files
		}
		s := in.tail.Stats()
		r.Containers = append(r.Containers, ledgerRows(string(id), s, names)...)
	}
	for id, in := range p.pushedTo() {
		sum, _ := in.Tally()
		r.Containers = append(r.Containers, ledgerRow{Input: id, Pushed: true, Records: sum.Read, Outputs: outputRows(&sum, names)})
	}
	r.Buffers = p.bufferRows()
	r.finish()
	return r
}

// statusReport is what `weir status -o json` prints.
type statusReport struct {
	Version     string         `json:"version"`
	Time        time.Time      `json:"time"`
	Started     time.Time      `json:"started"`
	Node        string         `json:"node,omitempty"`
	Healthy     bool           `json:"healthy"`
	Problems    []string       `json:"problems,omitempty"`
	BudgetUsed  int64          `json:"budget_used"`
	BudgetLimit int64          `json:"budget_limit"`
	Inputs      []inputStatus  `json:"inputs"`
	Pushed      []pushStatus   `json:"pushed,omitempty"`
	Senders     *sendersStatus `json:"senders,omitempty"`
	Outputs     []outputStatus `json:"outputs"`
	Retired     []outputStatus `json:"retired_outputs,omitempty"`
	LeftBuffers []leftBuffer   `json:"left_buffers,omitempty"` // of outputs that are gone
	Degraded    []string       `json:"degraded,omitempty"`     // what a restart would not help
	HTTP        string         `json:"http,omitempty"`         // address of listen.http
	Store       *storeStatus   `json:"store,omitempty"`
	Kube        *kubeStatus    `json:"kubernetes,omitempty"`
	Config      configStatus   `json:"config"`
}

type inputStatus struct {
	ID            string            `json:"id"`
	Files         map[string]int    `json:"files"`
	OpenHandles   int               `json:"open_handles"`
	Written       int64             `json:"written"`
	Read          int64             `json:"read"`
	Unread        int64             `json:"unread"`
	Lost          int64             `json:"lost"`
	HeldBytes     int64             `json:"held_bytes"`
	Reclaimed     int64             `json:"reclaimed_bytes,omitempty"`
	LagSeconds    float64           `json:"lag_seconds"`
	OldestUnacked float64           `json:"oldest_unacked_seconds"`
	WaitsForRoom  bool              `json:"waits_for_room"`
	LastPass      time.Time         `json:"last_pass"`
	Gaps          map[string]uint64 `json:"gaps,omitempty"`
	Errors        map[string]uint64 `json:"errors,omitempty"`
}

type outputStatus struct {
	ID           string            `json:"id"`
	Waiting      int               `json:"waiting"`
	WaitingBytes int               `json:"waiting_bytes"`
	Capacity     int64             `json:"capacity_bytes"`
	OldestSince  time.Time         `json:"oldest_since,omitzero"`
	Records      map[string]uint64 `json:"records,omitempty"`
	Requests     map[string]uint64 `json:"requests,omitempty"`
	BytesSent    uint64            `json:"bytes_sent"`
	Retried      uint64            `json:"retried"`
	InFlight     int               `json:"in_flight"`
	Limit        int               `json:"concurrency_limit"`
	Group        int               `json:"group"` // in use
	Endpoints    []endpointStatus  `json:"endpoints"`
	Lookup       *lookupStatus     `json:"lookup,omitempty"`
	LastSuccess  time.Time         `json:"last_success,omitzero"`
	LastError    string            `json:"last_error,omitempty"`
	LastErrorAt  time.Time         `json:"last_error_at,omitzero"`
	DeadLetters  int64             `json:"dead_letter_bytes"`
	Buffer       *bufferStatus     `json:"buffer,omitempty"` // on disk
}

type endpointStatus struct {
	Name        string    `json:"name"`
	Group       int       `json:"group"`
	Healthy     bool      `json:"healthy"`
	State       string    `json:"state"` // active, starting, standby, paused, ejected, leaving
	InFlight    int       `json:"in_flight"`
	Limit       int       `json:"concurrency_limit"`
	Requests    uint64    `json:"requests"`
	Failures    uint64    `json:"failures"`
	PausedUntil time.Time `json:"paused_until,omitzero"`
}

// word is the state as a person is told.
func (e *endpointStatus) word() string {
	switch e.State {
	case "active":
		return "up"
	case "ejected":
		return "LEFT OUT"
	}
	return e.State
}

// lookupStatus is what became of looking up the addresses of an output.
type lookupStatus struct {
	Lookups  uint64 `json:"lookups"`
	Failures uint64 `json:"failures"`
	Error    string `json:"error,omitempty"` // of the last one
}

type configStatus struct {
	Files     []string  `json:"files"`
	LoadedAt  time.Time `json:"loaded_at"`
	LastOK    bool      `json:"last_reload_ok"`
	LastError string    `json:"last_error,omitempty"`
	Accepted  uint64    `json:"reloads_accepted"`
	Refused   uint64    `json:"reloads_refused"`
}

func (p *process) status() *statusReport {
	problems := p.problems()
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &statusReport{
		Version: version(), Time: time.Now(), Started: p.started, Node: nodeName(p.cfg),
		Healthy: len(problems) == 0, Problems: problems,
		BudgetUsed: p.budget.Used(), BudgetLimit: p.budget.Limit(),
		Degraded: p.degraded(), HTTP: p.address, Store: p.storeStatus(),
		Kube: p.kube.status(),
		Config: configStatus{
			Files: p.cfg.Files(), LoadedAt: p.reload.at, LastOK: p.reload.ok, LastError: p.reload.lastError,
			Accepted: p.reload.accepted, Refused: p.reload.refused,
		},
	}
	for id, in := range p.inputs {
		if in.tail == nil {
			continue // it has no files
		}
		s := in.tail.Stats()
		st := inputStatus{
			ID: string(id), Files: s.Files, OpenHandles: s.OpenHandles, HeldBytes: s.HeldBytes, Reclaimed: s.Reclaimed,
			LagSeconds: s.Lag.Seconds(), WaitsForRoom: s.Full, LastPass: s.Time, Gaps: s.Gaps, Errors: s.Errors,
		}
		if !s.OldestUnacked.IsZero() {
			st.OldestUnacked = r.Time.Sub(s.OldestUnacked).Seconds()
		}
		for i := range s.Ledgers {
			st.Written += s.Ledgers[i].Written
			st.Read += s.Ledgers[i].Read
			st.Unread += s.Ledgers[i].Unread
			st.Lost += s.Ledgers[i].Lost
		}
		r.Inputs = append(r.Inputs, st)
	}
	r.Pushed = p.pushedStatus()
	if len(r.Pushed) > 0 || r.HTTP != "" {
		r.Senders = p.senders(r.Time)
	}
	for _, d := range p.destinations {
		r.Outputs = append(r.Outputs, d.status())
	}
	for _, d := range p.retired {
		r.Retired = append(r.Retired, d.status())
	}
	r.LeftBuffers = p.leftBuffers(p.cfg)
	slices.SortFunc(r.Inputs, func(a, b inputStatus) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(r.Outputs, func(a, b outputStatus) int { return cmp.Compare(a.ID, b.ID) })
	return r
}

func (d *destination) status() outputStatus {
	s := d.deliverer.Stats()
	o := outputStatus{
		ID: d.out.Name, Waiting: s.Waiting.Records, WaitingBytes: s.Waiting.Bytes, Capacity: d.capacity,
		OldestSince: s.OldestWaiting, BytesSent: s.Bytes, Retried: s.Retried, InFlight: s.InFlight, Limit: s.Limit,
		LastSuccess: s.LastSuccess, LastError: s.LastError, LastErrorAt: s.LastErrorAt,
		Records: make(map[string]uint64), Requests: requestCounts(&s),
	}
	for i, n := range s.Records {
		if n > 0 {
			name := ack.Status(i).Class()
			if r := ack.Status(i).Reason(); r != "" {
				name += "/" + r
			}
			o.Records[name] = n
		}
	}
	for _, e := range s.Endpoints {
		st := endpointStatus{Name: e.Name, Group: e.Group, Healthy: e.Healthy, State: e.State, InFlight: e.InFlight, Limit: e.Limit, Requests: e.Requests, Failures: e.Failures}
		if e.State == "paused" {
			st.PausedUntil = e.PausedUntil
		}
		o.Endpoints = append(o.Endpoints, st)
	}
	o.Group = s.Group
	if d.endpoints.looked() {
		l := d.endpoints.lookups()
		o.Lookup = &lookupStatus{l.Lookups, l.Failures, l.LastError}
	}
	if d.dead != nil {
		o.DeadLetters, _, _ = d.dead.Usage() // 0 if it cannot be read
	}
	if d.disk != nil {
		o.Buffer = d.bufferStatus()
	}
	return o
}

func requestCounts(s *deliver.Stats) map[string]uint64 {
	m := make(map[string]uint64)
	for i, n := range s.Requests {
		if n > 0 {
			m[deliver.Class(i).String()] = n
		}
	}
	return m
}

// stuckAfter is how long a part may do nothing before the process is
// considered stuck and worth a restart.
const stuckAfter = time.Minute

// problems returns why the process is not healthy: which part makes no
// progress although it could. A dead backend is not such a reason, a restart
// would not help.
func (p *process) problems() []string {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, in := range p.cfg.Inputs {
		if p.inputs[in.ID] == nil {
			out = append(out, "input "+string(in.ID)+" could not start")
		}
	}
	for id, in := range p.inputs {
		if in.tail == nil {
			continue // it has no files
		}
		if age := now.Sub(in.tail.Stats().Time); age > stuckAfter && now.Sub(p.started) > stuckAfter {
			out = append(out, "input "+string(id)+" has not looked at its files for "+age.Round(time.Second).String())
		}
	}
	for id, d := range p.destinations {
		s := d.deliverer.Stats()
		if silent := d.stuck(&s, now); silent > 0 {
			out = append(out, "output "+string(id)+" has records but has not tried to send any for "+silent.Round(time.Second).String())
		}
	}
	slices.Sort(out)
	return out
}

// stuck returns how long the deliverer has done nothing, 0 if that is no longer
// than a working one may: an attempt, then a delay or as long as a destination
// may ask for, or as long as a batch waits for more.
func (d *destination) stuck(s *deliver.Stats, now time.Time) time.Duration {
	// Without addresses there is nobody to try, which another start would not change.
	if s.Waiting.Records == 0 || s.InFlight > 0 && d.timeout == 0 || d.endpoints != nil && d.endpoints.looked() && len(s.Endpoints) == 0 {
		return 0
	}
	last := s.LastSuccess
	for _, t := range []time.Time{s.LastErrorAt, s.OldestWaiting} {
		if t.After(last) {
			last = t
		}
	}
	silent := now.Sub(last)
	if silent <= d.timeout+d.maxDelay+d.batchWait+deliver.MaxRetryAfter+stuckAfter {
		return 0
	}
	return silent
}

// snapshot is the process as the metrics see it.
func (p *process) snapshot() metrics.Snapshot {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := metrics.Snapshot{
		BudgetUsed: p.budget.Used(), BudgetLimit: p.budget.Limit(),
		StepErrors: p.engine.StepErrors(), Parsers: p.misses.list(),
		Kube: p.kube.metrics(),
		Config: metrics.Config{
			LastReloadOK: p.reload.ok, Accepted: p.reload.accepted, Refused: p.reload.refused, LoadedAt: p.reload.at,
		},
	}
	if s.Kube != nil {
		s.Kube.AnnotationErrors += p.troubles.n.Load()
	}
	var total ack.Tally
	for id, in := range p.inputs {
		if in.tail == nil {
			if t, ok := in.run.(interface{ Tally() (ack.Tally, int64) }); ok {
				sum, _ := t.Tally()
				total.Add(&sum)
			}
			continue
		}
		st := in.tail.Stats()
		m := metrics.Input{
			ID: string(id), Bytes: make(map[string]metrics.Bytes), LagSeconds: st.Lag.Seconds(), Files: st.Files,
			OpenHandles: st.OpenHandles, HeldBytes: st.HeldBytes, Reclaimed: st.Reclaimed, Rotations: st.Rotations, MaybeLost: st.MaybeLost, Gaps: st.Gaps, Errors: st.Errors,
			SinceLastPass: now.Sub(st.Time).Seconds(), LastPassIsSane: true,
		}
		if !st.OldestUnacked.IsZero() {
			m.OldestUnacked = now.Sub(st.OldestUnacked).Seconds()
		}
		for i := range st.Ledgers {
			l := &st.Ledgers[i]
			b := m.Bytes[l.Container.Namespace]
			b.Written += l.Written
			b.Read += l.Read
			b.Unread += l.Unread
			b.Lost += l.Lost
			m.Bytes[l.Container.Namespace] = b
			total.Add(&l.Records)
		}
		s.CheckpointErrors += st.Errors["checkpoint"]
		s.Inputs = append(s.Inputs, m)
	}
	if p.push.input != nil {
		sum, _ := p.push.input.Tally()
		total.Add(&sum)
	}
	for _, st := range p.pushStats() {
		if len(st.Requests) > 0 || st.Records > 0 { // or every protocol there is would have its series
			s.Pushes = append(s.Pushes, metrics.Push(st))
		}
	}
	s.Senders = p.sendersMetrics(now)
	s.Store, s.API = p.storeMetrics(), p.apiMetrics()
	names := p.book.Names()
	rows := outputRows(&total, names)
	for _, d := range p.destinations {
		s.Outputs = append(s.Outputs, d.metrics(now, &total, rows))
	}
	return s
}

func (d *destination) metrics(now time.Time, total *ack.Tally, rows []outputRow) metrics.Output {
	s := d.deliverer.Stats()
	o := metrics.Output{
		Name: d.out.Name, Records: make(map[[2]string]uint64), BufferBytes: int64(s.Waiting.Bytes), BufferCapacity: d.capacity,
		Requests: requestCounts(&s), BytesSent: s.Bytes, Retried: s.Retried, Inflight: s.InFlight, ConcurrencyLimit: s.Limit,
		Healthy: s.Healthy, LastSuccess: s.LastSuccess,
	}
	for _, e := range s.Endpoints {
		if e.State == "leaving" {
			continue
		}
		o.Endpoints++
		o.Each = append(o.Each, metrics.Endpoint{Name: e.Name, Healthy: e.Healthy, Used: e.Group == s.Group, Inflight: e.InFlight, Limit: e.Limit, Requests: e.Requests, Failures: e.Failures})
	}
	if d.endpoints.looked() {
		l := d.endpoints.lookups()
		o.Lookups = &metrics.Lookups{Done: l.Lookups, Failed: l.Failures}
	}
	if !s.OldestWaiting.IsZero() {
		o.OldestSeconds = now.Sub(s.OldestWaiting).Seconds()
	}
	o.Records[[2]string{"delivered", ""}] = 0
	for _, r := range rows {
		if r.Output == d.out.Name {
			o.Read, o.Waiting = r.Read, int64(r.Waiting)
		}
	}
	if d.out.Index < len(total.Outputs) {
		for i, n := range total.Outputs[d.out.Index] {
			st := ack.Status(i)
			if n > 0 && st != ack.Open {
				o.Records[[2]string{st.Class(), st.Reason()}] = n
			}
		}
	}
	if d.disk != nil {
		d.bufferMetrics(&o, now)
	}
	if d.dead != nil {
		o.HasDeadLetterOnDisk = true
		o.DeadLetterBytes, _, _ = d.dead.Usage() // 0 if it cannot be read
	}
	return o
}
