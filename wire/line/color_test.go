package line

import (
	"math"
	"strconv"
	"strings"
	"testing"
)

// rgb is a colour of the 256 as terminals have it (xterm's 256colres).
func rgb(c int) (r, g, b float64) {
	if c >= 232 {
		v := float64(8 + 10*(c-232))
		return v, v, v
	}
	level := [...]float64{0, 95, 135, 175, 215, 255}
	c -= 16
	return level[c/36], level[c/6%6], level[c%6]
}

// luminance is WCAG 2's relative luminance.
func luminance(c int) float64 {
	r, g, b := rgb(c)
	lin := func(v float64) float64 {
		if v /= 255; v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*lin(r) + 0.7152*lin(g) + 0.0722*lin(b)
}

// Everything that has a colour can be read on black and on white.
func TestColorsOnLightAndDark(t *testing.T) {
	all := append(palette[:], levelColors[1:]...)
	all = append(all, strings.Trim(dim, "\x1b[m"), strings.Trim(includeOn, "\x1b[m"))
	for _, params := range all {
		_, num, ok := strings.Cut(params, "38;5;")
		c, err := strconv.Atoi(num)
		if !ok || err != nil || c < 16 {
			t.Errorf("%q is a colour that terminals have their own ideas of", params)
			continue
		}
		l := luminance(c)
		if onWhite, onBlack := 1.05/(l+0.05), (l+0.05)/0.05; onWhite < 3.5 || onBlack < 3.5 {
			t.Errorf("%s: contrast %.1f on white, %.1f on black", params, onWhite, onBlack)
		}
	}
	seen := map[string]bool{}
	for _, p := range palette {
		if seen[p] {
			t.Errorf("%s stands twice", p)
		}
		seen[p] = true
	}
}

func TestSGR(t *testing.T) {
	for _, c := range []struct{ in, plain, color string }{
		{"\x1b[31mred\x1b[0m x", "red x", "\x1b[31mred\x1b[0m x"},
		{"\x1b[31mred", "red", "\x1b[31mred\x1b[0m"},
		{"\x1b[1;4;36mx\x1b[m", "x", "\x1b[1;4;36mx\x1b[0m"},
		{"\x1b[31ma\nb", "a\n" + "b", "\x1b[31ma\x1b[0m\nb"},
		{"\x1b[30;41;8;5mhidden", "hidden", "hidden"},
		{"\x1b[38;5;196mx\x1b[39m", "x", "\x1b[38;5;196mx\x1b[39m\x1b[0m"},
		{"\x1b[38;2;200;100;0mx", "x", "\x1b[38;2;200;100;0mx\x1b[0m"},
		{"\x1b[38;2;0;0;0mx", "x", "x"},
		{"\x1b[38;5;16;48;5;16;31mx", "x", "\x1b[31mx\x1b[0m"},
		{"\x1b[90mx", "x", "\x1b[38;5;244mx\x1b[0m"},
		{"\x1b[99999999999999999999mx", "x", "x"},
		{"\x1b[?25lx", `\x1b[?25lx`, `\x1b[?25lx`},
		{"\x1b[31", `\x1b[31`, `\x1b[31`},
		{"\x1b[" + strings.Repeat("1;", 40) + "m", `\x1b[` + strings.Repeat("1;", 40) + "m", `\x1b[` + strings.Repeat("1;", 40) + "m"},
	} {
		if got := string(AppendSafe(nil, []byte(c.in), false)); got != c.plain {
			t.Errorf("%q without colours = %q, want %q", c.in, got, c.plain)
		}
		if got := string(AppendSafe(nil, []byte(c.in), true)); got != c.color {
			t.Errorf("%q with colours = %q, want %q", c.in, got, c.color)
		}
	}
}
