package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/store"
)

// sourceFlags say where logs are read: at a server, from this host's store, or
// straight from a cluster.
type sourceFlags struct {
	storeFlags
	server, tenant, user, passwordFile, tokenFile, ca string

	kube                bool
	context, kubeconfig string
	kubeMost            string
	namespaces          []string
	all                 bool

	others     bool         // lines of others than the query's containers are asked for, too
	incomplete func() error // what is missing of a cluster's logs; nil for other sources
}

// wanted is what a command is about to ask for, so that a source which has to
// fetch logs first fetches no others.
type wanted struct {
	expr     logql.Expr // nil for everything
	from, to time.Time  // zero for no bound
}

func (f *sourceFlags) add(cmd *cobra.Command) {
	f.storeFlags.addTo(cmd, "")
	c := cmd.Flags()
	c.StringVar(&f.server, "server", "", "URL of a weir or a Loki to ask instead of this host's store; also WEIR_SERVER")
	c.StringVar(&f.tenant, "tenant", "", "tenant at the server, sent as X-Scope-OrgID; also WEIR_TENANT")
	c.StringVar(&f.user, "user", "", "user at the server; the password is in WEIR_PASSWORD or --password-file")
	c.StringVar(&f.passwordFile, "password-file", "", "file with the password")
	c.StringVar(&f.tokenFile, "token-file", "", "file with a bearer token; or the token in WEIR_TOKEN")
	c.BoolVar(&f.kube, "kube", false, "read from the cluster of the kubeconfig, with nothing installed there")
	c.StringVar(&f.context, "context", "", "context of the kubeconfig; implies --kube")
	c.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file; implies --kube (default KUBECONFIG, else ~/.kube/config)")
	c.StringVar(&f.kubeMost, "kube-max", "", "most bytes of logs that are fetched from a cluster to be asked (default 1GiB)")
	c.StringSliceVarP(&f.namespaces, "namespace", "n", nil, "only this namespace; may be repeated")
	c.BoolVarP(&f.all, "all-namespaces", "A", false, "all namespaces of the cluster, not only the context's; a store has them all")
	for _, name := range []string{"kube", "context", "kubeconfig"} {
		cmd.MarkFlagsMutuallyExclusive("server", name)
		cmd.MarkFlagsMutuallyExclusive("state", name)
	}
	cmd.MarkFlagsMutuallyExclusive("namespace", "all-namespaces")
	c.StringVar(&f.ca, "ca", "", "file with CA certificates (PEM) for the server, instead of the system's")
}

// oneNamespace reports whether all lines are of one namespace, which need not be
// said of each.
func (f *sourceFlags) oneNamespace() bool { return len(f.namespaces) == 1 && !f.all }

func flagOrEnv(value, env string) string {
	if value != "" {
		return value
	}
	return os.Getenv(env)
}

// serverURL is the server that was named, "" if there is none. A flag that names
// another source goes before the environment.
func (f *sourceFlags) serverURL() string {
	if f.server == "" && f.state != "" {
		return ""
	}
	return flagOrEnv(f.server, "WEIR_SERVER")
}

func secretFrom(file, env string) (string, error) {
	if file == "" {
		return os.Getenv(env), nil
	}
	b, err := os.ReadFile(file)
	return strings.TrimRight(string(b), "\r\n"), err
}

// startPatience is how long a store may be in use by a process that does not
// answer yet: it opens the store before it listens.
const startPatience = 3 * time.Second

// open returns a client of the cluster or server that was named, else of this
// host's process, else of a store that no process has, else of the cluster of
// the kubeconfig.
func (f *sourceFlags) open(ctx context.Context, want wanted, errOut io.Writer) (*read.Client, error) {
	if is, chosen := f.cluster(); is {
		return f.openCluster(ctx, want, chosen, errOut)
	}
	if server := f.serverURL(); server != "" {
		return f.remote(server)
	}
	state, dir, err := f.place(errOut)
	if err != nil {
		return nil, err
	}
	c := &read.Client{What: "the weir on " + state, Page: 50_000, Local: true, Weir: true, Base: "http://weir", Agent: "weir/" + version()}
	var s *store.Store
	for deadline := time.Now().Add(startPatience); ; {
		if runs(state) {
			c.HTTP = adminClient(state)
			c.Explain = func(err error) error { return adminError(state, err) }
			before := damagedPages(state)
			c.Damaged = func() int64 { return max(0, damagedPages(state)-before) }
			return c, nil
		}
		// Nothing is written: several may ask, and nobody waits for the disk.
		s, err = openForCommand(dir, func(c *store.Config) { c.ReadOnly = true })
		if err == nil {
			break
		}
		if !errors.Is(err, store.ErrLocked) || time.Now().After(deadline) {
			return nil, err
		}
		// It is being opened by a process that is about to answer.
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	servers, err := newAPI(&keeper{Store: s, dir: dir}, &config.Listen{Limits: config.ListenLimits{QueryTime: config.Forever}}, nil, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	c.HTTP = &http.Client{Transport: read.InProcess(servers.own)}
	c.Damaged = func() int64 { return s.Stats().DamagedPages }
	c.Closed = func() error {
		servers.close(slog.New(slog.DiscardHandler))
		return s.Close()
	}
	return c, nil
}

// use opens the source and calls do with a client of it. Errors get their exit
// codes; what damage the queries met is one, too.
func (f *sourceFlags) use(ctx context.Context, want wanted, errOut io.Writer, do func(*read.Client) error) error {
	c, err := f.open(ctx, want, errOut)
	if err != nil {
		return err
	}
	err = explain(c, do(c))
	if err == nil && c.Damaged != nil {
		if n := c.Damaged(); n > 0 {
			err = &exitError{exitDropped, fmt.Errorf("%s in the store could not be read, so that lines may be missing; see 'weir store check'", plural(n, "damaged place"))}
		}
	}
	if err == nil && f.incomplete != nil {
		err = f.incomplete()
	}
	if e := c.Close(); err == nil {
		err = e
	}
	return err
}

// explain makes an error for people, with its exit code, of one of a source.
func explain(c *read.Client, err error) error {
	var ue *read.UnreachableError
	if errors.As(err, &ue) {
		return &exitError{exitUnreachable, err}
	}
	var se *read.ServerError
	if !errors.As(err, &se) {
		return err
	}
	switch {
	case se.Status == http.StatusBadRequest:
		return &exitError{exitUsage, se}
	case se.Status == http.StatusUnauthorized && strings.Contains(se.Text, "no org id"):
		return &exitError{exitUnreachable, fmt.Errorf("%s: %w: say for which tenant with --tenant", c.What, se)}
	case se.Status == http.StatusUnauthorized, se.Status == http.StatusForbidden,
		se.Status == http.StatusBadGateway, se.Status == http.StatusServiceUnavailable,
		se.Status == http.StatusNotFound && c.Local:
		return &exitError{exitUnreachable, fmt.Errorf("%s: %w", c.What, se)}
	}
	return fmt.Errorf("%s: %w", c.What, se)
}

// damagedPages returns how many damaged places the queries of a running process
// have met, 0 if it does not say: the query itself will tell why.
func damagedPages(state string) int64 {
	var n int64
	if err := ask(context.Background(), state, "/v1/store/damaged", &n); err != nil {
		return 0
	}
	return n
}

func (f *sourceFlags) remote(server string) (*read.Client, error) {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usageError("--server %s: want http://host:port or https://host:port", config.URL(server))
	}
	c := &read.Client{What: u.Redacted(), Header: make(http.Header), User: u.User, Page: 5000, Agent: "weir/" + version()}
	u.User = nil
	c.Base = strings.TrimSuffix(u.String(), "/")
	if tenant := flagOrEnv(f.tenant, "WEIR_TENANT"); tenant != "" {
		c.Header.Set("X-Scope-OrgID", tenant)
	}
	if f.user != "" {
		password, err := secretFrom(f.passwordFile, "WEIR_PASSWORD")
		if err != nil {
			return nil, err
		}
		c.User = url.UserPassword(f.user, password)
	}
	token, err := secretFrom(f.tokenFile, "WEIR_TOKEN")
	if err != nil {
		return nil, err
	}
	if token != "" && c.User == nil {
		c.Header.Set("Authorization", "Bearer "+token)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usageError("--ca %s: no certificate in it", f.ca)
		}
	}
	c.HTTP = &http.Client{Transport: t}
	return c, nil
}
