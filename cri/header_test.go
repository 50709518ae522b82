package cri

import (
	"math"
	"testing"
	"time"

	"github.com/weirlog/weir/record"
)

func TestTimes(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want string // RFC 3339; "" not a time, "far" not representable
	}{
		{"2024-02-29T12:34:56.123456789Z", "2024-02-29T12:34:56.123456789Z"},
		{"2024-02-29T12:34:56.123456789+00:00", "2024-02-29T12:34:56.123456789Z"},
		{"2024-02-29T12:34:56.123456789-07:30", "2024-02-29T20:04:56.123456789Z"},
		{"2024-02-29T12:34:56.1+14:00", "2024-02-28T22:34:56.1Z"},
		{"2024-02-29T12:34:56Z", "2024-02-29T12:34:56Z"},
		{"2024-02-29T12:34:56.1234567891Z", "2024-02-29T12:34:56.123456789Z"},
		{"2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"},
		{"1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"},
		{"1969-12-31T23:59:59.9Z", "1969-12-31T23:59:59.9Z"},
		{"1900-03-01T00:00:00Z", "1900-03-01T00:00:00Z"},
		{"2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z"},
		{"2262-04-11T23:00:00Z", "2262-04-11T23:00:00Z"},
		{"2263-01-01T00:00:00Z", "far"},
		{"9999-12-31T23:59:59Z", "far"},
		{"0001-01-01T00:00:00Z", "far"},
		{"1600-01-01T00:00:00Z", "far"},
		{"0000-01-01T00:00:00Z", ""},
		{"1900-02-29T00:00:00Z", ""},
		{"2023-02-29T00:00:00Z", ""},
		{"2024-13-01T00:00:00Z", ""},
		{"2024-00-01T00:00:00Z", ""},
		{"2024-04-31T00:00:00Z", ""},
		{"2024-01-01T24:00:00Z", ""},
		{"2024-01-01T00:60:00Z", ""},
		{"2024-01-01T00:00:61Z", ""},
		{"2024-01-01T00:00:00", ""},
		{"2024-01-01T00:00:00.Z", ""},
		{"2024-01-01T00:00:00.1234567890123456789Z", ""},
		{"2024-01-01T00:00:00.123456789", ""},
		{"2024-01-01T00:00:00+1400", ""},
		{"2024-01-01T00:00:00+24:00", ""},
		{"2024-01-01 00:00:00Z", ""},
		{"2024-01-01t00:00:00z", ""},
		{"-024-01-01T00:00:00Z", ""},
		{"", ""},
	} {
		var c clock
		for range 2 { // with an empty and a full cache
			ns, n, st := c.time([]byte(tt.in))
			switch tt.want {
			case "":
				if st != timeNone {
					t.Errorf("%q: taken for a time", tt.in)
				}
			case "far":
				if st != timeFar || n != len(tt.in) {
					t.Errorf("%q: status %d, length %d", tt.in, st, n)
				}
			default:
				want, err := time.Parse(time.RFC3339Nano, tt.want)
				if err != nil {
					t.Fatal(err)
				}
				if st != timeOK || n != len(tt.in) || ns != want.UnixNano() {
					t.Errorf("%q: %v, status %d, length %d", tt.in, time.Unix(0, ns).UTC(), st, n)
				}
			}
		}
	}
}

func TestFailure43_AbsurdTimes(t *testing.T) {
	for _, tt := range []struct {
		time string
		want int64
		body string
		odd  bool
	}{
		{"0000-01-01T00:00:00Z", testNow, "0000-01-01T00:00:00Z stdout F x", true},
		{"0001-01-01T00:00:00Z", testNow, "x", false},
		{"9999-01-01T00:00:00Z", testNow, "x", false},
		{"1970-01-01T00:00:00Z", 0, "x", false},
		{"2016-12-31T23:59:60Z", 1483228800e9, "x", false},
		{"1970-01-01T14:00:00+14:00", 0, "x", false},
		{"2024-01-01T00:00:00", testNow, "2024-01-01T00:00:00 stdout F x", true},
	} {
		for _, tag := range []string{"F", "P"} {
			if tag == "P" && tt.odd {
				continue
			}
			b := record.NewBatch(nil)
			j := newAt(Config{})
			in := tt.time + " stdout " + tag + " x\n"
			if tag == "P" {
				in += ts + " stdout F \n"
			}
			j.Frame(b, b.AppendString(in), 0, testStreams, testNow, More)
			got := records(b)
			if len(got) != 1 || got[0].Time != tt.want || got[0].Body != tt.body || got[0].Flags.Has(record.ParseError) != tt.odd {
				t.Errorf("%s %s: %v", tt.time, tag, got)
			}
			f, ok := b.FindField(0, TimeField)
			if ok != (tt.want == testNow && !tt.odd) {
				t.Errorf("%s %s: field is set: %v", tt.time, tag, ok)
			}
			if ok && string(b.Bytes(f.Val)) != tt.time {
				t.Errorf("%s %s: text %q", tt.time, tag, b.Bytes(f.Val))
			}
		}
	}
}

func TestFailure35_Headers(t *testing.T) {
	// Every number of digits, in every zone, read with a cache filled by the
	// line before it.
	var c clock
	for _, zone := range []string{"Z", "+00:00", "-11:30", "+14:00"} {
		for digits := range 10 {
			for _, sec := range []string{"00", "07", "59"} {
				text := "2024-02-29T12:34:" + sec
				if digits > 0 {
					text += "." + "987654321"[:digits]
				}
				text += zone
				want, err := time.Parse(time.RFC3339Nano, text)
				if err != nil {
					t.Fatal(err)
				}
				line := []byte(text + " stderr F hello there")
				h, ok := c.header(line, true)
				if !ok || h.time != want.UnixNano() || h.s != 1 || string(line[h.body:]) != "hello there" {
					t.Errorf("%s: %+v %v", text, h, ok)
				}
				s, body, ns := c.usual(line)
				if digits == 9 && (s != 1 || ns != want.UnixNano() || string(line[body:]) != "hello there") {
					t.Errorf("%s: usual: %d %d %d", text, s, body, ns)
				}
				if digits != 9 && body != 0 {
					t.Errorf("%s: usual took %d digits", text, digits)
				}
			}
		}
	}
}

// FuzzTime compares with the standard library.
func FuzzTime(f *testing.F) {
	f.Add("2024-02-29T12:34:56.123456789Z")
	f.Add("2016-12-31T23:59:60+14:00")
	f.Fuzz(func(t *testing.T, s string) {
		var c clock
		ns, n, st := c.time([]byte(s))
		if st == timeNone {
			return
		}
		text := []byte(s[:n])
		leap := string(text[17:19]) == "60"
		if leap {
			copy(text[17:], "59")
		}
		want, err := time.Parse(time.RFC3339Nano, string(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if leap {
			want = want.Add(time.Second)
		}
		far := want.Before(time.Unix(0, math.MinInt64).Add(2*time.Minute)) || want.After(time.Unix(0, math.MaxInt64).Add(-3*time.Minute))
		if st == timeOK && ns != want.UnixNano() || st == timeFar && !far {
			t.Fatalf("%q: got %d (status %d), want %v", text, ns, st, want)
		}
		line := []byte(s[:n] + " stdout F x and some more to make it long")
		if _, body, again := c.usual(line); body != 0 && (again != ns || body != n+10) {
			t.Fatalf("%q: usual: %d at %d", line, again, body)
		}
	})
}
