package syslog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

var now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func decoder() *Decoder { return NewDecoder(wire.Limits{}, new(wire.StreamCache)) }

func text(b *record.Batch) (out []string) {
	for i := range b.NumRecords() {
		r := b.Record(i)
		var sb strings.Builder
		for _, a := range b.Stream(i).Attrs() {
			fmt.Fprintf(&sb, "%s=%s ", a.Name, a.Value)
		}
		at := "now"
		if r.Time != now.UnixNano() {
			at = time.Unix(0, r.Time).UTC().Format("2006-01-02T15:04:05.999999999")
		}
		fmt.Fprintf(&sb, "%s %d %q", at, r.Severity, b.Body(i))
		for _, f := range b.Fields(i) {
			fmt.Fprintf(&sb, " %s=%q", b.KeyName(f.Key), b.Bytes(f.Val))
		}
		if r.Flags != 0 {
			fmt.Fprintf(&sb, " flags=%d", r.Flags)
		}
		out = append(out, sb.String())
	}
	return out
}

func diff(t *testing.T, got []string, want ...string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func one(t *testing.T, d *Decoder, msg string) string {
	t.Helper()
	b := record.NewBatch(nil)
	b.AppendString("<13>before")
	d.Begin(b, "10.0.0.9", "", now.UnixNano())
	s := b.AppendString(msg)
	if err := d.Message(s, 0); err != nil {
		t.Fatal(err)
	}
	if out := d.End(); out.Records != 1 || out.Refused != 0 {
		t.Fatal(out)
	}
	return text(b)[0]
}

// What devices and programs send, and what becomes of it.
func TestMessages(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	for _, c := range []struct{ msg, want string }{
		// RFC 5424's own examples.
		{"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed for lonvick on /dev/pts/8",
			`app=su facility=auth node=mymachine.example.com 2003-10-11T22:14:15.003 18 "'su root' failed for lonvick on /dev/pts/8" msgid="ID47"`},
		{"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
			`app=myproc facility=local4 node=192.0.2.1 2003-08-24T12:14:15.000003 10 "%% It's time to make the do-nuts." procid="8710"`},
		{`<165>1 2003-10-11T22:14:15.003Z h evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="App\"li\]c\\at\x" eventID="1011"][examplePriority@32473 class="high"] An application event`,
			`app=evntslog facility=local4 node=h 2003-10-11T22:14:15.003 10 "An application event" msgid="ID47" exampleSDID@32473_iut="3" exampleSDID@32473_eventSource="App\"li]c\\at\\x" exampleSDID@32473_eventID="1011" examplePriority@32473_class="high"`},
		{`<165>1 2003-10-11T22:14:15.003Z h e - ID47 [a b="1"]`, `app=e facility=local4 node=h 2003-10-11T22:14:15.003 10 "" msgid="ID47" a_b="1"`},
		{"<0>1 - - - - - -", `facility=kern node=10.0.0.9 now 21 ""`},
		{"<14>1 2026-11-22T10:00:00.5+02:00 h a 1 m - two\nlines", `app=a facility=user node=h 2026-11-22T08:00:00.5 9 "two\nlines" procid="1" msgid="m"`},
		{`<14>1 2026-11-22T10:00:00Z h a - - [broken="1" rest`, `app=a facility=user node=h now 9 "[broken=\"1\" rest"`},
		{`<14>1 2026-13-22T10:00:00Z h a - - - x`, `facility=user node=10.0.0.9 now 9 "<14>1 2026-13-22T10:00:00Z h a - - - x" flags=256`},
		{`<14>1 2026-11-22T10:00:00Z h`, `facility=user node=10.0.0.9 now 9 "<14>1 2026-11-22T10:00:00Z h" flags=256`},
		// RFC 3164's.
		{"<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8", `app=su facility=auth node=mymachine 2026-10-11T20:14:15 18 "'su root' failed for lonvick on /dev/pts/8"`},
		{"<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!", `facility=user node=10.0.0.99 2026-02-05T16:32:18 10 "Use the BFG!"`},
		{"<30>Nov 22 10:00:01 h systemd[1]: Started x.", `app=systemd facility=daemon node=h 2026-11-22T09:00:01 9 "Started x." procid="1"`},
		{"<30>Nov  2 10:00:01 sshd[1]: no host", `app=sshd facility=daemon node=10.0.0.9 2026-11-02T09:00:01 9 "no host" procid="1"`},
		{"<30>Nov  2 10:00:01 cron: no host", `app=cron facility=daemon node=10.0.0.9 2026-11-02T09:00:01 9 "no host"`},
		{"<30>2026-11-22T10:00:00.123456+01:00 h app[7]: rsyslog's", `app=app facility=daemon node=h 2026-11-22T09:00:00.123456 9 "rsyslog's" procid="7"`},
		{"<30>Nov 22 10:00:01.250 h a: fraction", `app=a facility=daemon node=h 2026-11-22T09:00:01.25 9 "fraction"`},
		{"<30>Nov 22 2025 10:00:01 h a: year", `app=a facility=daemon node=h 2025-11-22T09:00:01 9 "year"`},
		{"<30>Nov 22 10:00:01 2025 h a: year behind", `app=a facility=daemon node=h 2025-11-22T09:00:01 9 "year behind"`},
		// A year that is not there.
		{"<30>Dec 31 23:59:59 h a: x", `app=a facility=daemon node=h 2025-12-31T22:59:59 9 "x"`},
		{"<30>Apr  1 00:00:00 h a: x", `app=a facility=daemon node=h 2026-03-31T22:00:00 9 "x"`},
		{"<30>Feb 29 00:00:00 h a: x", `app=a facility=daemon node=h 2024-02-28T23:00:00 9 "x"`},
		// Cisco's.
		{"<189>237: *Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: Configured from console", `facility=local7 node=10.0.0.9 2026-03-01T17:46:11.123 10 "%SYS-5-CONFIG_I: Configured from console" msgid="SYS-5-CONFIG_I"`},
		{"<189>237: R1: .Nov 21 18:46:11: %LINK-3-UPDOWN: Interface up", `facility=local7 node=R1 2026-11-21T17:46:11 10 "%LINK-3-UPDOWN: Interface up" msgid="LINK-3-UPDOWN"`},
		{"<166>Oct 11 2026 22:14:15 fw1 : %ASA-6-302013: Built", `facility=local4 node=fw1 2026-10-11T20:14:15 9 "%ASA-6-302013: Built" msgid="ASA-6-302013"`},
		{"<166>Oct 11 2026 22:14:15: %ASA-6-302013: Built", `facility=local4 node=10.0.0.9 2026-10-11T20:14:15 9 "%ASA-6-302013: Built" msgid="ASA-6-302013"`},
		// Less than that.
		{"<13>app: hello", `app=app facility=user node=10.0.0.9 now 10 "hello"`},
		{"<13>app[12]: hello", `app=app facility=user node=10.0.0.9 now 10 "hello" procid="12"`},
		{"<13>hello world", `facility=user node=10.0.0.9 now 10 "hello world"`},
		{"<13>see http://x/", `facility=user node=10.0.0.9 now 10 "see http://x/"`},
		{`<13>{"json":true}`, `facility=user node=10.0.0.9 now 10 "{\"json\":true}"`},
		{"<13>", `facility=user node=10.0.0.9 now 10 ""`},
		{"Nov 22 10:00:01 h app: no priority", `app=app node=h 2026-11-22T09:00:01 0 "no priority"`},
		// Nothing of it.
		{"GET / HTTP/1.1", `node=10.0.0.9 now 0 "GET / HTTP/1.1" flags=256`},
		{"<999>x", `node=10.0.0.9 now 0 "<999>x" flags=256`},
		{"<", `node=10.0.0.9 now 0 "<" flags=256`},
	} {
		d := decoder()
		d.Zone = berlin
		if got := one(t, d, c.msg); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.msg, got, c.want)
		}
	}
	d := decoder()
	d.Local = true
	if got, want := one(t, d, "<13>Nov 22 10:00:01 my program says"), `facility=user node=10.0.0.9 2026-11-22T10:00:01 10 "my program says"`; got != want {
		t.Error(got)
	}
	d = decoder()
	d.Format = RFC5424
	if got := one(t, d, "<13>Nov 22 10:00:01 h a: x"); !strings.HasSuffix(got, "flags=256") {
		t.Error(got)
	}
}

// Over New Year.
func TestFailure50_YearIsInferred(t *testing.T) {
	for _, c := range []struct {
		now        time.Time
		stamp, day string
	}{
		{time.Date(2027, 1, 1, 0, 0, 5, 0, time.UTC), "Dec 31 23:59:59", "2026-12-31"},
		{time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC), "Jan  1 00:00:01", "2027-01-01"},
		{time.Date(2028, 3, 1, 0, 0, 0, 0, time.UTC), "Feb 29 12:00:00", "2028-02-29"},
		{time.Date(2029, 1, 10, 0, 0, 0, 0, time.UTC), "Feb 29 12:00:00", "2028-02-29"},
	} {
		d := decoder()
		b := record.NewBatch(nil)
		d.Begin(b, "", "", c.now.UnixNano())
		d.Message(b.AppendString("<13>"+c.stamp+" h a: x"), 0)
		if got := time.Unix(0, b.Record(0).Time).UTC().Format("2006-01-02"); got != c.day {
			t.Errorf("%s at %s: %s, want %s", c.stamp, c.now, got, c.day)
		}
	}
}

func frames(t *testing.T, max int, in string, step int) (out []string) {
	t.Helper()
	f := Framer{Max: max}
	from := 0
	for to := min(step, len(in)); ; to = min(to+step, len(in)) {
		eof := to == len(in)
		for {
			fr, ok := f.Next([]byte(in[from:to]), eof)
			if !ok {
				from += fr.Next
				break
			}
			if fr.Next <= 0 || fr.To > len(in[from:to]) || fr.To < fr.From {
				t.Fatalf("%+v of %q", fr, in[from:to])
			}
			if fr.To > fr.From {
				s := in[from+fr.From : from+fr.To]
				if fr.Flags&record.Continued != 0 {
					s = "…" + s
				}
				if fr.Flags&record.Partial != 0 {
					s += "…"
				}
				out = append(out, s)
			}
			from += fr.Next
		}
		if eof {
			return out
		}
	}
}

// Octet counting that lies, both framings in one stream, NUL, CR.
func TestFailure50_Framing(t *testing.T) {
	for _, c := range []struct {
		in   string
		want string
	}{
		{"<13>a\n<13>b\n", "<13>a|<13>b"},
		{"<13>a\r\n\r\n<13>b", "<13>a|<13>b"},
		{"5 <13>a6 <13>\nb5 <13>c", "<13>a|<13>\nb|<13>c"},
		{"6 <13>a\n<13>b\n5 <13>c", "<13>a|<13>b|<13>c"},
		{"<13>a\x00<13>b\x00", "<13>a|<13>b"},
		{"<13>a\x00\n<13>b\x00\n", "<13>a|<13>b"},
		{"<13>a\x00b\n5 <13>c\x00", "<13>a\x00b|<13>c"},
		{"4 <13>a\n<13>b\n", "<13>|a|<13>b"},
		{"20 <13>a\n<13>b\n", "<13>a\n<13>b…"},
		{"99999999999999999999 <13>x\n<13>y\n", "99999999999999999999 <13>x|<13>y"},
		{"123 no syslog\n<13>x", "123 no syslog|<13>x"},
		{"12", "12"},
		{"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1"},
		{"<13>" + strings.Repeat("x", 40) + "\n<13>y\n", "<13>" + strings.Repeat("x", 28) + "…|…" + strings.Repeat("x", 12) + "|<13>y"},
		{"44 <13>" + strings.Repeat("x", 40) + "<13>y\n", "<13>" + strings.Repeat("x", 28) + "…|…" + strings.Repeat("x", 12) + "|<13>y"},
		{"4000000000 <13>" + strings.Repeat("x", 30), "<13>" + strings.Repeat("x", 28) + "…|…xx…"},
	} {
		for _, step := range []int{1, 3, 1000} {
			got := strings.Join(frames(t, 32, c.in, step), "|")
			if step < 1000 && strings.Contains(c.in, "a\x00b") {
				continue // whether a NUL ends a message shows only when there is more
			}
			if got != c.want {
				t.Errorf("%q in steps of %d:\n got %q\nwant %q", c.in, step, got, c.want)
			}
		}
	}
}

// go-syslog reads the same out of what both can read.
func TestAgreesWithGoSyslog(t *testing.T) {
	parser := rfc5424.NewParser()
	for _, msg := range []string{
		`<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - text`,
		`<165>1 2003-10-11T22:14:15.003-07:00 h e 12 ID47 [a@1 b="x\"y" c="1"][d e="f"] An application event`,
		`<1>1 - - - - - -`,
		`<191>1 2026-02-28T23:59:59.999999Z h a p m [x] y`,
	} {
		m, err := parser.Parse([]byte(msg))
		if err != nil {
			t.Fatal(err)
		}
		want := m.(*rfc5424.SyslogMessage)
		d := decoder()
		b := record.NewBatch(nil)
		d.Begin(b, "", "", now.UnixNano())
		d.Message(b.AppendString(msg), 0)
		str := func(p *string) string {
			if p == nil {
				return ""
			}
			return *p
		}
		field := func(name string) string {
			f, ok := b.FindField(0, name)
			if !ok {
				return ""
			}
			return string(b.Bytes(f.Val))
		}
		st := b.Stream(0)
		if st.Get("node") != str(want.Hostname) || st.Get("app") != str(want.Appname) || field("procid") != str(want.ProcID) || field("msgid") != str(want.MsgID) ||
			string(b.Body(0)) != str(want.Message) || st.Get("facility") != facilities[*want.Facility] || b.Record(0).Severity != Severity(int(*want.Severity)) {
			t.Errorf("%s: %s", msg, text(b))
		}
		if want.Timestamp != nil && want.Timestamp.UnixNano() != b.Record(0).Time {
			t.Errorf("%s: time %d", msg, b.Record(0).Time)
		}
		if want.StructuredData != nil {
			for id, params := range *want.StructuredData {
				for k, v := range params {
					if field(id+"_"+k) != v {
						t.Errorf("%s: %s %s: %q, want %q", msg, id, k, field(id+"_"+k), v)
					}
				}
			}
		}
	}
}

func encode(t *testing.T, c Config, b *record.Batch) string {
	t.Helper()
	e, err := NewEncoder(c)
	if err != nil {
		t.Fatal(err)
	}
	if !b.Frozen() {
		b.Freeze()
	}
	part := record.NewPart(b, b.Live())
	defer part.Finish()
	return string(e.Append(nil, []record.Part{part}))
}

func hostile() *record.Batch {
	st := record.NewStream([]record.Attr{{Name: "namespace", Value: "shop\"]\\\n<0>1"}, {Name: "node", Value: "n 1\n"}, {Name: "app", Value: "a:\x00[x]"}, {Name: "pod", Value: "p"}, {Name: "input", Value: "i"}}, []record.Attr{{Name: "app.x/y", Value: "z"}}, nil)
	b := record.NewBatch(nil)
	s := b.AppendString("hello\r\n<0>1 - evil - - - - x\x1b[31m\tä\xff")
	i := b.Add(record.Record{Time: now.UnixNano() + 123456789, Body: s, Source: s, Severity: record.Error, Stream: b.AddStream(record.StreamRef{Stream: st}), Flags: record.Partial})
	k, _ := b.Key([]byte("a] b=\"x"))
	b.AddField(i, record.Field{Key: k, Val: b.AppendString("v\n\"]")})
	b.SetID(i, record.ID{Hi: 1, Lo: 2})
	return b
}

func TestFailure111_SyslogEncodeCannotBeBrokenOut(t *testing.T) {
	b := hostile()
	want := `<131>1 2026-11-22T10:00:00.123456Z n_1_ a:_[x] - - [weir@32473 app="a:#000[x\]" input="i" namespace="shop\"\]\\#012<0>1" node="n 1#012" pod="p" label_app_x_y="z" a__b__x="v#012\"\]" weir_id="00000000000000010000000000000002" weir_partial="true"] hello#015#012<0>1 - evil - - - - x#033[31m` + "\tä\xff"
	if got := encode(t, Config{Facility: 16, StructuredData: "weir@32473", IDs: true}, b); got != want+"\n" {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := encode(t, Config{Facility: 16, StructuredData: "weir@32473", IDs: true, Counted: true}, b); got != fmt.Sprintf("%d %s", len(want), want) {
		t.Errorf("counted: %s", got)
	}
	if got, want := encode(t, Config{Format: RFC3164, Facility: 1}, b), "<11>Nov 22 10:00:00 n_1_ a:_[x][p]: hello#015#012<0>1 - evil - - - - x#033[31m\tä\xff\n"; got != want {
		t.Errorf("3164: %s", got)
	}
	if got := encode(t, Config{Datagrams: true, MaxBytes: 63}, b); len(got) > 63 || strings.Contains(got, "\n") {
		t.Errorf("datagram: %q", got)
	}
	if m, err := rfc5424.NewParser().Parse([]byte(strings.TrimSuffix(want, "\xff"))); err != nil || m == nil {
		t.Errorf("go-syslog: %v", err)
	}
}

func TestRoundTrip(t *testing.T) {
	st := record.NewStream([]record.Attr{{Name: "node", Value: "n"}, {Name: "app", Value: "a"}, {Name: "facility", Value: "cron"}}, nil, nil)
	b := record.NewBatch(nil)
	s := b.AppendString("text with spaces  and ] \" \\")
	i := b.Add(record.Record{Time: now.UnixNano(), Body: s, Source: s, Severity: record.Warn, Stream: b.AddStream(record.StreamRef{Stream: st})})
	for _, f := range [][2]string{{"procid", "7"}, {"msgid", "m"}, {"x", `\]"`}} {
		k, _ := b.Key([]byte(f[0]))
		b.AddField(i, record.Field{Key: k, Val: b.AppendString(f[1])})
	}
	d := decoder()
	b2 := record.NewBatch(nil)
	if _, err := d.Decode(b2, b2.AppendString(encode(t, Config{StructuredData: "weir@1", Counted: true}, b)), "", now.UnixNano()); err != nil {
		t.Fatal(err)
	}
	diff(t, text(b2), `app=a facility=cron node=n now 13 "text with spaces  and ] \" \\" procid="7" msgid="m" weir@1_app="a" weir@1_facility="cron" weir@1_node="n" weir@1_x="\\]\""`)
}

// Row 111: what a JSON body holds stays inside its parameters, and takes none of
// ours.
func TestFailure111_SyslogParams(t *testing.T) {
	e, err := NewEncoder(Config{StructuredData: "w@1", Params: true, IDs: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ body, want string }{
		{`{"msg":"hi\nthere","n":-3.5,"ok":true,"z":null,"o":{"a":1},"l":[1]}`, `[w@1 namespace="shop" n="-3.5" ok="true"] hi#012there`},
		{`{"log":"a","message":"b","namespace":"evil","weir_id":"x","q]\" =":"]\"\\"}`, `[w@1 namespace="shop" q____="\]\"\\"] b`},
		{`{"message":1,"a":"x"}`, `[w@1 namespace="shop" message="1" a="x"] {"message":1,"a":"x"}`},
		{`{}`, `[w@1 namespace="shop"] {}`},
	} {
		b := record.NewBatch(nil)
		sp := b.AppendString(c.body)
		b.Add(record.Record{Body: sp, Source: sp, Flags: record.JSONObject | record.ValidUTF8, Stream: b.AddStream(record.StreamRef{
			Stream: record.NewStream([]record.Attr{{Name: record.AttrNamespace, Value: "shop"}}, nil, nil)})})
		b.Freeze()
		part := record.NewPart(b, b.Live())
		for range 2 {
			_, got, _ := strings.Cut(string(e.Append(nil, []record.Part{part})), " - [")
			if got != c.want[1:]+"\n" {
				t.Errorf("%s:\n got [%s\nwant %s", c.body, got, c.want)
			}
		}
		part.Finish()
	}
}
