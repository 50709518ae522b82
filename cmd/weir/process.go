package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/checkpoint"
	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/gateway"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/pipeline"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire/line"
)

// process is a running pipeline with everything around it:
//
//	config ─► inputs ─────────► engine ─► destinations (queue, deliver, outputs)
//	            │ ▲               │                                      │
//	  positions ┘ └ kube          │                                    store ◄─ api ◄─ listen.http
//	                              └─► probe (healthz, readyz, metrics), admin socket
//
// One per process; up, agent, sidecar, store and run differ only in the options they
// give, and a sidecar in how it ends (see seeToEnd).
type process struct {
	opts        config.Options
	quiet       bool      // say little at start: the terminal belongs to the lines
	once        bool      // end when all files have been read to their end
	stdin       io.Reader // read this instead of files; may be nil
	stdinLabels map[string]string
	forget      []string    // inputs that begin without their last positions
	style       *line.Style // of lines on standard output; nil for what suits it
	// anyPort is the address that nobody chose: if it is taken, any free port of
	// loopback will do.
	anyPort string
	// screen puts something before stdout; may be nil.
	screen  func(deliver.Output) deliver.Output
	onStart func() // called when everything is open, before anything is read; may be nil
	onStop  func() // called when nothing more is delivered, before anything is closed; may be nil

	// Of a sidecar:
	sidecar  bool
	identity *podIdentity  // who its application is
	volatile bool          // the state is gone after a restart of the container
	lastWord finalWord     // what it leaves behind
	ended    chan struct{} // closed when nothing is read or delivered any more

	log   *slog.Logger
	level slog.LevelVar

	book      ack.Book
	budget    *pipeline.Budget
	positions *checkpoint.Store
	keep      *keeper     // the embedded store; nil without
	api       *apiServers // over it; nil without
	push      *pushes
	address   string                 // of listen.http, as it was opened
	phase     atomic.Pointer[string] // what the start is at; nil when everything runs
	engine    *pipeline.Engine
	kube      *kubeWatch
	cluster   *cluster           // who pushes, as Kubernetes knows it; nil if nobody asks
	conns     *gateway.ConnLimit // of all HTTP listeners
	misses    parseMisses
	troubles  annotationTrouble

	// What follows changes with a reload. Reloads happen in one goroutine (see
	// watchConfig); it holds mu for each change, everybody else for each look,
	// and nobody while waiting for something.
	mu           sync.Mutex
	cfg          *config.Config
	inputs       map[config.ID]*input
	destinations map[config.ID]*destination
	retired      []*destination
	reload       reloadState
	started      time.Time

	diskMu sync.Mutex
	disks  map[string]*sharedDisk // by output
	// stopped is when a stop began, Unix nanoseconds; 0 before. From then on what is
	// on disk need not be delivered: the next start has it.
	stopped atomic.Int64

	closeOnce    sync.Once
	outputClosed chan struct{} // closed when the reader of stdout has gone
}

type reloadState struct {
	ok                bool
	accepted, refused uint64
	at                time.Time
	fingerprint       string
	lastError         string
}

// run loads the configuration, runs until ctx ends, and stops in order.
func (p *process) run(ctx context.Context) error {
	// From the first moment: by default the signal would end the process.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	cfg, warnings, err := config.Load(p.opts)
	if err != nil {
		return err
	}
	p.log = newLogger(cfg.Log, &p.level)
	p.troubles.log = p.log
	for _, w := range warnings.List() {
		p.log.Warn(w.Message, "at", w.Pos.String())
	}
	p.cfg, p.started = cfg, time.Now()
	p.reload = reloadState{ok: true, at: p.started, fingerprint: config.Fingerprint(cfg.Files())}
	p.inputs, p.destinations = make(map[config.ID]*input), make(map[config.ID]*destination)
	p.outputClosed = make(chan struct{})
	p.ended = make(chan struct{})
	p.tellVolatile(p.log)

	if err := os.MkdirAll(string(cfg.State), 0o700); err != nil {
		return fmt.Errorf("state directory: %w; set 'state' to a directory that may be written", err)
	}
	if p.positions, err = openPositions(ctx, filepath.Join(string(cfg.State), "positions")); err != nil {
		return err
	}
	defer func() { p.closePositions() }()
	for _, id := range p.forget {
		p.positions.Range(id+"/", func(key string, _ []byte) bool {
			p.positions.Delete(key)
			return true
		})
	}
	if os.Getenv("GOGC") == "" {
		percent := gcPercent
		if p.opts.Preset == "store" {
			percent = gcPercentStore
		}
		debug.SetGCPercent(percent)
	}
	limit, how := memoryLimit(int64(cfg.Limits.Memory))
	p.budget = pipeline.NewBudget(limit)
	p.log.Debug("memory budget for records", "bytes", limit, "from", how)

	p.conns = connLimit(&cfg.Listen.Limits)
	p.conns.Log(p.log, "listener", "http")
	p.starting("the store is being opened")
	defer p.closeStore() // last, after everything that uses it
	side, err := p.serve(ctx)
	if err != nil {
		return err
	}
	side = sync.OnceFunc(side)
	defer side()
	if err := p.openStore(ctx); err != nil {
		return err
	}
	if err := p.openPushes(ctx); err != nil {
		return err
	}
	defer p.push.end()
	if err := p.openAPI(); err != nil {
		return err
	}
	p.starting("inputs and outputs are being made")
	if err := p.startKube(ctx); err != nil {
		return err
	}
	defer p.stopKube()
	graph, destinations, err := p.buildGraph(cfg)
	if err != nil {
		return err
	}
	p.destinations = destinations
	defer p.closeDestinations()
	inputs, err := p.buildInputs(cfg)
	if err != nil {
		return err
	}
	p.engine, err = pipeline.New(pipeline.Config{
		Budget: p.budget, Book: &p.book, Inputs: inputs, Graph: graph, Grace: time.Duration(cfg.Limits.Stop), Logger: p.log,
	})
	if err != nil {
		return err
	}
	p.phase.Store(nil)

	asked := ctx // ends when somebody asks us to
	if p.sidecar {
		ctx = context.WithoutCancel(ctx) // it reads on then, see seeToEnd
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, p.beginStop)()
	for _, l := range p.leftBuffers(cfg) {
		p.log.Warn("an output's buffer is left over: " + l.String())
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.watchConfig(ctx, hup) })
	if p.once && p.stdin == nil {
		wg.Go(func() {
			p.finished(ctx)
			cancel()
		})
	}
	wg.Go(func() {
		select {
		case <-p.outputClosed: // perhaps in the middle of a stop
			p.engine.SetGrace(0) // what is left has no reader
			cancel()
		case <-p.ended:
		}
	})
	if p.sidecar {
		wg.Go(func() {
			select {
			case <-p.engine.Started():
				p.seeToEnd(asked, cancel)
			case <-p.ended:
			}
		})
	}
	if !p.quiet {
		p.log.Info("started", "version", version(), "inputs", ids(cfg.Inputs), "outputs", ids(cfg.Outputs), "state", cfg.State)
	}
	if p.onStart != nil {
		p.onStart()
	}
	releaseStart() // before records come on top of it
	defer time.AfterFunc(startOver, releaseStart).Stop()
	if p.sidecar { // its pod's memory is the application's
		defer time.AfterFunc(startOver/20, releaseStart).Stop()
	}
	err = p.engine.Run(ctx)
	p.tellLeft()
	close(p.ended)
	cancel()
	wg.Wait()
	if p.sidecar {
		p.lastWord.write(p, true)
		if errors.Is(err, pipeline.ErrUndelivered) {
			err = nil // it is said, and a Job must not fail by it
		}
	}
	if p.onStop != nil {
		p.onStop()
	}
	side() // while everything that it tells of is open
	select {
	case <-p.outputClosed:
		return syscall.EPIPE
	default:
	}
	return err
}

// beginStop notes that a stop has begun, and has outputs that wait for their next
// attempt make it now.
func (p *process) beginStop() {
	p.stopped.Store(time.Now().UnixNano())
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.destinations {
		d.deliverer.Hurry()
	}
}

// tellLeft says what waits on disk for the next start.
func (p *process) tellLeft() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.destinations {
		if d.disk == nil {
			continue
		}
		if s := d.disk.Stats(); s.Waiting > 0 {
			p.log.Info("stopped with records on disk; they are sent after the next start", "output", d.name, "records", s.Waiting, "bytes", s.Bytes)
		}
	}
}

// openPositions opens the positions. A predecessor that was killed a moment ago may
// still hold the lock.
func openPositions(ctx context.Context, dir string) (*checkpoint.Store, error) {
	const patience, pause = 3 * time.Second, 100 * time.Millisecond
	deadline := time.Now().Add(patience)
	for {
		store, err := checkpoint.Open(dir)
		if err == nil || !errors.Is(err, checkpoint.ErrLocked) || time.Now().After(deadline) {
			return store, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

func (p *process) closePositions() {
	if err := p.positions.Close(); err != nil {
		p.log.Error("positions could not be saved; what was delivered since the last save is read again", "error", err)
	}
}

// buildGraph makes everything behind the inputs, and nothing if it fails.
// Destinations whose settings have not changed are used again; p.destinations
// is left to the caller.
func (p *process) buildGraph(cfg *config.Config) (g *pipeline.Graph, next map[config.ID]*destination, err error) {
	g, next = &pipeline.Graph{}, make(map[config.ID]*destination)
	defer func() {
		if err != nil {
			p.discard(next)
		}
	}()
	for i, s := range cfg.Pipeline {
		name := fmt.Sprintf("pipeline[%d].%s", i, s.Kind)
		step, err := p.buildStep(s, name)
		if err != nil {
			return nil, next, cfg.Problem(name, err.Error())
		}
		if step != nil {
			g.Steps = append(g.Steps, pipeline.Step{Name: name, Stage: step})
		}
	}
	at := make(map[config.ID]int)
	for _, o := range cfg.Outputs {
		d := p.destinations[o.ID]
		if d == nil || !reflect.DeepEqual(d.settings, o.Settings) {
			if d, err = p.newDestination(cfg, o); err != nil {
				return nil, next, cfg.Problem("outputs."+string(o.ID), err.Error())
			}
		}
		next[o.ID] = d
		at[o.ID] = len(g.Outputs)
		g.Outputs = append(g.Outputs, d.out)
	}
	for i, r := range cfg.Routes {
		route := pipeline.Route{Continue: r.Continue}
		if r.When != "" {
			c, err := logql.ParseCondition(string(r.When))
			if err != nil {
				return nil, next, cfg.Problem(fmt.Sprintf("routes[%d].when", i), err.Error())
			}
			route.Match = c.Match
		}
		for _, id := range r.To {
			route.To = append(route.To, at[id])
		}
		g.Routes = append(g.Routes, route)
	}
	return g, next, nil
}

// discard closes those of the destinations that are not in use.
func (p *process) discard(next map[config.ID]*destination) {
	for id, d := range next {
		if p.destinations[id] != d {
			d.close(p.log)
		}
	}
}

// buildStep returns nil for a step that does nothing.
func (p *process) buildStep(s config.Step, at string) (pipeline.Stage, error) {
	switch s.Kind {
	case "parse":
		return p.parseStep(&s.Parse, at)
	case "drop", "keep":
		text := s.Drop
		if s.Kind == "keep" {
			text = s.Keep
		}
		c, err := logql.ParseCondition(string(text))
		if err != nil {
			return nil, err
		}
		return stage.NewFilter(s.Kind == "keep", c.Match), nil
	case "set":
		return stage.NewSet(s.Set)
	case "remove":
		return stage.NewRemove(s.Remove)
	case "rate_limit":
		return rateLimitStep(&s.RateLimit, nil)
	}
	return nil, fmt.Errorf("step %q is not built in", s.Kind)
}

// stepFor puts a step before the pipeline for the records of one input.
type stepFor struct {
	pipeline.Input
	step pipeline.Stage
	now  func() time.Time
}

func (s stepFor) Run(ctx context.Context, sink record.Sink) error {
	return s.Input.Run(ctx, stepSink{sink, s})
}

// Finish passes on to the input.
func (s stepFor) Finish(ctx context.Context) error {
	if f, ok := s.Input.(pipeline.Finisher); ok {
		return f.Finish(ctx)
	}
	return nil
}

type stepSink struct {
	record.Sink
	s stepFor
}

func (s stepSink) Put(ctx context.Context, b *record.Batch) error {
	// As for the pipeline's steps: a broken one changes nothing else. These
	// cannot fail (stage.Parse never does).
	_ = s.s.step.Process(b, s.s.now())
	return s.Sink.Put(ctx, b)
}

// watchConfig reloads on SIGHUP and when a configuration file has changed, and
// collects outputs that have drained.
func (p *process) watchConfig(ctx context.Context, hup <-chan os.Signal) {
	select {
	case <-ctx.Done():
		return
	case <-p.engine.Started():
	}
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			p.reloadConfig(ctx, "SIGHUP")
		case <-tick.C:
			p.reap()
			p.mu.Lock()
			files, last := p.cfg.Files(), p.reload.fingerprint
			p.mu.Unlock()
			if f := config.Fingerprint(files); f != last {
				p.reloadConfig(ctx, "file changed")
			}
		}
	}
}

// reloadConfig takes the configuration as it is now, or refuses it whole and
// goes on with the old one.
func (p *process) reloadConfig(ctx context.Context, why string) {
	// Taken before loading: a change that comes while this one is being applied
	// is seen as another.
	before := config.Fingerprint(p.cfg.Files())
	cfg, warnings, err := config.Load(p.opts)
	if err == nil {
		err = p.apply(ctx, cfg)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reload.fingerprint = before
	if err != nil {
		p.reload.ok, p.reload.lastError = false, err.Error()
		p.reload.refused++
		p.log.Error("the changed configuration is refused; the old one goes on", "why", why, "error", err)
		return
	}
	for _, w := range warnings.List() {
		p.log.Warn(w.Message, "at", w.Pos.String())
	}
	if !slices.Equal(cfg.Files(), p.cfg.Files()) {
		p.reload.fingerprint = config.Fingerprint(cfg.Files())
	}
	p.cfg = cfg
	setLevel(&p.level, cfg.Log.Level)
	p.reload.ok, p.reload.at, p.reload.lastError = true, time.Now(), ""
	p.reload.accepted++
	p.log.Info("configuration reloaded", "why", why, "inputs", ids(cfg.Inputs), "outputs", ids(cfg.Outputs))
}

// apply puts a checked configuration in force. Nothing has changed if it fails.
// Inputs that go or change stop before the switch and new ones start after it:
// no record of a new input takes the old routes, nor the other way round.
func (p *process) apply(ctx context.Context, cfg *config.Config) error {
	if needsRestart(p.cfg, cfg) {
		return errors.New("state, store, whether there is one, node, cluster, listen, limits, log.format and where pods' metadata come from cannot change while running; restart the process")
	}
	graph, next, err := p.buildGraph(cfg)
	if err != nil {
		return err
	}
	stop, start, err := p.changedInputs(cfg)
	if err == nil {
		err = graph.Check()
	}
	if err != nil {
		p.discard(next)
		return err
	}
	p.stopInputs(ctx, stop)
	if err := p.engine.Swap(graph); err != nil {
		p.discard(next)
		return err // the engine stops
	}
	p.mu.Lock()
	for id, d := range p.destinations {
		if next[id] != d {
			p.retired = append(p.retired, d)
		}
	}
	p.destinations = next
	p.mu.Unlock()
	p.startInputs(ctx, cfg, start)
	rules, err := p.authConfig(&cfg.Listen)
	if err == nil {
		err = p.push.auth.Set(rules)
	}
	p.push.quotas.Set(tenantQuotas(&cfg.Listen))
	if err != nil {
		p.log.Error("listen.users: the old ones stay in force", "error", err) // config has checked them
	}
	return nil
}

func needsRestart(a, b *config.Config) bool {
	return a.State != b.State || a.Node != b.Node || a.Cluster != b.Cluster || !sameListeners(a.Listen, b.Listen) || a.Limits != b.Limits ||
		!reflect.DeepEqual(a.Store, b.Store) || (storeOutput(a) == nil) != (storeOutput(b) == nil) ||
		a.Log.Format != b.Log.Format || watchSettings(a) != watchSettings(b)
}

// sameListeners reports whether nothing has to be opened anew: users may change.
func sameListeners(a, b config.Listen) bool {
	a.Users, b.Users = nil, nil
	a.TenantHeader, a.TenantLimits, a.TenantLimitsOf = b.TenantHeader, b.TenantLimits, b.TenantLimitsOf
	return reflect.DeepEqual(a, b)
}

// watchSettings is what the watch of pods is made from, "" if there is none.
func watchSettings(c *config.Config) string {
	for _, in := range c.Inputs {
		if s, ok := in.Settings.(*config.KubernetesInput); ok && s.Metadata != "path" {
			return fmt.Sprintf("%q %q %q %q", s.Metadata, s.Kubeconfig, s.PodLabels, s.PodAnnotations)
		}
	}
	return ""
}

// reap closes outputs that were removed by a reload and have drained.
func (p *process) reap() {
	busy := p.engine.Reap()
	p.mu.Lock()
	defer p.mu.Unlock()
	left := p.retired[:0]
	for _, d := range p.retired {
		waits := false
		for _, o := range busy {
			waits = waits || o == d.out
		}
		if waits {
			left = append(left, d)
			continue
		}
		d.close(p.log)
		p.log.Info("removed output has drained", "output", d.out.Name)
	}
	p.retired = left
}

func ids[T interface{ config.Input | config.Output }](list []T) string {
	var out []string
	for _, x := range list {
		switch x := any(x).(type) {
		case config.Input:
			out = append(out, string(x.ID))
		case config.Output:
			out = append(out, string(x.ID))
		}
	}
	return strings.Join(out, " ")
}

func setLevel(level *slog.LevelVar, name string) {
	if err := level.UnmarshalText([]byte(name)); err != nil {
		level.Set(slog.LevelInfo)
	}
}

// newLogger makes weir's own log, on stderr.
func newLogger(c config.LogConfig, level *slog.LevelVar) *slog.Logger {
	setLevel(level, c.Level)
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}
