package gateway

import (
	"context"
	"errors"
	"sync"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/gelf"
)

// GELFConfig is what an input of GELF is set to.
type GELFConfig struct {
	// MaxMessage is the size of a message, uncompressed; default 8 MiB.
	MaxMessage int
	Conns      Conns
}

func init() { socketProtocols["gelf"] = openGELF }

// openGELF opens the listeners for GELF: UDP, with chunks and compression, and TCP
// with messages that end with a NUL. It has no acknowledgements.
func openGELF(in *Input, g *group) error {
	conf, _ := in.settings.(*GELFConfig)
	if conf == nil {
		conf = &GELFConfig{}
	}
	most := conf.MaxMessage
	def(&most, gelf.DefaultMax)
	in.wait()
	cache := new(wire.StreamCache)
	l := &in.listen
	decoders := &sync.Pool{New: func() any { return &gelfDecoder{Decoder: gelf.NewDecoder(in.cfg.Limits.Records, cache)} }}
	serve := func(ctx context.Context, c *conn) error { return c.gelf(ctx, most, decoders) }
	if l.TCP != "" {
		ln, err := in.tcp("gelf_tcp", l.TCP)
		if err != nil {
			return err
		}
		g.stream(ln, l.TLS, "gelf_tcp", conf.Conns, serve)
	}
	if l.UDP != "" {
		pc, err := in.udp("gelf_udp", l.UDP)
		if err != nil {
			return err
		}
		g.packet(pc, "gelf_udp", gelfPackets(gelf.NewDecoder(in.cfg.Limits.Records, cache), most))
	}
	if l.Unix != "" {
		ln, err := in.unix("gelf_unix", l.Unix, conf.Conns.withDefaults().UnixMode)
		if err != nil {
			return err
		}
		g.stream(ln, nil, "gelf_unix", conf.Conns, serve)
	}
	return nil
}

// gelfDecoder is what reads a message, and decompresses it.
type gelfDecoder struct {
	*gelf.Decoder
	zip gelf.Unzipper
}

// gelfPackets takes a message, or a chunk of one, a datagram.
func gelfPackets(d *gelf.Decoder, most int) *packets {
	var chunks gelf.Chunks
	chunks.MaxMessage = most
	var zip gelf.Unzipper
	return &packets{
		decode: func(u *intake, s record.Span, from string) error {
			if gelf.IsChunk(u.b.Bytes(s)) {
				parts, err := chunks.Add(from, u.b.Bytes(s), u.now)
				u.b.Truncate(int(s.Off))
				if parts == nil {
					return err
				}
				s = record.Span{Off: uint32(u.b.Len())}
				for _, p := range parts {
					s.Len += u.b.Append(p).Len
				}
			}
			if p := u.b.Bytes(s); gelf.IsCompressed(p) {
				plain, err := zip.Append(u.b, p, most)
				if err != nil {
					return gelfRecord(u, d, s, 0)
				}
				s = plain
			}
			return gelfRecord(u, d, s, 0)
		},
	}
}

// gelfRecord adds a message, or what is none as what it is.
func gelfRecord(u *intake, d *gelf.Decoder, s record.Span, flags record.Flags) error {
	u.out.Records++
	if flags == 0 {
		_, err := d.Decode(u.b, s, u.id.Tenant, u.now)
		if !errors.Is(err, gelf.ErrNoMessage) {
			return err
		}
	}
	return d.Raw(u.b, s, u.id.Tenant, u.now, flags)
}

// gelf speaks GELF over a stream.
func (c *conn) gelf(ctx context.Context, most int, decoders *sync.Pool) error {
	framer := gelf.Framer{Max: most}
	var frames []frame
	return c.lines(ctx, func(p []byte, eof bool) (n, messages int) {
		frames = frames[:0]
		for n < 2*gatherBytes && len(frames) < maxFrames {
			from, to, next, flags, ok := framer.Next(p[n:], eof)
			if !ok {
				break
			}
			if to > from {
				frames = append(frames, frame{n + from, n + to, flags})
			}
			n += next
		}
		if n == 0 && cap(frames) > 64 {
			frames = nil // who is silent holds nothing
		}
		return n, len(frames)
	}, func(u *intake) error {
		u.out = wire.Outcome{}
		d := decoders.Get().(*gelfDecoder)
		defer decoders.Put(d)
		for _, f := range frames {
			s := record.Span{Off: u.body.Off + uint32(f.from), Len: uint32(f.to - f.from)}
			if p := u.b.Bytes(s); gelf.IsCompressed(p) && f.flags == 0 {
				if plain, err := d.zip.Append(u.b, p, most); err == nil {
					s = plain
				}
			}
			if err := gelfRecord(u, d.Decoder, s, f.flags); err != nil {
				return malformed(err)
			}
		}
		return nil
	})
}
