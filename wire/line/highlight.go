package line

import (
	"bytes"
	"regexp"
)

// marker marks what matches in rows that are painted already.
type marker struct {
	highlight, include []*regexp.Regexp

	row    []byte // as it was
	plain  []byte // without colours
	offset []int  // of each byte of plain in row
	style  []byte // of each byte of plain: 0, 'i' or 'h'
	state  []byte // the colours that are on
}

const (
	highlightOn = "\x1b[0;7m"            // the other way round
	includeOn   = "\x1b[0;1;4;38;5;196m" // as grep, and underlined
)

// maxState bounds, in bytes, the colours that are taken up again behind each match:
// a line may change them without end.
const maxState = 64

// apply marks the rows of dst from that offset on. Behind the first, skip bytes
// of each row are a prefix.
func (m *marker) apply(dst []byte, from, skip int) []byte {
	m.row = append(m.row[:0], dst[from:]...)
	dst = dst[:from]
	for i, row := 0, m.row; ; i++ {
		end := bytes.IndexByte(row, '\n')
		one := row
		if end >= 0 {
			one = row[:end]
		}
		if i > 0 {
			dst = append(dst, one[:skip]...)
			one = one[skip:]
		}
		dst = m.mark(dst, one)
		if end < 0 {
			return dst
		}
		dst = append(dst, '\n')
		row = row[end+1:]
	}
}

func (m *marker) mark(dst, row []byte) []byte {
	m.plain, m.offset = m.plain[:0], m.offset[:0]
	for i := 0; i < len(row); {
		if n := sgrLen(row[i:]); n > 0 {
			i += n
			continue
		}
		m.plain, m.offset = append(m.plain, row[i]), append(m.offset, i)
		i++
	}
	if cap(m.style) < len(m.plain) {
		m.style = make([]byte, len(m.plain))
	}
	m.style = m.style[:len(m.plain)]
	clear(m.style)
	found := false
	paint := func(list []*regexp.Regexp, style byte) {
		for _, re := range list {
			for _, at := range re.FindAllIndex(m.plain, -1) {
				for i := at[0]; i < at[1]; i++ {
					m.style[i], found = style, true
				}
			}
		}
	}
	paint(m.include, 'i')
	paint(m.highlight, 'h')
	if !found {
		return append(dst, row...)
	}
	m.state = m.state[:0]
	var on byte
	at := 0
	for j, off := range m.offset {
		// Colours that begin or end before this byte.
		for at < off {
			n := sgrLen(row[at:])
			seq := row[at : at+n]
			if string(seq) == reset || len(m.state) > maxState {
				m.state = m.state[:0]
			}
			if string(seq) != reset {
				m.state = append(m.state, seq...)
			}
			if on == 0 {
				dst = append(dst, seq...)
			}
			at += n
		}
		if s := m.style[j]; s != on {
			if on != 0 {
				dst = append(append(dst, reset...), m.state...)
			}
			switch s {
			case 'h':
				dst = append(dst, highlightOn...)
			case 'i':
				dst = append(dst, includeOn...)
			}
			on = s
		}
		dst = append(dst, row[off])
		at = off + 1
	}
	if on != 0 {
		dst = append(append(dst, reset...), m.state...)
	}
	return append(dst, row[at:]...)
}
