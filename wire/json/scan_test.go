package json

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/weirlog/weir/record"
)

func nest(open, shut string, n int) string {
	return strings.Repeat(open, n) + "1" + strings.Repeat(shut, n)
}

func TestObject(t *testing.T) {
	tests := []struct {
		in  string
		why string // "" = accepted
	}{
		{`{}`, ""},
		{`{ }`, ""},
		{"{\n\t\r }", ""},
		{`{"a":1}`, ""},
		{"{ \"a\" :\t1 ,\n\"b\" : [ ] }", ""},
		{`{"":""}`, ""},
		{`{"a":{},"b":[],"c":[{}],"d":[[],{}],"e":{"f":{}}}`, ""},
		{`{"a":[1,"x",true,false,null,{"b":[-1.5e+10]}]}`, ""},
		{`{"a":"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00"}`, ""},
		{`{"é":"日本語 😀"}`, ""},
		{"{\"a\":\"\x7f\u2028\"}", ""},
		{`{"a":"\ud800"}`, ""}, // the grammar allows it; Unescape replaces it
		{`{"a":"\u0000"}`, ""},

		// Inside values names may stand twice: no sink splices there.
		{`{"o":{"a":1,"a":2}}`, ""},
		{`{"a":1,"A":2}`, ""},
		{`{"a":1,"a":2}`, "name stands twice"},
		{`{"a":1,"\u0061":2}`, "name stands twice"},
		{`{"\u0061":1,"a":2}`, "name stands twice"},
		{`{"\u006c\u0065vel":1,"level":2}`, "name stands twice"},
		{`{"level":1,"level":2}`, "name stands twice"},
		{`{"":1,"":2}`, "name stands twice"},
		{`{"request_identifier_a":1,"request_identifier_b":2}`, ""},
		{`{"request_a_identifier":1,"request_b_identifier":2}`, ""},
		{`{"request_identifier_a":1,"x":0,"request_identifier_a":2}`, "name stands twice"},

		{``, "does not begin with {"},
		{`[]`, "does not begin with {"},
		{` {}`, "does not begin with {"},
		{"\ufeff{}", "does not begin with {"},
		{`{} `, "bytes after the object"},
		{`{"a":1}x`, "bytes after the object"},
		{`{"a":1}{"b":2}`, "bytes after the object"},
		{`{}}`, "bytes after the object"},
		{`{`, "unexpected end"},
		{`{"a`, "string without end"},
		{`{"a"`, "unexpected end"},
		{`{"a":`, "unexpected end"},
		{`{"a":1`, "unexpected end"},
		{`{"a":1,`, "unexpected end"},
		{`{"a":[`, "unexpected end"},
		{`{"a":{"b"`, "unexpected end"},
		{`{"a":[1`, "unexpected end"},
		{`{"a":"x`, "string without end"},
		{`{"a":"x\`, "malformed escape"},
		{`{"a":["x`, "string without end"},
		{`{"a":1,}`, "unexpected byte"},
		{`{,"a":1}`, "unexpected byte"},
		{`{"a":1 "b":2}`, "unexpected byte"},
		{`{"a" 1}`, "unexpected byte"},
		{`{"a"::1}`, "unexpected byte"},
		{`{a:1}`, "unexpected byte"},
		{`{'a':1}`, "unexpected byte"},
		{`{1:1}`, "unexpected byte"},
		{`{"a":}`, "unexpected byte"},
		{`{"a":[1,]}`, "unexpected byte"},
		{`{"a":[,1]}`, "unexpected byte"},
		{`{"a":[1}`, "unexpected byte"},
		{`{"a":{"b":1]`, "unexpected byte"},
		{`{"a":[1}}`, "unexpected byte"},
		{`{"a":{"b":1,}}`, "unexpected byte"},
		{`{"a":{"b"}}`, "unexpected byte"},
		{`{"a":{1}}`, "unexpected byte"},
		{`{"a":[1 2]}`, "unexpected byte"},
		{`{"a":1/**/}`, "unexpected byte"},
		{"{\"a\":\v1}", "unexpected byte"},
		{"{\"a\":\u00a01}", "unexpected byte"},
		{"{\"a\":1\x00}", "unexpected byte"},

		{`{"a":tru}`, "malformed literal"},
		{`{"a":True}`, "unexpected byte"},
		{`{"a":nul`, "malformed literal"},
		{`{"a":falsey}`, "unexpected byte"},
		{`{"a":NaN}`, "unexpected byte"},
		{`{"a":Infinity}`, "unexpected byte"},

		{"{\"a\":\"\n\"}", "control byte inside a string"},
		{"{\"a\":\"0123456789\x1f0123456789\"}", "control byte inside a string"},
		{"{\"a\x00\":1}", "control byte inside a string"},
		{"{\"a\":[\"\t\"]}", "control byte inside a string"},
		{`{"a":"\x"}`, "malformed escape"},
		{`{"a":"\u12g4"}`, "malformed escape"},
		{`{"a":"\u12"}`, "malformed escape"},
		{`{"a":"\U0001"}`, "malformed escape"},
		{`{"\'":1}`, "malformed escape"},

		{"{\"a\":\"\xff\"}", "invalid UTF-8"},
		{"{\"a\":\"01234567\xc3\"}", "invalid UTF-8"},
		{"{\"a\":\"\xc0\xaf\"}", "invalid UTF-8"},     // overlong
		{"{\"a\":\"\xed\xa0\x80\"}", "invalid UTF-8"}, // surrogate
		{"{\"a\":\"\xf4\x90\x80\x80\"}", "invalid UTF-8"},
		{"{\"\xe9\":1}", "invalid UTF-8"},
		{"{\"a\":[\"\x80\"]}", "invalid UTF-8"},
		{"{\"a\":{\"b\xff\":1}}", "invalid UTF-8"},
		{"{\"a\":\xff}", "unexpected byte"},
	}
	var s Scanner
	for _, tt := range tests {
		got := s.Object([]byte(tt.in))
		if s.Why() != tt.why || got != (tt.why == "") {
			t.Errorf("Object(%q) = %v (%q), want %q", tt.in, got, s.Why(), tt.why)
		}
		if (s.Err() == nil) != got {
			t.Errorf("Err(%q) = %v", tt.in, s.Err())
		}
		var se *SyntaxError
		if !got && (!errors.As(s.Err(), &se) || se.Offset > len(tt.in) || se.Why != tt.why) {
			t.Errorf("Err(%q) = %v", tt.in, s.Err())
		}
	}
}

// Numbers keep their text: what they mean is the reader's business.
func TestFailure42_NumbersKeepTheirText(t *testing.T) {
	var s Scanner
	for text, kind := range map[string]record.Kind{
		"0": record.Int, "-0": record.Int, "9223372036854775809": record.Int, "-1": record.Int,
		"18446744073709551616000000000000000": record.Int,
		"1e400":                               record.Float, "-0.0": record.Float, "1E+2": record.Float, "1e-2": record.Float, "0e0": record.Float,
		"0.10": record.Float, "123.456e7": record.Float,
	} {
		p := []byte(`{"a": ` + text + ` ,"b":` + text + `,"c":[` + text + `]}`)
		if !s.Object(p) {
			t.Errorf("%s: %v", p, s.Err())
			continue
		}
		for _, m := range s.Members[:2] {
			if got := string(p[m.Val.Off:m.Val.End()]); got != text || m.Kind != kind || m.Raw() != m.Val {
				t.Errorf("%s: value %q kind %v", p, got, m.Kind)
			}
		}
	}
	for _, text := range []string{"01", "-", "+1", ".5", "1.", "1.e2", "1e", "1e+", "-01", "0x1", "1_0", "--1", "1.2.3", "1e2e3", "00", "- 1"} {
		for _, form := range []string{`{"a":%s}`, `{"a":[%s]}`} {
			p := fmt.Sprintf(form, text)
			if s.Object([]byte(p)) {
				t.Errorf("%s was accepted", p)
			}
		}
	}
}

func TestFailure42_DepthIsLimited(t *testing.T) {
	var s Scanner
	for _, kind := range [][2]string{{"[", "]"}, {`{"a":`, "}"}} {
		// The object itself is depth 1.
		if p := `{"a":` + nest(kind[0], kind[1], MaxDepth-1) + `}`; !s.Object([]byte(p)) {
			t.Errorf("depth %d: %v", MaxDepth, s.Err())
		}
		if p := `{"a":` + nest(kind[0], kind[1], MaxDepth) + `}`; s.Object([]byte(p)) || s.Why() != reasons[tooDeep] {
			t.Errorf("depth %d: %q", MaxDepth+1, s.Why())
		}
		if p := `{"a":` + strings.Repeat(kind[0], 1<<20); s.Object([]byte(p)) || s.Why() != reasons[tooDeep] {
			t.Errorf("depth of a million: %q", s.Why())
		}
	}
	// Depth counts what is open, not what was.
	if p := `{"a":[` + strings.Repeat(`[[]],`, 200) + `1]}`; !s.Object([]byte(p)) {
		t.Errorf("many shallow arrays: %v", s.Err())
	}
}

func TestFailure42_ManyNames(t *testing.T) {
	var s Scanner
	object := func(n int, extra string) []byte {
		var b bytes.Buffer
		b.WriteByte('{')
		for i := range n {
			fmt.Fprintf(&b, `"some_key_%d":%d,`, i, i)
		}
		b.WriteString(extra + `}`)
		return b.Bytes()
	}
	for _, n := range []int{1, 30, 31, 32, 33, 100, MaxMembers - 1} {
		if p := object(n, `"last":0`); !s.Object(p) || len(s.Members) != n+1 {
			t.Errorf("%d members: %v", n+1, s.Err())
		}
		for _, twice := range []string{"some_key_0", `some\u005fkey_0`, fmt.Sprintf("some_key_%d", n-1)} {
			if p := object(n, `"`+twice+`":0`); s.Object(p) || s.Why() != reasons[duplicate] {
				t.Errorf("%d members and %s again: %q", n, twice, s.Why())
			}
		}
	}
	if p := object(MaxMembers, `"last":0`); s.Object(p) || s.Why() != reasons[tooMany] {
		t.Errorf("%d members: %q", MaxMembers+1, s.Why())
	}
	long := strings.Repeat("k", 1<<20)
	if p := []byte(`{"` + long + `":1,"` + long + `x":2}`); !s.Object(p) || s.Members[0].Key.Len != 1<<20 {
		t.Errorf("keys of 1 MiB: %v", s.Err())
	}
}

func TestMembers(t *testing.T) {
	p := []byte(`{ "ts" : 1.5, "msg":"a \"b\"", "\u006cevel":"warn","ok":true,"no":null,"o":{ "x":[1] }, "a":[], "own_name_that_is_long":"" }`)
	var s Scanner
	if !s.Object(p) {
		t.Fatal(s.Err())
	}
	type row struct {
		key, val, raw, known string
		kind                 record.Kind
		keyEsc, valEsc       bool
	}
	var got []row
	for _, m := range s.Members {
		raw := m.Raw()
		got = append(got, row{string(p[m.Key.Off:m.Key.End()]), string(p[m.Val.Off:m.Val.End()]),
			string(p[raw.Off:raw.End()]), KnownName(m.Bit), m.Kind, m.Escaped, m.ValEscaped})
		if p[m.Start()] != '"' {
			t.Errorf("Start of %q is %q", p[m.Key.Off:m.Key.End()], p[m.Start()])
		}
	}
	want := []row{
		{"ts", "1.5", "1.5", "ts", record.Float, false, false},
		{"msg", `a \"b\"`, `"a \"b\""`, "msg", record.String, false, true},
		{`\u006cevel`, "warn", `"warn"`, "level", record.String, true, false},
		{"ok", "true", "true", "", record.Bool, false, false},
		{"no", "null", "null", "", record.Null, false, false},
		{"o", `{ "x":[1] }`, `{ "x":[1] }`, "", record.JSON, false, false},
		{"a", "[]", "[]", "", record.JSON, false, false},
		{"own_name_that_is_long", "", `""`, "", record.String, false, false},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if mask, _ := KnownMask("ts", "msg", "level"); s.Known != mask {
		t.Errorf("Known = %b, want %b", s.Known, mask)
	}
	if m, ok := s.Find(p, "level"); !ok || string(p[m.Val.Off:m.Val.End()]) != "warn" {
		t.Errorf("Find(level) = %v, %v", m, ok)
	}
	if _, ok := s.Find(p, "x"); ok {
		t.Error("Find found a nested member")
	}
}

// oracle says by encoding/json what Object should say, but for its limits.
func oracle(p []byte) (valid bool, members map[string]stdjson.RawMessage) {
	if len(p) == 0 || p[0] != '{' || p[len(p)-1] != '}' || !stdjson.Valid(p) || !utf8.Valid(p) {
		return false, nil
	}
	d := stdjson.NewDecoder(bytes.NewReader(p))
	d.UseNumber()
	members = map[string]stdjson.RawMessage{}
	for depth := 0; ; {
		tok, err := d.Token()
		if err == io.EOF {
			return true, members
		}
		if err != nil {
			return false, nil
		}
		switch t := tok.(type) {
		case stdjson.Delim:
			if t == '{' {
				depth++
			} else {
				depth--
			}
		case string:
			// depth is 1 only where a name is due: values are taken whole.
			if _, twice := members[t]; twice {
				return false, nil
			}
			var v stdjson.RawMessage
			if d.Decode(&v) != nil {
				return false, nil
			}
			members[t] = v
		}
	}
}

func depthOf(p []byte) int {
	depth, most, inString := 0, 0, false
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == '{' || c == '['):
			depth++
			most = max(most, depth)
		case !inString && (c == '}' || c == ']'):
			depth--
		}
	}
	return most
}

func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1,"\u0061":2}`, `{"a":[{"b":"c\n"}],"d":-0.5e10}`, `{"level":"info","ts":1,"msg":"é\ud83d\ude00"}`,
		`{"a":"\ud800","b":"\udc00\ud800"}`, `{"\ud800":1,"\ufffd":2}`, `{"a":` + nest("[", "]", 63) + `}`, `{"a":` + nest("[", "]", 64) + `}`,
		`{"a":1} `, "{\"a\":\"\xff\"}", "{\"a\":\"\x01\"}", `{"a":01}`, `{"a":1e400}`, `{"a":tru}`, `{"a":"0123456789abcdef\"0123456789"}`,
		slogLine, zapLine, logbackLine,
	} {
		f.Add([]byte(seed))
	}
	var s Scanner
	f.Fuzz(func(t *testing.T, p []byte) {
		got := s.Object(p)
		want, members := oracle(p)
		if want && (len(members) > MaxMembers || depthOf(p) > MaxDepth) {
			want = false
		}
		if got != want {
			t.Fatalf("Object(%q) = %v (%v), encoding/json says %v", p, got, s.Err(), want)
		}
		if !got {
			return
		}
		if len(s.Members) != len(members) {
			t.Fatalf("%q: %d members, encoding/json finds %d", p, len(s.Members), len(members))
		}
		var known uint64
		for _, m := range s.Members {
			key := p[m.Key.Off:m.Key.End()]
			if m.Escaped != bytes.Contains(key, []byte(`\`)) {
				t.Errorf("%q: Escaped of %q is %v", p, key, m.Escaped)
			}
			key = Unescape(nil, key)
			raw := m.Raw()
			if v, ok := members[string(key)]; !ok || !bytes.Equal(v, p[raw.Off:raw.End()]) {
				t.Errorf("%q: member %q = %q, encoding/json finds %q", p, key, p[raw.Off:raw.End()], v)
			}
			if m.Kind == record.String {
				var v string
				if err := stdjson.Unmarshal(p[raw.Off:raw.End()], &v); err != nil || v != string(Unescape(nil, p[m.Val.Off:m.Val.End()])) {
					t.Errorf("%q: string %q, encoding/json reads %q", p, p[m.Val.Off:m.Val.End()], v)
				}
			}
			bit, ok := Known(key)
			if bit != m.Bit || ok != (m.Bit != NoBit) {
				t.Errorf("%q: bit of %q is %d, want %d", p, key, m.Bit, bit)
			}
			if ok {
				known |= 1 << bit
			}
		}
		if known != s.Known {
			t.Errorf("%q: Known = %b, want %b", p, s.Known, known)
		}
	})
}

// What a Scanner remembers of the objects before changes nothing.
func TestScannerRemembersOnlyWhatHolds(t *testing.T) {
	keys := []string{"time", "level", "msg", "a", "b", "", "fourteen_bytes", "fifteen_bytes_x", "a_very_long_name_indeed", `\u0061`, "é", "\xff", "x\xffy", "\x01"}
	rapid.Check(t, func(t *rapid.T) {
		var s Scanner
		var order []string // that the next object begins with
		for range 30 {
			if n := len(order); n > 6 {
				order = order[:6]
			}
			order = order[:rapid.IntRange(0, len(order)).Draw(t, "same")]
			for range rapid.IntRange(0, 4).Draw(t, "more") {
				order = append(order, rapid.SampledFrom(keys).Draw(t, "key"))
			}
			if rapid.IntRange(0, 20).Draw(t, "large") == 0 {
				for i := range 40 {
					order = append(order, fmt.Sprint("k", i))
				}
			}
			sep := rapid.SampledFrom([]string{":", ":", ":", " :", ": "}).Draw(t, "sep")
			text := "{"
			for i, k := range order {
				if i > 0 {
					text += ","
				}
				text += `"` + k + `"` + sep + rapid.SampledFrom([]string{"1", `"a long enough value"`, `"é"`, "[]", "x"}).Draw(t, "value")
			}
			text += rapid.SampledFrom([]string{"}", "}", "}", ""}).Draw(t, "end")
			p := []byte(text)
			p = p[:len(p):len(p)]

			var fresh Scanner
			got, want := s.Object(p), fresh.Object(p)
			if got != want || !reflect.DeepEqual(s.Err(), fresh.Err()) {
				t.Fatalf("%q: %v, %v, want %v, %v", p, got, s.Err(), want, fresh.Err())
			}
			if got && (s.Known != fresh.Known || len(s.Members) != len(fresh.Members) || len(s.Members) > 0 && !reflect.DeepEqual(s.Members, fresh.Members)) {
				t.Fatalf("%q: %v %b, want %v %b", p, s.Members, s.Known, fresh.Members, fresh.Known)
			}
		}
	})
}

const (
	slogLine    = `{"time":"2026-11-22T12:31:07.123456789Z","level":"INFO","source":{"function":"main.(*server).handle","file":"/src/cmd/api/server.go","line":214},"msg":"request served","method":"GET","path":"/api/v1/orders/10382/items","status":200,"duration":13284113,"remote_addr":"10.42.3.17:51844","user_agent":"Mozilla/5.0 (X11; Linux x86_64) Gecko","request_id":"a3f1c0de-7d51-4fb2-9a44-0c31ad1b6f02"}`
	zapLine     = `{"level":"info","ts":1763814667.1234567,"logger":"controller.orders","caller":"reconcile/reconciler.go:118","msg":"Reconciling object","namespace":"shop","name":"orders-db-0","generation":17,"reconcileID":"5e0d5b4c-4b11-4b4b-9d59-b2a7f5f0b3ff","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"}`
	logbackLine = `{"@timestamp":"2026-11-22T12:31:07.123Z","@version":"1","message":"Order 10382 could not be charged: the payment provider answered \"insufficient funds\"; will retry in 30 s","logger_name":"com.example.shop.payment.PaymentService","thread_name":"http-nio-8080-exec-7","level":"WARN","level_value":30000,"stack_trace":"com.example.shop.payment.PaymentException: insufficient funds\n\tat com.example.shop.payment.PaymentClient.charge(PaymentClient.java:87)\n\tat com.example.shop.payment.PaymentService.pay(PaymentService.java:41)\n","traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7"}`
)

func BenchmarkObject(b *testing.B) {
	for _, c := range []struct{ name, line string }{{"slog", slogLine}, {"zap", zapLine}, {"logback", logbackLine},
		{"utf8", strings.ReplaceAll(logbackLine, "insufficient funds", "недостаточно средств")}} {
		b.Run(c.name, func(b *testing.B) {
			p := []byte(c.line)
			var s Scanner
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if !s.Object(p) {
					b.Fatal(s.Err())
				}
			}
		})
	}
}

// Lines of several shapes, as programs write them: what a Scanner remembers of
// one helps with the next only as far as they begin alike.
func BenchmarkObjectMixed(b *testing.B) {
	lines := [][]byte{[]byte(slogLine), []byte(zapLine), []byte(logbackLine)}
	var s Scanner
	b.SetBytes(int64(len(slogLine)+len(zapLine)+len(logbackLine)) / 3)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if !s.Object(lines[i%3]) {
			b.Fatal(s.Err())
		}
	}
}
