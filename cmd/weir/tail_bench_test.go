package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// These measure the real program: CPU time of a process of its own, per million
// lines of 50 pods, from a server's WebSocket and from a Kubernetes API, and check
// that all lines come, in the order of their times.
//
//	go test ./cmd/weir -run xxx -bench Tail -benchtime 1x
const (
	benchPods  = 50
	benchLines = 1_000_000
)

func benchLine(i int) string {
	return fmt.Sprintf(`{"level":"info","msg":"request served","method":"GET","path":"/cart/%d","status":200,"took_ms":%d,"seq":%d}`, i%977, i%89, i)
}

// BenchmarkTailServer gets frames as a weir sends them: what has become durable
// since the last one, a stream for each change of pod.
func BenchmarkTailServer(b *testing.B) {
	var frames [][]byte
	began := time.Now()
	for i := 0; i < benchLines; {
		f := []byte(`{"streams":[`)
		for range 2000 {
			if i%2000 > 0 {
				f = append(f, ',')
			}
			// Bursts of 4 lines of a pod.
			pod := i / 4 % benchPods
			f = fmt.Appendf(f, `{"stream":{"app":"web","container":"web","namespace":"shop","node":"n1","pod":"web-6d4cf56db6-%05d","service_name":"web","stream":"stdout","workload":"deployment/web"},"values":[`, pod)
			for j := range 4 {
				if j > 0 {
					f = append(f, ',')
				}
				f = fmt.Appendf(f, `["%d",%q,{"structuredMetadata":{"detected_level":"info","pod_uid":"1f8a3c52-0000-4000-8000-0000000%05d"}}]`, began.UnixNano()+int64(i)*20_000, benchLine(i), pod)
				i++
			}
			f = append(f, `]}`...)
			if i%2000 == 0 {
				break
			}
		}
		frames = append(frames, append(f, `],"encodingFlags":["categorize-labels"]}`...))
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/tail") {
			fmt.Fprint(w, `{"status":"success","data":["pod","service_name"]}`)
			return
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		ctx := conn.CloseRead(context.Background())
		for _, f := range frames {
			if conn.Write(ctx, websocket.MessageText, f) != nil {
				return
			}
		}
		<-ctx.Done()
	}))
	defer srv.Close()
	for _, format := range []string{"raw", "pretty"} {
		b.Run(format, func(b *testing.B) {
			benchTail(b, "tail", "--server", srv.URL, "--tail", "0", "-o", format)
		})
	}
}

// BenchmarkTailKube gets the logs of 50 pods from a Kubernetes API.
func BenchmarkTailKube(b *testing.B) {
	dir := b.TempDir()
	began := time.Now().Add(-time.Minute)
	for p := range benchPods {
		pod := filepath.Join(dir, "shop", fmt.Sprintf("web-%d", p))
		if err := os.MkdirAll(pod, 0o755); err != nil {
			b.Fatal(err)
		}
		f, err := os.Create(filepath.Join(pod, "web.log"))
		if err != nil {
			b.Fatal(err)
		}
		w := bufio.NewWriter(f)
		for i := p; i < benchLines; i += benchPods {
			fmt.Fprintf(w, "%s %s\n", began.Add(time.Duration(i)*20*time.Microsecond).UTC().Format(time.RFC3339Nano), benchLine(i))
		}
		if err := w.Flush(); err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
	}
	srv := httptest.NewServer(&storyCluster{dir: dir, began: time.Now()})
	defer srv.Close()
	config := filepath.Join(b.TempDir(), "kubeconfig")
	if err := os.WriteFile(config, fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":%q}}],"users":[{"name":"u","user":{}}],
"contexts":[{"name":"c","context":{"cluster":"c","user":"u","namespace":"shop"}}],"current-context":"c"}`, srv.URL), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, format := range []string{"raw", "pretty"} {
		b.Run(format, func(b *testing.B) {
			benchTail(b, "tail", "--kubeconfig", config, "--tail", "-1", "--no-follow", "-o", format)
		})
	}
}

// benchTail runs weir until it has printed all lines.
func benchTail(b *testing.B, args ...string) {
	for b.Loop() {
		cmd := exec.Command("weir", append(args, "--only-log-lines")...)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		r := bufio.NewReaderSize(out, 1<<20)
		wrong, last := 0, -1
		for n := range benchLines {
			line, err := r.ReadString('\n')
			if err != nil {
				b.Fatalf("%d lines: %v", n, err)
			}
			seq := line[strings.LastIndexAny(line, ":=")+1:]
			i, err := strconv.Atoi(strings.TrimRight(seq, "}\n"))
			if err != nil {
				b.Fatal(err)
			}
			if i < last {
				wrong++
			}
			last = i
		}
		_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended
		_ = cmd.Wait()
		if wrong > 0 {
			b.Errorf("%d lines are not in the order of time", wrong)
		}
		s := cmd.ProcessState
		cpu := s.UserTime() + s.SystemTime()
		b.ReportMetric(cpu.Seconds()*1e6/benchLines, "cpu-s/Mlines")
	}
}
