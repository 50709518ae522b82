package line

import (
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
)

// What a line says is shown: only what stands before it, and nothing else, is
// left out.
func TestNothingIsLost(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{`{"msg":"x","err":{}}`, `x err={}`},
		{`{"msg":"x","fields":{},"log":{}}`, `x fields={} log={}`},
		{`{"msg":"x","err":{"a":1}}`, `x err.a=1`},
		{`{"msg":"x","t":{"$date":"2026-11-22T10:00:00.100Z"}}`, `x`},
		{`{"msg":"x","t":{"$date":"2020-01-01T10:00:00.100Z"}}`, `x t={"$date":"2020-01-01T10:00:00.100Z"}`},
		{`{"msg":"x","t":{"$date":{"$numberLong":"1"}}}`, `x t={"$date":{"$numberLong":"1"}}`},
		{`{"msg":"x","levelno":40}`, `x levelno=40`},
		{`{"msg":"x","level":"ERROR","levelno":40,"level_value":40000,"@version":"1","ecs":{"version":"1.2"},"ecs.version":"1.2"}`, `x`},
		{`{"msg":"x","ecs":"cluster-7","@version":{"a":1}}`, `x ecs=cluster-7 @version={"a":1}`},
		{`{"msg":"x","ecs":{"version":"1","task":"t"}}`, `x ecs={"version":"1","task":"t"}`},
		{`{"msg":"x","level":"notice"}`, `x level=notice`},
		{`{"msg":"x","level":"panic"}`, `x level=panic`},
		{`{"msg":"x","level":"INFO+2"}`, `x level=INFO+2`},
		{`{"msg":"x","level":"Warning"}`, `x`},
		{`{"msg":"x","level":"CRITICAL"}`, `x`},
		{`{"msg":"x","level":30}`, `x`},
		{`{"msg":"x","level":35}`, `x level=35`},
		{`{"msg":"x","level":"info","level":"debug"}`, `x level=debug`},
		{`{"msg":"x","level":"info","severity":"INFO"}`, `x`},
		{`{"msg":"a","msg":"b"}`, `a msg=b`},
		{`{"msg":"","message":"b"}`, `message=b`},
		{`{"msg":{"a":1}}`, `msg={"a":1}`},
		{`{"msg":7,"id":12345678901234567890123}`, `msg=7 id=12345678901234567890123`},
		{`{"msg":"x","a=1 b":2,"c d":3,"":4,"q\"":5}`, `x "a=1 b"=2 "c d"=3 ""=4 "q\""=5`},
		{`{"msg":"x","a\nb":2}`, `x a\x0ab=2`},
		{"I1122 10:00:00.123456       1 x.go:7] m", `m caller=x.go:7`},
		{"I1122 10:00:00.123456    4711 x.go:7] m", `m pid=4711 caller=x.go:7`},
		{"I1122 10:00:00.123456 secret words x.go:7] m", "I1122 10:00:00.123456 secret words x.go:7] m"},
		{"I1122 10:00:00.12x456       1 x.go:7] m", "I1122 10:00:00.12x456       1 x.go:7] m"},
		{"2026-11-22T10:00:00.123Z\tdpanic\tm", `m level=dpanic`},
		{"2026-11-22T10:00:00.123Z\tinfo\tm", `m`},
		{`level=info msg="a\x1bb" k=1`, `a\x1bb k=1`},
		{`{"msg":"x","time":"2036-01-01T00:00:00Z"}`, `x time=2036-01-01T00:00:00Z`},
		{"2026-11-22 10:00:00,123 INFO [catalog.views] served 7", "[catalog.views] served 7"},
		{"2026-11-22 11:00:00,123 [WARNING]  a - b", "a - b"},
		{"2026-11-22 10:00:04,123 INFO other time", "2026-11-22 10:00:04,123 INFO other time"},
		{"2026-11-22 10:00:00,123 INFO", "2026-11-22 10:00:00,123 INFO"},
		{"2026-11-22 10:00:00,123 INFO ", "2026-11-22 10:00:00,123 INFO "},
		{"2026-11-22 10:00:00,123 NOTICE x", "2026-11-22 10:00:00,123 NOTICE x"},
		{"2026-11-22 10:00:00,123 Error x", "2026-11-22 10:00:00,123 Error x"},
		{"2026-11-22 10:00:00,123 [7] INFO x", "2026-11-22 10:00:00,123 [7] INFO x"},
		{"2026-11-22 10:00:00,123 INFO\tx", "2026-11-22 10:00:00,123 INFO\tx"},
	} {
		got := strings.TrimSuffix(paintOne(Style{Times: "none"}, Item{Body: []byte(c.body)}), "\n")
		if got[6:] != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.body, got[6:], c.want)
		}
	}
	// What the pipeline or the server says may differ from the line.
	for _, c := range []struct {
		it   Item
		want string
	}{
		{Item{Body: []byte(`{"msg":"x","trace_id":"a"}`), Pairs: []Pair{{"trace_id", []byte("a")}}}, "x trace_id=a"},
		{Item{Body: []byte(`{"msg":"x","trace_id":"a"}`), Pairs: []Pair{{"trace_id", []byte("b")}}}, "x trace_id=a trace_id=b"},
		{Item{Body: []byte("2026-11-22T10:00:00.123Z\tinfo\tm"), Severity: record.Error}, "m level=info"},
		{Item{Body: []byte("2026-11-22 10:00:00,123 INFO x"), Severity: record.Error}, "2026-11-22 10:00:00,123 INFO x"},
		{Item{Body: []byte("I1122 10:00:00.123456       1 x.go:7] m"), Severity: record.Error}, "m level=info caller=x.go:7"},
	} {
		got := strings.TrimSuffix(paintOne(Style{Times: "none"}, c.it), "\n")
		if got[6:] != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.it.Body, got[6:], c.want)
		}
	}
}
