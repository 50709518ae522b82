package output

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirlog/weir/ack"
)

func TestJSONLSends(t *testing.T) {
	for _, method := range []string{"", "none", "gzip", "zstd"} {
		t.Run("compression="+method, func(t *testing.T) {
			var got []byte
			var r0 *http.Request
			s := server(t, func(w http.ResponseWriter, r *http.Request) { got, r0 = bodyOf(t, r), r })
			o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{
				URL: s.URL + "/in?team=a%2Fb", Compression: method, Version: "1.2.3",
				Headers: map[string]Secret{"X-Scope": "shop"},
				Auth:    Auth{User: "u", Password: "p"},
			}})
			ps := partsOf(batchOf(testStream, "one", `{"k":1}`), batchOf(testStream, "three"))
			res, err := o.Send(t.Context(), ps)
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Failures) != 0 || res.Bytes == 0 || method != "gzip" && method != "zstd" && res.Bytes != len(got) {
				t.Errorf("result %+v for %d bytes", res, len(got))
			}
			rows := bytes.Split(bytes.TrimSuffix(got, []byte("\n")), []byte("\n"))
			if len(rows) != 3 {
				t.Fatalf("got %d lines: %q", len(rows), got)
			}
			for _, row := range rows {
				if !json.Valid(row) {
					t.Errorf("not JSON: %q", row)
				}
			}
			if !bytes.Contains(rows[0], []byte(`"one"`)) || !bytes.Contains(rows[1], []byte(`"k":1`)) || !bytes.Contains(rows[2], []byte(`"three"`)) {
				t.Errorf("lines %q", rows)
			}
			u, p, _ := r0.BasicAuth()
			if r0.URL.RawQuery != "team=a%2Fb" || r0.UserAgent() != "weir/1.2.3" || u != "u" || p != "p" ||
				r0.Header.Get("X-Scope") != "shop" || r0.Header.Get("Content-Type") != "application/x-ndjson" {
				t.Errorf("request %s %v", r0.URL, r0.Header)
			}
			if err := o.Probe(t.Context()); err != nil {
				t.Errorf("probe: %v", err)
			}
		})
	}
}

func TestJSONLVictoriaLogsArguments(t *testing.T) {
	for in, want := range map[string]string{
		"/insert/jsonline":                  "_msg_field=_msg%2Cmessage%2Cmsg%2Clog&_stream_fields=a%2Cb&_time_field=_time",
		"/insert/jsonline?_time_field=ts":   "_msg_field=_msg%2Cmessage%2Cmsg%2Clog&_stream_fields=a%2Cb&_time_field=ts",
		"/insert/jsonline?_stream_fields=x": "_msg_field=_msg%2Cmessage%2Cmsg%2Clog&_stream_fields=x&_time_field=_time",
		"/other":                            "",
	} {
		o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: "http://127.0.0.1:1" + in}, StreamFields: []string{"a", "b"}})
		if got := o.url.Query().Encode(); got != want {
			t.Errorf("%s: arguments %s, want %s", in, got, want)
		}
	}
}

func TestClassification(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		kind   ack.ErrorKind
		text   string
	}{
		{400, "", ack.Rejected, "400"},
		{401, "", ack.Unauthorized, "check auth"},
		{403, "", ack.Unauthorized, "permissions"},
		{404, "", ack.Retry, "path"},
		{405, "", ack.Retry, "path"},
		{408, "", ack.Retry, "408"},
		{413, "", ack.TooLarge, "413"},
		{415, "", ack.Retry, "format"},
		{422, "", ack.Rejected, "422"},
		{429, "", ack.Retry, "429"},
		{500, "", ack.Retry, "500"},
		{503, "", ack.Retry, "503"},
		{200, "\n <!doctype html><title>Sign in</title>", ack.Retry, "proxy or login page"},
	} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			s := server(t, func(w http.ResponseWriter, r *http.Request) {
				bodyOf(t, r)
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: s.URL}})
			_, err := o.Send(t.Context(), someParts("secretcontent"))
			se := wantKind(t, err, c.kind)
			if se.Code != c.status || !strings.Contains(se.Error(), c.text) || strings.Contains(se.Error(), "secretcontent") {
				t.Errorf("code %d, error %q, want %q in it", se.Code, se, c.text)
			}
		})
	}
}

// Row 84: a redirect is an error that names its target; nothing, and no
// credentials, go there.
func TestFailure84_RedirectsAreNotFollowed(t *testing.T) {
	var hits atomic.Int32
	other := server(t, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(other.URL, "http://", "http://user:canary@", 1)+"/new?token=canary", http.StatusTemporaryRedirect)
	})
	o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: s.URL, Auth: Auth{Bearer: "tok"}}})
	_, err := o.Send(t.Context(), someParts("a"))
	se := wantKind(t, err, ack.Retry)
	if !strings.Contains(se.Error(), other.URL+"/new") || strings.Contains(se.Error(), "canary") {
		t.Errorf("error %q does not name the target, or too much of it", se)
	}
	if hits.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

func TestFailure82_RetryAfterIsHonouredAndCapped(t *testing.T) {
	clk := newClock()
	now := clk.now()
	for _, c := range []struct {
		header string
		want   time.Duration
	}{
		{"", 0}, {"0", 0}, {"7", 7 * time.Second}, {" 7 ", 7 * time.Second},
		{"600", 10 * time.Minute}, {"601", 10 * time.Minute}, {"99999999999999999999999", 10 * time.Minute},
		{"-3", 0}, {"1.5", 0}, {"soon", 0}, {"0x10", 0},
		{now.Add(90 * time.Second).UTC().Format(http.TimeFormat), 90 * time.Second},
		{now.Add(-time.Hour).UTC().Format(http.TimeFormat), 0},
		{now.AddDate(50, 0, 0).UTC().Format(http.TimeFormat), 10 * time.Minute},
	} {
		for _, status := range []int{429, 503} {
			s := server(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", c.header)
				w.WriteHeader(status)
			})
			o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: s.URL, Now: clk.now}})
			_, err := o.Send(t.Context(), someParts("a"))
			if se := wantKind(t, err, ack.Retry); se.RetryAfter != c.want {
				t.Errorf("Retry-After: %s → %v, want %v", c.header, se.RetryAfter, c.want)
			}
		}
	}
}

func TestFailure83_BearerFileIsReadAgainAfterRefusal(t *testing.T) {
	clk := newClock()
	token := t.TempDir() + "/token"
	write(t, token, "old\n")
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer new" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: s.URL, Auth: Auth{BearerFile: token}, Now: clk.now}})
	_, err := o.Send(t.Context(), someParts("a"))
	wantKind(t, err, ack.Unauthorized)
	replace(t, token, "new\n") // the clock stands still: only the refusal makes it look
	if _, err := o.Send(t.Context(), someParts("a")); err != nil {
		t.Error(err)
	}
}

func TestFailure99_RotatedTokenIsReadAgain(t *testing.T) {
	clk := newClock()
	dir := t.TempDir()
	configMap(t, dir, "1", map[string]string{"token": "one"})
	if err := os.Chtimes(dir+"/token", time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var got string
	s := server(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") })
	log, logged := logTo()
	o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: s.URL, Auth: Auth{BearerFile: dir + "/token"}, Now: clk.now, Logger: log}})
	for i, c := range []struct{ content, want string }{
		{"", "one"}, {"two", "two"}, {"bad\r\nX: y", "two"}, {" \n", "two"}, {"three\n", "three"},
	} {
		if c.content != "" {
			configMap(t, dir, fmt.Sprint(i+2), map[string]string{"token": c.content})
			// Size and time are no proof of sameness.
			if err := os.Chtimes(dir+"/token", time.Unix(1, 0), time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
		}
		clk.add(2 * time.Second)
		mustSend(t, o, "a")
		if got != "Bearer "+c.want {
			t.Errorf("%d: Authorization %q, want %q", i, got, c.want)
		}
	}
	if used, failed := o.Reloads(); used != 2 || failed != 1 { // the same complaint about two bad files counts once
		t.Errorf("reloads %d, %d", used, failed)
	}
	for _, token := range []string{"one", "two", "three"} {
		if strings.Contains(logged.String(), "\""+token) || strings.Contains(logged.String(), "="+token) {
			t.Errorf("a token was logged: %s", logged)
		}
	}
}

// A server behind a balancer that answers 503 keeps answering on its
// connections; the next attempt must be able to meet another.
func TestFailure88_UnwellServerIsLeft(t *testing.T) {
	var mu sync.Mutex
	from := map[string]int{}
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		from[r.RemoteAddr]++
		if len(from) == 1 && from[r.RemoteAddr] == 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: s.URL, Headers: map[string]Secret{"Host": "other.test"}}})
	for i := range 5 {
		if _, err := o.Send(t.Context(), someParts("a")); (err != nil) != (i == 2) {
			t.Error(i, err)
		}
	}
	if len(from) != 2 {
		t.Errorf("connections used: %v, want 2", from)
	}
}

func TestFailure76_SlowBackendEndsAtTheDeadline(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"never answers": func(http.ResponseWriter, *http.Request) {},
		"stops within the answer": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{})
			s := server(t, func(w http.ResponseWriter, r *http.Request) {
				h(w, r)
				<-done
			})
			defer close(done)
			// The other output to a healthy server is not affected.
			well := server(t, func(http.ResponseWriter, *http.Request) {})
			slow := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: s.URL, Timeout: 200 * time.Millisecond}})
			fast := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: well.URL}})
			ended := make(chan error)
			go func() {
				_, err := slow.Send(t.Context(), someParts("a"))
				ended <- err
			}()
			if _, err := fast.Send(t.Context(), someParts("a")); err != nil {
				t.Error(err)
			}
			err := <-ended
			se := wantKind(t, err, ack.Retry)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(se.Error(), "no answer in time") {
				t.Errorf("error %q", se)
			}
		})
	}
	// A server that accepts and then says nothing at all, from the first byte.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	hole := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: "http://" + l.Addr().String(), Timeout: 200 * time.Millisecond}})
	_, err = hole.Send(t.Context(), someParts("a"))
	wantKind(t, err, ack.Retry)
}

func TestSendEndsWithItsContext(t *testing.T) {
	done := make(chan struct{})
	got := make(chan struct{}, 1)
	s := server(t, func(http.ResponseWriter, *http.Request) { got <- struct{}{}; <-done })
	defer close(done)
	o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: s.URL}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-got; cancel() }()
	_, err := o.Send(ctx, someParts("a"))
	wantKind(t, err, ack.Retry)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Row 87: a connection that is reset in the middle of the request or of the
// answer is an attempt that may be repeated with the same bytes.
func TestFailure87_ResetIsRetry(t *testing.T) {
	big := lines(20000) // over a megabyte: more than the sockets hold
	var whole []byte
	for name, cut := range map[string]func(c *net.TCPConn, r *bufio.Reader){
		"at once":     func(*net.TCPConn, *bufio.Reader) {},
		"mid-request": func(_ *net.TCPConn, r *bufio.Reader) { _, _ = io.CopyN(io.Discard, r, 10000) },
		"mid-headers": func(c *net.TCPConn, r *bufio.Reader) {
			readRequest(t, r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-")
		},
		"mid-answer": func(c *net.TCPConn, r *bufio.Reader) {
			readRequest(t, r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"errors\":fal")
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			defer wg.Wait()
			defer func() { _ = l.Close() }()
			wg.Go(func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				r := bufio.NewReader(c)
				cut(c.(*net.TCPConn), r)
				_ = c.(*net.TCPConn).SetLinger(0) // RST
				_ = c.Close()
				if c, err = l.Accept(); err != nil {
					return
				}
				whole = readRequest(t, bufio.NewReader(c))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				_ = c.Close()
			})
			o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: "http://" + l.Addr().String()}})
			ps := someParts(big...)
			_, err = o.Send(t.Context(), ps)
			wantKind(t, err, ack.Retry)
			if _, err := o.Send(t.Context(), ps); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if n := bytes.Count(whole, []byte("\n")); n != len(big) {
				t.Errorf("the second attempt brought %d lines, want %d", n, len(big))
			}
		})
	}
}

// readRequest reads a request with its body, answering an Expect header.
func readRequest(t testing.TB, r *bufio.Reader) []byte {
	req, err := http.ReadRequest(r)
	if err != nil {
		t.Errorf("read request: %v", err)
		return nil
	}
	p, err := io.ReadAll(req.Body)
	if err != nil {
		t.Errorf("read request: %v", err)
	}
	return p
}

// Row 81: a server that answers 413 and resets the connection is understood at
// the second attempt at the latest, because that asks before it sends.
func TestFailure81_TooLargeIsHeardThroughReset(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() { _ = l.Close() }()
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(c)
			req, err := http.ReadRequest(r)
			if err != nil {
				_ = c.Close()
				continue
			}
			if req.Header.Get("Expect") == "" {
				// The answer is lost: RST makes the client drop what it has not read.
				_ = c.(*net.TCPConn).SetLinger(0)
			} else {
				_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			}
			_ = c.Close()
		}
	})
	o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: "http://" + l.Addr().String()}})
	ps := someParts(lines(50000)...)
	_, err = o.Send(t.Context(), ps)
	wantKind(t, err, ack.Retry)
	_, err = o.Send(t.Context(), ps)
	wantKind(t, err, ack.TooLarge)
}

func TestPayloadIsCutOff(t *testing.T) {
	var p payload
	p.attach([]byte("first"))
	r1, again := p.reader(), p.reader()
	buf := make([]byte, 3)
	if n, err := r1.Read(buf); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	if got, err := io.ReadAll(again); string(got) != "first" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	p.detach()
	p.attach([]byte("second"))
	if n, err := r1.Read(buf); n != 0 || !errors.Is(err, errDetached) {
		t.Errorf("a reader of the first life read %d bytes, %v", n, err)
	}
	if got, err := io.ReadAll(p.reader()); string(got) != "second" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFailure90_RefusedCompressionFallsBackOnce(t *testing.T) {
	var compressed, plain atomic.Int32
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		if n := bytes.Count(bodyOf(t, r), []byte("\n")); n != 2 {
			t.Errorf("%d lines", n)
		}
		if r.Header.Get("Content-Encoding") != "" {
			compressed.Add(1)
			w.WriteHeader(http.StatusUnsupportedMediaType)
			return
		}
		plain.Add(1)
	})
	log, out := logTo()
	o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: s.URL, Compression: "zstd", Logger: log}})
	for range 3 {
		if _, err := o.Send(t.Context(), someParts("a", "b")); err != nil {
			t.Fatal(err)
		}
	}
	if compressed.Load() != 1 || plain.Load() != 3 {
		t.Errorf("%d compressed and %d plain requests, want 1 and 3", compressed.Load(), plain.Load())
	}
	if n := strings.Count(out.String(), "refuses compressed"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// fakeResolver answers with what is set and counts.
type fakeResolver struct {
	mu    sync.Mutex
	ips   []string
	err   error
	looks int
}

func (f *fakeResolver) LookupHost(context.Context, string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	return f.ips, f.err
}

func (f *fakeResolver) set(ips []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ips, f.err = ips, err
}

func TestFailure88_NameIsLookedUpAgain(t *testing.T) {
	// Two servers on one port of two loopback addresses.
	var mu sync.Mutex
	hits := map[string]int{}
	handler := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			hits[name]++
			mu.Unlock()
		})
	}
	l1, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l1.Addr().String())
	l2, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		t.Skipf("a second loopback address: %v", err)
	}
	s1, s2 := &http.Server{Handler: handler("old")}, &http.Server{Handler: handler("new")}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s1.Serve(l1) })
	wg.Go(func() { _ = s2.Serve(l2) })
	defer wg.Wait()
	defer func() { _, _ = s1.Close(), s2.Close() }()

	clk := newClock()
	res := &fakeResolver{ips: []string{"127.0.0.1"}}
	o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{
		URL: "http://backend.test:" + port, Resolver: res, Now: clk.now, MaxConnAge: time.Minute,
	}})
	send := func(wantErr bool) {
		t.Helper()
		if _, err := o.Send(t.Context(), someParts("a")); (err != nil) != wantErr {
			t.Fatalf("error %v", err)
		}
	}
	want := func(oldHits, newHits int) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if hits["old"] != oldHits || hits["new"] != newHits {
			t.Fatalf("hits %v, want old %d, new %d", hits, oldHits, newHits)
		}
	}
	send(false)
	res.set([]string{"127.0.0.2"}, nil)
	send(false) // the connection is young
	want(2, 0)
	clk.add(73 * time.Second)
	send(false) // and now it is not
	want(2, 1)
	res.set([]string{"127.0.0.1"}, nil)
	_ = s2.Close()                             // the address dies, and at the latest the second attempt goes elsewhere:
	_, _ = o.Send(t.Context(), someParts("a")) // the transport may notice before it sends
	send(false)
	mu.Lock()
	old := hits["old"]
	mu.Unlock()
	if old < 3 {
		t.Fatalf("hits %v", hits)
	}
	// The first address refuses; the second answers.
	res.set([]string{"127.0.0.3", "127.0.0.1"}, nil)
	clk.add(73 * time.Second)
	send(false)
	want(old+1, 1)
	res.set(nil, &net.DNSError{Err: "no such host", Name: "backend.test", IsNotFound: true})
	clk.add(73 * time.Second)
	send(true)
	res.set(nil, nil)
	send(true)
}

func TestCloseEndsSends(t *testing.T) {
	s := server(t, func(http.ResponseWriter, *http.Request) {})
	o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: s.URL}})
	if _, err := o.Send(t.Context(), someParts("a")); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := o.Send(t.Context(), someParts("a"))
	wantKind(t, err, ack.Retry)
}

func TestConfigErrors(t *testing.T) {
	for name, c := range map[string]HTTPConfig{
		"must be http":       {URL: "ftp://x"},
		"must be":            {URL: "canary:9200"},
		"is not encrypted":   {URL: "http://host", TLS: TLS{CA: "/x"}},
		"cannot be parsed":   {URL: "http://u:canary@ho st"},
		"auth is set too":    {URL: "http://u:canary@host", Auth: Auth{Bearer: "x"}},
		"only one of":        {URL: "http://host", Auth: Auth{Bearer: "x", APIKey: "y"}},
		"colon":              {URL: "http://host", Auth: Auth{User: "a:b"}},
		"no header may have": {URL: "http://host", Auth: Auth{Bearer: "canary\r\nX: y"}},
		"not a valid header": {URL: "http://host", Headers: map[string]Secret{"X-A": "canary\n"}},
		"cert and key":       {URL: "https://host", TLS: TLS{Cert: "x"}},
		"tls.ca":             {URL: "https://host", TLS: TLS{CA: "/nonexistent"}},
		"bearer_file":        {URL: "https://host", Auth: Auth{BearerFile: "/nonexistent"}},
		"compression":        {URL: "http://host", Compression: "snappy"},
		"level":              {URL: "http://host", Compression: "zstd", CompressionLevel: 99},
		"gzip level":         {URL: "http://host", Compression: "gzip", CompressionLevel: 99},
		"positive":           {URL: "http://host", Timeout: -1},
	} {
		_, err := NewJSONL(JSONLConfig{HTTPConfig: c})
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%+v: error %v, want %q in it", c, err, name)
		}
	}
}

// Requests must not touch each other's memory, whatever the transport still
// does with a body after the answer.
func TestConcurrentSendsKeepTheirBytes(t *testing.T) {
	var n atomic.Int32
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%3 == 0 { // answer without reading
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		want, _ := url.PathUnescape(r.URL.Path[1:])
		for line := range bytes.Lines(bodyOf(t, r)) {
			if !bytes.Contains(line, []byte(`"`+want+` `)) {
				t.Errorf("line %q in a request of %s", line, want)
				return
			}
		}
	})
	var wg sync.WaitGroup
	for i := range 8 {
		name := fmt.Sprintf("w%d", i)
		method := []string{"none", "gzip", "zstd"}[i%3]
		o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: s.URL + "/" + name, Compression: method}})
		var bodies []string
		for j := range 3000 {
			bodies = append(bodies, fmt.Sprintf("%s %d %s", name, j, strings.Repeat("x", 50)))
		}
		ps := someParts(bodies...)
		wg.Go(func() {
			for range 12 {
				if _, err := o.Send(t.Context(), ps); err != nil {
					wantKind(t, err, ack.Retry)
				}
			}
		})
	}
	wg.Wait()
}
