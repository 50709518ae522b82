package elastic

import (
	stdjson "encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

const testTime = 1763805600123456789 // 2025-11-22T10:00:00.123456789Z

var cart = record.NewStream([]record.Attr{
	{Name: record.AttrCluster, Value: "prod"}, {Name: record.AttrNode, Value: "n1"}, {Name: record.AttrNamespace, Value: "shop"},
	{Name: record.AttrPod, Value: "cart-1"}, {Name: record.AttrPodUID, Value: "uid"}, {Name: record.AttrContainer, Value: "web"},
	{Name: record.AttrContainerID, Value: "c0ffee"}, {Name: record.AttrRestart, Value: "3"}, {Name: record.AttrImage, Value: "img:1"},
	{Name: record.AttrWorkload, Value: "deployment/cart"}, {Name: record.AttrApp, Value: "cart"}, {Name: record.AttrService, Value: "svc"},
	{Name: record.AttrStream, Value: "stderr"}, {Name: record.AttrInput, Value: "kubernetes"}, {Name: "team", Value: "blue"},
}, []record.Attr{{Name: "app", Value: "cart"}, {Name: "app.kubernetes.io/name", Value: "x"}, {Name: "app_kubernetes_io/name", Value: "y"}},
	[]record.Attr{{Name: "note", Value: "\"n\""}})

var bare = record.NewStream([]record.Attr{{Name: record.AttrInput, Value: "file"}, {Name: record.AttrFile, Value: "/x"}, {Name: "service", Value: "s"}}, nil, nil)

func template(t testing.TB, s string) *wire.Template {
	t.Helper()
	tm, err := wire.ParseTemplate(s, wire.SanitizeIndex)
	if err != nil {
		t.Fatal(err)
	}
	return tm
}

func encoder(t testing.TB, cfg Config) *Encoder {
	t.Helper()
	if cfg.Index == nil {
		cfg.Index = template(t, "logs")
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func add(b *record.Batch, s *record.Stream, body string, r record.Record) int {
	sp := b.AppendString(body)
	r.Body, r.Source, r.End = sp, sp, int64(sp.Len)
	r.Stream = b.AddStream(record.StreamRef{Stream: s, Generation: record.ID{Hi: 1, Lo: 2}})
	if r.Time == 0 {
		r.Time = testTime
	}
	var sc json.Scanner
	if sc.Object([]byte(body)) {
		r.Flags |= record.JSONObject | record.ValidUTF8
		r.KnownKeys = sc.Known
	}
	return b.Add(r)
}

func encode(e *Encoder, b *record.Batch) string {
	if !b.Frozen() {
		b.Freeze()
	}
	return string(e.Append(nil, []record.Part{record.NewPart(b, b.Live())}))
}

const (
	fluentdDoc = `{"stream":"stderr","input":"kubernetes","service":{"name":"svc"},"kubernetes":{"cluster_name":"prod","host":"n1",` +
		`"namespace_name":"shop","pod_name":"cart-1","pod_id":"uid","container_name":"web","container_image":"img:1","docker_id":"c0ffee",` +
		`"restart_count":3,"workload":"deployment/cart","labels":{"app":"cart","app_kubernetes_io/name":"x","app_kubernetes_io/name_":"y"},` +
		`"annotations":{"note":"\"n\""}},"team":"blue","@timestamp":"2025-11-22T10:00:00.123456789Z"`
	ecsDoc = `{"stream":"stderr","input":{"type":"kubernetes"},"service":{"name":"svc"},"orchestrator":{"cluster":{"name":"prod"}},` +
		`"host":{"name":"n1"},"container":{"id":"c0ffee","image":{"name":"img:1"}},"kubernetes":{"namespace":"shop","pod":{"name":"cart-1","uid":"uid"},` +
		`"container":{"name":"web","restart_count":3},"node":{"name":"n1"},"deployment":{"name":"cart"},"labels":{"app":"cart","app_kubernetes_io/name":"x",` +
		`"app_kubernetes_io/name_":"y"},"annotations":{"note":"\"n\""}},"labels":{"team":"blue"},"@timestamp":"2025-11-22T10:00:00.123456789Z"`
)

func TestDocument(t *testing.T) {
	for _, c := range []struct {
		name, body string
		cfg        Config
		stream     *record.Stream
		r          record.Record
		want       string
	}{
		{"text", "say \"hi\"\n\xff", Config{}, cart, record.Record{Severity: record.Error}, fluentdDoc + `,"level":"error","log":"say \"hi\"\n` + "\ufffd" + `"}`},
		{"json", `{"msg":"hi","level":"w"}`, Config{}, cart, record.Record{Severity: record.Error}, fluentdDoc + `,"msg":"hi","level":"w"}`},
		{"json without level", `{"msg":"hi"}`, Config{}, cart, record.Record{Severity: record.Error}, fluentdDoc + `,"msg":"hi","level":"error"}`},
		{"json empty", `{}`, Config{}, cart, record.Record{}, fluentdDoc + `}`},
		{"json with our names", `{"@timestamp":1,"kubernetes":2,"service":"s","stream":3,"weir":4,"team":5,"log":6}`, Config{}, cart, record.Record{},
			fluentdDoc + `,"body_@timestamp":1,"body_kubernetes":2,"body_service":"s","body_stream":3,"body_weir":4,"body_team":5,"log":6}`},
		{"flags", "x", Config{}, cart, record.Record{Flags: record.Continued | record.Gap}, fluentdDoc + `,"log":"x","weir":{"continued":true,"gap":true}}`},
		{"bare", "x", Config{}, bare, record.Record{}, `{"input":"file","file":"/x","@timestamp":"2025-11-22T10:00:00.123456789Z","log":"x"}`},
		{"names are ours even where a stream lacks them", `{"service":1,"team":2}`, Config{}, bare, record.Record{}, `{"input":"file","file":"/x","@timestamp":"2025-11-22T10:00:00.123456789Z","body_service":1,"team":2}`},
		{"tags", `{"env":"x"}`, Config{Tags: []record.Attr{{Name: "env", Value: "prod"}}}, bare, record.Record{}, `{"input":"file","file":"/x","env":"prod","@timestamp":"2025-11-22T10:00:00.123456789Z","body_env":"x"}`},
		{"ecs text", "x", Config{Naming: ECS}, cart, record.Record{Severity: record.Error}, ecsDoc + `,"log.level":"error","message":"x"}`},
		{"ecs json", `{"message":"x","log":{"level":"w"},"host":1}`, Config{Naming: ECS}, cart, record.Record{Severity: record.Error}, ecsDoc + `,"message":"x","log":{"level":"w"},"body_host":1}`},
		{"ecs bare", "x", Config{Naming: ECS}, bare, record.Record{}, `{"input":{"type":"file"},"log.file.path":"/x","labels":{"service":"s"},"@timestamp":"2025-11-22T10:00:00.123456789Z","message":"x"}`},
	} {
		b := record.NewBatch(nil)
		add(b, c.stream, c.body, c.r)
		got := encode(encoder(t, c.cfg), b)
		action, doc, _ := strings.Cut(got, "\n")
		if action != `{"create":{"_index":"logs"}}` {
			t.Errorf("%s: action %s", c.name, action)
		}
		if doc != c.want+"\n" {
			t.Errorf("%s:\n got %swant %s", c.name, doc, c.want)
		}
	}
}

// To Elasticsearch a dotted name is a path: no program may add to what we say
// about its pod by logging one.
func TestFailure111_DottedNamesCannotBecomeOurs(t *testing.T) {
	for _, body := range []string{
		`{"kubernetes.pod_name":"evil"}`, `{"a":1,"kubernetes.labels.app":"evil"}`, `{"kubernetes\u002epod_name":"evil"}`, `{"\u006bubernetes.pod_name":"evil"}`,
		`{"service.name":"evil"}`, `{"kubernetes":{"pod_name":"evil"}}`,
	} {
		for _, n := range []Naming{Fluentd, ECS} {
			b := record.NewBatch(nil)
			i := add(b, cart, body, record.Record{})
			key, _ := b.Key([]byte("kubernetes.namespace_name"))
			b.AddField(i, record.Field{Key: key, Val: b.AppendString("evil")})
			_, doc, _ := strings.Cut(encode(encoder(t, Config{Naming: n}), b), "\n")
			var d map[string]stdjson.RawMessage
			if err := stdjson.Unmarshal([]byte(doc), &d); err != nil {
				t.Fatal(err)
			}
			for name, v := range d {
				if strings.Contains(string(v), "evil") && !strings.HasPrefix(name, "body_") && !strings.HasPrefix(name, "field_") {
					t.Errorf("%s: %s became %s", n, body, doc)
				}
			}
			if !strings.Contains(doc, `"field_kubernetes.namespace_name":"evil"`) || strings.Count(doc, "evil") != 2 {
				t.Errorf("%s: %s became %s", n, body, doc)
			}
		}
	}
}

func TestDedot(t *testing.T) {
	for dedot, want := range map[string]string{"": "app_kubernetes_io/name", "-": "app-kubernetes-io/name", ".": "app.kubernetes.io/name"} {
		b := record.NewBatch(nil)
		add(b, cart, "x", record.Record{})
		got := encode(encoder(t, Config{Dedot: dedot, Labels: []string{"app.*"}}), b)
		if !strings.Contains(got, `"labels":{"`+want+`":"x"}`) {
			t.Errorf("Dedot %q: %s", dedot, got)
		}
	}
	b := record.NewBatch(nil)
	add(b, cart, "x", record.Record{})
	if got := encode(encoder(t, Config{Labels: []string{}, Annotations: []string{}}), b); strings.Contains(got, "labels") || strings.Contains(got, "annotations") {
		t.Errorf("labels that were not chosen: %s", got)
	}
}

func TestAction(t *testing.T) {
	b := record.NewBatch(nil)
	add(b, cart, "a", record.Record{Time: testTime})
	add(b, bare, "b", record.Record{Time: testTime})
	add(b, cart, "c", record.Record{Time: testTime + 24*3600e9})
	add(b, cart, "d", record.Record{Time: testTime, Severity: record.Error})
	b.Add(record.Record{Time: testTime, Stream: b.AddStream(record.StreamRef{Stream: cart})}) // of no file
	for _, c := range []struct {
		cfg  Config
		want []string
	}{
		{Config{Index: template(t, "k-${namespace}-%Y.%m.%d"), IDs: true}, []string{
			`{"create":{"_index":"k-shop-2025.11.22","_id":"` + wire.SourceID(record.ID{Hi: 1, Lo: 2}, 0, 1, []byte("a")).String() + `"}}`,
			`{"create":{"_index":"k-unknown-2025.11.22","_id":"` + wire.SourceID(record.ID{Hi: 1, Lo: 2}, 0, 1, []byte("b")).String() + `"}}`,
			`{"create":{"_index":"k-shop-2025.11.23","_id":"` + wire.SourceID(record.ID{Hi: 1, Lo: 2}, 0, 1, []byte("c")).String() + `"}}`,
			`{"create":{"_index":"k-shop-2025.11.22","_id":"` + wire.SourceID(record.ID{Hi: 1, Lo: 2}, 0, 1, []byte("d")).String() + `"}}`,
			`{"create":{"_index":"k-shop-2025.11.22"}}`,
		}},
		{Config{Index: template(t, "l-${level}"), Op: Index}, []string{
			`{"index":{"_index":"l-unknown"}}`, `{"index":{"_index":"l-unknown"}}`, `{"index":{"_index":"l-unknown"}}`, `{"index":{"_index":"l-error"}}`, `{"index":{"_index":"l-unknown"}}`,
		}},
	} {
		got := strings.Split(encode(encoder(t, c.cfg), b), "\n")
		for k, want := range c.want {
			if got[2*k] != want {
				t.Errorf("action %d is %s, want %s", k, got[2*k], want)
			}
		}
	}
}

func TestNewErrors(t *testing.T) {
	tm := template(t, "logs")
	for name, cfg := range map[string]Config{
		"no index":    {},
		"naming":      {Index: tm, Naming: "x"},
		"op":          {Index: tm, Op: "delete"},
		"data stream": {Index: tm, Op: Index, DataStream: true},
		"tag":         {Index: tm, Tags: []record.Attr{{Name: "kubernetes", Value: "x"}}},
		"tag twice":   {Index: tm, Tags: []record.Attr{{Name: "a", Value: "x"}, {Name: "a", Value: "y"}}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	b, _ := mixed(t)
	for _, n := range []Naming{Fluentd, ECS} {
		e := encoder(t, Config{Index: template(t, "k-${namespace}-%Y.%m.%d"), IDs: true, Naming: n}).Clone()
		parts := []record.Part{record.NewPart(b, b.Live())}
		buf := e.Append(nil, parts)
		if n := testing.AllocsPerRun(10, func() { buf = e.Append(buf[:0], parts) }); n > 0 {
			t.Errorf("%v allocations per batch", n)
		}
	}
}

// Whatever a program logs, and whatever its labels say, a record is exactly
// one action and one document, the action is ours, and no name stands twice.
func FuzzFailure111_EveryRecordIsTwoLines(f *testing.F) {
	for _, s := range []string{"plain", "a\nb", "\"}}\n{\"delete\":{}}\n", "\x00\x1b\x7f", "\xff", `{"a":1}`, "{\"kubernetes\":\n{}}", `{"log":1,"level":2,"message":3}`, `{"log.level":1}`} {
		f.Add(s, "field", s, uint8(0))
	}
	f.Fuzz(func(t *testing.T, body, name, val string, kind uint8) {
		hostile := record.NewStream([]record.Attr{{Name: record.AttrNamespace, Value: val}, {Name: record.AttrPod, Value: body}, {Name: name, Value: val}},
			[]record.Attr{{Name: name, Value: body}, {Name: val, Value: name}}, []record.Attr{{Name: body, Value: val}})
		if !json.ValidUTF8([]byte(name)) || !json.ValidUTF8([]byte(val)) || !json.ValidUTF8([]byte(body)) && kind&64 != 0 {
			hostile = cart // Kubernetes has no such names
		}
		b := record.NewBatch(nil)
		i := add(b, hostile, body, record.Record{Severity: record.Severity(kind % 25)})
		if key, ok := b.Key([]byte(name)); ok {
			b.AddField(i, record.Field{Key: key, Kind: record.Kind(kind % 6), Val: b.AppendString(val)})
		}
		for _, n := range []Naming{Fluentd, ECS} {
			e := encoder(t, Config{Index: template(t, "k-${namespace}-${field}"), IDs: true, Naming: n})
			out := encode(e, b)
			lines := strings.Split(out, "\n")
			if len(lines) != 3 || lines[2] != "" || !utf8.ValidString(out) {
				t.Fatalf("%d lines: %q", len(lines), out)
			}
			var action struct {
				Create struct {
					Index string `json:"_index"`
					ID    string `json:"_id"`
				} `json:"create"`
			}
			d := stdjson.NewDecoder(strings.NewReader(lines[0]))
			d.DisallowUnknownFields()
			if err := d.Decode(&action); err != nil || action.Create.ID != wire.RecordID(b, 0).String() {
				t.Fatalf("action %v: %q", err, lines[0])
			}
			unique(t, lines[1])
		}
	})
}

// unique fails if a name stands twice in one object of the document's top two
// levels, as Elasticsearch does.
func unique(t *testing.T, doc string) {
	t.Helper()
	d := stdjson.NewDecoder(strings.NewReader(doc))
	var read func(depth int)
	read = func(depth int) {
		seen := map[string]bool{}
		if tok, err := d.Token(); err != nil || tok != stdjson.Delim('{') {
			t.Fatalf("no object: %v: %q", err, doc)
		}
		for d.More() {
			tok, err := d.Token()
			if err != nil {
				t.Fatalf("%v: %q", err, doc)
			}
			name := tok.(string)
			if seen[name] {
				t.Fatalf("%q stands twice: %q", name, doc)
			}
			seen[name] = true
			if depth == 0 && (name == "kubernetes") {
				read(1)
				continue
			}
			if depth == 1 && (name == "labels" || name == "annotations") {
				read(2)
				continue
			}
			var raw stdjson.RawMessage
			if err := d.Decode(&raw); err != nil {
				t.Fatalf("%v: %q", err, doc)
			}
		}
		if _, err := d.Token(); err != nil {
			t.Fatalf("%v: %q", err, doc)
		}
	}
	read(0)
}

func answer(items ...string) string {
	errs := strings.Contains(strings.Join(items, ""), `"error"`)
	return fmt.Sprintf(`{"took":3,"errors":%v,"items":[%s]}`, errs, strings.Join(items, ","))
}

const (
	created  = `{"create":{"_index":"logs","_id":"a","_version":1,"result":"created","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":0,"_primary_term":1,"status":201}}`
	conflict = `{"create":{"_index":"logs","_id":"a","status":409,"error":{"type":"version_conflict_engine_exception","reason":"[a]: version conflict, document already exists (current version [1])","index_uuid":"x","shard":"0","index":"logs"}}}`
	full     = `{"create":{"_index":"logs","_id":"a","status":429,"error":{"type":"es_rejected_execution_exception","reason":"rejected execution"}}}`
	mapping  = `{"create":{"_index":"logs","_id":"a","status":400,"error":{"type":"document_parsing_exception","reason":"[1:5] failed to parse field [n] of type [long]","caused_by":{"type":"illegal_argument_exception","reason":"For input string: \"x\""}}}}`
)

func TestParseBulk(t *testing.T) {
	items, err := ParseBulk([]byte(answer(created, created)), 2)
	if err != nil || items != nil {
		t.Errorf("all stored: %v, %v", items, err)
	}
	items, err = ParseBulk([]byte(answer(created, conflict, created, full, mapping)), 5)
	want := []Item{{Status: 200}, {409, "version_conflict_engine_exception", "[a]: version conflict, document already exists (current version [1])"}, {Status: 201},
		{429, "es_rejected_execution_exception", "rejected execution"}, {400, "document_parsing_exception", `[1:5] failed to parse field [n] of type [long]: For input string: "x"`}}
	if err != nil || len(items) != len(want) {
		t.Fatalf("%v, %v", items, err)
	}
	for k := range want {
		if items[k] != want[k] {
			t.Errorf("item %d = %+v, want %+v", k, items[k], want[k])
		}
	}
	// What filter_path leaves, and servers' other forms.
	for _, body := range []string{
		`{"errors":true,"items":[{"create":{"status":429,"error":{"type":"x"}}}]}`,
		` { "items" : [ { "index" : { "error" : "old style" , "status" : 503 } } ] , "errors" : true } ` + "\n",
		`{"errors":true,"items":[{"create":{"status":400,"error":null}}]}`,
	} {
		if items, err := ParseBulk([]byte(body), 1); err != nil || len(items) != 1 || items[0].OK() {
			t.Errorf("%s: %v, %v", body, items, err)
		}
	}
}

// What is no whole answer of the bulk API says nothing of any record, whatever
// the HTTP status was.
func TestFailure85_AnythingButAWholeBulkAnswerIsAnError(t *testing.T) {
	good := answer(created, mapping)
	for i := range len(good) {
		if items, err := ParseBulk([]byte(good[:i]), 2); err == nil {
			t.Fatalf("cut at %d: %v", i, items)
		}
	}
	for name, body := range map[string]string{
		"empty":                "",
		"proxy page":           "<html><body>200 OK</body></html>",
		"empty object":         "{}",
		"null":                 "null",
		"array":                "[]",
		"string":               `"ok"`,
		"no items":             `{"took":1,"errors":false}`,
		"no errors":            `{"took":1,"items":[` + created + `,` + created + `]}`,
		"too few":              answer(created),
		"too many":             answer(created, created, created),
		"none":                 answer(),
		"more behind":          answer(created, created) + "x",
		"two answers":          answer(created, created) + answer(created, created),
		"item without status":  answer(created, `{"create":{}}`),
		"item of two ops":      answer(created, `{"create":{"status":201},"index":{"status":201}}`),
		"item of no op":        answer(created, `{}`),
		"item is null":         answer(created, `null`),
		"status is text":       answer(created, `{"create":{"status":"201"}}`),
		"status is long":       answer(created, `{"create":{"status":2010}}`),
		"status is no status":  answer(created, `{"create":{"status":999}}`),
		"errors is text":       `{"errors":"false","items":[` + created + `,` + created + `]}`,
		"errors without error": `{"errors":true,"items":[` + created + `,` + created + `]}`,
		"items twice":          `{"errors":false,"items":[` + created + `,` + created + `],"items":[]}`,
		"failed as a whole":    `{"error":{"type":"x","reason":"y"},"status":403}`,
		"deep":                 `{"errors":false,"x":` + strings.Repeat("[", 100000),
		"comma":                `{"errors":false,"items":[` + created + `,` + created + `,]}`,
		"bad number":           `{"took":-,"errors":false,"items":[` + created + `,` + created + `]}`,
	} {
		if items, err := ParseBulk([]byte(body), 2); err == nil {
			t.Errorf("%s: %v", name, items)
		}
	}
	// An item's own failure is believed over the summary.
	if items, err := ParseBulk([]byte(`{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":500}}]}`), 2); err != nil || len(items) != 2 || items[1].Status != 500 {
		t.Errorf("%v, %v", items, err)
	}
}

func TestParseError(t *testing.T) {
	for body, want := range map[string]Item{
		`{"error":{"root_cause":[{"type":"security_exception"}],"type":"security_exception","reason":"no"},"status":403}`: {403, "security_exception", "no"},
		`{"error":"IndexMissing","status":404}`: {404, "", "IndexMissing"},
		`{"status":200}`:                        {},
		`<html>`:                                {},
		``:                                      {},
		`{"error":{"type":"x"},"status":403`:    {},
	} {
		if got := ParseError([]byte(body)); got != want {
			t.Errorf("ParseError(%s) = %+v, want %+v", body, got, want)
		}
	}
	long := ParseError([]byte(`{"error":{"type":"x","reason":"` + strings.Repeat("ü", 1000) + `"},"status":400}`)).Reason
	if len(long) > maxReason || !utf8.ValidString(long) {
		t.Errorf("reason of %d bytes", len(long))
	}
}

func FuzzParseBulk(f *testing.F) {
	f.Add([]byte(answer(created, mapping)), 2)
	f.Add([]byte(`{"errors":true,"items":[{"a":{"error":"\ud800","status":400}}]}`), 1)
	f.Add([]byte(`{"x":[1.5e5,-0,true,null,"\\"],"errors":false,"items":[]}`), 0)
	f.Fuzz(func(t *testing.T, body []byte, n int) {
		items, err := ParseBulk(body, n)
		if err != nil {
			return
		}
		if items != nil && len(items) != n {
			t.Fatalf("%d items of %d", len(items), n)
		}
		// A reader of another make must see the same.
		var a struct {
			Items []map[string]struct{ Status int } `json:"items"`
		}
		if err := stdjson.Unmarshal(body, &a); err != nil {
			if strings.Contains(err.Error(), "invalid character") {
				// Escapes are not looked at where they do not matter.
				if strings.Contains(err.Error(), "escape") {
					return
				}
				t.Fatalf("accepted: %v: %q", err, body)
			}
			return
		}
		if len(a.Items) != n {
			t.Fatalf("encoding/json sees %d items of %d: %q", len(a.Items), n, body)
		}
	})
}

func BenchmarkParseBulk(bm *testing.B) {
	items := make([]string, 2000)
	for k := range items {
		items[k] = created
	}
	body := []byte(answer(items...))
	bm.SetBytes(int64(len(body)))
	bm.ReportAllocs()
	for bm.Loop() {
		if _, err := ParseBulk(body, len(items)); err != nil {
			bm.Fatal(err)
		}
	}
}

// Items alike are not looked at twice; what follows them is.
func TestParseBulkRepeatedItems(t *testing.T) {
	ok, bad := `{"create":{"status":201}}`, `{"create":{"status":400,"error":{"type":"x","reason":"r"}}}`
	items, err := ParseBulk([]byte(`{"errors":true,"items":[`+ok+`,`+ok+`, `+ok+`,`+bad+`,`+bad+`,`+ok+`]}`), 6)
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, it := range items {
		got = append(got, it.Status)
	}
	want := []int{200, 200, 200, 400, 400, 201}
	if !slices.Equal(got, want) {
		t.Errorf("statuses %v, want %v", got, want)
	}
	if items[4] != items[3] || items[4].Reason != "r" || items[5].Type != "" {
		t.Errorf("items %+v", items)
	}
	for _, wrong := range []string{ok + `,` + ok + ok, ok + `,` + ok + `]`, ok + `,` + ok[:24], ok + `,` + ok + `,` + ok} {
		if items, err := ParseBulk([]byte(`{"errors":false,"items":[`+wrong+`]}`), 2); err == nil {
			t.Errorf("%s: %v", wrong, items)
		}
	}
}
