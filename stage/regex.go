package stage

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/record"
)

// Bounds of regular expressions. The engine never goes back (RE2): a match costs at
// most the instructions of the expression times the bytes of the record, and that
// product is bounded, so that whoever writes an expression, or a line for it, cannot
// stop the others.
const (
	// MaxPattern is how long an expression may be, in bytes.
	MaxPattern = 4096
	// maxInstructions and maxGroups are how large it may be made ready: a few bytes
	// such as x{1000} can ask for much.
	maxInstructions = 2000
	maxGroups       = 64
	// maxSteps is the most instructions times bytes for one record, 0.1 s at the
	// worst. With 50 instructions, which is usual, it is a record of 80 KiB. What is
	// longer passes on as it is, and counts as not matched.
	maxSteps = 1 << 22
)

// RegexConfig configures NewRegex.
type RegexConfig struct {
	// Pattern is a regular expression (RE2) with named groups, (?P<name>…) or
	// (?<name>…).
	Pattern string
	// Time is the form of the group time: directives of strftime, or a layout of
	// Go's package time; "" for the forms that are known anyway.
	Time string
	// Types are the kinds of groups that are not text: int, float or bool.
	Types map[string]string
	// Misses counts the records that the expression does not match; nil: nobody
	// counts.
	Misses *atomic.Uint64
	// Clock measures what matching costs, for expressions of people who are not
	// trusted with everybody's time; nil: nobody measures. An expression that takes
	// more than a microsecond for a byte, of a fifth of a second of matching, which is
	// a thirtieth of the usual speed, is not tried for ten seconds: records pass on as
	// if they did not match. Slow, which may be nil, is told.
	Clock func() time.Time
	Slow  func()
}

const (
	slowPerByte = time.Microsecond
	slowAfter   = 200 * time.Millisecond
	slowPause   = 10 * time.Second
	// everyRecord is what a record costs beside its bytes, in bytes.
	everyRecord = 64
)

// costs is what an expression has cost lately.
type costs struct {
	clock  func() time.Time
	tell   func()
	spent  time.Duration
	bytes  int
	paused time.Time // until then
}

// match is re.FindSubmatchIndex, or nil for an expression that is too slow.
func (c *costs) match(re *regexp.Regexp, body []byte, now time.Time) []int {
	if c.clock == nil {
		return re.FindSubmatchIndex(body)
	}
	if now.Before(c.paused) {
		return nil
	}
	began := c.clock()
	at := re.FindSubmatchIndex(body)
	c.spent += c.clock().Sub(began)
	c.bytes += len(body) + everyRecord
	if c.spent < slowAfter {
		return at
	}
	if c.spent > time.Duration(c.bytes)*slowPerByte {
		c.paused = now.Add(slowPause)
		if c.tell != nil {
			c.tell()
		}
	}
	c.spent, c.bytes = 0, 0
	return at
}

// PatternError says where in a pattern something is wrong.
type PatternError struct {
	// Offset is the byte at which the part begins that is wrong.
	Offset int
	// Reason says what is wrong, and with which part.
	Reason string
}

// Error implements error.
func (e *PatternError) Error() string { return "bad regular expression: " + e.Reason }

// Regex is a parser: the named groups of a regular expression become fields. The
// groups time (also timestamp), level (severity) and msg (message, body) are special:
// they give the record its time and level, and msg becomes its body; without it the
// body stays as it is. A time that cannot be read or believed and a level that is
// none stay as fields. A group that takes part in no match, or matches nothing, gives
// no field. A line that the expression does not match passes on as it is, and counts.
type Regex struct {
	re      *regexp.Regexp
	groups  []group
	layout  *layout
	stamps  stamps
	longest int // bytes of a record
	misses  misses
	costs   costs
}

type group struct {
	name string // "" for none
	what byte   // 0 field, t time, l level, m message
	kind record.Kind
}

var regexTypes = map[string]record.Kind{"int": record.Int, "float": record.Float, "bool": record.Bool}

// NewRegex returns the parser. Errors say which part is wrong.
func NewRegex(c RegexConfig) (*Regex, error) {
	re, size, err := compile(c.Pattern)
	if err != nil {
		return nil, err
	}
	s := &Regex{re: re, longest: maxSteps / size, misses: misses{c.Misses}, costs: costs{clock: c.Clock, tell: c.Slow}}
	named := false
	for _, name := range re.SubexpNames() {
		g := group{name: name}
		switch name {
		case "":
		case "time", "timestamp":
			g.what = 't'
		case "level", "severity":
			g.what = 'l'
		case "msg", "message", "body":
			g.what = 'm'
		default:
			if g.kind = record.String; c.Types[name] != "" {
				kind, ok := regexTypes[c.Types[name]]
				if !ok {
					return nil, fmt.Errorf("types.%s: %q is none of int, float and bool", name, c.Types[name])
				}
				g.kind = kind
			}
		}
		if c.Types[name] != "" && g.what != 0 {
			return nil, fmt.Errorf("types.%s: this group is the record's own and has no type", name)
		}
		named = named || name != ""
		s.groups = append(s.groups, g)
	}
	if !named {
		return nil, fmt.Errorf("the regular expression has no named group such as (?P<level>[A-Z]+): nothing would become of it")
	}
	for name := range c.Types {
		if !slices.Contains(re.SubexpNames(), name) {
			return nil, fmt.Errorf("types.%s: the regular expression has no group of that name", name)
		}
	}
	if c.Time != "" {
		if !slices.ContainsFunc(s.groups, func(g group) bool { return g.what == 't' }) {
			return nil, fmt.Errorf("time says the form of a group time, which the regular expression does not have")
		}
		if s.layout, err = newLayout(c.Time); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// compile also returns how many instructions the expression has.
func compile(pattern string) (*regexp.Regexp, int, error) {
	if len(pattern) > MaxPattern {
		return nil, 0, &PatternError{MaxPattern, fmt.Sprintf("longer than %d bytes", MaxPattern)}
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, 0, patternError(pattern, err)
	}
	// The size is known to package syntax only.
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, 0, patternError(pattern, err)
	}
	if n := tree.MaxCap(); n > maxGroups {
		return nil, 0, &PatternError{0, fmt.Sprintf("it has %d groups, at most %d are allowed; (?:…) groups without one", n, maxGroups)}
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, 0, patternError(pattern, err)
	}
	if n := len(prog.Inst); n > maxInstructions {
		return nil, 0, &PatternError{0, fmt.Sprintf("too large: counted repetitions such as x{1000} make it %d instructions, at most %d are allowed", n, maxInstructions)}
	}
	return re, len(prog.Inst), nil
}

// patternError finds the place in the pattern of which err speaks.
func patternError(pattern string, err error) error {
	var e *syntax.Error
	if !errors.As(err, &e) {
		return &PatternError{0, err.Error()}
	}
	switch e.Code { // of these only the whole pattern is told
	case syntax.ErrMissingParen:
		return &PatternError{parenthesis(pattern), "missing closing ) for the group that begins here"}
	case syntax.ErrUnexpectedParen:
		return &PatternError{parenthesis(pattern), "this ) closes no group"}
	}
	at := max(0, strings.Index(pattern, e.Expr))
	return &PatternError{at, e.Code.String() + ": `" + e.Expr + "`"}
}

// parenthesis returns where the first ) stands that closes no group, or else the
// last ( that is not closed.
func parenthesis(pattern string) int {
	var open []int
	class := false
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			i++
		case class:
			class = c != ']'
		case c == '[':
			class = true
			for i+1 < len(pattern) && (pattern[i+1] == '^' || pattern[i+1] == ']') {
				i++
			}
		case c == '(':
			open = append(open, i)
		case c == ')' && len(open) == 0:
			return i
		case c == ')':
			open = open[:len(open)-1]
		}
	}
	if len(open) == 0 {
		return 0
	}
	return open[len(open)-1]
}

// Process implements the step.
func (s *Regex) Process(b *record.Batch, now time.Time) error {
	each(b, now, s)
	return nil
}

func (s *Regex) record(b *record.Batch, i int, now time.Time) {
	r := b.Record(i)
	body, ok := begin(b, r)
	setUTF8(r, body)
	if !ok {
		return
	}
	var at []int
	if len(body) <= s.longest {
		at = s.costs.match(s.re, body, now)
	}
	if at == nil {
		s.misses.add()
		if r.Severity == record.Unknown {
			r.Severity = textLevel(body)
		}
		return
	}
	whole := r.Body.Off
	for k, g := range s.groups {
		from, to := at[2*k], at[2*k+1]
		if g.name == "" || from < 0 || from == to {
			continue
		}
		text := body[from:to]
		span := record.Span{Off: whole + uint32(from), Len: uint32(to - from)}
		switch g.what {
		case 't':
			if !r.Flags.Has(record.TimeParsed) && !setNamedTime(r, s.layout, &s.stamps, text, now) {
				b.SetField(i, g.name, record.String, span) // nothing is lost that is not believed
			}
		case 'l':
			sev, ok := ParseLevel(text)
			if ok && r.Severity == record.Unknown {
				r.Severity = sev
			} else if !ok {
				b.SetField(i, g.name, record.String, span)
			}
		case 'm':
			r.Body = span
			r.Flags &^= record.ValidUTF8 | record.InvalidUTF8
			setUTF8(r, text)
		default:
			b.SetField(i, g.name, kindOf(g.kind, text), span)
		}
	}
	if r.Severity == record.Unknown {
		r.Severity = textLevel(b.Bytes(r.Body))
	}
}

// kindOf returns the kind that was asked for if the text is of it.
func kindOf(want record.Kind, text []byte) record.Kind {
	switch want {
	case record.Int:
		if integer(text) {
			return want
		}
	case record.Float:
		if head, tail, ok := strings.Cut(string(text), "."); integer([]byte(head)) && (!ok || tail != "" && strings.Trim(tail, "0123456789") == "") {
			return want
		}
	case record.Bool:
		if s := string(text); s == "true" || s == "false" {
			return want
		}
	}
	return record.String
}

// integer reports whether p is an integer as JSON writes it and as 64 bits hold it.
func integer(p []byte) bool {
	if len(p) > 0 && p[0] == '-' {
		p = p[1:]
	}
	if len(p) == 0 || len(p) > 18 || p[0] == '0' && len(p) > 1 {
		return false
	}
	_, ok := digits(p)
	return ok
}
