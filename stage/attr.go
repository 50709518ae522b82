package stage

import (
	"strings"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// attrs finds the attributes of one record at a time by the names that
// conditions know them by, and in the same order: of the stream; level; of the
// record's fields; of the members at the top of a JSON body. A name also finds
// a field or member that differs only in bytes that no LogQL label has, which
// count as underscores.
type attrs struct {
	scan    json.Scanner
	scanned bool // scan is about the present record
	object  bool
}

// begin forgets the record before.
func (a *attrs) begin() { a.scanned = false }

// append appends the value of that name to dst; nothing for a record without
// it.
func (a *attrs) append(dst []byte, b *record.Batch, i int, name string) []byte {
	if st := b.Stream(i); st != nil {
		if v := st.Get(name); v != "" {
			return append(dst, v...)
		}
	}
	level := name == "level" || name == "detected_level"
	sev := b.Record(i).Severity
	if level && sev != record.Unknown {
		return append(dst, sev.Level()...)
	}
	if f, ok := findField(b, i, name); ok {
		if f.Kind != record.Null {
			dst = append(dst, b.Bytes(f.Val)...)
		}
		return dst
	}
	if m, body, ok := a.member(b, i, name); ok {
		val := body[m.Val.Off:m.Val.End()]
		switch {
		case m.ValEscaped:
			dst = json.Unescape(dst, val)
		case m.Kind != record.Null:
			dst = append(dst, val...)
		}
		return dst
	}
	if level {
		return append(dst, sev.Level()...)
	}
	return dst
}

func findField(b *record.Batch, i int, name string) (record.Field, bool) {
	if f, ok := b.FindField(i, name); ok {
		return f, true
	}
	fs := b.Fields(i)
	for j := len(fs) - 1; j >= 0; j-- {
		if key := b.KeyName(fs[j].Key); len(key) == len(name) && record.SanitizeName(key) == name {
			return fs[j], true
		}
	}
	return record.Field{}, false
}

func (a *attrs) member(b *record.Batch, i int, name string) (m json.Member, body []byte, ok bool) {
	r := b.Record(i)
	if !r.Flags.Has(record.JSONObject) {
		return m, nil, false
	}
	// An underscore may stand for another byte, of which the set of well-known
	// names says nothing.
	if mask, known := json.KnownMask(name); known && r.KnownKeys&mask == 0 && !strings.Contains(name, "_") {
		return m, nil, false
	}
	body = b.Bytes(r.Body)
	if !a.scanned {
		a.scanned, a.object = true, a.scan.Object(body)
	}
	if !a.object {
		return m, nil, false
	}
	if m, ok := a.scan.Find(body, name); ok {
		return m, body, true
	}
	for _, m := range a.scan.Members {
		if !m.Escaped && int(m.Key.Len) == len(name) && sanitizedEqual(body[m.Key.Off:m.Key.End()], name) {
			return m, body, true
		}
	}
	return m, nil, false
}

// sanitizedEqual reports whether name is record.SanitizeName of key, which has
// the same length.
func sanitizedEqual(key []byte, name string) bool {
	for i, c := range key {
		if class[c]&isWord == 0 {
			c = '_'
		}
		if c != name[i] {
			return false
		}
	}
	return true
}
