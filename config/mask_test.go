package config

import (
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestFailure112_ExcerptsHideSecrets(t *testing.T) {
	for in, want := range map[string]string{
		"password: hunter2":                           "password: *******",
		"password: hunter2 # x":                       "password: ********# x",
		"  'pass word': x":                            "  'pass word': x",
		"auth: {user: u, pasword: 'a, b', x: y}":      "auth: {user: u, pasword: ******, x: y}",
		`api_key: "a}b", user: u`:                     "api_key: *****, user: u",
		"bearer_file: /run/token":                     "bearer_file: /run/token",
		"password: ${env:ES_PASSWORD}":                "password: ${env:ES_PASSWORD}",
		"{password: '${env:P}', token: '${file:/x}'}": "{password: '${env:P}', token: '${file:/x}'}",
		"password: ${env:P:-hunter2}":                 "password: *****************",
		"password: x${env:P}":                         "password: *********",
		"password: a}b,c]d":                           "password: *******",
		"password:":                                   "password:",
		"auth: {password: [a]}":                       "auth: {password: [a]}",
		"headers: {X: abc, Y-Z: 'd e', W: ${env:A}}":  "headers: {X: ***, Y-Z: *****, W: ${env:A}}",
		"headers: {X: abc":                            "headers: {X: ***",
		"url: https://u:p@h:9200/x":                   "url: https://***@h:9200/x",
		"url: http://h/?a=b&Token=abc&c=d":            "url: http://h/?a=b&Token=***&c=d",
		"X-Auth-Token: abc":                           "X-Auth-Token: ***",
		"namespace: key":                              "namespace: key",
	} {
		if got := maskLine(in); got != want {
			t.Errorf("%s\nis shown as %s", in, got)
		}
	}
	if t.Failed() {
		return
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOfN(rapid.RuneFrom([]rune(`pasword:'"{}[], ${env}#@/?&=token headers.é`)), 0, 60, -1).Draw(t, "line")
		if got := maskLine(s); len(got) != len(s) || !utf8.ValidString(got) {
			t.Fatalf("%q is shown as %q", s, got)
		}
	})
}
