package client

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"
)

// exitTimeout is how long a dying program waits for a gateway.
const exitTimeout = 5 * time.Second

// LogPanic is to be deferred, directly, at the top of a goroutine, behind a deferred
// Close if there is one. If the goroutine panics it logs that with its stack, closes the client within 5
// seconds and goes on panicking. It does nothing else.
//
//	defer c.LogPanic()
func (c *Client) LogPanic() {
	p := recover()
	if p == nil {
		return
	}
	c.die(fmt.Sprintf("panic: %v", p), slog.String("exception.message", fmt.Sprint(p)),
		slog.String("exception.type", fmt.Sprintf("%T", p)), slog.String("exception.stacktrace", string(debug.Stack())))
	panic(p)
}

// Fatal logs msg at LevelFatal, closes the client within 5 seconds and ends the
// program with status 1.
func (c *Client) Fatal(msg string, args ...any) {
	r := slog.NewRecord(time.Now(), LevelFatal, msg, 0)
	r.Add(args...)
	var attrs []slog.Attr
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	c.die(msg, attrs...)
	os.Exit(1)
}

func (c *Client) die(msg string, attrs ...slog.Attr) {
	ctx, cancel := context.WithTimeout(context.Background(), exitTimeout)
	defer cancel()
	slog.New(c.Handler()).LogAttrs(ctx, LevelFatal, msg, attrs...)
	if err := c.Close(ctx); err != nil {
		c.cfg.Logger.Error("weir client: logs are lost", "err", err)
	}
}
