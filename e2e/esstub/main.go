// Command esstub stands for Elasticsearch in tests: strict where the real one
// is, faulty on demand, and able to say whether everything the generator wrote
// arrived exactly once with the right bytes.
//
// It is written from Elasticsearch's public documentation (bulk, index
// template, data stream, cluster health, count and search APIs of 8.x) and
// shares no code with weir.
//
//	esstub [flags]                               serve; prints {"url":…,"control":…}
//	esstub verify -log JOURNAL -arrivals FILE    compare after the fact; exit 1 if anything is wrong
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/weirlog/weir/e2e/internal/account"
	"github.com/weirlog/weir/e2e/internal/fault"
)

func main() {
	err := error(nil)
	if len(os.Args) > 1 && os.Args[1] == "verify" {
		err = verify(os.Args[2:])
	} else {
		err = serve(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "esstub:", err)
		os.Exit(1)
	}
}

func verify(args []string) error {
	fs := flag.NewFlagSet("esstub verify", flag.ExitOnError)
	log := fs.String("log", "", "the generator's journal")
	arrivals := fs.String("arrivals", "", "the arrivals journal (flag -journal of the server)")
	streams := fs.Bool("streams", false, "print the sums of every stream")
	fs.Parse(args)
	a, err := account.Load(*arrivals)
	if err != nil {
		return err
	}
	v, err := a.Verify(*log)
	if err != nil {
		return err
	}
	bad := v.Err()
	if !*streams {
		v.Streams = nil
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return errors.Join(e.Encode(v), bad)
}

func serve(args []string) error {
	fs := flag.NewFlagSet("esstub", flag.ExitOnError)
	addr := fs.String("addr", "127.0.0.1:0", "address of the API; loopback only")
	control := fs.String("control", "127.0.0.1:0", "address of /_control and /_verdict, where no fault strikes")
	arrivals := fs.String("journal", "", "file to which every arrival is appended")
	faults := fs.String("faults", "{}", "faults from the start, as JSON; POST /_control changes them")
	seed := fs.Uint64("seed", 1, "seed of random faults")
	useTLS := fs.Bool("tls", false, "serve https with a certificate of its own")
	certOut := fs.String("cert-out", "", "with -tls: file for that certificate, for clients to trust")
	clientCA := fs.String("client-ca", "", "with -tls: CA that clients' certificates must come from")
	var o options
	fs.Int64Var(&o.maxBody, "max-body", 100<<20, "largest body, uncompressed (http.max_content_length)")
	fs.IntVar(&o.keep, "keep", 1000, "documents kept for _search, the last ones")
	fs.StringVar(&o.version, "version", "8.15.0", "version to claim")
	fs.StringVar(&o.user, "user", "", "user:password that is asked for")
	fs.StringVar(&o.apiKey, "api-key", "", "API key that is asked for")
	fs.Parse(args)
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	a, err := account.New(*arrivals)
	if err != nil {
		return err
	}
	in := fault.New(*seed)
	if err := in.Merge([]byte(*faults)); err != nil {
		return err
	}
	s := newStub(o, a, in)
	srv := &fault.Server{Handler: s}
	if *useTLS {
		if srv.TLS, err = fault.SelfSigned(*certOut, *clientCA); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err = fault.Run(ctx, srv, *addr, *control, fault.Control(in, srv, a, s.state), os.Stdout)
	return errors.Join(err, a.Close())
}
