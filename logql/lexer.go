package logql

import (
	"strconv"
	"unicode/utf8"
)

// Limits of the text of a query. They keep what an annotation or a request may
// cost in bounds.
const (
	// MaxQuery is the longest query, in bytes.
	MaxQuery = 128 << 10
	// MaxPattern is the longest regular expression, in bytes.
	MaxPattern = 4 << 10

	maxDepth = 64   // of parentheses and operators
	maxNames = 1000 // in one list of labels, captures or formats
)

// kind is the kind of a token. Punctuation is its own name.
type kind string

const (
	tokEnd    kind = "the end"
	tokName   kind = "a name"
	tokString kind = "a string"
	tokNumber kind = "a number"
)

// token is a piece of a query. text is its source; of a string, its value.
type token struct {
	kind kind
	pos  int
	text string
}

// found describes the token for an error message.
func (t token) found() string {
	switch t.kind {
	case tokEnd:
		return "the end"
	case tokString:
		return "a string"
	}
	return strconv.Quote(t.text)
}

// Longest first, so that != is not taken for ! and =.
var punctuation = []kind{
	"|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", ">=", "<=",
	"{", "}", "(", ")", "[", "]", ",", "|", "=", ">", "<", "+", "-", "*", "/", "%", "^",
}

// lex cuts a query into tokens; the last one is tokEnd. White space and
// comments (# to the end of the line) separate.
func lex(s string) ([]token, error) {
	if len(s) > MaxQuery {
		return nil, errorAt(MaxQuery, "the query is longer than %d bytes", MaxQuery)
	}
	var out []token
	for i := 0; ; {
		for i < len(s) && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r') {
			i++
		}
		if i == len(s) {
			return append(out, token{tokEnd, i, ""}), nil
		}
		c := s[i]
		start := i
		switch {
		case c == '#':
			for i < len(s) && s[i] != '\n' {
				i++
			}
			continue
		case isNameStart(c):
			for i < len(s) && (isNameStart(s[i]) || isDigit(s[i])) {
				i++
			}
			out = append(out, token{tokName, start, s[start:i]})
		case isDigit(c), c == '.' && i+1 < len(s) && isDigit(s[i+1]):
			i = numberEnd(s, i)
			out = append(out, token{tokNumber, start, s[start:i]})
		case c == '"' || c == '`':
			end := stringEnd(s, i)
			if end < 0 {
				return nil, errorAt(start, "the string that begins here has no closing %c", c)
			}
			v, err := strconv.Unquote(s[i:end])
			if err != nil {
				return nil, errorAt(start, "bad escape in a string; in backticks (`…`) backslashes need no escape")
			}
			out = append(out, token{tokString, start, v})
			i = end
		case c == '\'':
			return nil, errorAt(start, "strings stand in double quotes or backticks, not in single quotes")
		default:
			p := punctuationAt(s[i:])
			if p == "" {
				r, n := utf8.DecodeRuneInString(s[i:])
				if r == utf8.RuneError && n == 1 {
					return nil, errorAt(start, "unexpected byte 0x%02x", c)
				}
				return nil, errorAt(start, "unexpected %q", r)
			}
			out = append(out, token{p, start, string(p)})
			i += len(p)
		}
	}
}

func punctuationAt(s string) kind {
	for _, p := range punctuation {
		if len(s) >= len(p) && s[:len(p)] == string(p) {
			return p
		}
	}
	return ""
}

// numberEnd returns the end of the number, duration or size, without a sign,
// at s[i:].
func numberEnd(s string, i int) int {
	i++ // a point or a digit
	for i < len(s) {
		c := s[i]
		sign := (c == '+' || c == '-') && (s[i-1] == 'e' || s[i-1] == 'E') && isDigit(s[i-2])
		if !isDigit(c) && !isNameStart(c) && c != '.' && c < utf8.RuneSelf && !sign {
			break
		}
		i++
	}
	return i
}

// stringEnd returns the offset behind the string at s[i:], -1 if it has no
// end.
func stringEnd(s string, i int) int {
	q := s[i]
	for i++; i < len(s); i++ {
		switch {
		case s[i] == q:
			return i + 1
		case s[i] == '\\' && q == '"':
			i++
		}
	}
	return -1
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isNameStart(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
