package output

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/forward"
	"github.com/weirlog/weir/wire/syslog"
)

// peers accepts connections and gives each to serve.
func peers(t *testing.T, serve func(c net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

func socketPart(t *testing.T, lines ...string) []record.Part {
	t.Helper()
	b := record.NewBatch(nil)
	for i, l := range lines {
		ns, body, _ := strings.Cut(l, "/")
		s := b.AppendString(body)
		b.Add(record.Record{Time: int64(i), Body: s, Source: s, Stream: b.AddStream(record.StreamRef{Stream: record.NewStream([]record.Attr{{Name: "namespace", Value: ns}}, nil, nil)})})
	}
	b.Freeze()
	p := record.NewPart(b, b.Live())
	t.Cleanup(p.Finish)
	return []record.Part{p}
}

func forwardOutput(t *testing.T, c ForwardConfig) *Forward {
	t.Helper()
	tag, err := wire.ParseTemplate("weir.${namespace}", wire.SanitizeText)
	if err != nil {
		t.Fatal(err)
	}
	c.Tag = tag
	o, err := NewForward(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

// receiver is a server of the protocol: it acknowledges so many messages of a
// connection and then closes it.
func receiver(key string, most int, got func(tag string)) func(c net.Conn) {
	return func(c net.Conn) {
		var buf []byte
		next := func() []byte {
			var f forward.Framer
			for {
				if n, _ := f.Next(buf); n > 0 {
					p := slices.Clone(buf[:n])
					buf = buf[n:]
					return p
				}
				p := make([]byte, 4096)
				n, err := c.Read(p)
				if err != nil {
					return nil
				}
				buf = append(buf, p[:n]...)
			}
		}
		if key != "" {
			h := forward.Hello{Nonce: []byte("0123456789abcdef"), Auth: []byte("salt")}
			c.Write(h.Append(nil))
			ping, err := forward.ParsePing(next())
			if err != nil || !ping.KeyMatches(h.Nonce, key) || !ping.PasswordMatches(h.Auth, "pass") {
				c.Write((&forward.Pong{Reason: "no"}).Append(nil))
				return
			}
			c.Write(forward.NewPong(ping, h.Nonce, "srv", key).Append(nil))
		}
		d := forward.NewDecoder(wire.Limits{}, new(wire.StreamCache))
		for i := 0; i < most; i++ {
			p := next()
			if p == nil {
				return
			}
			b := record.NewBatch(nil)
			if _, err := d.Decode(b, b.Append(p), "", 1); err != nil {
				return
			}
			for k := range b.NumRecords() {
				got(b.Stream(k).Get("tag") + " " + string(b.Body(k)))
			}
			for _, s := range d.Chunks() {
				c.Write(forward.AppendAck(nil, b.Bytes(s)))
			}
		}
	}
}

func TestForward(t *testing.T) {
	var mu sync.Mutex
	var got []string
	note := func(s string) { mu.Lock(); defer mu.Unlock(); got = append(got, s) }
	addr := peers(t, receiver("key", 100, note))
	for _, compression := range []string{"none", "gzip", "zstd"} {
		o := forwardOutput(t, ForwardConfig{HTTPConfig: HTTPConfig{URL: "tcp://" + addr, Compression: compression, Auth: Auth{User: "ann", Password: "pass"}}, SharedKey: "key"})
		for range 2 {
			got = nil
			res, err := o.Send(t.Context(), socketPart(t, "a/one", "b/two", "a/three"))
			if err != nil || len(res.Failures) > 0 || res.Bytes == 0 {
				t.Fatal(res, err)
			}
			slices.Sort(got)
			if s := strings.Join(got, ","); s != "weir.a one,weir.a three,weir.b two" {
				t.Error(s)
			}
		}
	}
	o := forwardOutput(t, ForwardConfig{HTTPConfig: HTTPConfig{URL: "tcp://" + addr, Auth: Auth{User: "ann", Password: "pass"}}, SharedKey: "wrong"})
	_, err := o.Send(t.Context(), socketPart(t, "a/one"))
	var se *ack.SendError
	if !errors.As(err, &se) || se.Kind != ack.Unauthorized || strings.Contains(err.Error(), "wrong") {
		t.Error(err)
	}
	if err := o.Probe(t.Context()); err == nil {
		t.Error("probed")
	}
}

// Of several messages some are acknowledged: the others alone are sent again.
func TestForwardPartlyAcknowledged(t *testing.T) {
	addr := peers(t, receiver("", 1, func(string) {}))
	o := forwardOutput(t, ForwardConfig{HTTPConfig: HTTPConfig{URL: "tcp://" + addr, Timeout: 2 * time.Second}})
	res, err := o.Send(t.Context(), socketPart(t, "a/one", "b/two", "a/three"))
	if err != nil || len(res.Failures) != 1 || res.Failures[0].Record != 1 || res.Failures[0].Permanent {
		t.Fatal(res, err)
	}
	silent := peers(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	o = forwardOutput(t, ForwardConfig{HTTPConfig: HTTPConfig{URL: "tcp://" + silent, Timeout: 100 * time.Millisecond}})
	if _, err := o.Send(t.Context(), socketPart(t, "a/one")); err == nil {
		t.Error("delivered without an acknowledgement")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.Send(ctx, socketPart(t, "a/one")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Row 81: a message is never so long that a receiver hangs up on it, whatever the
// metadata makes of short lines; what is behind it arrives in order.
func TestFailure81_ForwardMessagesAreBounded(t *testing.T) {
	var mu sync.Mutex
	var sizes []int
	var got []string
	addr := peers(t, func(c net.Conn) {
		f, buf := forward.Framer{Max: 6 << 20}, []byte(nil)
		d := forward.NewDecoder(wire.Limits{}, new(wire.StreamCache))
		p := make([]byte, 64<<10)
		for {
			n, err := f.Next(buf)
			if err != nil {
				return // too long: as Fluent Bit, without a word
			}
			if n == 0 {
				k, err := c.Read(p)
				if err != nil {
					return
				}
				buf = append(buf, p[:k]...)
				continue
			}
			b := record.NewBatch(nil)
			if _, err := d.Decode(b, b.Append(buf[:n]), "", 1); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			sizes = append(sizes, n)
			for k := range b.NumRecords() {
				got = append(got, string(b.Body(k)))
			}
			mu.Unlock()
			for _, s := range d.Chunks() {
				c.Write(forward.AppendAck(nil, b.Bytes(s)))
			}
			f, buf = forward.Framer{Max: 6 << 20}, slices.Clone(buf[n:])
		}
	})
	wide := record.NewStream([]record.Attr{{Name: "namespace", Value: "a"}, {Name: "long", Value: strings.Repeat("x", 4000)}}, nil, nil)
	want := lines(4000)
	o := forwardOutput(t, ForwardConfig{HTTPConfig: HTTPConfig{URL: "tcp://" + addr, Compression: "none"}})
	if res, err := o.Send(t.Context(), partsOf(batchOf(wide, want[:3000]...), batchOf(wide, want[3000:]...))); err != nil || len(res.Failures) > 0 {
		t.Fatal(res, err)
	}
	if !slices.Equal(got, want) || len(sizes) < 4 || slices.Max(sizes) > 6<<20 {
		t.Errorf("%d records, messages of %d", len(got), sizes)
	}
}

func TestSyslogOutput(t *testing.T) {
	lines := make(chan string, 10)
	addr := peers(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			s, err := r.ReadString('\n')
			if err != nil {
				return
			}
			lines <- s
			if strings.Contains(s, "last") {
				return // closes: the next Send must notice
			}
		}
	})
	o, err := NewSyslog(SyslogConfig{HTTPConfig: HTTPConfig{URL: "tcp://" + addr}, Encoding: syslog.Config{Facility: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for _, l := range []string{"a/one", "a/last", "a/again"} {
		if _, err := o.Send(t.Context(), socketPart(t, l)); err != nil {
			t.Fatal(err)
		}
		if got := <-lines; got != "<14>1 1970-01-01T00:00:00.000000Z - - - - - "+l[2:]+"\n" {
			t.Errorf("%q", got)
		}
		time.Sleep(20 * time.Millisecond) // for the receiver to hang up
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	u, err := NewSyslog(SyslogConfig{HTTPConfig: HTTPConfig{URL: "udp://" + pc.LocalAddr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.Send(t.Context(), socketPart(t, "a/one", "a/"+strings.Repeat("x", 20000))); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65536)
	for _, size := range []int{46, maxDatagram} {
		pc.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, _, err := pc.ReadFrom(buf); n != size || err != nil {
			t.Errorf("%d bytes, %v: %q", n, err, buf[:min(n, 80)])
		}
	}
	for _, url := range []string{"http://x", "tcp://x", "udp://u:p@x:1/y#z"} {
		if o, err := NewSyslog(SyslogConfig{HTTPConfig: HTTPConfig{URL: url}}); err == nil && url != "udp://u:p@x:1/y#z" {
			t.Errorf("%s taken: %v", url, o)
		}
	}
}
