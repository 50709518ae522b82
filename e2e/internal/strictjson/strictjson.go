// Package strictjson checks a JSON text by RFC 8259 with nothing forgiven: one
// value, valid UTF-8, no duplicate member names in any object, escapes and
// surrogate pairs in order, bounded depth. It hands out the members it saw.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxDepth is how deep objects and arrays may nest.
const MaxDepth = 200

// ErrUTF8 and ErrDuplicate are wrapped by the errors of Parse.
var (
	ErrUTF8      = errors.New("invalid UTF-8")
	ErrDuplicate = errors.New("duplicate field")
)

// Kind is the kind of a value.
type Kind byte

// The kinds of values.
const (
	Object Kind = '{'
	Array  Kind = '['
	String Kind = '"'
	Number Kind = '0'
	Bool   Kind = 't'
	Null   Kind = 'n'
)

// Member is a member of an object somewhere in the document, in the order in
// which the members end.
type Member struct {
	Key    []byte // decoded
	Value  []byte // raw
	Kind   Kind
	Depth  int // 1 for members of the outermost object
	Object int // which object of the document, numbered as they begin from 1
}

// Doc is what Parse found. It may be used again for the next document.
type Doc struct {
	Members []Member
	objects int
	data    []byte
	pos     int
	depth   int
}

// Parse checks data and fills d. Members' slices point into data, or into
// memory of their own where a key had escapes.
func (d *Doc) Parse(data []byte) error {
	d.Members, d.objects, d.data, d.pos, d.depth = d.Members[:0], 0, data, 0, 0
	d.space()
	if _, err := d.value(); err != nil {
		return err
	}
	d.space()
	if d.pos != len(data) {
		return d.errorf("more data after the value")
	}
	return nil
}

// Objects returns how many objects the document has.
func (d *Doc) Objects() int { return d.objects }

// Find returns the member of the outermost object with that key.
func (d *Doc) Find(key string) (Member, bool) {
	for _, m := range d.Members {
		if m.Depth == 1 && string(m.Key) == key {
			return m, true
		}
	}
	return Member{}, false
}

// Text decodes the string value of m.
func (m Member) Text() []byte {
	s, _ := Unquote(m.Value)
	return s
}

// Unquote decodes a raw string that has passed Parse.
func Unquote(raw []byte) ([]byte, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return nil, false
	}
	in := raw[1 : len(raw)-1]
	if bytes.IndexByte(in, '\\') < 0 {
		return in, true
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil, false
	}
	return []byte(s), true
}

func (d *Doc) errorf(format string, args ...any) error {
	return fmt.Errorf("at byte %d: %w", d.pos, fmt.Errorf(format, args...))
}

func (d *Doc) space() {
	for d.pos < len(d.data) {
		switch d.data[d.pos] {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return
		}
	}
}

func (d *Doc) peek() byte {
	if d.pos < len(d.data) {
		return d.data[d.pos]
	}
	return 0
}

func (d *Doc) value() (Kind, error) {
	switch c := d.peek(); {
	case c == '{':
		return Object, d.object()
	case c == '[':
		return Array, d.array()
	case c == '"':
		return String, d.str()
	case c == '-' || c >= '0' && c <= '9':
		return Number, d.number()
	case c == 't':
		return Bool, d.word("true")
	case c == 'f':
		return Bool, d.word("false")
	case c == 'n':
		return Null, d.word("null")
	}
	return 0, d.errorf("a value is missing")
}

func (d *Doc) word(w string) error {
	if !bytes.HasPrefix(d.data[d.pos:], []byte(w)) {
		return d.errorf("unknown word")
	}
	d.pos += len(w)
	return nil
}

func (d *Doc) enter() error {
	if d.depth++; d.depth > MaxDepth {
		return d.errorf("nested deeper than %d", MaxDepth)
	}
	d.pos++
	d.space()
	return nil
}

func (d *Doc) object() error {
	if err := d.enter(); err != nil {
		return err
	}
	d.objects++
	me, depth := d.objects, d.depth
	defer func() { d.depth-- }()
	if d.peek() == '}' {
		d.pos++
		return nil
	}
	var first [24][]byte
	names := first[:0]
	var set map[string]bool
	for {
		if d.peek() != '"' {
			return d.errorf("a member name is missing")
		}
		start := d.pos
		if err := d.str(); err != nil {
			return err
		}
		key, ok := Unquote(d.data[start:d.pos])
		if !ok {
			return d.errorf("bad member name")
		}
		if set == nil {
			for _, n := range names {
				if bytes.Equal(n, key) {
					return d.errorf("%w %q", ErrDuplicate, key)
				}
			}
			if names = append(names, key); len(names) > len(first) {
				set = make(map[string]bool)
				for _, n := range names {
					set[string(n)] = true
				}
			}
		} else {
			if set[string(key)] {
				return d.errorf("%w %q", ErrDuplicate, key)
			}
			set[string(key)] = true
		}
		d.space()
		if d.peek() != ':' {
			return d.errorf("a colon is missing")
		}
		d.pos++
		d.space()
		start = d.pos
		kind, err := d.value()
		if err != nil {
			return err
		}
		d.Members = append(d.Members, Member{Key: key, Value: d.data[start:d.pos], Kind: kind, Depth: depth, Object: me})
		d.space()
		switch d.peek() {
		case ',':
			d.pos++
			d.space()
		case '}':
			d.pos++
			return nil
		default:
			return d.errorf("neither comma nor end of object")
		}
	}
}

func (d *Doc) array() error {
	if err := d.enter(); err != nil {
		return err
	}
	defer func() { d.depth-- }()
	if d.peek() == ']' {
		d.pos++
		return nil
	}
	for {
		if _, err := d.value(); err != nil {
			return err
		}
		d.space()
		switch d.peek() {
		case ',':
			d.pos++
			d.space()
		case ']':
			d.pos++
			return nil
		default:
			return d.errorf("neither comma nor end of array")
		}
	}
}

func (d *Doc) number() error {
	digits := func() bool {
		start := d.pos
		for c := d.peek(); c >= '0' && c <= '9'; c = d.peek() {
			d.pos++
		}
		return d.pos > start
	}
	if d.peek() == '-' {
		d.pos++
	}
	if d.peek() == '0' {
		d.pos++
	} else if !digits() {
		return d.errorf("bad number")
	}
	if d.peek() == '.' {
		d.pos++
		if !digits() {
			return d.errorf("bad number")
		}
	}
	if c := d.peek(); c == 'e' || c == 'E' {
		d.pos++
		if c := d.peek(); c == '+' || c == '-' {
			d.pos++
		}
		if !digits() {
			return d.errorf("bad number")
		}
	}
	return nil
}

func (d *Doc) str() error {
	start := d.pos + 1
	d.pos++
	ascii := true
	for d.pos < len(d.data) {
		switch c := d.data[d.pos]; {
		case c == '"':
			if !ascii && !utf8.Valid(d.data[start:d.pos]) {
				return d.errorf("%w in a string", ErrUTF8)
			}
			d.pos++
			return nil
		case c < 0x20:
			return d.errorf("control byte %#x in a string", c)
		case c == '\\':
			if err := d.escape(); err != nil {
				return err
			}
		default:
			ascii = ascii && c < 0x80
			d.pos++
		}
	}
	return d.errorf("a string has no end")
}

func (d *Doc) escape() error {
	d.pos++
	c := d.peek()
	if c != 'u' {
		if bytes.IndexByte([]byte(`"\/bfnrt`), c) < 0 || c == 0 {
			return d.errorf("bad escape")
		}
		d.pos++
		return nil
	}
	hi, ok := d.hex4()
	if !ok {
		return d.errorf("bad escape")
	}
	switch {
	case hi >= 0xdc00 && hi <= 0xdfff:
		return d.errorf("lone low surrogate")
	case hi >= 0xd800 && hi <= 0xdbff:
		if d.peek() != '\\' || d.pos+1 >= len(d.data) || d.data[d.pos+1] != 'u' {
			return d.errorf("lone high surrogate")
		}
		d.pos++
		if lo, ok := d.hex4(); !ok || lo < 0xdc00 || lo > 0xdfff {
			return d.errorf("lone high surrogate")
		}
	}
	return nil
}

// hex4 reads uXXXX.
func (d *Doc) hex4() (v int, ok bool) {
	if d.pos+5 > len(d.data) {
		return 0, false
	}
	for _, c := range d.data[d.pos+1 : d.pos+5] {
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | int(c-'0')
		case c >= 'a' && c <= 'f':
			v = v<<4 | int(c-'a'+10)
		case c >= 'A' && c <= 'F':
			v = v<<4 | int(c-'A'+10)
		default:
			return 0, false
		}
	}
	d.pos += 5
	return v, true
}
