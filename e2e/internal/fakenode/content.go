package fakenode

import (
	"math/rand/v2"
	"strconv"
	"time"
	"unicode/utf8"
)

// Mix says what lines look like, in parts of 10 000; the rest up to 10 000 is
// plain text.
type Mix struct {
	JSON int
	Klog int
	// Long of all lines exceed the runtime's piece of 16 KiB.
	Long int
	// Nasty of the JSON lines carry member names that documents of a sink use
	// themselves, or the same name twice; of the text lines, terminal escapes,
	// carriage returns and line separators.
	Nasty int
	// Broken of the text lines hold invalid UTF-8.
	Broken int
}

// DefaultMix is a node of today: mostly JSON of 200 to 600 bytes.
var DefaultMix = Mix{JSON: 6000, Klog: 1400, Long: 15, Nasty: 150}

var words = []string{
	"request", "served", "connection", "from", "upstream", "timeout", "after", "retry", "user", "order", "cache", "miss", "hit", "flush",
	"GET", "POST", "/api/v1/items", "/healthz", "shard", "leader", "elected", "commit", "offset", "partition", "rebalance", "pool", "exhausted",
	"slow", "query", "took", "rows", "index", "bucket", "token", "expired", "session", "started", "stopped", "worker", "queue", "depth", "10.42.0.17",
}

// writer makes messages. Everything comes from one seeded source.
type content struct {
	rng    *rand.Rand
	mix    Mix
	corpus string // ASCII words, to cut payloads from
	pay    []byte
}

func newContent(seed uint64, mix Mix) *content {
	c := &content{rng: rand.New(rand.NewPCG(seed, 0x7765_6972)), mix: mix}
	var b []byte
	for len(b) < 256<<10 {
		b = append(b, words[c.rng.IntN(len(words))]...)
		b = append(b, ' ')
		if c.rng.IntN(4) == 0 {
			b = strconv.AppendUint(b, c.rng.Uint64N(1e6), 10)
			b = append(b, ' ')
		}
	}
	c.corpus = string(b)
	return c
}

func (c *content) per10k(n int) bool { return n > 0 && c.rng.IntN(10000) < n }

// cut returns n bytes of the corpus that neither begin nor end with a space.
func (c *content) cut(n int) []byte {
	p := c.pay[:0]
	for len(p) < n {
		off := c.rng.IntN(len(c.corpus) - 1)
		p = append(p, c.corpus[off:min(len(c.corpus), off+n-len(p))]...)
	}
	for _, i := range []int{0, len(p) - 1} {
		if p[i] == ' ' {
			p[i] = '.'
		}
	}
	c.pay = p
	return p
}

var spices = []string{"é", "ß", "日本語", "🐳", "naïve", "Ω≈ç√", "\u200b", "مرحبا"}

// spice puts some text that is not ASCII into p.
func (c *content) spice(p []byte, s string) []byte {
	at := 1 + c.rng.IntN(max(len(p)-2, 1))
	for at < len(p) && !utf8.RuneStart(p[at]) {
		at++ // not within a character
	}
	p = append(p, s...)
	copy(p[at+len(s):], p[at:len(p)-len(s)])
	copy(p[at:], s)
	c.pay = p
	return p
}

// line appends one message, without newline, to dst. It returns the payload
// whose hash is the line's; it is valid until the next call.
func (c *content) line(dst []byte, stream string, seq uint64, now time.Time) (msg, payload []byte) {
	r := c.rng
	size := 120 + r.IntN(400)
	if c.per10k(c.mix.Long) {
		size = 16<<10 - 300 + r.IntN(40<<10)
	}
	kind := r.IntN(10000)
	if kind < c.mix.JSON {
		p := c.cut(max(size-90, 20))
		if r.IntN(20) == 0 {
			p = c.spice(p, spices[r.IntN(len(spices))])
		}
		if r.IntN(20) == 0 {
			p = c.spice(p, []string{`"`, `\`, "\t", "\n\tat a.b(C.java:1)\n", "</script>", "\u2028", "\x00", "\x1b[31m"}[r.IntN(8)])
		}
		return c.json(dst, stream, seq, now, p), p
	}
	var p []byte
	if kind < c.mix.JSON+c.mix.Klog {
		dst = append(dst, "IWEF"[r.IntN(4)])
		dst = now.UTC().AppendFormat(dst, "0102 15:04:05.000000")
		dst = append(dst, "       1 controller.go:"...)
		dst = strconv.AppendUint(dst, r.Uint64N(900)+1, 10)
		dst = append(dst, "] "...)
		p = c.cut(max(size-60, 20))
	} else {
		if r.IntN(2) == 0 {
			dst = now.UTC().AppendFormat(dst, "2006-01-02 15:04:05.000 ")
			dst = append(dst, []string{"INFO ", "WARN ", "ERROR ", "DEBUG "}[r.IntN(4)]...)
		}
		p = c.cut(max(size/2, 20))
		if r.IntN(20) == 0 {
			p = c.spice(p, spices[r.IntN(len(spices))])
		}
		if c.per10k(c.mix.Nasty) {
			p = c.spice(p, []string{"\x1b[31;1mred\x1b[0m", "\r", "\u2028", `{"a":`, "\x07", "a=\"b"}[r.IntN(6)])
		}
		if c.per10k(c.mix.Broken) {
			p = c.spice(p, []string{"\xff", "\xc3", "\xed\xa0\x80", "\xf0\x9f", "\x80\x80"}[r.IntN(5)])
		}
	}
	dst = append(dst, "s="...)
	dst = append(dst, stream...)
	dst = append(dst, " n="...)
	dst = strconv.AppendUint(dst, seq, 10)
	dst = append(dst, " p="...)
	return append(dst, p...), p
}

func (c *content) json(dst []byte, stream string, seq uint64, now time.Time, p []byte) []byte {
	r := c.rng
	mark := func() {
		dst = append(dst, `"s":"`...)
		dst = append(dst, stream...)
		dst = append(dst, `","n":`...)
		dst = strconv.AppendUint(dst, seq, 10)
	}
	dst = append(dst, '{')
	first := r.IntN(2) == 0
	if first {
		mark()
		dst = append(dst, ',')
	}
	dst = append(dst, `"ts":"`...)
	dst = now.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","level":"`...)
	dst = append(dst, []string{"info", "info", "info", "warn", "error", "debug"}[r.IntN(6)]...)
	dst = append(dst, `","status":`...)
	dst = strconv.AppendUint(dst, 200+r.Uint64N(5)*100, 10)
	dst = append(dst, `,"took":`...)
	dst = strconv.AppendFloat(dst, r.Float64(), 'g', 4, 64)
	if r.IntN(4) == 0 {
		dst = append(dst, `,"http":{"method":"GET","hdr":["a",{"b":null}],"ok":true}`...)
	}
	if c.per10k(c.mix.Nasty) {
		dst = append(dst, []string{
			`,"stream":"mine"`, `,"log":"inner"`, `,"@timestamp":"yesterday"`, `,"kubernetes":{"host":"evil"}`, `,"message":17`,
			`,"d":1,"d":2`, `,"":0`, `,"a.b":1`, `,"_id":"x"`, `,"big":123456789012345678901234567890.5e-3`, `,"time":"never"`,
		}[r.IntN(11)]...)
	}
	dst = append(dst, `,"p":"`...)
	dst = appendEscaped(dst, p, r)
	dst = append(dst, '"')
	if !first {
		dst = append(dst, ',')
		mark()
	}
	return append(dst, '}')
}

func appendEscaped(dst, p []byte, r *rand.Rand) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := 0; i < len(p); {
		ch := p[i]
		if ch >= 0x20 && ch != '"' && ch != '\\' && ch < 0x80 {
			i++
			continue
		}
		dst = append(dst, p[start:i]...)
		switch {
		case ch == '"' || ch == '\\':
			dst = append(dst, '\\', ch)
			i++
		case ch == '\n':
			dst = append(dst, '\\', 'n')
			i++
		case ch < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[ch>>4], hex[ch&15])
			i++
		default:
			ru, n := utf8.DecodeRune(p[i:])
			if r.IntN(3) == 0 { // as \u escapes, in pairs where needed
				units := []rune{ru}
				if ru > 0xffff {
					units = []rune{0xd800 + (ru-0x10000)>>10, 0xdc00 + (ru-0x10000)&0x3ff}
				}
				for _, u := range units {
					dst = append(dst, '\\', 'u', hex[u>>12&15], hex[u>>8&15], hex[u>>4&15], hex[u&15])
				}
			} else {
				dst = append(dst, p[i:i+n]...)
			}
			i += n
		}
		start = i
	}
	return append(dst, p[start:]...)
}
