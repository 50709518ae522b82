package peers

import (
	"path/filepath"
	"strings"
)

// syslogNG is syslog-ng of a distribution.
func syslogNG() Peer {
	return Peer{
		Name:     "syslog-ng",
		Programs: []string{"syslog-ng"},
		Version:  firstLine("--version"),
		Forms:    []Form{{Elastic, "none"}},
		Note:     "does not join partial lines; no compression; numbers and booleans become strings",
		Prepare: func(j Job) (Command, error) {
			text, err := templates.ReadFile("syslogng/elastic.conf")
			if err != nil {
				return Command{}, err
			}
			// Columns that begin with a dot are not sent.
			columns := strings.Repeat(`".x", `, strings.Count(filepath.Clean(j.Root), "/")+1) + `".pod", "container", ".file"`
			path, err := j.Write("syslog-ng.conf", strings.ReplaceAll(string(text), "{{COLUMNS}}", columns))
			in := func(name string) string { return filepath.Join(j.Dir, name) }
			return Command{
				Args:  []string{j.Binary, "-F", "--no-caps", "-f", path, "-R", in("positions"), "-p", in("pid"), "-c", in("control")},
				Files: []string{path},
			}, err
		},
	}
}
