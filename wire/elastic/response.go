package elastic

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// Item is what the server says of one record.
type Item struct {
	// Status is the HTTP status of the item: 2xx stored, 409 a document with
	// this id was there already, 429 and 5xx try again, other 4xx refused.
	Status int
	// Type and Reason say why, as in "mapper_parsing_exception". Reason may
	// quote the record; it is cut at 512 bytes.
	Type, Reason string
}

// OK reports whether the record was stored.
func (i Item) OK() bool { return i.Status >= 200 && i.Status < 300 }

const (
	maxReason = 512
	maxDepth  = 64
)

var errShort = errors.New("answer ends early")

// ParseBulk reads the answer to a bulk request of n records. It returns nil if
// the server says of each of the n that it is stored, else the outcome of each,
// in the order of the request.
//
// Anything but a whole bulk answer about n items (a proxy's page, a cut body,
// another count) is an error: nothing is known of any record then. The server
// may be asked for less with
// ?filter_path=errors,items.*.status,items.*.error.
func ParseBulk(body []byte, n int) ([]Item, error) {
	p := parser{p: body}
	items, err := p.bulk(n)
	if err != nil {
		return nil, fmt.Errorf("elastic: bulk answer: %w", err)
	}
	return items, nil
}

// ParseError reads the answer to a request that failed as a whole, such as
// {"error":{"type":…,"reason":…},"status":403}. It returns the zero Item if
// the body is not such an answer.
func ParseError(body []byte) Item {
	p := parser{p: body}
	var it Item
	if err := p.item(&it, 0); err != nil || p.end() != nil || it.Type == "" && it.Reason == "" {
		return Item{}
	}
	return it
}

// parser reads JSON strictly from front to back. It allocates nothing but what
// it returns and stops at maxDepth.
type parser struct {
	p []byte
	i int
	s []byte // unescaped
}

func (p *parser) bulk(n int) (items []Item, err error) {
	seenItems, seenErrors, failed, found := false, false, false, 0
	err = p.object(0, func(name []byte) error {
		switch string(name) {
		case "errors":
			if seenErrors {
				return p.fail("errors stands twice")
			}
			seenErrors = true
			switch {
			case p.literal("true"):
				failed = true
			case p.literal("false"):
			default:
				return p.fail("errors is no boolean")
			}
			return nil
		case "items":
			if seenItems {
				return p.fail("items stands twice")
			}
			seenItems = true
			var it Item
			var text []byte // of it
			return p.array(1, func() error {
				// Nearly all items are alike: {"create":{"status":201}}.
				if len(text) > 0 && bytes.HasPrefix(p.p[p.i:], text) {
					p.i += len(text)
				} else {
					it = Item{}
					ops, from := 0, p.i
					err := p.object(2, func([]byte) error {
						ops++
						return p.item(&it, 3)
					})
					if err != nil {
						return err
					}
					if ops != 1 || it.Status < 100 || it.Status > 599 {
						return p.fail("an item is not an operation with a status")
					}
					text = p.p[from:p.i]
				}
				found++
				if found > n {
					return fmt.Errorf("more items than the %d records of the request", n)
				}
				if items == nil && !it.OK() {
					items = make([]Item, found-1, n)
					for k := range items {
						items[k].Status = 200
					}
				}
				if items != nil {
					items = append(items, it)
				}
				return nil
			})
		}
		return p.skip(1)
	})
	if err == nil {
		err = p.end()
	}
	switch {
	case err != nil:
		return nil, err
	case !seenItems || !seenErrors:
		return nil, errors.New("no answer of the bulk API")
	case found != n:
		return nil, fmt.Errorf("%d items for the %d records of the request", found, n)
	case failed && items == nil:
		return nil, errors.New("says that there were errors, but no item has one")
	}
	return items, nil
}

// item reads the object {"status":…,"error":…}.
func (p *parser) item(it *Item, depth int) error {
	return p.object(depth, func(name []byte) error {
		switch string(name) {
		case "status":
			n, err := p.status()
			it.Status = n
			return err
		case "error":
			switch p.peek() {
			case '"': // the servers of long ago, and some proxies
				s, err := p.str()
				it.Reason = cut(s)
				return err
			case '{':
				return p.reason(it, depth+1)
			}
		}
		return p.skip(depth + 1)
	})
}

// reason reads an error object. What caused it is often all that is of use:
// "failed to parse field" has the reason in caused_by.
func (p *parser) reason(it *Item, depth int) error {
	var typ, reason, cause string
	err := p.object(depth, func(name []byte) error {
		var to *string
		switch string(name) {
		case "type":
			to = &typ
		case "reason":
			to = &reason
		case "caused_by":
			if p.peek() == '{' && depth < 8 {
				var c Item
				err := p.reason(&c, depth+1)
				cause = c.Reason
				return err
			}
		}
		if to != nil && p.peek() == '"' {
			s, err := p.str()
			*to = cut(s)
			return err
		}
		return p.skip(depth + 1)
	})
	it.Type, it.Reason = typ, reason
	if cause != "" && cause != reason {
		it.Reason = cut([]byte(reason + ": " + cause))
	}
	return err
}

func cut(s []byte) string {
	if len(s) > maxReason {
		s = s[:maxReason]
		// Not within a character.
		for len(s) > 0 && s[len(s)-1] >= 0x80 && s[len(s)-1] < 0xc0 {
			s = s[:len(s)-1]
		}
		if len(s) > 0 && s[len(s)-1] >= 0xc0 {
			s = s[:len(s)-1]
		}
	}
	return string(s)
}

func (p *parser) fail(why string) error { return fmt.Errorf("%s, at byte %d", why, p.i) }

func (p *parser) space() {
	for p.i < len(p.p) {
		switch p.p[p.i] {
		case ' ', '\n', '\r', '\t':
			p.i++
		default:
			return
		}
	}
}

// peek returns the next byte that is not space, 0 at the end.
func (p *parser) peek() byte {
	p.space()
	if p.i < len(p.p) {
		return p.p[p.i]
	}
	return 0
}

func (p *parser) take(c byte) error {
	switch p.peek() {
	case c:
		p.i++
		return nil
	case 0:
		if p.i >= len(p.p) {
			return errShort
		}
	}
	return p.fail("not JSON")
}

func (p *parser) end() error {
	if p.peek() != 0 || p.i < len(p.p) {
		return p.fail("more after the end")
	}
	return nil
}

// object reads an object and calls member before each value; member must read
// it, and must not keep the name.
func (p *parser) object(depth int, member func(name []byte) error) error {
	if depth > maxDepth {
		return p.fail("nested too deeply")
	}
	if err := p.take('{'); err != nil {
		return err
	}
	if p.peek() == '}' {
		p.i++
		return nil
	}
	for {
		name, err := p.str()
		if err != nil {
			return err
		}
		if err := p.take(':'); err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
		if p.peek() == ',' {
			p.i++
			continue
		}
		return p.take('}')
	}
}

func (p *parser) array(depth int, value func() error) error {
	if depth > maxDepth {
		return p.fail("nested too deeply")
	}
	if err := p.take('['); err != nil {
		return err
	}
	if p.peek() == ']' {
		p.i++
		return nil
	}
	for {
		if err := value(); err != nil {
			return err
		}
		if p.peek() == ',' {
			p.i++
			continue
		}
		return p.take(']')
	}
}

// str reads a string; the result is valid until the next call.
func (p *parser) str() ([]byte, error) {
	if err := p.take('"'); err != nil {
		return nil, err
	}
	from, escaped := p.i, false
	for p.i < len(p.p) {
		switch c := p.p[p.i]; {
		case c == '"':
			s := p.p[from:p.i]
			p.i++
			if escaped {
				p.s = json.Unescape(p.s[:0], s)
				s = p.s
			}
			return s, nil
		case c == '\\':
			escaped = true
			p.i += 2
		case c < ' ':
			return nil, p.fail("control byte in a string")
		default:
			p.i++
		}
	}
	return nil, errShort
}

func (p *parser) literal(word string) bool {
	p.space()
	if len(p.p)-p.i >= len(word) && string(p.p[p.i:p.i+len(word)]) == word {
		p.i += len(word)
		return true
	}
	return false
}

// status reads a number of three digits.
func (p *parser) status() (int, error) {
	p.space()
	n, from := 0, p.i
	for p.i < len(p.p) && p.i-from < 4 && p.p[p.i]-'0' <= 9 {
		n = n*10 + int(p.p[p.i]-'0')
		p.i++
	}
	if p.i-from != 3 {
		return 0, p.fail("status is no HTTP status")
	}
	return n, nil
}

// skip reads any value.
func (p *parser) skip(depth int) error {
	switch c := p.peek(); c {
	case '{':
		return p.object(depth, func([]byte) error { return p.skip(depth + 1) })
	case '[':
		return p.array(depth, func() error { return p.skip(depth + 1) })
	case '"':
		_, err := p.str()
		return err
	case 0:
		return errShort
	case 't', 'f', 'n':
		if p.literal("true") || p.literal("false") || p.literal("null") {
			return nil
		}
	default:
		from := p.i
		for p.i < len(p.p) {
			switch c := p.p[p.i]; {
			case c-'0' <= 9, c == '-', c == '+', c == '.', c|0x20 == 'e':
				p.i++
				continue
			}
			break
		}
		if wire.IsNumber(p.p[from:p.i]) {
			return nil
		}
	}
	return p.fail("not JSON")
}
