package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/weirlog/weir/bench/corpus"
	"github.com/weirlog/weir/bench/peers"
	"github.com/weirlog/weir/bench/peers/weir"
)

// catcher keeps the bodies of all requests.
type catcher struct {
	mu    sync.Mutex
	text  bytes.Buffer
	lines int
	grown chan struct{}
}

func (c *catcher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var src io.Reader = r.Body
	var err error
	switch r.Header.Get("Content-Encoding") {
	case "gzip":
		src, err = gzip.NewReader(r.Body)
	case "zstd":
		src, err = zstd.NewReader(r.Body)
	}
	var body []byte
	if err == nil {
		body, err = io.ReadAll(src)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n := bytes.Count(body, []byte("\n"))
	c.mu.Lock()
	c.text.Write(body)
	c.lines += n
	c.mu.Unlock()
	select {
	case c.grown <- struct{}{}:
	default:
	}
	if strings.HasSuffix(r.URL.Path, "/_bulk") {
		fmt.Fprintf(w, `{"errors":false,"items":[%s]}`, strings.TrimSuffix(strings.Repeat(`{"create":{"status":201}},`, n/2), ","))
	}
}

// sorted returns the documents, an action with its document as one, in order,
// without ids.
func (c *catcher) sorted(t *testing.T, elastic bool) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := strings.Split(strings.TrimSuffix(c.text.String(), "\n"), "\n")
	if elastic {
		for i := range len(all) / 2 {
			action := all[2*i]
			masked := id.ReplaceAllString(action, `"_id":"?"`)
			if masked == action {
				t.Fatalf("no id in %s", action)
			}
			all[i] = masked + "\n" + all[2*i+1]
		}
		all = all[:len(all)/2]
	}
	slices.Sort(all)
	return all
}

var id = regexp.MustCompile(`"_id":"[0-9a-f]{32}"`)

// TestSameBytesAsWeir runs the real weir and the floor over the same files.
func TestSameBytesAsWeir(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.Command("go", "build", "-C", "../..", "-o", binary, "./cmd/weir").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	c, err := corpus.Write(corpus.Config{Root: filepath.Join(t.TempDir(), "pods"), Seed: 3}, 3, 9e6)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(c.Root, "*", "*", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []peers.Form{{Protocol: peers.JSONL, Compression: "zstd"}, {Protocol: peers.Elastic, Compression: "gzip"}} {
		elastic := form.Protocol == peers.Elastic
		want, got := &catcher{grown: make(chan struct{}, 1)}, &catcher{grown: make(chan struct{}, 1)}
		total := int(c.Total())
		path, format := "/insert/jsonline", "jsonl"
		if elastic {
			total, path, format = 2*total, "/_bulk", "elastic"
		}
		runWeir(t, binary, c.Root, form, want, total)
		srv := httptest.NewServer(got)
		f := floor{url: srv.URL + path, format: format, compression: form.Compression, request: 1 << 20}
		err := f.run(files, 256<<10)
		srv.Close()
		if err != nil {
			t.Fatal(err)
		}
		a, b := want.sorted(t, elastic), got.sorted(t, elastic)
		if len(a) != int(c.Total()) || len(b) != len(a) {
			t.Fatalf("%s: weir sent %d documents, the floor %d, of %d", form, len(a), len(b), c.Total())
		}
		for i := range a {
			if a[i] != b[i] {
				t.Fatalf("%s:\nweir  %s\nfloor %s", form, a[i], b[i])
			}
		}
	}
}

// runWeir has weir ship everything to the catcher, total lines of bodies.
func runWeir(t *testing.T, binary, root string, form peers.Form, to *catcher, total int) {
	srv := httptest.NewServer(to)
	defer srv.Close()
	p := weir.Peer()
	command, err := p.Prepare(peers.Job{Form: form, Binary: binary, Root: root, URL: srv.URL, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command.Args[0], command.Args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for done := false; !done; {
		select {
		case <-ctx.Done():
			_ = cmd.Wait()
			t.Fatalf("%s: %d of %d lines came\n%s", form, to.lines, total, log.String())
		case <-to.grown:
			to.mu.Lock()
			done = to.lines >= total
			to.mu.Unlock()
		}
	}
	cancel()
	_ = cmd.Wait() // ended by the signal
}

// TestRawIsTheBodies compares what goes to standard output with the plainest
// reading of the files.
func TestRawIsTheBodies(t *testing.T) {
	var e encoder
	e.format = "raw"
	if err := e.begin("/x/ns_pod_uid/app/0.log"); err != nil {
		t.Fatal(err)
	}
	var out []byte
	rest := e.frame(&out, []byte("2026-11-22T09:00:00.5Z stdout P ab\n2026-11-22T09:00:00.6Z stderr F err\n2026-11-22T09:00:00.7Z stdout F cd\n2026-11-22T09:0"))
	if string(out) != "err\nabcd\n" || string(rest) != "2026-11-22T09:0" {
		t.Errorf("%q, rest %q", out, rest)
	}
}

func TestEscape(t *testing.T) {
	for _, s := range []string{"", "plain", `a"b\c`, "tab\tbell\aé日本", strings.Repeat("x", 100) + "\"", strings.Repeat("\x01", 9)} {
		var want bytes.Buffer
		for i := range len(s) {
			switch c := s[i]; {
			case c == '"' || c == '\\':
				want.WriteString(`\` + string(c))
			case c == '\t':
				want.WriteString(`\t`)
			case c < 0x20:
				fmt.Fprintf(&want, `\u%04x`, c)
			default:
				want.WriteByte(c)
			}
		}
		if got := escape(nil, []byte(s)); string(got) != want.String() {
			t.Errorf("%q: %s, want %s", s, got, want.String())
		}
	}
}
