package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// pictures are the screenshots of the documentation: what these commands print
// on a terminal, on the logs of weir demo.
var pictures = []struct {
	name, command string
	columns, rows int
}{
	{"tail", `weir tail shop:deploy/orders payments:deploy/payments --no-follow --tail 300 -i 'o-49001|o-4900[0-9] failed|coupon'`, 130, 18},
	{"trace", `weir query '{namespace=~".+"} |= "d3aa960c5d7fde77239c0d03c98a22f5"' --no-pager`, 130, 24},
	{"hits", `weir hits '{workload="deployment/orders"} | json | level="ERROR"' --by msg`, 80, 14},
}

// TestPictures checks that the pictures are there and are what the generator
// makes of some text; -update takes them anew.
func TestPictures(t *testing.T) {
	const dir = "../../docs/pictures"
	if *update {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		home := t.TempDir()
		bin := filepath.Dir(weirProcess(t, home).Path)
		take := func(line string) []byte {
			cmd := exec.Command("sh", "-c", line)
			cmd.Dir = home
			cmd.Env = []string{"HOME=" + home, "PATH=" + bin + ":" + os.Getenv("PATH"), "XDG_STATE_HOME=" + home + "/state-home", "TZ=UTC", "TMPDIR=" + home, "CLICOLOR_FORCE=1", "TERM=xterm-256color"}
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return out
		}
		take("weir demo --no-follow && weir up weir-demo --no-follow --listen off -o raw")
		for _, p := range pictures {
			text := take(p.command)
			for _, theme := range themes {
				if err := os.WriteFile(filepath.Join(dir, p.name+"-"+theme.name+".svg"), drawTerminal("$ "+p.command+"\n"+string(text), theme, p.columns, p.rows), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, p := range pictures {
		for _, theme := range themes {
			text, err := os.ReadFile(filepath.Join(dir, p.name+"-"+theme.name+".svg"))
			if err != nil {
				t.Fatal(err)
			}
			if err := xml.Unmarshal(text, new(struct{})); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
			if bytes.Contains(text, []byte{0x1b}) || len(text) < 1000 {
				t.Errorf("%s: %d bytes", p.name, len(text))
			}
		}
	}
	got := string(drawTerminal("\x1b[1;31ma<b\x1b[0m c", themes[0], 40, 5))
	if !strings.Contains(got, `<tspan fill="#cf222e" font-weight="bold">a&lt;b</tspan>`) {
		t.Error(got)
	}
}

type theme struct {
	name, back, front string
	colors            [16]string
}

// The colours of GitHub's light and dark pages.
var themes = []theme{
	{"light", "#ffffff", "#1f2328", [16]string{"#24292f", "#cf222e", "#116329", "#7d4e00", "#0969da", "#8250df", "#1b7c83", "#6e7781", "#57606a", "#a40e26", "#1a7f37", "#9a6700", "#218bff", "#a475f9", "#3192aa", "#8c959f"}},
	{"dark", "#0d1117", "#e6edf3", [16]string{"#484f58", "#ff7b72", "#3fb950", "#d29922", "#58a6ff", "#bc8cff", "#39c5cf", "#b1bac4", "#6e7681", "#ffa198", "#56d364", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd", "#ffffff"}},
}

// style is what SGR sequences have set.
type style struct {
	color                         string
	bold, dim, underline, reverse bool
}

// drawTerminal draws text with SGR sequences (ECMA-48) as a terminal shows it.
func drawTerminal(text string, th theme, columns, rows int) []byte {
	const width, height, margin = 7.83, 17, 12
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > rows {
		lines = append(lines[:rows-1], "…")
	}
	var b bytes.Buffer
	w, h := float64(columns)*width+2*margin, len(lines)*height+2*margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" viewBox="0 0 %.0f %d">`+"\n", w, h, w, h)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="6" fill="%s" stroke="%s" stroke-opacity="0.2"/>`+"\n", th.back, th.front)
	fmt.Fprintf(&b, `<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="13" fill="%s" xml:space="preserve">`+"\n", th.front)
	var s style
	for i, line := range lines {
		fmt.Fprintf(&b, `<text x="%d" y="%d">`, margin, margin+13+i*height)
		left := columns
		for line != "" && left > 0 {
			if rest, ok := strings.CutPrefix(line, "\x1b["); ok {
				params, after, _ := strings.Cut(rest, "m")
				s.set(params, th)
				line = after
				continue
			}
			line = strings.TrimPrefix(line, "\x1b") // nothing else is expected
			end := strings.IndexByte(line, 0x1b)
			if end < 0 {
				end = len(line)
			}
			part := []rune(line[:end])
			line = line[end:]
			if len(part) > left || len(part) == left && line != "" {
				part = append(part[:left-1], '…')
			}
			left -= len(part)
			s.draw(&b, string(part), th)
		}
		b.WriteString("</text>\n")
	}
	b.WriteString("</g>\n</svg>\n")
	return b.Bytes()
}

func (s *style) draw(b *bytes.Buffer, text string, th theme) {
	if text == "" || !utf8.ValidString(text) {
		return
	}
	attributes := ""
	if s.color != "" {
		attributes += fmt.Sprintf(` fill="%s"`, s.color)
	}
	if s.bold || s.reverse {
		attributes += ` font-weight="bold"`
	}
	if s.dim {
		attributes += ` opacity="0.65"`
	}
	if s.underline {
		attributes += ` text-decoration="underline"`
	}
	if attributes == "" {
		b.WriteString(html.EscapeString(text))
		return
	}
	fmt.Fprintf(b, `<tspan%s>%s</tspan>`, attributes, html.EscapeString(text))
}

func (s *style) set(params string, th theme) {
	list := strings.Split(params, ";")
	for i := 0; i < len(list); i++ {
		n, _ := strconv.Atoi(list[i]) // nothing is 0
		switch {
		case n == 0:
			*s = style{}
		case n == 1:
			s.bold = true
		case n == 2:
			s.dim = true
		case n == 4:
			s.underline = true
		case n == 7:
			s.reverse = true
		case n == 22:
			s.bold, s.dim = false, false
		case n == 24:
			s.underline = false
		case n == 27:
			s.reverse = false
		case n >= 30 && n <= 37:
			s.color = th.colors[n-30]
		case n == 39:
			s.color = ""
		case n >= 90 && n <= 97:
			s.color = th.colors[n-90+8]
		case n == 38 && i+2 < len(list) && list[i+1] == "5":
			index, _ := strconv.Atoi(list[i+2])
			s.color = color256(index, th)
			i += 2
		}
	}
}

// color256 is xterm's palette.
func color256(n int, th theme) string {
	switch {
	case n < 16:
		return th.colors[n]
	case n >= 232:
		v := 8 + 10*(n-232)
		return fmt.Sprintf("#%02x%02x%02x", v, v, v)
	}
	steps := [6]int{0, 95, 135, 175, 215, 255}
	n -= 16
	return fmt.Sprintf("#%02x%02x%02x", steps[n/36], steps[n/6%6], steps[n%6])
}
