package stage

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirlog/weir/record"
)

func TestParseStamp(t *testing.T) {
	for in, want := range map[string]string{
		"2026-11-22T12:31:07Z":                "2026-11-22T12:31:07Z",
		"2026-11-22t12:31:07z":                "2026-11-22T12:31:07Z",
		"2026-11-22 12:31:07.5 UTC":           "2026-11-22T12:31:07.5Z",
		"2026-11-22T12:31:07,123+02:00":       "2026-11-22T10:31:07.123Z",
		"2026-11-22T12:31:07.123456789123-05": "2026-11-22T17:31:07.123456789Z",
		"2026-11-22T00:00:00+14:00":           "2026-11-21T10:00:00Z",
		"2026/11/22 12:31:07 +0530":           "2026-11-22T07:01:07Z",
		"2024-02-29T23:59:60Z":                "2024-03-01T00:00:00Z",
		"2000-02-29T00:00:00Z":                "2000-02-29T00:00:00Z",
		"22/Nov/2026:12:31:07 +0100":          "2026-11-22T11:31:07Z",
		"1970-01-01T00:00:00Z":                "1970-01-01T00:00:00Z",
		"1795350667":                          "2026-11-22T12:31:07Z",
		"1795350667.25":                       "2026-11-22T12:31:07.25Z",
		"1795350667.123456789012":             "2026-11-22T12:31:07.123456789Z",
		"1.795350667e+09":                     "2026-11-22T12:31:07Z",
		"1.79535066725E9":                     "2026-11-22T12:31:07.25Z",
		"1795350667123":                       "2026-11-22T12:31:07.123Z",
		"1795350667123.5":                     "2026-11-22T12:31:07.1235Z",
		"1795350667123456":                    "2026-11-22T12:31:07.123456Z",
		"1795350667123456789":                 "2026-11-22T12:31:07.123456789Z",
		"9999999999":                          "2286-11-20T17:46:39Z", // does not fit
	} {
		got, ok := parseStamp([]byte(in))
		w, _ := time.Parse(time.RFC3339Nano, want)
		if in == "9999999999" {
			if ok {
				t.Errorf("%s was accepted", in)
			}
			continue
		}
		if !ok || got.ns != w.UnixNano() || !got.zoned {
			t.Errorf("parseStamp(%q) = %v %v, want %s", in, time.Unix(0, got.ns).UTC(), ok, want)
		}
	}
	for _, in := range []string{
		"", "x", "0", "-1795350667", "12", "17953506", "17953506671", "0000000001", "1795350667x", "1795350667e", "1.7e", "1e400", "1e8", "NaN", ".5",
		"2026-11-22", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-00-01T00:00:00Z",
		"2026-01-00T00:00:00Z", "2026-11-22T24:00:00Z", "2026-11-22T12:60:00Z", "2026-11-22T12:00:61Z", "2026-11-22T12:31:07 ", "2026-11-22T12:31:07+",
		"2026-11-22T12:31:07+1", "2026-11-22T12:31:07+99:00", "2026-11-22T12:31:07Zx", "2026-11-22T12:31:07 CEST", "2026-11-22x12:31:07Z", "2026-11/22T12:31:07Z",
		"0000-01-01T00:00:00Z", "1677-01-01T00:00:00Z", "2262-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "+10000-01-01T00:00:00Z", "22/Nev/2026:12:31:07 +0100",
		"1795350667123456789012345", "17953506671234567890.5", "2026-11-22T12:31:07.Z", "20261122T123107Z",
	} {
		if got, ok := parseStamp([]byte(in)); ok {
			t.Errorf("parseStamp(%q) = %v", in, time.Unix(0, got.ns).UTC())
		}
	}
}

func TestParseStampAgreesWithTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns := rapid.Int64Range(time.Date(1678, 1, 2, 0, 0, 0, 0, time.UTC).UnixNano(), time.Date(2261, 12, 30, 0, 0, 0, 0, time.UTC).UnixNano()).Draw(t, "ns")
		tm := time.Unix(0, ns).In(time.FixedZone("", 60*rapid.IntRange(-14*60, 14*60).Draw(t, "zone")))
		layout := rapid.SampledFrom([]string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999 -0700", "2006-01-02T15:04:05.000Z0700", "02/Jan/2006:15:04:05 -0700"}).Draw(t, "layout")
		text := tm.Format(layout)
		want, err := time.Parse(layout, text)
		if err != nil {
			t.Skip()
		}
		if got, ok := parseStamp([]byte(text)); !ok || got.ns != want.UnixNano() {
			t.Fatalf("parseStamp(%q) = %v, %v", text, time.Unix(0, got.ns).UTC(), ok)
		}
	})
}

// What is remembered of the times before changes nothing.
func TestStampsAgreeWithParseStamp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c stamps
		base := observed.UnixNano()
		for range 10 {
			ns := base + rapid.Int64Range(0, 150e9).Draw(t, "ns")
			tm := time.Unix(0, ns).In(time.FixedZone("", 60*rapid.SampledFrom([]int{0, 0, 90, -300}).Draw(t, "zone")))
			layout := rapid.SampledFrom([]string{time.RFC3339Nano, time.RFC3339, "2006-01-02 15:04:05", "2006-01-02T15:04:05,000", "2006-01-02T15:04:05.00000000Z",
				"2006/01/02 15:04:05 -0700", "02/Jan/2006:15:04:05 -0700"}).Draw(t, "layout")
			text := []byte(tm.Format(layout))
			if rapid.Bool().Draw(t, "damaged") {
				text[rapid.IntRange(0, len(text)-1).Draw(t, "at")] = rapid.SampledFrom([]byte("0:6.-x \x00\xff\xb0")).Draw(t, "by")
			}
			got, gotOK := c.parse(text)
			want, ok := parseStamp(text)
			if gotOK != ok || ok && got != want {
				t.Fatalf("%q: %v %v, want %v %v", text, got, gotOK, want, ok)
			}
		}
	})
	var c stamps
	if _, ok := c.parse(make([]byte, 20)); ok {
		t.Error("zeros are a time")
	}
}

func TestFraction(t *testing.T) {
	for in, want := range map[string]struct {
		nsec int
		rest string
	}{
		"": {0, ""}, ".": {0, "."}, ".x": {0, ".x"}, ".5": {500000000, ""}, ",25Z": {250000000, "Z"}, "5": {0, "5"},
		".123456789Z": {123456789, "Z"}, ".12345678Zzzzzzzz": {123456780, "Zzzzzzzz"}, ".1234567890123+01:00": {123456789, "+01:00"},
		".123 +0100 and more": {123000000, " +0100 and more"}, ".000000001": {1, ""}, ".12\xb3456789": {120000000, "\xb3456789"},
		".1:345678901": {100000000, ":345678901"}, ".1/345678901": {100000000, "/345678901"}, ".99999999": {999999990, ""},
	} {
		if nsec, rest := fraction([]byte(in)); nsec != want.nsec || string(rest) != want.rest {
			t.Errorf("fraction(%q) = %d, %q, want %d, %q", in, nsec, rest, want.nsec, want.rest)
		}
	}
}

// A record keeps the runtime's time when its own is absurd, and its text in
// any case.
func TestFailure43_AbsurdTimesAreNotBelieved(t *testing.T) {
	at := func(d time.Duration) string { return observed.Add(d).Format(time.RFC3339Nano) }
	for text, believed := range map[string]bool{
		at(0):                              true,
		at(-7 * 24 * time.Hour):            true,
		at(-7*24*time.Hour - 1):            false,
		at(time.Hour):                      true,
		at(time.Hour + 1):                  false,
		at(24 * time.Hour):                 false,
		"0000-00-00T00:00:00Z":             false,
		"0001-01-01T00:00:00Z":             false,
		"1970-01-01T00:00:00Z":             false,
		"2262-04-11T23:47:16.854775807Z":   false,
		"2262-04-12T00:00:00Z":             false,
		"9999-12-31T23:59:59Z":             false,
		"2026-11-22T12:31:60Z":             true, // leap second: 12:32:00
		"2026-11-23T02:31:07+14:00":        true,
		"2026-11-22T12:31:07+14:00":        true, // 14 hours ago
		"2026-11-22T12:31:07-14:00":        false,
		"2026-11-22T12:31:07":              true,  // no zone, and UTC fits
		"2026-11-22T13:31:07":              false, // no zone, and UTC does not: local time
		"2026-11-22T07:31:07":              false,
		"2026-11-22 12:45:07,499":          true,
		"1795350667":                       true,
		"1795350667000":                    true,
		"0":                                false,
		"99999999999999999999999999999999": false,
	} {
		b := batchOf(`{"time":"`+text+`","msg":"x"}`, `time="`+text+`" level=info msg=x`)
		process(t, newParse(t, ""), b)
		for i := range 2 {
			r := b.Record(i)
			if r.Flags.Has(record.TimeParsed) != believed {
				t.Errorf("%s: time parsed %v, want %v", b.Body(i), !believed, believed)
			}
			if !believed && r.Time != observed.UnixNano() {
				t.Errorf("%s: time %v", b.Body(i), time.Unix(0, r.Time).UTC())
			}
		}
	}
}

func TestTimeKeyPrecedence(t *testing.T) {
	good, other := "2026-11-22T12:31:07Z", "2026-11-22T10:00:00Z"
	for line, want := range map[string]string{
		`{"eventTime":"` + other + `","ts":"` + good + `"}`:             good,
		`{"time":0.25,"@timestamp":"` + good + `"}`:                     good, // a duration
		`{"date":"` + other + `"}`:                                      other,
		`{"time":{"a":1},"timestamp":"` + good + `"}`:                   good,
		`{"time":"\u0032","_time":"` + good + `"}`:                      good,
		`{"t":"` + good + `","time":"` + other + `"}`:                   good, // the first
		`{"time":"1999-01-01T00:00:00Z","datetime":"` + good + `"}`:     good,
		`{"level":"info","a":1,"b":2,"c":3,"timestamp":"` + good + `"}`: good,
	} {
		b := batchOf(line)
		process(t, newParse(t, ""), b)
		w, _ := time.Parse(time.RFC3339, want)
		if b.Record(0).Time != w.UnixNano() {
			t.Errorf("%s: time %v", line, time.Unix(0, b.Record(0).Time).UTC())
		}
	}
}

func TestKlogHeader(t *testing.T) {
	for line, caller := range map[string]string{
		"I0102 15:04:05.000000    1234 file.go:12] msg":       "file.go:12",
		"W0102 15:04:05.000000 1 a/b/file.go:1]":              "a/b/file.go:1",
		"F0102 15:04:05.000000       1 file.go:12]no space":   "file.go:12",
		"E0102 15:04:05.123456789       1 file.go:12] longer": "file.go:12",
	} {
		h, ok := parseKlog([]byte(line))
		if !ok || line[h.caller.Off:h.caller.End()] != caller {
			t.Errorf("%q: %+v, %v", line, h, ok)
		}
	}
	for _, line := range []string{
		"", "I", "D0102 15:04:05.000000    1234 file.go:12] msg", "I01x2 15:04:05.000000    1234 file.go:12] msg", "I0102 15:04:05.000000 x file.go:12] msg",
		"I0102 15:04:05.000000    1234 file.go] msg", "I0102 15:04:05.000000    1234 file.go:12 msg", "I0102 25:04:05.000000    1234 file.go:12] msg",
		"I0102 15:04:05.000000    1234", "I0102 15:04:05.000000    1234 a b:12] x", "I0102 15:04:05.000000    1234 :12] x", "I0102 15:04:05.000000    1234 f:] x",
		"INFO: 15:04:05.000000    1234 file.go:12] msg",
	} {
		if _, ok := parseKlog([]byte(line)); ok {
			t.Errorf("%q was accepted", line)
		}
	}
}

// klog writes no year.
func TestKlogYear(t *testing.T) {
	for _, tt := range []struct{ seen, line, want string }{
		{"2027-01-01T00:00:01Z", "1231 23:59:59.500000", "2026-12-31T23:59:59.5Z"},
		{"2026-12-31T23:59:59Z", "0101 00:00:01.000000", "2027-01-01T00:00:01Z"},
		{"2028-02-29T12:00:00Z", "0229 11:59:00.000000", "2028-02-29T11:59:00Z"},
		{"2026-03-01T00:00:00Z", "0229 23:59:59.000000", ""}, // there was none
		{"2026-11-22T12:00:00Z", "1122 11:59:59.000001", "2026-11-22T11:59:59.000001Z"},
		{"2026-11-22T12:00:00Z", "1122 07:00:00.000000", ""}, // local time somewhere
	} {
		b := batchOf(fmt.Sprintf("I%s       1 a.go:1] x", tt.line))
		seen, err := time.Parse(time.RFC3339, tt.seen)
		if err != nil {
			t.Fatal(err)
		}
		r := b.Record(0)
		r.Observed, r.Time = seen.UnixNano(), seen.UnixNano()
		process(t, newParse(t, ""), b)
		want := seen
		if tt.want != "" {
			want, _ = time.Parse(time.RFC3339Nano, tt.want)
		}
		if r.Time != want.UnixNano() || r.Flags.Has(record.TimeParsed) != (tt.want != "") {
			t.Errorf("%s seen at %s: %v", tt.line, tt.seen, time.Unix(0, r.Time).UTC())
		}
	}
}
