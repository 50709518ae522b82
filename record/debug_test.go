//go:build debugbatch

package record

import "testing"

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s did not panic", what)
		}
	}()
	f()
}

func TestChecks(t *testing.T) {
	b := NewBatch(nil)
	fill(b, NewStream(nil, nil, nil), nil, 1)
	b.Freeze()
	mustPanic(t, "append after freeze", func() { b.AppendString("x") })
	mustPanic(t, "add after freeze", func() { b.Add(Record{}) })
	mustPanic(t, "field after freeze", func() { b.AddField(0, Field{}) })
	b.Release()
	mustPanic(t, "use after release", func() { b.Body(0) })
	mustPanic(t, "second release", func() { b.Release() })
}
