package e2e

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestFailure107_Bombs: bodies that blow up are refused, many at a time, and the
// process stays small.
func TestFailure107_Bombs(t *testing.T) {
	g := startOpen(t, "listen: {http: ADDRESS}\n")
	big := gzipped(make([]byte, 300<<20))
	bombs := map[string][]byte{
		"gzip":   big,
		"nested": gzipped(gzipped(gzipped(make([]byte, 50<<20)))),
		"snappy": append([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, bytes.Repeat([]byte{0xfe, 1, 0}, 100)...), // says 4 GiB
		"many":   bytes.Repeat(gzipped(make([]byte, 10<<20)), 100),                                       // members
	}
	var wg sync.WaitGroup
	for name, body := range bombs {
		for range 16 {
			wg.Go(func() {
				req, err := http.NewRequest("POST", "http://"+g.addr+"/loki/api/v1/push", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				if req.Header.Set("Content-Encoding", "gzip"); name == "snappy" {
					req.Header.Set("Content-Encoding", "snappy")
				}
				req.Header.Set("Content-Type", "application/json")
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					return // cut while it was sent
				}
				defer resp.Body.Close()
				text, _ := io.ReadAll(resp.Body)
				if !strings.Contains("400 413 429", resp.Status[:3]) {
					t.Errorf("%s: %s %s", name, resp.Status, text)
				}
			})
		}
	}
	wg.Wait()
	if code, text := g.ask("POST", "/loki/api/v1/push", "", lokiPush(map[string]string{"app": "a"}, "x")); code != 204 {
		t.Errorf("afterwards: %d %s", code, text)
	}
	t.Logf("%d MiB at most", g.rss()>>20)
	if g.rss() > 256<<20 {
		t.Errorf("%d MiB of memory", g.rss()>>20)
	}
}
