package json

import (
	stdjson "encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
)

// walk writes the text again from what a Reader says of it.
func walk(r *Reader, p []byte, dst []byte) []byte {
	cut := func(s record.Span) []byte { return p[s.Off:s.End()] }
	switch c := r.Kind(); c {
	case '{':
		r.Enter(c)
		dst = append(dst, '{')
		for n := 0; ; n++ {
			name, _, more := r.Name()
			if !more {
				return append(dst, '}')
			}
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = fmt.Appendf(dst, `"%s":`, cut(name))
			dst = walk(r, p, dst)
		}
	case '[':
		r.Enter(c)
		dst = append(dst, '[')
		for n := 0; r.More(); n++ {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = walk(r, p, dst)
		}
		return append(dst, ']')
	case '"':
		s, _, _ := r.String()
		return fmt.Appendf(dst, `"%s"`, cut(s))
	}
	s, _, _ := r.Scalar()
	return append(dst, cut(s)...)
}

func TestReader(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, `""`, `0`, `true`, `null`, `[[],[[]],{}]`, `{"a":{},"b":[{}],"c":"\"\u00e4"}`, `[1,-2.5e3,"x",false]`,
		strings.Repeat(`[`, 64) + strings.Repeat(`]`, 64),
	} {
		var r Reader
		spaced := " " + strings.NewReplacer(",", " ,\n", ":", "\t: ", "[", "[ ", "{", "{ ", "]", " ]").Replace(text) + " "
		for _, p := range []string{text, spaced} {
			r.Reset([]byte(p))
			got := string(walk(&r, []byte(p), nil))
			if !r.End() || r.Err() != nil || got != text {
				t.Errorf("%s: read as %s, %v", p, got, r.Err())
			}
			r.Reset([]byte(p))
			if s, ok := r.Skip(); !ok || !r.End() || string(p[s.Off:s.End()]) != strings.TrimSpace(p) {
				t.Errorf("%s: skipped %v, %v", p, s, r.Err())
			}
		}
	}
	for text, why := range map[string]string{
		``: "unexpected end at offset 0", `{`: "unexpected end at offset 1", `{"a"`: "unexpected end at offset 4", `{"a":`: "unexpected end at offset 5", `[1`: "unexpected end at offset 2",
		`[1,]`: "unexpected byte at offset 3", `[,1]`: "unexpected byte at offset 1", `{,}`: "unexpected byte at offset 1", `{"a":1,}`: "unexpected byte at offset 7", `[1}`: "unexpected byte at offset 2",
		`{"a":1]`: "unexpected byte at offset 6", `{1:2}`: "unexpected byte at offset 1", `{"a" 1}`: "unexpected byte at offset 5", `[1 2]`: "unexpected byte at offset 3", `nul`: "malformed literal at offset 0", `01`: "bytes after the object at offset 1",
		`-x`: "malformed number at offset 1", `"\q"`: "malformed escape at offset 1", "\"\n\"": "control byte inside a string at offset 1", `"a`: "unexpected end at offset 2", `1 2`: "bytes after the object at offset 2",
		strings.Repeat(`[`, 65): "nested deeper than 64 at offset 64",
	} {
		for _, skip := range []bool{false, true} {
			var r Reader
			r.Reset([]byte(text))
			if skip {
				r.Skip()
			} else {
				walk(&r, []byte(text), nil)
			}
			if r.End() || r.Err() == nil || r.Err().Error() != "json: "+why {
				t.Errorf("%s (skip %v): %v, want %s", text, skip, r.Err(), why)
			}
		}
	}
}

func TestReaderReturn(t *testing.T) {
	var r Reader
	p := []byte(`{"values":[1,[2]],"labels":{"a":"b"}}`)
	r.Reset(p)
	r.Enter('{')
	r.Name()
	m := r.Mark()
	r.Skip()
	r.Name()
	r.Skip()
	end := r.Mark()
	r.Return(m)
	if got := string(walk(&r, p, nil)); got != `[1,[2]]` {
		t.Errorf("read %s", got)
	}
	r.Return(end)
	if _, _, more := r.Name(); more || !r.End() {
		t.Error("not at the end")
	}
}

// A Reader accepts what encoding/json does, but for depth and UTF-8.
func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"a":[1,2.5e-3,{"b":null}],"c":"\u00e4\ud83d\ude00"}`))
	f.Add([]byte(`[[[[`))
	f.Add([]byte(`"\ud800\n\\"`))
	f.Fuzz(func(t *testing.T, p []byte) {
		var r Reader
		r.Reset(p)
		r.Skip()
		good := r.End()
		if good != (r.Err() == nil) {
			t.Fatalf("end %v, error %v", good, r.Err())
		}
		if valid := stdjson.Valid(p); valid != good && !strings.Contains(fmt.Sprint(r.Err()), "deeper") {
			t.Fatalf("%q: %v, encoding/json says %v", p, r.Err(), valid)
		}
		if !good {
			return
		}
		r.Reset(p)
		again := walk(&r, p, nil)
		r.Reset(again)
		if third := walk(&r, again, nil); string(third) != string(again) {
			t.Fatalf("%q became %q", again, third)
		}
	})
}

func FuzzUnescapeInPlace(f *testing.F) {
	f.Add([]byte(`a\u00e4\ud83d\ude00\n\ud800\ud800\u0041\\`))
	f.Fuzz(func(t *testing.T, p []byte) {
		if end, _ := str(append(append([]byte{}, p...), '"'), 0); end != len(p) {
			return
		}
		want := string(Unescape(nil, p))
		if got := string(UnescapeInPlace(p)); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}
