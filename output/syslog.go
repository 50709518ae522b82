package output

import (
	"context"
	"fmt"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/syslog"
)

// SyslogConfig configures NewSyslog.
type SyslogConfig struct {
	HTTPConfig // URL: tcp://host:port, tls://host:port or udp://host:port
	Encoding   syslog.Config
}

// Syslog sends messages of syslog. The protocol has no acknowledgements: records
// count as delivered when the kernel has taken them for a connection that was
// alive, and what it holds when the receiver dies is lost. Over UDP any may be.
type Syslog struct {
	*socket
	enc *encoders
	udp bool
}

// maxDatagram is how long a message over UDP may be: receivers take 2 KiB and more,
// networks 64 KiB less the headers. https://www.rfc-editor.org/rfc/rfc5426#section-3.2
const maxDatagram = 8 << 10

// NewSyslog returns an output to one receiver.
func NewSyslog(c SyslogConfig) (*Syslog, error) {
	s, err := newSocket(c.HTTPConfig, "tcp", "tls", "udp")
	if err != nil {
		return nil, err
	}
	o := &Syslog{socket: s, udp: s.url.Scheme == "udp"}
	if o.udp {
		c.Encoding.Datagrams = true
		if c.Encoding.MaxBytes == 0 || c.Encoding.MaxBytes > maxDatagram {
			c.Encoding.MaxBytes = maxDatagram
		}
	}
	enc, err := syslog.NewEncoder(c.Encoding)
	if err != nil {
		return nil, fmt.Errorf("output %s: %w", s.shown, err)
	}
	o.enc = newEncoders(enc, func() encoder { return enc.Clone() })
	return o, nil
}

// Send writes the records of parts.
func (o *Syslog) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	w := getWork()
	defer w.put()
	enc := o.enc.get().(*syslog.Encoder)
	defer o.enc.put(enc)
	w.raw = enc.Append(w.raw[:0], parts)
	err := o.attempt(ctx, func(c *socketConn) error {
		if !o.udp {
			_, err := c.Write(w.raw)
			return err
		}
		from := 0
		for _, to := range enc.Ends() {
			if _, err := c.Write(w.raw[from:to]); err != nil {
				return err
			}
			from = to
		}
		return nil
	})
	if err != nil {
		return ack.Result{}, err
	}
	return ack.Result{Bytes: len(w.raw)}, nil
}
