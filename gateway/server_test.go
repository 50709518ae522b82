package gateway

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
)

// Old connections are replaced between two requests, over HTTP/1.1 and gRPC.
func TestConnectionsAge(t *testing.T) {
	var clock, conns atomic.Int64
	clock.Store(1)
	s := httptest.NewUnstartedServer(newServer(t, &pushStore{}, Config{}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	ageConnections(s.Config, time.Minute, func() float64 { return 0.5 }, func() time.Time { return time.Unix(clock.Load(), 0) })
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	reused := func() (was bool) {
		r, err := http.NewRequest("GET", s.URL+lokiPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		r = r.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { was = i.Reused }}))
		res, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body) // or the connection is not used again
		res.Body.Close()
		return was
	}
	if reused() || !reused() {
		t.Error("a young connection is not used again")
	}
	clock.Add(61)
	if !reused() || reused() {
		t.Error("an old one is to be used once more, and then another")
	}

	conn, err := grpc.NewClient("passthrough:///"+s.Listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := conns.Load()
	for i := range 6 {
		if _, err := collogs.NewLogsServiceClient(conn).Export(t.Context(), logsRequest("x"), grpc.WaitForReady(true)); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			clock.Add(61)
		}
	}
	if n := conns.Load() - before; n != 2 {
		t.Errorf("%d connections over gRPC, want 2", n)
	}
}

// A connection whose requests are given up again and again is closed long before
// they all were made; one whose requests are answered, too, is not.
func TestFailure109_RapidReset(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/wait" {
			<-r.Context().Done()
		}
	}))
	s.Listener = PrepareHTTP(s.Config, s.Listener, nil, slog.New(slog.DiscardHandler))
	var conns atomic.Int64
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	client := &http.Client{Transport: &http.Transport{Protocols: new(http.Protocols)}}
	client.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
	defer client.CloseIdleConnections()
	ask := func(path string) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if path == "/wait" {
			before := asked.Load()
			go func() {
				for asked.Load() == before && ctx.Err() == nil {
					runtime.Gosched()
				}
				cancel()
			}()
		}
		r, err := http.NewRequestWithContext(ctx, "GET", s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(r)
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
	for i := range 3 * maxGone { // every second is answered
		if err := ask([]string{"/wait", "/"}[i%2]); i%2 == 1 && err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections of a client that gives up half of its requests, want 1", n)
	}
	for range 5 * maxGone {
		_ = ask("/wait") // is given up
	}
	if n := conns.Load(); n < 4 || n > 6 {
		t.Errorf("%d connections for %d requests given up, want one for about %d", n, 5*maxGone, maxGone)
	}
}

// Connections with very many requests under way are closed while all together have
// too many; who has few is served.
func TestFailure109_ManyRequestsAtOnce(t *testing.T) {
	var under atomic.Int64
	end := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			under.Add(1)
			defer under.Add(-1)
			select {
			case <-end:
			case <-r.Context().Done():
			}
		}
	}))
	s.Listener = PrepareHTTP(s.Config, s.Listener, nil, slog.New(slog.DiscardHandler))
	s.Start()
	defer s.Close()
	answer := sync.OnceFunc(func() { close(end) })
	defer answer()
	dial := func() *http.Client {
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetUnencryptedHTTP2(true)
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	ask := func(c *http.Client, path string) error {
		res, err := c.Get(s.URL + path)
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
	var wg sync.WaitGroup
	var cut atomic.Int64
	first := dial()
	wg.Go(func() { // few under way
		if err := ask(first, "/wait"); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the first waits", func() bool { return under.Load() == 1 })
	const conns = maxBusy/maxStreams + 10
	for range conns {
		c := dial()
		for range maxStreams {
			wg.Go(func() {
				if ask(c, "/wait") != nil {
					cut.Add(1)
				}
			})
		}
	}
	eventually(t, "some are cut", func() bool { return cut.Load() > 0 })
	if err := ask(dial(), "/"); err != nil {
		t.Errorf("who has few requests: %v", err)
	}
	if n := under.Load(); n > maxBusy {
		t.Errorf("%d requests under way", n)
	}
	answer()
	wg.Wait()
	t.Logf("%d of %d cut", cut.Load(), conns*maxStreams)
}

// A thousand calls at a time on one connection of gRPC are more than it may have:
// clients keep the rest until there is room.
func TestGRPCThousandCallsOnOneConnection(t *testing.T) {
	store := &pushStore{}
	s := httptest.NewUnstartedServer(newServer(t, store, Config{}))
	s.Listener = PrepareHTTP(s.Config, s.Listener, nil, slog.New(slog.DiscardHandler))
	s.Start()
	defer s.Close()
	conn, err := grpc.NewClient("passthrough:///"+s.Listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if _, err := collogs.NewLogsServiceClient(conn).Export(t.Context(), logsRequest("x")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// A stop does not wait for bodies of which nothing more comes, and waits for those
// that are being sent.
func TestStopWithHalfSentBodies(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	began := make(chan struct{}, 3)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusRequestTimeout)
		}
	})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln = PrepareHTTP(s, ln, nil, log)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	half := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"); err != nil {
			t.Fatal(err)
		}
		<-began
		return c
	}
	silent, sends := half(), half()
	stopped := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { stopped <- s.Shutdown(ctx) }()
	if err := <-served; err != http.ErrServerClosed { // from here on it stops
		t.Fatal(err)
	}
	if _, err := io.WriteString(sends, " and the rest"[:6]); err != nil {
		t.Fatal(err)
	}
	for c, want := range map[net.Conn]string{silent: "408", sends: "200"} {
		answer := make([]byte, 12)
		if _, err := io.ReadFull(c, answer); err != nil || !strings.HasSuffix(string(answer), want) {
			t.Errorf("%q, %v, want %s", answer, err, want)
		}
	}
	if err := <-stopped; err != nil {
		t.Errorf("the stop took its whole patience: %v", err)
	}
}
