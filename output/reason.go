package output

import "strings"

// maxReason is the longest reason of a destination that is passed on.
const maxReason = 200

// plainReason returns a destination's message as it may be logged: short, on
// one line, and without what stands in quotes or brackets, which is where
// servers put the values they did not like.
func plainReason(msg string) string {
	if len(msg) > 4*maxReason {
		msg = msg[:4*maxReason]
	}
	var b strings.Builder
	var closer rune // what ends the quotation we are in
	depth := 0
	opened := rune(0)
	prev := ' '
	for _, r := range msg {
		switch {
		case closer != 0:
			if r == closer && depth == 0 {
				closer = 0
				b.WriteRune('…')
			} else if r == closer {
				depth--
			} else if r == opened {
				depth++
			}
			continue
		case r == '"' || r == '`' || r == '\'' && !letter(prev):
			closer, opened, depth = r, 0, 0
		case r == '[' || r == '{':
			closer, opened, depth = r+2, r, 0
		case r < ' ' || r == 0x7f || r == 0xfffd || r >= 0x80 && r < 0xa0:
			if prev != ' ' {
				b.WriteByte(' ')
			}
			r = ' '
		default:
			b.WriteRune(r)
		}
		prev = r
		if b.Len() >= maxReason {
			b.WriteRune('…')
			break
		}
	}
	if closer != 0 {
		b.WriteRune('…')
	}
	return strings.TrimSpace(b.String())
}

func letter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
