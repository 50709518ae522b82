package output

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// TLS says how a connection is secured. TLS 1.2 is the least. The files are
// read again when they change; a bad new one is logged and counted, and the
// old one stays in use.
type TLS struct {
	CA                 string // PEM file of the authorities trusted, "": the system's
	Cert, Key          string // PEM files of the client's certificate and key; both or none
	ServerName         string // name to verify instead of the URL's host
	InsecureSkipVerify bool   // accept any certificate; logged loudly
}

// Auth says who the sender is. At most one of User (with Password), APIKey,
// Bearer and BearerFile is set.
type Auth struct {
	User       string
	Password   Secret
	APIKey     Secret // sent as "Authorization: ApiKey …", Elasticsearch's way
	Bearer     Secret
	BearerFile string // read again when it changes
}

// Resolver looks up a host's addresses. *net.Resolver is one.
type Resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// HTTPConfig is what all outputs over HTTP (and OTLP over gRPC) have in
// common. It describes one endpoint.
type HTTPConfig struct {
	// URL of the endpoint. A user and password in it are used as Auth.
	URL string
	// Address, if not empty, is the host:port to connect to instead of the URL's,
	// whose host stays the one that is named in requests and verified by TLS.
	Address string
	TLS     TLS
	Auth    Auth
	Headers map[string]Secret // sent with every request; they may hold tokens
	// Timeout bounds one attempt, from looking up the host to the answer's
	// last byte; default 30 s.
	Timeout time.Duration
	// Compression of requests: none, gzip, zstd or snappy, as the output
	// allows; "" is the output's default. CompressionLevel 0 is the default
	// of the method (gzip 1 to 9, zstd 1 to 4).
	Compression      string
	CompressionLevel int
	// ProxyFromEnvironment makes HTTP(S)_PROXY and NO_PROXY count.
	ProxyFromEnvironment bool
	// MaxConnAge is how long a connection is used before a new one takes its
	// place and the host is looked up again; default 5 min. Each connection
	// draws its own age within a fifth of it (see lifetime).
	MaxConnAge time.Duration
	// Version of the program, for the User-Agent header.
	Version string
	// Resolver looks up the host at every new connection; nil is the system's.
	Resolver Resolver
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Logger may be nil.
	Logger *slog.Logger
}

// String returns the URL as it may be shown: it may hold a password, and the
// other fields are not for printing.
func (c HTTPConfig) String() string { return redactLink(c.URL) }

// GoString is String.
func (c HTTPConfig) GoString() string { return c.String() }

// LogValue is String.
func (c HTTPConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }

const (
	defaultTimeout    = 30 * time.Second
	defaultMaxConnAge = 5 * time.Minute
)

// Compression methods.
const (
	compressNone   = "none"
	compressGzip   = "gzip"
	compressZstd   = "zstd"
	compressSnappy = "snappy"
)

// checked returns the configuration with defaults filled in and without user
// information in the URL, which it returns parsed.
func (c HTTPConfig) checked(schemes ...string) (HTTPConfig, *url.URL, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		// url.Error quotes the URL, password included.
		return c, nil, errors.New("output: the URL cannot be parsed; write scheme://host:port/path")
	}
	ok := false
	for _, s := range schemes {
		ok = ok || u.Scheme == s
	}
	if !ok || u.Host == "" {
		return c, nil, fmt.Errorf("output: the URL must be %s://host:port", strings.Join(schemes, "://…, "))
	}
	if c.Address != "" && c.ProxyFromEnvironment {
		return c, nil, errors.New("output: a proxy connects to what the URL says, not to an address that was looked up")
	}
	if c.TLS != (TLS{}) && (u.Scheme == "http" || u.Scheme == "grpc") {
		return c, nil, fmt.Errorf("output: URL %s is not encrypted, and tls is set; write %ss://", redactURL(u), u.Scheme)
	}
	if u.User != nil {
		if c.Auth != (Auth{}) {
			return c, nil, fmt.Errorf("output: URL %s holds a user, and auth is set too", redactURL(u))
		}
		p, _ := u.User.Password()
		c.Auth = Auth{User: u.User.Username(), Password: Secret(p)}
		u.User = nil
	}
	u.Fragment = ""
	if u.Path == "" {
		u.Path = "/" // JoinPath makes a relative path of an empty one
	}
	c.URL = u.String()
	if err := c.Auth.check(); err != nil {
		return c, nil, err
	}
	for k, v := range c.Headers {
		if !validHeaderName(k) || !validHeaderValue(string(v)) {
			return c, nil, fmt.Errorf("output: header %q is not a valid header", k)
		}
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return c, nil, errors.New("output: tls needs cert and key, or neither")
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.MaxConnAge == 0 {
		c.MaxConnAge = defaultMaxConnAge
	}
	if c.Timeout < 0 || c.MaxConnAge < 0 {
		return c, nil, errors.New("output: timeout and connection age must be positive")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.TLS.InsecureSkipVerify {
		c.Logger.Warn("TLS certificates of this output are NOT verified: anyone on the way can read and change the logs",
			"url", redactURL(u), "setting", "tls.insecure_skip_verify")
	}
	return c, u, nil
}

func (a Auth) check() error {
	n := 0
	for _, set := range []bool{a.User != "" || a.Password != "", a.APIKey != "", a.Bearer != "", a.BearerFile != ""} {
		if set {
			n++
		}
	}
	if n > 1 {
		return errors.New("output: auth: set only one of user, api_key, bearer, bearer_file")
	}
	if strings.Contains(a.User, ":") {
		return errors.New("output: auth: a user name must not contain a colon")
	}
	for _, s := range []Secret{a.APIKey, a.Bearer} {
		if !validHeaderValue(string(s)) {
			return errors.New("output: auth: the token holds characters that no header may have")
		}
	}
	return nil
}

// header returns the Authorization header, given the content of BearerFile.
func (a Auth) header(bearer string) string {
	switch {
	case a.BearerFile != "":
		return "Bearer " + bearer
	case a.Bearer != "":
		return "Bearer " + string(a.Bearer)
	case a.APIKey != "":
		return "ApiKey " + string(a.APIKey)
	case a.User != "" || a.Password != "":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(a.User+":"+string(a.Password)))
	}
	return ""
}

// shown is the endpoint as errors show it.
func (c *HTTPConfig) shown(u *url.URL) string {
	if c.Address != "" {
		return redactURL(u) + " at " + c.Address
	}
	return redactURL(u)
}

// lifetime draws the age at which a new connection is replaced: MaxConnAge give
// or take a fifth, so that senders that connected at the same moment (after a
// rollout or an outage) do not all come back at the same moment.
func (c *HTTPConfig) lifetime() time.Duration {
	return time.Duration(float64(c.MaxConnAge) * (0.8 + 0.4*rand.Float64()))
}

// userAgent is what the output calls itself.
func (c *HTTPConfig) userAgent() string {
	if c.Version == "" {
		return "weir"
	}
	return "weir/" + c.Version
}

// compression returns the method to use: the configured one if it is allowed,
// the first allowed if none is configured.
func (c *HTTPConfig) compression(allowed ...string) (string, error) {
	if c.Compression == "" {
		return allowed[0], nil
	}
	for _, a := range allowed {
		if c.Compression == a {
			return a, nil
		}
	}
	return "", fmt.Errorf("output: compression %q is not supported here, want %s", c.Compression, strings.Join(allowed, " or "))
}

// headerFor returns the headers every request carries, without Authorization.
func (c *HTTPConfig) headerFor(contentType string) http.Header {
	h := http.Header{}
	h.Set("User-Agent", c.userAgent())
	h.Set("Content-Type", contentType)
	for k, v := range c.Headers {
		h.Set(k, string(v))
	}
	return h
}

// validHeaderName reports whether s is a token of RFC 9110, section 5.6.2.
func validHeaderName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// validHeaderValue reports whether s can stand in a header: no control
// characters, so that nothing breaks out of its line.
func validHeaderValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
