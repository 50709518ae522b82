package logql

import (
	"math"
	"strconv"
	"strings"
)

// parseNumber reads a number, a duration (Go's syntax, also with d, w, y) or a
// size (units of 1000 kB … and of 1024 KiB …).
func parseNumber(s string) (number, bool) {
	// Refuse what ParseFloat takes beyond the usual: hexadecimal, underscores,
	// infinities and NaN.
	i := 0
	for i < len(s) && (isDigit(s[i]) || s[i] == '.' || i == 0 && (s[0] == '-' || s[0] == '+')) {
		i++
	}
	if i == 0 || !isDigit(s[i-1]) && s[i-1] != '.' {
		return number{}, false
	}
	rest := s[i:]
	if rest == "" || rest[0] == 'e' || rest[0] == 'E' {
		if v, err := strconv.ParseFloat(s, 64); err == nil && !strings.ContainsAny(rest, "xX_pPnNiI") {
			return number{plain, v}, true
		}
	}
	if v, ok := parseDuration(s); ok {
		return number{duration, v}, true
	}
	v, err := strconv.ParseFloat(s[:i], 64)
	if err != nil {
		return number{}, false
	}
	if f, ok := sizeUnit(rest); ok {
		return number{size, math.Trunc(v * f)}, true
	}
	return number{}, false
}

// parseDuration returns a duration in seconds: Go's syntax, and the units d, w
// and y of Prometheus.
func parseDuration(s string) (float64, bool) {
	sign := 1.0
	if s != "" && (s[0] == '-' || s[0] == '+') {
		if s[0] == '-' {
			sign = -1
		}
		s = s[1:]
	}
	if s == "" || s == "0" {
		return 0, s == "0"
	}
	total := 0.0
	for s != "" {
		i := 0
		for i < len(s) && (isDigit(s[i]) || s[i] == '.') {
			i++
		}
		j := i
		for j < len(s) && !isDigit(s[j]) && s[j] != '.' {
			j++
		}
		v, err := strconv.ParseFloat(s[:i], 64)
		f, ok := timeUnit(s[i:j])
		if err != nil || !ok {
			return 0, false
		}
		total += v * f
		s = s[j:]
	}
	return sign * total, true
}

func timeUnit(u string) (seconds float64, ok bool) {
	switch u {
	case "ns":
		return 1e-9, true
	case "us", "µs", "μs":
		return 1e-6, true
	case "ms":
		return 1e-3, true
	case "s":
		return 1, true
	case "m":
		return 60, true
	case "h":
		return 3600, true
	case "d":
		return 24 * 3600, true
	case "w":
		return 7 * 24 * 3600, true
	case "y":
		return 365 * 24 * 3600, true
	}
	return 0, false
}

// sizeUnit returns the factor of a unit of sizes, upper or lower case.
func sizeUnit(s string) (float64, bool) {
	if len(s) == 0 || len(s) > 3 {
		return 0, false
	}
	var low [3]byte
	for i := range len(s) {
		low[i] = s[i] | 0x20
	}
	u := string(low[:len(s)])
	if u == "b" {
		return 1, true
	}
	e := strings.IndexByte("kmgtpe", u[0]) + 1
	if e == 0 {
		return 0, false
	}
	switch u[1:] {
	case "", "b":
		return math.Pow(1000, float64(e)), true
	case "i", "ib":
		return math.Pow(1024, float64(e)), true
	}
	return 0, false
}

// parseSize returns a size in whole bytes, as Loki reads values: digits with a
// point and commas, spaces, and a unit in upper or lower case; none means
// bytes. There is no sign and no exponent.
func parseSize(s string) (float64, bool) {
	i, comma := 0, false
	for i < len(s) && (isDigit(s[i]) || s[i] == '.' || s[i] == ',') {
		comma = comma || s[i] == ','
		i++
	}
	digits, u := s[:i], strings.TrimSpace(s[i:])
	if comma {
		digits = strings.ReplaceAll(digits, ",", "")
	}
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, false
	}
	if u == "" {
		return math.Trunc(v), true
	}
	f, ok := sizeUnit(u)
	return math.Trunc(v * f), ok
}
