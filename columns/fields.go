package columns

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go/format"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// Promotion: members of JSON bodies that many rows have, with few values, get
// columns. What such a column says must be exactly what parsing the body would,
// so whatever is in doubt is not promoted: names that are no label names, or that
// another member's name becomes when it is made one; members that are objects or
// arrays somewhere; and blocks with rows that begin like an object and are none
// by the scanner's strict rules are marked Odd, for their bodies to be read.
const (
	maxFields      = 64
	maxFieldValues = 1000
	maxFieldText   = 256
	minFieldShare  = 20 // a twentieth of the rows
	maxCandidates  = 1024
)

type candidate struct {
	name   string
	dead   bool
	values dict
	rows   []uint32
	refs   []uint16
}

type promoter struct {
	scan       json.Scanner
	attrs      AttrReader
	object     []byte // one bit per row
	all        []*candidate
	byName     map[string]*candidate
	hints      []*candidate // of the last object's members
	taken      map[string]struct{}
	prefix     map[string]struct{}
	hopelessly bool
	text       []byte
}

func (p *promoter) reset() {
	p.object = p.object[:0]
	p.all, p.hints, p.hopelessly = nil, p.hints[:0], false
	p.byName, p.taken, p.prefix = map[string]*candidate{}, map[string]struct{}{}, map[string]struct{}{}
}

// add looks at a row's body. It reports whether the row is odd.
func (p *promoter) add(row uint32, body []byte) (odd bool) {
	if row&7 == 0 {
		p.object = append(p.object, 0)
	}
	i := 0
	for i < len(body) && (body[i] == ' ' || body[i] == '\t' || body[i] == '\n' || body[i] == '\r') {
		i++
	}
	if i == len(body) || body[i] != '{' {
		return false
	}
	if !p.scan.Object(body) {
		return true
	}
	p.object[row>>3] |= 1 << (row & 7)
	if p.hopelessly {
		return false
	}
	for i := range p.scan.Members {
		m := &p.scan.Members[i]
		key := body[m.Key.Off:m.Key.End()]
		var c *candidate
		if i < len(p.hints) && p.hints[i] != nil && p.hints[i].name == string(key) {
			c = p.hints[i]
		} else {
			c = p.find(key, m.Escaped)
			for len(p.hints) <= i {
				p.hints = append(p.hints, nil)
			}
			p.hints[i] = c
		}
		if m.Kind == record.JSON {
			p.nested(key, m, body, c)
			continue
		}
		if c == nil || c.dead || m.Kind == record.Null || m.Val.Len == 0 {
			continue
		}
		p.value(c, row, body[m.Val.Off:m.Val.End()], m.ValEscaped)
	}
	return false
}

func (p *promoter) value(c *candidate, row uint32, v []byte, escaped bool) {
	if escaped {
		p.text = json.Unescape(p.text[:0], v)
		v = p.text
	}
	ref, ok := c.values.index[string(v)]
	if !ok {
		if c.values.n == maxFieldValues || len(v) > maxFieldText {
			c.kill()
			return
		}
		ref = c.values.new(bytes.Clone(v))
	}
	c.rows = append(c.rows, row)
	c.refs = append(c.refs, uint16(ref))
}

func (c *candidate) kill() {
	if c != nil {
		*c = candidate{name: c.name, dead: true}
	}
}

// find returns the candidate of that name, nil if it cannot be one.
func (p *promoter) find(key []byte, escaped bool) *candidate {
	if escaped || !isLabelName(key) {
		name := key
		if escaped {
			p.text = json.Unescape(p.text[:0], key)
			name = p.text
		}
		p.take(p.taken, labelName(string(name)))
		return nil
	}
	if c := p.byName[string(key)]; c != nil {
		return c
	}
	if len(p.all) == maxCandidates {
		return nil // its name is its own and collides with nothing
	}
	c := &candidate{name: string(key)}
	c.values.reset()
	p.byName[c.name] = c
	p.all = append(p.all, c)
	return c
}

func (p *promoter) take(set map[string]struct{}, name string) {
	if _, ok := set[name]; ok {
		return
	}
	if len(set) == maxCandidates {
		p.hopelessly = true
		return
	}
	set[name] = struct{}{}
}

// nested notes an object, whose members' names begin with its own, or an array.
func (p *promoter) nested(key []byte, m *json.Member, body []byte, c *candidate) {
	c.kill()
	if body[m.Val.Off] != '{' {
		return
	}
	if m.Escaped {
		p.text = json.Unescape(p.text[:0], key)
		key = p.text
	}
	if _, ok := p.prefix[string(key)]; !ok {
		p.take(p.prefix, string(key))
	}
}

// chosen returns what is to be promoted, most frequent first.
func (p *promoter) chosen(rows uint32) []*candidate {
	if p.hopelessly {
		return nil
	}
	var prefixes []string
	for k := range p.prefix {
		prefixes = append(prefixes, labelName(k)+"_")
	}
	var out []*candidate
	for _, c := range p.all {
		_, taken := p.taken[c.name]
		if c.dead || taken || uint32(len(c.rows)) <= rows/minFieldShare || len(c.rows) == 0 {
			continue
		}
		if slices.ContainsFunc(prefixes, func(pre string) bool { return strings.HasPrefix(c.name, pre) }) {
			continue
		}
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(a, b *candidate) int { return cmp.Compare(len(b.rows), len(a.rows)) })
	return out[:min(len(out), maxFields)]
}

func isLabelName(key []byte) bool {
	for i, c := range key {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return len(key) > 0
}

func labelName(s string) string {
	s = record.SanitizeName(s)
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		s = "_" + s
	}
	return s
}

// jsonPages makes the pages of body_is_json.
func (w *Writer) jsonPages() error {
	for i := range w.x.Spans {
		s := &w.x.Spans[i]
		w.tmp = w.tmp[:0]
		for j := range s.Rows {
			if j&7 == 0 {
				w.tmp = append(w.tmp, 0)
			}
			row := s.Row + j
			w.tmp[j>>3] |= w.fields.object[row>>3] >> (row & 7) & 1 << (j & 7)
		}
		var err error
		if s.JSON, err = w.json.page(&w.pages, w.tmp, len(w.tmp), int(s.Rows), format.Plain, false, w.json.keep); err != nil {
			return err
		}
	}
	return nil
}

// fieldChunks makes the columns of promoted fields.
func (w *Writer) fieldChunks() ([]*chunk, error) {
	x := w.x
	var out []*chunk
	var levels []byte
	var refs []int32
	chosen := w.fields.chosen(x.Rows)
	for i := range x.Spans {
		x.Spans[i].Fields = make([]Page, len(chosen))
	}
	for n, f := range chosen {
		c := &chunk{name: "json." + f.name, typ: format.ByteArray, logical: &format.StringType{}, optional: true,
			nulls: int64(x.Rows) - int64(len(f.rows)), dict: -1, data: -1, roles: role{Role: "field", Name: f.name}}
		p, err := c.page(&w.pages, f.values.plain, len(f.values.plain), f.values.n, format.Plain, true, c.keep)
		if err != nil {
			return nil, err
		}
		x.Fields = append(x.Fields, Field{Name: f.name, Values: uint32(f.values.n), Dict: p})
		k := 0
		for i := range x.Spans {
			s := &x.Spans[i]
			levels, refs = slices.Grow(levels[:0], int(s.Rows))[:s.Rows], refs[:0]
			clear(levels)
			for ; k < len(f.rows) && f.rows[k] < s.Row+s.Rows; k++ {
				levels[f.rows[k]-s.Row] = 1
				refs = append(refs, int32(f.refs[k]))
			}
			w.tmp = appendLevels(w.tmp[:0], &w.tmp2, levels)
			w.tmp = appendIndexes(w.tmp, &w.tmp2, refs, f.values.n)
			if s.Fields[n], err = c.page(&w.pages, w.tmp, len(w.tmp), int(s.Rows), format.RLEDictionary, false, c.keep); err != nil {
				return nil, err
			}
		}
		out = append(out, c)
	}
	return out, nil
}
