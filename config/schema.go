package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// field is a key of a struct, as its tags describe it.
type field struct {
	name, doc, def string
	index          []int
	typ            reflect.Type
	enum           []string
	words          map[string]int64
	min, max       string
	schemes        []string
	required       bool
	lookup         bool // of a URL: dns+ and srv+ may stand before the scheme
}

// fieldsOf returns the keys of a struct in order, those of inlined structs in
// the place of these.
func fieldsOf(t reflect.Type) []field {
	var fs []field
	for i := range t.NumField() {
		sf := t.Field(i)
		tag := sf.Tag.Get("yaml")
		if tag == ",inline" {
			for _, f := range fieldsOf(sf.Type) {
				f.index = append([]int{i}, f.index...)
				fs = append(fs, f)
			}
			continue
		}
		if tag == "" || tag == "-" {
			continue
		}
		f := field{name: tag, doc: sf.Tag.Get("doc"), def: sf.Tag.Get("default"), index: []int{i}, typ: sf.Type,
			min: sf.Tag.Get("min"), max: sf.Tag.Get("max"), required: sf.Tag.Get("required") == "true", lookup: sf.Tag.Get("lookup") == "true"}
		if s := sf.Tag.Get("enum"); s != "" {
			f.enum = strings.Split(s, ",")
		}
		if s := sf.Tag.Get("scheme"); s != "" {
			f.schemes = strings.Split(s, ",")
		}
		if word, num, ok := strings.Cut(sf.Tag.Get("word"), "="); ok {
			n, err := strconv.ParseInt(num, 10, 64)
			if err != nil {
				panic("config: bad word tag of " + t.Name() + "." + sf.Name)
			}
			f.words = map[string]int64{word: n}
		}
		fs = append(fs, f)
	}
	return fs
}

func findField(fs []field, name string) *field {
	for i := range fs {
		if fs[i].name == name {
			return &fs[i]
		}
	}
	return nil
}

func names(fs []field) []string {
	out := make([]string, len(fs))
	for i := range fs {
		out[i] = fs[i].name
	}
	return out
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// isScalar reports whether values of the type are written as a single word.
func isScalar(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(textUnmarshaler) {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		return true
	}
	return false
}

// hasMapForm reports whether values of a type that are written as a single word can
// also be written as a map.
func hasMapForm(t reflect.Type) bool {
	return isScalar(t) && t.Kind() == reflect.Struct && len(fieldsOf(t)) > 0
}

// setScalar reads text into v by the rules of f.
func setScalar(v reflect.Value, text string, f *field) error {
	if f != nil && f.enum != nil && v.Kind() == reflect.String {
		for _, w := range f.enum {
			if w == text {
				v.SetString(text)
				return nil
			}
		}
		return bad(suggest(text, f.enum), "unknown value %q", shorten(text))
	}
	if f != nil && f.words != nil {
		if n, ok := f.words[text]; ok {
			v.SetInt(n)
			return nil
		}
	}
	if err := parseScalar(v, text); err != nil {
		return err
	}
	if f == nil {
		return nil
	}
	if u, ok := v.Interface().(URL); ok && u.Lookup() != "" && !f.lookup {
		return bad("write "+string(u.Plain().Scheme())+"://…", "%s+ does not fit here: there is one address", u.Lookup())
	}
	if u, ok := v.Interface().(URL); ok && f.schemes != nil {
		for _, s := range f.schemes {
			if u.Scheme() == s {
				return nil
			}
		}
		return bad(suggest(u.Scheme(), f.schemes), "scheme %q does not fit here", shorten(u.Scheme()))
	}
	for _, bound := range []struct {
		text string
		off  func(v, limit int64) bool
		what string
	}{{f.min, func(v, l int64) bool { return v < l }, "least"}, {f.max, func(v, l int64) bool { return v > l }, "most"}} {
		if bound.text == "" {
			continue
		}
		limit := reflect.New(v.Type()).Elem()
		if err := parseScalar(limit, bound.text); err != nil {
			panic(fmt.Sprintf("config: bad bound %q of %s", bound.text, f.name))
		}
		if bound.off(v.Int(), limit.Int()) {
			return bad("", "%s is out of range: %s at %s", shorten(text), bound.text, bound.what)
		}
	}
	return nil
}

func parseScalar(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		switch text {
		case "true", "false":
			v.SetBool(text == "true")
		default:
			hint := "allowed: false true"
			switch strings.ToLower(text) {
			case "yes", "on", "y", "1", "true":
				hint = `did you mean "true"?   ` + hint
			case "no", "off", "n", "0", "false":
				hint = `did you mean "false"?   ` + hint
			}
			return bad(hint, "bad yes-or-no value %q", shorten(text))
		}
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return bad("", "bad whole number %q", shorten(text))
		}
		v.SetInt(n)
	default:
		panic("config: no scalar: " + v.Type().String())
	}
	return nil
}

// setDefaults gives v, a struct, the values of its default tags, or of
// override by path below the struct.
func setDefaults(v reflect.Value, override map[string]string, path string) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		p := sub(path, f.name)
		if fv.Kind() == reflect.Struct && !isScalar(fv.Type()) {
			setDefaults(fv, override, p)
			continue
		}
		def, over := override[p]
		if !over {
			def = f.def
		}
		if def == "" {
			continue
		}
		if err := setDefault(fv, def, &f); err != nil {
			panic(fmt.Sprintf("config: bad default of %s: %v", p, err))
		}
	}
}

func setDefault(v reflect.Value, def string, f *field) error {
	if v.Kind() != reflect.Slice {
		return setScalar(v, def, f)
	}
	for word := range strings.SplitSeq(strings.Trim(def, "[]"), ",") {
		item := reflect.New(v.Type().Elem()).Elem()
		if err := setScalar(item, strings.TrimSpace(word), f); err != nil {
			return err
		}
		v.Set(reflect.Append(v, item))
	}
	return nil
}
