package loki

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// parseLabels reads a label set as it stands in a push request,
// {name="value", …}: names are letters, digits and underscores, values are
// string literals of LogQL with double or single quotes or backquotes. Of two
// labels with one name the later counts, as in Loki. An error says at which
// byte.
// https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs
func parseLabels(dst []record.Attr, text []byte, l *wire.Limits) ([]record.Attr, error) {
	i := skipSpace(text, 0)
	bad := func(i int, want string) error {
		if i >= len(text) {
			return fmt.Errorf("labels end at byte %d, expected %s", i+1, want)
		}
		r, _ := utf8.DecodeRune(text[i:])
		return fmt.Errorf("labels have %q at byte %d, expected %s", r, i+1, want)
	}
	if i >= len(text) || text[i] != '{' {
		return nil, bad(i, `"{"`)
	}
	i = skipSpace(text, i+1)
	for i < len(text) && text[i] != '}' {
		start := i
		for i < len(text) && isName(text[i], i > start) {
			i++
		}
		name := text[start:i]
		if len(name) == 0 {
			return nil, bad(i, `a label's name or "}"`)
		}
		if i = skipSpace(text, i); i >= len(text) || text[i] != '=' {
			return nil, bad(i, `"="`)
		}
		i = skipSpace(text, i+1)
		end := literalEnd(text, i)
		if end < 0 {
			return nil, bad(i, "a quoted value")
		}
		value, err := unquote(string(text[i:end]))
		if err != nil {
			return nil, fmt.Errorf("labels: value of %q at byte %d: %w", clip(name), i+1, err)
		}
		if dst, err = addLabel(dst, name, value, l); err != nil {
			return nil, err
		}
		if i = skipSpace(text, end); i < len(text) && text[i] == ',' {
			i = skipSpace(text, i+1)
		} else if i >= len(text) || text[i] != '}' {
			return nil, bad(i, `"," or "}"`)
		}
	}
	if i >= len(text) {
		return nil, bad(i, `"}"`)
	}
	if i = skipSpace(text, i+1); i < len(text) {
		return nil, bad(i, "nothing more")
	}
	return dst, nil
}

// addLabel appends a label after looking at its name and sizes.
func addLabel(dst []record.Attr, name []byte, value string, l *wire.Limits) ([]record.Attr, error) {
	switch {
	case len(name) > l.NameBytes:
		return nil, fmt.Errorf("label name too long: %q of %d bytes; limit %d", clip(name), len(name), l.NameBytes)
	case len(value) > l.ValueBytes:
		return nil, fmt.Errorf("label value too long: %q has %d bytes; limit %d", clip(name), len(value), l.ValueBytes)
	case string(name) == record.AttrTenant:
		return nil, fmt.Errorf("label name %q is reserved", name)
	}
	for i := range name {
		if !isName(name[i], i > 0) {
			return nil, fmt.Errorf("label name %q: byte %d is not a letter, digit or underscore", clip(name), i+1)
		}
	}
	if len(name) == 0 {
		return nil, errors.New("label name is empty")
	}
	if len(dst) == l.Labels {
		return nil, fmt.Errorf("more than %d label names; limit %d", l.Labels, l.Labels)
	}
	return append(dst, record.Attr{Name: string(name), Value: value}), nil
}

func isName(c byte, digits bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digits && c >= '0' && c <= '9'
}

func skipSpace(p []byte, i int) int {
	for i < len(p) && (p[i] == ' ' || p[i] == '\t' || p[i] == '\n' || p[i] == '\r') {
		i++
	}
	return i
}

// literalEnd returns the offset behind the quoted text at p[i], negative if
// there is none or it has no end.
func literalEnd(p []byte, i int) int {
	if i >= len(p) {
		return -1
	}
	quote := p[i]
	if quote != '"' && quote != '\'' && quote != '`' {
		return -1
	}
	for i++; i < len(p); i++ {
		switch {
		case p[i] == quote:
			return i + 1
		case p[i] == '\\' && quote != '`':
			i++
		}
	}
	return -1
}

// unquote returns what the literal means. Bytes that are not UTF-8 become
// U+FFFD.
func unquote(s string) (string, error) {
	quote := s[0]
	s = s[1 : len(s)-1]
	if quote == '`' {
		return string(wire.AppendText(nil, []byte(s))), nil
	}
	out := make([]byte, 0, len(s))
	for len(s) > 0 {
		r, multibyte, tail, err := strconv.UnquoteChar(s, quote)
		if err != nil {
			return "", errors.New("malformed escape")
		}
		if r < utf8.RuneSelf || !multibyte {
			out = append(out, byte(r))
		} else {
			out = utf8.AppendRune(out, r)
		}
		s = tail
	}
	if !utf8.Valid(out) { // from \xff
		out = wire.AppendText(nil, out)
	}
	return string(out), nil
}

// clip bounds what a message quotes of a request.
func clip(p []byte) []byte {
	const most = 64
	return p[:min(len(p), most)]
}
