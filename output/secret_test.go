package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v4"
)

func TestFailure112_SecretsNeverPrinted(t *testing.T) {
	const canary = "hunter2canary"
	var out bytes.Buffer
	s := Secret(canary)
	type nested struct {
		S Secret
		M map[string]Secret
		P *Secret
	}
	n := nested{s, map[string]Secret{"k": s}, &s}
	for _, v := range []any{s, &s, n, &n, []Secret{s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		for _, enc := range []func(any) ([]byte, error){json.Marshal, func(v any) ([]byte, error) { return yaml.Marshal(v) }} {
			p, err := enc(v)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(p)
		}
		fmt.Fprintln(&out, v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	out.WriteString(errors.Join(fmt.Errorf("bad %v", s)).Error())

	// Every error and log line an output makes on the way.
	log, logged := logTo()
	srv := server(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(max(len(r.URL.Path), 302)) })
	hosts := []string{strings.TrimPrefix(srv.URL, "http://"), "127.0.0.1:1", "nonexistent.invalid"}
	for _, host := range hosts {
		for _, path := range []string{"/", "/" + strings.Repeat("a", 400), "/" + strings.Repeat("a", 502)} {
			conf := HTTPConfig{
				URL:     "http://user:" + canary + "@" + host + path + "?token=" + canary,
				Headers: map[string]Secret{"X-Key": canary}, Logger: log,
			}
			o := newJSONL(t, JSONLConfig{HTTPConfig: conf})
			_, err := o.Send(t.Context(), someParts("body"))
			if err == nil {
				t.Errorf("%s: no error", host)
			}
			for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
				fmt.Fprintf(&out, verb+"\n", err)
				fmt.Fprintf(&out, verb+"\n", o)
				fmt.Fprintf(&out, verb+"\n", struct{ Out any }{o})
				fmt.Fprintf(&out, verb+"\n", conf.Auth)
				fmt.Fprintf(&out, verb+"\n", conf)
				fmt.Fprintf(&out, verb+"\n", JSONLConfig{HTTPConfig: conf})
				fmt.Fprintf(&out, verb+"\n", &ElasticsearchConfig{HTTPConfig: conf})
			}
			slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "o", o, "err", err, "conf", conf)
		}
	}
	// A server that says back what it heard.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.CopyN(c, c, 100)
			_ = c.Close()
		}
	})
	echo := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: "http://" + l.Addr().String() + "/?token=" + canary}})
	_, err = echo.Send(t.Context(), someParts(canary))
	fmt.Fprintln(&out, err)
	if err == nil {
		t.Error("an echo was taken for an answer")
	}
	_ = l.Close()
	wg.Wait()
	for _, bad := range []string{"ftp://u:" + canary + "@h", "http://u:" + canary + "@h:bad", "http://h/%zz?" + canary, "://" + canary} {
		_, err := NewJSONL(JSONLConfig{HTTPConfig: HTTPConfig{URL: bad}})
		fmt.Fprintln(&out, err)
	}
	text := out.String() + logged.String()
	for _, c := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary)} {
		if i := strings.Index(text, c); i >= 0 {
			t.Errorf("the secret was printed: …%s…", text[max(0, i-200):min(len(text), i+50)])
		}
	}
	if got := fmt.Sprintf("%v %s", s, Secret("")); got != "[redacted] " {
		t.Errorf("printed %q", got)
	}
	if string(s) != canary {
		t.Error("the value is gone")
	}
	var back struct{ S Secret }
	if err := json.Unmarshal([]byte(`{"S":"x"}`), &back); err != nil || back.S != "x" {
		t.Errorf("unmarshal: %v %q", err, string(back.S))
	}
}
