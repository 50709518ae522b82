package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestCompleteQuery(t *testing.T) {
	labels := map[string][]string{"app": {"web"}, "namespace": {"pay", "shop"}, "node": {"n1"}}
	names := func() []string { return []string{"app", "namespace", "node"} }
	var asked string
	values := func(name, selector string) []string {
		asked = selector
		return labels[name]
	}
	for _, c := range []struct{ text, want string }{
		{"{", `{app="|{namespace="|{node="`},
		{"{n", `{namespace="|{node="`},
		{"{na", `{namespace="pay"}|{namespace="shop"}`},
		{"{ na", `{ namespace="pay"}|{ namespace="shop"}`},
		{"{namespace", `{namespace="pay"}|{namespace="shop"}`},
		{"{namespace=", `{namespace="pay"}|{namespace="shop"}`},
		{`{namespace="s`, `{namespace="shop"}`},
		{`{namespace=~"s`, `{namespace=~"shop"}`},
		{`{namespace != "s`, `{namespace != "shop"}`},
		{`{namespace="shop`, `{namespace="shop"}`},
		{`{namespace="shop"`, `{namespace="shop"}|{namespace="shop", `},
		{`{namespace="shop", a`, `{namespace="shop", app="web"}`},
		{`{namespace="sh}op", a`, `{namespace="sh}op", app="web"}`},
		{`{namespace `, `{namespace ="|{namespace !="|{namespace =~"|{namespace !~"`},
		{`{x="`, ""},
		{`{app="web"} |= "err`, ""},
		{`{app="web"} | js`, `{app="web"} | json`},
		{`{app="web"} |= "err" | logf`, `{app="web"} |= "err" | logfmt`},
		{`{app="web"} | json | line`, "{app=\"web\"} | json | line_format `"},
		{`{app="web"} | level = "err`, ""},
		{`cou`, "count_over_time("},
		{`count_over_time(`, `count_over_time({app="|count_over_time({namespace="|count_over_time({node="`},
		{`sum by (`, `sum by (app) (|sum by (app, |sum by (namespace) (|sum by (namespace, |sum by (node) (|sum by (node, `},
		{`sum by (app, no`, `sum by (app, node) (|sum by (app, node, `},
		{`sum by (app) (ra`, `sum by (app) (rate(`},
		{`sum(rate({a`, `sum(rate({app="web"}`},
		{`rate({app="web"}[`, ""},
	} {
		var got []string
		for _, f := range completeQuery(c.text, names, values) {
			got = append(got, f.word)
		}
		if text := strings.Join(got, "|"); text != c.want {
			t.Errorf("%s: got %s, want %s", c.text, text, c.want)
		}
	}
	completeQuery(`{namespace="shop", node=~"n.*", app="`, names, values)
	if want := `{namespace="shop", node=~"n.*"}`; asked != want {
		t.Errorf("asked for the values in %s, want %s", asked, want)
	}
}

func TestReadQueryNeverFails(t *testing.T) {
	text := "sum by (app, b) (rate({a=\"x\\\"y\", b!~`z`} |= \"t\" | json | level=\"e\" | pattern `<_>` [5m])) > 3"
	none := func() []string { return nil }
	for i := range text {
		completeQuery(text[:i], none, func(string, string) []string { return nil })
		completeQuery(text[i:], none, func(string, string) []string { return nil })
	}
}

// bash's manual names them.
const bashBreaks = " \t\n\"'><=;|&(:"

func TestSplitLine(t *testing.T) {
	for _, c := range []struct {
		shell, line string
		words       []string
		word, kept  string
		insert      string // for the word `{a="b c"}`, or as given behind =>
	}{
		{"bash", `weir query '{a`, []string{"query"}, "{a", "", `{a="b c"}`},
		{"bash", `weir query {a`, []string{"query"}, "{a", "", `'{a="b c"}'`},
		{"bash", `weir query "{a=\"b`, []string{"query"}, `{a="b`, "", `{a=\"b c\"}`},
		{"bash", `weir query {a=`, []string{"query"}, "{a=", "{a=", `\"b\ c\"\}`},
		{"bash", `weir query --server=x '{`, []string{"query", "--server=x"}, "{", "", `{a="b c"}`},
		{"bash", `weir query 'it'\''s' "a b" `, []string{"query", "it's", "a b"}, "", "", `'{a="b c"}'`},
		{"zsh", `weir query '{a`, []string{"query"}, "{a", "", ""},
		{"fish", `weir query 'it\'s' '{a`, []string{"query", "it's"}, "{a", "", ""},
		{"bash", ``, nil, "", "", ""},
	} {
		l := splitLine(c.shell, c.line, bashBreaks)
		if !slices.Equal(l.words, c.words) || l.word != c.word || l.kept != c.kept {
			t.Errorf("%s: words %q, word %q, kept %q", c.line, l.words, l.word, l.kept)
		}
		if got := l.quoted(`{a="b c"}`); c.insert != "" && got != c.insert {
			t.Errorf("%s: bash inserts %s, want %s", c.line, got, c.insert)
		}
	}
	if l := splitLine("bash", "weir tail shop:dep", bashBreaks); l.quoted("shop:deploy/") != "deploy/" {
		t.Errorf("behind a colon: %q", l.quoted("shop:deploy/"))
	}
}

func TestChoices(t *testing.T) {
	for usage, want := range map[string]string{
		"text or json":                             "text json",
		"auto, always or never":                    "auto always never",
		"times: a, b, c":                           "a b c",
		"raw, template=TEXT or template-file=FILE": "raw template= template-file=",
		"pretty, or json: at the end an account":   "",
		"only this namespace":                      "",
	} {
		if got := strings.Join(choices(usage), " "); got != want {
			t.Errorf("%s: %q, want %q", usage, got, want)
		}
	}
}

// complete returns what the shells are told.
func complete(t *testing.T, words ...string) string {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(append([]string{cobra.ShellCompNoDescRequestCmd}, words...))
	root.SetOut(&out)
	root.SetErr(new(bytes.Buffer))
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(strings.TrimSpace(out.String()), "\n", " ")
}

// TestEveryFlagCompletes: no command leaves a flag to the shell's files that
// takes none.
func TestEveryFlagCompletes(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	for words, want := range map[string]string{
		"query --since ":            "5m 15m 1h 6h 1d 7d today yesterday now 10:30 :36",
		"query -o ":                 "",
		"query --color ":            "auto always never :36",
		"query --color al":          "always :36",
		"config show --role ":       "agent gateway sidecar store up webhook :36",
		"check -o ":                 "text json :36",
		"manifests ":                "agent gateway store webhook :4",
		"completion ":               "bash zsh fish powershell :4",
		"query --state ":            ":16",
		"up ":                       ":0",
		"check --config ":           "yaml yml :8",
		"query --template-file ":    ":0",
		"query --server http://127": "http://127.0.0.1:7410 http://127.0.0.1:3100 :36",
		"status x ":                 ":4",
	} {
		got := complete(t, strings.Split(words, " ")...)
		if want != "" && got != want {
			t.Errorf("%s: %s, want %s", words, got, want)
		}
	}
}
