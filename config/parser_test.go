package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestParser(t *testing.T) {
	load := func(text string) (*Config, error) {
		cfg, _, err := Load(Options{
			Files: []string{"a.yaml"}, ReadFile: func(string) ([]byte, error) { return []byte(text), nil }, Env: func(string) (string, bool) { return "", false },
		})
		return cfg, err
	}
	const rest = "\noutputs: {stdout: {}}\n"
	for text, want := range map[string]Parser{
		"json":                 {Format: "json"},
		"access":               {Format: "access"},
		"nginx":                {Format: "access"},
		"none":                 {Format: "none"},
		"'regex:^(?P<n>\\d+)'": {Regex: `^(?P<n>\d+)`},
		"{regex: '^(?P<n>x) (?P<time>.*)$', time: '%Y', types: {n: int}}": {Regex: `^(?P<n>x) (?P<time>.*)$`, Time: "%Y", Types: map[string]string{"n": "int"}},
	} {
		cfg, err := load("inputs: {file: {paths: [/x], parse: " + text + "}}\npipeline: [{parse: " + text + "}]" + rest)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for _, got := range []Parser{cfg.Inputs[0].Settings.(*FileInput).Parse, cfg.Pipeline[0].Parse} {
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v", text, got)
			}
		}
		// What is shown is read again as the same.
		shown, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := load("inputs: {file: {paths: [/x], parse: " + string(shown) + "}}" + rest); err != nil || !reflect.DeepEqual(again.Inputs[0].Settings.(*FileInput).Parse, want) {
			t.Errorf("%s is shown as %s, which is read as %v", text, shown, err)
		}
	}
	for text, want := range map[string]string{
		"jsn":                                  `unknown value "jsn"`,
		"'regex:(x)'":                          "no named group",
		"{time: '%Y'}":                         "regex is missing",
		"{regex: '(?P<a>'}":                    "a.yaml:1:45: error: inputs.file.parse.regex: bad regular expression: missing closing ) for the group that begins here (at byte 1)",
		"'regex:x(?P<a>'":                      "inputs.file.parse: bad regular expression: missing closing ) for the group that begins here (at byte 2)",
		"ngnix":                                `did you mean "nginx"?`,
		"{regex: '(?P<a>x)', time: '%Y'}":      "does not have",
		"{regex: '(?P<a>x)', tiem: '%Y'}":      `unknown key "tiem"`,
		"{regex: '(?P<a>x)', types: {b: int}}": "has no group of that name",
	} {
		_, err := load("inputs: {file: {paths: [/x], parse: " + text + "}}" + rest)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "a.yaml:") > 1 {
			t.Errorf("%s: %v, want once: %s", text, err, want)
		}
	}
}

func TestExplain(t *testing.T) {
	for value, want := range map[string]string{
		"jsn":             `unknown value "jsn"; did you mean "json"? allowed: access apache auto json klog logfmt nginx none regex:REGEXP`,
		"regex:(?P<a>x)(": "bad regular expression: missing closing ) for the group that begins here (at byte 9); named groups are written as (?P<level>[A-Z]+); the syntax is RE2: https://github.com/google/re2/wiki/Syntax",
	} {
		if got := Explain(new(Parser).UnmarshalText([]byte(value))); got != want {
			t.Errorf("%s: %s", value, got)
		}
	}
}
