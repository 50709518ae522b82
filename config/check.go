package config

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// checker looks at what no single value shows.
type checker struct {
	*decoder
	cfg *Config
	o   Options
}

// node returns what was given for the path, or for the nearest one above it.
func (c *Config) node(path string) given {
	for {
		if n, ok := c.from.nodes[path]; ok || path == "" {
			return n
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

func (k *checker) err(path, format string, args ...any) *Problem {
	pos, width := k.cfg.node(path).place()
	return k.addf(pos, width, "%s", path+": "+fmt.Sprintf(format, args...))
}

// inValue reports an error at a place inside the value.
func (k *checker) inValue(path string, err error) {
	p := k.err(path, "%s", err)
	var se *syntaxError
	if g := k.nodes[path]; errors.As(err, &se) && g.node != nil {
		p.Hint = se.hint
		k.pointInto(p, g.node, se.off)
	}
}

func (k *checker) warn(path, format string, args ...any) *Problem {
	p := k.err(path, format, args...)
	p.Warning = true
	return p
}

// given reports whether the user or a preset said something at that path.
func (k *checker) given(path string) bool {
	n, ok := k.nodes[path]
	return ok && !n.null
}

func (k *checker) all() {
	c := k.cfg
	k.required(reflect.ValueOf(c).Elem(), fieldsOf(reflect.TypeFor[Config]()), "")
	k.multiline()
	if !k.o.Incomplete && k.o.Preset != "webhook" { // which handles no records
		root, _ := k.cfg.node("").place()
		if len(c.Inputs) == 0 && !k.given("inputs") && !k.takes() {
			k.addf(root, 1, "there is no input: nothing would be read").Hint = "add inputs: {kubernetes: {}} or inputs: {file: {paths: [/var/log/app/*.log]}}"
		}
		if len(c.Outputs) == 0 && !k.given("outputs") {
			k.addf(root, 1, "there is no output: records would have nowhere to go").Hint = "add outputs: {stdout: {}}, or one of " + allOutputs()
		}
	}
	k.pipeline()
	for i := range c.Inputs {
		k.input(&c.Inputs[i])
	}
	for i := range c.Outputs {
		k.output(&c.Outputs[i])
	}
	k.together()
	k.routes()
	k.store()
	k.listen()
	k.ports()
	k.sidecar()
	k.webhook()
}

// allOutputs names the types of outputs.
func allOutputs() string {
	var names []string
	for _, t := range outputTypes {
		if t.name != "stdout" {
			names = append(names, t.name)
		}
	}
	return strings.Join(names, ", ")
}

// required reports keys that must be given and are not, below the struct v.
func (k *checker) required(v reflect.Value, fs []field, path string) {
	for _, f := range fs {
		fv, p := v.FieldByIndex(f.index), sub(path, f.name)
		switch {
		case f.required && fv.IsZero() && !k.given(p):
			k.err(path, "%s is missing", f.name).Hint = lowerFirst(f.doc)
		case f.required && fv.Kind() == reflect.Slice && fv.Len() == 0:
			k.err(p, "is empty")
		}
		switch x := fv.Addr().Interface().(type) {
		case *Inputs:
			for i := range *x {
				k.component((*x)[i].ID, (*x)[i].Settings, p)
			}
			continue
		case *Outputs:
			for i := range *x {
				k.component((*x)[i].ID, (*x)[i].Settings, p)
			}
			continue
		case *[]Step:
			continue
		}
		if fv.Kind() == reflect.Slice && !isScalar(fv.Type().Elem()) {
			for i := range fv.Len() {
				k.required(fv.Index(i), fieldsOf(fv.Type().Elem()), p+"["+strconv.Itoa(i)+"]")
			}
			continue
		}
		if fv.Kind() == reflect.Struct && !isScalar(fv.Type()) {
			k.required(fv, fieldsOf(fv.Type()), p)
		}
	}
}

func (k *checker) component(id ID, settings any, path string) {
	v := reflect.ValueOf(settings).Elem()
	k.required(v, fieldsOf(v.Type()), sub(path, string(id)))
}

func lowerFirst(s string) string {
	s = strings.TrimSuffix(s, ".")
	if len(s) > 1 && s[1] >= 'a' {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

func (k *checker) pipeline() {
	for i, s := range k.cfg.Pipeline {
		p := "pipeline[" + strconv.Itoa(i) + "]." + s.Kind
		if s.Kind == "" {
			continue // reported already
		}
		if s.Kind == "drop" && strings.ReplaceAll(string(s.Drop), " ", "") == "{}" {
			k.warn(p, "drops every record")
		}
		for name, text := range s.Set {
			if err := checkSet(name, text); err != nil {
				k.err(sub(p, name), "%s", err)
			}
		}
		if s.Kind == "parse" {
			c := &k.cfg.Pipeline[i].Parse
			c.check(k, p)
		}
		if s.Kind == "rate_limit" {
			c := &k.cfg.Pipeline[i].RateLimit
			c.check(k, p, false)
		}
		if s.Kind == "remove" && len(s.Remove) == 0 || s.Kind == "set" && len(s.Set) == 0 {
			k.err(p, "is empty")
		}
	}
}

func (k *checker) input(in *Input) {
	p := "inputs." + string(in.ID)
	if x, ok := in.Settings.(interface{ check(*checker, string) }); ok {
		x.check(k, p)
	}
	if x, ok := in.Settings.(*FileInput); ok {
		x.Parse.check(k, p+".parse")
	}
	var labels map[string]string
	switch x := in.Settings.(type) {
	case *KubernetesInput:
		labels = x.Labels
		if x.Exclude != "" {
			if err := checkSelector(string(x.Exclude)); err != nil {
				k.inValue(p+".exclude", err)
			}
		}
		if x.Metadata == "path" && x.Kubeconfig != "" {
			k.err(p+".kubeconfig", "contradicts metadata: path, which asks no API server")
		}
		for i, l := range x.PodLabels {
			if _, err := path.Match(l, "x"); err != nil {
				k.err(fmt.Sprintf("%s.pod_labels[%d]", p, i), "bad pattern %q", shorten(l))
			}
		}
	case *FileInput:
		labels = x.Labels
	}
	for name := range labels {
		if !labelName(name) {
			k.err(p+".labels."+name, "bad label name %q", shorten(name)).Hint = "letters, digits and _, not starting with a digit"
		}
	}
}

func labelName(s string) bool { return envName(s) && !strings.HasPrefix(s, "__") }

// settle lets defaults follow what was given: who asks for a small buffer means
// small batches too.
func (k *checker) settle(p string, d *Delivery) {
	follow := func(fits bool, a, b string, bFollows, aFollows func()) {
		switch {
		case fits:
		case !k.given(p + b):
			bFollows()
		case !k.given(p + a):
			aFollows()
		}
	}
	follow(d.Retry.MinDelay <= d.Retry.MaxDelay, ".retry.max_delay", ".retry.min_delay",
		func() { d.Retry.MinDelay = d.Retry.MaxDelay }, func() { d.Retry.MaxDelay = d.Retry.MinDelay })
	follow(d.Batch.Bytes <= d.Buffer.Memory, ".buffer.memory", ".batch.bytes",
		func() { d.Batch.Bytes = d.Buffer.Memory }, func() { d.Buffer.Memory = 2 * d.Batch.Bytes })
}

// gatewayDisk is buffer.disk of outputs over the network in the role gateway, where
// an answer should mean: safe on disk.
const gatewayDisk = 1 << 30

// local reports whether an output stays on this machine.
func local(settings OutputSettings) bool {
	switch settings.(type) {
	case *FileOutput, *StdoutOutput, *StoreOutput:
		return true
	}
	return false
}

func (k *checker) output(out *Output) {
	p := "outputs." + string(out.ID)
	d := out.Settings.Common()
	k.settle(p, d)
	if k.o.Preset == "gateway" && !local(out.Settings) && !k.given(p+".buffer.disk") {
		d.Buffer.Disk = gatewayDisk
	}
	k.sidecarOutput(p, out)
	if r := out.Settings.Endpoints(); r != nil {
		k.remote(p, r, schemesOf(out.Settings))
		if k.given(p+".eject") && len(r.Places()) == 1 && !r.Looked() {
			k.warn(p+".eject", "there is one url only: it is never left out")
		}
	}
	if d.Retry.MinDelay > d.Retry.MaxDelay {
		k.err(p+".retry.min_delay", "retry.min_delay (%s) is longer than retry.max_delay (%s)", d.Retry.MinDelay, d.Retry.MaxDelay)
	}
	if d.Batch.Bytes > d.Buffer.Memory {
		k.err(p+".batch.bytes", "batch.bytes (%s) does not fit into buffer.memory (%s)", d.Batch.Bytes, d.Buffer.Memory)
	}
	if m := k.cfg.Limits.Memory; m > 0 && d.Batch.Bytes > m && k.given(p+".batch.bytes") {
		k.warn(p+".batch.bytes", "batch.bytes (%s) is more than limits.memory (%s): requests stay smaller", d.Batch.Bytes, m)
	}
	if x, ok := out.Settings.(interface{ check(*checker, string) }); ok {
		x.check(k, p)
	}
	switch x := out.Settings.(type) {
	case *ElasticsearchOutput:
		k.elasticsearch(p, x)
	case *LokiOutput:
		if x.Tenant != "" {
			k.template(p+".tenant", x.Tenant, false)
		}
		for i, l := range x.Labels {
			if !labelName(l) {
				k.err(fmt.Sprintf("%s.labels[%d]", p, i), "bad label name %q", shorten(l)).Hint = "letters, digits and _, not starting with a digit"
			}
		}
		if len(x.Labels) == 0 {
			k.err(p+".labels", "is empty: Loki refuses streams without a label")
		}
	case *OTLPOutput:
		k.otlp(p, x)
	case *JSONLOutput:
		k.keys(p, x.Keys)
	case *FileOutput:
		k.keys(p, x.Keys)
	case *StdoutOutput:
		k.keys(p, x.Keys)
		if x.Prefix && x.Format != "raw" {
			k.err(p+".prefix", "prefix is for format raw: %s names the file by itself", x.Format)
		}
	}
}

func (k *checker) keys(p string, keys Keys) {
	if keys.Time == keys.Message {
		k.err(p+".keys", "time and message have the same name %q", shorten(keys.Time))
	}
}

func (k *checker) template(p string, t Template, index bool) {
	if err := checkTemplate(string(t), index); err != nil {
		k.err(p, "%s", err)
	}
}

func (k *checker) elasticsearch(p string, x *ElasticsearchOutput) {
	k.template(p+".index", x.Index, true)
	if x.DataStream && x.Op != "create" {
		k.err(p+".op", "contradicts data_stream: true, which takes create only")
	}
	if x.DataStream && !k.given(p+".index") {
		k.err(p+".data_stream", "needs an index: the name of the data stream").Hint = "such as index: logs-weir-${namespace}"
	} else if x.DataStream && strings.Contains(string(x.Index), "%") {
		k.warn(p+".index", "a data stream rolls over by itself: a date in its name makes a new one each time")
	}
	if !x.IDs && x.Op == "create" && !x.DataStream {
		k.warn(p+".ids", "without ids a repeated request stores records twice")
	}
}

func (k *checker) otlp(p string, x *OTLPOutput) {
	grpc := -1
	for _, place := range x.Places() {
		is := 0
		if strings.HasPrefix(place.URL.Scheme(), "grpc") {
			is = 1
			if pu, err := url.Parse(string(place.URL.Plain())); err == nil && strings.Trim(pu.Path, "/") != "" {
				k.err(p+"."+place.Path, "a gRPC address has no path")
			}
		}
		if grpc >= 0 && grpc != is {
			k.err(p+"."+place.Path, "HTTP and gRPC cannot be mixed in one output")
			return
		}
		grpc = is
	}
}

// together looks at what components do to each other.
func (k *checker) together() {
	paths := make(map[Path]ID)
	var stdout []ID
	for _, out := range k.cfg.Outputs {
		switch x := out.Settings.(type) {
		case *StdoutOutput:
			if stdout = append(stdout, out.ID); len(stdout) > 1 {
				k.warn("outputs."+string(out.ID), "%s writes to standard output too", stdout[0])
			}
		case *FileOutput:
			if i := badVerb(string(x.Path)); i >= 0 {
				k.err("outputs."+string(out.ID)+".path", "unknown time directive %q", string(x.Path[i:min(i+2, len(x.Path))])).Hint = "allowed: %Y %m %d %j %H %M %%"
			}
			p := "outputs." + string(out.ID) + ".path"
			if other, dup := paths[x.Path]; dup && x.Path != "" {
				k.err(p, "outputs.%s writes to this file too", other)
			}
			paths[x.Path] = out.ID
			for _, in := range k.cfg.Inputs {
				if f, ok := in.Settings.(*FileInput); ok && f.reads(string(x.Path)) {
					k.err(p, "inputs.%s reads this file: its lines would go round for ever", in.ID)
				}
			}
		}
	}
}

// badVerb returns where in a path of an output stands a time directive that
// it does not know, -1 if nowhere.
func badVerb(s string) int {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			if i+1 == len(s) || !strings.ContainsRune("YmdjHM%", rune(s[i+1])) {
				return i
			}
			i++
		}
	}
	return -1
}

func (f *FileInput) reads(name string) bool {
	match := func(g Glob) bool {
		ok, err := path.Match(string(g), name)
		return err == nil && ok
	}
	return slices.ContainsFunc(f.Paths, match) && !slices.ContainsFunc(f.Exclude, match)
}

func (k *checker) routes() {
	var known []string
	places := make(map[string]Pos)
	if outs := k.nodes["outputs"]; outs.node != nil && outs.kind == mapNode {
		for _, e := range outs.entries { // as given, so that a bad one is not called missing
			if e.val.kind == scalarNode && e.val.text == "off" {
				continue
			}
			known = append(known, e.key)
			places[e.key] = e.keyPos
		}
	}
	used := make(map[string]bool)
	all, every := -1, false
	for i, r := range k.cfg.Routes {
		p := "routes[" + strconv.Itoa(i) + "]"
		if all >= 0 {
			k.warn(p, "is never reached: routes[%d] takes every record", all)
		}
		seen := make(map[ID]bool)
		for j, id := range r.To {
			if id == "" {
				continue // reported already
			}
			where := p + ".to[" + strconv.Itoa(j) + "]"
			if seen[id] {
				k.warn(where, "%s is given twice", id)
			}
			seen[id] = true
			used[string(id)] = true
			if slices.Contains(known, string(id)) {
				continue
			}
			pos, width := k.cfg.node(where).place()
			q := k.addf(pos, width, "%s.to: no output named %q", p, string(id))
			if best := nearest(string(id), known); best != "" {
				q.Message += fmt.Sprintf("   did you mean %q (%s)?", best, places[best])
			} else if len(known) > 0 {
				q.Hint = "there are: " + strings.Join(known, " ")
			}
		}
		if w := strings.ReplaceAll(string(r.When), " ", ""); w == "" || w == "{}" {
			every = true
			if !r.Continue && all < 0 {
				all = i
			}
		}
	}
	if len(k.cfg.Routes) > 0 && !every {
		k.warn("routes", "a record that no route matches goes nowhere").Hint = "add a last route without when, if that is not meant"
	}
	if len(k.cfg.Routes) > 0 {
		for _, out := range k.cfg.Outputs {
			if !used[string(out.ID)] {
				k.warn("outputs."+string(out.ID), "gets nothing: no route names it")
			}
		}
	}
}

// Problem returns an error about the value at a path, such as
// outputs.loki.tls.ca, shown like those of Load. It is for what only shows
// when a component is made.
func (c *Config) Problem(path, message string) *Errors {
	pos, width := c.node(path).place()
	p := Problem{Pos: pos, Message: hideAll(path+": "+message, c.from.secrets), width: width}
	return &Errors{problems{[]Problem{p}, c.from.hidden}}
}
