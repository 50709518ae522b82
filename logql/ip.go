package logql

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
)

// ips is what stands in ip("…"): an address, a range of addresses or a
// network.
type ips struct {
	from, to netip.Addr
	network  netip.Prefix
}

// parseIPs reads 192.168.0.1, 192.168.0.1-192.168.0.9, 192.168.0.0/16 and the
// same with IPv6.
func parseIPs(s string) (*ips, error) {
	bad := fmt.Errorf("%q is not an address, a range (10.0.0.1-10.0.0.9) or a network (10.0.0.0/8)", s)
	if strings.Contains(s, "/") {
		n, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, bad
		}
		return &ips{network: n.Masked()}, nil
	}
	a, b, isRange := strings.Cut(s, "-")
	from, err := netip.ParseAddr(strings.TrimSpace(a))
	if err != nil {
		return nil, bad
	}
	to := from
	if isRange {
		if to, err = netip.ParseAddr(strings.TrimSpace(b)); err != nil || to.Is4() != from.Is4() || to.Less(from) {
			return nil, bad
		}
	}
	return &ips{from: from, to: to}, nil
}

func (m *ips) has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if m.network.IsValid() {
		return m.network.Contains(a)
	}
	return a.Is4() == m.from.Is4() && !a.Less(m.from) && !m.to.Less(a)
}

// matchLine reports whether such an address stands in the line (or value, which
// may have a port behind the address).
func (m *ips) matchLine(line []byte) bool {
	for i := 0; i < len(line); {
		if !isAddr(line[i]) {
			i++
			continue
		}
		from := i
		marks := 0
		for i < len(line) && isAddr(line[i]) {
			if line[i] == '.' || line[i] == ':' {
				marks++
			}
			i++
		}
		if marks >= 2 && m.matchRun(line[from:i]) {
			return true
		}
	}
	return false
}

// matchRun looks at a run of the characters of addresses, which may have
// punctuation or a port behind the address.
func (m *ips) matchRun(run []byte) bool {
	run = bytes.TrimRight(run, ".")
	if len(run) > 1 && run[len(run)-1] == ':' && run[len(run)-2] != ':' {
		run = run[:len(run)-1]
	}
	if len(run) <= 45 {
		if a, err := netip.ParseAddr(view(run)); err == nil {
			return m.has(a)
		}
	}
	for len(run) > 0 {
		// IPv4 with something around it.
		i := bytes.IndexFunc(run, func(r rune) bool { return r >= '0' && r <= '9' })
		if i < 0 {
			return false
		}
		run = run[i:]
		n := 0
		for n < len(run) && (isDigit(run[n]) || run[n] == '.') {
			n++
		}
		part := bytes.TrimRight(run[:n], ".")
		if len(part) <= 15 {
			if a, err := netip.ParseAddr(view(part)); err == nil && m.has(a) {
				return true
			}
		}
		run = run[n:]
	}
	return false
}

func isAddr(c byte) bool {
	return isDigit(c) || c == '.' || c == ':' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
