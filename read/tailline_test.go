package read

import (
	"testing"
	"time"
)

func TestLineReader(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(s string) int64 {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v.UnixNano()
	}
	r := NewLineReader(nil)
	for _, c := range []struct {
		in, line string
		time     int64
		waits    bool
	}{
		{"plain", "plain", now.UnixNano(), false},
		{"", "", now.UnixNano(), false},
		{"2026-11-22T10:00:00.5Z stdout F text \x1b", "text \x1b", at("2026-11-22T10:00:00.5Z"), false},
		{"2026-11-22T10:00:00+01:00 stderr F ", "", at("2026-11-22T09:00:00Z"), false},
		{"2026-11-22T10:00:00Z stdout P a", "", 0, true},
		{"2026-11-22T10:00:01Z stderr F other", "other", at("2026-11-22T10:00:01Z"), false},
		{"2026-11-22T10:00:02Z stdout F b", "ab", at("2026-11-22T10:00:02Z"), false},
		{"2026-11-22T10:00:02Z stdout X b", "2026-11-22T10:00:02Z stdout X b", at("2026-11-22T10:00:02Z"), false},
		{`{"log":"x","stream":"stdout","time":"2026-11-22T10:00:03Z"}`, "", 0, true},
		{`{"log":"y\n","stream":"stdout","time":"2026-11-22T10:00:04Z"}`, "xy", at("2026-11-22T10:00:04Z"), false},
		{`{"time":"2026-11-22T10:00:05Z","line":"own","labels":{"a":"b"}}`, "own", at("2026-11-22T10:00:05Z"), false},
		{`{"message":"hi\n","podName":"p","namespace":"n","containerName":"c","nodeName":"k"}`, "hi", -1, false},
		{`{"ts":"2026-11-22T10:00:06Z","msg":"m"}`, `{"ts":"2026-11-22T10:00:06Z","msg":"m"}`, at("2026-11-22T10:00:06Z"), false},
		{`{"line":1,"labels":`, `{"line":1,"labels":`, now.UnixNano(), false},
	} {
		e, ok := r.Read([]byte(c.in), now)
		if ok == c.waits {
			t.Errorf("%s: waits: %v", c.in, !ok)
			continue
		}
		if ok && (e.Line != c.line || c.time >= 0 && e.Time != c.time) {
			t.Errorf("%s: %q at %s", c.in, e.Line, time.Unix(0, e.Time).UTC())
		}
	}
	if _, ok := r.Read([]byte("2026-11-22T10:00:00Z stderr P rest"), now); ok {
		t.Error("a part is a line")
	}
	if rest := r.Rest(now); len(rest) != 1 || rest[0].Line != "rest" || rest[0].Meta["stream"] != "stderr" {
		t.Errorf("%+v", rest)
	}
}

func FuzzLineReader(f *testing.F) {
	f.Add([]byte("2026-11-22T10:00:00Z stdout P a"))
	f.Add([]byte(`{"log":"x\n","stream":"stdout","time":"2026-11-22T10:00:03Z"}`))
	f.Add([]byte(`level=info ts=1 [x] =`))
	r := NewLineReader(nil)
	f.Fuzz(func(t *testing.T, p []byte) {
		if e, ok := r.Read(p, time.Unix(1, 0)); ok && e.Stream == nil {
			t.Error("no stream")
		}
	})
}
