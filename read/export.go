package read

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/show"
	"github.com/weirlog/weir/wire/export"
)

const exportPath = "/weir/v1/export"

// Fetch gets the lines of a range in bulk, oldest first, encoded: from a weir as
// it encodes them, from a Loki page by page. It goes on where a connection broke,
// so that every line comes once.
type Fetch struct {
	Client *Client
	// Query is LogQL; "" is everything there is.
	Query   string
	Format  string // of package export
	Columns []string
	// Cut, if not zero, is a span of time at whose multiples frames end, in
	// nanoseconds.
	Cut int64
	// Patience is how long a server that answered once may fail without a step
	// forward. Default a minute.
	Patience time.Duration
	// Wait is how long the first pause after a failure is; it doubles up to ten
	// seconds. Default a quarter of a second.
	Wait time.Duration
	// Notice, if not nil, is told that a failed request is tried again.
	Notice func(err error, in time.Duration)

	weir     bool
	answered atomic.Bool
}

// A Visitor takes what a Fetch gets. It is for one goroutine.
type Visitor struct {
	// Begin is called before the first frame and when the encoding begins anew.
	Begin func()
	// Frame takes a frame of data, whose Data it may keep. A frame may be without
	// rows, to say how far the fetch is.
	Frame func(*export.Frame) error
	Cost  Cost
}

// Look finds out whether the server can do more than pages.
func (f *Fetch) Look(ctx context.Context) error {
	if f.Patience == 0 {
		f.Patience = time.Minute
	}
	if f.Wait == 0 {
		f.Wait = 250 * time.Millisecond
	}
	resp, err := f.ask(ctx, 1, 1)
	if err == nil {
		f.weir = resp.Header.Get("Content-Type") == export.FrameType
		_ = resp.Body.Close() // nothing is in it
	}
	var se *ServerError
	if errors.As(err, &se) {
		if f.Client.Local || resp == nil && se.Status == http.StatusUnauthorized {
			return err
		}
		err = nil // not a weir, or an older one: pages
	}
	f.answered.Store(err == nil)
	return err
}

// Weir reports, after Look, whether the server encodes lines itself.
func (f *Fetch) Weir() bool { return f.weir }

func (f *Fetch) ask(ctx context.Context, from, to int64) (*http.Response, error) {
	form := url.Values{
		"query": {f.Query}, "format": {f.Format},
		"start": {strconv.FormatInt(from, 10)}, "end": {strconv.FormatInt(to, 10)},
	}
	if f.Format == export.CSV && len(f.Columns) > 0 {
		form.Set("columns", strings.Join(f.Columns, ","))
	}
	if f.Cut > 0 {
		form.Set("cut", strconv.FormatInt(f.Cut, 10))
	}
	return f.Client.do(ctx, exportPath, form, http.Header{"Accept": {export.FrameType}})
}

// failed is an error of the visitor: asking again would not help.
type failed struct{ error }

func (e failed) Unwrap() error { return e.error }

// Range gets the lines in [from, to). An error is of ctx, of the visitor, or the
// last one of the server's.
func (f *Fetch) Range(ctx context.Context, from, to int64, v *Visitor) error {
	wait := f.Wait
	var since time.Time // of the first failure without a step since
	for from < to {
		was := from
		var err error
		if f.weir {
			err = f.stream(ctx, &from, to, v)
		} else {
			err = f.pages(ctx, &from, to, v)
		}
		if err == nil {
			f.answered.Store(true)
			return nil
		}
		var own failed
		switch {
		case errors.As(err, &own):
			return own.error
		case ctx.Err() != nil:
			return ctx.Err()
		case !transient(err) || !f.answered.Load():
			return err
		}
		now := time.Now()
		if from > was || since.IsZero() {
			wait, since = f.Wait, now
		}
		if now.Sub(since) > f.Patience {
			return err
		}
		if f.Notice != nil {
			f.Notice(err, wait)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, 10*time.Second)
	}
	return nil
}

// transient reports whether a request that failed so may succeed later.
func transient(err error) bool {
	var se *ServerError
	if errors.As(err, &se) {
		return se.Status == http.StatusTooManyRequests || se.Status == http.StatusRequestTimeout || se.Status >= 500
	}
	return true
}

// maxHeld is how much of what came is held until it is known to be a step.
const maxHeld = 64 << 20

// stream gets frames. Those that end amid lines of one nanosecond wait for the
// rest of them: from there one cannot go on.
func (f *Fetch) stream(ctx context.Context, from *int64, to int64, v *Visitor) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := f.ask(ctx, *from, to)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") != export.FrameType {
		return fmt.Errorf("%s does not answer as a weir any more", f.Client.What)
	}
	v.Begin()
	r := bufio.NewReaderSize(resp.Body, 64<<10)
	var held []*export.Frame
	size := 0
	for {
		var fr export.Frame
		if err := export.ReadFrame(r, &fr, getBuffer()); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("the answer of %s broke off: %w", f.Client.What, err)
		}
		f.answered.Store(true)
		switch fr.Kind {
		case export.Error:
			return &ServerError{int(fr.Rows), strings.TrimSpace(string(fr.Data))}
		case export.End:
			*from = to
			return nil
		}
		held = append(held, &fr)
		size += len(fr.Data)
		if !fr.Safe && size < maxHeld {
			continue
		}
		for _, h := range held {
			if err := v.Frame(h); err != nil {
				return failed{err}
			}
		}
		if !fr.Safe {
			*from = to // if it breaks off now, it cannot be gone on with
		} else {
			*from = fr.Last + 1
		}
		held, size = held[:0], 0
	}
}

// pages gets what Loki's API gives, and encodes it.
func (f *Fetch) pages(ctx context.Context, from *int64, to int64, v *Visitor) error {
	enc, err := export.New(f.Format, f.Columns)
	if err != nil {
		return failed{err}
	}
	v.Begin()
	p := pager{enc: enc, streams: make(map[*show.Stream]*export.Stream), v: v, cut: f.Cut}
	var held []show.Entry // of the page's last nanosecond: there may be more
	err = f.Client.Lines(ctx, Want{Query: f.Query, From: *from, To: to, Forward: true}, &v.Cost, func(page []show.Entry) error {
		f.answered.Store(true)
		if len(page) == 0 {
			return nil
		}
		all := append(held, page...)
		last := all[len(all)-1].Time
		n := len(all)
		for n > 0 && all[n-1].Time == last {
			n--
		}
		if err := p.add(all[:n]); err != nil {
			return failed{err}
		}
		held = slices.Clone(all[n:])
		*from = last
		return nil
	})
	if err == nil {
		if err := p.add(held); err != nil {
			return failed{err}
		}
		*from = to
	}
	return err
}

// pager encodes entries.
type pager struct {
	enc     export.Encoder
	streams map[*show.Stream]*export.Stream
	v       *Visitor
	cut     int64
	row     export.Row
}

// add makes frames of entries whose times no later ones have.
func (p *pager) add(list []show.Entry) error {
	for len(list) > 0 {
		n := len(list)
		if p.cut > 0 {
			end := floorDiv(list[0].Time, p.cut)
			n, _ = slices.BinarySearchFunc(list, end, func(e show.Entry, end int64) int {
				if floorDiv(e.Time, p.cut) <= end {
					return -1
				}
				return 1
			})
		}
		f := export.Frame{Kind: export.Data, Safe: true, Rows: uint32(n), First: list[0].Time, Last: list[n-1].Time}
		for i := range list[:n] {
			e := &list[i]
			f.Raw += uint64(len(e.Line))
			p.row.Time, p.row.Line, p.row.Stream = e.Time, append(p.row.Line[:0], e.Line...), p.stream(e.Stream)
			p.row.Meta, p.row.Parsed = attrs(p.row.Meta[:0], e.Meta), attrs(p.row.Parsed[:0], e.Parsed)
			f.Data = p.enc.Append(f.Data, &p.row)
		}
		if err := p.v.Frame(&f); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

func (p *pager) stream(s *show.Stream) *export.Stream {
	out := p.streams[s]
	if out == nil {
		out = export.NewStream(attrs(nil, s.Labels))
		p.streams[s] = out
	}
	return out
}

// attrs appends labels, sorted.
func attrs(dst []record.Attr, m map[string]string) []record.Attr {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		dst = append(dst, record.Attr{Name: name, Value: m[name]})
	}
	return dst
}

func floorDiv(a, b int64) int64 {
	d := a / b
	if a%b < 0 {
		d--
	}
	return d
}

// A Slice is a part of a range of time, and how many bytes of lines are thought
// to be in it; 0 if that is not known.
type Slice struct{ From, To, Bytes int64 }

// Slices divides a range into parts of about so many bytes, in the order of
// time. Where the server does not say how much there is, they are n equal ones.
func (f *Fetch) Slices(ctx context.Context, from, to, bytes int64, n int) (list []Slice, total int64) {
	sel := f.selector()
	asked := 0
	var divide func(from, to, est int64) error
	divide = func(from, to, est int64) error {
		mid := from + (to-from)/2
		if est <= bytes || to-from <= int64(time.Second) || asked > 4000 {
			list = append(list, Slice{from, to, est})
			return nil
		}
		left, err := f.bytesIn(ctx, sel, from, mid)
		asked += 2
		if err != nil {
			return err
		}
		right, err := f.bytesIn(ctx, sel, mid, to)
		if err != nil {
			return err
		}
		if err := divide(from, mid, left); err != nil {
			return err
		}
		return divide(mid, to, right)
	}
	total, err := f.bytesIn(ctx, sel, from, to)
	if err == nil {
		err = divide(from, to, total)
	}
	if err != nil || total == 0 {
		return equal(from, to, n), 0
	}
	return joinSlices(list, bytes), total
}

// selector is what the server is asked how much there is of: a weir takes a
// query's part in braces.
func (f *Fetch) selector() string {
	e, err := logql.ParseLog(f.Query)
	if f.weir || err != nil {
		return f.Query
	}
	return selectorText(e)
}

// joinSlices makes one of small neighbours.
func joinSlices(list []Slice, bytes int64) []Slice {
	out := list[:0]
	for _, s := range list {
		if n := len(out); n > 0 && out[n-1].Bytes+s.Bytes <= bytes {
			out[n-1].To = s.To
			out[n-1].Bytes += s.Bytes
			continue
		}
		out = append(out, s)
	}
	return out
}

func equal(from, to int64, n int) []Slice {
	var out []Slice
	step := max((to-from)/int64(max(n, 1)), int64(time.Minute))
	for from < to {
		end := to
		if to-from > step+step/2 {
			end = from + step
		}
		out = append(out, Slice{From: from, To: end})
		from = end
	}
	return out
}

// selectorText is the part of a query in braces.
func selectorText(e *logql.LogExpr) string {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range e.Selector().Matchers() {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s%s%s", m.Name(), m.Op(), strconv.Quote(m.Value()))
	}
	b.WriteByte('}')
	return b.String()
}

// bytesIn asks how many bytes of lines are in a range, as the index knows it.
func (f *Fetch) bytesIn(ctx context.Context, sel string, from, to int64) (int64, error) {
	var a struct {
		Bytes int64 `json:"bytes"`
	}
	path := "/loki/api/v1/index/stats"
	if f.weir {
		path = "/weir/v1/stats"
	}
	err := f.Client.Get(ctx, path, url.Values{
		"query": {sel}, "start": {strconv.FormatInt(from, 10)}, "end": {strconv.FormatInt(to, 10)},
	}, &a)
	return a.Bytes, err
}

// Everything returns a query for all lines that a Loki has in a range, which
// knows no query for that: one label that all streams have.
func (c *Client) Everything(ctx context.Context, from, to int64) (string, error) {
	names, err := c.Names(ctx, from, to)
	if err != nil {
		return "", err
	}
	if i := slices.Index(names, "service_name"); i > 0 {
		names[0], names[i] = names[i], names[0]
	}
	all := make(map[string]bool)
	has := make(map[string]int)
	for _, name := range names {
		var a struct {
			Data []map[string]string `json:"data"`
		}
		form := c.span(from, to)
		form.Set("match[]", "{"+name+`=~".+"}`)
		if err := c.Get(ctx, "/loki/api/v1/series", form, &a); err != nil {
			return "", err
		}
		for _, labels := range a.Data {
			all[show.LabelText(labels)] = true
		}
		has[name] = len(a.Data)
	}
	for _, name := range names {
		if has[name] == len(all) && len(all) > 0 {
			return "{" + name + `=~".+"}`, nil
		}
	}
	return "", nil
}
