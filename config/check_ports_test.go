package config

import (
	"strings"
	"testing"
)

func TestTwoListenersOnOnePort(t *testing.T) {
	for text, want := range map[string]string{
		"inputs: {forward: {tcp: '127.0.0.1:1'}, syslog: {tcp: '127.0.0.1:1'}}":                  "inputs.syslog.tcp: inputs.forward.tcp listens on 127.0.0.1:1 already",
		"inputs: {forward: {tcp: '127.0.0.1:1'}, syslog: {tcp: ':1', insecure: true}}":           "inputs.syslog.tcp: inputs.forward.tcp",
		"inputs: {forward: {tcp: 'localhost:1'}, syslog: {tcp: '[::ffff:127.0.0.1]:1'}}":         "inputs.syslog.tcp: inputs.forward.tcp",
		"inputs: {otlp: {http: '127.0.0.1:1', grpc: '127.0.0.1:1'}}":                             "inputs.otlp.grpc: inputs.otlp.http",
		"inputs: {loki: {http: '127.0.0.1:1'}, gelf: {tcp: '127.0.0.1:1'}}":                      "listens on 127.0.0.1:1 already",
		"listen: {http: '127.0.0.1:1'}\ninputs: {loki: {http: '127.0.0.1:1'}}":                   "inputs.loki.http: listen.http",
		"listen: {probe: '127.0.0.1:1'}\ninputs: {loki: {http: '127.0.0.1:1'}}":                  "inputs.loki.http: listen.probe",
		"inputs: {syslog: {tcp: '127.0.0.1:1', udp: '127.0.0.1:1'}, gelf: {udp: '127.0.0.1:2'}}": "",
		"inputs: {syslog: {tcp: '127.0.0.1:0'}, gelf: {tcp: '127.0.0.1:0'}}":                     "",
		"inputs: {syslog: {tcp: '127.0.0.1:1'}, gelf: {tcp: '127.0.0.2:1'}}":                     "",
		"inputs: {syslog: {udp: '127.0.0.1:1'}, gelf: {udp: '127.0.0.1:1'}}":                     "inputs.gelf.udp: inputs.syslog.udp",
	} {
		_, _, err := load(text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
