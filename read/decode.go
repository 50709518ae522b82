package read

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/show"
	wirejson "github.com/weirlog/weir/wire/json"
)

// maxAnswer bounds an answer in memory, in bytes: weir gives at most 64 MiB of
// lines at a time, six times that if every byte of them is escaped, and Loki less.
const maxAnswer = 512 << 20

// readAnswer reads a body; size is its length if that is known, else negative.
func readAnswer(r io.Reader, size int64) ([]byte, error) {
	if size < 0 || size > maxAnswer {
		size = 16 << 10
	}
	b := make([]byte, 0, size+1) // a byte more shows the end
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		if len(b) > maxAnswer {
			return nil, fmt.Errorf("it has more than %d MiB", maxAnswer>>20)
		}
		if len(b) == cap(b) {
			// Twice as much, but no more than there can be.
			b = slices.Grow(b, min(max(len(b), 1<<20), maxAnswer+1-len(b)))
		}
	}
}

// decodeAnswer reads the envelope; Result becomes a part of body, which must not
// change.
func decodeAnswer(body []byte, a *Answer) error {
	if fastAnswer(body, a) {
		return nil
	}
	*a = Answer{}
	return json.NewDecoder(bytes.NewReader(body)).Decode(a)
}

// fastAnswer reads an envelope as weir and Loki write it. It reports false if it
// is not sure to understand what encoding/json would.
func fastAnswer(body []byte, a *Answer) bool {
	var r wirejson.Reader
	r.Reset(body)
	if !r.Enter('{') {
		return false
	}
	var seen int
	for {
		name, esc, more := r.Name()
		if !more {
			break
		}
		bit, good := 0, !esc
		switch string(of(body, name)) {
		case "status":
			bit = 1
			s, esc, ok := r.String()
			good = good && ok && !esc && wirejson.ValidUTF8(of(body, s))
			a.Status = string(of(body, s))
		case "warnings":
			bit = 2
			s, ok := r.Skip()
			good = good && ok && json.Unmarshal(of(body, s), &a.Warnings) == nil
		case "data":
			bit = 4
			good = good && fastData(&r, body, a)
		default:
			return false
		}
		if !good || seen&bit != 0 {
			return false
		}
		seen |= bit
	}
	return r.End()
}

func fastData(r *wirejson.Reader, body []byte, a *Answer) bool {
	if r.Kind() != '{' || !r.Enter('{') {
		return false
	}
	var seen int
	for {
		name, esc, more := r.Name()
		if !more {
			return r.Err() == nil
		}
		bit, good := 0, !esc
		switch string(of(body, name)) {
		case "resultType":
			bit = 1
			s, esc, ok := r.String()
			good = good && ok && !esc && wirejson.ValidUTF8(of(body, s))
			a.Data.ResultType = string(of(body, s))
		case "result":
			bit = 2
			s, ok := r.Skip()
			good = good && ok
			a.Data.Result = of(body, s)
		case "stats":
			bit = 4
			s, ok := r.Skip()
			good = good && ok && json.Unmarshal(of(body, s), &a.Data.Stats) == nil
		case "encodingFlags":
			bit = 8
			_, ok := r.Skip()
			good = good && ok
		default:
			return false
		}
		if !good || seen&bit != 0 {
			return false
		}
		seen |= bit
	}
}

// decodeStreams reads [{"stream": {…}, "values": [["time", "line", {…}], …]}, …],
// as in answers to queries and in what a tail delivers. raw may be used again
// afterwards. Entries may share maps of metadata.
func (c *Client) decodeStreams(raw []byte) ([]show.Entry, error) {
	return c.decodeOwned(slices.Clone(raw))
}

// decodeOwned is decodeStreams for what will not change any more: lines are
// parts of it where they can.
func (c *Client) decodeOwned(raw []byte) ([]show.Entry, error) {
	d := decoder{c: c, raw: raw}
	if d.streams() {
		return d.out, nil
	}
	return c.decodeSlowly(raw)
}

// decoder reads streams as weir and Loki write them. It gives up where it is not
// sure to understand what encoding/json would: unknown, doubled and missing
// names, null, deep nesting, everything that is wrong.
type decoder struct {
	c   *Client
	raw []byte
	r   wirejson.Reader
	out []show.Entry
	// arena has what strings with escapes mean. Strings point into it, so that it
	// never moves: what is full is left.
	arena []byte
	// metas are the objects of metadata by their text, as most lines have one of
	// few.
	metas        map[string]map[string]string
	hits, misses int
}

func (d *decoder) streams() bool {
	d.r.Reset(d.raw)
	if d.r.Kind() != '[' || !d.r.Enter('[') {
		return false
	}
	for d.r.More() {
		if !d.stream() {
			return false
		}
	}
	return d.r.End()
}

func (d *decoder) stream() bool {
	r := &d.r
	if r.Kind() != '{' || !r.Enter('{') {
		return false
	}
	name, esc, more := r.Name()
	if !more || esc || string(d.of(name)) != "stream" {
		return false
	}
	s, ok := d.labels()
	if !ok {
		return false
	}
	if name, esc, more = r.Name(); !more || esc || string(d.of(name)) != "values" {
		return false
	}
	if r.Kind() != '[' || !r.Enter('[') {
		return false
	}
	for r.More() {
		if !d.entry(s) {
			return false
		}
	}
	_, _, more = r.Name()
	return !more && r.Err() == nil
}

// labels reads the labels of a stream.
func (d *decoder) labels() (*show.Stream, bool) {
	if d.r.Kind() != '{' {
		return nil, false
	}
	m := d.r.Mark()
	text, ok := d.r.Skip()
	if !ok {
		return nil, false
	}
	known := &d.c.streams
	if s := known.byText(view(d.of(text))); s != nil {
		return s, true
	}
	d.r.Return(m)
	labels, ok := d.object(strings.Clone)
	if !ok {
		return nil, false
	}
	s := known.get(labels)
	known.note(string(d.of(text)), s)
	return s, true
}

// object reads an object of strings; keep is asked for each.
func (d *decoder) object(keep func(string) string) (map[string]string, bool) {
	if d.r.Kind() != '{' || !d.r.Enter('{') {
		return nil, false
	}
	out := make(map[string]string)
	for {
		n, esc, more := d.r.Name()
		if !more {
			return out, d.r.Err() == nil
		}
		name := keep(d.text(d.of(n), esc))
		v, esc, ok := d.r.String()
		if !ok {
			return nil, false
		}
		out[name] = keep(d.text(d.of(v), esc))
	}
}

func (d *decoder) entry(s *show.Stream) bool {
	r := &d.r
	if r.Kind() != '[' || !r.Enter('[') || !r.More() {
		return false
	}
	ts, esc, ok := r.String()
	if !ok || esc || !r.More() {
		return false
	}
	e := show.Entry{Stream: s}
	var err error
	if e.Time, err = strconv.ParseInt(view(d.of(ts)), 10, 64); err != nil {
		return false
	}
	line, esc, ok := r.String()
	if !ok {
		return false
	}
	e.Line = d.text(d.of(line), esc)
	if r.More() {
		if !d.more(&e) || r.More() {
			return false
		}
	}
	if r.Err() != nil {
		return false
	}
	d.out = append(d.out, e)
	return true
}

// more reads {"structuredMetadata": {…}, "parsed": {…}}.
func (d *decoder) more(e *show.Entry) bool {
	r := &d.r
	if r.Kind() != '{' || !r.Enter('{') {
		return false
	}
	for {
		name, esc, more := r.Name()
		if !more {
			return r.Err() == nil
		}
		var at *map[string]string
		switch string(d.of(name)) {
		case "structuredMetadata":
			at = &e.Meta
		case "parsed":
			at = &e.Parsed
		}
		if esc || at == nil || *at != nil {
			return false
		}
		var ok bool
		if *at, ok = d.metadata(); !ok {
			return false
		}
	}
}

const maxMetas = 1024

// metadata reads an object of strings, or finds it among those before.
func (d *decoder) metadata() (map[string]string, bool) {
	if d.r.Kind() != '{' {
		return nil, false
	}
	if d.misses > 256 && d.hits < d.misses {
		return d.object(same) // every line has its own
	}
	m := d.r.Mark()
	text, ok := d.r.Skip()
	if !ok {
		return nil, false
	}
	key := view(d.of(text))
	if have := d.metas[key]; have != nil {
		d.hits++
		return have, true
	}
	d.misses++
	d.r.Return(m)
	out, ok := d.object(same)
	if ok && len(d.metas) < maxMetas {
		if d.metas == nil {
			d.metas = make(map[string]map[string]string)
		}
		d.metas[key] = out
	}
	return out, ok
}

func same(s string) string { return s }

func (d *decoder) of(s record.Span) []byte { return of(d.raw, s) }

func of(p []byte, s record.Span) []byte { return p[s.Off:s.End()] }

// text returns what the inside of a string means, as encoding/json has it: every
// byte that is not UTF-8 is U+FFFD.
func (d *decoder) text(p []byte, esc bool) string {
	if esc {
		if cap(d.arena)-len(d.arena) < len(p) {
			d.arena = make([]byte, 0, max(len(p), min(len(d.raw), 256<<10)))
		}
		from := len(d.arena)
		d.arena = wirejson.Unescape(d.arena, p)
		p = d.arena[from:]
	}
	if wirejson.ValidUTF8(p) {
		return view(p)
	}
	out := make([]byte, 0, len(p)+16)
	for len(p) > 0 {
		c, n := utf8.DecodeRune(p)
		out = utf8.AppendRune(out, c)
		p = p[n:]
	}
	return view(out)
}

// view returns bytes that will not change as a string.
func view(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }

// decodeSlowly is decodeStreams in general.
func (c *Client) decodeSlowly(raw []byte) ([]show.Entry, error) {
	var list []struct {
		Labels map[string]string `json:"stream"`
		Values []value           `json:"values"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	var out []show.Entry
	for _, l := range list {
		s := c.streams.get(l.Labels)
		for _, v := range l.Values {
			e := v.Entry
			e.Stream = s
			out = append(out, e)
		}
	}
	return out, nil
}

// value is a line: ["time", "text", {"structuredMetadata": {…}, "parsed": {…}}].
type value struct{ show.Entry }

// UnmarshalJSON implements json.Unmarshaler.
func (e *value) UnmarshalJSON(b []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	if len(parts) < 2 {
		return errors.New("an entry has a time and a line")
	}
	var ts string
	if err := json.Unmarshal(parts[0], &ts); err != nil {
		return err
	}
	var err error
	if e.Time, err = strconv.ParseInt(ts, 10, 64); err != nil {
		return err
	}
	if err := json.Unmarshal(parts[1], &e.Line); err != nil {
		return err
	}
	if len(parts) > 2 {
		var more struct {
			Meta   map[string]string `json:"structuredMetadata"`
			Parsed map[string]string `json:"parsed"`
		}
		if err := json.Unmarshal(parts[2], &more); err != nil {
			return err
		}
		e.Meta, e.Parsed = more.Meta, more.Parsed
	}
	return nil
}
