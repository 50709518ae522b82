package line

import (
	"bytes"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

const (
	blockIndent   = "    "
	headingIndent = "  "
)

// appendLine appends what stands behind the names: the message, its pieces, and
// what has several rows.
func (p *Painter) appendLine(dst []byte, it *Item, sev record.Severity) []byte {
	l := &p.line
	message := l.message
	start := len(dst)
	if n := 0; !l.structured {
		if n = p.said(message, sev); n > 0 {
			message = message[n:]
		} else if n = stampLen(message); n > 0 && p.style.Color {
			dst = append(dst, dim...)
			dst = AppendPlain(dst, message[:n])
			dst = append(dst, reset...)
			message = message[n:]
		}
	}
	if l.structured {
		message = bytes.TrimRight(message, "\r\n")
	}
	dst = p.appendText(dst, message, "")
	w := fieldWriter{p: p, dst: dst, first: len(dst) == start, bare: len(message) == 0}
	blocks := false
	if len(p.style.Fields) > 0 {
		blocks = p.chosen(&w, it)
	} else {
		for i := range l.pieces {
			pc := &l.pieces[i]
			if pc.hidden || pc.severity != 0 && levelIndex(pc.severity) == levelIndex(sev) && usualLevel(pc.val) ||
				pc.number && l.severity != 0 ||
				pc.kind == text && it.Who != nil && len(pc.val) > 0 && string(pc.val) == it.Who.pod && (string(pc.key) == "hostname" || string(pc.key) == "host" || string(pc.key) == "pod") {
				pc.hidden = true
				continue
			}
			if isBlock(pc) {
				blocks = true
				continue
			}
			w.add(pc)
		}
		for i := range it.Pairs {
			if pair := &it.Pairs[i]; !l.says(pair.Key, pair.Val) {
				pc := piece{key: bytesOf(pair.Key), val: pair.Val}
				if isBlock(&pc) {
					l.pieces = append(l.pieces, pc)
					blocks = true
					continue
				}
				w.add(&pc)
			}
		}
	}
	w.close()
	dst = w.dst
	if !blocks {
		return dst
	}
	for i := range l.pieces {
		if pc := &l.pieces[i]; !pc.hidden && isBlock(pc) {
			dst = p.appendBlock(dst, pc)
		}
	}
	return dst
}

// says reports whether a line has a key with that value; numbers and objects may
// be written in other ways.
func (l *parsed) says(key string, val []byte) bool {
	for i := range l.pieces {
		if pc := &l.pieces[i]; string(pc.key) == key && pc.parent == nil && (pc.kind != text || bytes.Equal(pc.val, val)) {
			return true
		}
	}
	return false
}

// isBlock reports whether a value has several rows.
func isBlock(pc *piece) bool {
	if pc.kind != text {
		return false
	}
	i := bytes.IndexByte(pc.val, '\n')
	return i >= 0 && len(bytes.TrimSpace(pc.val)) > i
}

// appendBlock appends the rows of a value.
func (p *Painter) appendBlock(dst []byte, pc *piece) []byte {
	if !isStack(pc.key) {
		dst = append(append(append(dst, '\n'), p.cont...), headingIndent...)
		if p.style.Color {
			dst = append(dst, dim...)
		}
		dst = append(appendKey(dst, pc), ':')
		if p.style.Color {
			dst = append(dst, reset...)
		}
	}
	for row := range bytes.Lines(bytes.TrimRight(pc.val, " \t\r\n")) {
		row = bytes.TrimRight(row, "\r\n")
		dst = append(append(append(dst, '\n'), p.cont...), blockIndent...)
		for len(row) > 0 && row[0] == '\t' {
			dst = append(dst, blockIndent...)
			row = row[1:]
		}
		dst = p.appendText(dst, row, blockIndent)
	}
	return dst
}

// fieldWriter writes pieces behind a message.
type fieldWriter struct {
	p     *Painter
	dst   []byte
	first bool // nothing stands before
	bare  bool // the message says nothing: values are what there is to read
	dim   bool
}

func (w *fieldWriter) add(pc *piece) {
	if !w.first {
		w.dst = append(w.dst, ' ')
	}
	w.first = false
	if !w.p.style.Color {
		w.dst = append(appendKey(w.dst, pc), '=')
		w.dst = w.p.appendValue(w.dst, pc)
		return
	}
	failed := isError(pc.key) || pc.parent != nil && isError(pc.parent)
	if failed && w.dim {
		w.close()
	}
	if failed {
		w.dst = appendColor(w.dst, levelColors[5])
	} else if !w.dim {
		w.dst = append(w.dst, dim...)
		w.dim = true
	}
	w.dst = append(appendKey(w.dst, pc), '=')
	if failed || w.bare {
		w.dst = append(w.dst, reset...)
		w.dim = false
	}
	w.dst = w.p.appendValue(w.dst, pc)
}

func (w *fieldWriter) close() {
	if w.dim {
		w.dst = append(w.dst, reset...)
		w.dim = false
	}
}

func appendKey(dst []byte, pc *piece) []byte {
	if pc.parent != nil && string(pc.parent) != "fields" {
		dst = append(AppendPlain(dst, pc.parent), '.')
	}
	for _, c := range pc.key {
		if c == ' ' || c == '"' || c == '=' { // it would look like other keys and values
			return appendQuoted(dst, pc.key)
		}
	}
	if len(pc.key) == 0 {
		return append(dst, `""`...)
	}
	return AppendPlain(dst, pc.key)
}

// appendValue appends a value in one row, in quotes where it has spaces.
func (p *Painter) appendValue(dst []byte, pc *piece) []byte {
	switch {
	case pc.kind == scalar:
		return append(dst, pc.val...)
	case pc.kind == nested:
		return AppendPlain(dst, p.compact(pc.val))
	}
	val := pc.val
	for len(val) > 0 && (val[len(val)-1] == '\n' || val[len(val)-1] == '\r') {
		val = val[:len(val)-1]
	}
	quote := len(val) == 0
	for _, c := range val {
		if c <= ' ' || c == '"' {
			quote = true
			break
		}
	}
	if !quote {
		return AppendPlain(dst, val)
	}
	return appendQuoted(dst, val)
}

func appendQuoted(dst, val []byte) []byte {
	dst = append(dst, '"')
	for {
		i := bytes.IndexByte(val, '"')
		if i < 0 {
			break
		}
		dst = append(AppendPlain(dst, val[:i]), `\"`...)
		val = val[i+1:]
	}
	return append(AppendPlain(dst, val), '"')
}

// compact returns an object or array without the white space between its
// tokens, valid until the next call.
func (p *Painter) compact(val []byte) []byte {
	if bytes.IndexByte(val, ' ') < 0 && bytes.IndexByte(val, '\n') < 0 && bytes.IndexByte(val, '\t') < 0 {
		return val
	}
	p.more = p.more[:0]
	inside := false
	for i := 0; i < len(val); i++ {
		c := val[i]
		switch {
		case c == '"':
			inside = !inside
		case c == '\\' && i+1 < len(val):
			p.more = append(p.more, c)
			i++
			c = val[i]
		case c <= ' ' && !inside:
			continue
		}
		p.more = append(p.more, c)
	}
	return p.more
}

// appendText appends text that may have several rows and the program's colours.
// indent stands before its further rows.
func (p *Painter) appendText(dst, text []byte, indent string) []byte {
	open := false
	from := 0
	for i := 0; i < len(text); {
		if n := plain(text[i:]); n > 0 {
			i += n
			continue
		}
		dst = append(dst, text[from:i]...)
		n := 1
		switch c := text[i]; {
		case c == '\n':
			if open {
				dst = append(dst, reset...)
				open = false
			}
			dst = append(append(append(dst, '\n'), p.cont...), indent...)
		case c == '\r' && (i+1 == len(text) || text[i+1] == '\n'):
		case c == 0x1b:
			if n = sgrLen(text[i:]); n == 0 {
				dst, n = appendEscape(dst, text[i:])
			} else if p.style.Color {
				dst, open = appendSGR(dst, text[i:i+n], open)
			}
		default:
			dst, n = appendEscape(dst, text[i:])
		}
		i += n
		from = i
	}
	dst = append(dst, text[from:]...)
	if open {
		dst = append(dst, reset...)
	}
	return dst
}

// chosen adds the fields that the style names, and reports whether some have
// several rows.
func (p *Painter) chosen(w *fieldWriter, it *Item) (blocks bool) {
	l := &p.line
	for i := range l.pieces {
		l.pieces[i].hidden = true
	}
	for _, name := range p.style.Fields {
		pc, found := p.find(bytesOf(name))
		if !found {
			for i := range it.Pairs {
				if it.Pairs[i].Key == name {
					pc, found = &piece{key: bytesOf(name), val: it.Pairs[i].Val}, true
				}
			}
		}
		if !found && it.Get != nil {
			if v := it.Get(name); v != "" {
				pc, found = &piece{key: bytesOf(name), val: bytesOf(v)}, true
			}
		}
		switch {
		case !found:
		case isBlock(pc):
			blocks = true
			pc.hidden = false
			if !l.holds(pc) {
				l.pieces = append(l.pieces, *pc)
			}
		default:
			w.add(pc)
		}
	}
	return blocks
}

func (l *parsed) holds(pc *piece) bool {
	for i := range l.pieces {
		if &l.pieces[i] == pc {
			return true
		}
	}
	return false
}

// find returns the piece of that name; dots go into objects.
func (p *Painter) find(name []byte) (*piece, bool) {
	l := &p.line
	for i := range l.pieces {
		pc := &l.pieces[i]
		if pc.parent == nil && bytes.Equal(pc.key, name) ||
			pc.parent != nil && len(name) == len(pc.parent)+1+len(pc.key) && bytes.HasPrefix(name, pc.parent) && name[len(pc.parent)] == '.' && bytes.HasSuffix(name, pc.key) {
			return pc, true
		}
		if pc.kind != nested || pc.parent != nil || len(name) <= len(pc.key) || name[len(pc.key)] != '.' || !bytes.HasPrefix(name, pc.key) {
			continue
		}
		if val, kind, ok := p.descend(pc.val, name[len(pc.key)+1:]); ok {
			return &piece{key: name, val: val, kind: kind}, true
		}
	}
	return nil, false
}

// descend looks for a path in an object.
func (p *Painter) descend(object, path []byte) (val []byte, kind pieceKind, ok bool) {
	var r json.Reader
	r.Reset(object)
	if r.Kind() != '{' {
		return nil, 0, false
	}
	r.Enter('{')
	for {
		name, _, more := r.Name()
		if !more {
			return nil, 0, false
		}
		key := object[name.Off:name.End()]
		deeper := len(path) > len(key) && path[len(key)] == '.' && bytes.HasPrefix(path, key)
		if !deeper && !bytes.Equal(path, key) {
			r.Skip()
			continue
		}
		if !deeper && r.Kind() == '"' {
			s, esc, ok := r.String()
			val := object[s.Off:s.End()]
			if esc {
				val = p.unescape(val)
			}
			return val, text, ok
		}
		kind = scalar
		if k := r.Kind(); k == '{' || k == '[' {
			kind = nested
		}
		s, ok := r.Skip()
		if !ok {
			return nil, 0, false
		}
		val := object[s.Off:s.End()]
		if !deeper {
			return val, kind, true
		}
		if val, kind, ok := p.descend(val, path[len(key)+1:]); ok {
			return val, kind, true
		}
	}
}
