package bench

import (
	"context"

	"github.com/weirlog/weir/client"
	"go.opentelemetry.io/otel/trace"
)

// Records get the trace and the span that OpenTelemetry has in the context.
func Example_openTelemetry() {
	c, err := client.New(client.Config{
		Endpoints: []string{"https://weir-gateway.logging:7410"},
		Trace: func(ctx context.Context) (client.Trace, bool) {
			s := trace.SpanContextFromContext(ctx)
			return client.Trace{TraceID: s.TraceID(), SpanID: s.SpanID(), Flags: byte(s.TraceFlags())}, s.IsValid()
		},
	})
	if err != nil {
		panic(err)
	}
	defer c.Close(context.Background())
	c.Logger().InfoContext(context.Background(), "request served")
}
