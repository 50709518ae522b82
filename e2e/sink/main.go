// Command sink stands for the other destinations in tests: line-JSON over HTTP
// (VictoriaLogs, Vector), Loki's push API, OTLP over HTTP and gRPC. Like esstub
// it is strict, faulty on demand, and compares what arrived with the
// generator's journal. It shares no code with weir.
//
//	POST /ingest, /insert/jsonline …   one JSON object per line; gzip, zstd or plain
//	POST /loki/api/v1/push             protobuf with snappy, or JSON
//	POST /v1/logs                      OTLP, protobuf or JSON; gzip, zstd or plain
//
// It prints {"url":…,"control":…} and, with -grpc, "grpc" in a line before.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"

	"github.com/weirlog/weir/e2e/internal/account"
	"github.com/weirlog/weir/e2e/internal/fault"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "sink:", err)
		os.Exit(1)
	}
}

func serve() error {
	addr := flag.String("addr", "127.0.0.1:0", "address; loopback only")
	grpcAddr := flag.String("grpc", "", "address for OTLP over gRPC; off without")
	control := flag.String("control", "127.0.0.1:0", "address of /_control and /_verdict, where no fault strikes")
	arrivals := flag.String("journal", "", "file to which every arrival is appended")
	faults := flag.String("faults", "{}", "faults from the start, as JSON; POST /_control changes them")
	seed := flag.Uint64("seed", 1, "seed of random faults")
	maxBody := flag.Int64("max-body", 100<<20, "largest body, uncompressed")
	useTLS := flag.Bool("tls", false, "serve https with a certificate of its own")
	certOut := flag.String("cert-out", "", "with -tls: file for that certificate, for clients to trust")
	clientCA := flag.String("client-ca", "", "with -tls: CA that clients' certificates must come from")
	flag.Parse()
	a, err := account.New(*arrivals)
	if err != nil {
		return err
	}
	in := fault.New(*seed)
	if err := in.Merge([]byte(*faults)); err != nil {
		return err
	}
	s := newSink(a, in, *maxBody)
	srv := &fault.Server{Handler: s}
	if *useTLS {
		if srv.TLS, err = fault.SelfSigned(*certOut, *clientCA); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if *grpcAddr != "" {
		if err := fault.Loopback(*grpcAddr); err != nil {
			return err
		}
		ln, err := net.Listen("tcp", *grpcAddr)
		if err != nil {
			return err
		}
		g := grpc.NewServer(grpc.MaxRecvMsgSize(int(*maxBody)))
		collogs.RegisterLogsServiceServer(g, &grpcLogs{sink: s})
		done := make(chan error, 1)
		go func() { done <- g.Serve(ln) }()
		defer func() { g.Stop(); <-done }()
		if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"grpc": ln.Addr().String()}); err != nil {
			return err
		}
	}
	err = fault.Run(ctx, srv, *addr, *control, fault.Control(in, srv, a, s.state), os.Stdout)
	return errors.Join(err, a.Close())
}

var _ http.Handler = (*sink)(nil)
