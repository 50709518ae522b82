package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/record"
)

// sendOptions are the flags of weir send.
type sendOptions struct {
	protocol string
	lines    int
	duration time.Duration
	rate     config.Rate
	clients  int
	batch    int
	size     int
	style    string
	seed     uint64
	streams  int
	labels   map[string]string
	ids      bool

	compression string
	framing     string
	index       string
	retry       time.Duration
	output      string

	tenant, user, passwordFile, tokenFile, sharedKeyFile string
	password, token, sharedKey                           string
	headers                                              map[string]string
	ca, cert, key, serverName                            string
	insecure                                             bool

	verify     bool
	verifyWait time.Duration
	from       sourceFlags

	run          string // names this run in its lines
	batchBytes   int
	retryDefault bool // nobody said how long to try
}

func sendCommand() *cobra.Command {
	var o sendOptions
	var rate, size, compression string
	cmd := &cobra.Command{
		Use:   "send TARGET [FILE…|-]",
		Short: "Send logs in any protocol: try a gateway, load it, ship a file once",
		Long:  sendHelp(),
		Example: `  weir send otlp://127.0.0.1:4318
  weir send loki://127.0.0.1:7410 --verify --server http://127.0.0.1:7410
  weir send grpc://gateway:4317 --clients 64 --duration 1m --rate 50MB/s
  weir send https://es:9200/_bulk --user elastic --password-file pw --ca ca.crt
  weir send syslog+udp://127.0.0.1:5514 --lines 10
  weir send forward://127.0.0.1:24224 --label app=shop app.log app.log.1
  journalctl -o cat | weir send otlp://127.0.0.1:4318 -`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("send where? %s otlp://127.0.0.1:4318", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.compression = compression
			if err := o.read(cmd, rate, size); err != nil {
				return err
			}
			target, err := parseSendTarget(args[0], o.protocol)
			if err != nil {
				return err
			}
			return o.send(cmd, target, args[1:])
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.protocol, "protocol", "", "protocol, where the URL does not say it: "+strings.Join(protocolNames(), ", "))
	f.IntVar(&o.lines, "lines", 0, "how many lines are made and sent (default 1000, without an end if there is a --duration)")
	f.DurationVar(&o.duration, "duration", 0, "for how long lines are sent, such as 30s")
	f.StringVar(&rate, "rate", "", "how fast: lines (500/s, 20k/s) or bytes of lines (5MB/s) of all clients together")
	f.IntVar(&o.clients, "clients", 1, "how many send at the same time, each with a connection of its own")
	f.IntVar(&o.batch, "batch", 500, "lines in one request at most")
	f.StringVar(&size, "size", "", "bytes of a line, such as 200 or 4KiB (default: as real programs write them)")
	f.StringVar(&o.style, "style", "mixed", "lines that are made: mixed, text or json")
	f.Uint64Var(&o.seed, "seed", 1, "which lines are made: the same seed makes the same ones")
	f.IntVar(&o.streams, "streams", 1, "over how many streams the lines are spread, told apart by the label instance")
	f.StringToStringVar(&o.labels, "label", nil, "label or attribute of all lines, such as app=shop; may be repeated")
	f.BoolVar(&o.ids, "ids", false, "give each line an id, as _id or log.record.uid: sent twice, it is stored once")
	f.StringVar(&compression, "compression", "", "of requests: none, gzip, zstd or snappy, as the protocol has it")
	f.StringVar(&o.framing, "framing", "", "of syslog over TCP: octet or newline (default octet, for RFC 3164 newline)")
	f.StringVar(&o.index, "index", "weir-send", "index for Elasticsearch")
	f.DurationVar(&o.retry, "retry", 30*time.Second, "for how long lines that could not be taken are sent again")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
	f.StringVar(&o.user, "user", "", "user; the password is in WEIR_PASSWORD or --password-file")
	f.StringVar(&o.passwordFile, "password-file", "", "file with the password")
	f.StringVar(&o.tokenFile, "token-file", "", "file with a token, bearer or of Splunk or Datadog; or the token in WEIR_TOKEN")
	f.StringVar(&o.sharedKeyFile, "shared-key-file", "", "file with the shared key of forward; or the key in WEIR_SHARED_KEY")
	f.StringVar(&o.tenant, "tenant", "", "tenant, sent as X-Scope-OrgID; also WEIR_TENANT")
	f.StringToStringVar(&o.headers, "header", nil, "header of all requests over HTTP or gRPC, such as X-Team=shop; may be repeated")
	f.StringVar(&o.ca, "ca", "", "file with CA certificates (PEM) for the target, instead of the system's")
	f.StringVar(&o.cert, "cert", "", "file with the client's certificate (PEM)")
	f.StringVar(&o.key, "key", "", "file with its key (PEM)")
	f.StringVar(&o.serverName, "server-name", "", "name expected in the target's certificate, instead of its host")
	f.BoolVar(&o.insecure, "insecure-skip-verify", false, "accept any certificate: for tests only")
	f.BoolVar(&o.verify, "verify", false, "look afterwards whether each line arrived once and whole")
	f.StringVar(&o.from.server, "server", "", "URL of the weir or Loki that --verify asks (default: the store of this host)")
	f.StringVar(&o.from.state, "state", "", "state directory of the weir on this host that --verify asks")
	f.DurationVar(&o.verifyWait, "verify-wait", 30*time.Second, "for how long --verify waits for lines that are not there yet")
	cmd.MarkFlagsRequiredTogether("cert", "key")
	cmd.MarkFlagsMutuallyExclusive("server", "state")
	for _, name := range []string{"shared-key-file", "cert", "key"} {
		if err := cmd.MarkFlagFilename(name); err != nil {
			panic(err) // the flag was added above
		}
	}
	return cmd
}

func sendHelp() string {
	var b strings.Builder
	b.WriteString(`Sends lines to a gateway, or to anything else that takes logs, and says what
became of each: made ones, as programs write them, or those of files.

TARGET is PROTOCOL[+TRANSPORT]://HOST[:PORT][/PATH]; a URL with http or https
works as well, where its path or port tells the protocol, or --protocol.

`)
	for _, p := range sendProtocols {
		via := make([]string, 0, 4)
		for _, v := range p.via {
			via = append(via, v)
			switch {
			case v == "tcp":
				via = append(via, "tls")
			case v == "http" || v == "grpc":
				via = append(via, v+"s")
			}
		}
		fmt.Fprintf(&b, "  %-14s :%-6s %-22s %s\n", p.name, p.port, strings.Join(via, " "), p.doc)
	}
	b.WriteString(`
With FILE, - or something on standard input the lines of it are sent once, as
they are and in their order; empty ones are left out. Otherwise lines are made,
and the end of each says which it is: weir-send=RUN/CLIENT/NUMBER/SUM. With that
--verify finds which are missing, doubled or altered.

Without --lines and --duration it is 1 000 lines. Latency is the time from
sending to the answer; with --rate it counts from when the request was due.

Exit: 0 all lines were taken; 1 failed; 2 usage; 4 the target cannot be reached
or wants other credentials; 5 some lines were refused, given up, or not found by
--verify.`)
	return b.String()
}

// read checks the flags and fills in what they leave open.
func (o *sendOptions) read(cmd *cobra.Command, rate, size string) error {
	if o.output != "text" && o.output != "json" {
		return usageError("-o %s: want text or json", o.output)
	}
	if rate != "" {
		if err := o.rate.UnmarshalText([]byte(rate)); err != nil || o.rate.N <= 0 {
			return usageError("--rate %s: want lines or bytes in a time: 500/s, 20k/s, 5MB/s", rate)
		}
	}
	if size != "" {
		var z config.Size
		if err := z.UnmarshalText([]byte(size)); err != nil || z < 32 || z > 16<<20 {
			return usageError("--size %s: want bytes, from 32 to 16MiB", size)
		}
		o.size = int(z)
	}
	for _, x := range []struct {
		name          string
		n, least, max int
	}{{"lines", o.lines, 0, math.MaxInt32}, {"clients", o.clients, 1, 10_000}, {"batch", o.batch, 1, 1 << 20}, {"streams", o.streams, 1, 60_000}} {
		if x.n < x.least || x.n > x.max {
			return usageError("--%s %d: want %d to %d", x.name, x.n, x.least, x.max)
		}
	}
	if !slices.Contains([]string{"mixed", "text", "json"}, o.style) {
		return usageError("--style %s: want mixed, text or json", o.style)
	}
	if !slices.Contains([]string{"", "octet", "newline"}, o.framing) {
		return usageError("--framing %s: want octet or newline", o.framing)
	}
	if !slices.Contains([]string{"", "none", "gzip", "zstd", "snappy"}, o.compression) {
		return usageError("--compression %s: want none, gzip, zstd or snappy", o.compression)
	}
	for _, x := range []struct {
		name string
		d    time.Duration
	}{{"duration", o.duration}, {"retry", o.retry}, {"verify-wait", o.verifyWait}} {
		if x.d < 0 {
			return usageError("--%s %s: is negative", x.name, x.d)
		}
	}
	o.retryDefault = !cmd.Flags().Changed("retry")
	o.tenant = flagOrEnv(o.tenant, "WEIR_TENANT")
	o.from.tenant, o.from.user, o.from.passwordFile, o.from.tokenFile, o.from.ca = o.tenant, o.user, o.passwordFile, o.tokenFile, o.ca
	for _, x := range []struct {
		into      *string
		file, env string
	}{{&o.password, o.passwordFile, "WEIR_PASSWORD"}, {&o.token, o.tokenFile, "WEIR_TOKEN"}, {&o.sharedKey, o.sharedKeyFile, "WEIR_SHARED_KEY"}} {
		v, err := secretFrom(x.file, x.env)
		if err != nil {
			return err
		}
		*x.into = v
	}
	if o.user != "" && o.tokenFile == "" {
		o.token = "" // the environment's is for others
	}
	return nil
}

// attributes are what all lines have in common.
func (o *sendOptions) attributes() map[string]string {
	m := map[string]string{record.AttrService: "weir-send"}
	maps.Copy(m, o.labels)
	if o.streams > 1 {
		m["instance"] = ""
	}
	return m
}

// sendStreams returns who the lines are of.
func (o *sendOptions) sendStreams(file string) []*record.Stream {
	list := make([]*record.Stream, o.streams)
	for i := range list {
		m := o.attributes()
		if o.streams > 1 {
			m["instance"] = fmt.Sprintf("weir-send-%d", i)
		}
		if file != "" {
			m[record.AttrFile] = file
		}
		var attrs []record.Attr
		for k, v := range m {
			attrs = append(attrs, record.Attr{Name: k, Value: v})
		}
		list[i] = record.NewStream(attrs, nil, nil)
	}
	return list
}

// poolOf reads CA certificates.
func poolOf(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usageError("--ca %s: no certificate in it", file)
	}
	return pool, nil
}

// send runs the command.
func (o *sendOptions) send(cmd *cobra.Command, target *sendTarget, files []string) error {
	ctx, errOut := cmd.Context(), cmd.ErrOrStderr()
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails
	o.run = fmt.Sprintf("%x", id)
	o.batchBytes = 1 << 20
	switch {
	case target.via == "udp":
		o.batchBytes = 256 << 10
	case o.size > 0:
		o.batchBytes = max(o.batchBytes, o.size)
	}
	given := cmd.Flags().Changed("lines") || cmd.Flags().Changed("duration") || cmd.Flags().Changed("size") || o.verify
	if len(files) == 0 && !given && piped(cmd.InOrStdin()) {
		// A pipe with nothing in it is how many programs start others.
		in := bufio.NewReader(cmd.InOrStdin())
		if _, err := in.Peek(1); err == nil {
			cmd.SetIn(in)
			files = []string{"-"}
		}
	}
	r := &sendRun{o: o, target: target}
	if len(files) > 0 {
		return o.ship(ctx, cmd, r, files)
	}
	if o.lines == 0 && o.duration == 0 && !cmd.Flags().Changed("lines") {
		o.lines = 1000
	}
	lines := lineTexts(o.seed, o.style, 4096)
	if len(lines) == 0 {
		return fmt.Errorf("no lines of style %s could be made", o.style) // our own fault
	}
	r.streams = o.sendStreams("")
	r.source = func(client int) sendSource {
		return &generator{run: o.run, client: client, lines: lines, size: o.size}
	}
	if o.verify {
		if err := o.canVerify(ctx, errOut); err != nil {
			return err
		}
	}
	err := r.withProgress(ctx, errOut)
	rep := r.report()
	if err == nil && o.verify && r.sent.Load() > 0 {
		// Also after Ctrl-C: what was sent is what is looked for, but at once.
		rep.Verify, err = r.verify(ctx, errOut)
	}
	return o.finish(cmd, r, rep, err)
}

// piped reports whether something was put on standard input.
func piped(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && (info.Mode().IsRegular() && info.Size() > 0 || info.Mode()&os.ModeNamedPipe != 0)
}

// ship sends the lines of files once.
func (o *sendOptions) ship(ctx context.Context, cmd *cobra.Command, r *sendRun, files []string) error {
	for _, name := range []string{"lines", "size", "style", "seed", "clients", "verify", "duration"} {
		if cmd.Flags().Changed(name) {
			return usageError("--%s is for lines that are made, not for those of %s", name, files[0])
		}
	}
	o.clients, o.streams = 1, 1
	o.batchBytes = min(o.batchBytes, 1<<20)
	if o.retryDefault {
		o.retry = time.Hour
	}
	errOut := cmd.ErrOrStderr()
	total := &sendRun{o: o, target: r.target}
	for _, name := range files {
		in := cmd.InOrStdin()
		label := ""
		if name != "-" {
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			in, label = f, name
		}
		part := &sendRun{o: o, target: r.target, streams: o.sendStreams(label)}
		src := &fileSource{r: bufio.NewReaderSize(in, 64<<10), maxLine: 1 << 20}
		part.source = func(int) sendSource { return src }
		err := part.withProgress(ctx, errOut)
		total.add(part)
		if err != nil || ctx.Err() != nil {
			return o.finish(cmd, total, total.report(), err)
		}
	}
	return o.finish(cmd, total, total.report(), nil)
}

// withProgress runs and shows how far it is.
func (r *sendRun) withProgress(ctx context.Context, errOut io.Writer) error {
	p := newProgress(errOut)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				p.show("%s", r.progressText())
			}
		}
	}()
	err := r.run(ctx)
	close(done)
	<-ended
	p.clear()
	return err
}

// finish prints the report and says by the exit code how it went.
func (o *sendOptions) finish(cmd *cobra.Command, r *sendRun, rep *sendReport, err error) error {
	var un errUnanswered
	if errors.As(err, &un) {
		if strings.Contains(un.Error(), r.target.String()) {
			return &exitError{exitUnreachable, un.error}
		}
		return &exitError{exitUnreachable, fmt.Errorf("%s: %w", r.target, un.error)}
	}
	if err != nil {
		var coded *exitError
		if errors.As(err, &coded) || rep.Sent == 0 {
			return err
		}
	}
	if e := rep.print(cmd.OutOrStdout(), o.output); e != nil {
		return e
	}
	switch {
	case err != nil:
		return err
	case cmd.Context().Err() != nil:
		return nil // it says so itself
	case rep.Refused+rep.GivenUp > 0:
		return &exitError{exitDropped, fmt.Errorf("%s of %s were not taken", plural(rep.Refused+rep.GivenUp, "line"), grouped(rep.Sent))}
	case rep.Verify != nil && !rep.Verify.good():
		return &exitError{exitDropped, errors.New("not every line arrived once and whole")}
	}
	return nil
}
