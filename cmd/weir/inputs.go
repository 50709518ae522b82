package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/cri"
	"github.com/weirlog/weir/gateway"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/pipeline"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/tail"
)

// input is a configured input as the process keeps it.
type input struct {
	made     time.Time
	settings any
	run      pipeline.Input
	tail     *tail.Input // one of these, or none
	pushed   *gateway.Input
}

// buildInputs makes all inputs of the configuration.
func (p *process) buildInputs(cfg *config.Config) (map[string]pipeline.Input, error) {
	out := make(map[string]pipeline.Input)
	for _, in := range cfg.Inputs {
		i, err := p.newInput(cfg, in)
		if err != nil {
			return nil, cfg.Problem("inputs."+string(in.ID), err.Error())
		}
		p.inputs[in.ID] = i
		out[string(in.ID)] = i.run
	}
	if p.push.input != nil {
		out[pushInput] = p.push.input
	}
	if p.stdin != nil {
		attrs := []record.Attr{{Name: record.AttrInput, Value: "stdin"}, {Name: record.AttrNode, Value: nodeName(cfg)}}
		for name, value := range p.stdinLabels {
			attrs = append(attrs, record.Attr{Name: name, Value: value})
		}
		s := record.NewStream(attrs, nil, nil)
		gen := record.ID{Hi: rand.Uint64(), Lo: rand.Uint64()}
		out["stdin"] = &tail.Reader{R: p.stdin, Stream: s, Generation: gen, Multiline: joining(&cfg.Multiline)}
	}
	return out, nil
}

// changedInputs returns the inputs that a reload has to stop and those that it
// has to start. Inputs whose settings are the same go on untouched, with their
// open handles.
func (p *process) changedInputs(cfg *config.Config) (stop, start []config.ID, err error) {
	for _, in := range cfg.Inputs {
		old := p.inputs[in.ID]
		if old != nil && reflect.DeepEqual(old.settings, in.Settings) {
			continue
		}
		if err := p.checkInput(cfg, in); err != nil {
			return nil, nil, cfg.Problem("inputs."+string(in.ID), err.Error())
		}
		start = append(start, in.ID)
	}
	for id := range p.inputs {
		if slices.Contains(start, id) || cfg.Input(id) == nil {
			stop = append(stop, id)
		}
	}
	return stop, start, nil
}

// checkInput finds what newInput would refuse. Two inputs on the same positions
// would read twice, so that this one gets none and is thrown away.
func (p *process) checkInput(cfg *config.Config, in config.Input) error {
	trial := process{log: slog.New(slog.DiscardHandler)}
	_, err := trial.newInput(cfg, in)
	return err
}

// stopInputs stops inputs. Their last figures are shown until startInputs.
func (p *process) stopInputs(ctx context.Context, list []config.ID) {
	for _, id := range list {
		if err := p.engine.StopInput(ctx, string(id)); err != nil && ctx.Err() == nil {
			p.log.Error("input did not stop cleanly", "input", id, "error", err)
		}
	}
}

// startInputs starts the listed inputs and forgets those that are not in cfg. An
// input that cannot start, although checkInput found nothing, makes the process
// unhealthy.
func (p *process) startInputs(ctx context.Context, cfg *config.Config, list []config.ID) {
	for _, id := range list {
		i, err := p.newInput(cfg, *cfg.Input(id))
		if err == nil {
			err = p.engine.StartInput(ctx, string(id), i.run)
		}
		if err != nil && ctx.Err() == nil {
			p.log.Error("input does not start", "input", id, "error", err)
		}
		p.mu.Lock()
		if err == nil {
			p.inputs[id] = i
		} else {
			delete(p.inputs, id)
		}
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.inputs {
		if cfg.Input(id) == nil {
			delete(p.inputs, id)
		}
	}
}

func (p *process) newInput(cfg *config.Config, in config.Input) (*input, error) {
	switch s := in.Settings.(type) {
	case *config.KubernetesInput:
		return p.kubernetesInput(cfg, in.ID, s)
	case *config.FileInput:
		return p.fileInput(cfg, in.ID, s)
	case *config.KafkaInput:
		return p.kafkaInput(in.ID, s)
	}
	return p.pushedInput(cfg, in)
}

var formats = map[string]cri.Format{"auto": cri.Auto, "cri": cri.CRI, "docker": cri.Docker, "plain": cri.Plain}

// openFiles returns how many files may be kept open: what is configured, but
// leaves half of what the system allows this process to the rest of it.
func openFiles(configured int) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return configured
	}
	return int(min(uint64(configured), max(16, limit.Cur/2)))
}

// tailConfig is what all inputs that read files share.
func (p *process) tailConfig(id config.ID, t *config.Tail, format string) tail.Config {
	c := tail.Config{
		ID: string(id), Format: formats[format], MaxLine: int(t.MaxLine),
		PollInterval: time.Duration(t.PollInterval), MaxHandles: openFiles(t.MaxOpen),
		Hold: tail.Hold{MaxBytes: int64(t.Hold.MaxBytes), MaxAge: time.Duration(t.Hold.MaxAge), LinkDir: string(t.Hold.Dir)},
		Book: &p.book, Logger: p.log.With("input", string(id)),
		Multiline: joining(&t.Multiline), ReadBytes: readAtOnce(&t.RateLimit),
	}
	if p.positions == nil {
		c.Hold.LinkDir = "" // a trial touches nothing
		return c
	}
	c.Checkpoint = p.positions
	if t.Hold.By == "link" {
		c.Hold.By = tail.HoldLink
	}
	if t.Start == "end" {
		c.Start = tail.EndOfFile
	}
	return c
}

func (p *process) kubernetesInput(cfg *config.Config, id config.ID, s *config.KubernetesInput) (*input, error) {
	c := p.tailConfig(id, &s.Tail, s.Format)
	c.Pods = string(s.Root)
	// With docker the files of both layouts are links to here.
	c.LinkRoots = []string{"/var/lib/docker/containers"}
	if filepath.Base(c.Pods) == "containers" {
		// /var/log/containers holds links into the other layout.
		c.Pods, c.Links = "", c.Pods
	}
	var exclude *logql.Condition
	if s.Exclude != "" {
		var err error
		if exclude, err = logql.ParseSelector(string(s.Exclude)); err != nil {
			return nil, err
		}
	}
	self := ownPod()
	c.WaitFor = time.Duration(s.MetadataWait)
	watch := p.kube
	if s.Metadata == "path" {
		watch = nil
	}
	var own *perPod
	if watch != nil {
		own = newPerPod(&p.misses, p.troubles.tell)
		c.DescribeVersion = func() uint64 { return own.round(watch.version()) }
	}
	var volumes *podVolumes
	if watch != nil && s.Volumes != "" {
		volumes = &podVolumes{pods: watch.pods, root: string(s.Volumes)}
		c.Volumes = volumes.list
		c.Refused = func(k tail.Container, file, why string) { p.troubles.tell(k, "file "+k.Volume+":"+file, why) }
	}
	base := []record.Attr{
		{Name: record.AttrCluster, Value: cfg.Cluster},
		{Name: record.AttrNode, Value: nodeName(cfg)},
		{Name: record.AttrInput, Value: "kubernetes"},
	}
	for name, value := range s.Labels {
		base = append(base, record.Attr{Name: name, Value: value})
	}
	c.Describe = func(k tail.Container) tail.Description {
		attrs := append(base[:len(base):len(base)],
			record.Attr{Name: record.AttrNamespace, Value: k.Namespace},
			record.Attr{Name: record.AttrPod, Value: k.Pod},
			record.Attr{Name: record.AttrPodUID, Value: k.UID},
			record.Attr{Name: record.AttrContainer, Value: k.Container},
			record.Attr{Name: record.AttrContainerID, Value: k.ID},
			record.Attr{Name: record.AttrRestart, Value: strconv.Itoa(k.Restart)},
		)
		var d tail.Description
		var m podMetadata
		if watch != nil {
			m, d.Wait = watch.describe(k)
			attrs = append(append(attrs, m.attrs...), volumeAttrs(k)...)
			d.Exclude = m.exclude
			if k.Volume != "" {
				m.wishes = volumes.wishes(k)
			}
		} else if p.guesses() {
			// What is configured wins: of two attributes with one name the later stands.
			attrs = append(podNameAttrs(k.Pod, nodeName(cfg)), attrs...)
		}
		d.Streams = containerStreams(attrs, m.labels, m.annotations)
		if k.Volume != "" { // it is neither stdout nor stderr
			s := record.NewStream(attrs, m.labels, m.annotations)
			d.Streams = [2]*record.Stream{s, s}
		}
		d.Exclude = d.Exclude || self(k) || exclude != nil && exclude.MatchStream(d.Streams[0])
		if own != nil && !d.Exclude {
			own.obey(k, &m, &d)
		}
		return d
	}
	in, err := p.finishInput(id, s, c, &config.Parser{}, &s.RateLimit)
	if err == nil && own != nil {
		in.run = stepFor{Input: in.run, step: own, now: time.Now}
	}
	return in, err
}

// guesses says that names may tell what nobody else does. 'weir up' is for people
// who want to look; what other roles send somewhere is only what is known.
func (p *process) guesses() bool { return p.opts.Preset == "up" }

// containerStreams returns the streams of stdout and stderr.
func containerStreams(attrs, labels, annotations []record.Attr) [2]*record.Stream {
	var out [2]*record.Stream
	for i, name := range [2]string{"stdout", "stderr"} {
		out[i] = record.NewStream(append(attrs[:len(attrs):len(attrs)], record.Attr{Name: record.AttrStream, Value: name}), labels, annotations)
	}
	return out
}

func (p *process) fileInput(cfg *config.Config, id config.ID, s *config.FileInput) (*input, error) {
	c := p.tailConfig(id, &s.Tail, s.Format)
	for _, g := range s.Paths {
		c.Paths = append(c.Paths, string(g))
	}
	for _, g := range s.Exclude {
		c.Excludes = append(c.Excludes, string(g))
	}
	c.IdleLine = time.Duration(s.Idle)
	c.Reclaim = s.Reclaim == "punch"
	c.RotateSize, c.RotateKeep = int64(s.Rotate.Size), s.Rotate.Keep
	base := []record.Attr{
		{Name: record.AttrCluster, Value: cfg.Cluster},
		{Name: record.AttrNode, Value: nodeName(cfg)},
		{Name: record.AttrInput, Value: "file"},
	}
	var podLabels []record.Attr
	if p.identity != nil {
		base = append([]record.Attr{{Name: record.AttrCluster, Value: cfg.Cluster}, {Name: record.AttrInput, Value: "file"}}, p.identity.attrs...)
		podLabels = p.identity.labels
	}
	named := s.Labels[record.AttrService] != "" || s.Labels[record.AttrApp] != ""
	for name, value := range s.Labels {
		base = append(base, record.Attr{Name: name, Value: value})
	}
	docker := s.Format == "docker"
	c.Describe = func(k tail.Container) tail.Description {
		// What is configured wins: of two attributes with one name the later stands.
		attrs := append([]record.Attr{{Name: record.AttrFile, Value: k.Path}}, base...)
		if docker {
			about, ok := dockerAbout(k.Path)
			if ok {
				attrs = append(about.attrs(), attrs...)
			}
			return tail.Description{Streams: containerStreams(attrs, nil, nil), Exclude: ok && about.excluded()}
		}
		if !named && p.guesses() {
			attrs = append(attrs, record.Attr{Name: record.AttrService, Value: serviceOfFile(k.Path)})
		}
		s := record.NewStream(attrs, podLabels, nil)
		return tail.Description{Streams: [2]*record.Stream{s, s}}
	}
	return p.finishInput(id, s, c, &s.Parse, &s.RateLimit)
}

func (p *process) finishInput(id config.ID, settings any, c tail.Config, parse *config.Parser, rate *config.RateLimit) (*input, error) {
	t, err := tail.New(c)
	if err != nil {
		return nil, err
	}
	in := &input{made: time.Now(), settings: settings, tail: t, run: t}
	if in.run, err = limit(t, rate); err != nil {
		return nil, err
	}
	step, err := p.parseStep(parse, "inputs."+string(id))
	if err != nil {
		return nil, err
	}
	if step != nil {
		in.run = stepFor{Input: in.run, step: step, now: time.Now}
	}
	return in, nil
}

// nodeName is the name of this node.
func nodeName(cfg *config.Config) string {
	if cfg.Node != "" {
		return cfg.Node
	}
	if n := os.Getenv("NODE_NAME"); n != "" {
		return n
	}
	n, err := os.Hostname()
	if err != nil {
		return ""
	}
	return n
}

// ownPod returns whether a container is of the pod this process runs in: what
// weir says about its own lines would make more of them.
func ownPod() func(tail.Container) bool {
	if uid := os.Getenv("POD_UID"); uid != "" {
		return func(k tail.Container) bool { return k.UID == uid }
	}
	name, err := os.Hostname() // a pod's host name is its name
	if err != nil || !inCluster() {
		return func(tail.Container) bool { return false }
	}
	return func(k tail.Container) bool { return k.Pod == name }
}
