package forward

import (
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"errors"

	"github.com/tinylib/msgp/msgp"
)

// Hello is what a server that wants a shared key says first.
// https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1#helo
type Hello struct {
	Nonce     []byte // at least 16 random bytes, new for every connection
	Auth      []byte // salt of the user's password; empty: no user is asked for
	KeepAlive bool
}

// Append appends the message.
func (h *Hello) Append(dst []byte) []byte {
	dst = msgp.AppendString(append(dst, 0x92), "HELO")
	dst = append(dst, 0x83)
	dst = msgp.AppendBytes(msgp.AppendString(dst, "nonce"), h.Nonce)
	dst = msgp.AppendBytes(msgp.AppendString(dst, "auth"), h.Auth)
	return msgp.AppendBool(msgp.AppendString(dst, "keepalive"), h.KeepAlive)
}

// Ping is a client's answer to a Hello.
type Ping struct {
	Hostname string
	Salt     []byte // of the shared key's digest; random text
	Digest   string // hexadecimal
	User     string
	Password string // hexadecimal digest
}

// NewPing returns the Ping of a client with these names and secrets.
func NewPing(h *Hello, hostname string, salt []byte, sharedKey, user, password string) *Ping {
	p := &Ping{Hostname: hostname, Salt: salt, Digest: keyDigest(salt, hostname, h.Nonce, sharedKey), User: user}
	if len(h.Auth) > 0 {
		p.Password = PasswordDigest(h.Auth, user, password)
	}
	return p
}

// Append appends the message.
func (p *Ping) Append(dst []byte) []byte {
	dst = msgp.AppendString(append(dst, 0x96), "PING")
	dst = msgp.AppendString(dst, p.Hostname)
	dst = msgp.AppendStringFromBytes(dst, p.Salt) // Fluent Bit refuses bin
	dst = msgp.AppendString(dst, p.Digest)
	dst = msgp.AppendString(dst, p.User)
	return msgp.AppendString(dst, p.Password)
}

// KeyMatches reports whether the client knows the shared key. How long it takes
// does not depend on how much of the digest is right.
func (p *Ping) KeyMatches(nonce []byte, sharedKey string) bool {
	want := keyDigest(p.Salt, p.Hostname, nonce, sharedKey)
	return subtle.ConstantTimeCompare([]byte(want), []byte(p.Digest)) == 1
}

// PasswordMatches reports whether the client knows the password of its user.
func (p *Ping) PasswordMatches(salt []byte, password string) bool {
	want := PasswordDigest(salt, p.User, password)
	return subtle.ConstantTimeCompare([]byte(want), []byte(p.Password)) == 1
}

// Pong is the server's answer to a Ping.
type Pong struct {
	OK       bool
	Reason   string // if not OK
	Hostname string
	Digest   string
}

// NewPong returns the answer that lets the client in: it proves that the server
// knows the key too.
func NewPong(p *Ping, nonce []byte, hostname, sharedKey string) *Pong {
	return &Pong{OK: true, Hostname: hostname, Digest: keyDigest(p.Salt, hostname, nonce, sharedKey)}
}

// Append appends the message.
func (p *Pong) Append(dst []byte) []byte {
	dst = msgp.AppendBool(msgp.AppendString(append(dst, 0x95), "PONG"), p.OK)
	dst = msgp.AppendString(dst, p.Reason)
	dst = msgp.AppendString(dst, p.Hostname)
	return msgp.AppendString(dst, p.Digest)
}

// KeyMatches reports whether the server that answers a Ping with that salt knows
// the shared key.
func (p *Pong) KeyMatches(salt, nonce []byte, sharedKey string) bool {
	want := keyDigest(salt, p.Hostname, nonce, sharedKey)
	return subtle.ConstantTimeCompare([]byte(want), []byte(p.Digest)) == 1
}

// keyDigest proves knowledge of the key to who knows the nonce.
func keyDigest(salt []byte, hostname string, nonce []byte, sharedKey string) string {
	return digest(salt, []byte(hostname), nonce, []byte(sharedKey))
}

// PasswordDigest is how a password is sent.
func PasswordDigest(salt []byte, user, password string) string {
	return digest(salt, []byte(user), []byte(password))
}

func digest(parts ...[]byte) string {
	h := sha512.New()
	for _, p := range parts {
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

var errHandshake = errors.New("not a message of the forward protocol's handshake")

// elements returns the elements of the handshake message p, which must be whole
// and of that name.
func elements(p []byte, name string, n int) ([]head, error) {
	arr := read(p, 0)
	if arr.kind != kindArray || arr.n < uint64(n) || arr.n > 16 {
		return nil, errHandshake
	}
	out := make([]head, 0, arr.n)
	i := arr.body
	for range arr.n {
		out = append(out, read(p, i))
		var err error
		if i, err = skip(p, i); err != nil {
			return nil, err
		}
	}
	if i != len(p) || !out[0].isText() || string(p[out[0].body:out[0].end()]) != name {
		return nil, errHandshake
	}
	return out, nil
}

// ParseHello reads a HELO.
func ParseHello(p []byte) (*Hello, error) {
	el, err := elements(p, "HELO", 2)
	if err != nil {
		return nil, err
	}
	h := &Hello{KeepAlive: true}
	i := el[1].body
	if el[1].kind != kindMap {
		return nil, errHandshake
	}
	for range el[1].n {
		k := read(p, i)
		i, _ = skip(p, i) // elements has been over it
		v := read(p, i)
		i, _ = skip(p, i)
		if !k.isText() {
			continue
		}
		switch string(p[k.body:k.end()]) {
		case "nonce":
			h.Nonce = text(p, v)
		case "auth":
			h.Auth = text(p, v)
		case "keepalive":
			h.KeepAlive = v.kind != kindBool || v.n != 0
		}
	}
	return h, nil
}

// ParsePing reads a PING.
func ParsePing(p []byte) (*Ping, error) {
	el, err := elements(p, "PING", 6)
	if err != nil {
		return nil, err
	}
	return &Ping{
		Hostname: string(text(p, el[1])), Salt: text(p, el[2]), Digest: string(text(p, el[3])),
		User: string(text(p, el[4])), Password: string(text(p, el[5])),
	}, nil
}

// ParsePong reads a PONG.
func ParsePong(p []byte) (*Pong, error) {
	el, err := elements(p, "PONG", 5)
	if err != nil {
		return nil, err
	}
	return &Pong{
		OK: el[1].kind == kindBool && el[1].n != 0, Reason: string(text(p, el[2])),
		Hostname: string(text(p, el[3])), Digest: string(text(p, el[4])),
	}, nil
}

// text returns a string's bytes, nil if it is none.
func text(p []byte, h head) []byte {
	if !h.isText() {
		return nil
	}
	return p[h.body:h.end()]
}
