package gateway

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/forward"
)

func forwardEntries(lines ...string) (out []byte) {
	for _, l := range lines {
		out = msgp.AppendMapHeader(forward.AppendTime(append(out, 0x92), 5), 1)
		out = msgp.AppendString(msgp.AppendString(out, "log"), l)
	}
	return out
}

func packed(tag, chunk string, lines ...string) []byte {
	e := forwardEntries(lines...)
	return forward.AppendOption(append(forward.AppendPacked(nil, tag, len(e)), e...), len(lines), chunk, "")
}

func readAck(t *testing.T, c net.Conn) string {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	p := make([]byte, 256)
	n, err := c.Read(p)
	if err != nil {
		t.Fatal(err)
	}
	chunk, ok := forward.ParseAck(p[:n])
	if !ok {
		t.Fatalf("%q", p[:n])
	}
	return string(chunk)
}

// An acknowledgement is sent when the records are safe, not before.
func TestForwardAcknowledges(t *testing.T) {
	in, p, stop := start(t, "forward", Listen{TCP: "127.0.0.1:0", UDP: "127.0.0.1:0"}, nil, Config{IDs: true})
	hold := make(chan struct{})
	p.set(func() { p.hold = hold })
	c := dial(t, in, 0)
	send(t, c, string(packed("t", "c1", "one", "two")))
	want(t, p, "one", "two")
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatalf("%d bytes before it is safe", n)
	}
	close(hold)
	p.set(func() { p.hold = nil })
	if got := readAck(t, c); got != "c1" {
		t.Error(got)
	}
	send(t, c, string(packed("t", "", "silent"))+string(packed("t", "c2", "three"))[:20])
	want(t, p, "one", "two", "silent")
	send(t, c, string(packed("t", "c2", "three"))[20:])
	if got := readAck(t, c); got != "c2" {
		t.Error(got)
	}
	h := dial(t, in, 1)
	send(t, h, "\x00")
	h.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := h.Read(make([]byte, 10)); n != 1 || err != nil {
		t.Error("no heartbeat", n, err)
	}
	// What is at fault closes the connection; what was before it is taken and told.
	send(t, c, string(packed("t", "c3", "four"))+"\x91\xa1x")
	if got := readAck(t, c); got != "c3" {
		t.Error(got)
	}
	want(t, p, "one", "two", "silent", "three", "four")
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("still open")
	}
	stop()
}

func TestForwardJoinsDockersPieces(t *testing.T) {
	in, p, stop := start(t, "forward", Listen{TCP: "127.0.0.1:0"}, nil, Config{})
	c := dial(t, in, 0)
	piece := func(id, ordinal, last, log string) string {
		m := msgp.AppendMapHeader(msgp.AppendInt(msgp.AppendString([]byte{0x93}, "t"), 1), 5)
		for k, v := range map[string]string{"log": log, "partial_message": "true", "partial_id": id, "partial_ordinal": ordinal, "partial_last": last} {
			m = msgp.AppendString(msgp.AppendString(m, k), v)
		}
		return string(m)
	}
	p.set(func() { p.full = true })
	send(t, c, piece("a", "1", "false", "one ")+piece("a", "2", "true", "two")+piece("b", "1", "false", "left "))
	eventually(t, "it is told", func() bool { return in.Stats()[0].Requests["busy"] > 1 })
	p.set(func() { p.full = false })
	want(t, p, "one two")
	stop()
	want(t, p, "one two", "left ")
	if p.flags[1] != record.Partial {
		t.Error(p.flags)
	}
}

func TestFailure112_ForwardKeyIsAsked(t *testing.T) {
	conf := &ForwardConfig{SharedKey: "key", Users: []ForwardUser{{Name: "ann", Password: "pass"}}}
	in, p, _ := start(t, "forward", Listen{TCP: "127.0.0.1:0"}, conf, Config{})
	try := func(key, user, password string) (ok bool, c net.Conn) {
		c = dial(t, in, 0)
		buf := make([]byte, 512)
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		h, err := forward.ParseHello(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		nonce := slices.Clone(h.Nonce)
		send(t, c, string(forward.NewPing(h, "me", []byte("salt"), key, user, password).Append(nil)))
		if n, err = c.Read(buf); err != nil {
			t.Fatal(err)
		}
		pong, err := forward.ParsePong(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		if pong.OK && !pong.KeyMatches([]byte("salt"), nonce, "key") {
			t.Error("the server does not know the key")
		}
		return pong.OK, c
	}
	for _, c := range [][3]string{{"", "", ""}, {"other", "ann", "pass"}, {"key", "ann", "x"}, {"key", "bob", "pass"}, {"key", "", ""}} {
		if ok, _ := try(c[0], c[1], c[2]); ok {
			t.Errorf("%q let in", c)
		}
	}
	ok, c := try("key", "ann", "pass")
	if !ok {
		t.Fatal("not let in")
	}
	send(t, c, string(packed("t", "c1", "hello")))
	if got := readAck(t, c); got != "c1" {
		t.Error(got)
	}
	// Who does not answer the question is not heard.
	c = dial(t, in, 0)
	send(t, c, string(packed("t", "c1", "evil")))
	want(t, p, "hello")
	if _, err := NewInput(Config{}, "forward", Listen{}, &ForwardConfig{Users: conf.Users}); err != nil {
		t.Fatal(err)
	}
	x, err := NewInput(Config{}, "forward", Listen{TCP: "127.0.0.1:0"}, &ForwardConfig{Users: conf.Users})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Run(t.Context(), &pipe{}); err == nil || !strings.Contains(err.Error(), "shared_key") {
		t.Error("users without a key", err)
	}
}

// A tag is a label's value and nothing else.
func TestFailure110_TagsAreNoPaths(t *testing.T) {
	in, p, _ := start(t, "forward", Listen{TCP: "127.0.0.1:0"}, nil, Config{})
	c := dial(t, in, 0)
	send(t, c, string(packed("../../../../etc/cron.d/x\x00", "c", "hello")))
	readAck(t, c)
	want(t, p, "hello")
}
