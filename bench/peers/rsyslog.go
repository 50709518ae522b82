package peers

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// rsyslog is rsyslog of a distribution: imfile, and mmnormalize for what a line
// is made of.
func rsyslog() Peer {
	return Peer{
		Name:     "rsyslog",
		Programs: []string{"rsyslogd"},
		Version:  firstLine("-v"),
		Forms:    []Form{{Elastic, "none"}, {Lines, "none"}},
		Note:     "does not join partial lines; no compression to Elasticsearch; as lines it sends them as they stand in the file, with no names",
		Prepare: func(j Job) (Command, error) {
			// The field of a path that has the pod is known only now.
			field := strconv.Itoa(strings.Count(filepath.Clean(j.Root), "/") + 2)
			name := string(j.Form.Protocol) + ".conf"
			text, err := templates.ReadFile("rsyslog/" + name)
			if err != nil {
				return Command{}, err
			}
			path, err := j.Write(name, strings.ReplaceAll(string(text), "{{FIELD}}", field))
			input, err2 := j.render("rsyslog/input.conf")
			_, err3 := j.render("rsyslog/cri.rulebase")
			err4 := os.MkdirAll(filepath.Join(j.Dir, "work"), 0o755)
			return Command{
				Args:  []string{j.Binary, "-n", "-f", path, "-i", filepath.Join(j.Dir, "pid")},
				Files: []string{input, path},
			}, errors.Join(err, err2, err3, err4)
		},
	}
}
