package export

import (
	"slices"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// Row is a line with what is known of it. An encoder keeps nothing of it but the
// stream.
type Row struct {
	Time   int64 // Unix nanoseconds
	Line   []byte
	Stream *Stream
	// Meta is structured metadata, Parsed what the query's stages made; both are
	// sorted by name.
	Meta, Parsed []record.Attr
}

// Get returns a label wherever it comes from, "" if there is none: what the
// query's stages made wins over structured metadata, that over the stream.
func (r *Row) Get(name string) string {
	for _, ls := range [3][]record.Attr{r.Parsed, r.Meta, r.Stream.Labels} {
		for i := range ls {
			if ls[i].Name == name && ls[i].Value != "" {
				return ls[i].Value
			}
		}
	}
	return ""
}

// Level is the row's severity as a word, "" if it is not known.
func (r *Row) Level() string {
	if l := r.Get("detected_level"); l != "" && l != "unknown" {
		return l
	}
	return r.Get("level")
}

// Stream is who wrote a row: a set of labels, sorted by name, which does not
// change.
type Stream struct {
	Labels []record.Attr
	json   []byte   // "labels":{…}
	csv    [][]byte // of each label, as it stands in CSV
	number uint64   // in the rows format, from 1; 0: not written yet
	owner  *rowsEncoder
}

// NewStream returns a stream with these labels, which it keeps.
func NewStream(labels []record.Attr) *Stream {
	s := &Stream{Labels: labels}
	s.json = appendObject(append(s.json, `"labels":`...), labels)
	return s
}

// Streams finds the stream of a set of labels. The zero Streams is empty; it is
// for one goroutine.
type Streams struct {
	recent [256]*Stream // by a sum over the labels
	all    map[string]*Stream
	key    []byte
}

// maxStreams bounds what is remembered; then it is forgotten and begun anew.
const maxStreams = 100_000

// Get returns the one stream with these labels, which are sorted; it copies them
// if it is new.
func (t *Streams) Get(labels []record.Attr) *Stream {
	h := uint32(2166136261)
	for i := range labels {
		v := labels[i].Value
		if n := len(v); n > 0 {
			h = (h ^ uint32(v[n-1]) ^ uint32(v[n/2])<<8 ^ uint32(n)<<16) * 16777619
		}
	}
	at := &t.recent[(h>>16^h)&255]
	if s := *at; s != nil && slices.Equal(s.Labels, labels) {
		return s
	}
	t.key = appendObject(t.key[:0], labels)
	s := t.all[string(t.key)]
	if s == nil {
		own := make([]record.Attr, len(labels))
		for i, l := range labels {
			own[i] = record.Attr{Name: string([]byte(l.Name)), Value: string([]byte(l.Value))}
		}
		s = NewStream(own)
		if t.all == nil || len(t.all) >= maxStreams {
			t.all = make(map[string]*Stream)
		}
		t.all[string(t.key)] = s
	}
	*at = s
	return s
}

// appendObject appends labels as a JSON object.
func appendObject(b []byte, ls []record.Attr) []byte {
	b = append(b, '{')
	for i := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		b = json.AppendStringString(b, ls[i].Name)
		b = append(b, ':')
		b = json.AppendStringString(b, ls[i].Value)
	}
	return append(b, '}')
}
