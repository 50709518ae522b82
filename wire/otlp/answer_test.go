package otlp

import (
	stdjson "encoding/json"
	"fmt"
	"testing"
	"time"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func TestAppendResponse(t *testing.T) {
	for _, c := range []struct {
		rejected int64
		message  string
	}{{0, ""}, {3, "because \"x\"\n"}, {0, "a warning"}, {1 << 40, ""}} {
		p := AppendResponse(nil, c.rejected, c.message, false)
		n, message, err := ParseResponse(p)
		if err != nil || n != c.rejected || message != c.message {
			t.Errorf("%v: read as %d, %q, %v", c, n, message, err)
		}
		text := AppendResponse(nil, c.rejected, c.message, true)
		var a, b collogs.ExportLogsServiceResponse
		if err := proto.Unmarshal(p, &a); err != nil {
			t.Error(err)
		}
		if err := protojson.Unmarshal(text, &b); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if !proto.Equal(&a, &b) {
			t.Errorf("%s is %v, %x is %v", text, &b, p, &a)
		}
	}
}

func TestAppendStatus(t *testing.T) {
	for _, s := range []Status{{}, {Code: 3, Message: "no \"x\""}, {Code: 8, Message: "later", RetryAfter: 1.5e9, HasRetryAfter: true}, {Code: 14, HasRetryAfter: true}} {
		p := AppendStatus(nil, s, false)
		if got, err := ParseStatus(p); err != nil || got != s {
			t.Errorf("%+v: read as %+v, %v", s, got, err)
		}
		var a, b status.Status
		if err := proto.Unmarshal(p, &a); err != nil {
			t.Error(err)
		}
		text := AppendStatus(nil, s, true)
		if !stdjson.Valid(text) {
			t.Errorf("%s", text)
		}
		if err := protojson.Unmarshal(text, &b); err != nil || a.Code != b.Code || a.Message != b.Message || len(a.Details) != len(b.Details) {
			t.Errorf("%s: %v, %v", text, err, &b)
		}
		for _, st := range []*status.Status{&a, &b} {
			for _, d := range st.Details {
				var info errdetails.RetryInfo
				if err := d.UnmarshalTo(&info); err != nil || info.RetryDelay.AsDuration() != time.Duration(s.RetryAfter) {
					t.Errorf("%s: %v, %v", fmt.Sprint(d), err, &info)
				}
			}
		}
	}
}
