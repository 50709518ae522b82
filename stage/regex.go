package stage

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/record"
)

// MaxPattern is how long a regular expression may be, in bytes.
const MaxPattern = 4096

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
}

// Regex is a parser: the named groups of a regular expression become fields. The
// groups time, level (also severity) and msg (also message) are special: they give
// the record its time and level, and msg becomes its body; without it the body stays
// as it is. A group that takes part in no match, or matches nothing, gives no field.
// A line that the expression does not match passes on as it is, and counts.
type Regex struct {
	re     *regexp.Regexp
	groups []group
	layout *layout
	stamps stamps
	misses atomic.Uint64
}

type group struct {
	name string // "" for none, and for those that are special
	what byte   // 0 field, t time, l level, m message
	kind record.Kind
}

var regexTypes = map[string]record.Kind{"int": record.Int, "float": record.Float, "bool": record.Bool}

// NewRegex returns the parser. Errors say which part is wrong.
func NewRegex(c RegexConfig) (*Regex, error) {
	if len(c.Pattern) > MaxPattern {
		return nil, fmt.Errorf("the regular expression is longer than %d bytes", MaxPattern)
	}
	re, err := regexp.Compile(c.Pattern)
	if err != nil {
		return nil, fmt.Errorf("bad regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	s := &Regex{re: re}
	named := false
	for _, name := range re.SubexpNames() {
		g := group{name: name}
		switch name {
		case "":
		case "time", "timestamp":
			g.name, g.what = "", 't'
		case "level", "severity":
			g.name, g.what = "", 'l'
		case "msg", "message":
			g.name, g.what = "", 'm'
		default:
			if g.kind = record.String; c.Types[name] != "" {
				kind, ok := regexTypes[c.Types[name]]
				if !ok {
					return nil, fmt.Errorf("types.%s: %q is none of int, float and bool", name, c.Types[name])
				}
				g.kind = kind
			}
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

// Misses returns how many records the expression did not match. It may be called at
// any time.
func (s *Regex) Misses() uint64 { return s.misses.Load() }

// Process implements the step.
func (s *Regex) Process(b *record.Batch, now time.Time) error {
	for i := range b.NumRecords() {
		r := b.Record(i)
		if r.Flags&skip != 0 {
			continue
		}
		body := b.Bytes(r.Body)
		r.Flags &^= record.JSONObject | record.ValidUTF8 | record.InvalidUTF8
		r.KnownKeys = 0
		setUTF8(r, body)
		if r.Flags&(record.Partial|record.Continued) != 0 || len(body) == 0 {
			continue
		}
		at := s.re.FindSubmatchIndex(body)
		if at == nil {
			s.misses.Add(1)
			if r.Severity == record.Unknown {
				r.Severity = textLevel(body)
			}
			continue
		}
		whole := r.Body
		for k, g := range s.groups {
			from, to := at[2*k], at[2*k+1]
			if k == 0 || from < 0 || from == to || g.name == "" && g.what == 0 {
				continue
			}
			text := body[from:to]
			span := record.Span{Off: whole.Off + uint32(from), Len: uint32(to - from)}
			switch g.what {
			case 't':
				if !r.Flags.Has(record.TimeParsed) && !setNamedTime(r, s.layout, &s.stamps, text, now) {
					b.SetField(i, "time", record.String, span) // nothing is lost that is not believed
				}
			case 'l':
				sev, ok := ParseLevel(text)
				if ok && r.Severity == record.Unknown {
					r.Severity = sev
				} else if !ok {
					b.SetField(i, "level", record.String, span)
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
	return nil
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
