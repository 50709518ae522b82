package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/record"
)

// Every output writes the pod labels that the input has chosen, and says which
// life of the container a line is from.
func TestOutputsWritePodLabels(t *testing.T) {
	bodies := make(chan string, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && r.Header.Get("Content-Encoding") == "gzip" {
			var z *gzip.Reader
			if z, err = gzip.NewReader(strings.NewReader(string(body))); err == nil {
				body, err = io.ReadAll(z)
			}
		} else if err == nil && strings.HasSuffix(r.URL.Path, "/push") {
			body, err = snappy.Decode(nil, body)
		}
		if err != nil {
			t.Error(err)
		}
		bodies <- string(body)
		if strings.HasSuffix(r.URL.Path, "/_bulk") {
			io.WriteString(w, `{"took":1,"errors":false,"items":[{"create":{"status":201}}]}`)
		}
	}))
	defer srv.Close()
	for name, settings := range map[string]string{
		"elasticsearch": "", "loki": "", "otlp": "", "jsonl": "",
	} {
		cfg, _, err := config.Load(config.Options{
			Set: []string{"outputs." + name + ".url=" + srv.URL + settings}, Incomplete: true,
			Env: func(string) (string, bool) { return "", false },
		})
		if err != nil {
			t.Fatal(err)
		}
		p := process{cfg: cfg}
		endpoints, err := p.endpoints(cfg.Outputs[0], slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		b := record.NewBatch(nil)
		s := record.NewStream([]record.Attr{{Name: record.AttrPod, Value: "web-1"}, {Name: record.AttrRestart, Value: "7"}},
			[]record.Attr{{Name: "example.com/team", Value: "checkout-team"}}, nil)
		sp := b.AppendString("hello")
		b.Add(record.Record{Body: sp, Source: sp, End: 6, Stream: b.AddStream(record.StreamRef{Stream: s, Generation: record.ID{Hi: 1, Lo: 2}})})
		b.Freeze()
		if _, err := endpoints.list[0].Output.Send(context.Background(), []record.Part{record.NewPart(b, b.Live())}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if body := <-bodies; !strings.Contains(body, "checkout-team") || !strings.Contains(body, "team") {
			t.Errorf("%s: no pod label in %q", name, body)
		} else if name != "loki" && !strings.Contains(body, "restart") {
			t.Errorf("%s: no restart number in %q", name, body)
		}
		if c, ok := endpoints.list[0].Output.(io.Closer); ok {
			c.Close()
		}
	}
}
