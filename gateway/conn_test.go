package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/wire/forward"
)

// dialFrom dials from another address of this host.
func dialFrom(t *testing.T, in *Input, local string) net.Conn {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8")
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
	c, err := d.Dial("tcp", in.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Connections that were busy once and are silent now hold no memory of others.
func TestFailure109_SilentConnectionsGiveBack(t *testing.T) {
	long := strings.Repeat("x", 700<<10)
	for protocol, message := range map[string]string{
		"forward": string(packed("t", "", long)),
		"syslog":  strings.Repeat("<13>a: "+long[:1000]+"\n", 700),
		"gelf":    fmt.Sprintf(`{"version":"1.1","host":"h","short_message":%q}`, long) + "\x00",
		"socket":  strings.Repeat(long[:1000]+"\n", 700),
	} {
		t.Run(protocol, func(t *testing.T) {
			memory := NewMemory(16 << 20)
			in, p, _ := start(t, protocol, Listen{TCP: "127.0.0.1:0"}, nil, Config{Memory: memory})
			per := 0
			for i := range 30 { // by what the first one comes to, they would hold all of it
				send(t, dial(t, in, 0), message)
				if i == 0 {
					eventually(t, "the first has come", func() bool { per = len(p.got()); return per > 0 && per%700 < 2 })
				}
				eventually(t, "it has come", func() bool { return len(p.got()) == (i+1)*per })
			}
			eventually(t, "nothing is held", func() bool { return memory.Used() == 0 })
		})
	}
}

// Who fills the memory with messages that never end leaves room for others.
func TestFailure109_UnfinishedMessagesLeaveRoom(t *testing.T) {
	memory := NewMemory(8 << 20)
	conf := &ForwardConfig{Conns: Conns{PerIP: 2000}}
	in, p, _ := start(t, "forward", Listen{TCP: "127.0.0.1:0"}, conf, Config{Memory: memory})
	begun := append([]byte("\x93\xa1t\xcb\x41\xd9\x00\x00\x00\x00\x00\x00\x81\xa3log\xdb\x00\x40\x00\x00"), bytes.Repeat([]byte("x"), 900<<10)...)
	for range 40 {
		c := dial(t, in, 0)
		go c.Write(begun) // not all of it is read
	}
	eventually(t, "the memory is as full as one may make it", func() bool { return memory.Used() > 5<<20 })
	honest := dialFrom(t, in, "127.0.0.2")
	send(t, honest, string(packed("t", "c", "honest")))
	if got := readAck(t, honest); got != "c" || !slices.Contains(p.got(), "honest") {
		t.Error(got)
	}
	if memory.Used() > 8<<20 {
		t.Errorf("%d bytes", memory.Used())
	}
}

// One address cannot keep out others, and is told of.
func TestFailure109_StreamPlacesAreShared(t *testing.T) {
	for _, protocol := range []string{"forward", "syslog", "gelf", "socket"} {
		t.Run(protocol, func(t *testing.T) {
			conns := Conns{Max: 50, PerIP: 50}
			conf := map[string]any{"forward": &ForwardConfig{Conns: conns}, "syslog": &SyslogConfig{Conns: conns}, "gelf": &GELFConfig{Conns: conns}, "socket": &SocketConfig{Conns: conns}}[protocol]
			log := new(logLines)
			in, p, _ := start(t, protocol, Listen{TCP: "127.0.0.1:0"}, conf, Config{Log: log.logger()})
			for range 60 {
				if c, err := net.Dial("tcp", in.Addrs()[0].String()); err == nil { // or refused at once
					defer c.Close()
				}
			}
			eventually(t, "ten are refused", func() bool { return in.Stats()[0].Requests["busy"] == 10 })
			send(t, dialFrom(t, in, "127.0.0.2"), honest(protocol))
			eventually(t, "the honest one is served", func() bool { return slices.Contains(p.got(), "honest") })
			if n := log.count("too many connections"); n != 1 {
				t.Errorf("told %d times:\n%s", n, log)
			}
		})
	}
}

// The end comes while connections are in the middle of TLS, and in the middle of an
// answer that nobody reads.
func TestStopCutsEverything(t *testing.T) {
	_, secure := certified(t, "a")
	in, _, stop := start(t, "forward", Listen{TCP: "127.0.0.1:0", TLS: secure}, nil, Config{})
	for range 50 {
		c := dial(t, in, 0)
		go c.Write([]byte("\x16\x03\x01"))
	}
	began := time.Now()
	stop()
	if d := time.Since(began); d > stopPatience+3*time.Second {
		t.Errorf("it took %v", d)
	}
}

// What a piece holds is given back also if its decoder panics.
func TestPanicsHoldNothing(t *testing.T) {
	memory := NewMemory(1 << 20)
	in, err := NewInput(Config{Memory: memory}, "socket", Listen{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	in.sink.Store(&pipeSink{sink: &pipe{}, tally: in.tally})
	s := &streams{in: in, cfg: &in.cfg, counters: in.stats.of("x")}
	c := &conn{s: s}
	func() {
		defer func() { recover() }()
		_ = c.take(context.Background(), []byte("x"), func(u *intake) error {
			if err := u.need(1000); err != nil {
				t.Error(err)
			}
			panic("a bug")
		})
	}()
	if n := memory.Used(); n != 0 {
		t.Errorf("%d bytes are held for ever", n)
	}
}

// What a protocol or a unix socket shows by itself counts beside listen.users: those
// have tokens for HTTP, which forward cannot show.
func TestSharedKeyBesideUsers(t *testing.T) {
	for _, tenants := range []bool{false, true} {
		u := User{Name: "app", Secret: NewSecret("t1")}
		if tenants {
			u.Tenant = "a"
		}
		auth, err := NewAuth(AuthConfig{Users: []User{u}, Tenants: tenants})
		if err != nil {
			t.Fatal(err)
		}
		shake := func(conf *ForwardConfig, user, password string) (let bool) {
			in, p, stop := start(t, "forward", Listen{TCP: "127.0.0.1:0"}, conf, Config{Auth: auth})
			defer stop()
			c := dial(t, in, 0)
			defer c.Close()
			hello := make([]byte, 1000)
			n, err := c.Read(hello)
			if err != nil {
				t.Fatal(err)
			}
			h, err := forward.ParseHello(hello[:n])
			if err != nil {
				t.Fatal(err)
			}
			ping := forward.NewPing(h, "client", []byte("salt"), "key", user, password)
			send(t, c, string(ping.Append(nil))+string(packed("t", "c", "honest")))
			if n, err = c.Read(hello); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(hello[:n]), "PONG\xc3") {
				return false
			}
			eventually(t, "it arrives", func() bool { return len(p.got()) == 1 })
			return true
		}
		if got := shake(&ForwardConfig{SharedKey: "key"}, "", ""); got != !tenants {
			t.Errorf("tenants %v: with the key alone: %v", tenants, got)
		}
		if !shake(&ForwardConfig{SharedKey: "key", Users: []ForwardUser{{Name: "u", Password: "p", Tenant: "b"}}}, "u", "p") {
			t.Errorf("tenants %v: a user of forward's is refused", tenants)
		}
		in, p, _ := start(t, "socket", Listen{Unix: filepath.Join(t.TempDir(), "s")}, nil, Config{Auth: auth})
		_, _ = dial(t, in, 0).Write([]byte("honest\n")) // or it is refused already
		if tenants {
			eventually(t, "it is refused", func() bool { return in.Stats()[0].Requests["denied"] == 1 })
		} else {
			eventually(t, "it arrives", func() bool { return len(p.got()) == 1 })
		}
	}
}
