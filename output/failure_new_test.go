package output

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/syslog"
)

// httpOutputs makes each output over HTTP that has no test of its own in
// http_test.go, for the server at url.
func httpOutputs(t *testing.T, change func(*HTTPConfig)) map[string]func(url string) sender {
	conf := func(url string) HTTPConfig {
		c := HTTPConfig{URL: url, Timeout: 10 * time.Second}
		if change != nil {
			change(&c)
		}
		return c
	}
	return map[string]func(url string) sender{
		"splunk": func(url string) sender {
			return newSplunk(t, url, func(c *SplunkConfig) { c.HTTPConfig = conf(url) })
		},
		"clickhouse": func(url string) sender {
			return newClickHouse(t, url, func(c *ClickHouseConfig) { c.HTTPConfig = conf(url) })
		},
		"http": func(url string) sender { return newPost(t, url, func(c *PostConfig) { c.HTTPConfig = conf(url) }) },
		"s3":   func(url string) sender { return newS3(t, url, func(c *S3Config) { c.HTTPConfig = conf(url) }) },
	}
}

// Row 82: a server says how long to wait, in seconds or with a date, and may not
// say too much.
func TestFailure82_RetryAfterOfNewOutputs(t *testing.T) {
	clk := newClock()
	for name, make := range httpOutputs(t, func(c *HTTPConfig) { c.Now = clk.now }) {
		for header, want := range map[string]time.Duration{
			"7": 7 * time.Second, "99999999": 10 * time.Minute, "soon": 0,
			clk.now().Add(90 * time.Second).UTC().Format(http.TimeFormat): 90 * time.Second,
		} {
			for _, status := range []int{429, 503} {
				var calls int
				s := server(t, func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					calls++
					w.Header().Set("Retry-After", header)
					w.WriteHeader(status)
				})
				_, err := make(s.URL).Send(t.Context(), someParts("a"))
				if se := wantKind(t, err, ack.Retry); se.RetryAfter != want || calls != 1 {
					t.Errorf("%s: Retry-After: %s → %v after %d calls, want %v after 1", name, header, se.RetryAfter, calls, want)
				}
			}
		}
	}
}

// Row 85, 86: what is no answer of the protocol delivers nothing.
func TestFailure85_NonsenseToNewOutputs(t *testing.T) {
	for name, make := range httpOutputs(t, nil) {
		for what, answer := range map[string]func(http.ResponseWriter){
			"a page": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>Sign in</html>") },
			"cut": func(w http.ResponseWriter) {
				w.Header().Set("Content-Length", "100")
				_, _ = io.WriteString(w, `{"code":0`)
				panic(http.ErrAbortHandler)
			},
			"a bomb": func(w http.ResponseWriter) {
				for range 64 {
					_, _ = io.WriteString(w, strings.Repeat(" ", 64<<10))
				}
			},
		} {
			s := server(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				answer(w)
			})
			if _, err := make(s.URL).Send(t.Context(), someParts("secretcontent")); err == nil {
				t.Errorf("%s: %s counts as delivered", name, what)
			} else if se := wantKind(t, err, ack.Retry); strings.Contains(se.Error(), "secretcontent") {
				t.Errorf("%s: %s: %v", name, what, se)
			}
		}
	}
}

// Row 79: outcomes per record, of a Kafka: what one partition refuses, for now or
// for good, says nothing about the records of another.
func TestFailure79_KafkaPerRecord(t *testing.T) {
	stream := func(ns string) *record.Stream {
		return record.NewStream([]record.Attr{{Name: record.AttrNamespace, Value: ns}}, nil, nil)
	}
	c := cluster(t, kfake.SeedTopics(1, "logs-a", "logs-b"))
	o := newKafka(t, c, func(k *KafkaConfig) {
		k.Format, k.Topic, k.MaxMessage = "raw", topic(t, "logs-${namespace}"), 2048
	})
	res, err := o.Send(t.Context(), partsOf(
		batchOf(stream("a"), "one", strings.Repeat("x", 3000), "two"), batchOf(stream("gone"), "three"), batchOf(stream("b"), "four"),
	))
	if err != nil || len(res.Failures) != 2 {
		t.Fatalf("%+v %v", res, err)
	}
	long, gone := res.Failures[0], res.Failures[1]
	if long.Part != 0 || long.Record != 1 || !long.Permanent || !strings.Contains(long.Reason, "max_message_bytes") {
		t.Errorf("%+v", long)
	}
	if gone.Part != 1 || gone.Record != 0 || gone.Permanent || !strings.Contains(gone.Reason, kerr.UnknownTopicOrPartition.Message) {
		t.Errorf("%+v", gone)
	}
	if a, b := ends(c, "logs-a"), ends(c, "logs-b"); a != 2 || b != 1 {
		t.Errorf("%d and %d records", a, b)
	}
}

// Row 88: forward and syslog look the name up again when a connection is old, and
// leave one whose server has gone.
func TestFailure88_SocketsLookUpAgain(t *testing.T) {
	var mu sync.Mutex
	hits := map[string]int{}
	listen := func(name, addr string) (net.Listener, func()) {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Skipf("a second loopback address: %v", err)
		}
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				stop := context.AfterFunc(ctx, func() { c.Close() })
				wg.Go(func() {
					defer stop()
					defer c.Close()
					receiver("", 100, func(string) { mu.Lock(); defer mu.Unlock(); hits[name]++ })(c)
				})
			}
		})
		end := sync.OnceFunc(func() { cancel(); l.Close(); wg.Wait() })
		t.Cleanup(end)
		return l, end
	}
	l1, end1 := listen("old", "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(l1.Addr().String())
	_, _ = listen("new", "127.0.0.2:"+port)
	clk := newClock()
	res := &fakeResolver{ips: []string{"127.0.0.1"}}
	o := forwardOutput(t, ForwardConfig{HTTPConfig: HTTPConfig{
		URL: "tcp://backend.test:" + port, Resolver: res, Now: clk.now, MaxConnAge: time.Minute, Timeout: 10 * time.Second}})
	send := func(wantOld, wantNew int) {
		t.Helper()
		if _, err := o.Send(t.Context(), socketPart(t, "a/x")); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if hits["old"] != wantOld || hits["new"] != wantNew {
			t.Fatalf("hits %v, want old %d, new %d", hits, wantOld, wantNew)
		}
	}
	send(1, 0)
	res.set([]string{"127.0.0.2"}, nil)
	send(2, 0) // the connection is young
	clk.add(2 * time.Minute)
	send(2, 1)
	res.set([]string{"127.0.0.1"}, nil)
	clk.add(2 * time.Minute)
	send(3, 1)
	end1() // the server goes; the name leads elsewhere
	res.set([]string{"127.0.0.2"}, nil)
	send(3, 2)
	res.set(nil, errors.New("no such host"))
	clk.add(2 * time.Minute)
	_, err := o.Send(t.Context(), socketPart(t, "a/x"))
	wantKind(t, err, ack.Retry)

	// Syslog has the same connections; over UDP the name is looked up too.
	s, err := NewSyslog(SyslogConfig{HTTPConfig: HTTPConfig{URL: "tcp://backend.test:" + strconv.Itoa(1), Resolver: res, Now: clk.now}, Encoding: syslog.Config{}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Send(t.Context(), socketPart(t, "a/x"))
	wantKind(t, err, ack.Retry)
}

// Row 88: the new outputs over HTTP share connections with the others, which
// http_test.go tries: here, that each of them asks the resolver.
func TestFailure88_NewOutputsLookUp(t *testing.T) {
	for name, make := range httpOutputs(t, func(c *HTTPConfig) { c.Resolver = &fakeResolver{err: errors.New("no such host")} }) {
		_, err := make("http://backend.test:1").Send(t.Context(), someParts("a"))
		if se := wantKind(t, err, ack.Retry); !strings.Contains(se.Error(), "no such host") {
			t.Errorf("%s: %v", name, se)
		}
	}
	o, err := NewKafka(KafkaConfig{
		KafkaConn: KafkaConn{Brokers: []string{"backend.test:1"}, Resolver: &fakeResolver{err: errors.New("no such host")}, Timeout: 2 * time.Second},
		Topic:     topic(t, "logs"),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	_, err = o.Send(t.Context(), someParts("a"))
	if se := wantKind(t, err, ack.Retry); !strings.Contains(se.Error(), "no such host") {
		t.Errorf("kafka: %v", se)
	}
}

// Row 110, 111: what programs log cannot choose a tag's, a topic's or a table's
// place, nor begin a message of its own.
func TestFailure111_ForwardInjection(t *testing.T) {
	evil := "a\xff\x93\x81\xa4size\x01\r\n<14>1 - - - - - - x"
	stream := record.NewStream([]record.Attr{{Name: record.AttrNamespace, Value: evil}}, nil, nil)
	var mu sync.Mutex
	var got []string
	addr := peers(t, receiver("", 100, func(s string) { mu.Lock(); defer mu.Unlock(); got = append(got, s) }))
	tag, err := wire.ParseTemplate("weir.${namespace}", wire.SanitizeText)
	if err != nil {
		t.Fatal(err)
	}
	for _, compression := range []string{"none", "gzip"} {
		o, err := NewForward(ForwardConfig{HTTPConfig: HTTPConfig{URL: "tcp://" + addr, Compression: compression}, Tag: tag})
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		if _, err := o.Send(t.Context(), partsOf(batchOf(stream, evil, "two"))); err != nil {
			t.Fatal(err)
		}
		_ = o.Close()
		if len(got) != 2 || !strings.HasSuffix(got[0], " "+evil) || !strings.HasPrefix(got[0], "weir.a___") || !strings.HasSuffix(got[1], " two") {
			t.Errorf("%s: %q", compression, got)
		}
	}
}
