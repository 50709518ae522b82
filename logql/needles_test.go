package logql

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weirlog/weir/record"
)

func TestNeedles(t *testing.T) {
	for q, want := range map[string]string{
		`|= "abc"`:                        `[[abc]]`,
		`|= "abc" |= "def"`:               `[[abc] [def]]`,
		`|= "abc" or "def"`:               `[[abc def]]`,
		`|= ""`:                           `[]`,
		`|= "abc" or ""`:                  `[]`,
		`!= "abc"`:                        `[]`,
		"|~ `foo\\d+barbaz`":              `[[barbaz]]`,
		"|~ `foo|bar`":                    `[[foo bar]]`,
		"|~ `(?i)Foo`":                    `[[foo/i]]`,
		"|~ `.*`":                         `[]`,
		`|> "<_>abc<_>defg"`:              `[[defg]]`,
		`|= ip("10.0.0.0/8")`:             `[]`,
		`| json |= "abc" | a="b"`:         `[[abc]]`,
		`| line_format "x" |= "abc"`:      `[]`,
		`|= "a" | line_format "x" |= "b"`: `[[a]]`,
		`| decolorize |= "abc"`:           `[]`,
	} {
		e, err := ParseLog(`{a="b"} ` + q)
		if err != nil {
			t.Fatal(q, err)
		}
		p, err := NewPipeline(e, 0)
		if err != nil {
			t.Fatal(q, err)
		}
		var got [][]string
		for _, alts := range p.Needles() {
			var some []string
			for _, n := range alts {
				s := string(n.Text)
				if n.Fold {
					s += "/i"
				}
				some = append(some, s)
			}
			got = append(got, some)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, want %s", q, got, want)
		}
	}
}

// Searching all rows as one text finds the same rows as one after another.
func TestAppendRows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = "abAB"[r.IntN(4)]
		}
		return p
	}
	for range 5000 {
		buf := text(r.IntN(200))
		var rows []record.Span
		for at := 0; at < len(buf); {
			n := min(r.IntN(12), len(buf)-at)
			rows = append(rows, record.Span{Off: uint32(at), Len: uint32(n)})
			at += n + r.IntN(3)
		}
		var ns Needles
		for range 1 + r.IntN(2) {
			var alts []Needle
			for range 1 + r.IntN(2) {
				n := Needle{Text: text(1 + r.IntN(3)), Fold: r.IntN(2) == 0}
				if n.Fold {
					n.Text = []byte(fmt.Sprintf("%.*s", 1+r.IntN(3), "abab"))
				}
				alts = append(alts, n)
			}
			ns = append(ns, alts)
		}
		var want []uint32
		for i, sp := range rows {
			if ns.Match(buf[sp.Off:sp.End()]) {
				want = append(want, uint32(i))
			}
		}
		if got := ns.AppendRows(nil, buf, rows); !slices.Equal(got, want) {
			t.Fatalf("%q %v %s: got %v, want %v", buf, rows, fmt.Sprint(ns), got, want)
		}
	}
}

func TestSelectorVerdicts(t *testing.T) {
	labels := []Label{{Name: "app", Value: "shop"}, {Name: "pod", Value: "p"}}
	for q, want := range map[string][2]Verdict{
		`{app="shop"}`:               {Yes, Yes},
		`{app="x"}`:                  {No, No},
		`{app="shop", trace="t"}`:    {Maybe, Maybe},
		`{app="shop", other="t"}`:    {Maybe, No},
		`{app="shop", other!="t"}`:   {Maybe, Yes},
		`{app="x", trace="t"}`:       {No, No},
		`{app=~"s.*", level="info"}`: {Maybe, No},
	} {
		s, err := ParseMatchers(q)
		if err != nil {
			t.Fatal(q, err)
		}
		got := [2]Verdict{s.Stream(labels), s.Decided(labels, func(n string) bool { return n == "trace" })}
		if got != want {
			t.Errorf("%s: got %v, want %v", q, got, want)
		}
	}
}

// requestSpy remembers what the engine asked for.
type requestSpy struct {
	Source
	req *Request
}

func (s *requestSpy) Select(ctx context.Context, req *Request) (Cursor, error) {
	s.req = req
	return s.Source.Select(ctx, req)
}

// What a query does not look at is not asked for.
func TestRequest(t *testing.T) {
	for q, want := range map[string]struct {
		cols Columns
		mask SeverityMask
	}{
		`sum(count_over_time({a="b"}[1m]))`:                                           {Columns{}, 0},
		`sum by (a) (count_over_time({a="b"}[1m]))`:                                   {Columns{Meta: []string{"a"}}, 0},
		`sum by (detected_level) (count_over_time({a="b"}[1m]))`:                      {Columns{Severity: true, Meta: []string{"detected_level"}}, 0},
		`sum(bytes_over_time({a="b"}[1m]))`:                                           {Columns{Size: true}, 0},
		`sum(count_over_time({a="b"} | json | s="1" [1m]))`:                           {Columns{Meta: []string{"s"}, Fields: []string{"s"}}, 0},
		`sum(count_over_time({a="b"} | json | s="1" and __error__="" [1m]))`:          {Columns{Meta: []string{"s"}, Fields: []string{"s"}}, 0},
		`sum(count_over_time({a="b"} |= "x" | json | s="1" [1m]))`:                    {Columns{Meta: []string{"s"}, Body: true}, 0},
		`sum(count_over_time({a="b"} | json | logfmt | s="1" [1m]))`:                  {Columns{Meta: []string{"s"}, Body: true}, 0},
		`count_over_time({a="b"}[1m])`:                                                {Columns{AllMeta: true, Severity: true}, 0},
		`sum(count_over_time({a="b"} | level="error" [1m]))`:                          {Columns{Severity: true, Meta: []string{"level", "detected_level"}}, 0xf << 17},
		`sum(count_over_time({a="b", level="error"}[1m]))`:                            {Columns{}, 0xf << 17},
		`sum(count_over_time({a="b"} | json | level="error" [1m]))`:                   {Columns{Severity: true, Meta: []string{"level", "detected_level"}, Fields: []string{"level"}}, 0},
		`sum(count_over_time({a="b"} | level="error" or detected_level="warn" [1m]))`: {Columns{Severity: true, Meta: []string{"level", "detected_level", "detected_level"}}, 0xff << 13},
		`sum(count_over_time({a="b"} | level="nothing" [1m]))`:                        {Columns{Severity: true, Meta: []string{"level", "detected_level"}}, noSeverity},
	} {
		e, err := Parse(q)
		if err != nil {
			t.Fatal(q, err)
		}
		spy := &requestSpy{Source: &memSource{}}
		if _, err := Run(context.Background(), spy, e, Params{End: 1}); err != nil {
			t.Fatal(q, err)
		}
		got := spy.req
		if diff := cmp.Diff(want.cols, got.Columns); diff != "" || got.Severities != want.mask {
			t.Errorf("%s: severities %x, want %x\n%s", q, got.Severities, want.mask, diff)
		}
	}
}
