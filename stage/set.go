package stage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirlog/weir/record"
)

// Set gives records fields. A field wins over a member of the same name at the
// top of a JSON body: the member is cut out, so that encoders find the name
// once. A value that comes out empty sets nothing. The name level stands for
// the record's severity if the value is the name of one.
type Set struct {
	fields []setting
	attrs  attrs
	cut    cutter
	val    []byte
	spare  []byte
}

type setting struct {
	name  string
	value *template
	// last is the value set last in this batch: records in a row mostly get
	// the same, and then share its bytes.
	last record.Span
}

// NewSet returns the step. fields maps names to values, which are templates:
// '{{.namespace | trimPrefix "team-"}}-logs'. In the braces stands any name
// that a condition may use, then functions: trimPrefix "x", trimSuffix "x",
// replace "old" "new", default "x", lower, upper. The error names every field
// that is wrong. Fields are set in the order of their names, and see those set
// before.
func NewSet(fields map[string]string) (*Set, error) {
	s := new(Set)
	var errs []error
	for name, text := range fields {
		t, err := parseTemplate(text)
		if err == nil {
			err = checkName(name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("set %q: %w", name, err))
			continue
		}
		s.fields = append(s.fields, setting{name: name, value: t})
	}
	if errs != nil {
		slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(errs...)
	}
	slices.SortFunc(s.fields, func(a, b setting) int { return strings.Compare(a.name, b.name) })
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.name
	}
	s.cut.names(names)
	return s, nil
}

func checkName(name string) error {
	if name == "" {
		return errors.New("a field needs a name")
	}
	if len(name) > maxKeyLen {
		return fmt.Errorf("the name is longer than %d bytes", maxKeyLen)
	}
	return nil
}

// Process implements the step.
func (s *Set) Process(b *record.Batch, _ time.Time) error {
	for j := range s.fields {
		s.fields[j].last = record.Span{}
	}
	for i := range b.NumRecords() {
		if b.Record(i).Flags&skip != 0 {
			continue
		}
		s.attrs.begin()
		s.cut.begin()
		for j := range s.fields {
			if s.one(b, i, &s.fields[j]) {
				s.cut.want(j)
			}
		}
		s.cut.body(b, i)
	}
	return nil
}

// one sets one field and reports whether it had a value.
func (s *Set) one(b *record.Batch, i int, f *setting) bool {
	s.val, s.spare = f.value.append(s.val[:0], s.spare, &s.attrs, b, i)
	if len(s.val) == 0 {
		return false
	}
	if f.name == "level" {
		if sev, ok := ParseLevel(s.val); ok {
			b.Record(i).Severity = sev
			b.RemoveField(i, f.name)
			return true
		}
	}
	if f.last.Len == 0 || string(b.Bytes(f.last)) != string(s.val) {
		f.last = b.Append(s.val)
	}
	// With the key table full the member of the body, if any, stays.
	return b.SetField(i, f.name, record.String, f.last)
}
