package main

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestAskTellsGoneFromSilent(t *testing.T) {
	dir := t.TempDir()
	var r statusReport
	if err := ask(t.Context(), dir, "/v1/status", &r); !errors.Is(err, errNotRunning) {
		t.Error("no socket:", err)
	}
	if err := ask(t.Context(), "/"+strings.Repeat("long/", 40), "/v1/status", &r); !errors.Is(err, errNotRunning) {
		t.Error("a path too long for a socket:", err)
	}
	// One that accepts and says nothing.
	ln, err := net.Listen("unix", filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if c, err := ln.Accept(); err == nil {
			defer c.Close()
			cancel()
			<-t.Context().Done()
		}
	}()
	var coded *exitError
	if err := ask(ctx, dir, "/v1/status", &r); errors.Is(err, errNotRunning) || !errors.As(err, &coded) || coded.code != exitUnreachable {
		t.Error("a silent process:", err)
	}
	// A socket file that nobody listens on any more.
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	if err := ask(t.Context(), dir, "/v1/status", &r); !errors.Is(err, errNotRunning) {
		t.Error("a dead socket:", err)
	}
}
