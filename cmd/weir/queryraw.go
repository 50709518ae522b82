package main

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/show"
	"github.com/weirlog/weir/wire/export"
	"github.com/weirlog/weir/wire/json"
)

// inBulk reports whether all lines are wanted and nothing but them, so that they
// may come as an export has them.
func (q *query) inBulk() bool {
	f := q.flags
	return q.options.Format == "raw" && f.limit == 0 && !f.reverse && !f.stats && q.log != nil
}

// runBulk prints bare lines, oldest first, as a weir exports them: several times
// cheaper for both sides than page after page. ok is false if the server is none,
// and nothing was printed then.
func (q *query) runBulk(ctx context.Context) (found int, ok bool, err error) {
	fetch := read.Fetch{Client: q.client, Query: q.text, Format: export.JSONL, Patience: 3 * time.Second}
	if err := fetch.Look(ctx); err != nil || !fetch.Weir() {
		return 0, false, nil // the pages will say what is wrong
	}
	var e show.Entry
	e.Stream = show.NewStream(nil)
	var r json.Reader
	v := read.Visitor{Begin: func() {}, Frame: func(f *export.Frame) error {
		for row := range bytes.Lines(f.Data) {
			line, err := lineOf(&r, row)
			if err != nil {
				return err
			}
			e.Line = string(line)
			if err := q.p.Line(&e); err != nil {
				return err
			}
			found++
		}
		return q.w.Flush()
	}}
	from, to := q.span()
	if err := fetch.Range(ctx, from, to, &v); err != nil {
		return found, true, err
	}
	return found, true, q.p.End()
}

var errNoLine = errors.New("the export has a row without a line")

// lineOf returns the line of a row of an export, valid as long as the row, which it
// may change.
func lineOf(r *json.Reader, row []byte) ([]byte, error) {
	r.Reset(row)
	r.Enter('{')
	for {
		name, _, more := r.Name()
		if !more {
			return nil, errNoLine
		}
		if string(row[name.Off:name.End()]) != "line" {
			if _, ok := r.Skip(); !ok {
				return nil, errNoLine
			}
			continue
		}
		s, esc, ok := r.String()
		if !ok {
			return nil, errNoLine
		}
		line := row[s.Off:s.End()]
		if esc {
			line = json.UnescapeInPlace(line)
		}
		return line, nil
	}
}
