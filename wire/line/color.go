package line

import (
	"bytes"
	"strconv"
	"sync"

	"github.com/weirlog/weir/record"
)

// Colours are of the 256 and such that their contrast to black and to white is
// at least 3.5, so that they can be read on dark and on light. The sixteen basic
// colours are none: what they look like is up to the terminal, and yellow on
// white usually cannot be read.
const (
	reset = "\x1b[0m"
	dim   = "\x1b[38;5;244m"
)

// palette is for the names of pods. Neighbours differ.
var palette = [...]string{
	"38;5;28", "38;5;33", "38;5;163", "38;5;30", "38;5;166", "38;5;98", "38;5;64", "38;5;161",
	"38;5;31", "38;5;133", "38;5;130", "38;5;63", "38;5;29", "38;5;168", "38;5;94", "38;5;135",
}

// levelColors are by the range of the severity: trace, debug, info, ….
var levelColors = [...]string{"", "38;5;244", "38;5;31", "38;5;28", "38;5;130", "38;5;196", "1;38;5;163"}

var levelNames = [...]string{"     ", "TRACE", "DEBUG", "INFO ", "WARN ", "ERROR", "FATAL"}

func levelIndex(sev record.Severity) int {
	if sev == 0 || sev > 24 {
		return 0
	}
	return int(sev-1)/4 + 1
}

// LevelColor returns the parameters of the SGR sequence for a severity, "" for
// none.
func LevelColor(sev record.Severity) string { return levelColors[levelIndex(sev)] }

// NameColor returns the parameters of the SGR sequence for a name: the same
// colour wherever it stands.
func NameColor(name string) string { return palette[hue(name)] }

func hue(name string) int {
	h := uint32(2166136261) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return int((h ^ h>>16) % uint32(len(palette)))
}

// hues gives names colours: that of NameColor, but as long as there are colours
// that none has, one of these, so that the pods of a workload can be told apart. It
// is shared by painters whose rows go to the same place.
type hues struct {
	mu   sync.Mutex
	of   map[string]int
	used [len(palette)]bool
}

// maxHues bounds the names that are kept. By then all colours are taken anyway.
const maxHues = 10_000

func (h *hues) color(name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i, ok := h.of[name]; ok {
		return palette[i]
	}
	want := hue(name)
	i := want
	for n := 0; n < len(palette) && h.used[i]; n++ {
		i = (i + 1) % len(palette)
	}
	if h.used[i] {
		i = want
	}
	if len(h.of) < maxHues {
		if h.of == nil {
			h.of = make(map[string]int)
		}
		h.of[name], h.used[i] = i, true
	}
	return palette[i]
}

func appendColor(dst []byte, params string) []byte {
	dst = append(dst, "\x1b["...)
	dst = append(dst, params...)
	return append(dst, 'm')
}

// sgrLen returns the length of the SGR sequence that p begins with (ECMA-48
// 8.3.117), 0 if there is none or it is absurdly long.
func sgrLen(p []byte) int {
	if len(p) < 3 || p[0] != 0x1b || p[1] != '[' {
		return 0
	}
	for i := 2; i < len(p) && i < 64; i++ {
		switch c := p[i]; {
		case c == 'm':
			return i + 1
		case c-'0' > 9 && c != ';' && c != ':':
			return 0
		}
	}
	return 0
}

// appendSGR appends, of a program's SGR sequence, what leaves text readable:
// foreground colours that are neither black nor white, bold, faint, italic,
// underlined, and the ends of these. open says whether something is on after
// it.
func appendSGR(dst, seq []byte, open bool) ([]byte, bool) {
	start := len(dst)
	dst = append(dst, "\x1b["...)
	add := func(params ...int) {
		for _, n := range params {
			if len(dst) > start+2 {
				dst = append(dst, ';')
			}
			dst = strconv.AppendInt(dst, int64(n), 10)
		}
	}
	var buf [16]int
	params := buf[:0]
	for rest := seq[2 : len(seq)-1]; ; {
		end := bytes.IndexAny(rest, ";:")
		word := rest
		if end >= 0 {
			word = rest[:end]
		}
		n, err := strconv.Atoi(string(word))
		if err != nil {
			n = 0 // missing, or too large for anything
			if len(word) > 0 {
				n = -1
			}
		}
		if len(params) < cap(params) {
			params = append(params, n)
		}
		if end < 0 {
			break
		}
		rest = rest[end+1:]
	}
	for i := 0; i < len(params); i++ {
		switch n := params[i]; {
		case n == 0:
			add(0)
			open = false
		case n >= 1 && n <= 4, n >= 31 && n <= 36, n >= 90 && n <= 96 && n != 90:
			add(n)
			open = true
		case n >= 22 && n <= 24, n == 39:
			add(n)
		case n == 90: // grey, and on some terminals what black is on others
			add(38, 5, 244)
			open = true
		case n == 38 || n == 48 || n == 58:
			used := 0
			if i+2 < len(params) && params[i+1] == 5 {
				used = 2
				if c := params[i+2]; n == 38 && readable256(c) {
					add(38, 5, c)
					open = true
				}
			} else if i+4 < len(params) && params[i+1] == 2 {
				used = 4
				if r, g, b := params[i+2], params[i+3], params[i+4]; n == 38 && readableRGB(r, g, b) {
					add(38, 2, r, g, b)
					open = true
				}
			} else {
				used = len(params) // whatever it is
			}
			i += used
		}
	}
	if len(dst) == start+2 {
		return dst[:start], open
	}
	return append(dst, 'm'), open
}

// readable256 reports whether a colour of the 256 can be read on black and on
// white, if not well.
func readable256(c int) bool {
	switch {
	case c >= 1 && c <= 6, c >= 9 && c <= 14:
		return true // the terminal's own
	case c >= 16 && c <= 231:
		level := [...]int{0, 95, 135, 175, 215, 255}
		c -= 16
		return readableRGB(level[c/36], level[c/6%6], level[c%6])
	case c >= 232 && c <= 255:
		grey := 8 + 10*(c-232)
		return readableRGB(grey, grey, grey)
	}
	return false
}

func readableRGB(r, g, b int) bool {
	if r < 0 || g < 0 || b < 0 || r > 255 || g > 255 || b > 255 {
		return false
	}
	sum := 3*r + 6*g + b // of 2550
	return sum >= 300 && sum <= 2100 && max(r, g, b) >= 90
}
