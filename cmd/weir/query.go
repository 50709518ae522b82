package main

import (
	"bufio"
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
)

// sourceFlags say where stored logs are asked for.
type sourceFlags struct {
	storeFlags
	server, tenant, user, passwordFile, tokenFile, ca string
}

func (f *sourceFlags) add(cmd *cobra.Command) {
	f.storeFlags.add(cmd)
	c := cmd.Flags()
	c.StringVar(&f.server, "server", "", "URL of a weir or a Loki to ask instead of this host's store; also WEIR_SERVER")
	c.StringVar(&f.tenant, "tenant", "", "tenant at the server, sent as X-Scope-OrgID; also WEIR_TENANT")
	c.StringVar(&f.user, "user", "", "user at the server; the password is in WEIR_PASSWORD or --password-file")
	c.StringVar(&f.passwordFile, "password-file", "", "file with the password")
	c.StringVar(&f.tokenFile, "token-file", "", "file with a bearer token; or the token in WEIR_TOKEN")
	c.StringVar(&f.ca, "ca", "", "file with CA certificates (PEM) for the server, instead of the system's")
}

func flagOrEnv(value, env string) string {
	if value != "" {
		return value
	}
	return os.Getenv(env)
}

func secretFrom(file, env string) (string, error) {
	if file == "" {
		return os.Getenv(env), nil
	}
	b, err := os.ReadFile(file)
	return strings.TrimRight(string(b), "\r\n"), err
}

// open returns a client of the server that was named, else of this host's
// process, else of a store that no process has.
func (f *sourceFlags) open(errOut io.Writer) (*lokiClient, error) {
	if server := flagOrEnv(f.server, "WEIR_SERVER"); server != "" {
		return f.remote(server)
	}
	state, dir, err := f.place(errOut)
	if err != nil {
		return nil, err
	}
	c := &lokiClient{what: "the weir on " + state, page: 50_000, local: true}
	if runs(state) {
		c.http, c.base, c.socket = adminClient(state), "http://weir", state
		before := damagedPages(state)
		c.damaged = func() int64 { return max(0, damagedPages(state)-before) }
		return c, nil
	}
	s, err := openForCommand(dir, nil)
	if err != nil {
		return nil, err
	}
	servers, err := newAPI(&keeper{Store: s, dir: dir}, &config.Listen{Limits: config.ListenLimits{QueryTime: config.Forever}}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	c.http, c.base = &http.Client{Transport: inProcess{servers.own}}, "http://weir"
	c.damaged = func() int64 { return s.Stats().DamagedPages }
	c.closed = func() error {
		servers.close(slog.New(slog.DiscardHandler))
		return s.Close()
	}
	return c, nil
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

func (f *sourceFlags) remote(server string) (*lokiClient, error) {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usageError("--server %s: want http://host:port or https://host:port", config.URL(server))
	}
	c := &lokiClient{what: u.Redacted(), header: make(http.Header), user: u.User, page: 5000}
	u.User = nil
	c.base = strings.TrimSuffix(u.String(), "/")
	if tenant := flagOrEnv(f.tenant, "WEIR_TENANT"); tenant != "" {
		c.header.Set("X-Scope-OrgID", tenant)
	}
	if f.user != "" {
		password, err := secretFrom(f.passwordFile, "WEIR_PASSWORD")
		if err != nil {
			return nil, err
		}
		c.user = url.UserPassword(f.user, password)
	}
	token, err := secretFrom(f.tokenFile, "WEIR_TOKEN")
	if err != nil {
		return nil, err
	}
	if token != "" && c.user == nil {
		c.header.Set("Authorization", "Bearer "+token)
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
	c.http = &http.Client{Transport: t}
	return c, nil
}

// queryFlags are what `weir query` is told.
type queryFlags struct {
	sourceFlags
	since, from, to, step string
	limit                 int
	forward, reverse      bool
	format                string
	stats                 bool
}

func queryCommand() *cobra.Command {
	var flags queryFlags
	cmd := &cobra.Command{
		Use:   "query LOGQL",
		Short: "Find stored logs, or count them",
		Long: `Finds stored logs with LogQL: those that 'weir up' or another weir on this host
keeps, or those of a server, a weir or a Loki (--server).

Lines: the newest 100 (-n) of the whole store, of a server's last hour; --since,
--from and --to choose another range. They are printed oldest first.

Numbers: the value at --to, or now; with --since, --from or --step a series of
values over the range.

Times: 2026-11-22T10:00:00Z, '2026-11-22 10:00', 2026-11-22, 10:30 (of today),
15m (ago), Unix seconds. Those without a zone are local.`,
		Example: `  weir query '{app="shop"}'
  weir query '{namespace="shop"} |= "timeout" | json | status >= 500' --since 2h
  weir query 'sum by (level) (count_over_time({app="shop"}[5m]))' --since 1h --step 5m
  weir query '{app="shop"}' -n 0 -o raw | grep -c timeout
  weir query --server http://loki:3100 --tenant team-a '{app="shop"}'`,
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return usageError("what to find is missing: weir query '{app=\"shop\"} |= \"error\"'")
			case 1:
				return nil
			}
			return usageError("more than one query; put it in single quotes: weir query '%s'", strings.Join(args, " "))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			err := runQuery(cmd.Context(), &flags, args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
			if errors.Is(err, context.Canceled) {
				return nil // Ctrl-C
			}
			return err
		},
	}
	flags.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&flags.since, "since", "s", "", "from how long ago: 15m, 2h, 7d")
	f.StringVar(&flags.from, "from", "", "from when")
	f.StringVar(&flags.to, "to", "", "up to when (default now)")
	f.StringVar(&flags.step, "step", "", "distance of the numbers in a series: 30s, 5m")
	f.IntVarP(&flags.limit, "limit", "n", 100, "lines at most; 0 for all")
	f.BoolVar(&flags.forward, "forward", false, "the oldest lines instead of the newest")
	f.BoolVarP(&flags.reverse, "reverse", "r", false, "print the newest line first")
	f.StringVarP(&flags.format, "output", "o", "pretty", "pretty, raw, json, logfmt or csv")
	f.BoolVar(&flags.stats, "stats", false, "say what the query cost, on stderr")
	cmd.MarkFlagsMutuallyExclusive("since", "from")
	return cmd
}

func runQuery(ctx context.Context, flags *queryFlags, text string, out, errOut io.Writer) error {
	if flags.limit < 0 {
		return usageError("-n %d: want a number of lines, or 0 for all", flags.limit)
	}
	expr, syntax := logql.Parse(text)
	if syntax != nil && flagOrEnv(flags.server, "WEIR_SERVER") == "" {
		return queryError(text, syntax)
	}
	w := bufio.NewWriterSize(out, 64<<10)
	p, err := newPrinter(flags.format, w, colorFor(out))
	if err != nil {
		return err
	}
	q := &query{flags: flags, text: text, expr: expr, p: p, errOut: errOut, now: time.Now()}
	if _, lines := expr.(*logql.LogExpr); lines || expr == nil && strings.HasPrefix(strings.TrimSpace(text), "{") {
		q.lines = true
	}
	if err := q.times(); err != nil {
		return err
	}
	if q.client, err = flags.open(errOut); err != nil {
		return err
	}
	err = q.run(ctx)
	var se *serverError
	if errors.As(err, &se) {
		err = q.explain(se, syntax)
	}
	if e := w.Flush(); err == nil {
		err = e
	}
	if err == nil && q.client.damaged != nil {
		if n := q.client.damaged(); n > 0 {
			err = &exitError{exitDropped, fmt.Errorf("%s in the store could not be read, so that lines may be missing; see 'weir store check'", plural(n, "damaged place"))}
		}
	}
	if err == nil && len(q.warnings) > 0 {
		err = &exitError{exitDropped, errors.New(strings.Join(q.warnings, "; "))}
	}
	if e := q.client.close(); err == nil {
		err = e
	}
	return err
}

// queryError shows a query and where in it something is wrong.
func queryError(text string, err error) error {
	var se *logql.SyntaxError
	if !errors.As(err, &se) || se.Line == 0 {
		return &exitError{exitUsage, err}
	}
	lines := strings.Split(text, "\n")
	line := []rune(lines[min(se.Line, len(lines))-1])
	col := min(se.Column-1, len(line))
	return &exitError{exitUsage, fmt.Errorf("%s\n\n  %s\n  %s^", se.Msg, printableLine(string(line)), strings.Repeat(" ", col))}
}

// explain makes an error for people of one of the server.
func (q *query) explain(e *serverError, syntax error) error {
	switch {
	case e.status == http.StatusBadRequest && syntax != nil:
		return queryError(q.text, syntax)
	case e.status == http.StatusBadRequest:
		return &exitError{exitUsage, e}
	case e.status == http.StatusUnauthorized && strings.Contains(e.text, "no org id"):
		return &exitError{exitUnreachable, fmt.Errorf("%s: %w: say for which tenant with --tenant", q.client.what, e)}
	case e.status == http.StatusUnauthorized || e.status == http.StatusForbidden:
		return &exitError{exitUnreachable, fmt.Errorf("%s: %w", q.client.what, e)}
	case e.status == http.StatusBadGateway || e.status == http.StatusServiceUnavailable:
		return &exitError{exitUnreachable, fmt.Errorf("%s: %w", q.client.what, e)}
	case e.status == http.StatusNotFound && q.client.local:
		return &exitError{exitUnreachable, fmt.Errorf("%s: %w", q.client.what, e)}
	}
	return fmt.Errorf("%s: %w", q.client.what, e)
}
