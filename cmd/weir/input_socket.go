package main

import (
	"io/fs"
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/gateway"
	"github.com/weirlog/weir/wire/syslog"
)

// socketInput returns what gateway.NewInput needs for an input over sockets: its
// protocol, where it listens (TLS is left to the caller, from streams.TLS) and its
// settings. ok is false if it is another kind of input.
func socketInput(settings any) (protocol string, listen gateway.Listen, conf any, streams *config.Streams, ok bool) {
	switch s := settings.(type) {
	case *config.ForwardInput:
		c := &gateway.ForwardConfig{SharedKey: string(s.SharedKey), MaxMessage: int(s.MaxMessage), Conns: conns(&s.Streams)}
		for _, u := range s.Users {
			c.Users = append(c.Users, gateway.ForwardUser{Name: u.Name, Password: string(u.Password), Tenant: u.Tenant})
		}
		protocol, conf, streams = "forward", c, &s.Streams
	case *config.SyslogInput:
		c := &gateway.SyslogConfig{MaxMessage: int(s.MaxMessage), Datagrams: s.UnixType == "datagram", Conns: conns(&s.Streams)}
		switch s.Format {
		case "rfc3164":
			c.Format = syslog.RFC3164
		case "rfc5424":
			c.Format = syslog.RFC5424
		}
		c.Zone, _ = s.Zone() // checked with the configuration
		protocol, conf, streams = "syslog", c, &s.Streams
	case *config.GELFInput:
		protocol, conf, streams = "gelf", &gateway.GELFConfig{MaxMessage: int(s.MaxMessage), Conns: conns(&s.Streams)}, &s.Streams
	case *config.SocketInput:
		c := &gateway.SocketConfig{Text: s.Format == "text", Datagrams: s.UnixType == "datagram", Conns: conns(&s.Streams)}
		protocol, conf, streams = "socket", c, &s.Streams
	default:
		return "", listen, nil, nil, false
	}
	listen = gateway.Listen{TCP: string(streams.TCP), UDP: string(streams.UDP), Unix: string(streams.Unix)}
	return protocol, listen, conf, streams, true
}

func conns(s *config.Streams) gateway.Conns {
	return gateway.Conns{Max: s.Conns.Max, PerIP: s.Conns.PerIP, Idle: time.Duration(s.Conns.Idle), UnixMode: fs.FileMode(s.UnixMode)}
}
