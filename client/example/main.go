// Command example is a small web server that logs with package client: to weir,
// and as JSON to standard output.
//
//	weir store &
//	WEIR_ENDPOINTS=http://127.0.0.1:7410 go run ./example
//	curl -H 'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' http://127.0.0.1:8080/cart
//	weir query '{service_name="cart"}'
//
// Stop the store, ask a few times more, stop the example, start both again: what
// was logged meanwhile is there.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weirlog/weir/client"
)

func main() {
	if err := run(); err != nil {
		slog.Error("stopped", "err", err)
		os.Exit(1)
	}
}

func run() error {
	c, err := client.New(client.Config{
		// Endpoints are in WEIR_ENDPOINTS.
		Service: "cart",
		Also:    slog.NewJSONHandler(os.Stdout, nil),
		Spool:   client.Spool{Dir: filepath.Join(os.TempDir(), "cart-logs")},
	})
	if err != nil {
		return err
	}
	defer func() {
		// Kubernetes kills a container 30 seconds after it was asked to end.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
		}
	}()
	defer c.LogPanic()
	slog.SetDefault(c.Logger())

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	http.HandleFunc("GET /cart", func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		ctx := r.Context()
		if t, ok := client.ParseTraceparent(r.Header.Get("traceparent")); ok {
			ctx = client.WithTrace(ctx, t)
		}
		w.Write([]byte("empty\n"))
		slog.InfoContext(ctx, "request served", "path", r.URL.Path, "status", 200, "took", time.Since(began))
	})
	srv := &http.Server{Addr: "127.0.0.1:8080", ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.ListenAndServe() }()
	slog.Info("listening", "address", srv.Addr)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	slog.Info("stopping")
	sctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(sctx); err != nil {
		return err
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
