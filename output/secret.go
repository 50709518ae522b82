package output

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
)

// Secret is a password, token or key. It redacts itself wherever Go prints or
// encodes values: fmt with any verb, JSON, text, YAML and slog. Its value is
// string(s). Keep Secrets in exported fields, or do not keep them: fmt cannot
// call methods of what stands in unexported fields.
type Secret string

const redacted = "[redacted]"

// String returns "[redacted]", or "" for the empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is what %#v prints.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// Format prints the redacted form for every verb, %x and %d included.
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		_, _ = io.WriteString(f, s.GoString())
		return
	}
	_, _ = io.WriteString(f, s.String())
}

// MarshalText returns the redacted form.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns the redacted form.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// MarshalYAML returns the redacted form.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue returns the redacted form.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// redactURL returns the URL as it may be shown: without user, password,
// arguments and fragment, any of which may be a secret.
func redactURL(u *url.URL) string {
	c := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	s := c.String()
	if u.RawQuery != "" {
		s += "?…"
	}
	return s
}

// redactLink is redactURL for text from outside.
func redactLink(link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return "an unreadable address"
	}
	return redactURL(u)
}
