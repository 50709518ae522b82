package kube

import (
	"path"
	"reflect"
	"strings"
	"testing"
)

func TestParseFiles(t *testing.T) {
	for text, want := range map[string][]FileSpec{
		"logs:*.log":      {{Volume: "logs", Glob: "*.log"}},
		"logs:/app/*.log": {{Volume: "logs", Glob: "app/*.log"}},
		" logs:a.log ,\n data:b/c.log;parser=json": {{Volume: "logs", Glob: "a.log"}, {Volume: "data", Glob: "b/c.log", Parser: "json"}},
		`v:x;parser=regex:^(?P<n>\d{1\,3})\; (?P<m>.*)$;multiline=first:^\d{4}-;rate=500/s`: {
			{Volume: "v", Glob: "x", Parser: `regex:^(?P<n>\d{1,3}); (?P<m>.*)$`, Multiline: `first:^\d{4}-`, Rate: "500/s"},
		},
		"v:[a-z]?.log,\n": {{Volume: "v", Glob: "[a-z]?.log"}},
	} {
		got, err := ParseFiles(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                                 "no entry",
		" ,\n":                             "no entry",
		"logs":                             "write <volume>:<glob>",
		"Logs:x":                           "not the name of a volume",
		"../x:y":                           "not the name of a volume",
		"logs:":                            "pattern of files is missing",
		"logs:/":                           "pattern of files is missing",
		"logs:../../x":                     `a part ".."`,
		"logs:a/../b":                      `a part ".."`,
		"logs:a//b":                        `a part ""`,
		"logs:./a":                         `a part "."`,
		"logs:a/":                          `a part ""`,
		"logs:[a":                          "not closed",
		"logs:[a/b]":                       "bracket",
		"logs:a\x00b":                      "control byte",
		"logs:a/b/c/d/e/f/g/h/i":           "more than 8 parts",
		"logs:x;parse=json":                `unknown option "parse"`,
		"logs:x;parser":                    "parser has no value",
		"logs:x;rate=":                     "rate has no value",
		"logs:x;rate=1/s;rate=2/s":         "rate is given twice",
		strings.Repeat("v:x,", 33):         "more than 32 entries",
		strings.Repeat("x", 5000):          "too many",
		"logs:" + strings.Repeat("x", 300): "longer than 255",
	} {
		if _, err := ParseFiles(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error %v, want %q", text, err, want)
		}
	}
	// What is right counts beside what is wrong.
	if got, err := ParseFiles("a:x,b,c:y"); len(got) != 2 || err == nil || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzParseFiles(f *testing.F) {
	f.Add(`v:x;parser=regex:^(?P<n>\d{1\,3})\; (?P<m>.*)$;multiline=first:^\d{4}-;rate=500/s`)
	f.Add("a:/b/*,c:d\n")
	f.Fuzz(func(t *testing.T, text string) {
		specs, _ := ParseFiles(text)
		for _, s := range specs {
			if !dnsLabel.MatchString(s.Volume) || s.Glob == "" || strings.HasPrefix(s.Glob, "/") || path.Clean("/v/"+s.Glob) != "/v/"+s.Glob {
				t.Fatalf("%q: %+v", text, s)
			}
		}
	})
}
