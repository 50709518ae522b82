package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirlog/weir/columns"
)

// backend is a destination that fails a lot and remembers what it took.
type backend struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	rnd     *rand.Rand
	calm    bool              // no faults any more
	lines   map[string]string // by id
	rows    int               // with doubles
	tokens  map[string]bool   // of inserts
	objects map[string][]byte
	acks    map[string]bool
	calls   int
}

func newBackend(t *testing.T, handle func(b *backend, w http.ResponseWriter, r *http.Request, body []byte)) *backend {
	b := &backend{t: t, rnd: rand.New(rand.NewPCG(7, 7)), lines: map[string]string{}, tokens: map[string]bool{}, objects: map[string][]byte{}, acks: map[string]bool{}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // cut by a kill
		}
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(bytes.NewReader(body))
			if err == nil {
				body, err = io.ReadAll(z)
			}
			if err != nil {
				t.Errorf("gzip: %v", err)
			}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.calls++
		switch n := b.rnd.IntN(10); {
		case b.calm:
		case n < 2:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case n == 2:
			panic(http.ErrAbortHandler) // before it is stored
		case n == 3:
			handle(b, httptest.NewRecorder(), r, body)
			panic(http.ErrAbortHandler) // behind: the answer is lost
		}
		handle(b, w, r, body)
	}))
	t.Cleanup(s.Close)
	b.url = s.URL
	return b
}

// take notes a line.
func (b *backend) take(id, line string) {
	b.rows++
	if had, ok := b.lines[id]; ok && had != line {
		b.t.Errorf("two lines have the id %s: %q and %q", id, had, line)
	}
	if len(id) != 32 {
		b.t.Errorf("id %q of %q", id, line)
	}
	b.lines[id] = line
}

func (b *backend) have() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.lines)
}

// eachJSON calls f for every JSON value in a body.
func (b *backend) eachJSON(body []byte, f func(m map[string]any)) {
	d := json.NewDecoder(bytes.NewReader(body))
	for {
		var m map[string]any
		if err := d.Decode(&m); err == io.EOF {
			return
		} else if err != nil {
			b.t.Errorf("not JSON: %v", err)
			return
		}
		f(m)
	}
}

// runOutput runs weir on a file of n lines with the output, and kills it so many
// times on the way. arrived says how many different lines are there.
func runOutput(t *testing.T, n, kills int, output string, arrived func() int) (lines map[string]bool) {
	t.Helper()
	dir := t.TempDir()
	lines = make(map[string]bool, n)
	in := filepath.Join(dir, "in.log")
	f, err := os.Create(in)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for i := range n {
		line := fmt.Sprintf("line %d of the story, é \" \\ {%s}", i, strings.Repeat("x", i%60))
		lines[line] = true
		fmt.Fprintln(w, line)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	conf := filepath.Join(dir, "weir.yaml")
	text := fmt.Sprintf("inputs: {file: {paths: ['%s']}}\noutputs:\n  %s\nstate: %s\n", in, output, filepath.Join(dir, "state"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for kill := 1; ; kill++ {
		p := start(t, filepath.Join(dir, "weir.stderr"), nil, weir(t), "run", "-c", conf)
		want := n * kill / (kills + 1)
		eventually(t, fmt.Sprintf("%d of %d lines are there", want, n), func() bool {
			// Started: before, a signal would end it like any other program.
			said, _ := os.ReadFile(p.stderr)
			return arrived() >= want && bytes.Count(said, []byte("msg=started")) >= kill || !p.alive()
		}, p.tail)
		if !p.alive() {
			t.Fatalf("weir has ended:\n%s", p.tail())
		}
		if kill == kills+1 {
			if code := p.signal(syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d\n%s", code, p.tail())
			}
			return lines
		}
		p.signal(syscall.SIGKILL)
	}
}

// whole checks that every line is there, as it was.
func (b *backend) whole(lines map[string]bool) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines) != len(lines) {
		b.t.Errorf("%d different ids, want %d", len(b.lines), len(lines))
	}
	for _, line := range b.lines {
		if !lines[line] {
			b.t.Fatalf("nobody wrote %q", line)
		}
	}
	b.t.Logf("%d lines, %d rows stored, %d requests", len(b.lines), b.rows, b.calls)
}

const (
	smallBatches = "batch: {bytes: 64KiB, wait: 50ms}, retry: {min_delay: 1ms, max_delay: 20ms}"
	storyLines   = 6000
)

func TestFailure78_SplunkStory(t *testing.T) {
	acked := 0
	b := newBackend(t, func(b *backend, w http.ResponseWriter, r *http.Request, body []byte) {
		if strings.HasSuffix(r.URL.Path, "/ack") {
			var ask struct{ Acks []int }
			if err := json.Unmarshal(body, &ask); err != nil || len(ask.Acks) != 1 {
				t.Errorf("asked %q", body)
				return
			}
			fmt.Fprintf(w, `{"acks":{"%d":true}}`, ask.Acks[0])
			return
		}
		b.eachJSON(body, func(m map[string]any) { b.take(m["fields"].(map[string]any)["weir_id"].(string), m["event"].(string)) })
		acked++
		fmt.Fprintf(w, `{"text":"Success","code":0,"ackId":%d}`, acked)
	})
	b.whole(runOutput(t, storyLines, 3, fmt.Sprintf("splunk_hec: {url: '%s', token: t, ack: {enabled: true, every: 50ms}, %s}", b.url, smallBatches), b.have))
}

func TestFailure78_HTTPStory(t *testing.T) {
	b := newBackend(t, func(b *backend, w http.ResponseWriter, r *http.Request, body []byte) {
		b.eachJSON(body, func(m map[string]any) { b.take(m["log_record_uid"].(string), m["_msg"].(string)) })
		w.WriteHeader(http.StatusAccepted)
	})
	b.whole(runOutput(t, storyLines, 3, fmt.Sprintf("http: {url: '%s/x', ids: true, compression: gzip, success: [202], %s}", b.url, smallBatches), b.have))
}

// An insert that is repeated, because its answer was lost, has the token of the
// first and is not stored again: without a kill there are no doubles.
func TestFailure78_ClickHouseStory(t *testing.T) {
	for _, kills := range []int{0, 3} {
		b := newBackend(t, func(b *backend, w http.ResponseWriter, r *http.Request, body []byte) {
			token := r.URL.Query().Get("insert_deduplication_token")
			if len(token) != 32 || b.tokens[token] {
				return
			}
			b.tokens[token] = true
			b.eachJSON(body, func(m map[string]any) {
				b.take(m["LogAttributes"].(map[string]any)["log.record.uid"].(string), m["Body"].(string))
			})
		})
		b.whole(runOutput(t, storyLines, kills, fmt.Sprintf("clickhouse: {url: '%s', %s}", b.url, smallBatches), b.have))
		if kills == 0 && b.rows != len(b.lines) {
			t.Errorf("%d rows of %d lines", b.rows, len(b.lines))
		}
	}
}

func TestFailure92_S3Story(t *testing.T) {
	for format, read := range map[string]func(b *backend, p []byte){
		"parquet": func(b *backend, p []byte) {
			err := columns.ReadParquet(bytes.NewReader(p), int64(len(p)), func(_ *columns.Stream, row *columns.Row) error {
				var attrs map[string]string
				if err := json.Unmarshal(row.Attrs, &attrs); err != nil {
					return err
				}
				b.take(attrs["log_record_uid"], string(row.Body))
				return nil
			})
			if err != nil {
				b.t.Error(err)
			}
		},
		"jsonl, compression: none": func(b *backend, p []byte) {
			b.eachJSON(p, func(m map[string]any) { b.take(m["log_record_uid"].(string), m["_msg"].(string)) })
		},
	} {
		t.Run(format, func(t *testing.T) {
			b := newBackend(t, func(b *backend, w http.ResponseWriter, r *http.Request, body []byte) {
				if r.Method != http.MethodPut {
					return
				}
				if old, there := b.objects[r.URL.Path]; there && !bytes.Equal(old, body) {
					t.Errorf("%s is another object now", r.URL.Path)
				}
				if b.objects[r.URL.Path] == nil {
					read(b, body)
				}
				b.objects[r.URL.Path] = body
				w.Header().Set("ETag", `"`+strconv.Itoa(b.calls)+`"`)
			})
			b.whole(runOutput(t, storyLines, 3, fmt.Sprintf(
				"s3: {endpoint: '%s', bucket: logs, region: r, path_style: always, format: %s, credentials: {access_key: a, secret_key: s}, %s}",
				b.url, format, smallBatches), b.have))
		})
	}
}

func TestFailure91_KafkaStory(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(3, "logs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, e := range []*kerr.Error{kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.NotLeaderForPartition} {
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: e, Count: -1, When: func(kmsg.Request) bool { return rnd.IntN(12) == 0 }})
	}
	b := &backend{t: t, lines: map[string]string{}}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("logs"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			f := cl.PollFetches(ctx)
			b.mu.Lock()
			f.EachRecord(func(r *kgo.Record) {
				for _, h := range r.Headers {
					if h.Key == "weir-id" {
						b.take(string(h.Value), string(r.Value))
					}
				}
			})
			b.mu.Unlock()
		}
	}()
	lines := runOutput(t, storyLines, 3, fmt.Sprintf("kafka: {brokers: ['%s'], format: raw, timeout: 5s, %s}", strings.Join(c.ListenAddrs(), "', '"), smallBatches), b.have)
	cancel()
	<-done
	cl.Close()
	b.whole(lines)
}

// From one weir to another through a Kafka: the ids and the lines are the same.
func TestKafkaThrough(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "logs"), kfake.GroupMinSessionTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	dir := t.TempDir()
	out := filepath.Join(dir, "out.jsonl")
	conf := filepath.Join(dir, "second.yaml")
	text := fmt.Sprintf("inputs: {kafka: {brokers: ['%s'], topics: [logs], format: text}}\noutputs: {http: {url: 'URL', ids: true, %s}}\nstate: %s\n",
		c.ListenAddrs()[0], smallBatches, filepath.Join(dir, "state"))
	b := newBackend(t, func(b *backend, w http.ResponseWriter, r *http.Request, body []byte) {
		b.eachJSON(body, func(m map[string]any) { b.take(m["log_record_uid"].(string), m["_msg"].(string)) })
	})
	if err := os.WriteFile(conf, []byte(strings.Replace(text, "URL", b.url, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	second := start(t, out+".stderr", nil, weir(t), "run", "-c", conf)
	lines := runOutput(t, storyLines/3, 3, fmt.Sprintf("kafka: {brokers: ['%s'], format: raw, %s}", c.ListenAddrs()[0], smallBatches), b.have)
	// The second one is killed as well, and reads on.
	second.signal(syscall.SIGKILL)
	second = start(t, out+".stderr", nil, weir(t), "run", "-c", conf)
	eventually(t, "the second has started again", func() bool {
		said, _ := os.ReadFile(second.stderr)
		return bytes.Count(said, []byte("msg=started")) == 2
	}, second.tail)
	if code := second.signal(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, second.tail())
	}
	b.whole(lines)
}
