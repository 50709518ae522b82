package config

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// RateLimit bounds how many records come through, for every combination of some
// attributes on its own. It is written as a rate (500/s, 5MiB/s), which drops what is
// over it per container, or as a map with the keys below. The zero value is no limit.
type RateLimit struct {
	Per   []string `yaml:"per" default:"[namespace, pod, container]" doc:"Attributes; every combination of their values has a limit of its own."`
	Lines Rate     `yaml:"lines" doc:"Records: 500/s, 20k/s, 1M/h."`
	Bytes Rate     `yaml:"bytes" doc:"Bytes of text: 5MiB/s."`
	Burst Count    `yaml:"burst" doc:"Records, or bytes, that may come at once after a pause; what the rate allows in its unit of time if not given."`
	Over  string   `yaml:"over" enum:"drop,sample,wait" default:"drop" doc:"What happens above the rate. drop: they are dropped and counted. sample: one in n is kept and says so. wait: reading waits."`
}

var rateLimitPer = []string{"namespace", "pod", "container"}

// UnmarshalText reads a rate.
func (r *RateLimit) UnmarshalText(text []byte) error {
	var rate Rate
	if err := rate.UnmarshalText(text); err != nil {
		return err
	}
	*r = RateLimit{Per: slices.Clone(rateLimitPer), Over: "drop"}
	if rate.Bytes {
		r.Bytes = rate
	} else {
		r.Lines = rate
	}
	return nil
}

// None reports whether there is no limit.
func (r *RateLimit) None() bool { return r.Lines.Per == 0 && r.Bytes.Per == 0 }

// String is how YAML reads r.
func (r RateLimit) String() string {
	keys := []string{"per: [" + strings.Join(r.Per, ", ") + "]"}
	if r.Lines.Per != 0 {
		keys = append(keys, "lines: "+r.Lines.String())
	}
	if r.Bytes.Per != 0 {
		keys = append(keys, "bytes: "+r.Bytes.String())
	}
	if r.Burst != 0 {
		keys = append(keys, "burst: "+r.Burst.String())
	}
	return "{" + strings.Join(append(keys, "over: "+r.Over), ", ") + "}"
}

// MarshalText writes YAML.
func (r RateLimit) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// check finds what the keys do not show one by one. files says that it is an input's
// that reads files.
func (r *RateLimit) check(k *checker, path string, files bool) {
	switch {
	case r.None() && k.nodes[path].node != nil && k.nodes[path].kind == scalarNode:
		return // it is no rate, which was reported
	case r.None():
		k.err(path, "lines or bytes is missing").Hint = "write lines: 20k/s"
	case r.Lines.Per != 0 && r.Bytes.Per != 0:
		k.err(path, "lines and bytes exclude each other").Hint = "two steps, or the input's and a step's, can limit both"
	case r.Lines.Bytes:
		k.err(path+".lines", "%s is a rate of bytes", r.Lines).Hint = "write bytes: " + r.Lines.String()
	case r.Bytes.Per != 0 && !r.Bytes.Bytes:
		k.err(path+".bytes", "%s is a rate of lines", r.Bytes).Hint = "write lines: " + r.Bytes.String() + ", or " + strconv.FormatInt(r.Bytes.N, 10) + "B" + strings.TrimLeft(r.Bytes.String(), "0123456789kM")
	case r.Lines.N == 0 && r.Bytes.N == 0:
		k.err(path, "a rate of 0 lets nothing through").Hint = "drop: '{…}' drops records; routes keep them from an output"
	}
	if r.Over == "wait" && !files {
		k.err(path+".over", "wait is for rate_limit of inputs that read files: the pipeline is for all inputs and cannot wait for one").Hint = "inputs: {file/app: {paths: […], rate_limit: {lines: 20k/s, over: wait}}}"
	}
	for i, name := range r.Per {
		if !labelName(name) {
			k.err(path+".per["+strconv.Itoa(i)+"]", "bad attribute name %q", shorten(name)).Hint = "letters, digits and _, not starting with a digit"
		}
	}
	if len(r.Per) > 16 {
		k.err(path+".per", "more than 16 attributes")
	}
}

// Count is a number, which may end in k, M, or a unit of size.
type Count int64

// UnmarshalText reads 500, 60k, 1M or 5MiB.
func (c *Count) UnmarshalText(text []byte) error {
	s := string(text)
	if l := len(s); l > 1 && (s[l-1] == 'k' || s[l-1] == 'M') {
		if f, err := strconv.ParseFloat(s[:l-1], 64); err == nil && f >= 0 {
			if f *= map[byte]float64{'k': 1e3, 'M': 1e6}[s[l-1]]; f < math.MaxInt64 {
				*c = Count(f)
				return nil
			}
		}
	}
	n, err := parseSize(s)
	if err != nil {
		return bad("a number is written as 500, 60k, 1M or 5MiB", "bad number %q", shorten(s))
	}
	*c = Count(n)
	return nil
}

// String writes c so that UnmarshalText reads the same.
func (c Count) String() string { return strconv.FormatInt(int64(c), 10) }

// MarshalText is String.
func (c Count) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
