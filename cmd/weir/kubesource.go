package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/kube"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/show"
	"github.com/weirlog/weir/store"
)

// A cluster without weir in it is asked by fetching the logs of the pods in
// question into a store that is thrown away:
//
//	Kubernetes API ─► kube.Logs ─► kubeSink ─► store.Store in a temporary directory ─► api ─► read.Client
//
// so that LogQL means the same as everywhere.

// What is fetched unless something is said: kubelet hands out a file of 10 MiB
// a container by default, so that this is some hundred containers.
const (
	kubeSince = time.Hour
	kubeBytes = 1 << 30
)

// kubeRequests is how many logs are fetched at a time. The API server passes
// all of them through.
const kubeRequests = 16

// cluster reports whether the command reads from a cluster; chosen says that it
// does so because somebody said so.
func (f *sourceFlags) cluster() (is, chosen bool) {
	switch {
	case f.kube, f.context != "", f.kubeconfig != "":
		return true, true
	case flagOrEnv(f.server, "WEIR_SERVER") != "", flagOrEnv(f.state, "WEIR_STATE") != "", len(f.files) > 0:
		return false, true
	case asPlugin:
		return true, true
	}
	state, err := f.find(func(state string) bool { return hasStore(state) || runs(state) }, io.Discard)
	if err != nil || hasStore(state) || runs(state) {
		return false, false
	}
	return kube.HasKubeconfig(), false
}

// openLogs finds the cluster.
func (f *sourceFlags) openLogs() (*kube.Logs, error) {
	logs, err := kube.OpenLogs(kube.LogsConfig{Kubeconfig: f.kubeconfig, Context: f.context})
	return logs, kubeError(err)
}

// kubeError gives an error of package kube its exit code.
func kubeError(err error) error {
	var unknown *kube.UnknownContextError
	var access *kube.AccessError
	var many *kube.TooManyError
	switch {
	case errors.As(err, &many):
		return &exitError{exitUsage, fmt.Errorf("%w: name fewer of them, as in 'weir tail deploy/web -n shop -c main', or raise --max-log-requests", err)}
	case errors.As(err, &unknown):
		return &exitError{exitUsage, err}
	case errors.As(err, &access), errors.Is(err, kube.ErrNoKubeconfig):
		return &exitError{exitUnreachable, err}
	}
	return err
}

// openCluster fetches what is wanted and returns a client that asks it.
func (f *sourceFlags) openCluster(ctx context.Context, want wanted, chosen bool, errOut io.Writer) (c *read.Client, err error) {
	most := int64(kubeBytes)
	if f.kubeMost != "" {
		var z config.Size
		if err := z.UnmarshalText([]byte(f.kubeMost)); err != nil || z <= 0 {
			return nil, usageError("--kube-max %s: want a size such as 200MiB or 4GiB", f.kubeMost)
		}
		most = int64(z)
	}
	logs, err := f.openLogs()
	if err != nil {
		return nil, err
	}
	defer logs.Close()
	if !chosen {
		fmt.Fprintf(errOut, "reading %s through its API; nothing is kept\n", logs)
	}
	r := f.kubeReading(logs, want, errOut)
	sweepTemporary()
	dir, err := os.MkdirTemp("", temporaryStores)
	if err != nil {
		return nil, fmt.Errorf("make a temporary store: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	s, err := openTemporary(dir)
	if err != nil {
		return nil, err
	}
	fetched, err := fetch(ctx, logs, r, s, most, errOut)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	servers, err := newAPI(&keeper{Store: s, dir: dir}, &config.Listen{Limits: config.ListenLimits{QueryTime: config.Forever}}, nil, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	f.incomplete = fetched.incomplete
	return &read.Client{
		What: logs.String(), Page: 50_000, Local: true, Weir: true, Cluster: true, Base: "http://weir", Agent: "weir/" + version(),
		HTTP: &http.Client{Transport: read.InProcess(servers.own)},
		Closed: func() error {
			servers.close(slog.New(slog.DiscardHandler))
			return errors.Join(s.Close(), os.RemoveAll(dir))
		},
	}, nil
}

// openTemporary opens a store that need not outlive the process.
func openTemporary(dir string) (*store.Store, error) {
	fsys, err := store.DirFS(dir)
	if err != nil {
		return nil, err
	}
	s, err := store.Open(store.Config{FS: hasty{fsys}, Check: -1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("temporary store %s: %w", dir, err)
	}
	return s, nil
}

// hasty is a file system without durability: nobody reads the store after a
// crash.
type hasty struct{ store.FS }

// Create implements store.FS.
func (h hasty) Create(name string) (store.File, error) { return hastyFile(h.FS.Create(name)) }

// Open implements store.FS.
func (h hasty) Open(name string, write bool) (store.File, error) {
	return hastyFile(h.FS.Open(name, write))
}

// SyncDir implements store.FS.
func (h hasty) SyncDir(string) error { return nil }

type unsynced struct{ store.File }

// Sync implements store.File.
func (unsynced) Sync() error { return nil }

func hastyFile(f store.File, err error) (store.File, error) {
	if err != nil {
		return nil, err
	}
	return unsynced{f}, nil
}

// kubeReading is what is fetched for a query: no other pods than its selectors
// can match, and no more of the past than it looks at.
func (f *sourceFlags) kubeReading(logs *kube.Logs, want wanted, errOut io.Writer) kube.Reading {
	r := kube.Reading{Tail: -1, MaxRequests: kubeRequests, Until: want.to}
	var back time.Duration
	if want.expr != nil {
		back = logql.Lookback(want.expr)
	}
	if !want.to.IsZero() {
		// What is written while we fetch belongs to 'now'.
		if time.Since(want.to) < time.Minute {
			r.Until = time.Time{}
		}
	}
	end := cmp.Or(want.to, time.Now())
	hour := ""
	switch {
	case !want.from.IsZero() && want.from.Unix() > 0:
		r.Since = want.from.Add(-back)
	case back > 0:
		r.Since = end.Add(-back)
	default:
		r.Since = end.Add(-kubeSince)
		hour = "the last hour (--since 24h for more) of "
	}
	r.Since = r.Since.Add(-time.Second) // the server's grain
	r.Init, r.Ephemeral = true, true
	selectors := querySelectors(want.expr)
	r.Pick.All, r.Pick.Namespaces = f.kubeNamespaces(selectors)
	where := "all namespaces"
	switch {
	case len(r.Pick.Namespaces) > 0:
		where = "namespace " + strings.Join(r.Pick.Namespaces, ", ")
	case !r.Pick.All:
		r.Pick.Namespaces = []string{logs.Namespace()}
		where = "namespace " + logs.Namespace() + " (-A for all)"
	}
	if hour != "" {
		fmt.Fprintf(errOut, "%s%s\n", hour, where)
	}
	if len(selectors) > 0 {
		r.Keep = func(s *show.Stream) bool { return anyMatches(selectors, s) }
		r.Events = slices.ContainsFunc(selectors, asksForEvents)
		r.NoLogs = r.Events && !slices.ContainsFunc(selectors, func(s *logql.Selector) bool { return !asksForEvents(s) })
	}
	if r.NoLogs || f.others {
		r.Keep = nil
	}
	return r
}

// querySelectors returns the selectors of a query, none for everything.
func querySelectors(e logql.Expr) []*logql.Selector {
	if e == nil {
		return nil
	}
	return logql.Selectors(e)
}

// kubeNamespaces works out the namespaces: those of -n, all with -A, else those
// the query names; none of it means the context's.
func (f *sourceFlags) kubeNamespaces(selectors []*logql.Selector) (all bool, names []string) {
	if f.all || len(f.namespaces) > 0 {
		return f.all, f.namespaces
	}
	for _, s := range selectors {
		named := false
		for _, m := range s.Matchers() {
			if m.Name() != "namespace" {
				continue
			}
			values, ok := m.Equals()
			if !ok {
				return true, nil
			}
			if !named {
				names = append(names, values...)
			}
			named = true
		}
		if !named {
			return false, nil
		}
	}
	slices.Sort(names)
	return false, slices.Compact(slices.DeleteFunc(names, func(s string) bool { return s == "" }))
}

// anyMatches reports whether one of the selectors can match lines of a
// container.
func anyMatches(selectors []*logql.Selector, s *show.Stream) bool {
	labels := make([]logql.Label, 0, len(s.Labels))
	for k, v := range s.Labels {
		labels = append(labels, logql.Label{Name: k, Value: v})
	}
	slices.SortFunc(labels, func(a, b logql.Label) int { return strings.Compare(a.Name, b.Name) })
	return slices.ContainsFunc(selectors, func(sel *logql.Selector) bool { return sel.Stream(labels) != logql.No })
}

// asksForEvents reports whether a selector is about Kubernetes Events: they are
// not fetched unless input names them.
func asksForEvents(s *logql.Selector) bool {
	return slices.ContainsFunc(s.Matchers(), func(m *logql.Matcher) bool {
		return m.Name() == "input" && m.Match("events") && !m.Match("")
	})
}

// fetch reads logs into the store.
func fetch(ctx context.Context, logs *kube.Logs, r kube.Reading, s *store.Store, most int64, errOut io.Writer) (*kubeSink, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sink := &kubeSink{store: s, ctx: ctx, cancel: cancel, most: most, total: math.MaxInt, progress: newProgress(errOut), errOut: errOut}
	err := logs.Read(ctx, r, sink)
	sink.flush()
	sink.progress.clear()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errKubeFull):
		sink.warn(fmt.Sprintf("%s of logs were read, which is the limit, and the rest was left out: narrow it with -n, --since or the query's labels, or raise --kube-max", size(most)))
	case cause != nil && !errors.Is(cause, context.Canceled):
		return nil, cause
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, kubeError(err)
	}
	sink.tell()
	return sink, nil
}

var errKubeFull = errors.New("enough logs were read")
