package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/weirlog/weir/kube"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/show"
	"github.com/weirlog/weir/stage"
)

// tailPrinter prints lines that come, for one goroutine: what the flags leave of
// them, with what is around.
type tailPrinter struct {
	p       show.Printer
	w       *bufio.Writer
	around  int
	divides bool // "--" between groups of lines that do not follow each other

	// match and pipe are what remains to be done here; nil if the source has done
	// it.
	match *lineMatch
	pipe  *logql.Pipeline
	made  show.Entry

	labels map[*show.Stream][]logql.Label
	near   map[string]*surrounding
	any    bool // a match was printed
	count  int64
}

// surrounding is what is known of a container for -C.
type surrounding struct {
	before []show.Entry // not printed, at most as many as wanted
	after  int          // lines still to be printed
}

// maxSurrounding is of how many containers it is known.
const maxSurrounding = 10_000

func newTailPrinter(p show.Printer, w *bufio.Writer, flags *tailFlags, o *show.Options) *tailPrinter {
	t := &tailPrinter{p: p, w: w, around: flags.around, labels: make(map[*show.Stream][]logql.Label), near: make(map[string]*surrounding)}
	switch o.Format {
	case "", "pretty", "default", "raw":
		t.divides = true
	}
	return t
}

// lines prints lines.
func (t *tailPrinter) lines(batch []show.Entry) error {
	t.count += int64(len(batch))
	for i := range batch {
		e := &batch[i]
		if t.pipe != nil {
			if e = t.process(e); e == nil {
				continue
			}
		}
		if t.match == nil {
			if err := t.p.Line(e); err != nil {
				return err
			}
			continue
		}
		if err := t.filtered(e); err != nil {
			return err
		}
	}
	return nil
}

func (t *tailPrinter) filtered(e *show.Entry) error {
	m := t.match
	for _, re := range m.exclude {
		if re.MatchString(e.Line) {
			return nil
		}
	}
	matches := len(m.include) == 0
	for _, re := range m.include {
		if matches = re.MatchString(e.Line); matches {
			break
		}
	}
	if matches && m.level != 0 {
		matches = severityOf(e) >= m.level
	}
	if t.around == 0 {
		if !matches {
			return nil
		}
		return t.p.Line(e)
	}
	s := t.surrounding(e)
	switch {
	case matches:
		if s.after == 0 && t.any && t.divides {
			if _, err := t.w.WriteString("--\n"); err != nil {
				return err
			}
		}
		for i := range s.before {
			if err := t.p.Line(&s.before[i]); err != nil {
				return err
			}
		}
		clear(s.before)
		s.before, s.after, t.any = s.before[:0], t.around+1, true
	case s.after == 0:
		if len(s.before) == t.around {
			copy(s.before, s.before[1:])
			s.before = s.before[:t.around-1]
		}
		s.before = append(s.before, *e)
		return nil
	}
	s.after--
	return t.p.Line(e)
}

func (t *tailPrinter) surrounding(e *show.Entry) *surrounding {
	l := e.Stream.Labels
	key := l["namespace"] + "/" + l["pod"] + "/" + l["container"]
	if l["pod"] == "" {
		key = e.Stream.Text
	}
	s := t.near[key]
	if s == nil {
		if len(t.near) >= maxSurrounding {
			clear(t.near)
		}
		s = &surrounding{}
		t.near[key] = s
	}
	return s
}

// severityOf returns the severity of a line: what is known of it, else what it
// says of itself.
func severityOf(e *show.Entry) record.Severity {
	if l := e.Level(); l != "" {
		if sev, ok := stage.ParseLevel([]byte(l)); ok {
			return sev
		}
	}
	return stage.DetectSeverity(lineBytes(e.Line))
}

// lineBytes returns the bytes of s, which must not be changed.
func lineBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// process applies the query; nil means that the line is not wanted.
func (t *tailPrinter) process(e *show.Entry) *show.Entry {
	labels, ok := t.labels[e.Stream]
	if !ok {
		if labels = streamLabels(e.Stream); e.Stream.Labels[record.AttrInput] == "" {
			// A query needs something that all lines have.
			labels = append(labels, logql.Label{Name: record.AttrInput, Value: "file"})
			slices.SortFunc(labels, func(a, b logql.Label) int { return strings.Compare(a.Name, b.Name) })
		}
		if len(t.labels) >= maxSurrounding {
			clear(t.labels)
		}
		t.labels[e.Stream] = labels
	}
	row := logql.Row{Time: e.Time, Line: lineBytes(e.Line), Labels: labels}
	for k, v := range e.Meta {
		row.Meta = append(row.Meta, logql.Label{Name: k, Value: v})
	}
	if row.Severity = severityOf(e); row.Severity != 0 {
		row.HasSeverity = true
	}
	o, ok := t.pipe.Process(&row)
	if !ok {
		return nil
	}
	t.made = *e
	if string(o.Line) != e.Line {
		t.made.Line = string(o.Line)
	}
	if len(o.Parsed) > 0 {
		t.made.Parsed = make(map[string]string, len(o.Parsed))
		for _, l := range o.Parsed {
			t.made.Parsed[strings.Clone(l.Name)] = strings.Clone(l.Value)
		}
	}
	return &t.made
}

// flush gives out what was printed; nothing more is there for now.
func (t *tailPrinter) flush() error { return t.w.Flush() }

func (t *tailPrinter) end() error {
	if err := t.p.End(); err != nil {
		return err
	}
	return t.w.Flush()
}

// notices tells people on stderr what is going on. It may be used concurrently.
type notices struct {
	w     io.Writer
	quiet bool // only what is missing
	color bool
	mu    sync.Mutex
}

func newNotices(w io.Writer, flags *tailFlags) *notices {
	n := &notices{w: w, quiet: flags.onlyLogLines}
	n.color, _ = flags.colorOf(w) // wrong values were refused with stdout's
	return n
}

// say tells something.
func (n *notices) say(format string, args ...any) {
	if n.quiet {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(n.w, "%s\n", show.Printable(fmt.Sprintf(format, args...)))
}

// sign writes a line that begins with a sign, in a colour.
func (n *notices) sign(sign, color, text string) {
	if n.quiet {
		return
	}
	n.write(sign, color, text)
}

func (n *notices) write(sign, color, text string) {
	text = show.Printable(text)
	if n.color {
		text = "\x1b[" + color + "m" + sign + " " + text + "\x1b[0m"
	} else {
		text = sign + " " + text
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintln(n.w, text)
}

// kube tells a notice of a cluster, as stern does: containers that come and go.
func (n *notices) kube(k kube.Notice) {
	who := ""
	if k.Stream != nil {
		l := k.Stream.Labels
		who = l["namespace"] + "/" + l["pod"]
		if l["container"] != "" {
			who += " › " + l["container"]
		}
	}
	if k.Text != "" && who != "" {
		who += ": "
	}
	switch k.Kind {
	case kube.NoticeJoined:
		n.sign("+", "32", who+k.Text)
	case kube.NoticeLeft:
		n.sign("-", "31", who+k.Text)
	case kube.NoticeError:
		n.write("!", "33", who+k.Text)
	default:
		n.sign("!", "33", who+k.Text)
	}
}
