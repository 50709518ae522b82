package gateway

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/syslog"
)

// SyslogConfig is what an input of syslog is set to.
type SyslogConfig struct {
	Format syslog.Format
	Zone   *time.Location // of times that have none; nil: UTC
	// MaxMessage is where a message is cut into pieces; default 64 KiB.
	MaxMessage int
	// Datagrams makes Listen.Unix a socket of datagrams, as /dev/log is.
	Datagrams bool
	Conns     Conns
}

func init() { socketProtocols["syslog"] = openSyslog }

// openSyslog opens the listeners for syslog: TCP, TLS and unix streams with either
// framing (RFC 6587, RFC 5425), UDP (RFC 5426) and unix datagrams. The protocol has
// no acknowledgements: what a sender has got rid of and the kernel holds is lost
// when weir dies; it reads on only when what it read is safe.
func openSyslog(in *Input, g *group) error {
	conf, _ := in.settings.(*SyslogConfig)
	if conf == nil {
		conf = &SyslogConfig{}
	}
	in.wait()
	caches := [2]*wire.StreamCache{new(wire.StreamCache), new(wire.StreamCache)} // with host names, and local
	decoder := func(local bool) *syslog.Decoder {
		cache := caches[0]
		if local {
			cache = caches[1]
		}
		d := syslog.NewDecoder(in.cfg.Limits.Records, cache)
		d.Format, d.Zone, d.Local = conf.Format, conf.Zone, local
		return d
	}
	serve := func(local bool) func(context.Context, *conn) error {
		decoders := &sync.Pool{New: func() any { return decoder(local) }}
		return func(ctx context.Context, c *conn) error { return c.syslog(ctx, conf, decoders) }
	}
	l := &in.listen
	if l.TCP != "" {
		ln, err := in.tcp("syslog_tcp", l.TCP)
		if err != nil {
			return err
		}
		g.stream(ln, l.TLS, "syslog_tcp", conf.Conns, serve(false))
	}
	if l.UDP != "" {
		pc, err := in.udp("syslog_udp", l.UDP)
		if err != nil {
			return err
		}
		g.packet(pc, "syslog_udp", syslogPackets(decoder(false), ""))
	}
	if l.Unix == "" {
		return nil
	}
	mode := conf.Conns.withDefaults().UnixMode
	if conf.Datagrams {
		pc, err := in.unixgram("syslog_unix", l.Unix, mode)
		if err != nil {
			return err
		}
		host, _ := os.Hostname() // without one there is none
		g.packet(pc, "syslog_unix", syslogPackets(decoder(true), host))
		return nil
	}
	ln, err := in.unix("syslog_unix", l.Unix, mode)
	if err != nil {
		return err
	}
	g.stream(ln, nil, "syslog_unix", conf.Conns, serve(true))
	return nil
}

// wait makes pushes wait until they are safe, however long that takes: senders of
// protocols without answers cannot send again, and those with acknowledgements
// have a patience of their own.
func (in *Input) wait() {
	if s := in.sink.Load(); s != nil {
		s.patience = 100 * 365 * 24 * time.Hour
	}
}

// syslogPackets takes a message a datagram. host is who sends what has no sender.
func syslogPackets(d *syslog.Decoder, host string) *packets {
	return &packets{
		begin: func(u *intake) { d.Begin(u.b, host, u.id.Tenant, u.now) },
		decode: func(u *intake, s record.Span, from string) error {
			if host == "" {
				d.From(from)
			}
			u.out.Records++
			return d.Message(trimmed(u.b, s), 0)
		},
	}
}

// trimmed is a datagram without the line feed or NUL that many put at its end.
func trimmed(b *record.Batch, s record.Span) record.Span {
	p := b.Bytes(s)
	for len(p) > 0 && (p[len(p)-1] == '\n' || p[len(p)-1] == '\r' || p[len(p)-1] == 0) {
		p = p[:len(p)-1]
	}
	s.Len = uint32(len(p))
	return s
}

// frame is a message in what came over a connection.
type frame struct {
	from, to int
	flags    record.Flags
}

// maxFrames is how many messages make a batch.
const maxFrames = 16384

// syslog speaks syslog over a stream.
func (c *conn) syslog(ctx context.Context, conf *SyslogConfig, decoders *sync.Pool) error {
	framer := syslog.Framer{Max: conf.MaxMessage}
	var frames []frame
	host := c.peer
	if !c.addr.IsValid() {
		host, _ = os.Hostname() // without one there is none
	}
	return c.lines(ctx, func(p []byte, eof bool) (n, messages int) {
		frames = frames[:0]
		for n < 2*gatherBytes && len(frames) < maxFrames {
			f, ok := framer.Next(p[n:], eof)
			if !ok {
				n += f.Next
				break
			}
			if f.To > f.From {
				frames = append(frames, frame{n + f.From, n + f.To, f.Flags})
			}
			n += f.Next
		}
		if n == 0 && cap(frames) > 64 {
			frames = nil // who is silent holds nothing
		}
		return n, len(frames)
	}, func(u *intake) error {
		d := decoders.Get().(*syslog.Decoder)
		defer decoders.Put(d) // it begins anew, whatever happened
		d.Begin(u.b, host, u.id.Tenant, u.now)
		for _, f := range frames {
			s := record.Span{Off: u.body.Off + uint32(f.from), Len: uint32(f.to - f.from)}
			if err := d.Message(s, f.flags); err != nil {
				return malformed(err)
			}
		}
		u.out = d.End()
		return nil
	})
}
