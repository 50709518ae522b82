// Package stores says how each log store of a comparison is found, started,
// filled and asked, and what the right answers are. The harness (bench/store)
// does the rest.
package stores

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weirlog/weir/bench/mixed"
	"github.com/weirlog/weir/bench/peers"
)

// A Job is one life of a store's data.
type Job struct {
	Binary string
	// Dir is for the configuration and the data; it outlives a restart.
	Dir string
	// Port on 127.0.0.1 is the one to listen on; More is one for what else
	// listens.
	Port, More int
	// Of is the directory of the store whose files this one reads.
	Of string
}

// Address is where the store listens.
func (j *Job) Address() string { return fmt.Sprintf("127.0.0.1:%d", j.Port) }

// URL is the same as a URL.
func (j *Job) URL() string { return "http://" + j.Address() }

// A Store is a participant.
type Store struct {
	Name     string
	Programs []string // names of its program
	Version  func(binary string) (string, error)
	// Ack is what it means when it has answered a push.
	Ack string
	// Files names the store whose files it reads; it takes no pushes then.
	Files string

	// Prepare writes the configuration and returns how to start.
	Prepare func(j *Job) (peers.Command, error)
	// Ready is the path that answers 200 when it can be used.
	Ready string
	// Push is the path for pushes.
	Push string
	// Settle has it write out what it keeps back, and reports whether it has
	// done so; it is called until then. Quiet is how long nothing may happen
	// before it is taken to have compacted all there is to.
	Settle func(ctx context.Context, c *http.Client, j *Job) (bool, error)
	Quiet  time.Duration
	// Data and WAL are its files, as patterns in Dir; a directory is all in it.
	Data, WAL []string
	// Asks are the ways to ask a query; none if it cannot answer.
	Asks func(q Query, t *mixed.Truth) []Ask
}

// An Ask is a query as a store takes it.
type Ask struct {
	Label string // tells several ways apart
	Path  string
	Form  url.Values
	Post  bool
	Text  string // for the report
	// Decode reads the answer.
	Decode func(body []byte) (*Answer, error)
}

// Request makes the HTTP request.
func (a *Ask) Request(ctx context.Context, base string) (*http.Request, error) {
	if a.Post {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+a.Path, strings.NewReader(a.Form.Encode()))
		if err == nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return r, err
	}
	return http.NewRequestWithContext(ctx, http.MethodGet, base+a.Path+"?"+a.Form.Encode(), http.NoBody)
}

// All returns every store, weir first.
func All() []Store { return []Store{Weir(), Loki(), VictoriaLogs(), VictoriaLogsText(), DuckDB()} }

// Find returns the path of the store's program as for a peer.
func (s *Store) Find() (string, bool) {
	p := peers.Peer{Name: s.Name, Programs: s.Programs}
	return p.Find()
}

// DiskUse returns the bytes that files take on the disk (their blocks).
func DiskUse(dir string, patterns []string) (int64, error) {
	var sum int64
	for _, p := range patterns {
		found, err := filepath.Glob(filepath.Join(dir, p))
		if err != nil {
			return 0, err
		}
		for _, root := range found {
			err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := os.Lstat(path)
				if err != nil {
					return err
				}
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					sum += st.Blocks * 512
				}
				return nil
			})
			if err != nil {
				return 0, err
			}
		}
	}
	return sum, nil
}

// call sends a request without a body and returns the answer's.
func call(ctx context.Context, c *http.Client, method, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s: %s: %s", url, resp.Status, body[:min(len(body), 500)])
	}
	return body, nil
}

// metric adds the samples of a metric in Prometheus' text format.
func metric(page []byte, name string) (sum float64) {
	for _, l := range strings.Split(string(page), "\n") {
		rest, ok := strings.CutPrefix(l, name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(l[strings.LastIndexByte(l, ' ')+1:], &v); err == nil {
			sum += v
		}
	}
	return sum
}
