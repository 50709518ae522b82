package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/store"
)

func storeCommand() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Keep logs that are pushed, and answer queries",
		Long: `Keeps logs that are pushed as to Loki (/loki/api/v1/push) or by OTLP
(/otlp/v1/logs), durable before they are acknowledged, and answers queries as
Loki does: for 'weir query', for Grafana's Loki data source, for logcli.

The built-in configuration ('weir config show --role store') listens on
127.0.0.1:7410; -c adds to it. Beyond loopback it needs listen.users,
listen.tls.client_ca or listen.insecure.`,
		Example: `  weir store
  weir store -c weir.yaml
  weir store --set state=/srv/weir --set store.retention=30d`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := process{opts: flags.options("store")}
			return p.run(cmd.Context())
		},
	}
	flags.add(cmd)
	cmd.AddCommand(storeCheckCommand(), storeSnapshotCommand())
	return cmd
}

// storeFlags say which store a command is about.
type storeFlags struct{ stateFlags }

// place returns the state directory of the process that may have the store, and
// the store's directory.
func (f *storeFlags) place(errOut io.Writer) (state, dir string, err error) {
	if len(f.files) > 0 {
		cfg, _, err := config.Load(config.Options{Files: f.files, Incomplete: true})
		if err != nil {
			return "", "", err
		}
		return string(cfg.State), string(cfg.Store.Path), nil
	}
	if state, err = f.find(hasStore, errOut); err != nil {
		return "", "", err
	}
	return state, filepath.Join(state, "store"), nil
}

// hasStore reports whether there is a store in a state directory.
func hasStore(state string) bool { return isStore(filepath.Join(state, "store")) }

func isStore(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, "MANIFEST"))
	return err == nil
}

// openForCommand opens a store that no process has.
func openForCommand(dir string, check func(*store.Config)) (*store.Store, error) {
	if !isStore(dir) {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("%w; run this as the user that runs weir", err)
		}
		// Opening would make one. Without a manifest but with segments it is a
		// store all the same.
		days, err := filepath.Glob(filepath.Join(dir, "20*", "*.parquet"))
		if err != nil || len(days) == 0 {
			return nil, fmt.Errorf("there is no store in %s; name another with --state", dir)
		}
	}
	// Nothing is flushed, merged or removed behind the caller's back.
	c := store.Config{Dir: dir, MinFree: -1, Check: -1, Log: slog.New(slog.DiscardHandler)}
	if check != nil {
		check(&c)
	}
	s, err := store.Open(c)
	if errors.Is(err, store.ErrLocked) {
		return nil, &exitError{exitUnreachable, lockedError(dir)}
	}
	return s, err
}

// lockedError says that a store is in use by a process that cannot be asked; it
// is store.ErrLocked.
type lockedError string

func (e lockedError) Error() string {
	return string(e) + " is in use by another process that does not answer on the socket of its state directory; name that with --state"
}

func (lockedError) Is(target error) bool { return target == store.ErrLocked }

// storeReport is what `weir store check` has found.
type storeReport struct {
	Path     string            `json:"path"`
	Running  bool              `json:"running"` // by the process that has the store
	Recovery store.Recovery    `json:"recovery"`
	Check    store.CheckReport `json:"check"`
	Error    string            `json:"error,omitempty"`
}

func storeCheckCommand() *cobra.Command {
	var of storeFlags
	var repair bool
	var format string
	cmd := &cobra.Command{
		Use:   "check [PATH]",
		Short: "Read every byte of a store and say what is damaged",
		Long: `Reads every byte of every segment and compares all sums. It asks the process
that has the store, or opens the directory when none runs; PATH is another
store's directory, such as a snapshot.

With --repair, a damaged index is made anew from its Parquet file, and a damaged
Parquet file becomes a segment of the rows that can still be read. Damaged files
are put aside in 'quarantine', never removed.

Exit code 5: something is damaged or was lost.`,
		Example: `  weir store check
  weir store check --repair --state /var/lib/weir
  weir store check /backup/logs`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "text" && format != "json" {
				return usageError("-o %s: want text or json", format)
			}
			rep, err := checkStore(cmd.Context(), &of, args, repair, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if format == "json" {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(rep); err != nil {
					return err
				}
			} else {
				rep.print(cmd.OutOrStdout(), repair)
			}
			return rep.verdict()
		},
	}
	of.add(cmd)
	cmd.Flags().BoolVar(&repair, "repair", false, "keep what can be read of what is damaged")
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text or json")
	return cmd
}

func checkStore(ctx context.Context, of *storeFlags, args []string, repair bool, errOut io.Writer) (*storeReport, error) {
	p := newProgress(errOut)
	var dir string
	if len(args) == 0 {
		state, d, err := of.place(errOut)
		if err != nil {
			return nil, err
		}
		dir = d
		var last checkAnswer
		err = commandStream(ctx, state, "/v1/store/check", url.Values{"repair": {fmt.Sprint(repair)}}, func(d *json.Decoder) error {
			var a checkAnswer
			if err := d.Decode(&a); err != nil {
				return err
			}
			last = a
			p.show("%s of %s checked", size(last.Done), size(last.Total))
			return nil
		})
		p.clear()
		if err == nil && last.Report == nil {
			err = fmt.Errorf("the process on %s ended before it was done", state)
		}
		if !errors.Is(err, errNotRunning) {
			return last.Report, err
		}
	} else {
		dir = args[0]
	}
	s, err := openForCommand(dir, nil)
	if err != nil {
		return nil, err
	}
	rep := runCheck(ctx, s, dir, repair, func(done, total int64) { p.show("%s of %s checked", size(done), size(total)) })
	p.clear()
	if err := s.Close(); err != nil && rep.Error == "" {
		rep.Error = err.Error()
	}
	return rep, nil
}

// checkAnswer is one of the objects that a process answers while it checks its
// store: how far it has come, and at last the report.
type checkAnswer struct {
	Done   int64        `json:"done,omitempty"`
	Total  int64        `json:"total,omitempty"`
	Report *storeReport `json:"report,omitempty"`
}

func runCheck(ctx context.Context, s *store.Store, dir string, repair bool, progress func(done, total int64)) *storeReport {
	rep := &storeReport{Path: dir, Recovery: s.Recovery()}
	var err error
	if rep.Check, err = s.Check(ctx, store.CheckOptions{Repair: repair, Progress: progress}); err != nil {
		rep.Error = err.Error()
	}
	return rep
}

// print tells a person what was found.
func (rep *storeReport) print(w io.Writer, repair bool) {
	c, r := &rep.Check, &rep.Recovery
	fmt.Fprintf(w, "%s: %s with %s, %s read\n", rep.Path, plural(int64(c.Segments), "segment"), plural(c.Rows, "row"), size(c.Bytes))
	when := "On opening it"
	if rep.Running {
		when = "When the running process opened it"
	}
	if r.Rows > 0 && !rep.Running {
		fmt.Fprintf(w, "%s waited in the log and are there.\n", plural(r.Rows, "more row"))
	}
	if r.Torn > 0 {
		fmt.Fprintf(w, "%s, %s at the end of the log were cut off: a write that a crash ended and that nobody was told is kept.\n", when, size(r.Torn))
	}
	if r.Places > 0 {
		fmt.Fprintf(w, "%s, %s with %s could not be read and were passed over.\n", when, plural(int64(r.Places), "damaged place"), size(r.Damaged))
	}
	if r.LostRows > 0 {
		fmt.Fprintf(w, "%s, %s named streams that stood in a damaged place, and are lost.\n", when, plural(r.LostRows, "row"))
	}
	if r.Missing > 0 {
		fmt.Fprintf(w, "MISSING: %s with %s that should be there.\n", plural(int64(r.Missing), "segment"), plural(r.MissingRows, "row"))
	}
	for _, q := range r.Quarantined {
		fmt.Fprintf(w, "put aside: %s\n", q)
	}
	for _, b := range c.Bad {
		fmt.Fprintf(w, "DAMAGED: %s, %s: %s\n", b.File, plural(b.Rows, "row"), strings.TrimPrefix(b.Problem, b.File+": "))
		if b.Repaired != "" {
			fmt.Fprintf(w, "  repaired: %s; %d of %d rows kept\n", b.Repaired, b.Saved, b.Rows)
		}
	}
	switch {
	case rep.Error != "":
	case len(c.Bad) == 0:
		fmt.Fprintln(w, "All sums agree.")
	case !repair:
		fmt.Fprintln(w, "Queries pass over the damaged places. 'weir store check --repair' keeps what can be read of them.")
	default:
		fmt.Fprintf(w, "The damaged files are in %s.\n", filepath.Join(rep.Path, "quarantine"))
	}
}

// verdict is the command's error: exit code 5 when data was lost, or will be if
// nobody does anything.
func (rep *storeReport) verdict() error {
	if rep.Error != "" {
		return errors.New(rep.Error)
	}
	var lost int64
	open := 0
	for _, b := range rep.Check.Bad {
		if b.Repaired == "" {
			open++
		} else {
			lost += b.Rows - b.Saved
		}
	}
	r := &rep.Recovery
	switch {
	case open > 0:
		return &exitError{exitDropped, fmt.Errorf("%d of %s damaged", open, plural(int64(rep.Check.Segments), "segment"))}
	case lost+r.LostRows > 0:
		return &exitError{exitDropped, fmt.Errorf("%s lost", pluralIs(lost+r.LostRows, "row"))}
	case r.Missing > 0:
		return &exitError{exitDropped, fmt.Errorf("%s missing", pluralIs(int64(r.Missing), "segment"))}
	case r.Places > 0:
		return &exitError{exitDropped, fmt.Errorf("%s could not be read", plural(int64(r.Places), "damaged place"))}
	}
	return nil
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func pluralIs(n int64, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return fmt.Sprintf("%d %ss are", n, what)
}

func storeSnapshotCommand() *cobra.Command {
	var of storeFlags
	cmd := &cobra.Command{
		Use:   "snapshot DIR",
		Short: "Make a copy of a store as of now, for a backup",
		Long: `Makes a copy of the store, as of now, in a directory that must not be there
yet: hard links where the file system allows them, else copies. It asks the
process that has the store, which goes on meanwhile, or opens the directory when
none runs. The copy is a store of its own:

  weir store --set store.path=DIR`,
		Example: `  weir store snapshot /backup/logs-2026-11-22`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("where to? A directory that is not there yet: weir store snapshot /backup/logs")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			if _, err := os.Lstat(to); err == nil {
				return usageError("%s is there already; name a new directory", args[0])
			}
			state, dir, err := of.place(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			var done struct{}
			err = command(cmd.Context(), state, "/v1/store/snapshot", url.Values{"dir": {to}}, &done)
			if errors.Is(err, errNotRunning) {
				var s *store.Store
				if s, err = openForCommand(dir, nil); err != nil {
					return err
				}
				err = s.Snapshot(cmd.Context(), to)
				if e := s.Close(); err == nil {
					err = e
				}
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "snapshot made: %s\n", to)
			return nil
		},
	}
	of.add(cmd)
	return cmd
}

// adminStore adds what the owner of the state directory may do with the store.
func (p *process) adminStore(mux *http.ServeMux) {
	do := func(path string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if p.keep == nil {
				http.Error(w, "there is no store in this process", http.StatusNotFound)
				return
			}
			v, err := f(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(v); err != nil {
				p.log.Debug("admin answer", "error", err)
			}
		})
	}
	mux.HandleFunc("POST /v1/store/check", func(w http.ResponseWriter, r *http.Request) {
		if p.keep == nil {
			http.Error(w, "there is no store in this process", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		out := json.NewEncoder(w)
		answer := func(a checkAnswer) {
			err := out.Encode(a)
			if err == nil {
				err = http.NewResponseController(w).Flush()
			}
			if err != nil {
				p.log.Debug("admin answer", "error", err)
			}
		}
		rep := runCheck(r.Context(), p.keep.Store, p.keep.dir, r.FormValue("repair") == "true", func(done, total int64) {
			answer(checkAnswer{Done: done, Total: total})
		})
		rep.Running = true
		answer(checkAnswer{Report: rep})
	})
	do("/v1/store/snapshot", func(r *http.Request) (any, error) {
		return struct{}{}, p.keep.Snapshot(r.Context(), r.FormValue("dir"))
	})
	mux.HandleFunc("GET /v1/store/damaged", func(w http.ResponseWriter, _ *http.Request) {
		var n int64
		if p.keep != nil {
			n = p.keep.Stats().DamagedPages
		}
		fmt.Fprintln(w, n)
	})
	for _, path := range []string{"/loki/", "/weir/"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if p.api == nil {
				http.Error(w, "there is no store in this process", http.StatusNotFound)
				return
			}
			if p.push.own.Serves(r) {
				p.push.own.ServeHTTP(w, r)
				return
			}
			p.api.own.ServeHTTP(w, r)
		})
	}
}

// command has the process that owns the state directory do something, however
// long it takes.
func command(ctx context.Context, state, path string, form url.Values, into any) error {
	return commandStream(ctx, state, path, form, func(d *json.Decoder) error {
		if err := d.Decode(into); errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		} else if err != nil {
			return err
		}
		return io.EOF
	})
}

// commandStream is command for an answer of several objects: next is called
// until it fails; io.EOF is the end.
func commandStream(ctx context.Context, state, path string, form url.Values, next func(*json.Decoder) error) error {
	client := adminClient(state)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://weir"+path, bytes.NewBufferString(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return adminError(state, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		if err != nil || len(text) == 0 {
			text = []byte(resp.Status)
		}
		return errors.New(strings.TrimSpace(string(text)))
	}
	for d := json.NewDecoder(resp.Body); ; {
		if err := next(d); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
