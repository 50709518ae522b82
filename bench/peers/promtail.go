package peers

import (
	"fmt"
	"path/filepath"
	"strings"
)

// promtail is Promtail. In a cluster it has its targets from the API server;
// here they are listed, with the same labels.
func promtail() Peer {
	return Peer{
		Name:     "promtail",
		Programs: []string{"promtail"},
		Version:  firstLine("--version"),
		Forms:    []Form{{Loki, "snappy"}},
		Note:     "sends the text of JSON lines as it is, which is what Loki wants",
		Prepare: func(j Job) (Command, error) {
			text, err := templates.ReadFile("promtail/loki.yaml")
			if err != nil {
				return Command{}, err
			}
			dirs, err := filepath.Glob(filepath.Join(j.Root, "*_*_*", "*"))
			if err != nil {
				return Command{}, err
			}
			var targets strings.Builder
			for _, dir := range dirs {
				part := strings.SplitN(filepath.Base(filepath.Dir(dir)), "_", 3)
				fmt.Fprintf(&targets, "      - {targets: [localhost], labels: {namespace: '%s', pod: '%s', container: '%s', __path__: '%s/*.log'}}\n",
					part[0], part[1], filepath.Base(dir), dir)
			}
			path, err := j.Write("promtail.yaml", string(text)+targets.String())
			return Command{Args: []string{j.Binary, "-config.file=" + path, "-log.level=warn"}, Files: []string{path}}, err
		},
	}
}
