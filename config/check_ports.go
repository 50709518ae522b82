package config

import (
	"net"
	"net/netip"
)

// ports finds two listeners on one port, before the second cannot start.
func (k *checker) ports() {
	type listener struct {
		network, path string
		address       Address
	}
	var all []listener
	add := func(network, path string, a Address) {
		if a == "" {
			return
		}
		for _, o := range all {
			if o.network == network && a.meets(o.address) {
				k.err(path, "%s listens on %s already", o.path, o.address).Hint = "give one of them another port, or none (off)"
			}
		}
		all = append(all, listener{network, path, a})
	}
	add("tcp", "listen.http", k.cfg.Listen.HTTP)
	if k.cfg.Listen.HTTP != k.cfg.Listen.Probe { // listen says so itself
		add("tcp", "listen.probe", k.cfg.Listen.Probe)
	}
	for _, in := range k.cfg.Inputs {
		p := "inputs." + string(in.ID)
		if s, ok := in.Settings.(interface{ addresses() Listeners }); ok {
			l := s.addresses()
			add("tcp", p+".tcp", l.TCP)
			add("udp", p+".udp", l.UDP)
		}
		if s, ok := in.Settings.(PushedInput); ok {
			l := s.Listeners()
			add("tcp", p+".http", l.HTTP)
			add("tcp", p+".grpc", l.GRPC)
		}
	}
}

// addresses are where the streams listen.
func (s *Streams) addresses() Listeners { return Listeners{TCP: s.TCP, UDP: s.UDP} }

// meets reports whether two listeners cannot be at a and at b.
func (a Address) meets(b Address) bool {
	hostA, portA, errA := net.SplitHostPort(string(a))
	hostB, portB, errB := net.SplitHostPort(string(b))
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	everywhere := func(host string) bool {
		ip, err := netip.ParseAddr(host)
		return host == "" || err == nil && ip.IsUnspecified()
	}
	plain := func(host string) string {
		if host == "localhost" {
			return "127.0.0.1"
		}
		if ip, err := netip.ParseAddr(host); err == nil {
			return ip.Unmap().String()
		}
		return host
	}
	return everywhere(hostA) || everywhere(hostB) || plain(hostA) == plain(hostB)
}
