package wire

import (
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/record"
)

func render(t testing.TB, text string, rules *Sanitizer, b *record.Batch) string {
	t.Helper()
	tm, err := ParseTemplate(text, rules)
	if err != nil {
		t.Fatal(err)
	}
	return string(tm.Append([]byte("before "), b, 0)[len("before "):])
}

func TestTemplate(t *testing.T) {
	b := one(t, shop, "x", field{"tenant", record.String, "Acme Corp"}, field{"namespace", record.String, "evil"}, field{"null", record.Null, "null"})
	for _, c := range []struct{ text, want string }{
		{"logs", "logs"},
		{"kubernetes-${namespace}-%Y.%m.%d", "kubernetes-shop-2025.11.22"},
		{"${pod}", "cart-1"},
		{"a-${node}", "a-unknown"},
		{"a-${node:-none}", "a-none"},
		{"a-${pod:-none}", "a-cart-1"},
		{"a-${label_app_kubernetes_io_name}", "a-cart"},
		{"a-${label_nope:-x}", "a-x"},
		{"a-${team}", "a-blue_green"},
		{"a-${tenant}", "a-acme_corp"},
		{"a-${null:-x}", "a-x"},
		{"a-${level}", "a-unknown"},
		{"a-${level:-info}", "a-info"},
		{"%F_%H", "2025-11-22_10"},
		{"%y%j-%G.%V.%u-%H.%M.%S", "25326-2025.47.6-10.00.00"},
	} {
		if got := render(t, c.text, SanitizeIndex, b); got != c.want {
			t.Errorf("%s = %q, want %q", c.text, got, c.want)
		}
	}
}

func TestTemplateErrors(t *testing.T) {
	for text, part := range map[string]string{
		"":                       "empty",
		"a%":                     "at the end",
		"a%Q":                    "%Q",
		"${":                     "without }",
		"${}":                    "without a name",
		"${a b}":                 "' '",
		"Logs":                   "not allowed",
		"a/b":                    "not allowed",
		"a b":                    "not allowed",
		"-a":                     "begin",
		"_a":                     "begin",
		".":                      "not a name",
		"..":                     "not a name",
		"${a:-B}":                "not allowed",
		"a\n":                    "not allowed",
		"a\"":                    "not allowed",
		strings.Repeat("a", 256): "not a name",
	} {
		_, err := ParseTemplate(text, SanitizeIndex)
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("ParseTemplate(%q) = %v, want an error with %q", text, err, part)
		}
	}
	if _, err := ParseTemplate("a", nil); err == nil {
		t.Error("no rules, no error")
	}
}

func TestTemplateWindow(t *testing.T) {
	for text, want := range map[string]time.Duration{"a-%Y": 24 * time.Hour, "a-%d-%H": time.Hour, "a-%M": time.Minute, "a-%S": time.Second} {
		tm, err := ParseTemplate(text, SanitizeIndex)
		if err != nil {
			t.Fatal(err)
		}
		for _, ns := range []int64{0, -1, 1, 1763805600123456789, -1763805600123456789, 1<<63 - 1, -1 << 63} {
			from, to := tm.Window(ns)
			if from > ns || to < ns || to == ns && ns != 1<<63-1 {
				t.Errorf("%s: Window(%d) = [%d, %d)", text, ns, from, to)
			}
			if ns > -1<<62 && ns < 1<<62 && time.Duration(to-from) != want {
				t.Errorf("%s: window of %v", text, time.Duration(to-from))
			}
		}
	}
}

// Names hold over the whole window and change outside of it.
func TestTemplateWindowIsExact(t *testing.T) {
	tm, err := ParseTemplate("a-%Y.%m.%d.%H", SanitizeIndex)
	if err != nil {
		t.Fatal(err)
	}
	name := func(ns int64) string {
		b := record.NewBatch(nil)
		b.Add(record.Record{Time: ns, Stream: b.AddStream(record.StreamRef{Stream: shop})})
		b.Freeze()
		return string(tm.Append(nil, b, 0))
	}
	for _, ns := range []int64{1763805600123456789, -1} {
		from, to := tm.Window(ns)
		if name(from) != name(ns) || name(to-1) != name(ns) || name(from-1) == name(ns) || name(to) == name(ns) {
			t.Errorf("window of %d is not exact", ns)
		}
	}
}

// Nothing a program logs, and nothing in a label, can leave the alphabet of
// index names and tenants or form a path.
func TestFailure110_NamesFromTemplatesStayNames(t *testing.T) {
	for _, evil := range []string{
		"../../etc/passwd", "..", ".", "/", `\`, "a\x00b", "a\nb", "a\r\nX-Evil: 1", `a"b`, "<a-{now/d}>", "a,b", "*", "-a", "_all", "+x",
		".security", "...", "A:B#C", "ü", "\xff\xfe", strings.Repeat("x", 5000), "   ", "${namespace}", "%Y", "|",
	} {
		for _, text := range []string{"${evil}", "a-${evil}-%Y", ".${evil}", "${evil}${evil}", "${evil:-d}", "${team}"} {
			s := record.NewStream([]record.Attr{{Name: "team", Value: evil}}, nil, nil)
			b := one(t, s, "x", field{"evil", record.String, evil})
			checkIndex(t, evil, render(t, text, SanitizeIndex, b))
			checkTenant(t, evil, render(t, text, SanitizeTenant, b))
		}
	}
	// Long names that differ at the end stay different.
	long := strings.Repeat("x", 300)
	a := render(t, "${evil}", SanitizeIndex, one(t, shop, "x", field{"evil", record.String, long + "a"}))
	c := render(t, "${evil}", SanitizeIndex, one(t, shop, "x", field{"evil", record.String, long + "b"}))
	if a == c {
		t.Error("two long names became one")
	}
}

func checkIndex(t *testing.T, evil, name string) {
	t.Helper()
	if name == "" || len(name) > 255 || name == "." || name == ".." || name != strings.ToLower(name) ||
		strings.ContainsAny(name, "\\/*?\"<>| ,#:\x00\r\n") || strings.IndexByte("-_+", name[0]) >= 0 {
		t.Errorf("%.40q made the index name %.80q", evil, name)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f {
			t.Errorf("%.40q made the index name %.80q", evil, name)
		}
	}
}

func checkTenant(t *testing.T, evil, name string) {
	t.Helper()
	if name == "" || len(name) > 150 || name == "." || name == ".." || strings.ContainsAny(name, "/\\|\r\n\x00 :\"") {
		t.Errorf("%.40q made the tenant %.80q", evil, name)
	}
}

func FuzzTemplateValue(f *testing.F) {
	f.Add("a-${evil}-%Y", "../x")
	f.Add("${evil}", "\r\n")
	f.Add(".${evil}", ".")
	f.Fuzz(func(t *testing.T, text, evil string) {
		for _, rules := range []*Sanitizer{SanitizeIndex, SanitizeTenant} {
			tm, err := ParseTemplate(text, rules)
			if err != nil {
				continue
			}
			name := string(tm.Append(nil, one(t, shop, "x", field{"evil", record.String, evil}), 0))
			if rules == SanitizeIndex {
				checkIndex(t, evil, name)
			} else {
				checkTenant(t, evil, name)
			}
		}
	})
}

func BenchmarkTemplate(bm *testing.B) {
	b := one(bm, shop, "x")
	tm, err := ParseTemplate("kubernetes-${namespace}-%Y.%m.%d", SanitizeIndex)
	if err != nil {
		bm.Fatal(err)
	}
	var buf []byte
	bm.ReportAllocs()
	for bm.Loop() {
		buf = tm.Append(buf[:0], b, 0)
	}
}
