package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"unicode/utf8"

	"github.com/klauspost/compress/snappy"
	"github.com/zeebo/xxh3"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirlog/weir/e2e/internal/journal"
)

// A label set in the form that Loki parses: {name="value", …} with values
// quoted as in Go.
var labelSet = regexp.MustCompile(`^\{\s*([a-zA-Z_][a-zA-Z0-9_]*\s*=\s*"(?:[^"\\\n]|\\.)*"\s*(?:,\s*[a-zA-Z_][a-zA-Z0-9_]*\s*=\s*"(?:[^"\\\n]|\\.)*"\s*)*)?,?\s*\}$`)

var labelPair = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*("(?:[^"\\\n]|\\.)*")`)

func checkLabels(s string) error {
	if !labelSet.MatchString(s) || !utf8.ValidString(s) {
		return fmt.Errorf("bad label set %.100q", s)
	}
	seen := make(map[string]bool)
	for _, m := range labelPair.FindAllStringSubmatch(s, -1) {
		if _, err := strconv.Unquote(m[2]); err != nil {
			return fmt.Errorf("label %s: bad value %s", m[1], m[2])
		}
		if seen[m[1]] {
			return fmt.Errorf("label %s twice", m[1])
		}
		seen[m[1]] = true
	}
	if len(seen) == 0 {
		return fmt.Errorf("at least one label pair is required per stream")
	}
	return nil
}

// loki decodes a push: the messages PushRequest, StreamAdapter, EntryAdapter
// and LabelPairAdapter of Loki's logproto, read field by field.
func (s *sink) loki(mediaType string, body []byte) ([]arrival, error) {
	var got []arrival
	entry := func(labels string, ts int64, line []byte) error {
		if ts <= 0 {
			return bad("entry without time in %s", labels)
		}
		if !utf8.Valid(line) {
			return bad("a line is not UTF-8")
		}
		m, ok := journal.ParseLine(line)
		// Loki drops an entry whose stream, time and line are those of another.
		id := xxh3.HashString(labels+strconv.FormatInt(ts, 10)) ^ xxh3.Hash(line)
		got = append(got, arrival{m, ok, id | 1})
		s.mu.Lock()
		s.labels[labels]++
		s.mu.Unlock()
		return nil
	}
	if mediaType == "application/json" {
		var req struct {
			Streams []struct {
				Stream map[string]string   `json:"stream"`
				Values [][]json.RawMessage `json:"values"`
			} `json:"streams"`
		}
		if err := json.Unmarshal(body, &req); err != nil {
			return nil, bad("%v", err)
		}
		for _, st := range req.Streams {
			labels, _ := json.Marshal(st.Stream) // sorted
			for _, v := range st.Values {
				var ts, line string
				if len(v) < 2 || json.Unmarshal(v[0], &ts) != nil || json.Unmarshal(v[1], &line) != nil {
					return nil, bad("bad value in stream %s", labels)
				}
				n, _ := strconv.ParseInt(ts, 10, 64)
				if err := entry(string(labels), n, []byte(line)); err != nil {
					return nil, err
				}
			}
		}
		return got, nil
	}
	if mediaType != "application/x-protobuf" {
		return nil, &badRequest{415, "content type " + mediaType}
	}
	p, err := snappy.Decode(nil, body)
	if err != nil {
		return nil, bad("snappy: %v", err)
	}
	err = fields(p, func(num protowire.Number, v []byte, _ uint64) error {
		if num != 1 {
			return bad("PushRequest: field %d", num)
		}
		var labels string
		var entries [][]byte
		if err := fields(v, func(num protowire.Number, v []byte, _ uint64) error {
			switch num {
			case 1:
				labels = string(v)
			case 2:
				entries = append(entries, v)
			case 3: // hash
			default:
				return bad("Stream: field %d", num)
			}
			return nil
		}); err != nil {
			return err
		}
		if err := checkLabels(labels); err != nil {
			return bad("%v", err)
		}
		if len(entries) == 0 {
			return bad("stream without entries")
		}
		for _, e := range entries {
			var ts int64
			var line []byte
			if err := fields(e, func(num protowire.Number, v []byte, _ uint64) error {
				switch num {
				case 1:
					return fields(v, func(num protowire.Number, _ []byte, n uint64) error {
						switch num {
						case 1:
							ts += int64(n) * 1e9
						case 2:
							if n >= 1e9 {
								return bad("nanoseconds %d", n)
							}
							ts += int64(n)
						}
						return nil
					})
				case 2:
					line = v
				case 3:
					return pair(v)
				case 4: // parsed labels
				default:
					return bad("Entry: field %d", num)
				}
				return nil
			}); err != nil {
				return err
			}
			if err := entry(labels, ts, line); err != nil {
				return err
			}
		}
		return nil
	})
	return got, err
}

// pair checks a LabelPairAdapter of the structured metadata.
func pair(p []byte) error {
	return fields(p, func(num protowire.Number, v []byte, _ uint64) error {
		if num > 2 || !utf8.Valid(v) || num == 1 && len(v) == 0 {
			return bad("bad structured metadata")
		}
		return nil
	})
}

// fields walks over the fields of a message.
func fields(p []byte, f func(num protowire.Number, v []byte, n uint64) error) error {
	for len(p) > 0 {
		num, typ, k := protowire.ConsumeTag(p)
		if k < 0 {
			return bad("protobuf: %v", protowire.ParseError(k))
		}
		p = p[k:]
		var v []byte
		var n uint64
		switch typ {
		case protowire.BytesType:
			v, k = protowire.ConsumeBytes(p)
		case protowire.VarintType:
			n, k = protowire.ConsumeVarint(p)
		default:
			k = protowire.ConsumeFieldValue(num, typ, p)
		}
		if k < 0 {
			return bad("protobuf: %v", protowire.ParseError(k))
		}
		p = p[k:]
		if err := f(num, v, n); err != nil {
			return err
		}
	}
	return nil
}
