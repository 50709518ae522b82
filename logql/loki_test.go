package logql

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Loki's own engine as an oracle: WEIR_LOGCLI names a logcli (it answers
// queries about its standard input by itself). Without it these tests are
// skipped.
// Build one from the module github.com/grafana/loki/v3 (./cmd/logcli).

// lokiLines are lines that stages may see.
var lokiLines = []string{
	`{"a":"x","b":1.50,"c":true,"d":null,"e":[1,"z"],"f":{"g":"h","i":{"j":2}},"k-l":"m","1n":"o","é":"u"}`,
	`{"a":"1","a":"2","source":"s"}`,
	`{"a":1,"b":"cut`,
	`{"a":"q\"uote \u00e4 \n \\","b":"250ms","c":"10KB","n":12}`,
	` {"a" : 7 , "n":-3.5e2} `,
	`[1,2]`,
	`plain text with a=b and more`,
	`a=b c="d \"e\" f" g= h 1=2 i.j=k n=5`,
	`a=1 b=c=d "x" e=2`,
	`a=1 a=2 n=x`,
	`1.2.3.4 - frank [10/Oct/2000] "GET /x?y=1 HTTP/1.0" 200 2326`,
	"\x1b[31;1mred\x1b[0m a=green",
	`addr=10.1.2.3:80 peer=[2001:db8::1]:443`,
	`level=error msg="it broke" dur=1.5s size=2KiB`,
	`{"_entry":"the line","p":"q","n":3}`,
	`{"a":{"b":{"c":[{"d":"deep"},2]}},"x y":"sp"}`,
	`{}`,
}

// lokiStages are stages that random queries are made of.
var lokiStages = []string{
	`|= "a"`, `!= "x"`, "|~ `(?i)ERR|get`", "!~ `\\d+`", `|> "<_>a=<_>"`, `|> "a=<_>"`, `!> "<_>it broke<_>"`, `|> "<_>HTTP/1.0<_>"`, `|= "a" or "b"`, `!= "a" or "7"`,
	`|= ip("10.0.0.0/8")`, `|= ip("2001:db8::/32")`, `!= ip("1.2.3.0-1.2.3.9")`,
	`| json`, `| json x="a.b.c[0].d", y="f.i", z="[\"x y\"]"`, `| json a, n`, `| logfmt`, `| logfmt --strict`, `| logfmt --keep-empty`, `| logfmt x="a", c, zz="nope"`,
	`| pattern "<ip> - <user> [<ts>] \"<method> <path> <_>\" <status> <size>"`, `| pattern "a=<first> <rest>"`, `| pattern "<_>msg=<msg> <_>"`, `| pattern "<l>=<r>"`,
	"| regexp `(?P<method>GET|POST) (?P<path>\\S+)`", "| regexp `a=(?P<v>\\w+)(?P<opt> c)?`", `| unpack`, `| decolorize`,
	`| a="x"`, `| a!="b"`, `| a=~"1|2"`, `| a!~"q.*"`, `| n > 4`, `| n <= 12`, `| n == 5`, `| n != 3`, `| b > 100ms`, `| dur < 2s`, `| c >= 10KB`, `| size > 1KiB`, `| a = 1 or n = 3`, `| n > 1 and a != "x"`,
	`| addr = ip("10.1.0.0/16")`, `| ip = ip("1.2.3.4")`, `| ip != ip("1.2.3.4")`, `| __error__=""`, `| __error__!="JSONParserErr"`,
	`| line_format "{{.a}} {{.n}} {{.nope}}"`, `| line_format "{{.a | upper | trunc 3}}|{{alignLeft 5 .n}}|{{alignRight 2 .a}}"`, "| line_format `{{ regexReplaceAll \"(a+)\" .a \"<$1>\" }}{{ default \"d\" .zz }}`",
	`| line_format "{{add 1 2 3}} {{sub 5 2}} {{mul 2 3}} {{div 7 2}} {{mod 7 4}} {{round 1.555 2}} {{ceil 1.2}} {{floor 1.8}} {{max 1 5 3}} {{min 4 2}} {{addf 1.5 2}} {{divf 1 4}}"`,
	"| line_format `{{ title .a }} {{ trimPrefix \"f\" .user }} {{ replace \"r\" \"R\" .user }} {{ .user | indent 2 }} {{ repeat 2 .a }} {{ hasPrefix \"fr\" .user }} {{ contains \"ra\" .user }}`",
	"| line_format `{{ __line__ | lower }} {{ count \"a\" __line__ }} {{ b64enc .a }} {{ urlencode .path }} {{ .a | int }} {{ .n | float64 }}`",
	"| line_format `{{ printf \"%5s|%-4s|\" .a .n }} {{ if eq .a \"x\" }}yes{{ else }}no{{ end }} {{ len .a }}`",
	`| label_format renamed=a`, `| label_format a=n, t="{{.a}}-{{.n}}"`, `| label_format a="{{.zz}}"`, `| drop a, n`, `| drop a="1", b=~".*"`, `| keep a, user, n`, `| keep a="x"`, `| drop __error__`,
}

type lokiEntry struct {
	Labels map[string]string `json:"labels"`
	Line   string            `json:"line"`
}

func askLogcli(t *testing.T, bin, q string, lines []string) (out []string, err error) {
	cmd := exec.Command(bin, "query", "--stdin", "--quiet", "--output=jsonl", "--limit=1000", "--forward", "--include-common-labels", q)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil || strings.Contains(stderr.String(), "rror") {
		if err == nil {
			err = exec.ErrNotFound
		}
		return []string{stderr.String()}, err
	}
	for _, l := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if l == "" {
			continue
		}
		var e lokiEntry
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		var ls []Label
		for n, v := range e.Labels {
			if n != detailsLabel && v != "" {
				ls = append(ls, Label{Name: n, Value: v})
			}
		}
		sortLabels(ls)
		out = append(out, string(appendLabels(nil, ls))+" "+strings.ToValidUTF8(e.Line, "\ufffd"))
	}
	slices.Sort(out)
	return out, nil
}

func askWeir(t *testing.T, q string, lines []string) (out []string, err error) {
	e, err := ParseLog(q)
	if err != nil {
		return nil, err
	}
	p, err := NewPipeline(e, 1)
	if err != nil {
		return nil, err
	}
	for _, l := range lines {
		o, ok := p.Process(&Row{Line: []byte(l), Labels: []Label{{Name: "source", Value: "logcli"}}})
		if !ok {
			continue
		}
		ls := slices.DeleteFunc(cloneLabels(o.Labels), func(l Label) bool { return l.Name == detailsLabel })
		out = append(out, string(appendLabels(nil, ls))+" "+strings.ToValidUTF8(string(o.Line), "\ufffd"))
	}
	slices.Sort(out)
	return out, nil
}

func TestAgainstLoki(t *testing.T) {
	bin := os.Getenv("WEIR_LOGCLI")
	if bin == "" {
		t.Skip("WEIR_LOGCLI names no logcli")
	}
	r := rand.New(rand.NewPCG(2, 1))
	check := func(q string) {
		t.Helper()
		want, lokiErr := askLogcli(t, bin, q, lokiLines)
		got, err := askWeir(t, q, lokiLines)
		if (err != nil) != (lokiErr != nil) {
			t.Errorf("%s: weir %v, loki %v %v", q, err, lokiErr, want)
			return
		}
		if diff := cmp.Diff(want, got); err == nil && diff != "" {
			t.Errorf("%s: loki -, weir +\n%s", q, diff)
		}
	}
	for _, s := range lokiStages {
		check(`{source="logcli"} ` + s)
	}
	for range 300 {
		q := `{source="logcli"}`
		for range 1 + r.IntN(4) {
			q += " " + lokiStages[r.IntN(len(lokiStages))]
		}
		if !looksAhead(q) {
			check(q)
		}
	}
}

// looksAhead reports whether a parser stands behind a label filter, which in
// Loki may see what that parser extracts: a documented difference.
func looksAhead(q string) bool {
	e, err := ParseLog(q)
	if err != nil {
		return false
	}
	filtered := false
	for _, s := range e.stages {
		switch s.(type) {
		case labelFilter:
			filtered = true
		case *parserExpr, *captureExpr:
			if filtered {
				return true
			}
		}
	}
	return false
}

// Loki reads what String writes.
func TestLokiReads(t *testing.T) {
	bin := os.Getenv("WEIR_LOGCLI")
	if bin == "" {
		t.Skip("WEIR_LOGCLI names no logcli")
	}
	r := rand.New(rand.NewPCG(3, 1))
	queries := slices.Clone(canonical)
	for range 100 {
		queries = append(queries, randomMetric(r, r.IntN(3)))
	}
	for _, q := range queries {
		e, err := Parse(q)
		if err != nil {
			t.Fatal(q, err)
		}
		cmd := exec.Command(bin, "fmt")
		cmd.Stdin = strings.NewReader(e.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s", e, err, out)
		}
	}
}
