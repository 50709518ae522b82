package stage

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// Remove takes fields away from records, and members of the same names from
// the top of bodies that a Parse before it found to be JSON objects. What a record's stream says (namespace, pod …) stays:
// it is shared by all records of a container.
type Remove struct {
	fields []string
	cut    cutter
}

// NewRemove returns the step for fields of those names.
func NewRemove(names []string) (*Remove, error) {
	s := &Remove{fields: slices.Clone(names)}
	for _, name := range names {
		if err := checkName(name); err != nil {
			return nil, fmt.Errorf("remove %q: %w", name, err)
		}
	}
	if len(names) == 0 {
		return nil, errors.New("remove: no names")
	}
	s.cut.names(s.fields)
	return s, nil
}

// Process implements the step.
func (s *Remove) Process(b *record.Batch, _ time.Time) error {
	for i := range b.NumRecords() {
		if b.Record(i).Flags&skip != 0 {
			continue
		}
		s.cut.begin()
		for j, name := range s.fields {
			b.RemoveField(i, name)
			s.cut.want(j)
		}
		s.cut.body(b, i)
	}
	return nil
}

// cutter cuts members out of JSON bodies by name.
type cutter struct {
	cuts   []cut
	wanted bool
	// known is the set of wanted well-known names; other says that some wanted
	// name is not well known, so that only a scan tells whether it is there.
	known uint64
	other bool
	scan  json.Scanner
	name  []byte
}

type cut struct {
	name   string
	mask   uint64 // the bit of a well-known name, else 0
	wanted bool
}

func (c *cutter) names(names []string) {
	for _, name := range names {
		mask, _ := json.KnownMask(name)
		c.cuts = append(c.cuts, cut{name: name, mask: mask})
	}
}

// begin forgets what was wanted of the record before.
func (c *cutter) begin() {
	c.wanted, c.known, c.other = false, 0, false
	for j := range c.cuts {
		c.cuts[j].wanted = false
	}
}

// want asks for the name of that index to be cut.
func (c *cutter) want(j int) {
	x := &c.cuts[j]
	x.wanted, c.wanted = true, true
	c.known |= x.mask
	c.other = c.other || x.mask == 0
}

// body cuts the wanted members out of the body of record i if it is a JSON
// object that has any.
func (c *cutter) body(b *record.Batch, i int) {
	r := b.Record(i)
	if !c.wanted || !r.Flags.Has(record.JSONObject) || !c.other && r.KnownKeys&c.known == 0 {
		return
	}
	body := b.Bytes(r.Body)
	if !c.scan.Object(body) {
		return // not what the flag says; somebody else's bug, and no reason to lose the record
	}
	found := false
	for j := range c.scan.Members {
		if c.has(body, &c.scan.Members[j]) {
			found = true
			break
		}
	}
	if !found {
		return
	}
	// body keeps pointing to the old memory should the buffer grow.
	span := b.Append(body[:1])
	known, first := uint64(0), true
	for j := range c.scan.Members {
		m := &c.scan.Members[j]
		if c.has(body, m) {
			continue
		}
		if !first {
			span.Len += b.AppendString(",").Len
		}
		first = false
		known |= 1 << m.Bit
		raw := m.Raw()
		span.Len += b.Append(body[m.Start():raw.End()]).Len
	}
	span.Len += b.AppendString("}").Len
	r = b.Record(i)
	r.Body, r.KnownKeys = span, known
}

// has reports whether the member's name is wanted.
func (c *cutter) has(body []byte, m *json.Member) bool {
	if m.Bit != json.NoBit {
		return c.known&(1<<m.Bit) != 0
	}
	if !c.other {
		return false
	}
	key := body[m.Key.Off:m.Key.End()]
	if m.Escaped {
		c.name = json.Unescape(c.name[:0], key)
		key = c.name
	}
	for j := range c.cuts {
		if c.cuts[j].wanted && c.cuts[j].mask == 0 && c.cuts[j].name == string(key) {
			return true
		}
	}
	return false
}
