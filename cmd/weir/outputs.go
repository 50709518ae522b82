package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/weirlog/weir/buffer"
	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/output"
	"github.com/weirlog/weir/pipeline"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/elastic"
	"github.com/weirlog/weir/wire/jsonl"
	"github.com/weirlog/weir/wire/loki"
	"github.com/weirlog/weir/wire/otlp"
)

// destination is a configured output with its queue, deliverer and dead
// letters.
type destination struct {
	name      string
	settings  config.OutputSettings
	out       *pipeline.Output
	queue     queue
	disk      *sharedDisk // nil with a queue in memory
	deliverer *deliver.Deliverer
	endpoints *endpointSet
	dead      *deliver.DeadLetters
	capacity  int64
	timeout   time.Duration
	maxDelay  time.Duration
	batchWait time.Duration
	closers   []io.Closer
}

// prober is an output that can be asked whether its destination is there.
type prober interface{ Probe(context.Context) error }

func (d *destination) close(log *slog.Logger) {
	for _, c := range d.closers {
		if err := c.Close(); err != nil {
			log.Error("output did not close cleanly", "output", d.name, "error", err)
		}
	}
}

func (p *process) closeDestinations() {
	for _, d := range p.destinations {
		d.close(p.log)
	}
	for _, d := range p.retired {
		d.close(p.log)
	}
}

// newDestination makes an output and everything before it.
func (p *process) newDestination(cfg *config.Config, o config.Output) (made *destination, err error) {
	common := o.Settings.Common()
	log := p.log.With("output", string(o.ID))
	d := &destination{name: string(o.ID), settings: o.Settings, capacity: int64(common.Buffer.Memory), maxDelay: time.Duration(common.Retry.MaxDelay), batchWait: time.Duration(common.Batch.Wait)}

	endpoints, err := p.endpoints(o, log)
	if err != nil {
		return nil, err
	}
	d.endpoints = endpoints
	d.closers = append(d.closers, endpoints)
	defer func() {
		if err != nil {
			d.close(p.log)
		}
	}()
	conf := deliver.Config{
		Name: string(o.ID), Index: p.book.Index(string(o.ID)),
		Endpoints: endpoints.list, Dynamic: endpoints.looked(), Observe: endpoints.observe,
		Batch:  deliver.Batch{Bytes: int(common.Batch.Bytes), Wait: time.Duration(common.Batch.Wait)},
		Retry:  deliver.Retry{MinDelay: time.Duration(common.Retry.MinDelay), MaxDelay: time.Duration(common.Retry.MaxDelay)},
		Grace:  p.attemptGrace(),
		Logger: p.log, // it names the output itself
	}
	if common.Batch.Wait == 0 {
		conf.Batch.Wait = -1 // at once
	}
	if common.Retry.For != config.Forever {
		conf.Retry.For = time.Duration(common.Retry.For)
	}
	conf.Concurrency = 1 // local outputs keep the order of lines
	if r := o.Settings.Endpoints(); r != nil {
		conf.Concurrency = r.Concurrency.Max
		conf.Timeout = time.Duration(r.Timeout)
		conf.Eject = deliver.Eject{Errors: r.Eject.Errors, For: time.Duration(r.Eject.For)}
		if conf.Balance, err = deliver.ParseBalance(r.Balance); err != nil {
			return nil, err
		}
		conf.HashBy, conf.Failback = r.HashBy, time.Duration(r.Failback)
	}
	if a, ok := o.Settings.(attempts); ok {
		n, timeout := a.Attempts()
		conf.Concurrency, conf.Timeout = n, time.Duration(timeout)
	}
	d.timeout = conf.Timeout
	// What is in hand counts against the budget of records as well; here it is
	// bounded so that one output cannot take it all.
	conf.MaxInHand = max(2*conf.Batch.Bytes, int(common.Buffer.Memory))

	if common.Buffer.OnDisk() {
		var give io.Closer
		if d.disk, give, err = p.openDisk(cfg, o, conf.Index); err != nil {
			return nil, err
		}
		d.closers = append(d.closers, give)
		d.queue, d.capacity = &diskQueue{Disk: d.disk.Disk}, int64(common.Buffer.Disk)
	} else {
		d.queue = buffer.NewMemory(int(common.Buffer.Memory))
		d.queue.OnRoom(p.budget.Wake)
	}
	conf.Queue = d.queue
	if _, isStdout := o.Settings.(*config.StdoutOutput); isStdout {
		if p.quiet {
			conf.Logger = slog.New(slog.DiscardHandler) // a reader that leaves is no news
		}
	} else {
		d.dead, err = deliver.OpenDeadLetters(deliver.DLQConfig{
			Dir: filepath.Join(string(cfg.State), "dlq"), Output: string(o.ID),
			Max: int64(common.DLQ.Max), WhenFull: deadPolicy(common.DLQ.WhenFull), ID: wire.RecordID, Logger: log,
		})
		if err != nil {
			return nil, err
		}
		d.closers = append(d.closers, d.dead)
		conf.DeadLetters = d.dead
	}
	if d.deliverer, err = deliver.New(conf); err != nil {
		return nil, err
	}
	endpoints.follow(d.deliverer)
	d.out = &pipeline.Output{Name: string(o.ID), Index: conf.Index, Queue: d.queue, Deliverer: d.deliverer, WhenFull: fullPolicy(common.Buffer.WhenFull)}
	if q, ok := d.queue.(*diskQueue); ok {
		d.out.Deliverer = &diskDeliverer{d.deliverer, q, common.Buffer, &p.stopped}
	}
	return d, nil
}

func fullPolicy(name string) pipeline.Policy {
	switch name {
	case "wait":
		return pipeline.Wait
	case "reject":
		return pipeline.Reject
	case "drop":
		return pipeline.Drop
	}
	return pipeline.Auto
}

func deadPolicy(name string) deliver.WhenFull {
	if name == "drop" {
		return deliver.Drop
	}
	return deliver.Wait
}

// attemptGrace is how long a stop waits for answers to what was sent.
func (p *process) attemptGrace() time.Duration {
	if p.sidecar {
		return sidecarReserve
	}
	return 5 * time.Second
}

// every lets an encoder write all pod labels and annotations that a stream has:
// which those are is chosen at the input.
var every = []string{"*"}

// local makes the output value of a type that has one endpoint.
func (p *process) local(o config.Output, log *slog.Logger) ([]deliver.Endpoint, error) {
	switch s := o.Settings.(type) {
	case *config.StdoutOutput:
		form := format(s.Format, s.Keys)
		form.Line = p.looks(os.Stdout)
		form.Prefix = s.Prefix
		progress, err := p.stdoutProgress(o.ID, s)
		if err != nil {
			return nil, err
		}
		out, err := output.NewStdout(output.StdoutConfig{Format: form, Terminal: isTerminal(os.Stdout), Progress: progress})
		if err != nil {
			return nil, err
		}
		w := &watchedStdout{Stdout: out, ended: make(chan struct{})}
		go w.watch(func() { p.closeOnce.Do(func() { close(p.outputClosed) }) })
		var shown deliver.Output = w
		if p.screen != nil {
			shown = p.screen(w)
		}
		return []deliver.Endpoint{{Name: "stdout", Output: shown}}, nil
	case *config.StoreOutput:
		if p.keep == nil {
			return nil, errors.New("the store is not open") // our own fault
		}
		return []deliver.Endpoint{{Name: p.keep.dir, Output: storeSender{p.keep}}}, nil
	case *config.FileOutput:
		out, err := output.NewFile(output.FileConfig{
			Path: string(s.Path), Format: format(s.Format, s.Keys), MaxSize: int64(s.MaxSize), Keep: s.Keep,
			NoSync: !s.Sync, Logger: log,
		})
		if err != nil {
			return nil, err
		}
		return []deliver.Endpoint{{Name: string(s.Path), Output: out}}, nil
	}
	switch s := o.Settings.(type) {
	case *config.KafkaOutput:
		e, err := kafkaOutput(s, log)
		return []deliver.Endpoint{e}, err
	case *config.S3Output:
		e, err := s3Output(s, log)
		return []deliver.Endpoint{e}, err
	}
	return nil, fmt.Errorf("output type %T is not built in", o.Settings)
}

// stdoutProgress opens what is known to be written to standard output.
func (p *process) stdoutProgress(id config.ID, s *config.StdoutOutput) (*output.Progress, error) {
	if !s.Resume || p.positions == nil { // nil: it is only asked, by 'weir check'
		return nil, nil
	}
	// It belongs to these positions: others number the lives of files anew.
	key := "output/" + string(id) + "/epoch"
	epoch, ok := p.positions.Get(key)
	if !ok || len(epoch) != 16 {
		epoch = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, rand.Uint64()), rand.Uint64())
		p.positions.Put(key, epoch)
		if err := p.positions.Flush(); err != nil {
			return nil, fmt.Errorf("resume: %w", err)
		}
	}
	path := filepath.Join(string(p.cfg.State), url.PathEscape(string(id))+".written")
	return output.OpenProgress(path, [16]byte(epoch))
}

// watchedStdout tells a reader that left from a Close of our own: only the
// former ends the process.
type watchedStdout struct {
	*output.Stdout
	once  sync.Once
	ended chan struct{}
}

// watch calls left when the reader has left. It returns at the latest after
// Close.
func (w *watchedStdout) watch(left func()) {
	<-w.Closed()
	select {
	case <-w.ended:
	default:
		left()
	}
}

// Close ends the output.
func (w *watchedStdout) Close() error {
	w.once.Do(func() { close(w.ended) })
	return w.Stdout.Close()
}

func remoteOutput(settings config.OutputSettings, h output.HTTPConfig) (deliver.Output, error) {
	switch s := settings.(type) {
	case *config.ElasticsearchOutput:
		index, err := wire.ParseTemplate(string(s.Index), wire.SanitizeIndex)
		if err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		h.Compression = s.Compression
		return output.NewElasticsearch(output.ElasticsearchConfig{HTTPConfig: h, Encoding: elastic.Config{
			Index: index, DataStream: s.DataStream, Naming: elastic.Naming(s.Naming), Op: elastic.Op(s.Op), IDs: s.IDs,
		}})
	case *config.LokiOutput:
		c := output.LokiConfig{HTTPConfig: h, Encoding: loki.Config{Labels: s.Labels, PodLabels: every, IDs: true}}
		if s.Tenant != "" {
			t, err := wire.ParseTemplate(string(s.Tenant), wire.SanitizeTenant)
			if err != nil {
				return nil, fmt.Errorf("tenant: %w", err)
			}
			c.Tenant = t
		}
		return output.NewLoki(c)
	case *config.OTLPOutput:
		h.Compression = s.Compression
		return output.NewOTLP(output.OTLPConfig{HTTPConfig: h, Encoding: otlp.Config{Labels: every, Annotations: every, Version: version()}})
	case *config.ClickHouseOutput:
		return clickHouseOutput(s, h)
	case *config.SplunkOutput:
		return splunkOutput(s, h)
	case *config.HTTPOutput:
		return postOutput(s, h)
	case *config.JSONLOutput:
		h.Compression = s.Compression
		return output.NewJSONL(output.JSONLConfig{HTTPConfig: h, Encoding: jsonlConfig(s.Keys)})
	case *config.ForwardOutput:
		return forwardOutput(s, h)
	case *config.SyslogOutput:
		return syslogOutput(s, h)
	}
	return nil, fmt.Errorf("output type %T is not built in", settings)
}

func httpConfig(r *config.Remote, u config.URL, log *slog.Logger) output.HTTPConfig {
	h := output.HTTPConfig{
		URL: string(u),
		TLS: output.TLS{
			CA: string(r.TLS.CA), Cert: string(r.TLS.Cert), Key: string(r.TLS.Key),
			ServerName: r.TLS.ServerName, InsecureSkipVerify: r.TLS.InsecureSkipVerify,
		},
		Auth: output.Auth{
			User: r.Auth.User, Password: output.Secret(r.Auth.Password), APIKey: output.Secret(r.Auth.APIKey),
			Bearer: output.Secret(r.Auth.Bearer), BearerFile: string(r.Auth.BearerFile),
		},
		Timeout:              time.Duration(r.Timeout),
		MaxConnAge:           time.Duration(r.Age),
		ProxyFromEnvironment: r.Proxy == "environment",
		Version:              version(),
		Logger:               log,
	}
	if len(r.Headers) > 0 {
		h.Headers = make(map[string]output.Secret, len(r.Headers))
		for k, v := range r.Headers {
			h.Headers[k] = output.Secret(v)
		}
	}
	return h
}

func format(name string, keys config.Keys) output.Format {
	return output.Format{Name: name, JSON: jsonlConfig(keys)}
}

func jsonlConfig(k config.Keys) jsonl.Config {
	return jsonl.Config{
		Keys: jsonl.Keys{Time: k.Time, Message: k.Message}, Labels: every, Annotations: every,
		Attrs: append(jsonl.DefaultAttrs[:len(jsonl.DefaultAttrs):len(jsonl.DefaultAttrs)], record.AttrRestart),
	}
}
