package deliver

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// Letter is a dead letter: a record that could not be delivered, with
// everything that is needed to deliver it later.
type Letter struct {
	// Segment and Offset are where it stands.
	Segment string
	Offset  int64

	Time     time.Time // when it became a dead letter
	Output   string
	Status   ack.Status
	Reason   string
	Attempts int

	// ID is the record's id, zero if it has none.
	ID          record.ID
	Generation  record.ID
	Start, End  int64
	RecordTime  int64 // as record.Record.Time
	Observed    int64
	Severity    record.Severity
	Flags       record.Flags
	Attrs       []record.Attr
	Labels      []record.Attr
	Annotations []record.Attr
	// Source is the message as it was read, Body as it was to be delivered.
	Source, Body []byte
	Fields       []LetterField
}

// LetterField is a field of a dead record.
type LetterField struct {
	Name  string
	Kind  record.Kind
	Value []byte
}

// letterOf returns record i of d's batch as a letter. It shares the batch's
// memory.
func letterOf(d *Dead, n int, output string, now time.Time, id func(*record.Batch, int) record.ID) Letter {
	b, i := d.Part.Batch(), int(d.Part.Index()[n])
	r := b.Record(i)
	ref := b.Streams()[r.Stream]
	l := Letter{
		Time: now, Output: output, Status: d.Status, Attempts: d.Attempts,
		Generation: ref.Generation, Start: r.Start, End: r.End, RecordTime: r.Time, Observed: r.Observed,
		Severity: r.Severity, Flags: r.Flags, Source: b.Bytes(r.Source), Body: b.Bytes(r.Body),
	}
	switch {
	case len(d.Reasons) == 1:
		l.Reason = d.Reasons[0]
	case n < len(d.Reasons):
		l.Reason = d.Reasons[n]
	}
	if id != nil {
		l.ID = id(b, i)
	} else if own, ok := b.SenderID(i); ok {
		l.ID = own
	}
	if s := ref.Stream; s != nil {
		l.Attrs, l.Labels, l.Annotations = s.Attrs(), s.Labels(), s.Annotations()
	}
	for _, f := range b.Fields(i) {
		l.Fields = append(l.Fields, LetterField{b.KeyName(f.Key), f.Kind, b.Bytes(f.Val)})
	}
	return l
}

// addTo appends the record to b. scan may be nil if no letter is a JSON object.
func (l *Letter) addTo(b *record.Batch, stream uint16, scan *json.Scanner) int {
	r := record.Record{
		Time: l.RecordTime, Observed: l.Observed, Start: l.Start, End: l.End, Stream: stream,
		Severity: l.Severity, Flags: l.Flags &^ (record.HasID | record.Dropped),
		Body: b.Append(l.Body),
	}
	r.Source = r.Body
	if string(l.Source) != string(l.Body) {
		r.Source = b.Append(l.Source)
	}
	if r.Flags.Has(record.JSONObject) {
		// What the flag promises is checked again, and the set of well-known
		// keys is made anew: their numbers belong to a version of weir.
		if scan != nil && scan.Object(l.Body) {
			r.KnownKeys = scan.Known
		} else {
			r.Flags &^= record.JSONObject
		}
	}
	i := b.Add(r)
	for _, f := range l.Fields {
		if k, ok := b.Key([]byte(f.Name)); ok {
			b.AddField(i, record.Field{Key: k, Kind: f.Kind, Val: b.Append(f.Value)})
		}
	}
	if !l.ID.IsZero() {
		b.SetID(i, l.ID)
	}
	return i
}

const (
	letterVersion = 1
	bodyIsSource  = 1 << 0 // in the payload's first flags: there is no body of its own
)

var (
	errLetter        = errors.New("malformed dead letter")
	errLetterVersion = errors.New("dead letter of an unknown version")
)

// appendLetter appends the payload of a frame; see docs/formats/dead-letters.md.
func appendLetter(dst []byte, l *Letter) []byte {
	same := string(l.Source) == string(l.Body)
	bits := byte(0)
	if same {
		bits |= bodyIsSource
	}
	dst = append(dst, letterVersion, bits)
	dst = binary.AppendVarint(dst, l.Time.UnixNano())
	dst = appendText(dst, l.Output)
	dst = appendText(dst, l.Status.Class())
	dst = appendText(dst, l.Status.Reason())
	dst = appendText(dst, l.Reason)
	dst = binary.AppendUvarint(dst, uint64(max(l.Attempts, 0)))
	for _, id := range [2]record.ID{l.ID, l.Generation} {
		dst = binary.BigEndian.AppendUint64(dst, id.Hi)
		dst = binary.BigEndian.AppendUint64(dst, id.Lo)
	}
	for _, v := range [4]int64{l.Start, l.End, l.RecordTime, l.Observed} {
		dst = binary.AppendVarint(dst, v)
	}
	dst = append(dst, byte(l.Severity))
	dst = binary.AppendUvarint(dst, uint64(l.Flags))
	for _, set := range [3][]record.Attr{l.Attrs, l.Labels, l.Annotations} {
		dst = binary.AppendUvarint(dst, uint64(len(set)))
		for _, a := range set {
			dst = appendText(appendText(dst, a.Name), a.Value)
		}
	}
	dst = appendText(dst, l.Source)
	if !same {
		dst = appendText(dst, l.Body)
	}
	dst = binary.AppendUvarint(dst, uint64(len(l.Fields)))
	for _, f := range l.Fields {
		dst = appendText(dst, f.Name)
		dst = append(dst, byte(f.Kind))
		dst = appendText(dst, f.Value)
	}
	return dst
}

func appendText[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// parseLetter reads what appendLetter wrote. The letter shares p's memory.
func parseLetter(p []byte) (Letter, error) {
	if len(p) < 2 {
		return Letter{}, errLetter
	}
	if p[0] != letterVersion {
		return Letter{}, errLetterVersion
	}
	bits := p[1]
	c := cursor{p: p[2:]}
	var l Letter
	l.Time = time.Unix(0, c.varint())
	l.Output = string(c.text())
	class, reason := string(c.text()), string(c.text())
	l.Reason = string(c.text())
	l.Attempts = int(min(c.uvarint(), 1<<31-1))
	l.ID, l.Generation = c.id(), c.id()
	l.Start, l.End, l.RecordTime, l.Observed = c.varint(), c.varint(), c.varint(), c.varint()
	l.Severity = record.Severity(c.byte())
	l.Flags = record.Flags(c.uvarint())
	for _, set := range [3]*[]record.Attr{&l.Attrs, &l.Labels, &l.Annotations} {
		for range c.count(2) {
			*set = append(*set, record.Attr{Name: string(c.text()), Value: string(c.text())})
		}
	}
	l.Source = c.text()
	l.Body = l.Source
	if bits&bodyIsSource == 0 {
		l.Body = c.text()
	}
	for range c.count(3) {
		l.Fields = append(l.Fields, LetterField{string(c.text()), record.Kind(c.byte()), c.text()})
	}
	status, ok := ack.ParseStatus(class, reason)
	if !ok || c.bad || len(c.p) != 0 {
		return Letter{}, errLetter
	}
	l.Status = status
	return l, nil
}

// cursor reads a payload; bad is set when it ends too soon.
type cursor struct {
	p   []byte
	bad bool
}

func (c *cursor) fail() {
	c.p, c.bad = nil, true
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.p)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.p = c.p[n:]
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.p)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.p = c.p[n:]
	return v
}

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.p)) {
		c.fail()
		return nil
	}
	v := c.p[:n:n]
	c.p = c.p[n:]
	return v
}

func (c *cursor) text() []byte { return c.take(c.uvarint()) }

func (c *cursor) byte() byte {
	if v := c.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (c *cursor) id() (id record.ID) {
	if v := c.take(16); v != nil {
		id.Hi, id.Lo = binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])
	}
	return id
}

// count returns a number of things that need at least size bytes each.
func (c *cursor) count(size int) int {
	n := c.uvarint()
	if n > uint64(len(c.p)/size) {
		c.fail()
		return 0
	}
	return int(n)
}
