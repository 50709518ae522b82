package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFormat(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"empty":         {"", ""},
		"only comments": {"# a  \n\n\n\n# b", "# a\n\n# b\n"},
		"indentation":   {"a:\n    b:\n        c: 1\n    d: 2\n", "a:\n  b:\n    c: 1\n  d: 2\n"},
		"lists":         {"a:\n- b\n- c:   1\n  d:  2\n-   e\n", "a:\n  - b\n  - c: 1\n    d: 2\n  - e\n"},
		"deep lists":    {"-   - a\n    - b\n-   c:\n    - d\n", "- - a\n  - b\n- c:\n    - d\n"},
		"comments":      {"# top\na:\n    # of b\n    b: 1   # stays\n    # end\n# of c\nc: 2\n", "# top\na:\n  # of b\n  b: 1   # stays\n  # end\n# of c\nc: 2\n"},
		"dash comment":  {"a:\n-   # why\n    b: 1\n", "a:\n  -   # why\n    b: 1\n"},
		"blank lines":   {"\n\na: 1   \n\n\n\nb: 2\n\n\n", "a: 1\n\nb: 2\n"},
		"flow":          {"a:   {b: [1,\n    2], # x\n      c: 3}\nd: 1\n", "a: {b: [1,\n    2], # x\n      c: 3}\nd: 1\n"},
		"literal":       {"a:\n    b: |\n        x  \n\n\n          # no comment\n        y\n    c: 1\n", "a:\n  b: |\n      x  \n\n\n        # no comment\n      y\n  c: 1\n"},
		"explicit":      {"a:\n    b: |2\n         x\n", "a:\n  b: |2\n       x\n"},
		"quoted lines":  {"a:\n    b: \"x\n\n\n      # y\n      z\"\n    c: 'p\n\n      q'\n", "a:\n  b: \"x\n\n\n    # y\n    z\"\n  c: 'p\n\n    q'\n"},
		"plain lines":   {"a:\n    b: x\n      y\n    c: 1\n", "a:\n  b: x\n    y\n  c: 1\n"},
		"carriage":      {"a: 1\r\nb: 2\r\n", "a: 1\nb: 2\n"},
		"anchors":       {"a:   &x\n    b: 1\nc:   *x\nd:   !!str 5\n", "a: &x\n  b: 1\nc: *x\nd: !!str 5\n"},
		"next line":     {"a:\n      long\nb:\n      {c: 1}\n", "a:\n      long\nb:\n      {c: 1}\n"},
		"quoted keys":   {"'a':    1\n\"b\":   2\n", "'a': 1\n\"b\": 2\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Format("x.yaml", []byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			again, err := Format("x.yaml", got)
			if err != nil || string(again) != string(got) {
				t.Errorf("not the same a second time: %v\n%s", err, again)
			}
		})
	}
	if _, err := Format("x.yaml", []byte("a: [1")); err == nil || !strings.HasPrefix(err.Error(), "x.yaml:1:4: error: bad YAML") {
		t.Errorf("error is %v", err)
	}
}

// Presets and the realistic example are in the layout that Format makes.
func TestFormatKeepsWhatIsFormatted(t *testing.T) {
	files, err := filepath.Glob("presets/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, full) {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Format(f, src)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(src) {
			t.Errorf("%s becomes\n%s", f, got)
		}
	}
}

func FuzzFormat(f *testing.F) {
	for _, s := range []string{"a:\n    b: 1\n", "a:\n- b\n-   c: |\n     x\n", "# x\n\n\na: 'b\n\n  c'", "- - - a\n  - b", "? a\n: b\n", "a: >2-\n   x\n\n  y", "a: &x [1,\n#c\n2]\nb: *x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 4096 {
			t.Skip()
		}
		got, err := Format("x", src)
		if err != nil {
			return
		}
		again, err := Format("x", got)
		if err != nil {
			t.Fatalf("%q became %q: %v", src, got, err)
		}
		if string(again) != string(got) {
			t.Fatalf("%q became %q, then %q", src, got, again)
		}
	})
}
