package peers

import (
	"path/filepath"
	"strconv"
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
			// Its documentation asks for a window of log-iw-size/max-files messages
			// for each file, and for a queue of log-iw-size. A window smaller than
			// a batch would wait for the batch's timeout each time.
			dirs, err := filepath.Glob(filepath.Join(j.Root, "*", "*"))
			if err != nil {
				return Command{}, err
			}
			files := max(2*len(dirs), 100)
			window := max(100*files, 300_000)
			r := strings.NewReplacer("{{COLUMNS}}", columns, "{{FILES}}", strconv.Itoa(files), "{{WINDOW}}", strconv.Itoa(window))
			path, err := j.Write("syslog-ng.conf", r.Replace(string(text)))
			in := func(name string) string { return filepath.Join(j.Dir, name) }
			return Command{
				Args:  []string{j.Binary, "-F", "--no-caps", "-f", path, "-R", in("positions"), "-p", in("pid"), "-c", in("control")},
				Files: []string{path},
			}, err
		},
	}
}
