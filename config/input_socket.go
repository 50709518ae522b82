package config

import (
	"fmt"
	"time"
)

// Streams is what inputs over TCP, UDP and unix sockets have in common.
type Streams struct {
	TCP      Address           `yaml:"tcp" doc:"Address to listen on over TCP, with TLS if tls is given; off if empty. Beyond loopback it needs listen.users, tls.client_ca or insecure: true."`
	UDP      Address           `yaml:"udp" doc:"Address to listen on over UDP; off if empty. What nobody can tell senders is only counted: UDP is best effort. Beyond loopback it needs insecure: true."`
	Unix     Path              `yaml:"unix" doc:"Path of a unix socket to listen on; off if empty."`
	UnixMode FileMode          `yaml:"unix_mode" default:"0660" doc:"Mode of that socket's file."`
	TLS      ListenTLS         `yaml:"tls" doc:"TLS of tcp. The files are read again when they change."`
	Conns    StreamConns       `yaml:"connections" doc:"What connections may cost."`
	Labels   map[string]string `yaml:"labels" doc:"Attributes added to every record."`
	Insecure bool              `yaml:"insecure" default:"false" doc:"Lets tcp and udp listen beyond loopback although nobody is asked who it is."`
}

// StreamConns bounds the connections of a listener.
type StreamConns struct {
	Max   int      `yaml:"max" default:"4096" min:"1" max:"1000000" doc:"Connections at a time; one too many is closed."`
	PerIP int      `yaml:"per_ip" default:"1024" min:"1" max:"1000000" doc:"Connections from one address at a time."`
	Idle  Duration `yaml:"idle" default:"10m" min:"1s" max:"30d" doc:"How long a connection may be silent."`
}

// FileMode is the mode of a file, in octal.
type FileMode uint32

// UnmarshalText reads an octal number.
func (m *FileMode) UnmarshalText(text []byte) error {
	n := uint32(0)
	for _, c := range text {
		if c < '0' || c > '7' || n > 0o777 {
			return bad("a mode is written as 0660", "bad mode %q", shorten(string(text)))
		}
		n = n*8 + uint32(c-'0')
	}
	if len(text) == 0 || n > 0o777 {
		return bad("a mode is written as 0660", "bad mode %q", shorten(string(text)))
	}
	*m = FileMode(n)
	return nil
}

// String writes m so that UnmarshalText reads the same.
func (m FileMode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalText is String.
func (m FileMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// streams checks what all of them have. known says that clients show who they are
// in the protocol itself.
func (k *checker) streams(p string, s *Streams, known bool) {
	if s.TCP == "" && s.UDP == "" && s.Unix == "" {
		k.err(p, "there is no address to listen on").Hint = "tcp, udp or unix"
	}
	t := s.TLS
	switch {
	case (t.Cert == "") != (t.Key == ""):
		have, miss := "cert", "key"
		if t.Cert == "" {
			have, miss = miss, have
		}
		k.err(p+".tls."+have, "needs %s too", miss)
	case t.ClientCA != "" && t.Cert == "":
		k.err(p+".tls.client_ca", "needs cert and key too")
	case t.Cert != "" && s.TCP == "":
		k.err(p+".tls", "is for tcp, which is off")
	}
	if s.TCP != "" && !s.TCP.Loopback() && !known && len(k.cfg.Listen.Users) == 0 && t.ClientCA == "" && !s.Insecure {
		k.err(p+".tcp", "anyone who reaches %s could write logs: nobody is asked who it is", s.TCP).Hint = "listen on 127.0.0.1, give tls.client_ca or listen.users (by certificate, pod or address), or say insecure: true"
	}
	if s.UDP != "" && !s.UDP.Loopback() && !s.Insecure {
		k.err(p+".udp", "anyone who reaches %s could write logs: UDP shows nobody's name", s.UDP).Hint = "listen on 127.0.0.1, or say insecure: true"
	}
	for name := range s.Labels {
		if !labelName(name) {
			k.err(p+".labels."+name, "bad label name %q", shorten(name)).Hint = "letters, digits and _, not starting with a digit"
		}
	}
}

// SocketInput takes lines of text or JSON.
type SocketInput struct {
	Streams  `yaml:",inline"`
	Format   string `yaml:"format" enum:"auto,text" default:"auto" doc:"auto: lines that are JSON objects are read as those. text: every line is taken as it stands."`
	UnixType string `yaml:"unix_type" enum:"stream,datagram" default:"stream" doc:"Kind of the unix socket."`
}

func (s *SocketInput) check(k *checker, p string) { k.streams(p, &s.Streams, false) }

// GELFInput takes GELF, Graylog's format.
type GELFInput struct {
	Streams    `yaml:",inline"`
	MaxMessage Size `yaml:"max_message" default:"8MiB" min:"1KiB" max:"64MiB" doc:"Bytes of a message, uncompressed."`
}

func (s *GELFInput) check(k *checker, p string) { k.streams(p, &s.Streams, false) }

// SyslogInput takes syslog.
type SyslogInput struct {
	Streams    `yaml:",inline"`
	Format     string `yaml:"format" enum:"auto,rfc3164,rfc5424" default:"auto" doc:"Form of the messages; auto looks at each."`
	Timezone   string `yaml:"timezone" default:"local" doc:"Zone of times that name none, such as Europe/Berlin, UTC or local."`
	UnixType   string `yaml:"unix_type" enum:"datagram,stream" default:"datagram" doc:"Kind of the unix socket; /dev/log has datagrams."`
	MaxMessage Size   `yaml:"max_message" default:"64KiB" min:"1KiB" max:"1MiB" doc:"Bytes of a message; longer ones come as pieces that say so."`
}

// Zone returns the zone of times that name none.
func (s *SyslogInput) Zone() (*time.Location, error) {
	if s.Timezone == "local" || s.Timezone == "" {
		return time.Local, nil
	}
	return time.LoadLocation(s.Timezone)
}

func (s *SyslogInput) check(k *checker, p string) {
	k.streams(p, &s.Streams, false)
	if _, err := s.Zone(); err != nil {
		k.err(p+".timezone", "there is no zone %q", shorten(s.Timezone)).Hint = "such as Europe/Berlin, UTC or local"
	}
}

// ForwardInput takes the Fluentd Forward Protocol.
type ForwardInput struct {
	Streams    `yaml:",inline"`
	SharedKey  Secret        `yaml:"shared_key" doc:"Key that clients must know."`
	Users      []ForwardUser `yaml:"users" doc:"Users that clients must be one of, beside shared_key."`
	MaxMessage Size          `yaml:"max_message" default:"64MiB" min:"64KiB" max:"256MiB" doc:"Bytes of a message as sent, such as a chunk of Fluentd's."`
}

// ForwardUser is a user of the Forward Protocol.
type ForwardUser struct {
	Name     string `yaml:"name" required:"true" doc:"Name of the user."`
	Password Secret `yaml:"password" required:"true" doc:"Password."`
	Tenant   string `yaml:"tenant" doc:"Tenant that the user writes for."`
}

func (s *ForwardInput) check(k *checker, p string) {
	k.streams(p, &s.Streams, s.SharedKey != "")
	if len(s.Users) > 0 && s.SharedKey == "" {
		k.err(p+".users", "need shared_key too").Hint = "the protocol asks for users only behind a shared key"
	}
	names := make(map[string]bool)
	for i, u := range s.Users {
		at := fmt.Sprintf("%s.users[%d]", p, i)
		if names[u.Name] && u.Name != "" {
			k.err(at+".name", "%s is there already", shorten(u.Name))
		}
		names[u.Name] = true
		if u.Tenant != "" && !tenantName.MatchString(u.Tenant) {
			k.err(at+".tenant", "bad tenant %q", shorten(u.Tenant))
		}
	}
	if s.TCP != "" && !s.TCP.Loopback() && s.SharedKey != "" && s.TLS.Cert == "" && !s.Insecure {
		k.warn(p+".tcp", "logs come in without TLS: anyone on the way can read and change them").Hint = "give tls: {cert: …, key: …}"
	}
}
