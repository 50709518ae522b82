package logql

import (
	"slices"
	"testing"
)

func TestPrefixAndNeedles(t *testing.T) {
	e, err := ParseLog(`{app="x"} |= "a.b" or "c" | json | status >= 500 |~ "d+" != "e" | line_format "{{.msg}}"`)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range []string{`{app="x"}`, `{app="x"} |= "a.b" or "c"`, `{app="x"} |= "a.b" or "c" | json`, `{app="x"} |= "a.b" or "c" | json | status >= 500`} {
		if got := e.Prefix(n).String(); got != want {
			t.Errorf("%d stages: %s, want %s", n, got, want)
		}
	}
	if e.Stages() != 6 || e.Prefix(6).String() != e.String() {
		t.Errorf("%d stages", e.Stages())
	}
	if got, want := e.Needles(), []string{`a\.b`, "c", "d+"}; !slices.Equal(got, want) {
		t.Errorf("needles %q, want %q", got, want)
	}
}
