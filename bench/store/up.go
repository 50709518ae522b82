package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/weirlog/weir/bench/measure"
)

// upped is a running `weir up` over a directory of files: agent, store and API
// in one process, with what is built in for a laptop.
type upped struct {
	proc *measure.Process
	dir  string // of the files
	url  string
	log  *os.File
}

const upLabel = "bench"

// up starts it and waits until it reads.
func (o *options) up(ctx context.Context, dir string, chosen []participant) (*upped, error) {
	if len(chosen) != 1 || chosen[0].Name != "weir" {
		return nil, errors.New("this mode is for -only weir")
	}
	u := &upped{dir: filepath.Join(dir, "files")}
	if err := os.MkdirAll(u.dir, 0o755); err != nil {
		return nil, err
	}
	// Something to begin with: an empty directory is none.
	if err := os.WriteFile(filepath.Join(u.dir, "0.log"), []byte("the first line\n"), 0o644); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	u.url = "http://" + address
	if u.log, err = os.Create(filepath.Join(dir, "log.txt")); err != nil {
		return nil, err
	}
	args := []string{chosen[0].binary, "up", u.dir, "--output", "raw", "--listen", address, "--state", filepath.Join(dir, "state"), "--label", "app=" + upLabel}
	u.proc, err = measure.Start(measure.Spec{
		Args: args, Dir: dir, CPU: o.cpu, Stderr: u.log, Env: []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOME=" + dir},
	})
	if err != nil {
		return nil, err
	}
	for began := time.Now(); ; {
		n, err := u.count(ctx)
		if err == nil && n == 1 {
			return u, nil
		}
		if time.Since(began) > time.Minute || ctx.Err() != nil {
			u.stop()
			return nil, fmt.Errorf("weir up has not read the first line: %d, %v; its log is %s", n, err, u.log.Name())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (u *upped) stop() {
	u.proc.Stop(20 * time.Second)
	_ = u.log.Close() // nothing more is written
}

// get asks the API.
func (u *upped) get(ctx context.Context, path string, form url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.url+path+"?"+form.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// count is how many lines the store has.
func (u *upped) count(ctx context.Context) (int64, error) {
	var answer struct {
		Data struct {
			Result []struct {
				Value [2]any `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	now := time.Now().Add(time.Minute)
	err := u.get(ctx, "/loki/api/v1/query", url.Values{
		"query": {fmt.Sprintf("sum(count_over_time({app=%q}[24h]))", upLabel)}, "time": {strconv.FormatInt(now.UnixNano(), 10)},
	}, &answer)
	if err != nil || len(answer.Data.Result) == 0 {
		return 0, err
	}
	return strconv.ParseInt(fmt.Sprint(answer.Data.Result[0].Value[1]), 10, 64)
}
