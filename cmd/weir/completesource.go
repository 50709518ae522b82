package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weirlog/weir/kube"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
)

// How long completion may take in all, how long an answer of a server is used
// again while somebody types, and how old one may be where the server does not
// answer in time.
const (
	completePatience = 900 * time.Millisecond
	completeFresh    = 5 * time.Second
	completeStale    = time.Hour
)

// liveSource asks the source that a command would use for what there is. Its
// methods return nothing when there is no answer in time; they say nothing.
type liveSource struct {
	ctx    context.Context
	flags  sourceFlags
	span   rangeFlags
	client chan *read.Client // holds it, opened once; nil inside if there is none
	logs   chan *kube.Logs
}

// liveFor makes the source of the flags that are typed so far. end must be
// called.
func liveFor(cmd *cobra.Command) (s *liveSource, end func()) {
	s = &liveSource{client: make(chan *read.Client, 1), logs: make(chan *kube.Logs, 1)}
	stand := &cobra.Command{}
	s.flags.add(stand)
	s.span.add(stand)
	copyFlags(stand.Flags(), cmd.Flags())
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	s.ctx, end = context.WithTimeout(ctx, completePatience)
	return s, end
}

// copyFlags gives the flags of to the values that those of the same name and
// type were given.
func copyFlags(to, from *pflag.FlagSet) {
	from.Visit(func(f *pflag.Flag) {
		t := to.Lookup(f.Name)
		if t == nil || t.Value.Type() != f.Value.Type() {
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			_ = t.Value.(pflag.SliceValue).Replace(list.GetSlice()) // same type
			return
		}
		_ = t.Value.Set(f.Value.String())
	})
}

// cluster reports whether the command would ask the Kubernetes API.
func (s *liveSource) cluster() bool {
	is, _ := s.flags.cluster()
	return is
}

// label returns the values of a label in the streams of a selector, "" for all.
func (s *liveSource) label(name, selector string) []string {
	if s.cluster() {
		kind := map[string]string{"namespace": "namespaces", "pod": "pods", "container": "containers", "node": "nodes", "workload": "workloads", "app": "labels"}[name]
		if kind == "" {
			return nil
		}
		names := s.kube(kind)
		if name == "app" {
			return appsOf(names)
		}
		return names
	}
	if selector == "" {
		selector = s.inNamespaces()
	}
	return s.ask("value "+name+" "+selector, func(ctx context.Context, c *read.Client) ([]string, error) {
		form := s.times(c)
		if _, err := logql.Parse(selector); selector != "" && err == nil {
			form.Set("query", selector)
		}
		return s.list(ctx, c, "/loki/api/v1/label/"+url.PathEscape(name)+"/values", form)
	})
}

// names returns the names of labels.
func (s *liveSource) names() []string {
	if s.cluster() {
		return []string{"app", "container", "namespace", "node", "pod", "workload"}
	}
	return s.ask("names", func(ctx context.Context, c *read.Client) ([]string, error) {
		return s.list(ctx, c, "/loki/api/v1/labels", s.times(c))
	})
}

func (s *liveSource) list(ctx context.Context, c *read.Client, path string, form url.Values) ([]string, error) {
	var a struct {
		Data []string `json:"data"`
	}
	err := c.Get(ctx, path, form, &a)
	slices.Sort(a.Data)
	return a.Data, err
}

// times is the range that was typed, else all of a store, and what a server
// takes for recent.
func (s *liveSource) times(c *read.Client) url.Values {
	form := make(url.Values)
	r, err := s.span.parse(time.Now())
	if err == nil && r.given {
		form.Set("start", strconv.FormatInt(r.from.UnixNano(), 10))
	} else if c.Local {
		form.Set("start", "0")
	}
	if err == nil && r.until {
		form.Set("end", strconv.FormatInt(r.to.UnixNano(), 10))
	}
	return form
}

// inNamespaces is the selector of -n, "" without.
func (s *liveSource) inNamespaces() string {
	switch len(s.flags.namespaces) {
	case 0:
		return ""
	case 1:
		return "{namespace=" + quoteLogQL(s.flags.namespaces[0]) + "}"
	}
	return ""
}

// ask asks a server or the store of this host.
func (s *liveSource) ask(what string, question func(context.Context, *read.Client) ([]string, error)) []string {
	f := &s.flags
	key := ""
	if server := flagOrEnv(f.server, "WEIR_SERVER"); server != "" {
		key = strings.Join([]string{"server", server, f.user, flagOrEnv(f.tenant, "WEIR_TENANT"), f.tokenFile, s.span.since, s.span.until, s.span.from, s.span.to, what}, "\x00")
	}
	return s.cached(key, func(ctx context.Context) ([]string, error) {
		var c *read.Client
		select {
		case c = <-s.client:
		default:
			var err error
			if c, err = f.open(ctx, wanted{}, io.Discard); err != nil {
				return nil, err
			}
		}
		s.client <- c // closed by the end of the process, which is near
		return question(ctx, c)
	})
}

// kube returns names of what is in the cluster; see kube.Logs.Names.
func (s *liveSource) kube(kind string) []string {
	f := &s.flags
	namespace := ""
	switch {
	case f.all:
	case len(f.namespaces) > 0:
		namespace = f.namespaces[0]
	default:
		namespace = contextNamespace
	}
	key := strings.Join([]string{"kube", f.kubeconfig, os.Getenv("KUBECONFIG"), f.context, namespace, kind}, "\x00")
	return s.cached(key, func(ctx context.Context) ([]string, error) {
		var logs *kube.Logs
		select {
		case logs = <-s.logs:
		default:
			var err error
			if logs, err = kube.OpenLogs(kube.LogsConfig{Kubeconfig: f.kubeconfig, Context: f.context}); err != nil {
				return nil, err
			}
		}
		s.logs <- logs
		in := namespace
		if in == contextNamespace {
			in = logs.Namespace()
		}
		if kind != "workloads" {
			return logs.Names(ctx, kind, in)
		}
		var all []string
		for _, kind := range []string{"deployment", "statefulset", "daemonset"} {
			names, err := logs.Names(ctx, kind+"s", in)
			if err != nil {
				return all, err
			}
			for _, n := range names {
				all = append(all, kind+"/"+n)
			}
		}
		return all, nil
	})
}

// contextNamespace stands for the namespace of the context.
const contextNamespace = "\x00"

// appsOf returns the values of the usual labels for an application's name.
func appsOf(labels []string) []string {
	var apps []string
	for _, l := range labels {
		if name, value, _ := strings.Cut(l, "="); name == "app" || name == "app.kubernetes.io/name" || name == "k8s-app" {
			apps = append(apps, value)
		}
	}
	slices.Sort(apps)
	return slices.Compact(apps)
}

// cached returns what question answers in time, or, with a key, what it did
// answer lately. Who does not answer at all is not waited for.
func (s *liveSource) cached(key string, question func(context.Context) ([]string, error)) []string {
	file := cacheFile(key)
	if names, ok := readCache(file, completeFresh); ok {
		return names
	}
	answer := make(chan []string, 1)
	go func() { // at most as long as the process, which ends after its answer
		names, err := question(s.ctx)
		if err != nil {
			names = nil
		}
		answer <- names
	}()
	select {
	case names := <-answer:
		if names != nil {
			writeCache(file, names)
			return names
		}
	case <-s.ctx.Done():
	}
	names, _ := readCache(file, completeStale)
	return names
}

// cacheFile is where answers are kept, "" for nowhere.
func cacheFile(key string) string {
	dir, err := os.UserCacheDir()
	if key == "" || err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(dir, "weir", "complete", hex.EncodeToString(sum[:12]))
}

func readCache(file string, age time.Duration) ([]string, bool) {
	info, err := os.Stat(file)
	if err != nil || time.Since(info.ModTime()) > age {
		return nil, false
	}
	b, err := os.ReadFile(file)
	var names []string
	return names, err == nil && json.Unmarshal(b, &names) == nil
}

// writeCache keeps an answer, and removes those that are too old for any use.
// It is no loss if it fails.
func writeCache(file string, names []string) {
	if file == "" {
		return
	}
	dir := filepath.Dir(file)
	b, err := json.Marshal(names)
	if err != nil || os.MkdirAll(dir, 0o700) != nil {
		return
	}
	tmp, err := os.CreateTemp(dir, "tmp")
	if err != nil {
		return
	}
	_, err = tmp.Write(b)
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > completeStale {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
