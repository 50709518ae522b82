package logql

import (
	"strings"
	"testing"
	"time"
)

func TestNarrow(t *testing.T) {
	by, err := ParseMatchers(`{namespace="shop"}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ in, want string }{
		{`{}`, `{namespace="shop"}`},
		{`{app="a"} |= "{app=\"b\"}"`, `{namespace="shop", app="a"} |= "{app=\"b\"}"`},
		{`{namespace="pay"}`, `{namespace="shop", namespace="pay"}`},
		{`sum by (app) (rate({app="a"}[5m])) / ignoring (app) sum(rate({app=~"a|b"}[5m] offset 1h))`,
			`sum by (app) (rate({namespace="shop", app="a"}[5m])) / ignoring (app) sum(rate({namespace="shop", app=~"a|b"}[5m] offset 1h))`},
		{`label_replace(count_over_time({app="a"}[1m]), "x", "$1", "app", "(.*)")`,
			`label_replace(count_over_time({namespace="shop", app="a"}[1m]), "x", "$1", "app", "(.*)")`},
		{`vector(1)`, `vector(1)`},
	} {
		e, err := Parse(c.in)
		if c.in == `{}` { // a query needs a matcher, and here gets one
			e, err = &LogExpr{}, nil
		}
		if err != nil {
			t.Fatalf("%s: %v", c.in, err)
		}
		got := Narrow(e, by.Matchers())
		want := c.want
		if p, err := Parse(c.want); err == nil {
			want = p.String()
		}
		if got.String() != want {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, want)
		}
		if _, err := Parse(got.String()); err != nil {
			t.Errorf("%s does not parse: %v", got, err)
		}
		if e.String() == got.String() && strings.Contains(c.in, "{") {
			t.Errorf("%s was changed in place, or not at all", c.in)
		}
		if Narrow(e, nil) != e {
			t.Errorf("%s: narrowed by nothing", c.in)
		}
	}
}

func TestSelectorsAndLookback(t *testing.T) {
	for _, c := range []struct {
		in    string
		names string
		back  time.Duration
	}{
		{`{app="a"} | json | x="{y=1}"`, "app", 0},
		{`rate({app="a"}[5m])`, "app", 5 * time.Minute},
		{`sum(rate({app="a"}[5m])) / sum(rate({pod="b"}[2m] offset 1h))`, "app pod", time.Hour + 2*time.Minute},
		{`topk(3, label_replace(count_over_time({app="a"}[1h] offset -1h), "x", "$1", "app", "(.*)")) > 3`, "app", time.Hour},
		{`vector(1)`, "", 0},
	} {
		e, err := Parse(c.in)
		if err != nil {
			t.Fatalf("%s: %v", c.in, err)
		}
		var names []string
		for _, s := range Selectors(e) {
			names = append(names, s.Names()...)
		}
		if got := strings.Join(names, " "); got != c.names {
			t.Errorf("%s: selectors on %q, want %q", c.in, got, c.names)
		}
		if got := Lookback(e); got != c.back {
			t.Errorf("%s: looks back %v, want %v", c.in, got, c.back)
		}
	}
}
