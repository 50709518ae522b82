package audit

import (
	stdjson "encoding/json"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

const now = int64(1_800_000_000_000_000_000)

const event = `{"level":"Metadata","auditID":"8a1","stage":"ResponseComplete","requestURI":"/api","verb":"get","user":{"username":"admin","groups":["g"]},` +
	`"objectRef":{"resource":"pods","namespace":"ns"},"responseStatus":{"metadata":{},"code":403},"requestReceivedTimestamp":"2026-11-22T10:00:00.000001Z","stageTimestamp":"2026-11-22T10:00:00.000002Z"}`

func decode(body string) (*record.Batch, wire.Outcome, error) {
	b := record.NewBatch(nil)
	b.AppendString("before it stands something else")
	s := b.AppendString(body)
	out, err := NewDecoder(wire.Limits{}, new(wire.StreamCache)).Decode(b, s, "t", now)
	return b, out, err
}

func TestDecode(t *testing.T) {
	for _, body := range []string{`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + event + `,` + strings.Replace(event, "ResponseComplete", "Panic", 1) + `,{"verb":"x"}]}`, " " + event + "\n"} {
		b, out, err := decode(body)
		if err != nil || out.Refused > 0 || out.Records != b.NumRecords() {
			t.Fatal(out, err)
		}
		r := b.Record(0)
		if string(b.Body(0)) != event || r.Time != 1795341600000002000 || r.Severity != record.Warn || !r.Flags.Has(record.JSONObject) || b.Stream(0).Get(record.AttrInput) != "audit" {
			t.Errorf("%+v %s", r, b.Body(0))
		}
		for name, want := range map[string]string{"verb": "get", "user_username": "admin", "objectRef_resource": "pods", "objectRef_namespace": "ns", "responseStatus_code": "403", "stage": "ResponseComplete"} {
			if f, ok := b.FindField(0, name); !ok || string(b.Bytes(f.Val)) != want {
				t.Errorf("field %s: %v %s", name, ok, b.Bytes(f.Val))
			}
		}
		if b.NumRecords() == 3 {
			x, _ := b.SenderID(0)
			y, _ := b.SenderID(1)
			if _, ok := b.SenderID(2); ok || x == y || x.IsZero() {
				t.Error("ids", x, y, ok)
			}
		}
	}
	for _, body := range []string{"", "[]", "{}", `{"items":[{]}`, `{"items":[`, `{"items":{}}`, `{"items":[]} x`, event[:50]} {
		if _, _, err := decode(body); err == nil {
			t.Errorf("%q: no error", body)
		}
	}
	if _, out, err := decode(`{"items":[5,{"a":1}]}`); err != nil || out.Refused != 1 {
		t.Error(out, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"items":[` + event + `]}`))
	f.Add([]byte(`{"items":[{"user":` + strings.Repeat(`{"user":`, 70)))
	f.Add([]byte(event))
	f.Fuzz(func(t *testing.T, p []byte) {
		b, out, err := decode(string(p))
		if err != nil {
			return
		}
		if b.NumRecords() != out.Records-out.Refused {
			t.Fatal(b.NumRecords(), out)
		}
		for i := range b.NumRecords() {
			if b.Record(i).Flags.Has(record.JSONObject) && !stdjson.Valid(b.Body(i)) {
				t.Fatalf("flagged, but no object: %q", b.Body(i))
			}
			for _, f := range b.Fields(i) {
				_, _ = b.KeyName(f.Key), b.Bytes(f.Val)
			}
		}
	})
}

func BenchmarkDecode(bm *testing.B) {
	body := []byte(`{"items":[` + strings.Repeat(event+",", 999) + event + `]}`)
	d := NewDecoder(wire.Limits{}, new(wire.StreamCache))
	b := record.NewBatch(nil)
	bm.SetBytes(int64(len(body)))
	bm.ReportAllocs()
	for bm.Loop() {
		b.Reset(nil)
		if out, err := d.Decode(b, b.Append(body), "", now); err != nil || out.Refused > 0 {
			bm.Fatal(out, err)
		}
	}
}
