package config

import (
	"fmt"
	"strings"
	"testing"
)

// What would only be found at the start is found by check, with its place.
func TestSocketOutputs(t *testing.T) {
	for _, c := range []struct{ output, want string }{
		{"forward: {url: 'tcp://127.0.0.1'}", "3:18: error: outputs.forward.url: the port is missing"},
		{"forward: {url: 'tls://h'}", "tls://h:24224"},
		{"syslog: {url: 'tls://h'}", "tls://h:6514"},
		{"syslog: {urls: ['tcp://h:1', 'tcp://h']}", "outputs.syslog.urls[1]: the port is missing"},
		{"syslog: {url: 'udp://h:1/path'}", "only scheme://host:port"},
		{"syslog: {url: 'tcp://h:1', structured_data: 'a b'}", "outputs.syslog.structured_data: bad id"},
		{"syslog: {url: 'tcp://h:1', structured_data: ''}", ""},
		{"forward: {url: 'tcp://h:1', json: text}", ""},
		{"syslog: {url: 'tcp://h:1', json: params}", ""},
		{"syslog: {url: 'tcp://h:1', json: params, format: rfc3164}", "3:36: error: outputs.syslog.json: params needs"},
	} {
		_, _, err := load("inputs: {file: {paths: [/x]}}\noutputs:\n  " + c.output + "\n")
		if text := fmt.Sprint(err); c.want == "" && err != nil || !strings.Contains(text, c.want) {
			t.Errorf("%s: %s, want %q", c.output, text, c.want)
		}
	}
}
