package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weirlog/weir/output"
)

// syntaxError is an error at a place inside a value.
type syntaxError struct {
	off  int // byte offset in the value, -1 for the whole
	msg  string
	hint string
}

func (e *syntaxError) Error() string { return e.msg }

func bad(hint, format string, args ...any) error {
	return &syntaxError{-1, fmt.Sprintf(format, args...), hint}
}

// Duration is a length of time, written as in 250ms, 10s, 1h30m, 7d.
type Duration time.Duration

// Forever is the Duration of what never ends.
const Forever Duration = math.MaxInt64

var durationUnits = []struct {
	name string
	d    time.Duration
}{{"ns", 1}, {"us", time.Microsecond}, {"µs", time.Microsecond}, {"ms", time.Millisecond}, {"s", time.Second},
	{"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}, {"w", 7 * 24 * time.Hour}}

// UnmarshalText reads numbers with units ns us ms s m h d w.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "0" {
		*d = 0
		return nil
	}
	const hint = "a duration is written as 250ms, 10s, 1h30m or 7d"
	var sum float64
	for rest := s; ; {
		num, unit, tail := splitNumber(rest)
		if num == "" {
			return bad(hint, "bad duration %q", shorten(s))
		}
		if unit == "" {
			return bad(fmt.Sprintf("did you mean %q?   %s", shorten(s)+"s", hint), "bad duration %q: the unit is missing", shorten(s))
		}
		n, err := strconv.ParseFloat(num, 64)
		if err != nil {
			return bad(hint, "bad duration %q", shorten(s))
		}
		found := false
		for _, u := range durationUnits {
			if u.name == unit {
				sum, found = sum+n*float64(u.d), true
			}
		}
		if !found {
			return bad(hint, "bad duration %q: there is no unit %q", shorten(s), shorten(unit))
		}
		if rest = tail; rest == "" {
			break
		}
	}
	if sum >= math.MaxInt64 {
		return bad("", "duration %q is too long", shorten(s))
	}
	*d = Duration(math.Round(sum))
	return nil
}

// splitNumber cuts s into a decimal number, the letters behind it and the rest.
func splitNumber(s string) (num, unit, rest string) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.') {
		i++
	}
	j := i
	for j < len(s) && (s[j] < '0' || s[j] > '9') && s[j] != '.' {
		j++
	}
	return s[:i], s[i:j], s[j:]
}

// String writes d so that UnmarshalText reads the same.
func (d Duration) String() string {
	const day = Duration(24 * time.Hour)
	if d >= 2*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Size is a number of bytes, written as in 512, 64KiB, 8MiB, 1.5GiB or 10MB.
type Size int64

var sizeUnits = []struct {
	name string
	n    float64
}{{"", 1}, {"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}}

// UnmarshalText reads a number with or without a unit. KiB, MiB, GiB and TiB
// are powers of 1024; kB, MB, GB and TB are powers of 1000.
func (z *Size) UnmarshalText(text []byte) error {
	n, err := parseSize(string(text))
	if err != nil {
		return err
	}
	*z = Size(n)
	return nil
}

func parseSize(s string) (float64, error) {
	const hint = "a size is written as 512, 64KiB, 8MiB or 1GiB"
	num, unit, rest := splitNumber(s)
	n, err := strconv.ParseFloat(num, 64)
	if num == "" || rest != "" || err != nil {
		return 0, bad(hint, "bad size %q", shorten(s))
	}
	unit = strings.TrimSpace(unit)
	for _, u := range sizeUnits {
		if u.name == unit {
			if n *= u.n; n >= math.MaxInt64 {
				return 0, bad("", "size %q is too large", shorten(s))
			}
			return math.Round(n), nil
		}
	}
	for _, u := range sizeUnits { // 8Mi, 8M, 8mib
		if u.name != "" && strings.EqualFold(strings.TrimSuffix(unit, "B"), strings.TrimSuffix(u.name, "B")) {
			return 0, bad(fmt.Sprintf("did you mean %q?   %s", num+u.name, hint), "bad size %q: there is no unit %q", shorten(s), unit)
		}
	}
	return 0, bad(hint, "bad size %q: there is no unit %q", shorten(s), shorten(unit))
}

// String writes z so that UnmarshalText reads the same.
func (z Size) String() string {
	for i := len(sizeUnits) - 1; i >= 0; i-- {
		u := sizeUnits[i]
		if strings.HasSuffix(u.name, "iB") && z != 0 && z%Size(u.n) == 0 {
			return strconv.FormatInt(int64(z)/int64(u.n), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(z), 10)
}

// MarshalText is String.
func (z Size) MarshalText() ([]byte, error) { return []byte(z.String()), nil }

// Rate is a number of lines or bytes per time, written as in 20k/s, 500/m or
// 5MiB/s.
type Rate struct {
	N     int64         // lines or bytes
	Per   time.Duration // a second, minute or hour
	Bytes bool
}

// UnmarshalText reads lines (500/s, 20k/s, 1M/h) or bytes (5MiB/s).
func (r *Rate) UnmarshalText(text []byte) error {
	const hint = "a rate is written as 500/s, 20k/s, 100/m or 5MiB/s"
	s := string(text)
	num, per, ok := strings.Cut(s, "/")
	d := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[per]
	if !ok || d == 0 {
		return bad(hint, "bad rate %q", shorten(s))
	}
	n, mult := num, 1.0
	if l := len(num); l > 0 && (num[l-1] == 'k' || num[l-1] == 'M') {
		n, mult = num[:l-1], map[byte]float64{'k': 1e3, 'M': 1e6}[num[l-1]]
	}
	if f, err := strconv.ParseFloat(n, 64); err == nil && f >= 0 && f*mult < math.MaxInt64 {
		*r = Rate{int64(math.Round(f * mult)), d, false}
		return nil
	}
	b, err := parseSize(num)
	if err != nil {
		return bad(hint, "bad rate %q", shorten(s))
	}
	*r = Rate{int64(b), d, true}
	return nil
}

// String writes r so that UnmarshalText reads the same.
func (r Rate) String() string {
	per := map[time.Duration]string{time.Second: "/s", time.Minute: "/m", time.Hour: "/h"}[r.Per]
	switch {
	case r.Bytes && r.N%1024 != 0:
		return strconv.FormatInt(r.N, 10) + "B" + per
	case r.Bytes:
		return Size(r.N).String() + per
	case r.N != 0 && r.N%1e6 == 0:
		return strconv.FormatInt(r.N/1e6, 10) + "M" + per
	case r.N != 0 && r.N%1e3 == 0:
		return strconv.FormatInt(r.N/1e3, 10) + "k" + per
	}
	return strconv.FormatInt(r.N, 10) + per
}

// MarshalText is String.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Secret is a text that prints as "[redacted]" wherever it is printed; only a
// conversion to string reveals it.
type Secret = output.Secret

const redacted = "[redacted]"

// URL is an absolute URL. Printing it hides passwords and tokens in it; only a
// conversion to string reveals them.
type URL string

// UnmarshalText takes URLs with a scheme and a host.
func (u *URL) UnmarshalText(text []byte) error {
	s := string(text)
	p, err := url.Parse(s)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the URL, which may hold a password
		}
		return bad("", "bad URL %q: %s", shorten(redactURL(s)), redactURL(err.Error()))
	}
	if p.Scheme == "" || p.Opaque != "" && p.Host == "" {
		return bad(fmt.Sprintf("did you mean %q?", "http://"+shorten(redactURL(s))), "bad URL %q: the scheme is missing", shorten(redactURL(s)))
	}
	if p.Hostname() == "" {
		return bad("", "bad URL %q: the host is missing", shorten(redactURL(s)))
	}
	if port := p.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return bad("", "bad URL %q: the port is not in 1…65535", shorten(redactURL(s)))
		}
	}
	*u = URL(s)
	return nil
}

var (
	userinfo    = regexp.MustCompile(`//[^/?#@\s"']*(?:@[^/?#@\s"']*)*@`)
	secretQuery = regexp.MustCompile(`(?i)([?&;][^=&;#\s"']*(?:pass|pwd|secret|token|key|sig|auth|cred)[^=&;#\s"']*=)[^&;#\s"']+`)
)

// redactURL hides what may be a secret in a URL or in a text with URLs.
func redactURL(s string) string {
	s = userinfo.ReplaceAllString(s, "//"+redacted+"@")
	return secretQuery.ReplaceAllString(s, "${1}"+redacted)
}

// String hides passwords and tokens.
func (u URL) String() string { return redactURL(string(u)) }

// GoString hides passwords and tokens.
func (u URL) GoString() string { return strconv.Quote(u.String()) }

// MarshalText hides passwords and tokens.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue hides passwords and tokens.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// Scheme returns the scheme, in lower case and without what Lookup returns.
func (u URL) Scheme() string {
	s, _, _ := strings.Cut(string(u.Plain()), ":")
	return strings.ToLower(s)
}

// Lookup returns how the host becomes addresses: "dns" or "srv" if the scheme
// begins with that and a plus, else "".
func (u URL) Lookup() string {
	for _, kind := range []string{"dns", "srv"} {
		if len(u) > len(kind) && strings.EqualFold(string(u[:len(kind)+1]), kind+"+") {
			return kind
		}
	}
	return ""
}

// Plain returns the URL without what Lookup returns.
func (u URL) Plain() URL {
	if kind := u.Lookup(); kind != "" {
		return u[len(kind)+1:]
	}
	return u
}

// Address is host:port to listen on; an empty host is every address.
type Address string

// UnmarshalText takes host:port, and off for none.
func (a *Address) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "off" || s == "" {
		*a = ""
		return nil
	}
	const hint = "an address is written as 127.0.0.1:7410, '[::1]:7410' or ':7410'"
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if _, err := strconv.ParseUint(s, 10, 16); err == nil {
			return bad(fmt.Sprintf("did you mean %q?   %s", "127.0.0.1:"+s, hint), "bad address %q: the colon is missing", s)
		}
		return bad(hint, "bad address %q", shorten(s))
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return bad(hint, "bad address %q: the port is not in 0…65535", shorten(s))
	}
	if strings.ContainsAny(host, " /@\t") {
		return bad(hint, "bad address %q", shorten(s))
	}
	*a = Address(s)
	return nil
}

// Loopback reports whether only this host can reach the address.
func (a Address) Loopback() bool {
	host, _, err := net.SplitHostPort(string(a))
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Path names a file or directory.
type Path string

// UnmarshalText takes anything without NUL bytes.
func (p *Path) UnmarshalText(text []byte) error {
	if strings.ContainsRune(string(text), 0) {
		return bad("", "bad path: it holds a NUL byte")
	}
	*p = Path(text)
	return nil
}

// Glob is a path with wildcards as in package path: * ? [a-z].
type Glob string

// UnmarshalText checks the pattern.
func (g *Glob) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "" {
		return bad("", "empty path")
	}
	if _, err := path.Match(s, "x"); err != nil || strings.ContainsRune(s, 0) {
		return bad("", "bad pattern %q", shorten(s))
	}
	*g = Glob(s)
	return nil
}

// ID names a component: its type, or type/name.
type ID string

var idName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// UnmarshalText checks the form, not whether there is such a type.
func (id *ID) UnmarshalText(text []byte) error {
	typ, name, named := strings.Cut(string(text), "/")
	if !idName.MatchString(typ) || named && !idName.MatchString(name) {
		return bad("an id is type or type/name, of letters, digits, - and _", "bad component id %q", shorten(string(text)))
	}
	*id = ID(text)
	return nil
}

// Type returns the part before the slash.
func (id ID) Type() string {
	t, _, _ := strings.Cut(string(id), "/")
	return t
}

// Name returns the part behind the slash, "" if there is none.
func (id ID) Name() string {
	_, n, _ := strings.Cut(string(id), "/")
	return n
}

// Condition is a condition in LogQL on a record, or on a container's
// attributes.
type Condition string

// UnmarshalText checks the syntax.
func (c *Condition) UnmarshalText(text []byte) error {
	if err := checkCondition(string(text)); err != nil {
		return err
	}
	*c = Condition(text)
	return nil
}

// Template is a text with ${name} and %Y-like directives that are filled in
// from a record; package wire has its syntax.
type Template string

// shorten makes a value fit for a message: printable and not long.
func shorten(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return s
}
