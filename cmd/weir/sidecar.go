package main

import (
	"cmp"
	"context"
	"encoding/json"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
)

// sidecarFlags are what `weir sidecar` is told.
type sidecarFlags struct {
	configFlags
	stream    []string
	format    string
	prefix    string
	multiline string
	reclaim   bool
	untilFile string
	untilExit string
	linger    time.Duration
	deadline  time.Duration
	message   string
	health    string
	state     string
}

func sidecarCommand() *cobra.Command {
	var flags sidecarFlags
	cmd := &cobra.Command{
		Use:   "sidecar (--stream FILE… | -c FILE)",
		Short: "Stream an application's log files to stdout, or ship them, from a container beside it",
		Long: `Reads the log files that an application in the same pod writes.

Streaming, --stream: every line of the files goes to standard output as it is, from
their beginning and for as long as they grow, as 'tail -n+1 -F' does it; the node's
log agent, of whatever make, takes it from there. Rotation and truncation are
followed, files need not be there yet, and a restart goes on where it was: no line
is lost or written twice. Several files, or a pattern, get the file's name before
each line, or are JSON with -o json.

Shipping, -c: a configuration with inputs (file), a parser, rate and destination for
each, on top of 'weir config show --role sidecar'. Records carry the pod's identity
from the environment: POD_NAME, POD_NAMESPACE, POD_UID, NODE_NAME, CONTAINER_NAME,
and its labels from the file that POD_LABELS_FILE names (a downwardAPI volume).

It ends when it is told to (SIGTERM), when the file of --until-file appears, or when
the application's processes have ended (--until-exit, in a pod with
shareProcessNamespace: true). It then reads what is there to its end, delivers it,
at most for --deadline, and writes how many lines were delivered and how many not
to /dev/termination-log. The exit code is 0 in each of these cases, so that a Job
completes.

Positions are in --state; if that is not given in /var/lib/weir where something is
mounted there, else in the directory .weir beside the first file, else in /dev/shm.`,
		Example: `  weir sidecar --stream /var/log/1.log
  weir sidecar --stream '/var/log/app/*.log' --multiline java
  weir sidecar --stream /data/app.log --until-file /data/done
  weir sidecar -c /etc/weir/weir.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			if len(flags.stream) > 0 { // --stream a.log b.log, as a shell expands it
				flags.stream = append(flags.stream, args...)
				return nil
			}
			return usageError("which is it? weir sidecar --stream %[1]s, or -c %[1]s for a configuration", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := newSidecar(&flags)
			if err != nil {
				return err
			}
			return p.run(cmd.Context())
		},
	}
	flags.add(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&flags.stream, "stream", nil, "file or pattern to stream to standard output; may be repeated")
	f.StringVarP(&flags.format, "output", "o", "raw", "with --stream: raw, or json with the file's name, level and time")
	f.StringVar(&flags.prefix, "prefix", "auto", "with --stream: [name] before each line: auto (if there are several files), always or never")
	f.Lookup("prefix").NoOptDefVal = "always"
	f.StringVar(&flags.multiline, "multiline", "", "with --stream: keep lines that belong together in one: auto, java, go, python, node, dotnet, ruby or first:REGEXP")
	f.BoolVar(&flags.reclaim, "reclaim", false, "with --stream: give back the disk space of lines that were written out, by punching holes; for files that nobody else reads")
	f.StringVar(&flags.untilFile, "until-file", "", "end when this file is there and everything is delivered")
	f.StringVar(&flags.untilExit, "until-exit", "", "end when the application's processes, or those of this program, have ended")
	f.Lookup("until-exit").NoOptDefVal = "any"
	f.DurationVar(&flags.linger, "linger", 0, "at the end: how long nothing may have been written (default 1s)")
	f.DurationVar(&flags.deadline, "deadline", 0, "how long the end may take; keep it two seconds below what is left of terminationGracePeriodSeconds (default 13s)")
	f.StringVar(&flags.message, "termination-message", "", "file for the last word (default /dev/termination-log)")
	f.StringVar(&flags.health, "health", "", "address for probes and metrics: ':7411'")
	f.StringVar(&flags.state, "state", "", "directory of positions (default as above)")
	return cmd
}

// streamName is what messages call the configuration that --stream stands for.
const streamName = "weir sidecar --stream"

// newSidecar makes the process of flags.
func newSidecar(flags *sidecarFlags) (*process, error) {
	opts := flags.options("sidecar")
	if len(flags.stream) > 0 {
		text, err := flags.streaming()
		if err != nil {
			return nil, err
		}
		opts.Files = append([]string{streamName}, opts.Files...)
		opts.ReadFile = func(path string) ([]byte, error) {
			if path == streamName {
				return text, nil
			}
			return os.ReadFile(path)
		}
	} else if len(flags.files) == 0 && len(flags.set) == 0 {
		return nil, usageError("sidecar needs files to stream, weir sidecar --stream /var/log/app.log, or a configuration, weir sidecar -c weir.yaml")
	} else if flags.multiline != "" || flags.prefix != "auto" || flags.format != "raw" || flags.reclaim {
		return nil, usageError("--multiline, --prefix, --reclaim and -o are for --stream; a configuration says it itself")
	}
	set := func(key, value string) {
		if value != "" {
			opts.Set = append(opts.Set, key+"="+strings.ReplaceAll(value, "${", "$${"))
		}
	}
	if len(flags.stream) > 0 {
		// Standard error goes the same way as the lines do.
		opts.Set = append([]string{"log.level=warn"}, opts.Set...)
	}
	set("sidecar.until_file", flags.untilFile)
	set("sidecar.until_exit", flags.untilExit)
	set("sidecar.termination_message", flags.message)
	set("listen.probe", flags.health)
	set("state", flags.state)
	for key, d := range map[string]time.Duration{"sidecar.linger": flags.linger, "limits.stop": flags.deadline} {
		if d != 0 {
			set(key, d.String())
		}
	}
	p := &process{opts: opts, sidecar: true}
	p.identity = identityOfPod(os.Getenv, os.ReadFile)
	state, kept := sidecarState(&p.opts)
	if state != "" {
		p.opts.Defaults = map[string]string{"state": state}
	}
	p.volatile = !kept
	return p, nil
}

// streaming is --stream as a configuration.
func (f *sidecarFlags) streaming() ([]byte, error) {
	if f.format != "raw" && f.format != "json" {
		return nil, usageError("-o %s: want raw or json", f.format)
	}
	several := len(f.stream) > 1 || strings.ContainsAny(f.stream[0], "*?[")
	prefix, ok := map[string]bool{"auto": several, "always": true, "never": false}[f.prefix]
	if !ok {
		return nil, usageError("--prefix %s: want auto, always or never", f.prefix)
	}
	input := map[string]any{"paths": f.stream}
	if f.multiline != "" {
		input["multiline"] = f.multiline
	}
	if f.reclaim {
		input["reclaim"] = "punch"
	}
	output := map[string]any{"format": f.format}
	c := map[string]any{"inputs": map[string]any{"file": input}, "outputs": map[string]any{"stdout": output}}
	if f.format == "json" {
		output["keys"] = map[string]string{"time": "time", "message": "msg"}
		c["pipeline"] = []any{map[string]string{"parse": "auto"}}
	} else {
		output["prefix"] = prefix
	}
	return json.Marshal(c) // JSON is YAML
}

// sidecarState chooses the directory of positions if nobody named one, "" else. kept
// says that it is there again after a restart of the container.
func sidecarState(opts *config.Options) (dir string, kept bool) {
	o := *opts
	o.Incomplete = true
	cfg, _, err := config.Load(o)
	if err != nil || string(cfg.State) != defaultState {
		return "", true // run says what is wrong
	}
	if mayWrite(defaultState) && !runs(defaultState) { // on a host it may be an agent's
		return "", true
	}
	var first string
	h := fnv.New32a()
	for _, in := range cfg.Inputs {
		if s, ok := in.Settings.(*config.FileInput); ok {
			for _, g := range s.Paths {
				first = cmp.Or(first, string(g))
				h.Write(append([]byte(g), 0))
			}
		}
	}
	// Several sidecars of a pod share volumes, so that the name is of what is read.
	name := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, filepath.Base(first)) + "-" + strconv.FormatUint(uint64(h.Sum32()), 16)
	places := []string{"/dev/shm"} // of the pod, not of the container
	if first != "" {
		at := filepath.Dir(first)
		for strings.ContainsAny(at, "*?[") {
			at = filepath.Dir(at)
		}
		places = append([]string{at}, places...)
	}
	for _, place := range places {
		if mayWrite(place) {
			return filepath.Join(place, ".weir", name), true
		}
	}
	return filepath.Join(os.TempDir(), ".weir", name), false
}

// mayWrite reports whether a directory is there and takes files.
func mayWrite(dir string) bool {
	f, err := os.CreateTemp(dir, ".weir-*")
	if err != nil {
		return false
	}
	_ = f.Close() // nothing was written
	return os.Remove(f.Name()) == nil
}

// endedBy says why a sidecar ends by itself.
type endedBy string

// seeToEnd waits for whatever ends a sidecar and then has all files read to their end
// and delivered. end is called when time is up.
func (p *process) seeToEnd(ctx context.Context, end context.CancelFunc) {
	p.lastWord.begin(p.awaitEnd(ctx))
	deadline := time.Duration(p.cfg.Limits.Stop)
	// What is under way when time is up needs a moment to be answered.
	reserve := min(sidecarReserve, deadline/8)
	timer := time.NewTimer(deadline - reserve)
	defer timer.Stop()
	p.engine.SetGrace(deadline)
	p.beginStop()
	p.mu.Lock()
	linger := time.Duration(p.cfg.Sidecar.Linger)
	var others []string
	for id, in := range p.inputs {
		if in.tail != nil {
			in.tail.Settle(linger)
		} else {
			others = append(others, string(id))
		}
	}
	p.mu.Unlock()
	for _, id := range others { // what is pushed has no end
		go func() {
			if err := p.engine.StopInput(context.WithoutCancel(ctx), id); err != nil {
				p.log.Debug("stop input", "input", id, "error", err)
			}
		}()
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			return
		case <-timer.C:
			p.lastWord.late.Store(true)
			p.engine.SetGrace(0)
			end()
			return
		case <-tick.C:
			p.lastWord.write(p, false)
		}
	}
}

// sidecarReserve is how much of the deadline is for answers to what was sent.
const sidecarReserve = 1500 * time.Millisecond
