package logql

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	texttemplate "text/template"
	"time"
	_ "time/tzdata" // toDateInZone knows the same zones everywhere
	"unicode"
	"unicode/utf8"
)

// functions are what templates may call, as Loki documents them
// (https://grafana.com/docs/loki/latest/query/template_functions/).
var functions = texttemplate.FuncMap{
	// Older names.
	"ToLower":    strings.ToLower,
	"ToUpper":    strings.ToUpper,
	"Replace":    func(s, old, new string, n int) (string, error) { return replaceN(s, old, new, n) },
	"Trim":       strings.Trim,
	"TrimLeft":   strings.TrimLeft,
	"TrimRight":  strings.TrimRight,
	"TrimPrefix": strings.TrimPrefix,
	"TrimSuffix": strings.TrimSuffix,
	"TrimSpace":  strings.TrimSpace,

	"lower":      strings.ToLower,
	"upper":      strings.ToUpper,
	"title":      title,
	"trim":       strings.TrimSpace,
	"trimAll":    func(cut, s string) string { return strings.Trim(s, cut) },
	"trimPrefix": func(p, s string) string { return strings.TrimPrefix(s, p) },
	"trimSuffix": func(p, s string) string { return strings.TrimSuffix(s, p) },
	"trunc":      trunc,
	"substr":     substr,
	"replace":    func(old, new, s string) (string, error) { return replaceN(s, old, new, -1) },
	"repeat":     repeat,
	"indent":     indent,
	"nindent":    func(n int, s string) (string, error) { s, err := indent(n, s); return "\n" + s, err },
	"alignLeft":  func(n int, s string) (string, error) { return align(n, s, true) },
	"alignRight": func(n int, s string) (string, error) { return align(n, s, false) },
	"contains":   func(sub, s string) bool { return strings.Contains(s, sub) },
	"hasPrefix":  func(p, s string) bool { return strings.HasPrefix(s, p) },
	"hasSuffix":  func(p, s string) bool { return strings.HasSuffix(s, p) },
	"default":    func(d string, s string) string { return orDefault(d, s) },
	"printf":     printf,

	"regexReplaceAll":        func(re, s, repl string) (string, error) { return regexReplace(re, s, repl, false) },
	"regexReplaceAllLiteral": func(re, s, repl string) (string, error) { return regexReplace(re, s, repl, true) },
	"count": func(re, s string) (int, error) {
		r, err := templateRegexp(re)
		if err != nil {
			return 0, err
		}
		return len(r.FindAllStringIndex(s, -1)), nil
	},

	"add":     func(more ...any) int64 { return fold(0, more, func(x, y int64) int64 { return x + y }) },
	"sub":     func(a, b any) int64 { return toInt(a) - toInt(b) },
	"mul":     func(a any, more ...any) int64 { return fold(a, more, func(x, y int64) int64 { return x * y }) },
	"div":     func(a, b any) (int64, error) { return divide(toInt(a), toInt(b), false) },
	"mod":     func(a, b any) (int64, error) { return divide(toInt(a), toInt(b), true) },
	"max":     func(a any, more ...any) int64 { return fold(a, more, func(x, y int64) int64 { return max(x, y) }) },
	"min":     func(a any, more ...any) int64 { return fold(a, more, func(x, y int64) int64 { return min(x, y) }) },
	"addf":    func(more ...any) (float64, error) { return decimal('+', 0, more) },
	"subf":    func(a any, more ...any) (float64, error) { return decimal('-', a, more) },
	"mulf":    func(a any, more ...any) (float64, error) { return decimal('*', a, more) },
	"divf":    func(a any, more ...any) (float64, error) { return decimal('/', a, more) },
	"maxf":    func(a any, more ...any) float64 { return foldf(a, more, math.Max) },
	"minf":    func(a any, more ...any) float64 { return foldf(a, more, math.Min) },
	"ceil":    func(a any) float64 { return math.Ceil(toFloat(a)) },
	"floor":   func(a any) float64 { return math.Floor(toFloat(a)) },
	"round":   round,
	"int":     func(a any) int { return int(toInt(a)) },
	"float64": toFloat,

	"bytes": func(s string) (float64, error) {
		n, ok := parseSize(s)
		if !ok {
			return 0, fmt.Errorf("%.100q is not a size", s)
		}
		return n, nil
	},
	"duration":         templateDuration,
	"duration_seconds": templateDuration,

	"b64enc":    func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"b64dec":    b64dec,
	"urlencode": url.QueryEscape,
	"urldecode": url.QueryUnescape,
	"fromJson":  fromJSON,

	"date":            func(layout string, t time.Time) string { return t.Format(layout) },
	"toDate":          func(layout, s string) time.Time { return toDate(layout, s, time.UTC) },
	"toDateInZone":    toDateInZone,
	"unixEpoch":       func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) },
	"unixEpochMillis": func(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) },
	"unixEpochNanos":  func(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) },
	"unixToTime":      unixToTime,
}

// maxTemplateWidth bounds what a template can make a text grow by.
const maxTemplateWidth = 64 << 10

var errWidth = fmt.Errorf("more than %d characters asked for", maxTemplateWidth)

func title(s string) string {
	before := ' '
	return strings.Map(func(r rune) rune {
		start := separates(before)
		before = r
		if start {
			return unicode.ToTitle(r)
		}
		return r
	}, s)
}

// separates reports whether a word may begin behind r.
func separates(r rune) bool {
	if r < utf8.RuneSelf {
		return !isNameStart(byte(r)) && !isDigit(byte(r))
	}
	return unicode.IsSpace(r)
}

// trunc keeps the first n characters, or the last ones if n is negative.
func trunc(n int, s string) string {
	r := []rune(s)
	switch {
	case n < 0 && len(r)+n > 0:
		return string(r[len(r)+n:])
	case n >= 0 && len(r) > n:
		return string(r[:n])
	}
	return s
}

// substr returns the characters [start, end); a negative start counts from the
// beginning, a negative end or one that is too large means the end.
func substr(start, end int, s string) string {
	r := []rune(s)
	if end < 0 || end > len(r) {
		end = len(r)
	}
	start = max(start, 0)
	if start >= end {
		return ""
	}
	return string(r[start:end])
}

func replaceN(s, old, new string, n int) (string, error) {
	count := strings.Count(s, old)
	if n >= 0 {
		count = min(count, n)
	}
	if len(s)+count*len(new) > maxTemplateOutput {
		return "", errTooLong
	}
	return strings.Replace(s, old, new, n), nil
}

func repeat(n int, s string) (string, error) {
	if n < 0 {
		return "", errors.New("negative count")
	}
	if n > maxTemplateWidth || n*len(s) > maxTemplateOutput {
		return "", errWidth
	}
	return strings.Repeat(s, n), nil
}

func indent(n int, s string) (string, error) {
	if n < 0 || n > 1024 || (strings.Count(s, "\n")+1)*n > maxTemplateOutput {
		return "", errWidth
	}
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(s, "\n", "\n"+pad), nil
}

// align makes a text exactly n characters long.
func align(n int, s string, left bool) (string, error) {
	if n < 0 {
		return s, nil
	}
	if n > maxTemplateWidth {
		return "", errWidth
	}
	have := utf8.RuneCountInString(s)
	switch {
	case have < n && left:
		return s + strings.Repeat(" ", n-have), nil
	case have < n:
		return strings.Repeat(" ", n-have) + s, nil
	case left:
		return trunc(n, s), nil
	case n == 0:
		return "", nil
	}
	return trunc(-n, s), nil
}

func orDefault(d, s string) string {
	if s == "" {
		return d
	}
	return s
}

var wideVerb = regexp.MustCompile(`\d{5,}|\*`)

func printf(format string, args ...any) (string, error) {
	if wideVerb.MatchString(format) {
		return "", errors.New("printf: widths above 9999 and * are not supported")
	}
	return fmt.Sprintf(format, args...), nil
}

// regexps remembers the last expressions of templates; text/template calls
// from one goroutine at a time per template, but templates share it.
var regexps = newRegexpCache()

func templateRegexp(re string) (*regexp.Regexp, error) {
	if len(re) > MaxPattern {
		return nil, fmt.Errorf("the regular expression is longer than %d bytes", MaxPattern)
	}
	return regexps.get(re)
}

func regexReplace(re, s, repl string, literal bool) (string, error) {
	r, err := templateRegexp(re)
	if err != nil {
		return "", err
	}
	if n := len(r.FindAllStringIndex(s, -1)); n > 0 && (n+1)*(len(repl)+strings.Count(repl, "$")*len(s)) > 4*maxTemplateOutput {
		return "", errTooLong
	}
	if literal {
		return r.ReplaceAllLiteralString(s, repl), nil
	}
	return r.ReplaceAllString(s, repl), nil
}

func fold(a any, more []any, f func(x, y int64) int64) int64 {
	out := toInt(a)
	for _, m := range more {
		out = f(out, toInt(m))
	}
	return out
}

func foldf(a any, more []any, f func(x, y float64) float64) float64 {
	out := toFloat(a)
	for _, m := range more {
		out = f(out, toFloat(m))
	}
	return out
}

func divide(a, b int64, rest bool) (int64, error) {
	switch {
	case b == 0:
		return 0, errors.New("division by zero")
	case b == -1: // the one quotient that overflows
		if rest {
			return 0, nil
		}
		return -a, nil
	case rest:
		return a % b, nil
	}
	return a / b, nil
}

// round rounds to some digits behind the point: half away from zero, or up from
// another fraction on.
func round(a any, digits int, from ...float64) float64 {
	f := math.Pow(10, float64(digits))
	v := toFloat(a) * f
	if math.IsInf(v, 0) || f == 0 {
		return toFloat(a)
	}
	if len(from) == 0 {
		return math.Round(v) / f
	}
	whole, rest := math.Modf(v)
	if math.Abs(rest) >= from[0] {
		whole += math.Copysign(1, v)
	}
	return whole / f
}

func templateDuration(s string) (float64, error) {
	d, ok := parseDuration(s)
	if !ok {
		return 0, fmt.Errorf("%.100q is not a duration", s)
	}
	return d, nil
}

// b64dec returns what is wrong as text, as in Loki, as do the next functions
// return nothing for what they cannot read.
func b64dec(s string) string {
	p, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return err.Error()
	}
	return string(p)
}

func fromJSON(s string) any {
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		return nil
	}
	return v
}

func toDate(layout, s string, zone *time.Location) time.Time {
	t, err := time.ParseInLocation(layout, s, zone)
	if err != nil {
		return time.Time{}
	}
	return t
}

// toDateInZone reads a time of a zone of the time zone database; one that is
// not known is UTC, as is that of the machine, which no answer depends on.
func toDateInZone(layout, zone, s string) time.Time {
	loc := time.UTC
	if zone != "Local" {
		if l, err := time.LoadLocation(zone); err == nil {
			loc = l
		}
	}
	return toDate(layout, s, loc)
}

// unixToTime reads seconds, milliseconds, microseconds or nanoseconds, told
// apart by how many digits there are; five are days.
func unixToTime(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%.100q is not a time", s)
	}
	switch len(s) {
	case 5:
		return time.Unix(0, 0).UTC().AddDate(0, 0, int(n)), nil
	case 10:
		return time.Unix(n, 0).UTC(), nil
	case 13:
		return time.UnixMilli(n).UTC(), nil
	case 16:
		return time.UnixMicro(n).UTC(), nil
	case 19:
		return time.Unix(0, n).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%.100q is not a time in days, seconds, milliseconds, microseconds or nanoseconds", s)
}
