package json

import (
	"bytes"
	stdjson "encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestAppendString(t *testing.T) {
	for in, want := range map[string]string{
		"":                       `""`,
		"plain":                  `"plain"`,
		`a"b\c/d`:                `"a\"b\\c/d"`,
		"\x00\x01\x1f\x7f":       `"\u0000\u0001\u001f` + "\x7f" + `"`,
		"a\nb\rc\td\be\ff":       `"a\nb\rc\td\u0008e\u000cf"`,
		"0123456\"789abcdef\n":   `"0123456\"789abcdef\n"`,
		"<script>&\u2028\u2029":  "\"<script>&\u2028\u2029\"",
		"日本語 é 😀":                `"日本語 é 😀"`,
		"\u001b[31mred\u001b[0m": `"\u001b[31mred\u001b[0m"`,
		"\ufeffbom":              "\"\ufeffbom\"",
	} {
		if got := string(AppendString(nil, []byte(in))); got != want {
			t.Errorf("AppendString(%q) = %s, want %s", in, got, want)
		}
		if got := string(AppendStringString([]byte("x"), in)); got != "x"+want {
			t.Errorf("AppendStringString(%q) = %s, want x%s", in, got, want)
		}
		if got := `"` + string(AppendEscaped(nil, []byte(in))) + `"`; got != want {
			t.Errorf("AppendEscaped(%q) = %s, want %s", in, got, want)
		}
	}
}

// Bytes that are not UTF-8 never make a body that a sink refuses.
func TestFailure39_InvalidUTF8IsReplaced(t *testing.T) {
	for in, want := range map[string]string{
		"\xff":                           "\ufffd",
		"a\xffb\xfec":                    "a\ufffdb\ufffdc",
		"0123456789\xc3":                 "0123456789\ufffd", // cut off
		"\xe6\x97":                       "\ufffd\ufffd",
		"\xc0\xaf":                       "\ufffd\ufffd",              // overlong
		"\xed\xa0\x80":                   "\ufffd\ufffd\ufffd",        // surrogate
		"\xf4\x90\x80\x80":               strings.Repeat("\ufffd", 4), // above U+10FFFF
		"é\xe9é":                         "é\ufffdé",
		"\ufffd":                         "\ufffd", // one that is meant
		"日本\xe8日本":                       "日本\ufffd日本",
		"\x80" + strings.Repeat("a", 40): "\ufffd" + strings.Repeat("a", 40),
	} {
		if got := string(AppendString(nil, []byte(in))); got != `"`+want+`"` {
			t.Errorf("AppendString(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		`\ud800`: "\ufffd", `\udc00`: "\ufffd", `\ud800\ud800`: "\ufffd\ufffd", `\ud83d\ude00`: "😀", `\ud83d\u0061`: "\ufffda",
		`\ud83d\`: "\ufffd\\", `\ud83d\n`: "\ufffd\n", `\ud83dx`: "\ufffdx",
	} {
		if got := string(Unescape(nil, []byte(in))); got != want {
			t.Errorf("Unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "plain": "plain", `\"\\\/\b\f\n\r\t`: "\"\\/\b\f\n\r\t", `\u0000`: "\x00", `x\u00E9y\u00e9`: "xéyé", `\u65e5`: "日",
		// Malformed ones are kept.
		`\`: `\`, `a\x`: `a\x`, `\u12`: `\u12`, `\u12g4`: `\u12g4`, `\\u0041`: `\u0041`,
	} {
		if got := string(Unescape([]byte("<"), []byte(in))); got != "<"+want {
			t.Errorf("Unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestValidUTF8(t *testing.T) {
	for _, tail := range []string{"", "x", "é", "\xff", "\xc3", "日", "\xed\xa0\x80"} {
		for n := range 70 {
			for _, p := range [][]byte{[]byte(strings.Repeat("a", n) + tail), []byte(strings.Repeat("a", n) + tail + strings.Repeat("b", 40))} {
				if got, want := ValidUTF8(p), utf8.Valid(p); got != want {
					t.Errorf("ValidUTF8(%q) = %v", p, got)
				}
			}
		}
	}
}

func TestAppendTime(t *testing.T) {
	const layout = "2006-01-02T15:04:05.000000000Z"
	check := func(t interface{ Errorf(string, ...any) }, ns int64) {
		if got, want := string(AppendTime(nil, ns)), time.Unix(0, ns).UTC().Format(layout); got != want {
			t.Errorf("AppendTime(%d) = %s, want %s", ns, got, want)
		}
	}
	for _, ns := range []int64{0, 1, -1, 999_999_999, 1e9, -1e9, -999_999_999, 1763814667123456789, math.MinInt64, math.MaxInt64, math.MinInt64 + 1} {
		check(t, ns)
	}
	// Both ends of every day around the leap days of each kind of century.
	for _, year := range []int{1678, 1699, 1700, 1896, 1900, 1970, 1999, 2000, 2004, 2026, 2100, 2261} {
		for d := range 366 {
			ns := time.Date(year, 1, 1+d, 0, 0, 0, 0, time.UTC).UnixNano()
			check(t, ns)
			check(t, ns-1)
		}
	}
	rapid.Check(t, func(t *rapid.T) { check(t, rapid.Int64().Draw(t, "ns")) })
	if got := string(AppendTime([]byte("x"), 0)); got != "x1970-01-01T00:00:00.000000000Z" || len(got) != 1+TimeLen {
		t.Errorf("AppendTime does not append: %s", got)
	}
}

// A Clock writes every time as a new one does, whatever it wrote before.
func TestClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Clock
		ns := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{math.MaxInt64, math.MinInt64})).Draw(t, "first")
		for range 20 {
			if got, want := string(c.Append(nil, ns)), string(AppendTime(nil, ns)); got != want {
				t.Fatalf("%d: %s, want %s", ns, got, want)
			}
			step := rapid.SampledFrom([]int64{1, 1e9, 60e9, 86400e9}).Draw(t, "unit")
			ns += step * rapid.Int64Range(-70, 70).Draw(t, "step") // may wrap
		}
	})
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain text of some length", "a\"b\\c\n\x00", "\xff\xc3\xed\xa0\x80", "日本語😀\u2028", zapLine} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out := AppendString(nil, in)
		if !utf8.Valid(out) {
			t.Fatalf("%q → %q is not UTF-8", in, out)
		}
		var got string
		if err := stdjson.Unmarshal(out, &got); err != nil {
			t.Fatalf("%q → %q: %v", in, out, err)
		}
		// One U+FFFD for each offending byte, as Go's own conversion does.
		want := string([]rune(string(in)))
		if got != want {
			t.Fatalf("%q → %q, read back %q", in, out, got)
		}
		if back := Unescape(nil, out[1:len(out)-1]); string(back) != want {
			t.Fatalf("%q → %q, Unescape gives %q", in, out, back)
		}
		var s Scanner
		if obj := append(append([]byte(`{"k":`), out...), '}'); !s.Object(obj) {
			t.Fatalf("%q: %v", obj, s.Err())
		}
	})
}

func FuzzUnescape(f *testing.F) {
	for _, s := range []string{`\u00e9\n`, `\ud83d\ude00`, `\ud800`, `\`, `\u12`, `\\\"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got := Unescape(nil, in)
		if len(got) > 3*len(in) {
			t.Fatalf("%q grew to %d bytes", in, len(got))
		}
		var want string
		if stdjson.Unmarshal(append(append([]byte{'"'}, in...), '"'), &want) == nil && utf8.Valid(in) && string(got) != want {
			t.Fatalf("Unescape(%q) = %q, encoding/json reads %q", in, got, want)
		}
	})
}

func TestNoAllocations(t *testing.T) {
	var s Scanner
	line, big := []byte(zapLine), []byte(`{"\u0061":1,"b":"\n"`)
	for i := range 100 {
		big = append(big, `,"key_`...)
		big = append(big, byte('0'+i/10), byte('0'+i%10))
		big = append(big, `":[1,{"x":"y"}]`...)
	}
	big = append(big, '}')
	dst := make([]byte, 0, 4096)
	bad := bytes.Repeat([]byte("a\"\n\xff"), 100)
	run := func() {
		if !s.Object(line) || !s.Object(big) || s.Object(bad) {
			t.Fatal(s.Err())
		}
		dst = AppendString(dst[:0], bad)
		dst = Unescape(dst[:0], line)
		dst = AppendTime(dst[:0], 1)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAppendString(b *testing.B) {
	for _, c := range []struct{ name, in string }{
		{"ascii", "10.42.3.17 - - GET /api/v1/orders/10382/items HTTP/1.1 200 5316 0.013 upstream=10.42.7.2:8080 agent=Mozilla/5.0 (X11; Linux x86_64) Gecko request=a3f1c0de-7d51-4fb2-9a44-0c31ad1b6f02 tls=1.3 cache=MISS"},
		{"trace", "java.lang.IllegalStateException: no \"charge\"\n\tat com.example.shop.Payment.charge(Payment.java:87)\n\tat com.example.shop.Payment.pay(Payment.java:41)\n"},
		{"utf8", strings.Repeat("недостаточно средств 残高不足 ", 6)},
	} {
		b.Run(c.name, func(b *testing.B) {
			in, dst := []byte(c.in), make([]byte, 0, 4096)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendString(dst[:0], in)
			}
		})
	}
}

func BenchmarkAppendTime(b *testing.B) {
	dst := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendTime(dst[:0], 1763814667123456789)
	}
}

func BenchmarkClock(b *testing.B) {
	dst := make([]byte, 0, 64)
	var c Clock
	b.ReportAllocs()
	for ns := int64(1763814667123456789); b.Loop(); ns += 1e6 {
		dst = c.Append(dst[:0], ns)
	}
}

func BenchmarkValidUTF8(b *testing.B) {
	p := []byte(slogLine)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if !ValidUTF8(p) {
			b.Fatal()
		}
	}
}
