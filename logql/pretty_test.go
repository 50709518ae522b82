package logql

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFormat(t *testing.T) {
	const long = `{aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa="bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", ccccccccccccccc="ddddddddddddddddddddddddd"}`
	for _, tt := range []struct{ q, want string }{
		{`sum by(a)(rate({app="a"}|json|x>5[5m]))`, `sum by (a) (rate({app="a"} | json | x > 5 [5m]))`},
		{long + `|="x"!="y"|json|x>5 and y="z"|line_format "a"`, long + `
  |= "x" != "y"
  | json
  | x > 5 and y="z"
  | line_format "a"`},
		{`topk by(a)(5,rate(` + long + `|json[5m] offset 1h))`, `topk by (a) (
  5,
  rate(
    ` + long + `
      | json [5m] offset 1h
  )
)`},
		{`quantile_over_time(0.99,` + long + `|json|unwrap duration(x)|__error__=""[1m])by(a,b)`, `quantile_over_time(
  0.99,
  ` + long + `
    | json
    | unwrap duration(x)
    | __error__="" [1m]
) by (a, b)`},
		{`(sum(rate(` + long + `[5m]))+1)*on(a)group_left(b)vector(2)`, `  (
      sum(
        rate(
          ` + long + ` [5m]
        )
      )
    +
      1
  )
* on (a) group_left (b)
  vector(2)`},
		{`label_replace(rate(` + long + `[5m]),"a","b","c","d")`, `label_replace(
  rate(
    ` + long + ` [5m]
  ),
  "a",
  "b",
  "c",
  "d"
)`},
	} {
		e, err := Parse(tt.q)
		if err != nil {
			t.Fatal(tt.q, err)
		}
		if diff := cmp.Diff(tt.want, Format(e)); diff != "" {
			t.Errorf("%s:\n%s", tt.q, diff)
		}
	}
}

// What Format writes means the same.
func TestFormatParses(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	g := &lokiGen{Rand: r}
	for range 2000 {
		q := g.metricQuery()
		if r.IntN(3) == 0 {
			q = g.logQuery()
		}
		e, err := Parse(q)
		if err != nil {
			continue
		}
		text := Format(e)
		again, err := Parse(text)
		if err != nil || again.String() != e.String() {
			t.Fatalf("%s:\n%s\n%v, %v", q, text, err, again)
		}
		if short := e.String(); len(short) > prettyWidth && !strings.Contains(text, "\n") && strings.ContainsAny(short, "|(") {
			t.Errorf("%s stays on one line", text)
		}
	}
}
