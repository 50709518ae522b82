package strictjson

import (
	"errors"
	"strconv"

	"github.com/weirlog/weir/e2e/internal/journal"
)

// ErrInconsistent says that a document carries two marks that differ.
var ErrInconsistent = errors.New("the document carries two different marks")

// Mark finds the generator's mark in a parsed document: as the members s, n
// and p of one object, whatever stands around them, or in the text of any
// string member (log, message, body.text …). If it stands there more than
// once, all must agree. ok is false if there is none.
func (d *Doc) Mark() (mark journal.Mark, ok bool, err error) {
	note := func(m journal.Mark) {
		if ok && m != mark {
			err = ErrInconsistent
		}
		mark, ok = m, true
	}
	var s, n, p Member // of the object looked at
	for _, m := range d.Members {
		if m.Kind == String && (len(m.Key) != 1 || m.Key[0] != 'p') && mayHoldMark(m.Value) {
			if found, yes := journal.ParseLine(m.Text()); yes {
				note(found)
			}
		}
		if len(m.Key) != 1 {
			continue
		}
		switch {
		case m.Key[0] == 's' && m.Kind == String:
			s = m
		case m.Key[0] == 'n' && (m.Kind == Number || m.Kind == String):
			n = m
		case m.Key[0] == 'p' && m.Kind == String:
			p = m
		default:
			continue
		}
		if s.Object == m.Object && n.Object == m.Object && p.Object == m.Object {
			digits := n.Value
			if n.Kind == String {
				digits = n.Text()
			}
			seq, e := strconv.ParseUint(string(digits), 10, 64)
			if e != nil {
				continue
			}
			note(journal.Mark{Stream: string(s.Text()), Seq: seq, Hash: journal.HashPayload(p.Text())})
		}
	}
	return mark, ok, err
}

// mayHoldMark is a cheap test before a string is decoded and parsed: a mark
// needs "s" and an equals sign or a quoted name.
func mayHoldMark(raw []byte) bool {
	if len(raw) < 12 {
		return false
	}
	if raw[1] == '{' {
		return true
	}
	for i := 1; i+1 < len(raw) && i < 4096; i++ {
		if raw[i] == 's' && raw[i+1] == '=' {
			return true
		}
	}
	return false
}
