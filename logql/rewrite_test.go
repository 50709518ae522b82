package logql

import "testing"

func TestMoveMatchers(t *testing.T) {
	index := func(n string) bool { return n == "namespace" }
	for in, want := range map[string]string{
		`{namespace="shop", level="error", pod=~"a.*"} |= "x"`:                 `{namespace="shop"} | detected_level="error" | pod=~"a.*" |= "x"`,
		`{namespace="shop"} | level="error"`:                                   `{namespace="shop"} | level="error"`,
		`sum(rate({namespace="a", b!="c"} [1m])) / vector(2) + 1`:              `sum(rate({namespace="a"} | b!="c" [1m])) / vector(2) + 1`,
		`label_replace(rate({namespace="a", b="c"} [1m]), "x", "y", "z", "w")`: `label_replace(rate({namespace="a"} | b="c" [1m]), "x", "y", "z", "w")`,
		`{pod="a"}`: `{} | pod="a"`,
	} {
		e, err := Parse(in)
		if err != nil {
			t.Fatal(in, err)
		}
		before := e.String()
		if got := MoveMatchers(e, index).String(); got != want {
			t.Errorf("%s:\n got %s\nwant %s", in, got, want)
		}
		if e.String() != before {
			t.Errorf("%s was changed", in)
		}
	}
}
