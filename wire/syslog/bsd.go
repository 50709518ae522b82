package syslog

import (
	"bytes"

	"github.com/weirlog/weir/record"
)

// maxTag is how long a tag may be. RFC 3164 has 32, programs have more.
const maxTag = 96

// rfc3164 reads what follows the priority, of which there need not be one if there
// is a time.
//
//	Oct 11 22:14:15 mymachine su[42]: 'su root' failed
//	Oct 11 22:14:15 su[42]: on /dev/log, without a host
//	2026-10-11T22:14:15.003+02:00 mymachine su: as rsyslog forwards
//	237: R1: *Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: Cisco
//	Oct 11 2026 22:14:15 fw1 : %ASA-6-302013: Cisco too
//	su: no time and no host
//
// https://www.rfc-editor.org/rfc/rfc3164#section-4
func (d *Decoder) rfc3164(p []byte, i int) {
	m := &d.m
	start := i
	for i < len(p) && p[i] == ' ' {
		i++
	}
	if m.pri >= 0 {
		i = d.cisco(p, i)
	}
	if ns, end, ok := d.stamp.bsd(p, i, d.now); ok {
		m.time, m.hasTime, i = ns, true, end
	} else if ns, end, ok := d.stamp.iso(p, i); ok && (end == len(p) || p[end] == ' ' || p[end] == ':') {
		m.time, m.hasTime, i = ns, true, end
	}
	if !m.hasTime {
		if m.pri < 0 {
			m.bad = true
			return
		}
		d.tag(p, start)
		return
	}
	if i < len(p) && p[i] == ' ' {
		// A zone, as Cisco has it: " UTC:".
		for j := i + 1; j < len(p) && j < i+7; j++ {
			if p[j] == ':' && j > i+2 && j+2 < len(p) && p[j+1] == ' ' && p[j+2] == '%' {
				i = j
			}
			if p[j] < 'A' || p[j] > 'Z' {
				break
			}
		}
	}
	if i < len(p) && p[i] == ':' {
		i++
	}
	for i < len(p) && p[i] == ' ' {
		i++
	}
	if !d.Local && m.host.Len == 0 && i < len(p) && p[i] != '%' && p[i] != ':' {
		tok, next := token(p, i)
		if next > 0 && !isTag(p[tok.Off:tok.End()]) {
			m.host = tok
			for i = next; i < len(p) && p[i] == ' '; i++ {
			}
		}
	}
	if i+1 < len(p) && p[i] == ':' && p[i+1] == ' ' {
		i += 2 // "fw1 : %ASA"
	}
	d.tag(p, i)
}

// isTag tells a tag from a host name by what follows it.
func isTag(tok []byte) bool {
	return len(tok) > 1 && tok[len(tok)-1] == ':' || bytes.IndexByte(tok, '[') > 0
}

// cisco passes the sequence number and the origin before the time, as in
// "237: R1: *Mar  1", and the mark of a clock that is not set.
func (d *Decoder) cisco(p []byte, i int) int {
	j := i
	for j < len(p) && p[j]-'0' <= 9 && j-i < 12 {
		j++
	}
	seq := j > i && j+1 < len(p) && p[j] == ':' && p[j+1] == ' '
	if seq {
		j += 2
	} else {
		j = i
	}
	at := j
	if seq {
		// An origin, if a time follows.
		if tok, next := token(p, j); next > 0 && tok.Len > 1 && p[tok.End()-1] == ':' && tok.Len < 256 {
			if t := mark(p, next); month(p, t) > 0 {
				d.m.host = record.Span{Off: tok.Off, Len: tok.Len - 1}
				at = next
			}
		}
	}
	if t := mark(p, at); month(p, t) > 0 {
		return t
	}
	d.m.host = record.Span{}
	return i
}

func mark(p []byte, i int) int {
	if i < len(p) && (p[i] == '*' || p[i] == '.') {
		return i + 1
	}
	return i
}

// tag reads TAG and process id at p[i]; the rest is the body.
func (d *Decoder) tag(p []byte, i int) {
	m := &d.m
	m.body = record.Span{Off: uint32(i), Len: uint32(len(p) - i)}
	if i < len(p) && p[i] == '%' {
		// %FACILITY-SEVERITY-MNEMONIC: stays part of the text, which people look for.
		if k := bytes.IndexByte(p[i:min(len(p), i+maxTag)], ':'); k > 1 && bytes.IndexByte(p[i:i+k], ' ') < 0 {
			m.msgid = record.Span{Off: uint32(i + 1), Len: uint32(k - 1)}
		}
		return
	}
	j := i
	for j < len(p) && j-i <= maxTag && p[j] > ' ' && p[j] != ':' && p[j] != '[' && p[j] != 0x7f && p[j] != '{' && p[j] != '"' {
		j++
	}
	if j == i || j == len(p) || j-i > maxTag {
		return
	}
	name := record.Span{Off: uint32(i), Len: uint32(j - i)}
	if p[j] == '[' {
		k := bytes.IndexByte(p[j:min(len(p), j+64)], ']')
		if k < 0 || j+k+1 < len(p) && p[j+k+1] != ':' && p[j+k+1] != ' ' {
			return
		}
		if k > 1 {
			m.procid = record.Span{Off: uint32(j + 1), Len: uint32(k - 1)}
		}
		j += k + 1
		if j < len(p) && p[j] == ':' {
			j++
		}
	} else {
		// "http://…" is no tag.
		if p[j] != ':' || j+1 < len(p) && p[j+1] != ' ' {
			return
		}
		j++
	}
	if j < len(p) && p[j] == ' ' {
		j++
	}
	m.app = name
	m.body = record.Span{Off: uint32(j), Len: uint32(len(p) - j)}
}
