// Command sink takes logs over every protocol the participants of a comparison
// speak, verifies each record by its mark, and keeps nothing but bits. It is
// cheap enough to stay ahead of what it judges, and a process of its own, so
// that it can have a processor of its own.
//
// It prints one line of JSON with its addresses: url (HTTP: Elasticsearch bulk,
// OTLP, Loki, any other path is JSON lines), lines (TCP, a record per line) and
// control:
//
//	GET  /stats                              counts and bytes so far
//	POST /verdict [lines per stream]         counts against what was written
//	POST /reset                              forget everything, faults too
//	POST /faults {"status":503,"latency_ms":20,"down":true}
//	GET  /samples                            the first records that came
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		log.Fatal("sink: ", err)
	}
}

func run() error {
	addr := flag.String("listen", "127.0.0.1:0", "address for HTTP; loopback only")
	flag.Parse()
	debug.SetGCPercent(400) // its buffers are reused; nothing to collect
	s := newSink()
	data, err := newGate(*addr, s.serve)
	if err != nil {
		return err
	}
	lines, err := newGate("127.0.0.1:0", s.serveLines)
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	out, err := json.Marshal(map[string]string{
		"url": "http://" + data.addr, "lines": lines.addr, "control": "http://" + control.Addr().String(),
	})
	if err != nil {
		return err
	}
	fmt.Println(string(out))
	srv := &http.Server{Handler: s.control(data, lines), ReadHeaderTimeout: 10 * time.Second}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(control) }()
	select {
	case err := <-done:
		return err
	case <-stop:
		return srv.Close()
	}
}
