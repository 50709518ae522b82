package elastic

import (
	stdjson "encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// What was sent to Elasticsearch goes on to Elasticsearch as the same document.
func TestRoundTrip(t *testing.T) {
	const at = `"@timestamp":"2026-11-22T10:00:00.123456789Z"`
	for _, c := range []struct {
		naming Naming
		docs   []string
	}{
		{Fluentd, []string{
			`{` + at + `,"log":"a","stream":"stderr","kubernetes":{"pod_name":"p","namespace_name":"n","pod_ip":"10.0.0.1","restart_count":2,"labels":{"app":"x"}},"user":{"id":7},"n":1.5,"none":null}`,
			`{` + at + `,"message":"a","level":"WARN","host":{"name":"h","os":{"kernel":"6"}},"service":{"name":"s","version":"1"},"kubernetes":{"pod":{"name":"p"},"namespace":"n"},"agent":{"type":"filebeat"}}`,
			`{` + at + `,"message":"a"}`,
			`{` + at + `,"message":"a","input":{"type":"log"},"log":{"offset":5}}`,
			`{` + at + `,"log":"a","weir":{"partial":true},"level":"error"}`,
			`{` + at + `,"input":"audit","message":"b","stream":"mine"}`,
		}},
		{ECS, []string{
			`{` + at + `,"message":"a","log":{"level":"info","offset":17,"file":{"path":"/a"}},"host":{"name":"h","os":{"kernel":"6"}},"service":{"name":"s","version":"1"},"container":{"id":"c"},"input":{"type":"container"},"kubernetes":{"pod":{"name":"p"},"namespace":"n"},"agent":{"type":"filebeat"},"labels":{"a":"b"},"orchestrator":{"cluster":{"name":"c"}},"stream":"stdout"}`,
		}},
	} {
		var body strings.Builder
		for _, d := range c.docs {
			body.WriteString("{\"create\":{\"_index\":\"in\"}}\n" + d + "\n")
		}
		b, s := batchOf(body.String())
		if _, out, err := NewDecoder(wire.Limits{}, new(wire.StreamCache)).Decode(b, s, "", "", now); err != nil || out.Refused > 0 {
			t.Fatal(out, err)
		}
		b.Freeze()
		tmpl, err := wire.ParseTemplate("out", wire.SanitizeIndex)
		if err != nil {
			t.Fatal(err)
		}
		e, err := New(Config{Index: tmpl, Naming: c.naming})
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(e.Append(nil, []record.Part{record.NewPart(b, b.Live())}))), "\n")
		for i, d := range c.docs {
			var got, want any
			if err := stdjson.Unmarshal([]byte(lines[2*i+1]), &got); err != nil {
				t.Fatal(err)
			}
			_ = stdjson.Unmarshal([]byte(d), &want)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s\ngot  %s\nwant %s", c.naming, lines[2*i+1], d)
			}
		}
	}
}
