package loki

import (
	"bytes"
	"strconv"
)

// Kind is why Loki refused a push.
type Kind uint8

// The kinds of refusals.
const (
	Other         Kind = iota
	RateLimited        // 429: the tenant's or a stream's rate; try again
	StreamLimit        // 429: too many active streams
	TooOld             // 400: older than reject_old_samples_max_age
	TooNew             // 400: too far in the future
	TooFarBehind       // 400: too far behind the stream's newest line, or out of order
	LineTooLong        // 400: the line, or its structured metadata
	InvalidLabels      // 400: names, values or number of labels
)

var kindNames = [...]string{"other", "rate_limited", "stream_limit", "too_old", "too_new", "too_far_behind", "line_too_long", "invalid_labels"}

// String returns the kind in the manner of Loki's own reasons.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[Other]
}

// Refusal is what Loki says of a push that it did not take whole.
type Refusal struct {
	Kind Kind
	// Ignored of Total lines were refused and the rest was taken, if Loki says
	// so (Total > 0).
	Ignored, Total int
	// Message is the answer's text, cut at 512 bytes. It may quote labels.
	Message string
}

// Partial reports whether the lines that are not at fault may have been
// stored. Loki checks line by line, takes what is good and answers 400 for the
// rest; the whole request is refused only for rates and labels.
func (r Refusal) Partial() bool {
	switch r.Kind {
	case TooOld, TooNew, TooFarBehind, LineTooLong:
		return true
	}
	return r.Total > r.Ignored
}

// phrases are taken from Loki's validation errors, versions 2.0 to 3.5:
// pkg/validation/validate.go and pkg/ingester/stream.go. Earlier ones go
// first.
var phrases = []struct {
	text string
	kind Kind
}{
	{"rate limit exceeded", RateLimited}, // both the tenant's and the stream's
	{"active stream limit exceeded", StreamLimit},
	{"streams limit exceeded", StreamLimit},
	{"timestamp too old", TooOld},
	{"timestamp too new", TooNew},
	{"too far behind", TooFarBehind},
	{"out of order", TooFarBehind},
	{"entry size", LineTooLong}, // Max entry size '…' bytes exceeded
	{"structured metadata too large", LineTooLong},
	{"too many structured metadata", LineTooLong},
	{"message larger than max", LineTooLong},
	{"label names; limit", InvalidLabels},
	{"label name too long", InvalidLabels},
	{"label value too long", InvalidLabels},
	{"duplicate label name", InvalidLabels},
	{"at least one label pair", InvalidLabels},
	{"parsing labels", InvalidLabels},
}

// ParseError reads the answer to a push that was not answered with 2xx.
func ParseError(status int, body []byte) Refusal {
	const scan, keep = 64 << 10, 512
	if len(body) > scan {
		body = body[:scan]
	}
	var r Refusal
	lower := bytes.ToLower(body)
	at := -1
	for _, p := range phrases {
		if i := bytes.Index(lower, []byte(p.text)); i >= 0 && (at < 0 || i < at) {
			at, r.Kind = i, p.kind
		}
	}
	if r.Kind == Other && status == 429 {
		r.Kind = RateLimited
	}
	if i := bytes.Index(lower, []byte("total ignored: ")); i >= 0 {
		rest := lower[i+len("total ignored: "):]
		a, rest := number(rest)
		if rest, ok := bytes.CutPrefix(rest, []byte(" out of ")); ok {
			if t, _ := number(rest); t >= a {
				r.Ignored, r.Total = a, t
			}
		}
	}
	if len(body) > keep {
		body = body[:keep]
	}
	r.Message = string(bytes.TrimSpace(bytes.ToValidUTF8(body, []byte("\ufffd"))))
	return r
}

func number(p []byte) (int, []byte) {
	i := 0
	for i < len(p) && i < 10 && p[i]-'0' <= 9 {
		i++
	}
	n, _ := strconv.Atoi(string(p[:i]))
	return n, p[i:]
}
