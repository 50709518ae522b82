package corpus

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/weirlog/weir/bench/mark"
)

// text makes the lines of one stream. Everything but the times comes from one
// seeded source.
type text struct {
	rng    *rand.Rand
	stream uint32
	seq    uint32
	words  []byte // to cut payloads from
	pay    []byte
}

var vocabulary = []string{
	"request", "served", "connection", "from", "upstream", "timeout", "after", "retry", "user", "order", "cache", "miss", "hit", "flush",
	"GET", "POST", "/api/v1/items", "/healthz", "shard", "leader", "elected", "commit", "offset", "partition", "rebalance", "pool", "exhausted",
	"slow", "query", "took", "rows", "index", "bucket", "token", "expired", "session", "started", "stopped", "worker", "queue", "depth", "10.42.0.17",
}

var spices = []string{"é", "日本語", "🐳", "naïve", `say "no"`, `C:\dir`, "a\tb", "<b>&amp;</b>"}

// words returns the text that payloads are cut from. It is the same for all
// streams of a seed, of which there may be thousands.
func words(seed uint64) []byte {
	if w, ok := allWords.Load(seed); ok {
		return w.([]byte)
	}
	r := rand.New(rand.NewPCG(seed, 1<<40))
	var w []byte
	// Numbers between the words, as in real logs: they are what compression is
	// left with.
	for len(w) < 64<<10 {
		w = append(w, vocabulary[r.IntN(len(vocabulary))]...)
		w = append(w, ' ')
		if r.IntN(4) == 0 {
			w = strconv.AppendUint(w, r.Uint64N(1e6), 10)
			w = append(w, ' ')
		}
	}
	allWords.Store(seed, w)
	return w
}

var allWords sync.Map // seed → []byte

func newText(seed uint64, stream uint32) *text {
	return &text{rng: rand.New(rand.NewPCG(seed, uint64(stream))), stream: stream, words: words(seed)}
}

// payload returns n bytes of words; the slice is valid until the next call.
func (t *text) payload(n int) []byte {
	p := t.pay[:0]
	for len(p) < n {
		// Short cuts: a compressor shall find words, not whole messages.
		off := t.rng.IntN(len(t.words) - 80)
		p = append(p, t.words[off:off+min(16+t.rng.IntN(64), n-len(p))]...)
	}
	if t.rng.IntN(33) == 0 {
		p = append(p, spices[t.rng.IntN(len(spices))]...)
	}
	p = append(p, '.') // no space at the end, which some would trim
	if p[0] == ' ' {
		p[0] = '.'
	}
	t.pay = p
	return p
}

const (
	longLine = 16<<10 + 1000 // of a body in pieces, and up to as much again
	inPieces = 1000          // one of so many lines is long
)

var levels = []string{"info", "info", "info", "info", "warn", "error", "debug"}

// line appends the next body, without newline, and reports whether it goes to
// standard error.
func (t *text) line(dst []byte, at time.Time) (body []byte, stderr bool) {
	r := t.rng
	size := 100 + r.IntN(350)
	if r.IntN(inPieces) == 0 {
		size = longLine + r.IntN(longLine)
	}
	m := mark.Mark{Stream: t.stream, Seq: t.seq}
	t.seq++
	switch kind := r.IntN(100); {
	case kind < 60:
		return t.json(dst, m, at, size), false
	case kind < 70:
		dst = append(dst, "IWEF"[r.IntN(4)])
		dst = at.AppendFormat(dst, "0102 15:04:05.000000")
		dst = append(dst, "       1 server.go:"...)
		dst = strconv.AppendUint(dst, 10+r.Uint64N(900), 10)
		dst = append(dst, "] "...)
		p := t.payload(size + 60)
		return append(mark.Append(dst, m, p), p...), true
	case kind < 80:
		dst = append(dst, "ts="...)
		dst = at.AppendFormat(dst, time.RFC3339Nano)
		dst = append(dst, " level="...)
		dst = append(dst, levels[r.IntN(len(levels))]...)
		dst = append(dst, " component=store msg="...)
		p := t.payload(size + 20)
		dst = append(dst, '"')
		dst = appendEscaped(mark.Append(dst, m, p), p)
		dst = append(dst, `" took=`...)
		dst = strconv.AppendUint(dst, r.Uint64N(1e5), 10)
		return append(dst, "us"...), true
	default:
		dst = at.AppendFormat(dst, "2006-01-02 15:04:05.000 ")
		dst = append(dst, []string{"INFO  ", "WARN  ", "ERROR ", "DEBUG "}[r.IntN(4)]...)
		dst = append(dst, "[worker-"...)
		dst = strconv.AppendUint(dst, r.Uint64N(16), 10)
		dst = append(dst, "] "...)
		p := t.payload(size + 60)
		return append(mark.Append(dst, m, p), p...), kind < 90
	}
}

func (t *text) json(dst []byte, m mark.Mark, at time.Time, size int) []byte {
	r := t.rng
	dst = append(dst, `{"time":"`...)
	dst = at.AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","level":"`...)
	dst = append(dst, levels[r.IntN(len(levels))]...)
	dst = append(dst, `","msg":"`...)
	p := t.payload(max(size-110, 30))
	dst = appendEscaped(mark.Append(dst, m, p), p)
	dst = append(dst, `","order":`...)
	dst = strconv.AppendUint(dst, r.Uint64N(1e6), 10)
	dst = append(dst, `,"ms":`...)
	dst = strconv.AppendFloat(dst, float64(r.IntN(100_000))/10, 'f', 1, 64)
	if r.IntN(3) == 0 {
		dst = append(dst, `,"trace_id":"`...)
		for range 4 {
			dst = hex8(dst, r.Uint32())
		}
		dst = append(dst, '"')
	}
	if r.IntN(3) == 0 {
		dst = append(dst, `,"http":{"method":"GET","status":200,"hdr":["a",{"b":null}]}`...)
	}
	dst = append(dst, `,"ok":true,"user":{"id":`...)
	dst = strconv.AppendUint(dst, r.Uint64N(1e6), 10)
	return append(dst, `,"tags":["a","b"]}}`...)
}

const hexDigits = "0123456789abcdef"

func hex8(dst []byte, v uint32) []byte {
	for s := 28; s >= 0; s -= 4 {
		dst = append(dst, hexDigits[v>>s&15])
	}
	return dst
}

// appendEscaped appends the text of a JSON string.
func appendEscaped(dst, p []byte) []byte {
	for _, c := range p {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
