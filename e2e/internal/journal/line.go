package journal

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/zeebo/xxh3"
)

// A Mark is what a generated line says about itself: the stream that wrote it,
// its number there (from 0, without holes) and a hash of its payload.
type Mark struct {
	Stream string
	Seq    uint64
	Hash   uint64
}

// HashPayload returns the hash under which a payload is compared. Sinks of
// text cannot take invalid UTF-8; a run of invalid bytes and a run of
// replacement characters therefore count as one replacement character. Valid
// payloads of the generator hold none, so for them every byte counts.
func HashPayload(p []byte) uint64 {
	if !utf8.Valid(p) {
		p = bytes.ToValidUTF8(p, []byte("\uFFFD"))
	}
	const repl = "\uFFFD"
	if bytes.Contains(p, []byte(repl+repl)) {
		q := make([]byte, 0, len(p))
		for len(p) > 0 {
			if bytes.HasPrefix(p, []byte(repl)) {
				q = append(q, repl...)
				for bytes.HasPrefix(p, []byte(repl)) {
					p = p[len(repl):]
				}
				continue
			}
			q = append(q, p[0])
			p = p[1:]
		}
		p = q
	}
	return xxh3.Hash(p)
}

// ParseLine finds the mark in a whole line as the container wrote it: either a
// JSON object with the members s, n and p, or text that holds
// "s=<stream> n=<seq> p=<payload to the end>" at its start or after a space.
func ParseLine(line []byte) (Mark, bool) {
	if len(line) > 0 && line[0] == '{' {
		var m struct {
			S *string `json:"s"`
			N *uint64 `json:"n"`
			P *string `json:"p"`
		}
		if json.Unmarshal(line, &m) != nil || m.S == nil || m.N == nil || m.P == nil {
			return Mark{}, false
		}
		return Mark{*m.S, *m.N, HashPayload([]byte(*m.P))}, true
	}
	rest := line
	if !bytes.HasPrefix(rest, []byte("s=")) {
		i := bytes.Index(rest, []byte(" s="))
		if i < 0 {
			return Mark{}, false
		}
		rest = rest[i+1:]
	}
	s, rest, ok := bytes.Cut(rest[2:], []byte(" n="))
	if !ok || len(s) == 0 || len(s) > 256 {
		return Mark{}, false
	}
	d, p, ok := bytes.Cut(rest, []byte(" p="))
	if !ok {
		return Mark{}, false
	}
	n, err := strconv.ParseUint(string(d), 10, 64)
	if err != nil {
		return Mark{}, false
	}
	return Mark{string(s), n, HashPayload(p)}, true
}
