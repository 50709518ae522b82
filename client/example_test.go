package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/weirlog/weir/client"
)

func Example() {
	gateway := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer gateway.Close()

	c, err := client.New(client.Config{
		Endpoints: []string{gateway.URL}, // several: the first one that works
		Service:   "cart",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	log := slog.New(c.Handler()).With("version", 3)
	log.Info("request served", "path", "/cart", "status", 200)

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		fmt.Println(err)
	}
	fmt.Println("delivered:", c.Stats().Delivered)
	// Output: delivered: 1
}

// Records also go to standard output, where a node agent sees them.
func ExampleConfig_also() {
	c, err := client.New(client.Config{
		Endpoints: []string{"http://127.0.0.1:1"}, // nobody there
		Logger:    slog.New(slog.DiscardHandler),
		Also: slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Logger().Warn("cart is empty", "user", 42)
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	fmt.Println(c.Close(ctx) != nil, c.Stats().Lost)
	// Output:
	// {"level":"WARN","msg":"cart is empty","user":42}
	// true 1
}

// The trace and span of a request are in its records.
func ExampleWithTrace() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if t, ok := client.ParseTraceparent(r.Header.Get("traceparent")); ok {
			ctx = client.WithTrace(ctx, t)
		}
		slog.InfoContext(ctx, "request served")
	}
	_ = handler
}
