package store

import (
	"fmt"
	"testing"

	"github.com/weirlog/weir/record"
)

// What OpenTelemetry says of a resource stays with the stream, but is no label.
func TestAttributesWithDots(t *testing.T) {
	st := streamOf(record.NewStream([]record.Attr{
		{Name: "namespace", Value: "shop"}, {Name: "host.name", Value: "h1"}, {Name: "team", Value: "blue"}, {Name: "host_name", Value: "own"}, {Name: "pod_uid", Value: "u"}, {Name: ".-tenant..", Value: "evil"},
	}, nil, nil))
	if got, want := fmt.Sprint(st.Labels), "[{host_name own} {namespace shop} {service_name unknown_service} {team blue}]"; got != want {
		t.Errorf("labels %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(st.Resource), "[{__tenant___ evil} {host_name_ h1} {pod_uid u}]"; got != want {
		t.Errorf("resource %s, want %s", got, want)
	}
}
