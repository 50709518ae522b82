package datadog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

const now = int64(1_800_000_000_000_000_000)

func decode(body string, text bool, from Sender) (*record.Batch, wire.Outcome, error) {
	b := record.NewBatch(nil)
	b.AppendString("before it stands something else")
	s := b.AppendString(body)
	out, err := NewDecoder(wire.Limits{}, new(wire.StreamCache)).Decode(b, s, text, from, "t", now)
	return b, out, err
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		body string
		text bool
		from Sender
		want string
	}{
		{`[{"message":"a\n","ddtags":"env:prod,kube_namespace:ns,pod_name:p,flag","hostname":"h","service":"s","ddsource":"nginx","status":"warn","timestamp":1795341600123,"x":{"y":1}}]`, false, Sender{},
			`env=prod flag=true namespace=ns node=h pod=p service_name=s source=nginx 1795341600123000000 warn "a\n" status="warn" x="{\"y\":1}"`},
		{`{"message":"a"}`, false, Sender{Service: "q", Tags: "env:x"}, `env=x service_name=q now unknown "a"`},
		{"a", true, Sender{Host: "h"}, `node=h now unknown "a"`},
		{`{"no":"text"}`, false, Sender{}, `now unknown "{\"no\":\"text\"}"`},
	} {
		b, out, err := decode(c.body, c.text, c.from)
		if err != nil || out.Refused > 0 || b.NumRecords() != 1 {
			t.Fatal(c.body, out, err)
		}
		var sb strings.Builder
		for _, a := range b.Stream(0).Attrs() {
			if a.Name != record.AttrTenant {
				fmt.Fprintf(&sb, "%s=%s ", a.Name, a.Value)
			}
		}
		at := "now"
		if r := b.Record(0); r.Time != now {
			at = fmt.Sprint(r.Time)
		}
		fmt.Fprintf(&sb, "%s %s %q", at, b.Record(0).Severity.Level(), b.Body(0))
		for _, f := range b.Fields(0) {
			fmt.Fprintf(&sb, " %s=%q", b.KeyName(f.Key), b.Bytes(f.Val))
		}
		if sb.String() != c.want {
			t.Errorf("got  %s\nwant %s", sb.String(), c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`[{"message":"a","ddtags":"env:prod,:x,y:","timestamp":"17"}]`))
	f.Add([]byte(`[{"message":` + strings.Repeat("[", 70)))
	f.Fuzz(func(t *testing.T, p []byte) {
		b, out, err := decode(string(p), false, Sender{})
		if err == nil && b.NumRecords() != out.Records-out.Refused {
			t.Fatal(b.NumRecords(), out)
		}
	})
}
