package store

import (
	"context"
	"testing"
	"time"

	"github.com/weirlog/weir/logql"
)

// Rows that are written and not synced are for nobody's eyes.
func TestNothingIsSeenBeforeItIsDurable(t *testing.T) {
	fs := newCrashFS(1)
	s := open(t, Config{FS: fs, MinFree: -1})
	tail, err := s.Tail("", selector(t, `{app="a"}`), 10)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	entered, leave := make(chan struct{}), make(chan struct{})
	fs.mu.Lock()
	fs.beforeSync = func(name string) {
		entered <- struct{}{}
		<-leave
	}
	fs.mu.Unlock()
	l := line{labels: "app=a", time: base, body: "x", gen: 1, to: 1}
	sent := make(chan error)
	store := func() {
		_, err := send(s, l)
		sent <- err
	}
	go store()
	<-entered
	go store() // known by now, and waits for the first
	if got := all(t, s); len(got) > 0 {
		t.Errorf("seen: %v", got)
	}
	s.Streams(context.Background(), "", selector(t, `{app="a"}`), 0, 1<<62, func(st StreamStats) error {
		t.Errorf("counted: %+v", st)
		return nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if rows, _, err := tail.Next(ctx); err == nil {
		t.Errorf("tailed: %v", rows)
	}
	select {
	case err := <-sent:
		t.Errorf("acknowledged: %v", err)
	default:
	}
	fs.mu.Lock()
	fs.beforeSync = nil
	fs.mu.Unlock()
	close(leave)
	for range 2 {
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}
	if rows, _, err := tail.Next(context.Background()); err != nil || len(rows) != 1 {
		t.Errorf("%v %v", rows, err)
	}
	same(t, query(t, s, &logql.Request{Selector: selector(t, `{app="a"}`), Start: -1 << 62, End: 1 << 62, Columns: everything}), []line{l})
}
