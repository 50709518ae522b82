package wire_test

import (
	"bytes"
	stdjson "encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/elastic"
	"github.com/weirlog/weir/wire/jsonl"
	"github.com/weirlog/weir/wire/line"
	"github.com/weirlog/weir/wire/loki"
	"github.com/weirlog/weir/wire/otlp"
)

type encoder interface {
	Append(dst []byte, parts []record.Part) []byte
}

func encoders(t *testing.T) map[string]encoder {
	t.Helper()
	index, err := wire.ParseTemplate("logs-%Y.%m.%d", wire.SanitizeIndex)
	if err != nil {
		t.Fatal(err)
	}
	fluentd, err := elastic.New(elastic.Config{Index: index, IDs: true})
	if err != nil {
		t.Fatal(err)
	}
	ecs, err := elastic.New(elastic.Config{Index: index, IDs: true, Naming: elastic.ECS})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]encoder{
		"fluentd": fluentd, "ecs": ecs, "jsonl": jsonl.New(jsonl.Config{IDs: true}), "line": line.New(line.Config{}),
		"loki": loki.New(loki.Config{IDs: true}), "otlp": otlp.New(otlp.Config{}),
	}
}

var pod = record.NewStream([]record.Attr{{Name: record.AttrNamespace, Value: "shop"}, {Name: record.AttrPod, Value: "cart-1"}}, nil, nil)

func batch(bodies []string, times []int64) *record.Batch {
	b := record.NewBatch(nil)
	for i, body := range bodies {
		sp := b.AppendString(body)
		b.Add(record.Record{Body: sp, Source: sp, Start: int64(sp.Off), End: int64(sp.End()), Time: times[i%len(times)], Observed: times[i%len(times)],
			Stream: b.AddStream(record.StreamRef{Stream: pod, Generation: record.ID{Lo: 1}})})
	}
	b.Freeze()
	return b
}

// texts returns the messages that a receiver sees.
func texts(t *testing.T, name string, out []byte) (got []string) {
	t.Helper()
	switch name {
	case "otlp":
		var req collogs.ExportLogsServiceRequest
		if err := proto.Unmarshal(out, &req); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, r := range req.ResourceLogs[0].ScopeLogs[0].LogRecords {
			if b := r.Body.GetBytesValue(); b != nil {
				got = append(got, string(b))
			} else {
				got = append(got, r.Body.GetStringValue())
			}
		}
		return got
	case "loki":
		return nil // its own tests decode
	}
	if !utf8.Valid(out) {
		t.Errorf("%s: not UTF-8: %q", name, out)
	}
	for k, l := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		switch name {
		case "fluentd", "ecs":
			if k%2 == 0 {
				continue
			}
		case "line":
			_, text, _ := strings.Cut(l, " │ ")
			got = append(got, text)
			continue
		}
		var d struct {
			Log     *string `json:"log"`
			Message *string `json:"message"`
			Msg     *string `json:"_msg"`
		}
		if err := stdjson.Unmarshal([]byte(l), &d); err != nil {
			t.Fatalf("%s: %v: %q", name, err, l)
		}
		for _, p := range []*string{d.Log, d.Message, d.Msg} {
			if p != nil {
				got = append(got, *p)
			}
		}
	}
	return got
}

// Bytes that are not UTF-8 follow the rule of each destination, and the
// records around them are as they would be without.
func TestFailure39_InvalidUTF8NeverSpoilsABatch(t *testing.T) {
	bodies := []string{"before", "a\xffb\xed\xa0\x80\xc0\x80", "after \u00fc"}
	const replaced = "a\ufffdb\ufffd\ufffd\ufffd\ufffd\ufffd"
	b := batch(bodies, []int64{1763805600123456789})
	for name, e := range encoders(t) {
		got := texts(t, name, e.Append(nil, []record.Part{record.NewPart(b, b.Live())}))
		want := []string{"before", replaced, "after \u00fc"}
		switch name {
		case "otlp":
			want[1] = bodies[1]
		case "line":
			want[1] = `a\xffb\xed\xa0\x80\xc0\x80`
		case "loki":
			want = nil
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// No time is so absurd that a record could not be encoded.
func TestFailure43_AbsurdTimesAreEncoded(t *testing.T) {
	b := batch([]string{"a", "b", "c", "d", "e"}, []int64{0, -1, math.MinInt64, math.MaxInt64, 1})
	for name, e := range encoders(t) {
		out := e.Append(nil, []record.Part{record.NewPart(b, b.Live())})
		again := e.Append(nil, []record.Part{record.NewPart(b, b.Live())})
		if !bytes.Equal(out, again) {
			t.Errorf("%s: two encodings", name)
		}
		if got := texts(t, name, out); name != "loki" && strings.Join(got, "") != "abcde" {
			t.Errorf("%s: %q", name, got)
		}
	}
}
