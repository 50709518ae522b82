package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weirlog/weir/kube"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/show"
)

// readStdin makes readable what is piped in, in the order in which it comes.
func (j *tailJob) readStdin(ctx context.Context, in io.Reader) error {
	if f, ok := in.(*os.File); ok && isTerminal(f) {
		j.notices.say("reading standard input; end it with Ctrl-D")
	}
	if err := j.localFilters(); err != nil {
		return err
	}
	// Reading standard input cannot be interrupted, so that nobody waits for it.
	lines := make(chan []show.Entry)
	failed := make(chan error, 1)
	go func() {
		defer close(lines)
		lr := read.NewLineReader(nil)
		send := func(batch []show.Entry) bool {
			select {
			case lines <- batch:
				return true
			case <-ctx.Done():
				return false
			}
		}
		failed <- readLines(in, func(text [][]byte) bool { return send(j.entries(lr, text)) })
		send(lr.Rest(time.Now()))
	}()
	return j.merge(ctx, read.MergeConfig{}, func(ctx context.Context, m *read.Merge) error {
		var last []show.Entry // with --tail
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case batch, ok := <-lines:
				if !ok {
					return errors.Join(m.Put(ctx, last), <-failed)
				}
				if j.tail < 0 || !j.flags.tailGiven {
					if err := m.Put(ctx, batch); err != nil {
						return err
					}
					continue
				}
				last = append(last, batch...)
				if n := len(last) - j.tail; n > 0 {
					last = slices.Delete(last, 0, n)
				}
			}
		}
	})
}

// localFilters makes the printer do what a server would.
func (j *tailJob) localFilters() error {
	if !j.match.empty() {
		j.print.match = &j.match
	}
	if j.text == "" {
		return nil
	}
	text := strings.TrimSpace(j.text)
	if text[0] != '{' {
		text = `{` + record.AttrInput + `=~".+"} ` + text
	}
	expr, err := logql.ParseLog(text)
	if err != nil {
		return queryError(text, err)
	}
	if j.print.pipe, err = logql.NewPipeline(expr, time.Now().UnixNano()); err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}

// entries makes entries of lines and leaves out those before and behind the
// range.
func (j *tailJob) entries(lr *read.LineReader, lines [][]byte) []show.Entry {
	now := time.Now()
	out := make([]show.Entry, 0, len(lines))
	for _, p := range lines {
		e, ok := lr.Read(p, now)
		if !ok || j.times.given && e.Time < j.times.from.UnixNano() || !j.times.to.IsZero() && e.Time >= j.times.to.UnixNano() {
			continue
		}
		out = append(out, e)
	}
	return out
}

// maxTailLine bounds a line, in bytes; a longer one comes in pieces.
const maxTailLine = 1 << 20

// readLines calls f with the lines that are there at a time, until it reports
// false.
func readLines(in io.Reader, f func([][]byte) bool) error {
	r := bufio.NewReaderSize(in, maxTailLine)
	for {
		var batch [][]byte
		for {
			p, err := r.ReadSlice('\n')
			if len(p) > 0 {
				batch = append(batch, bytes.Clone(bytes.TrimSuffix(p, []byte("\n"))))
			}
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				f(batch)
				if err == io.EOF {
					err = nil
				}
				return err
			}
			if len(batch) >= 1000 || !hasLine(r) {
				break
			}
		}
		if !f(batch) {
			return nil
		}
	}
}

// hasLine reports whether a whole line is there without waiting.
func hasLine(r *bufio.Reader) bool {
	p, _ := r.Peek(r.Buffered())
	return bytes.IndexByte(p, '\n') >= 0
}

// readFiles shows files, and what is appended to them.
func (j *tailJob) readFiles(ctx context.Context) error {
	if err := j.localFilters(); err != nil {
		return err
	}
	for _, name := range j.files {
		if _, err := os.Stat(name); err != nil {
			if !j.live || !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			j.notices.say("%s is not there yet; waiting for it", name)
		}
	}
	cfg := read.MergeConfig{}
	if len(j.files) > 1 {
		if cfg.Window = j.window; !j.live {
			cfg.Settle, cfg.Bytes = -1, 256<<20
		} else if j.window > 0 {
			cfg.Settle = time.Second
		}
	}
	var sources []func(context.Context, *read.Merge) error
	for _, name := range j.files {
		labels := map[string]string{record.AttrFile: name}
		if len(j.files) == 1 {
			labels = nil
		}
		sources = append(sources, func(ctx context.Context, m *read.Merge) error {
			t := &fileTail{j: j, name: name, lines: read.NewLineReader(labels), put: func(e []show.Entry) error { return m.Put(ctx, e) }}
			return t.run(ctx)
		})
	}
	return j.merge(ctx, cfg, sources...)
}

// fileTail follows a file by its name, as tail -F does.
type fileTail struct {
	j     *tailJob
	name  string
	lines *read.LineReader
	put   func([]show.Entry) error

	f     *os.File
	at    int64
	part  []byte // of a line without its end
	begun bool
}

const fileEach = 200 * time.Millisecond

func (t *fileTail) run(ctx context.Context) error {
	defer func() {
		if t.f != nil {
			_ = t.f.Close() // it was only read
		}
	}()
	tick := time.NewTicker(fileEach)
	defer tick.Stop()
	for {
		if err := t.look(ctx); err != nil {
			return err
		}
		if !t.j.live {
			return t.rest()
		}
		if to := t.j.times.to; !to.IsZero() && time.Now().After(to) {
			return t.rest()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// rest shows a last line without an end.
func (t *fileTail) rest() error {
	if len(t.part) > 0 {
		p := t.part
		t.part = nil
		if err := t.put(t.j.entries(t.lines, [][]byte{p})); err != nil {
			return err
		}
	}
	return t.put(t.lines.Rest(time.Now()))
}

// look reads what is new: to the end of the old file, when there is a new one of
// that name, and then that from its beginning.
func (t *fileTail) look(ctx context.Context) error {
	now, err := os.Stat(t.name)
	if errors.Is(err, fs.ErrNotExist) {
		t.begun = true
		if t.f == nil {
			return nil
		}
		return t.read(ctx)
	}
	if err != nil {
		return err
	}
	if t.f != nil {
		old, err := t.f.Stat()
		if err != nil {
			return err
		}
		switch {
		case !os.SameFile(old, now):
			if err := t.read(ctx); err != nil {
				return err
			}
			if err := t.rest(); err != nil {
				return err
			}
			_ = t.f.Close() // it was only read
			t.f = nil
			t.say("has been replaced; the new one is read")
		case old.Size() < t.at:
			t.at, t.part = 0, nil
			t.say("was truncated; it is read from its beginning")
		}
	}
	if t.f == nil {
		if t.f, err = os.Open(t.name); err != nil {
			return err
		}
		t.at = 0
		if !t.begun {
			t.begun = true
			if t.at, err = tailOffset(t.f, t.j.tail); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
		}
	}
	return t.read(ctx)
}

func (t *fileTail) say(what string) {
	t.j.notices.kube(kube.Notice{Kind: kube.NoticeWarning, Text: t.name + " " + what})
}

// read reads to the end.
func (t *fileTail) read(ctx context.Context) error {
	buf := make([]byte, 256<<10)
	for ctx.Err() == nil {
		n, err := t.f.ReadAt(buf, t.at)
		t.at += int64(n)
		data := buf[:n]
		var lines [][]byte
		for {
			i := bytes.IndexByte(data, '\n')
			if i < 0 {
				break
			}
			lines = append(lines, append(t.part, data[:i]...))
			t.part, data = nil, data[i+1:]
		}
		if t.part = append(t.part, data...); len(t.part) > maxTailLine {
			lines = append(lines, t.part)
			t.part = nil
		}
		if len(lines) > 0 {
			if err := t.put(t.j.entries(t.lines, lines)); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return ctx.Err()
}

// tailOffset returns where the last n lines of a file begin; all if negative.
func tailOffset(f *os.File, n int) (int64, error) {
	if n < 0 {
		return 0, nil
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return 0, err
	}
	if n == 0 {
		return end, nil
	}
	buf := make([]byte, 64<<10)
	for at := end; at > 0; {
		size := min(at, int64(len(buf)))
		at -= size
		if _, err := f.ReadAt(buf[:size], at); err != nil {
			return 0, err
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' || at+i == end-1 {
				continue
			}
			if n--; n == 0 {
				return at + i + 1, nil
			}
		}
	}
	return 0, nil
}
