package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/weirlog/weir/bench/measure"
)

// gateway is a program under test.
type gateway struct {
	*measure.Process
	target
	log string
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

const weirConfig = `state: %[1]s/state
listen: {http: '%[2]s'}
inputs: {otlp: {grpc: '%[3]s', http: '%[4]s'}}
outputs:
  http:
    url: http://%[5]s/
    format: lines
    buffer: {disk: %[6]s}
`

// The Collector: an answer waits for the queue, and the queue for fsync. What is
// known to be slow is left out: no batch processor, which would acknowledge
// before anything is on disk.
// https://github.com/open-telemetry/opentelemetry-collector/tree/main/exporter/exporterhelper#persistent-queue
const otelConfig = `extensions:
  file_storage: {directory: %[1]s/storage, create_directory: true, fsync: true}
receivers:
  otlp:
    protocols:
      grpc: {endpoint: '%[3]s', max_recv_msg_size_mib: 64}
      http: {endpoint: '%[4]s'}
exporters:
  otlphttp:
    endpoint: http://%[5]s
    compression: none
    timeout: 30s
    retry_on_failure: {enabled: true, max_elapsed_time: 0s}
    sending_queue: {enabled: true, storage: file_storage, queue_size: 10000000}
service:
  telemetry: {metrics: {level: none}}
  extensions: [file_storage]
  pipelines: {logs: {receivers: [otlp], exporters: [otlphttp]}}
`

// start starts a gateway that forwards to backend, and waits until it listens.
func (o *options) start(name, binary, dir, backend string) (g *gateway, err error) {
	g = &gateway{log: filepath.Join(dir, "log")}
	for _, a := range []*string{&g.push, &g.grpc, &g.http} {
		if *a, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	template, args := weirConfig, []string{binary, "gateway", "-c"}
	if name == "otelcol" {
		template, args = otelConfig, []string{binary, "--config"}
	}
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, template, dir, g.push, g.grpc, g.http, backend, o.buffer), 0o600); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(g.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	g.Process, err = measure.Start(measure.Spec{Args: append(args, config), Env: os.Environ(), Dir: dir, CPU: o.cpu, Stdout: f, Stderr: f})
	if err != nil {
		return nil, err
	}
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", g.http)
		if err == nil {
			return g, c.Close()
		}
		select {
		case <-g.Done():
			return nil, fmt.Errorf("%s ended: %v\n%s", name, g.Err(), tail(g.log))
		default:
		}
		if time.Since(began) > time.Minute {
			g.Kill()
			return nil, fmt.Errorf("%s does not listen\n%s", name, tail(g.log))
		}
	}
}

// tail is the end of a log.
func tail(file string) string {
	data, _ := os.ReadFile(file) // without it there is less to say
	return string(data[max(0, len(data)-2000):])
}
