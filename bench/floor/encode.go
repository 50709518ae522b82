package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"path/filepath"
	"strings"
)

// encoder turns the lines of one file after the other into documents.
type encoder struct {
	format string
	out    [2]container // stdout, stderr
	rng    uint64       // of the ids that stand in for real ones
	ns     string
}

// container is one of the two streams of the container being read.
type container struct {
	prefix []byte // of its documents, up to the time
	action []byte // elastic: the action line up to the id
	day    [10]byte
	parts  []byte // pieces of a line without its end
	time   []byte // of the first piece
}

const (
	cluster = "bench"
	node    = "node-1"
)

// begin takes the names from a path …/<namespace>_<pod>_<uid>/<container>/<n>.log.
func (e *encoder) begin(path string) error {
	dir, file := filepath.Split(path)
	dir, name := filepath.Split(filepath.Clean(dir))
	ids := strings.Split(filepath.Base(dir), "_")
	if len(ids) != 3 {
		return fmt.Errorf("not a pod's directory")
	}
	restart, _, _ := strings.Cut(file, ".")
	e.ns = ids[0]
	for i, stream := range []string{"stdout", "stderr"} {
		c := &e.out[i]
		*c = container{parts: c.parts[:0]}
		if e.format == "elastic" {
			c.prefix = fmt.Appendf(nil, "\"}}\n"+`{"stream":%q,"input":"kubernetes","kubernetes":{"cluster_name":%q,"host":%q,"namespace_name":%q,"pod_name":%q,`+
				`"pod_id":%q,"container_name":%q,"restart_count":%s},"@timestamp":"`, stream, cluster, node, ids[0], ids[1], ids[2], name, restart)
		} else {
			c.prefix = fmt.Appendf(nil, `{"cluster":%q,"container":%q,"input":"kubernetes","namespace":%q,"node":%q,"pod":%q,"pod_uid":%q,"restart":%q,"stream":%q,"_time":"`,
				cluster, name, ids[0], node, ids[1], ids[2], restart, stream)
		}
	}
	return nil
}

// frame appends the documents of all whole lines of text and returns the rest.
//
//	2026-11-22T09:00:00.001304516Z stdout F body
func (e *encoder) frame(dst *[]byte, text []byte) (rest []byte) {
	d := *dst
	for {
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			*dst = d
			return text
		}
		line := text[:end]
		text = text[end+1:]
		sp := bytes.IndexByte(line, ' ')
		if sp < 20 || len(line) < sp+10 {
			continue
		}
		c := &e.out[0]
		if line[sp+4] == 'e' {
			c = &e.out[1]
		}
		at, body := line[:sp], line[sp+10:]
		if line[sp+8] == 'P' || len(c.parts) > 0 {
			if len(c.parts) == 0 {
				c.time = append(c.time[:0], at...)
			}
			c.parts = append(c.parts, body...)
			if line[sp+8] == 'P' {
				continue
			}
			d = e.document(d, c, c.time, c.parts)
			c.parts = c.parts[:0]
			continue
		}
		d = e.document(d, c, at, body)
	}
}

func (e *encoder) document(d []byte, c *container, at, body []byte) []byte {
	switch e.format {
	case "raw":
		d = append(d, body...)
		return append(d, '\n')
	case "elastic":
		if [10]byte(at) != c.day {
			c.day = [10]byte(at)
			c.action = fmt.Appendf(c.action[:0], `{"create":{"_index":"kubernetes-%s-%s.%s.%s","_id":"`, e.ns, at[:4], at[5:7], at[8:10])
		}
		d = append(d, c.action...)
		d = e.id(d)
	}
	d = append(d, c.prefix...)
	if len(body) > 1 && body[0] == '{' && body[len(body)-1] == '}' {
		d = timestamp(d, at)
		d = append(d, `",`...)
		d = append(d, body[1:]...)
		return append(d, '\n')
	}
	d = e.text(d, at, body)
	d = escape(d, body)
	return append(d, '"', '}', '\n')
}

// timestamp appends a time with all nine digits of its fraction.
func timestamp(d, at []byte) []byte {
	const zeros = ".000000000Z"
	at = at[:len(at)-1]
	d = append(d, at...)
	return append(d, zeros[len(at)-19:]...)
}

// text appends a text line's members up to its body: the time, and what weir
// finds in the lines of the corpus.
func (e *encoder) text(d, at, body []byte) []byte {
	var level string
	switch {
	case len(body) > 40 && body[0] >= 'E' && body[0] <= 'W' && body[5] == ' ': // klog
		// I1122 09:00:00.123456       1 server.go:804]
		d = append(d, at[:5]...)
		d = append(d, body[1], body[2], '-', body[3], body[4], 'T')
		d = append(d, body[6:21]...)
		d = append(d, `000Z","caller":"`...)
		d = append(d, body[30:30+bytes.IndexByte(body[30:], ']')]...)
		d = append(d, '"')
		switch body[0] {
		case 'I':
			level = "info"
		case 'W':
			level = "warn"
		case 'E':
			level = "error"
		default:
			level = "fatal"
		}
	case len(body) > 60 && body[0] == 't' && body[2] == '=': // logfmt: ts=… level=…
		d = timestamp(d, at)
		d = append(d, '"')
		v := body[bytes.IndexByte(body, ' ')+7:]
		level = string5(v[:bytes.IndexByte(v, ' ')])
	case len(body) > 30 && body[23] == ' ': // 2026-11-22 09:00:00.001 WARN  …
		d = timestamp(d, at)
		d = append(d, '"')
		v := body[24:30]
		level = string5(v[:bytes.IndexByte(v, ' ')])
	default:
		d = timestamp(d, at)
		d = append(d, '"')
	}
	if level != "" {
		d = append(d, `,"level":"`...)
		d = append(d, level...)
		d = append(d, '"')
	}
	if e.format == "elastic" {
		return append(d, `,"log":"`...)
	}
	return append(d, `,"_msg":"`...)
}

// string5 returns a level's word in lower case without making a string.
func string5(v []byte) string {
	switch v[0] | 0x20 {
	case 'i':
		return "info"
	case 'w':
		return "warn"
	case 'e':
		return "error"
	case 'd':
		return "debug"
	}
	return ""
}

// escape appends the text of a JSON string, looking at eight bytes at a time.
func escape(d, s []byte) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := 0; i < len(s); {
		if n := plain(s[i:]); n > 0 {
			i += n
			continue
		}
		d = append(d, s[start:i]...)
		switch c := s[i]; c {
		case '"', '\\':
			d = append(d, '\\', c)
		case '\t':
			d = append(d, '\\', 't')
		default:
			d = append(d, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(d, s[start:]...)
}

// plain returns how many bytes at the beginning of s need no escape.
func plain(s []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := binary.LittleEndian.Uint64(s[i:])
		quote, slash := w^('"'*ones), w^('\\'*ones)
		// The lowest marked byte is exact; higher ones may be marked in error.
		if m := ((w-0x20*ones)&^w | (quote-ones)&^quote | (slash-ones)&^slash) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' {
			break
		}
	}
	return i
}

// id appends 32 random hexadecimal digits: as long, and as hard to compress, as
// a real id.
func (e *encoder) id(d []byte) []byte {
	for range 2 {
		e.rng += 0x9e3779b97f4a7c15
		z := e.rng
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		d = binary.BigEndian.AppendUint64(d, hex8(z>>32))
		d = binary.BigEndian.AppendUint64(d, hex8(z&(1<<32-1)))
	}
	return d
}

// hex8 returns the eight digits of a number below 1<<32: halves move apart until
// each digit has a byte.
func hex8(x uint64) uint64 {
	x = (x | x<<16) & 0x0000ffff0000ffff
	x = (x | x<<8) & 0x00ff00ff00ff00ff
	x = (x | x<<4) & 0x0f0f0f0f0f0f0f0f
	const ones = 0x0101010101010101
	return x + '0'*ones + (x+6*ones)>>4&ones*('a'-10-'0')
}
