package store

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

// spanData is the decoded columns of a span, as far as they were asked for.
type spanData struct {
	times  []int64
	sev    []record.Severity
	attrs  []int32
	texts  []string
	fields [][]int32
}

// maxCached bounds the decoded spans that a cursor keeps of a segment.
const maxCached = 16

func (r *segReader) page(p columns.Page) ([]byte, error) {
	var err error
	r.c.page, err = r.g.page(p, r.c.page)
	r.c.stats.BytesRead += int64(p.Size)
	return r.c.page, err
}

func (r *segReader) span(i int) *spanData {
	if c := r.c; c.req.Order == logql.AnyOrder {
		// Every span is read once: its memory serves the next one.
		if c.scratchOf != r || c.scratchAt != i {
			d := &c.scratch
			*d = spanData{times: d.times[:0], sev: d.sev[:0], attrs: d.attrs[:0], fields: d.fields[:0]}
			c.scratchOf, c.scratchAt = r, i
		}
		return &c.scratch
	}
	d := r.cache[i]
	if d == nil {
		if len(r.cache) >= maxCached {
			clear(r.cache)
		}
		d = &spanData{}
		r.cache[i] = d
	}
	return d
}

// loadTimes decodes the times of a span.
func (r *segReader) loadTimes(i int) (*spanData, error) {
	d := r.span(i)
	if len(d.times) > 0 {
		return d, nil
	}
	s := &r.x.Spans[i]
	p, err := r.column(timeColumn, s.Time)
	if err == nil {
		d.times, err = r.c.dec.Times(d.times, s, p)
	}
	return d, err
}

// load decodes what is needed of a span.
func (r *segReader) load(i int, severity bool) (*spanData, error) {
	d, err := r.loadTimes(i)
	if err != nil {
		return d, err
	}
	s := &r.x.Spans[i]
	if severity && len(d.sev) == 0 {
		p, err := r.column(severityColumn, s.Severity)
		if err != nil {
			return d, err
		}
		if d.sev, err = r.c.dec.Severities(d.sev, s, p); err != nil {
			return d, err
		}
	}
	if (r.cols.AllMeta || len(r.cols.Meta) > 0) && len(r.x.AttrNames) > 0 && len(d.attrs) == 0 {
		if !r.hasDict && r.x.AttrValues > 0 {
			p, err := r.page(r.x.AttrDict)
			if err != nil {
				return d, err
			}
			if r.attrDict, err = r.c.dec.AttrValues(r.x, p); err != nil {
				return d, err
			}
			r.hasDict = true
		}
		p, err := r.page(s.Attrs)
		if err != nil {
			return d, err
		}
		if d.attrs, d.texts, err = r.c.dec.Attrs(d.attrs, r.x, s, r.attrDict, p); err != nil {
			return d, err
		}
	}
	return d, nil
}

// loadFields decodes the promoted fields of a span.
func (r *segReader) loadFields(i int) (*spanData, error) {
	d := r.span(i)
	if len(d.fields) > 0 {
		return d, nil
	}
	if err := r.loadValues(); err != nil {
		return d, err
	}
	s := &r.x.Spans[i]
	p, err := r.column(jsonColumn, s.JSON)
	if err != nil {
		return d, err
	}
	js, err := r.c.dec.JSON(s, p)
	if err != nil {
		return d, err
	}
	objects := 0
	for _, b := range js[:(s.Rows+7)/8] {
		objects += bits.OnesCount8(b)
	}
	if objects > 0 && objects < int(s.Rows) {
		r.c.json = append(r.c.json[:0], js...) // the next page takes its place
	}
	out := d.fields[:0]
	for k, f := range r.fields {
		var idx []int32
		if k < cap(out) {
			idx = out[:k+1][k]
		}
		if objects == 0 {
			idx = slices.Grow(idx[:0], int(s.Rows))[:s.Rows]
			for j := range idx {
				idx[j] = logql.NoObject
			}
			out = append(out, idx)
			continue
		}
		p, err := r.column(fieldColumn+k, s.Fields[f])
		if err != nil {
			return d, err
		}
		if idx, err = r.c.dec.Field(idx[:0], r.x, f, s, p); err != nil {
			return d, err
		}
		if objects < int(s.Rows) {
			js := r.c.json
			for j := range idx {
				if idx[j] < 0 && js[j>>3]>>(j&7)&1 == 0 {
					idx[j] = logql.NoObject
				}
			}
		}
		out = append(out, idx)
	}
	d.fields = out
	return d, nil
}

// loadValues decodes the dictionaries of the promoted fields.
func (r *segReader) loadValues() error {
	if r.values != nil {
		return nil
	}
	var values [][]string
	for _, f := range r.fields {
		p, err := r.page(r.x.Fields[f].Dict)
		if err != nil {
			return err
		}
		v, err := columns.Values(r.x.Fields[f].Dict, r.x.Fields[f].Values, p)
		if err != nil {
			return err
		}
		values = append(values, v)
	}
	r.values = values
	return nil
}

// ahead is a piece of a column that was read at once: its pages lie one behind
// the other, and are small.
type ahead struct {
	of  *segReader
	off int64
	buf []byte
}

// Columns that are read ahead; fieldColumn is the first of the fields.
const (
	timeColumn = iota
	severityColumn
	jsonColumn
	fieldColumn
)

// maxAhead is how much is read at once.
const maxAhead = 128 << 10

// column is page for a column whose pages are read one after the other.
func (r *segReader) column(which int, p columns.Page) ([]byte, error) {
	c := r.c
	if c.req.Order != logql.AnyOrder || p.Size > maxAhead/2 {
		return r.page(p)
	}
	for len(c.ahead) <= which {
		c.ahead = append(c.ahead, ahead{})
	}
	a := &c.ahead[which]
	if a.of != r || p.Off < a.off || p.Off+int64(p.Size) > a.off+int64(len(a.buf)) {
		// More and more, so that little is read in vain where few spans are wanted.
		size := int64(p.Size)
		if a.of == r && p.Off >= a.off && p.Off < a.off+2*int64(len(a.buf))+4096 {
			size = min(max(4*size, 2*int64(len(a.buf))), maxAhead)
		}
		size = max(min(size, r.x.FileSize-p.Off), int64(p.Size))
		data, _, err := r.g.files()
		if err != nil {
			return nil, err
		}
		a.of = nil
		a.buf = slices.Grow(a.buf[:0], int(size))[:size]
		if err := readFull(data, a.buf, p.Off); err != nil {
			return nil, fmt.Errorf("read %s: %w", r.g.info.dataName(), err)
		}
		a.of, a.off = r, p.Off
	}
	c.stats.BytesRead += int64(p.Size)
	return a.buf[p.Off-a.off:][:p.Size:p.Size], nil
}
