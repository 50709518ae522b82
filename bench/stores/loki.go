package stores

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirlog/weir/bench/peers"
)

//go:embed loki.yaml
var lokiConfig string

// Loki is Loki as a single binary on a file system.
func Loki() Store {
	return Store{
		Name: "loki", Programs: []string{"loki"},
		Version: func(binary string) (string, error) {
			out, err := exec.Command(binary, "-version").CombinedOutput()
			line, _, _ := strings.Cut(string(out), "\n")
			return line, err
		},
		Ack: "in memory and written to its WAL, which is not synced for it",
		Prepare: func(j *Job) (peers.Command, error) {
			path := filepath.Join(j.Dir, "loki.yaml")
			text := strings.NewReplacer("{{PORT}}", fmt.Sprint(j.Port), "{{MORE}}", fmt.Sprint(j.More), "{{DIR}}", j.Dir).Replace(lokiConfig)
			err := os.WriteFile(path, []byte(text), 0o644)
			return peers.Command{Args: []string{j.Binary, "-config.file=" + path}, Files: []string{path}}, err
		},
		Ready: "/ready",
		Push:  "/loki/api/v1/push",
		Settle: func(ctx context.Context, c *http.Client, j *Job) (bool, error) {
			if _, err := call(ctx, c, http.MethodPost, j.URL()+"/flush"); err != nil {
				return false, err
			}
			page, err := call(ctx, c, http.MethodGet, j.URL()+"/metrics")
			return metric(page, "loki_ingester_memory_chunks") == 0, err
		},
		Quiet: 75 * time.Second, // the compactor looks every minute
		Data:  []string{"data/chunks", "data/tsdb*", "data/compactor"},
		WAL:   []string{"data/wal"},
		Asks:  lokiAsks,
	}
}
