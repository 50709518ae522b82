package config

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// secretKey finds keys whose value is likely a secret, also misspelt ones,
// which the schema does not know.
var secretKey = regexp.MustCompile(`(?i)["']?[\w.-]*(?:pas+w|pass|pwd|secret|token|api_?key|bearer|authori[sz]ation|credential)[\w.-]*["']?\s*:\s+`)

// headerMap finds the start of the values of a headers map on one line.
var headerMap = regexp.MustCompile(`(?i)\bheaders?["']?\s*:\s*\{`)

// maskLine hides likely secrets in a line that is shown beside a message. Each
// hidden character becomes a star, so that carets still fit.
func maskLine(line string) string {
	b := []byte(line)
	for _, m := range secretKey.FindAllStringIndex(line, -1) {
		key := strings.Trim(strings.TrimRight(line[m[0]:m[1]], " \t:"), `"'`)
		if strings.HasSuffix(strings.ToLower(key), "_file") {
			continue
		}
		star(b, m[1], valueEnd(line, m[1]))
	}
	for _, m := range headerMap.FindAllStringIndex(line, -1) {
		end := strings.IndexByte(line[m[1]:], '}')
		if end < 0 {
			end = len(line) - m[1]
		}
		for i := m[1]; i < m[1]+end; {
			colon := strings.Index(line[i:m[1]+end], ": ")
			if colon < 0 {
				break
			}
			from := i + colon + 2
			to := valueEnd(line, from)
			star(b, from, to)
			i = max(to, from)
		}
	}
	for _, m := range userinfo.FindAllStringIndex(line, -1) {
		star(b, m[0]+2, m[1]-1)
	}
	for _, m := range secretQuery.FindAllStringSubmatchIndex(line, -1) {
		star(b, m[3], m[1])
	}
	return string(b)
}

// valueEnd returns where the scalar that starts at from ends. References and
// collections are no secrets: for them it returns from.
func valueEnd(line string, from int) int {
	rest := line[from:]
	switch {
	case rest == "":
		return from
	case rest[0] == '"' || rest[0] == '\'':
		if reference.MatchString(rest[1:]) {
			return from
		}
		if i := strings.IndexByte(rest[1:], rest[0]); i >= 0 {
			return from + i + 2
		}
		return len(line)
	case rest[0] == '{' || rest[0] == '[' || rest[0] == '|' || rest[0] == '>' || rest[0] == '*':
		return from
	case reference.MatchString(rest):
		return from
	}
	// Only inside braces and brackets do comma and closing end a value.
	open := strings.Count(line[:from], "{") + strings.Count(line[:from], "[")
	inFlow := open > strings.Count(line[:from], "}")+strings.Count(line[:from], "]")
	for i := range len(rest) {
		if c := rest[i]; inFlow && (c == ',' || c == '}' || c == ']') || c == '#' && i > 0 && rest[i-1] == ' ' {
			return from + i
		}
	}
	return len(line)
}

// reference matches a value that is nothing but ${env:NAME} or ${file:/path}.
var reference = regexp.MustCompile(`^\$\{(?:env:[A-Za-z_][A-Za-z0-9_]*|file:[^{}]*)\}(?:["',}\]\s]|$)`)

// star overwrites b[from:to]. A character beyond ASCII becomes as many stars as
// it has bytes: in such a secret's line the caret may be off, and that is all.
func star(b []byte, from, to int) {
	for i := from; i < to; i++ {
		b[i] = '*'
	}
}

// hideAll replaces every secret in s by stars.
func hideAll(s string, secrets []string) string {
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, strings.Repeat("*", utf8.RuneCountInString(secret)))
	}
	return s
}
