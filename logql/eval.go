package logql

import (
	"strconv"
	"unsafe"

	"github.com/weirlog/weir/wire/json"
)

// view returns the bytes as a string without copying. They must not change
// while it is used; here that is the time of one Match.
func view(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }

// test is a compiled comparison of a name's value.
type test struct {
	name    string
	level   bool
	isKnown bool  // name is one of wire/json's well-known names …
	known   uint8 // … with this bit
	leaf    int

	op   op
	text string
	re   *pattern
	ips  *ips
	num  number
	isNo bool // num is meant
}

func newTest(e *labelExpr) (*test, error) {
	t := &test{
		name: e.name, op: e.op, text: e.text, num: e.num, isNo: e.isNum, leaf: e.leaf,
		level: e.name == "level" || e.name == "detected_level",
	}
	t.known, t.isKnown = json.Known([]byte(e.name))
	for i := range len(e.name) {
		if e.name[i] == '_' { // it may also stand for trace.id
			t.isKnown = false
		}
	}
	if e.ip {
		var err error
		if t.ips, err = parseIPs(e.text); err != nil {
			return nil, errorAt(e.pos, "%v", err)
		}
	}
	if e.op == opRe || e.op == opNre {
		var err error
		if t.re, err = newPattern(e.text, true, e.pos); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *test) eval(r *lookup) bool {
	if t.leaf < 64 && r.v.known&(1<<t.leaf) != 0 {
		return r.v.value&(1<<t.leaf) != 0
	}
	if t.leaf >= 64 {
		if s := r.v.stream; s != nil {
			if v := s.Get(t.name); v != "" {
				return t.match(v)
			}
		}
	}
	return t.match(r.value(t))
}

// match compares a value.
func (t *test) match(v string) bool {
	if t.isNo {
		x, ok := t.convert(v)
		return ok && t.compare(x)
	}
	if t.ips != nil {
		return t.ips.matchLine([]byte(v)) == (t.op == opEq)
	}
	switch t.op {
	case opEq:
		return v == t.text
	case opNeq:
		return v != t.text
	case opRe:
		return t.re.match(v)
	default: // opNre
		return !t.re.match(v)
	}
}

func (t *test) compare(x float64) bool {
	y := t.num.value
	switch t.op {
	case opEq:
		return x == y
	case opNeq:
		return x != y
	case opGt:
		return x > y
	case opGe:
		return x >= y
	case opLt:
		return x < y
	default: // opLe
		return x <= y
	}
}

// convert reads a value as what the comparison is about. A plain number is
// fine for a size (bytes), but not for a duration, whose unit is unknown.
func (t *test) convert(v string) (float64, bool) {
	if v == "" {
		return 0, false
	}
	switch c := v[0]; {
	case isDigit(c), c == '-', c == '+', c == '.':
	case t.num.unit == plain && (c|0x20 == 'i' || c|0x20 == 'n'): // Inf, NaN
	default:
		return 0, false
	}
	if t.num.unit == plain || t.num.unit == size {
		if len(v) <= 15 { // digits only: exact, and no error to allocate
			n := 0
			for i := 0; ; i++ {
				if i == len(v) {
					return float64(n), true
				}
				if !isDigit(v[i]) {
					break
				}
				n = n*10 + int(v[i]-'0')
			}
		}
	}
	if t.num.unit == plain {
		x, err := strconv.ParseFloat(v, 64)
		return x, err == nil
	}
	if t.num.unit == size {
		return parseSize(v)
	}
	return parseDuration(v)
}
