package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/forward"
)

// ForwardConfig is what an input of the Fluentd Forward Protocol is set to.
type ForwardConfig struct {
	// SharedKey that clients must know; "" if they need not.
	SharedKey string
	// Users that clients must be one of, beside that; none if they need not.
	Users []ForwardUser
	// MaxMessage is the size of a message as sent; default 64 MiB.
	MaxMessage int
	Conns      Conns
}

// ForwardUser is a user of the Forward Protocol. Its digests need the password
// itself.
type ForwardUser struct{ Name, Password, Tenant string }

// String keeps secrets out of what is printed.
func (*ForwardConfig) String() string { return "forward" }

func init() { socketProtocols["forward"] = openForward }

// openForward opens the listeners for the Forward Protocol: TCP, TLS and unix
// streams, and UDP for the heartbeats of old senders. A chunk is acknowledged when
// its records are safe, and only then; messages without one are answered by
// nothing.
func openForward(in *Input, g *group) error {
	conf, _ := in.settings.(*ForwardConfig)
	if conf == nil {
		conf = &ForwardConfig{}
	}
	if conf.SharedKey == "" && len(conf.Users) > 0 {
		return errors.New("forward: users need a shared_key too")
	}
	in.wait()
	in.shakes = conf.SharedKey != ""
	f := &forwardInput{conf: conf, max: conf.MaxMessage}
	def(&f.max, forward.DefaultMax)
	f.host, _ = os.Hostname() // for the handshake; any name will do
	cache := new(wire.StreamCache)
	f.decoders.New = func() any {
		d := forward.NewDecoder(in.cfg.Limits.Records, cache)
		d.IDs = in.cfg.IDs
		d.MaxDecoded, d.MaxRatio = int(in.cfg.Limits.Decoded), int(in.cfg.Limits.Ratio)
		return d
	}
	with := in.cfg
	f.withIDs = &with
	l := &in.listen
	if l.TCP != "" {
		ln, err := in.tcp("forward_tcp", l.TCP)
		if err != nil {
			return err
		}
		g.stream(ln, l.TLS, "forward_tcp", conf.Conns, f.serve)
	}
	if l.Unix != "" {
		ln, err := in.unix("forward_unix", l.Unix, conf.Conns.withDefaults().UnixMode)
		if err != nil {
			return err
		}
		g.stream(ln, nil, "forward_unix", conf.Conns, f.serve)
	}
	if l.UDP != "" {
		pc, err := in.udp("forward_heartbeat", l.UDP)
		if err != nil {
			return err
		}
		g.packet(pc, "forward_heartbeat", &packets{
			answer: func(p []byte) []byte { return p[:min(1, len(p))] },
			decode: func(*intake, record.Span, string) error { return nil },
		})
	}
	return nil
}

type forwardInput struct {
	conf     *ForwardConfig
	max      int
	host     string
	decoders sync.Pool
	withIDs  *Config // the input's own
}

// serve speaks the protocol.
func (f *forwardInput) serve(ctx context.Context, c *conn) error {
	framer := forward.Framer{Max: f.max}
	if f.conf.SharedKey != "" {
		if err := f.handshake(ctx, c); err != nil {
			return err
		}
	}
	join := &forward.Joiner{}
	var acks []byte
	var ended error
	seen := 0                                                     // bytes of data that are whole messages
	for ready := len(c.data()) > 0; ended == nil; ready = false { // behind a handshake
		if !ready {
			if ended = f.await(ctx, c, join); ended != nil {
				break
			}
		}
		for more := true; more; {
			n, bad := framer.Next(c.data()[seen:])
			seen += n
			more = n > 0
			if seen > 0 && (!more || seen >= gatherBytes) {
				acks = acks[:0]
				if err := f.take(ctx, c, &join, c.data()[:seen], &acks); err != nil {
					return err
				}
				c.drop(seen)
				seen = 0
				if len(acks) > 0 {
					if err := c.write(acks); err != nil {
						return err
					}
				}
			}
			if bad != nil {
				c.s.counters.results[pushMalformed].Add(1)
				return errors.Join(bad, f.expire(ctx, c, join, math.MaxInt64))
			}
		}
	}
	if err := f.expire(ctx, c, join, math.MaxInt64); err != nil {
		return err
	}
	return ended
}

// take hands over the messages that p is and appends the answers to them. After an
// error those before the message at fault have been taken; they are answered.
func (f *forwardInput) take(ctx context.Context, c *conn, join **forward.Joiner, p []byte, acks *[]byte) error {
	var after *forward.Joiner // it is decoded again if there is no room
	good := 0
	decode := func(u *intake) error {
		// What decompresses remembers megabytes: connections have none of their own,
		// and only so many of them one at a time.
		unpacking <- struct{}{}
		defer func() { <-unpacking }()
		d := f.decoders.Get().(*forward.Decoder)
		after = (*join).Clone()
		d.Join = after
		var err error
		u.out, err = d.Decode(u.b, u.body, u.id.Tenant, u.now)
		good = d.Good()
		*acks = (*acks)[:0]
		for _, s := range d.Chunks() {
			*acks = forward.AppendAck(*acks, u.b.Bytes(s))
		}
		d.Join = nil
		f.decoders.Put(d)
		if err != nil {
			return malformed(err)
		}
		if f.withIDs.IDs && hasIDs(u.b) {
			u.c = f.withIDs
		}
		return nil
	}
	err := c.take(ctx, p, decode)
	status, _, _, _ := statusOf(err)
	if err == nil || status != 400 && status != 413 {
		if err == nil {
			*join = after
		}
		return err
	}
	if good > 0 {
		if e := c.take(ctx, p[:good], decode); e != nil {
			return errors.Join(err, e)
		}
		*join = after
		if e := c.write(*acks); e != nil {
			return errors.Join(err, e)
		}
	}
	return err
}

// hasIDs reports whether any record has an id of its sender's.
func hasIDs(b *record.Batch) bool {
	for i := range b.Records() {
		if b.Records()[i].Flags.Has(record.HasID) {
			return true
		}
	}
	return false
}

// pieceAge is how long docker's pieces of a line wait for the rest.
const pieceAge = time.Minute

// await reads more. Meanwhile lines of which the rest does not come become records.
func (f *forwardInput) await(ctx context.Context, c *conn, join *forward.Joiner) error {
	for {
		n, _ := join.Open()
		if n == 0 || len(c.data()) > 0 {
			return c.await(ctx)
		}
		err := c.fill(ctx, time.Now().Add(pieceAge))
		if !errors.Is(err, os.ErrDeadlineExceeded) || c.s.stopping.Load() {
			return err
		}
		if err := f.expire(ctx, c, join, c.s.cfg.Now().Add(-pieceAge).UnixNano()); err != nil {
			return err
		}
	}
}

// expire makes records of lines of which no more pieces come.
func (f *forwardInput) expire(ctx context.Context, c *conn, join *forward.Joiner, before int64) error {
	if n, _ := join.Open(); n == 0 {
		return nil
	}
	var left *forward.Joiner
	err := c.take(ctx, nil, func(u *intake) error {
		left = join.Clone()
		u.out.Records = left.Expire(u.b, before, u.now)
		return nil
	})
	if err == nil {
		*join = *left
	}
	return err
}

// write sends an answer.
func (c *conn) write(p []byte) error {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.s.cfg.Limits.Patience)); err != nil {
		return err
	}
	_, err := c.Conn.Write(p)
	return err
}

// errKey tells nothing that a client could use.
var errKey = &AuthError{401, "the shared key, the user or the password is wrong"}

// handshake lets a client in that knows the shared key, and is one of the users if
// there are any.
func (f *forwardInput) handshake(ctx context.Context, c *conn) error {
	hello := forward.Hello{Nonce: make([]byte, 16), KeepAlive: true}
	rand.Read(hello.Nonce)
	if len(f.conf.Users) > 0 {
		hello.Auth = make([]byte, 16)
		rand.Read(hello.Auth)
	}
	if err := c.write(hello.Append(nil)); err != nil {
		return err
	}
	deadline := time.Now().Add(handshakePatience)
	framer := forward.Framer{Max: 16 << 10}
	n := 0
	for n == 0 {
		err := c.fill(ctx, deadline)
		if err != nil {
			return fmt.Errorf("handshake: %w", err)
		}
		if n, err = framer.Next(c.data()); err != nil {
			return fmt.Errorf("handshake: %w", err)
		}
	}
	ping, err := forward.ParsePing(c.data()[:n])
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	c.drop(n)
	ok := ping.KeyMatches(hello.Nonce, f.conf.SharedKey)
	who := &Identity{Name: "shared key"}
	if len(f.conf.Users) > 0 {
		// Every user is looked at, so that time does not tell which there are.
		in := false
		for _, u := range f.conf.Users {
			if ping.PasswordMatches(hello.Auth, u.Password) && u.Name == ping.User {
				in = true
				who = &Identity{Name: u.Name, Tenant: u.Tenant}
			}
		}
		ok = ok && in
	}
	if !ok {
		pong := forward.Pong{Reason: errKey.Msg}
		return errors.Join(errKey, c.write(pong.Append(nil)))
	}
	if err := c.authenticate(ctx, who); err != nil {
		pong := forward.Pong{Reason: err.Error()}
		return errors.Join(err, c.write(pong.Append(nil)))
	}
	if len(f.conf.Users) > 0 {
		c.id.Name, c.id.Tenant = who.Name, who.Tenant
	}
	return c.write(forward.NewPong(ping, hello.Nonce, f.host, f.conf.SharedKey).Append(nil))
}
