package line

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
)

func attrs(kv ...string) (out []record.Attr) {
	for i := 0; i < len(kv); i += 2 {
		out = append(out, record.Attr{Name: kv[i], Value: kv[i+1]})
	}
	return out
}

var cart = record.NewStream(attrs("namespace", "shop", "pod", "cart-1", "container", "web", "stream", "stdout"), nil, nil)

func batch(s *record.Stream, bodies ...string) *record.Batch {
	b := record.NewBatch(nil)
	for _, body := range bodies {
		b.Add(record.Record{Body: b.AppendString(body), Stream: b.AddStream(record.StreamRef{Stream: s})})
	}
	b.Freeze()
	return b
}

// encode paints without times, so that only what is tested stands there.
func encode(cfg Config, b *record.Batch) string {
	cfg.Times = "none"
	return string(New(cfg).Append(nil, []record.Part{record.NewPart(b, b.Live())}))
}

func TestAppend(t *testing.T) {
	const p = "      shop/cart-1 web │ "
	for _, c := range []struct{ body, want string }{
		{"hello", p + "hello\n"},
		{"", p + "\n"},
		{"\ttabs\tstay", p + "\ttabs\tstay\n"},
		{"größer 日本 👩‍👩‍👧 \u00a0", p + "größer 日本 👩‍👩‍👧 \u00a0\n"},
		{"a\nb", p + "a\n" + p + "b\n"},
		{"a\n", p + "a\n"},
		{"a\n\n", p + "a\n" + p + "\n"},
		{"a\r\nb\r\n", p + "a\n" + p + "b\n"},
		{"a\r", p + "a\n"},
		{"50%\rdone", p + "50%\\x0ddone\n"},
		{"\x00\x07\x7f", p + "\\x00\\x07\\x7f\n"},
		{"\xff\xc3(", p + "\\xff\\xc3(\n"},
		{"\ufffd", p + "\ufffd\n"},
	} {
		if got := encode(Config{}, batch(cart, c.body)); got != c.want {
			t.Errorf("%q = %q, want %q", c.body, got, c.want)
		}
	}
}

func TestPrefix(t *testing.T) {
	for _, c := range []struct {
		s    *record.Stream
		want string
	}{
		{record.NewStream(nil, nil, nil), "      x\n"},
		{record.NewStream(attrs("file", "/var/log/\x1bx"), nil, nil), "      /var/log/\\x1bx │ x\n"},
		{record.NewStream(attrs("service_name", "s", "input", "otlp"), nil, nil), "      s │ x\n"},
		{record.NewStream(attrs("input", "journald"), nil, nil), "      journald │ x\n"},
		{record.NewStream(attrs("container", "web"), nil, nil), "      web │ x\n"},
	} {
		if got := encode(Config{}, batch(c.s, "x")); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestColor(t *testing.T) {
	got := encode(Config{Style: Style{Color: true}}, batch(cart, "x"))
	if !strings.HasPrefix(got, "      \x1b[") || !strings.HasSuffix(got, "mshop/cart-1 web │\x1b[0m x\n") {
		t.Errorf("%q", got)
	}
	// The first pods all have different colours, also in a clone; a pod keeps its.
	e := New(Config{Style: Style{Color: true, Times: "none"}})
	of := func(e *Encoder, pod int) string {
		s := record.NewStream(attrs("namespace", "shop", "pod", fmt.Sprint("cart-", pod)), nil, nil)
		b := batch(s, "x")
		return strings.SplitN(string(e.Append(nil, []record.Part{record.NewPart(b, b.Live())})), "m", 2)[0]
	}
	seen := map[string]int{}
	for i := range 50 {
		c := of(e, i)
		if seen[c]++; seen[c] > 1 && i < len(palette) {
			t.Errorf("pod %d has the colour of another", i)
		}
		if again := of(e.Clone(), i); again != c {
			t.Errorf("pod %d: %q in a clone, %q", i, again, c)
		}
	}
	if len(seen) != len(palette) {
		t.Errorf("%d colours for 50 pods", len(seen))
	}
}

func TestRaw(t *testing.T) {
	if got := encode(Config{Raw: true, Style: Style{Color: true}}, batch(cart, "a\x1b\xff", "", "b")); got != "a\x1b\xff\n\nb\n" {
		t.Errorf("%q", got)
	}
}

// What a terminal would obey is shown instead, and no line can pretend to be
// another pod's.
func TestFailure111_TerminalEscapesAreShownNotObeyed(t *testing.T) {
	for _, evil := range []string{
		"\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\u009b31m", "\u009d0;x\u009c", "\b\b\b", "\x0b\x0c", "\u202eevil", "\u2066x", "\u2028", "\u2029", "\ufeff", "\u200b",
		"x\nshop/other-1 web │ forged", "\U000e0041", "\u200e\u200f\u061c", "\x85", "\xc2\x85",
	} {
		for _, s := range []*record.Stream{cart, record.NewStream(attrs("namespace", evil, "pod", evil), nil, nil)} {
			check(t, encode(Config{}, batch(s, evil, "next")))
		}
	}
	for l := range strings.Lines(encode(Config{}, batch(cart, "x\nshop/other-1 web │ forged"))) {
		if !strings.HasPrefix(l, "      shop/cart-1 web │ ") {
			t.Errorf("line %q", l)
		}
	}
}

func check(t *testing.T, out string) {
	t.Helper()
	if !utf8.ValidString(out) || !strings.HasSuffix(out, "\n") {
		t.Errorf("output %q", out)
	}
	for _, r := range out {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)) {
			t.Errorf("%U in %q", r, out)
		}
	}
}

func FuzzFailure111_Line(f *testing.F) {
	f.Add("a\x1b[0m\xff\r\n", "x\ny")
	f.Add("\u202e\u0085", "")
	f.Fuzz(func(t *testing.T, body, pod string) {
		s := record.NewStream(attrs("namespace", "n", "pod", pod), nil, nil)
		out := encode(Config{}, batch(s, body))
		check(t, out)
		prefix := "      " + string(AppendPlain(nil, []byte("n")))
		if pod != "" {
			prefix += "/" + string(AppendPlain(nil, []byte(pod)))
		}
		n := 0
		for l := range strings.Lines(out) {
			n++
			if !strings.HasPrefix(l, prefix+" │ ") {
				t.Errorf("line %q without prefix %q", l, prefix)
			}
		}
		if want := 1 + strings.Count(strings.TrimSuffix(body, "\n"), "\n"); n != want {
			t.Errorf("%d lines, want %d", n, want)
		}
	})
}

func BenchmarkAppend(bm *testing.B) {
	var bodies []string
	for i := range 1000 {
		bodies = append(bodies, strings.Repeat(fmt.Sprintf("GET /cart/%d HTTP/1.1 ", i), 10))
	}
	b := batch(cart, bodies...)
	for _, raw := range []bool{false, true} {
		bm.Run(fmt.Sprintf("raw=%v", raw), func(bm *testing.B) {
			e := New(Config{Raw: raw, Style: Style{Color: true}})
			parts := []record.Part{record.NewPart(b, b.Live())}
			buf := e.Append(nil, parts)
			bm.SetBytes(int64(b.Len()))
			bm.ReportAllocs()
			for bm.Loop() {
				buf = e.Append(buf[:0], parts)
			}
		})
	}
}
