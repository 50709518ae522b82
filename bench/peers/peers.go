// Package peers says how each participant of a comparison is found, configured
// and started. The harness does the rest: it pins, measures, kills and judges.
//
// A participant is a value of Peer. All of them are listed in list.go; each has
// a file or a folder of its own with the configuration its documentation
// recommends for the logs of a node's containers.
package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Protocol is what a participant speaks to the sink.
type Protocol string

// The protocols the sink takes. All but Lines are HTTP.
const (
	Elastic Protocol = "elastic" // POST <URL>/_bulk or <URL>/<index>/_bulk
	JSONL   Protocol = "jsonl"   // POST <URL>/<any other path>, a JSON object per line
	OTLP    Protocol = "otlp"    // POST <URL>/v1/logs, protobuf or JSON
	Loki    Protocol = "loki"    // POST <URL>/loki/api/v1/push, snappy protobuf or JSON
	Native  Protocol = "native"  // POST <URL>/insert/native, vlagent's own
	Lines   Protocol = "lines"   // TCP to <Host>:<TCPPort>, a record per line, with or without a syslog header
	Null    Protocol = "null"    // standard output, which the harness makes /dev/null
)

// A Form is one way in which a participant can ship.
type Form struct {
	Protocol    Protocol
	Compression string // gzip, zstd, snappy, none: as the participant can with this protocol
}

func (f Form) String() string { return string(f.Protocol) + "+" + f.Compression }

// A Job is what a participant has to do in one run.
type Job struct {
	Form Form
	// Binary is the participant's program, as Find found it.
	Binary string
	// Root is the node's log directory: <Root>/<namespace>_<pod>_<uid>/<container>/0.log
	// and its rotated generations beside it.
	Root string
	// URL is the sink's, http://127.0.0.1:PORT without a path. Host and Port are
	// its parts; TCPPort is the port of Lines, on the same host.
	URL           string
	Host          string
	Port, TCPPort int
	// Dir is an empty directory for the configuration and the positions. It
	// outlives a kill: the same Command is started again in it.
	Dir string
}

// A Command starts a participant. It stays in the foreground, ends with
// SIGTERM, and may have children.
type Command struct {
	Args []string // Args[0] is the program
	Env  []string // added to PATH, HOME and LANG, which are all it gets
	// Files are the configuration files that were written, for -v.
	Files []string
	// StdoutToSink makes standard output a connection to the sink's port for
	// lines. Otherwise it goes to a log file, with the protocol Null to
	// /dev/null.
	StdoutToSink bool
}

// A Peer is a participant.
type Peer struct {
	Name string
	// Programs are names of its program, the usual first.
	Programs []string
	// Version prints the version, for the report; may be nil.
	Version func(binary string) (string, error)
	// Forms are the ways it can ship, the ones to compare with first.
	Forms []Form
	// Note is what it cannot do or does otherwise than the others, for the
	// report: "does not join partial lines".
	Note string
	// Prepare writes the configuration into j.Dir and returns how to start.
	// Persistent positions must be on, so that a kill is fair.
	Prepare func(j Job) (Command, error)
}

// Find returns the path of the peer's program: in the directory
// $BENCH_PEERS/<Name>, in $BENCH_PEERS, else on PATH. ok is false if it is not
// there, which is no error.
func (p *Peer) Find() (path string, ok bool) {
	var dirs []string
	for _, d := range filepath.SplitList(os.Getenv("BENCH_PEERS")) {
		dirs = append(dirs, filepath.Join(d, p.Name), d)
	}
	for _, name := range p.Programs {
		for _, d := range dirs {
			path := filepath.Join(d, name)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return path, true
			}
		}
		if path, err := exec.LookPath(name); err == nil {
			return path, true
		}
		// Debian's daemons are where the PATH of a user does not lead.
		if path, err := exec.LookPath(filepath.Join("/usr/sbin", name)); err == nil {
			return path, true
		}
	}
	return "", false
}

// Has reports whether the peer can ship by a protocol, and its first form of it.
func (p *Peer) Has(protocol Protocol) (Form, bool) {
	for _, f := range p.Forms {
		if f.Protocol == protocol {
			return f, true
		}
	}
	return Form{}, false
}

// Write writes a configuration file into the job's directory after replacing
// {{ROOT}}, {{URL}}, {{HOST}}, {{PORT}}, {{TCPPORT}}, {{DIR}} and
// {{COMPRESSION}} in it, and returns its path.
func (j *Job) Write(name, template string) (string, error) {
	r := strings.NewReplacer("{{ROOT}}", j.Root, "{{URL}}", j.URL, "{{HOST}}", j.Host, "{{PORT}}", fmt.Sprint(j.Port),
		"{{TCPPORT}}", fmt.Sprint(j.TCPPort), "{{DIR}}", j.Dir, "{{COMPRESSION}}", j.Form.Compression)
	path := filepath.Join(j.Dir, name)
	if err := os.WriteFile(path, []byte(r.Replace(template)), 0o644); err != nil {
		return "", fmt.Errorf("write configuration: %w", err)
	}
	return path, nil
}
