package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestScalars(t *testing.T) {
	const day = Duration(24 * time.Hour)
	for _, tc := range []struct {
		text string
		want any // nil: an error
		into any
		back string // what is written, if not text
	}{
		{"250ms", Duration(250 * time.Millisecond), new(Duration), ""},
		{"1h30m", Duration(90 * time.Minute), new(Duration), ""},
		{"1.5h", Duration(90 * time.Minute), new(Duration), "1h30m"},
		{"7d", 7 * day, new(Duration), ""},
		{"2w", 14 * day, new(Duration), "14d"},
		{"1d", day, new(Duration), "24h"},
		{"0", Duration(0), new(Duration), "0s"},
		{"", nil, new(Duration), ""}, {"10", nil, new(Duration), ""}, {"s", nil, new(Duration), ""},
		{"-1s", nil, new(Duration), ""}, {"1 s", nil, new(Duration), ""}, {"1..5s", nil, new(Duration), ""},
		{"9999999999h", nil, new(Duration), ""}, {"1s ", nil, new(Duration), ""}, {"1e3s", nil, new(Duration), ""},

		{"8MiB", Size(8 << 20), new(Size), ""},
		{"1.5GiB", Size(1536 << 20), new(Size), "1536MiB"},
		{"10MB", Size(1e7), new(Size), "10000000"},
		{"10 MB", Size(1e7), new(Size), "10000000"},
		{"512", Size(512), new(Size), ""}, {"0", Size(0), new(Size), ""}, {"7B", Size(7), new(Size), "7"},
		{"8TiB", Size(8 << 40), new(Size), ""},
		{"", nil, new(Size), ""}, {"MiB", nil, new(Size), ""}, {"8Mi", nil, new(Size), ""}, {"8mb", nil, new(Size), ""},
		{"-1", nil, new(Size), ""}, {"99999999TiB", nil, new(Size), ""}, {"1MiB2", nil, new(Size), ""},

		{"20k/s", Rate{20000, time.Second, false}, new(Rate), ""},
		{"500/m", Rate{500, time.Minute, false}, new(Rate), ""},
		{"2M/h", Rate{2000000, time.Hour, false}, new(Rate), ""},
		{"5MiB/s", Rate{5 << 20, time.Second, true}, new(Rate), ""},
		{"7B/s", Rate{7, time.Second, true}, new(Rate), ""},
		{"5", nil, new(Rate), ""}, {"5/d", nil, new(Rate), ""}, {"k/s", nil, new(Rate), ""}, {"-5/s", nil, new(Rate), ""}, {"NaN/s", nil, new(Rate), ""},

		{"http://h", URL("http://h"), new(URL), ""},
		{"grpcs://h:1/p?q=1", URL("grpcs://h:1/p?q=1"), new(URL), ""},
		{"http://[::1]:9200", URL("http://[::1]:9200"), new(URL), ""},
		{"http://u:p@h", URL("http://u:p@h"), new(URL), "http://[redacted]@h"},
		{"h:9200", nil, new(URL), ""}, {"/x", nil, new(URL), ""}, {"http:///x", nil, new(URL), ""},
		{"http://h:0", nil, new(URL), ""}, {"http://h:x", nil, new(URL), ""}, {"", nil, new(URL), ""}, {"mailto:a@b", nil, new(URL), ""},

		{":7411", Address(":7411"), new(Address), ""},
		{"[::1]:0", Address("[::1]:0"), new(Address), ""},
		{"off", Address(""), new(Address), ""},
		{"7411", nil, new(Address), ""}, {"h:x", nil, new(Address), ""}, {"h:70000", nil, new(Address), ""}, {"::1", nil, new(Address), ""}, {"a b:1", nil, new(Address), ""},

		{"loki", ID("loki"), new(ID), ""}, {"loki/a-B_1", ID("loki/a-B_1"), new(ID), ""},
		{"", nil, new(ID), ""}, {"/a", nil, new(ID), ""}, {"a/", nil, new(ID), ""}, {"a/b/c", nil, new(ID), ""}, {"a/..", nil, new(ID), ""}, {"a.b", nil, new(ID), ""}, {"a/ä", nil, new(ID), ""},

		{"/var/log/*.log", Glob("/var/log/*.log"), new(Glob), ""},
		{"[", nil, new(Glob), ""}, {"", nil, new(Glob), ""}, {"a\x00", nil, new(Glob), ""},
		{"a\x00b", nil, new(Path), ""},
	} {
		v := reflect.ValueOf(tc.into).Elem()
		err := parseScalar(v, tc.text)
		name := fmt.Sprintf("%s %q", v.Type().Name(), tc.text)
		if (err != nil) != (tc.want == nil) {
			t.Errorf("%s: error is %v", name, err)
			continue
		}
		if err != nil {
			continue
		}
		if v.Interface() != tc.want {
			t.Errorf("%s is %#v", name, v.Interface())
		}
		if tc.back == "" {
			tc.back = tc.text
		}
		if s, ok := v.Interface().(fmt.Stringer); ok && s.String() != tc.back {
			t.Errorf("%s is written %q", name, s)
		}
	}
}

// What is written is read as the same.
func TestScalarsAreReadAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(rapid.Int64Range(0, 1<<50).Draw(t, "duration"))
		var d2 Duration
		if err := d2.UnmarshalText([]byte(d.String())); err != nil || d2 != d {
			t.Fatalf("%d is written %s and read %d, %v", d, d, d2, err)
		}
		z := Size(rapid.Int64Range(0, 1<<50).Draw(t, "size"))
		var z2 Size
		if err := z2.UnmarshalText([]byte(z.String())); err != nil || z2 != z {
			t.Fatalf("%d is written %s and read %d, %v", z, z, z2, err)
		}
		r := Rate{rapid.Int64Range(0, 1<<50).Draw(t, "rate"), time.Second, rapid.Bool().Draw(t, "bytes")}
		var r2 Rate
		if err := r2.UnmarshalText([]byte(r.String())); err != nil || r2.N != r.N || r2.Per != r.Per || r2.Bytes != r.Bytes && !(r.Bytes && r.N%1024 == 0) {
			t.Fatalf("%#v is written %s and read %#v, %v", r, r, r2, err)
		}
	})
}

func TestLoopback(t *testing.T) {
	for a, want := range map[Address]bool{"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true,
		"[::ffff:127.0.0.1]:1": true, ":1": false, "0.0.0.0:1": false, "[::]:1": false, "h:1": false, "": false, "10.0.0.1:1": false} {
		if a.Loopback() != want {
			t.Errorf("%q: %v", a, !want)
		}
	}
}

func TestFailure112_URLsHidePasswords(t *testing.T) {
	for in, want := range map[string]string{
		"http://user:canary@h/x":            "http://[redacted]@h/x",
		"http://us@er:can:ary@h":            "http://[redacted]@h",
		"http://canary@h":                   "http://[redacted]@h",
		"http://h/x?token=canary&a=b":       "http://h/x?token=[redacted]&a=b",
		"http://h/x?a=b&api_key=canary#f":   "http://h/x?a=b&api_key=[redacted]#f",
		"http://h/x?_stream_fields=pod":     "http://h/x?_stream_fields=pod",
		"https://h/p@th":                    "https://h/p@th",
		"http://h/x?X-Amz-Signature=canary": "http://h/x?X-Amz-Signature=[redacted]",
	} {
		u := URL(in)
		j, err := json.Marshal(map[string]any{"u": u})
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "u", u)
		all := fmt.Sprintf("%v %s %#v %+v", u, u, u, []URL{u}) + string(j) + log.String()
		if strings.Contains(all, "canary") || u.String() != want {
			t.Errorf("%s is shown as %s", in, all)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"retry", "batch", "buffer", "labels", "url", "urls", "compression", "elasticsearch", "stdout"}
	for in, want := range map[string]string{"retrys": "retry", "RETRY": "retry", "bacth": "batch", "compres": "compression", "elastic": "elasticsearch",
		"elasticsaerch": "elasticsearch", "uri": "url", "x": "", "": "", "kafka": "", "std-out": "stdout"} {
		if got := nearest(in, words); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := rapid.StringN(0, 8, 30).Draw(t, "a"), rapid.StringN(0, 8, 30).Draw(t, "b"), rapid.String().Draw(t, "c")
		if distance(a, b) != distance(b, a) || distance(a, a) != 0 || (distance(a, b) == 0) != (string([]rune(a)) == string([]rune(b))) {
			t.Fatalf("%q %q", a, b)
		}
		nearest(c, words)
	})
}

// The schema's own tags are sound: defaults parse, every key has a sentence.
func TestSchema(t *testing.T) {
	var check func(typ reflect.Type, path string, fs []field)
	check = func(typ reflect.Type, path string, fs []field) {
		seen := make(map[string]bool)
		for _, f := range fs {
			p := sub(path, f.name)
			if seen[f.name] {
				t.Errorf("%s: two keys of one name", p)
			}
			seen[f.name] = true
			if len(f.doc) < 8 || !strings.HasSuffix(f.doc, ".") {
				t.Errorf("%s: no sentence: %q", p, f.doc)
			}
			if strings.Trim(f.name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
				t.Errorf("%s: bad key", p)
			}
			switch {
			case f.typ == reflect.TypeFor[Inputs](), f.typ == reflect.TypeFor[Outputs]():
			case f.typ.Kind() == reflect.Slice && f.typ.Elem().Kind() == reflect.Struct:
				check(f.typ.Elem(), p+"[]", fieldsOf(f.typ.Elem()))
			case f.typ.Kind() == reflect.Struct && !isScalar(f.typ):
				check(f.typ, p, fieldsOf(f.typ))
			case f.enum != nil && f.def == "" && path != "pipeline[]" && p != "inputs.file.parse" && f.typ.Kind() != reflect.Slice:
				t.Errorf("%s: an enum without default", p)
			}
		}
	}
	check(reflect.TypeFor[Config](), "", fieldsOf(reflect.TypeFor[Config]()))
	setDefaults(reflect.New(reflect.TypeFor[Config]()).Elem(), nil, "")
	for kind, types := range map[string][]componentType{"inputs": inputTypes, "outputs": outputTypes} {
		for _, ct := range types {
			v := reflect.ValueOf(ct.new()).Elem()
			check(v.Type(), kind+"."+ct.name, ct.fields())
			setDefaults(v, ct.defaults, "")
			for path := range ct.defaults {
				e := emitter{}
				e.structure(v, ct.fields(), "", "")
				last := path[strings.LastIndexByte(path, '.')+1:]
				if !strings.Contains(e.text(), last+": "+ct.defaults[path]) {
					t.Errorf("%s.%s: the default of %s has no effect", kind, ct.name, path)
				}
			}
		}
	}
}
