package peers

import (
	"fmt"
	"os"
	"path/filepath"
)

// vlagent is VictoriaLogs' agent with its collector for Kubernetes, which knows
// of containers only from an API server. The harness imitates one.
func vlagent() Peer {
	return Peer{
		Name:     "vlagent",
		Programs: []string{"vlagent"},
		Version:  firstLine("-version"),
		Forms:    []Form{{JSONL, "zstd"}, {Native, "zstd"}},
		Note:     "takes the containers and their names from an API server",
		Prepare: func(j Job) (Command, error) {
			links := filepath.Join(j.Dir, "containers")
			if err := os.MkdirAll(links, 0o755); err != nil {
				return Command{}, fmt.Errorf("make links: %w", err)
			}
			api, err := servePods(j.Root, links)
			if err != nil {
				return Command{}, err
			}
			kubeconfig, err := j.Write("kubeconfig", fmt.Sprintf(kubeconfigTemplate, api))
			if err != nil {
				return Command{}, err
			}
			format := "native"
			if j.Form.Protocol == JSONL {
				format = "jsonline"
			}
			return Command{
				Args: []string{
					j.Binary, "-kubernetesCollector", "-kubernetesCollector.logsPath=" + links,
					"-remoteWrite.url=" + j.URL + "/insert/" + format, "-remoteWrite.format=" + format,
					"-tmpDataPath=" + filepath.Join(j.Dir, "data"), "-httpListenAddr=127.0.0.1:0", "-loggerLevel=WARN",
				},
				Env:   []string{"KUBECONFIG=" + kubeconfig},
				Files: []string{kubeconfig},
			}, nil
		},
	}
}

const kubeconfigTemplate = `current-context: bench
contexts: [{name: bench, context: {cluster: bench, user: bench}}]
clusters: [{name: bench, cluster: {server: '%s'}}]
users: [{name: bench, user: {}}]
`
