package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/weirlog/weir/e2e/internal/journal"
)

// Of 10000 lines, how many are JSON, exceed the runtime's piece of 16 KiB, go
// to stderr.
const (
	partJSON   = 6000
	partLong   = 5
	partStderr = 300
)

// burst is how many bytes are handed to the runtime in one write at most.
const burst = 32 << 10

var words = []string{
	"request ", "served ", "upstream ", "timeout ", "after ", "retry ", "user ", "order ", "cache ", "miss ", "GET ", "/api/v1/items ",
	"shard ", "leader ", "commit ", "offset ", "pool ", "exhausted ", "slow ", "query ", "took ", "rows ", "token ", "expired ", "naïve ", "日本語 ",
}

type writer struct {
	name  string
	out   io.Writer // stdout
	err   io.Writer // stderr
	log   *journal.Writer
	rng   *rand.Rand
	seq   uint64
	total uint64 // bytes written
	buf   []byte
	notes []journal.Line // of the lines in buf
	pay   []byte
}

// write writes until ctx ends or everything asked for is written. An
// interrupted write is finished first: what is noted and what is written are
// always the same.
func (w *writer) write(ctx context.Context, o options) error {
	begin := time.Now()
	for o.lines == 0 || w.seq < o.lines {
		elapsed := time.Since(begin)
		if ctx.Err() != nil || o.duration > 0 && elapsed >= o.duration {
			return nil
		}
		if o.rate > 0 && float64(w.total) >= o.rate*1e6*elapsed.Seconds() {
			if err := w.log.Flush(); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		if err := w.burst(o.lines); err != nil {
			return err
		}
	}
	return nil
}

// upTo writes until that many bytes were written in all.
func (w *writer) upTo(total uint64) error {
	for w.total < total {
		if err := w.burst(0); err != nil {
			return err
		}
	}
	return nil
}

// burst writes and notes some lines, but none of number lines and above, unless it
// is 0.
func (w *writer) burst(lines uint64) error {
	// A burst has one destination, so that the order of lines within a
	// stream is the order of their numbers.
	to := w.out
	if w.rng.IntN(10000) < partStderr {
		to = w.err
	}
	for len(w.buf) < burst && (lines == 0 || w.seq < lines) {
		w.line()
	}
	if _, err := to.Write(w.buf); err != nil {
		return fmt.Errorf("write lines: %w", err)
	}
	for _, l := range w.notes {
		w.log.Line(l)
	}
	w.total += uint64(len(w.buf))
	w.buf, w.notes = w.buf[:0], w.notes[:0]
	return nil
}

// line adds the next line to buf.
func (w *writer) line() {
	r := w.rng
	size := 100 + r.IntN(400)
	if r.IntN(10000) < partLong {
		size = 16<<10 - 200 + r.IntN(40<<10)
	}
	p := w.pay[:0]
	for len(p) < size {
		p = append(p, words[r.IntN(len(words))]...)
	}
	p[len(p)-1] = '.'
	w.pay = p
	start := len(w.buf)
	b := w.buf
	if r.IntN(10000) < partJSON {
		b = append(b, `{"ts":"`...)
		b = time.Now().UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, `","level":"info","status":200,"s":"`...)
		b = append(b, w.name...)
		b = append(b, `","n":`...)
		b = strconv.AppendUint(b, w.seq, 10)
		b = append(b, `,"p":"`...)
		b = append(b, p...)
		b = append(b, "\"}\n"...)
	} else {
		b = time.Now().UTC().AppendFormat(b, "2006-01-02 15:04:05.000 INFO s=")
		b = append(b, w.name...)
		b = append(b, " n="...)
		b = strconv.AppendUint(b, w.seq, 10)
		b = append(b, " p="...)
		b = append(b, p...)
		b = append(b, '\n')
	}
	n := uint32(len(b) - start)
	w.notes = append(w.notes, journal.Line{
		Seq: w.seq, Hash: journal.HashPayload(p), Bytes: n, Len: n - 1, Head: n, Start: w.total + uint64(start),
	})
	w.buf = b
	w.seq++
}
