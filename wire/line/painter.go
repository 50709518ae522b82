package line

import (
	"path"
	"regexp"
	"time"
	"unsafe"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire/json"
)

// Style says how lines look.
type Style struct {
	// Color allows ANSI colours: of times, levels and names, and the program's
	// own.
	Color bool
	// Times is one of Times, "" is default; Zone is the zone of times, nil is the
	// machine's. Now is for relative ones.
	Times string
	Zone  *time.Location
	Now   func() time.Time
	// Fields, if there are any, are the only keys that follow the message. A dot
	// goes into objects.
	Fields []string
	// Narrow saves columns: no namespace, no container that the name of its pod
	// begins with, no directory of a file. OneNamespace leaves out the namespace.
	Narrow, OneNamespace bool
	// Highlight marks what matches, Include as grep does, in what follows the
	// names. Only with Color.
	Highlight, Include []*regexp.Regexp
}

// Check reports what is wrong with a style.
func (s *Style) Check() error {
	_, err := newClock(s.Times, s.Zone, s.Now)
	return err
}

// Item is a line to be painted.
type Item struct {
	Time int64 // Unix nanoseconds
	// Severity is what is known of it beside the line; Unknown makes the line
	// itself be looked at.
	Severity record.Severity
	// Level is shown if neither says anything: a level that is none of ours.
	Level string
	Who   *Who
	Body  []byte
	// Pairs are known beside the line and follow it, but those that it has itself.
	Pairs []Pair
	// Get looks up one of the style's fields that is not in the line; may be nil.
	Get func(name string) string
}

// Pair is a key and its value.
type Pair struct {
	Key string
	Val []byte
}

// Who is a name in front of lines, ready to be copied.
type Who struct {
	prefix []byte
	pod    string
}

// Painter makes lines readable. It is for one goroutine and keeps its memory:
// in steady state it allocates nothing.
type Painter struct {
	style Style
	clock *clock
	hues  *hues

	// Of the line at hand:
	line   parsed
	reader json.Reader
	stamps stage.Timestamps
	now    int64  // the line's time
	cont   []byte // what stands before its further rows
	text   []byte // unescaped values
	more   []byte // a second one
	marks  marker
}

// NewPainter returns a painter. A style that Check refuses shows times as
// default does.
func NewPainter(s Style) *Painter {
	p := &Painter{style: s, hues: new(hues)}
	var err error
	if p.clock, err = newClock(s.Times, s.Zone, s.Now); err != nil {
		p.clock, _ = newClock("", s.Zone, nil)
	}
	p.marks.highlight, p.marks.include = s.Highlight, s.Include
	return p
}

// Who returns the name of who wrote a stream of lines, of what get says of its
// labels: the pod and container, else the file, the service, the app or job, else
// rest.
func (p *Painter) Who(get func(string) string, rest string) *Who {
	var name []byte
	add := func(sep, v string) {
		if v == "" {
			return
		}
		if len(name) > 0 {
			name = append(name, sep...)
		}
		name = AppendPlain(name, []byte(v))
	}
	pod, container := get(record.AttrPod), get(record.AttrContainer)
	if ns := get(record.AttrNamespace); pod == "" && container == "" || !p.style.Narrow && !p.style.OneNamespace {
		add("", ns)
	}
	add("/", pod)
	colored := string(name)
	if !p.style.Narrow || len(pod) <= len(container) || pod[:len(container)] != container || pod[len(container)] != '-' {
		add(" ", container)
	}
	for _, n := range []string{record.AttrFile, record.AttrService, record.AttrApp, "job"} {
		if len(name) == 0 {
			v := get(n)
			switch {
			case n == record.AttrService && v == "unknown_service":
				continue
			case n == record.AttrFile && p.style.Narrow:
				if v != "" {
					v = path.Base(v)
				}
			}
			add("", v)
		}
	}
	if len(name) == 0 {
		add("", rest)
	}
	if colored == "" {
		colored = string(name)
	}
	w := &Who{pod: pod}
	switch {
	case len(name) == 0:
	case p.style.Color:
		w.prefix = appendColor(w.prefix, p.hues.color(colored))
		w.prefix = append(append(w.prefix, name...), " │"+reset+" "...)
	default:
		w.prefix = append(name, " │ "...)
	}
	return w
}

var nobody Who

// Append appends the rows of a line, each with its line feed.
func (p *Painter) Append(dst []byte, it *Item) []byte {
	p.now = it.Time
	l := &p.line
	l.reset()
	p.text = p.text[:0]
	p.parse(it.Body)
	sev := it.Severity
	if sev == 0 {
		if sev = l.severity; sev == 0 {
			sev = stage.DetectSeverity(l.message)
		}
	}

	// Time, level, name; before further rows there is only the name.
	start := len(dst)
	color := p.style.Color
	if color {
		dst = append(dst, dim...)
	}
	from := len(dst)
	dst = p.clock.append(dst, it.Time)
	width := len(dst) - from
	if color {
		if width == 0 {
			dst = dst[:start]
		} else {
			dst = append(dst, reset...)
		}
	}
	dst = p.appendLevel(dst, sev, it.Level)
	width += 6
	who := it.Who
	if who == nil {
		who = &nobody
	}
	dst = append(dst, who.prefix...)
	p.cont = p.cont[:0]
	for range width {
		p.cont = append(p.cont, ' ')
	}
	p.cont = append(p.cont, who.prefix...)

	from = len(dst)
	dst = p.appendLine(dst, it, sev)
	if color && (len(p.marks.highlight) > 0 || len(p.marks.include) > 0) {
		dst = p.marks.apply(dst, from, len(p.cont))
	}
	return append(dst, '\n')
}

// appendLevel appends five columns and a space.
func (p *Painter) appendLevel(dst []byte, sev record.Severity, word string) []byte {
	i := levelIndex(sev)
	switch {
	case i > 0 && p.style.Color:
		dst = appendColor(dst, levelColors[i])
		dst = append(dst, levelNames[i]...)
		return append(dst, reset+" "...)
	case i == 0 && word != "":
		for j := range 5 {
			c := byte(' ')
			if j < len(word) && word[j] > ' ' && word[j] < 0x7f {
				c = word[j]
			}
			if c-'a' < 26 {
				c -= 'a' - 'A'
			}
			dst = append(dst, c)
		}
		return append(dst, ' ')
	}
	dst = append(dst, levelNames[i]...)
	return append(dst, ' ')
}

// NameColor returns the parameters of the SGR sequence for a name, as Who colours
// it: namespace/pod, or whatever stands before the container.
func (p *Painter) NameColor(name string) string { return p.hues.color(name) }

// AppendTime appends a time in the style's way and a space, or nothing.
func (p *Painter) AppendTime(dst []byte, ns int64) []byte { return p.clock.append(dst, ns) }

// bytesOf returns the bytes of s, which must not be changed.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
