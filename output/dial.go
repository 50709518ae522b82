package output

import (
	"context"
	"errors"
	"net"
	"time"
)

// lostPeer is how long a peer may be silent before the connection counts as
// dead: unanswered keep-alives on an idle one, unacknowledged data on a busy
// one (TCP_USER_TIMEOUT), an unanswered HTTP/2 ping.
const lostPeer = 30 * time.Second

// maxDial bounds looking up, connecting and the TLS handshake, each.
const maxDial = 10 * time.Second

// dialer opens TCP connections that notice a lost peer. It looks the host up
// for every connection.
type dialer struct {
	net      net.Dialer
	resolver Resolver
	address  string // connects to this, whatever the address asked for
}

func newDialer(resolver Resolver, timeout time.Duration, address string) *dialer {
	return &dialer{
		address: address,
		net: net.Dialer{
			Timeout: min(maxDial, timeout),
			KeepAliveConfig: net.KeepAliveConfig{
				Enable: true, Idle: lostPeer / 2, Interval: lostPeer / 6, Count: 3,
			},
			Control: controlUserTimeout,
		},
		resolver: resolver,
	}
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if d.address != "" {
		addr = d.address
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || d.resolver == nil || net.ParseIP(host) != nil {
		return d.net.DialContext(ctx, network, addr)
	}
	ips, err := d.resolver.LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, ip := range ips {
		c, err := d.net.DialContext(ctx, network, net.JoinHostPort(ip, port))
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil, &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
	}
	return nil, errors.Join(errs...)
}
