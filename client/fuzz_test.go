package client

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzRecord: whatever is logged, the record is well-formed, and says it.
func FuzzRecord(f *testing.F) {
	f.Add("message", "key", "value", "group", int64(1), 0)
	f.Add("\xff", "", "\xf0\x9f", "g\x00", int64(-1), -100)
	f.Add(strings.Repeat("ä", 80), strings.Repeat("k", 1100), "v", "", int64(1<<62), 100)
	c, err := New(Config{Endpoints: []string{"http://gateway"}, Transport: sink{}, MaxRecord: 100, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close(context.Background()) })
	f.Fuzz(func(t *testing.T, msg, key, val, group string, n int64, level int) {
		if group == "a" || group == "" && key == "a" {
			t.Skip("two of one name: this test would see one")
		}
		h := c.Handler().WithAttrs([]slog.Attr{slog.String("a", val)}).WithGroup(group).(*handler)
		r := slog.NewRecord(time.Unix(0, n), slog.Level(level), msg, 0)
		r.AddAttrs(slog.String(key, val), slog.Int64("n", n), slog.Group(key, slog.Any("bytes", []byte(val))))
		e := c.in.pool.Get().(*encoder)
		defer c.in.pool.Put(e)
		e.record(h, &r, Trace{}, false)
		if !wellFormed(e.buf, 1) || timeAt(e.buf) != uint64(n) {
			t.Fatalf("%q", e.buf)
		}
		if len(e.buf) > c.cfg.MaxRecord+maxAttrBytes+4096 {
			t.Fatalf("%d bytes", len(e.buf))
		}
		var list []entry
		eachField(e.buf, func(_, _ uint64, rec []byte) { list = append(list, decodeRecord(rec)) })
		if len(list) != 1 {
			t.Fatalf("%d records", len(list))
		}
		got := list[0]
		want := msg
		if len(want) > c.cfg.MaxRecord {
			want = cutString(want, c.cfg.MaxRecord)
		}
		if got.Body != want || got.Severity < 1 || got.Severity > 24 {
			t.Fatalf("%q, %d", got.Body, got.Severity)
		}
		a := got.Attrs["a"].(string)
		if !utf8.ValidString(a) || len(val) <= maxValue && a != strings.ToValidUTF8(val, "\uFFFD") {
			t.Fatalf("%q", a)
		}
	})
}
