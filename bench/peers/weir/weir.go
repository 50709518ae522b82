// Package weir makes weir a participant. Its configurations are the files
// beside this one.
package weir

import (
	"embed"
	"fmt"
	"os/exec"
	"strings"

	"github.com/weirlog/weir/bench/peers"
)

//go:embed *.yaml
var files embed.FS

// Peer returns weir.
func Peer() peers.Peer {
	return peers.Peer{
		Name:     "weir",
		Programs: []string{"weir"},
		Version: func(binary string) (string, error) {
			out, err := exec.Command(binary, "version").Output()
			line, _, _ := strings.Cut(string(out), "\n")
			return line, err
		},
		Forms: []peers.Form{
			{Protocol: peers.JSONL, Compression: "zstd"}, {Protocol: peers.Elastic, Compression: "gzip"},
			{Protocol: peers.OTLP, Compression: "gzip"}, {Protocol: peers.Loki, Compression: "snappy"},
			{Protocol: peers.JSONL, Compression: "none"}, {Protocol: peers.Lines, Compression: "none"},
			{Protocol: peers.Null, Compression: "none"},
		},
		Prepare: prepare,
	}
}

func prepare(j peers.Job) (peers.Command, error) {
	name, role := string(j.Form.Protocol), "agent"
	if j.Form.Protocol == peers.Null || j.Form.Protocol == peers.Lines {
		name, role = "null", "run"
	}
	template, err := files.ReadFile(name + ".yaml")
	if err != nil {
		return peers.Command{}, fmt.Errorf("weir does not speak %s", j.Form)
	}
	path, err := j.Write("weir.yaml", string(template))
	if err != nil {
		return peers.Command{}, err
	}
	return peers.Command{Args: []string{j.Binary, role, "-c", path}, Files: []string{path}, StdoutToSink: j.Form.Protocol == peers.Lines}, nil
}
