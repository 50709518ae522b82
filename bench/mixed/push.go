package mixed

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"
)

// A Body is a request of Loki's push API: protobuf, snappy.
type Body struct {
	Client int
	Offset int64
	Size   int
	Rows   int
}

// Pushes is a file of bodies.
type Pushes struct {
	Bodies []Body // of each client in the order of their times
	Size   int64
	file   *os.File
}

// Write makes the corpus as requests in a file.
func Write(path string, cfg Config) (*Pushes, *Truth, error) {
	g, err := New(cfg)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, nil, err
	}
	p := &Pushes{file: f}
	t, err := p.fill(g)
	if err != nil {
		return nil, nil, fmt.Errorf("%w, and %v", err, f.Close())
	}
	return p, t, nil
}

func (p *Pushes) fill(g *Generator) (*Truth, error) {
	t := newTruth(g)
	w := bufio.NewWriterSize(p.file, 1<<20)
	clients := make([]request, g.cfg.Clients)
	var body []byte
	flush := func(i int) error {
		c := &clients[i]
		if c.rows == 0 {
			return nil
		}
		body = s2.EncodeSnappy(body[:cap(body)], c.append(g.streams))
		p.Bodies = append(p.Bodies, Body{Client: i, Offset: p.Size, Size: len(body), Rows: c.rows})
		p.Size += int64(len(body))
		c.reset()
		_, err := w.Write(body)
		return err
	}
	for e := g.Next(); e != nil; e = g.Next() {
		t.add(e)
		i := g.streams[e.Stream].client
		clients[i].add(e)
		if clients[i].size >= g.cfg.BodyBytes {
			if err := flush(i); err != nil {
				return nil, err
			}
		}
	}
	for i := range clients {
		if err := flush(i); err != nil {
			return nil, err
		}
	}
	t.cut()
	slices.Reverse(t.LastTimes)
	slices.Reverse(t.LastLines)
	return t, w.Flush()
}

// Read returns a body. It may be called concurrently.
func (p *Pushes) Read(b Body, dst []byte) ([]byte, error) {
	dst = slices.Grow(dst[:0], b.Size)[:b.Size]
	_, err := io.ReadFull(io.NewSectionReader(p.file, b.Offset, int64(b.Size)), dst)
	return dst, err
}

// Close closes the file.
func (p *Pushes) Close() error { return p.file.Close() }

// request collects a PushRequest: entries by stream, in the order they came.
type request struct {
	rows, size int
	entries    map[int][]byte // encoded, per stream
	order      []int
	out        []byte
	one, pair  []byte
}

func (q *request) reset() {
	for _, i := range q.order {
		q.entries[i] = q.entries[i][:0]
	}
	q.rows, q.size, q.order = 0, 0, q.order[:0]
}

// add appends an entry. The message is logproto.PushRequest:
// https://github.com/grafana/loki/blob/main/pkg/push/push.proto
func (q *request) add(e *Entry) {
	if q.entries == nil {
		q.entries = make(map[int][]byte)
	}
	b := q.entries[e.Stream]
	if len(b) == 0 {
		q.order = append(q.order, e.Stream)
	}
	ts := protowire.AppendVarint(protowire.AppendTag(q.pair[:0], 1, protowire.VarintType), uint64(e.Time/1e9))
	ts = protowire.AppendVarint(protowire.AppendTag(ts, 2, protowire.VarintType), uint64(e.Time%1e9))
	one := protowire.AppendBytes(protowire.AppendTag(q.one[:0], 1, protowire.BytesType), ts)
	q.pair = ts
	one = protowire.AppendBytes(protowire.AppendTag(one, 2, protowire.BytesType), e.Line)
	if e.Trace != "" {
		one = q.label(one, "trace_id", e.Trace)
	}
	if e.Meta {
		one = q.label(one, "detected_level", e.Level)
	}
	q.entries[e.Stream] = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), one)
	q.one = one
	q.rows++
	q.size += len(e.Line)
}

func (q *request) label(dst []byte, name, value string) []byte {
	p := protowire.AppendString(protowire.AppendTag(q.pair[:0], 1, protowire.BytesType), name)
	p = protowire.AppendString(protowire.AppendTag(p, 2, protowire.BytesType), value)
	q.pair = p
	return protowire.AppendBytes(protowire.AppendTag(dst, 3, protowire.BytesType), p)
}

func (q *request) append(streams []Stream) []byte {
	q.out = q.out[:0]
	for _, i := range q.order {
		labels := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), streams[i].Text)
		q.out = protowire.AppendTag(q.out, 1, protowire.BytesType)
		q.out = protowire.AppendVarint(q.out, uint64(len(labels)+len(q.entries[i])))
		q.out = append(append(q.out, labels...), q.entries[i]...)
	}
	return q.out
}
