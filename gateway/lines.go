package gateway

import (
	"bytes"
	"context"
	"sync"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/document"
	"github.com/weirlog/weir/wire/lines"
)

// SocketConfig is what an input of lines over sockets is set to.
type SocketConfig struct {
	// Text takes every line as it stands; else lines that are JSON objects are read
	// as those.
	Text bool
	// Datagrams makes Listen.Unix a socket of datagrams.
	Datagrams bool
	Conns     Conns
}

func init() { socketProtocols["socket"] = openSocket }

// openSocket opens the listeners for lines of text or JSON: TCP, TLS, UDP and unix.
// They have no acknowledgements. The Stream's node is the sender's address.
func openSocket(in *Input, g *group) error {
	conf, _ := in.settings.(*SocketConfig)
	if conf == nil {
		conf = &SocketConfig{}
	}
	in.wait()
	cache, rules := new(wire.StreamCache), document.Lines(document.LineOptions{})
	format := lines.Auto
	if conf.Text {
		format = lines.Text
	}
	decoder := func() *lines.Decoder { return lines.NewDecoder(in.cfg.Limits.Records, cache, rules) }
	decoders := &sync.Pool{New: func() any { return decoder() }}
	serve := func(ctx context.Context, c *conn) error { return c.textLines(ctx, format, decoders) }
	packets := func() *packets {
		d := decoder()
		return &packets{decode: func(u *intake, s record.Span, from string) error {
			out, err := d.Decode(u.b, s, format, sender(from), u.id.Tenant, u.now)
			u.out.Records += out.Records
			u.out.Refused += out.Refused
			return err
		}}
	}
	l := &in.listen
	if l.TCP != "" {
		ln, err := in.tcp("socket_tcp", l.TCP)
		if err != nil {
			return err
		}
		g.stream(ln, l.TLS, "socket_tcp", conf.Conns, serve)
	}
	if l.UDP != "" {
		pc, err := in.udp("socket_udp", l.UDP)
		if err != nil {
			return err
		}
		g.packet(pc, "socket_udp", packets())
	}
	mode := conf.Conns.withDefaults().UnixMode
	switch {
	case l.Unix == "":
	case conf.Datagrams:
		pc, err := in.unixgram("socket_unix", l.Unix, mode)
		if err != nil {
			return err
		}
		g.packet(pc, "socket_unix", packets())
	default:
		ln, err := in.unix("socket_unix", l.Unix, mode)
		if err != nil {
			return err
		}
		g.stream(ln, nil, "socket_unix", conf.Conns, serve)
	}
	return nil
}

// sender is what an address says of its lines.
func sender(from string) *lines.Sender {
	if from == "" {
		return &lines.Sender{}
	}
	return &lines.Sender{Attrs: []record.Attr{{Name: record.AttrNode, Value: from}}, Key: []byte(from)}
}

// textLines takes lines. One longer than lines.MaxLine comes in pieces.
func (c *conn) textLines(ctx context.Context, format lines.Format, decoders *sync.Pool) error {
	from := sender(c.peer)
	stream := record.NewStream(from.Attrs, nil, nil)
	rest := false          // the line at hand has lost its beginning
	var flags record.Flags // of the piece that was cut; 0: whole lines
	return c.lines(ctx, func(p []byte, eof bool) (n, messages int) {
		flags = 0
		end := bytes.LastIndexByte(p, '\n') + 1
		first := 0
		if rest {
			first = bytes.IndexByte(p, '\n') + 1
		}
		switch {
		case rest && first > 0:
			rest, flags = false, record.Continued
			return first, 1
		case end > 0:
			return end, 1
		case len(p) > lines.MaxLine:
			if flags = record.Partial; rest {
				flags |= record.Continued
			}
			rest = true
			return lines.MaxLine, 1
		case eof && len(p) > 0 && rest:
			rest, flags = false, record.Continued
			return len(p), 1
		case eof && len(p) > 0:
			return len(p), 1
		}
		return 0, 0
	}, func(u *intake) error {
		if flags == 0 {
			d := decoders.Get().(*lines.Decoder)
			out, err := d.Decode(u.b, u.body, format, from, u.id.Tenant, u.now)
			decoders.Put(d)
			u.out = out
			if err != nil {
				return malformed(err)
			}
			return nil
		}
		s := u.body
		for s.Len > 0 && flags&record.Partial == 0 && (u.b.Bytes(s)[s.Len-1] == '\n' || u.b.Bytes(s)[s.Len-1] == '\r') {
			s.Len--
		}
		st := stream
		if u.id.Tenant != "" {
			st = record.NewStream(append([]record.Attr{{Name: record.AttrTenant, Value: u.id.Tenant}}, from.Attrs...), nil, nil)
		}
		u.b.Add(record.Record{Time: u.now, Observed: u.now, Body: s, Source: s, Flags: flags, Stream: u.b.AddStream(record.StreamRef{Stream: st})})
		u.out = wire.Outcome{Records: 1}
		return nil
	})
}
