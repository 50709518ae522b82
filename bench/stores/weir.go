package stores

import (
	"context"
	_ "embed"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirlog/weir/bench/peers"
	"github.com/weirlog/weir/bench/peers/weir"
)

//go:embed weir.yaml
var weirConfig string

// Weir is weir's embedded store.
func Weir() Store {
	return Store{
		Name: "weir", Programs: []string{"weir"}, Version: weir.Peer().Version,
		Ack: "synced to the disk (WAL)",
		Prepare: func(j *Job) (peers.Command, error) {
			path := filepath.Join(j.Dir, "weir.yaml")
			text := strings.NewReplacer("{{ADDRESS}}", j.Address(), "{{DIR}}", j.Dir).Replace(weirConfig)
			err := os.WriteFile(path, []byte(text), 0o644)
			return peers.Command{Args: []string{j.Binary, "store", "-c", path}, Files: []string{path}}, err
		},
		Ready: "/ready",
		Push:  "/loki/api/v1/push",
		Settle: func(ctx context.Context, c *http.Client, j *Job) (bool, error) {
			page, err := call(ctx, c, http.MethodGet, j.URL()+"/metrics")
			return metric(page, "weir_store_memtable_rows") == 0, err
		},
		Quiet: 75 * time.Second, // compaction is looked for every minute
		Data:  []string{"state/store/2*", "state/store/MANIFEST*"},
		WAL:   []string{"state/store/wal"},
		Asks:  lokiAsks,
	}
}
