package logql

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
)

// sample is one record to match against.
type sample struct {
	attrs    []record.Attr
	labels   []record.Attr
	body     string
	fields   map[string]string
	severity record.Severity
}

func shop(body string) sample {
	return sample{
		attrs:  []record.Attr{{Name: "namespace", Value: "shop"}, {Name: "pod", Value: "api-7d9f"}, {Name: "container", Value: "api"}},
		labels: []record.Attr{{Name: "app.kubernetes.io/name", Value: "api"}},
		body:   body,
	}
}

func (s sample) batch() *record.Batch {
	b := record.NewBatch(nil)
	st := b.AddStream(record.StreamRef{Stream: record.NewStream(s.attrs, s.labels, nil)})
	sp := b.AppendString(s.body)
	i := b.Add(record.Record{Body: sp, Source: sp, Stream: st, Severity: s.severity})
	for k, v := range s.fields {
		b.SetField(i, k, record.String, b.AppendString(v))
	}
	return b
}

func TestMatch(t *testing.T) {
	plain := shop("GET /cart 500 timeout")
	withFields := shop("x")
	withFields.fields = map[string]string{"status": "503", "took": "250ms", "size": "20KB", "trace.id": "abc", "odd": "12x"}
	withLevel := shop("x")
	withLevel.severity = record.Warn + 1
	object := shop(`{"status":500,"level":"custom","msg":"a \"quoted\" \u00e4","took":0.5,"none":null,"trace.id":"t1","nested":{"a":1}}`)
	object.fields = map[string]string{"both": "field"}
	both := shop(`{"both":"body","namespace":"other"}`)
	both.fields = map[string]string{"both": "field"}
	for _, tt := range []struct {
		s    sample
		q    string
		want bool
	}{
		{plain, `{}`, true},
		{plain, `{namespace="shop"}`, true},
		{plain, `{namespace="other"}`, false},
		{plain, `{namespace!="other", pod=~"api-.*"}`, true},
		{plain, `{namespace="shop", pod!~"api-.*"}`, false},
		{plain, `{pod=~"api"}`, false}, // anchored
		{plain, `{pod=~"(?i)API-.+"}`, true},
		{plain, `{pod=~"web|api-7d9f"}`, true},
		{plain, `{pod=~"api-(7d9f|x)"}`, true},
		{plain, `{pod=~".+"}`, true},
		{plain, `{node=~".+"}`, false},
		{plain, `{node=~".*"}`, true},
		{plain, `{node=""}`, true},
		{plain, `{node!="x"}`, true},
		{plain, `{label_app_kubernetes_io_name="api"}`, true},
		{plain, `{} |= "timeout"`, true},
		{plain, `{} |= "refused" or "timeout"`, true},
		{plain, `{} != "refused" or "timeout"`, false},
		{plain, `{} != "refused" or "closed"`, true},
		{plain, `{} |= "timeout" != "GET"`, false},
		{plain, "{} |~ `5\\d\\d`", true},
		{plain, "{} |~ `6\\d\\d` or `time.?out`", true},
		{plain, "{} !~ `6\\d\\d` or `time.?out`", false},
		{plain, `{} |~ "(?i)TIMEOUT"`, true},
		{plain, `{} |~ "(?i)gEt .* TimE[o]ut$"`, true},
		{plain, `{} |~ "^timeout"`, false},
		{plain, `{} |= ""`, true},
		{plain, `{} |> "GET <_> timeout"`, true},
		{plain, `{} !> "GET <_> timeout"`, false},
		{plain, `{} |> "<_> timeout"`, true},
		{plain, `{} |> "timeout<_>"`, false},
		{shop("from 10.1.2.3:80"), `{} |= ip("10.0.0.0/8")`, true},
		{shop("from 10.1.2.3:80"), `{} != ip("10.1.2.0-10.1.2.9")`, false},
		{shop("from 11.1.2.3:80"), `{} |= ip("10.0.0.0/8")`, false},
		{shop(`{"addr":"10.1.2.3"}`), `{} | addr = ip("10.1.0.0/16")`, true},
		{withFields, `{} | status >= 500`, true},
		{withFields, `{} | status == 503`, true},
		{withFields, `{} | status = 503.0`, true},
		{withFields, `{} | status != 503`, false},
		{withFields, `{} | status < 500`, false},
		{withFields, `{} | status = "503"`, true},
		{withFields, `{status=~"5.."}`, true},
		{withFields, `{} | took > 200ms and took <= 0.25s`, true},
		{withFields, `{} | took > 1d`, false},
		{withFields, `{} | took > 100`, false},   // a duration is not a number
		{withFields, `{} | size > 19KiB`, true},  // 20 000 > 19 456
		{withFields, `{} | size > 20KiB`, false}, // 20 000 < 20 480
		{withFields, `{} | status > 1B`, true},   // a bare number of bytes
		{withFields, `{} | odd > 1`, false},
		{withFields, `{} | odd < 1`, false},
		{withFields, `{} | missing != 1`, false},
		{withFields, `{} | missing != "1"`, true},
		{withFields, `{} | trace_id="abc"`, true},
		{withFields, `{} | status > 1 or odd > 1 and odd < 1`, true},
		{withFields, `{} | (status > 1 or odd > 1) and odd < 1`, false},
		{withFields, `{} | status > 1, took > 1s`, false},
		{withFields, `{} | status > 1 took > 1ms`, true},
		{withFields, `{} | status > 1 | took > 1ms |= "x"`, true},
		{withLevel, `{level="warn"}`, true},
		{withLevel, `{} | detected_level="warn"`, true},
		{plain, `{level="unknown"}`, true},
		{object, `{level="custom"}`, true},
		{object, `{status="500"} | took < 1`, true},
		{object, "{} | msg=`a \"quoted\" ä`", true},
		{object, `{} | none=""`, true},
		{object, `{} | trace_id="t1"`, true},
		{object, `{} | nested=~".*a.*"`, true},
		{both, `{} | both="field"`, true},
		{both, `{namespace="shop"}`, true},
		{shop(`{"a":1`), `{} | a=1`, false},
	} {
		c, err := ParseCondition(tt.q)
		if err != nil {
			t.Errorf("%s: %v", tt.q, err)
			continue
		}
		again, err := ParseCondition(c.String())
		if err != nil || again.String() != c.String() {
			t.Errorf("%s: String %q parses to %v, %v", tt.q, c.String(), again, err)
			continue
		}
		b := tt.s.batch()
		for _, c := range []*Condition{c, c, c.Clone(), again} {
			if got := c.Match(b, 0); got != tt.want {
				t.Errorf("%s on %q %v: got %v, want %v", tt.q, tt.s.body, tt.s.fields, got, tt.want)
			}
		}
	}
}

func TestString(t *testing.T) {
	for in, want := range map[string]string{
		"{ }": "{}",
		"{a=\"b\" , c=~`d`}|=\"x\"or`y`# comment": `{a="b", c=~"d"} |= "x" or "y"`,
		"{a=`\\d\"`}":                              "{a=`\\d\"`}",
		`{a="\n"}`:                                 `{a="\n"}`,
		`{}|a=1 or b="2" and c>3ms`:                `{} | a = 1 or b="2" and c > 3ms`,
		`{}|(a=1 or b=2)and(c==3 and d=4)`:         `{} | (a = 1 or b = 2) and (c = 3 and d = 4)`,
		`{}|(a=1 and b=2)or(c=3 or d=4)|e<-1.5e-3`: `{} | a = 1 and b = 2 or (c = 3 or d = 4) | e < -1.5e-3`,
	} {
		c, err := ParseCondition(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		} else if got := c.String(); got != want {
			t.Errorf("%s:\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, tt := range []struct {
		q    string
		pos  int
		want string
	}{
		{``, 0, "expected a selector"},
		{`namespace="x"`, 0, `expected a selector such as {namespace="shop"}, found "namespace"`},
		{`{namespace}`, 10, `expected one of = != =~ !~, found "}"`},
		{`{namespace=shop}`, 11, "expected a value in double quotes or backticks"},
		{`{namespace='shop'}`, 11, "not in single quotes"},
		{`{a="b" c="d"}`, 7, "expected a comma or }"},
		{`{a="b",}`, 7, "expected the name of a label"},
		{`{a="b"`, 6, "expected a comma or }, found the end"},
		{`{a="b}`, 3, `no closing "`},
		{`{a="\d"}`, 3, "backticks"},
		{`{a=~"("}`, 4, "bad regular expression: missing closing )"},
		{`{a=~"a{2000}"}`, 4, "bad regular expression"},
		{`{} foo`, 3, "expected a line filter"},
		{`{} |= foo`, 6, "expected a text"},
		{`{} |= "a" or`, 12, "expected a text"},
		{`{} |~ "*"`, 6, "bad regular expression"},
		{`{} |> "<a>"`, 6, "no named captures"},
		{`{} | json`, 5, "json cannot stand in a condition"},
		{`{} | status`, 11, "expected one of = != =~ !~ > >= < <= after status"},
		{`{} | status > "5"`, 14, "expected a number"},
		{`{} | status > 5x`, 14, "is not a number"},
		{`{} | status > NaN`, 14, "expected a value in double quotes, or a number"},
		{`{} | a =~ 5`, 10, "expected a regular expression"},
		{`{} | a = ip("1")`, 12, "is not an address"},
		{`{} | (a=1`, 9, "expected and, or, or )"},
		{`{} | a=1 and`, 12, "expected the name of a label"},
		{"{} |= \"a\" \x01", 10, "unexpected"},
		{"{} \xff", 3, "unexpected byte 0xff"},
		{`{} ä`, 3, `unexpected 'ä'`},
		{`{} | ` + strings.Repeat("(", 100), 5 + 64, "nested deeper"},
		{`{a=~"` + strings.Repeat("a", MaxPattern+1) + `"}`, 4, "longer than 4096 bytes"},
		{strings.Repeat(" ", MaxQuery+1), MaxQuery, "longer than 131072 bytes"},
	} {
		_, err := ParseCondition(tt.q)
		var se *SyntaxError
		if !errors.As(err, &se) {
			t.Errorf("%.60s: no error", tt.q)
			continue
		}
		if se.Pos != tt.pos || !strings.Contains(se.Msg, tt.want) {
			t.Errorf("%.60s: got %d %q, want %d …%s…", tt.q, se.Pos, se.Msg, tt.pos, tt.want)
		}
	}
}

func TestSelector(t *testing.T) {
	c, err := ParseSelector(`{namespace=~"kube-.*|shop", app=""}`)
	if err != nil {
		t.Fatal(err)
	}
	for ns, want := range map[string]bool{"shop": true, "kube-system": true, "shop2": false, "": false} {
		if got := c.MatchStream(record.NewStream([]record.Attr{{Name: "namespace", Value: ns}}, nil, nil)); got != want {
			t.Errorf("%q: got %v", ns, got)
		}
	}
	for _, q := range []string{`{} |= "x"`, `{} | a=1`, `{} {}`} {
		if _, err := ParseSelector(q); err == nil {
			t.Errorf("%s: no error", q)
		}
	}
}

// A batch's memory and its streams' indexes are used again; a verdict must not.
func TestVerdictsFollowStreams(t *testing.T) {
	c, err := ParseCondition(`{namespace="shop"}`)
	if err != nil {
		t.Fatal(err)
	}
	b := record.NewBatch(nil)
	for i := range 4 {
		b.Reset(nil)
		ns := []string{"shop", "other"}[i%2]
		for range 300 { // more streams than are remembered
			st := b.AddStream(record.StreamRef{Stream: record.NewStream([]record.Attr{{Name: "namespace", Value: ns}}, nil, nil)})
			r := b.Add(record.Record{Stream: st})
			if got := c.Match(b, r); got != (i%2 == 0) {
				t.Fatalf("round %d: got %v", i, got)
			}
		}
	}
}

// More comparisons than a verdict has bits.
func TestManyMatchers(t *testing.T) {
	var q strings.Builder
	q.WriteString(`{namespace="shop"`)
	for i := range 100 {
		fmt.Fprintf(&q, `, x%d=""`, i)
	}
	for _, tail := range []string{`, pod="api-7d9f"}`, `, pod="other"}`} {
		c, err := ParseCondition(q.String() + tail)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Match(shop("x").batch(), 0); got != strings.Contains(tail, "7d9f") {
			t.Errorf("%s: got %v", tail, got)
		}
	}
}

func TestFailure47_PatternsAreBounded(t *testing.T) {
	// Exponential for engines that backtrack.
	c, err := ParseCondition("{} |~ `(a+)+$`")
	if err != nil {
		t.Fatal(err)
	}
	if c.Match(shop(strings.Repeat("a", 100_000)+"b").batch(), 0) {
		t.Error("matches")
	}
	for _, q := range []string{"{} |~ `((a{100}){100}){100}`", "{} |~ `" + strings.Repeat("a", MaxPattern+1) + "`"} {
		if _, err := ParseCondition(q); err == nil {
			t.Errorf("%.20s was accepted", q)
		}
	}
}

// FuzzPattern compares the shortcuts with the regular expression they stand
// for.
func FuzzPattern(f *testing.F) {
	for _, p := range []string{"a|b", "(?i)error", "foo.*", ".+", "ab?c", "x(y|z)+k", "[a-c]d", "(?i)k\u212a", "^a$", "a\\b", ".*"} {
		f.Add(p, "an Error kK\u212a\u017f foo\nab", true)
		f.Add(p, "a", false)
	}
	f.Fuzz(func(t *testing.T, p, v string, anchored bool) {
		c, err := newPattern(p, anchored, 0)
		if err != nil {
			return
		}
		full := p
		if anchored {
			full = "^(?s:" + p + ")$"
		}
		if got, want := c.match(v), regexp.MustCompile(full).MatchString(v); got != want {
			t.Fatalf("%q on %q: got %v, want %v (how %d, need %q)", full, v, got, want, c.how, c.need)
		}
	})
}

// FuzzParse wants no panic, and String to say the same again.
func FuzzParse(f *testing.F) {
	for _, q := range []string{
		`{}`, `{a="b", c!~"d.*"} |= "x" or "y" != "z"`, "{} | a=1 and (b>2ms or c<=3KiB), d=~`e`", `{} | a="b" | c!="d" |~ "e" # f`,
		`{a=~"x|y"} !~ "\u00e4"`, `{} | a = -1.5e+3 b<1d`,
		`{} |> "a<_>b" or "c" | a = ip("10.0.0.0/8")`,
	} {
		f.Add(q)
	}
	s := shop(`{"a":"b","c":12}`)
	b := s.batch()
	f.Fuzz(func(t *testing.T, q string) {
		c, err := ParseCondition(q)
		if err != nil {
			var se *SyntaxError
			if !errors.As(err, &se) || se.Pos < 0 || se.Pos > len(q) || se.Msg == "" {
				t.Fatalf("error %#v", err)
			}
			return
		}
		text := c.String()
		d, err := ParseCondition(text)
		if err != nil {
			t.Fatalf("%q: String %q: %v", q, text, err)
		}
		if d.String() != text {
			t.Fatalf("%q: %q, then %q", q, text, d.String())
		}
		if c.Match(b, 0) != d.Match(b, 0) {
			t.Fatalf("%q and %q differ", q, text)
		}
	})
}

func benchmarkMatch(b *testing.B, q string, s sample) {
	c, err := ParseCondition(q)
	if err != nil {
		b.Fatal(err)
	}
	batch := s.batch()
	b.SetBytes(int64(len(s.body)))
	b.ReportAllocs()
	for b.Loop() {
		c.Match(batch, 0)
	}
}

func BenchmarkSelector(b *testing.B) {
	benchmarkMatch(b, `{namespace="shop", pod=~"api-.*"}`, shop("x"))
}

func BenchmarkLineFilter(b *testing.B) {
	benchmarkMatch(b, `{namespace="shop"} |= "timeout" or "refused"`, shop(strings.Repeat("some words of a line ", 14)))
}

func BenchmarkLineRegexp(b *testing.B) {
	benchmarkMatch(b, `{namespace="shop"} |~ "(?i)time(d )?out"`, shop(strings.Repeat("some words of a line ", 14)))
}

func BenchmarkLevel(b *testing.B) {
	s := shop("x")
	s.severity = record.Info
	benchmarkMatch(b, `{namespace="shop", level="debug"}`, s)
}

func BenchmarkJSONKey(b *testing.B) {
	benchmarkMatch(b, `{} | status >= 500`, shop(`{"time":"2024-02-29T12:34:56Z","level":"info","msg":"request done","path":"/cart/checkout","user":"4711","took":12.5,"status":503}`))
}
