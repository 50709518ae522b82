package buffer

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// plain is everything that a record says.
type plain struct {
	Time, Observed, Start, End int64
	Body, Source               string
	Known                      uint64
	Flags                      record.Flags
	Severity                   record.Severity
	Fields                     []string
	Attrs, Labels, Annotations []record.Attr
	Hash                       uint64
	Generation, Sender, ID     record.ID
}

func plainOf(b *record.Batch, i int) plain {
	r := b.Record(i)
	ref := b.Streams()[r.Stream]
	p := plain{
		r.Time, r.Observed, r.Start, r.End, string(b.Bytes(r.Body)), string(b.Bytes(r.Source)), r.KnownKeys, r.Flags, r.Severity, nil,
		slices.Clone(ref.Stream.Attrs()), slices.Clone(ref.Stream.Labels()), slices.Clone(ref.Stream.Annotations()), ref.Stream.Hash(),
		ref.Generation, record.ID{}, wire.RecordID(b, i),
	}
	p.Sender, _ = b.SenderID(i)
	for _, f := range b.Fields(i) {
		p.Fields = append(p.Fields, fmt.Sprintf("%s %d %s", b.KeyName(f.Key), f.Kind, b.Bytes(f.Val)))
	}
	return p
}

// drawBatch makes a batch of the kind that inputs, decoders and steps make: bodies
// within sources, apart from them, sharing bytes, with values inside and outside.
func drawBatch(t *rapid.T, token *ack.Token) *record.Batch {
	b := record.NewBatch(nil)
	word := rapid.StringMatching(`[a-z"\\\n\xff ]{0,12}`)
	attrs := func(label string) []record.Attr {
		var out []record.Attr
		for i := range rapid.IntRange(0, 3).Draw(t, label) {
			out = append(out, record.Attr{Name: "k" + strconv.Itoa(i), Value: word.Draw(t, label+"value")})
		}
		return out
	}
	streams := rapid.IntRange(1, 4).Draw(t, "streams")
	for range streams {
		gen := record.ID{Hi: rapid.Uint64().Draw(t, "hi"), Lo: rapid.Uint64Range(0, 1).Draw(t, "lo")}
		b.AddStream(record.StreamRef{Stream: record.NewStream(attrs("attrs"), attrs("labels"), attrs("annotations")), Generation: gen, Token: token})
	}
	shared := b.AppendString(word.Draw(t, "shared"))
	for i := range rapid.IntRange(1, 12).Draw(t, "records") {
		if rapid.Bool().Draw(t, "waste") {
			b.AppendString(rapid.StringN(0, 200, 200).Draw(t, "prefix"))
		}
		source := b.AppendString(rapid.StringN(0, 60, 80).Draw(t, "source"))
		body := source
		switch rapid.IntRange(0, 3).Draw(t, "body") {
		case 0:
			body = b.AppendString(rapid.StringN(0, 60, 80).Draw(t, "apart"))
		case 1:
			off := rapid.Uint32Range(0, source.Len).Draw(t, "off")
			body = record.Span{Off: source.Off + off, Len: rapid.Uint32Range(0, source.Len-off).Draw(t, "len")}
		case 2:
			body = record.Span{}
		}
		r := b.Add(record.Record{
			Time: rapid.Int64().Draw(t, "time"), Observed: rapid.Int64().Draw(t, "observed"), Start: int64(i) * 1000, End: int64(i)*1000 + 999,
			Body: body, Source: source, KnownKeys: rapid.Uint64().Draw(t, "known"), Stream: uint16(rapid.IntRange(0, len(b.Streams())-1).Draw(t, "stream")),
			Flags: record.Flags(rapid.Uint16().Draw(t, "flags")) &^ record.HasID, Severity: record.Severity(rapid.Byte().Draw(t, "severity")),
		})
		for range rapid.IntRange(0, 3).Draw(t, "fields") {
			v := shared
			switch rapid.IntRange(0, 2).Draw(t, "where") {
			case 0:
				v = b.AppendString(word.Draw(t, "value"))
			case 1:
				off := rapid.Uint32Range(0, body.Len).Draw(t, "off")
				v = record.Span{Off: body.Off + off, Len: rapid.Uint32Range(0, body.Len-off).Draw(t, "len")}
			}
			b.SetField(r, rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key"), record.Kind(rapid.IntRange(0, int(record.JSON)).Draw(t, "kind")), v)
		}
		if rapid.Bool().Draw(t, "id") {
			b.SetID(r, record.ID{Hi: rapid.Uint64().Draw(t, "id.hi"), Lo: 7})
		}
	}
	b.Freeze()
	return b
}

// A record comes out as it went in, whichever of a batch are written.
func TestFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBatch(t, new(ack.Token))
		var idx []uint32
		for _, i := range b.Live() {
			if rapid.IntRange(0, 3).Draw(t, "take") > 0 {
				idx = append(idx, i)
			}
		}
		if len(idx) == 0 {
			t.Skip("nothing")
		}
		e := encoder{salt: 5, packFrom: rapid.IntRange(0, 1).Draw(t, "pack")}
		junk := []byte("before")
		at := place{first: 9, parts: 3, sizes: 70, wall: 1, clock: 2}
		p := e.frame(junk, b, idx, 77, at)[len(junk):]
		fr, ok := parseFrame(p, 5)
		if !ok || fr.first != 9 || fr.records != len(idx) || fr.length() != int64(len(p)) || !fr.intact(p[frameHead:]) {
			t.Fatalf("frame %+v %v", fr, ok)
		}
		out := record.NewBatch(nil)
		payload := p[frameHead:]
		if fr.packed {
			if payload, ok = unpack(payload, out); !ok {
				t.Fatal("cannot be unpacked")
			}
		} else {
			out.Append(payload)
		}
		if in, ok := parseInfo(payload); !ok || in.parts != 3 || in.sizes != 70 || in.size != 77 || in.wall != 1 || in.clock != 2 {
			t.Fatalf("info %+v", in)
		}
		if err := new(decoder).decode(out, 0, fr.records, nil); err != nil {
			t.Fatal(err)
		}
		out.Freeze()
		if len(out.Live()) != len(idx) {
			t.Fatalf("%d records came out", len(out.Live()))
		}
		for k, i := range idx {
			if d := gocmp.Diff(plainOf(b, int(i)), plainOf(out, k)); d != "" {
				t.Fatal(d)
			}
		}
	})
}

// Of a large batch of which few records are written, only those take room.
func TestFrameIsCompact(t *testing.T) {
	b := record.NewBatch(nil)
	st := b.AddStream(record.StreamRef{Stream: worldStream})
	for range 1000 {
		sp := b.Append(bytes.Repeat([]byte("x"), 500))
		b.Add(record.Record{Body: sp, Source: sp, Stream: st})
	}
	b.Freeze()
	if n := len(new(encoder).frame(nil, b, []uint32{3, 700}, 0, place{})); n > 1400 {
		t.Errorf("two records of 500 bytes take %d", n)
	}
	if n := len(new(encoder).frame(nil, b, b.Live(), 0, place{})); n > 1000*(500+rowSize)+500 {
		t.Errorf("1000 records of 500 bytes take %d", n)
	}
}

// The reference for places: two streams of one file, lines in turn, some of them
// joined of several, so that others stand in between; read, and read again from
// anywhere. A line that the log never got is always new.
func TestSourcesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type line struct {
			at   span
			text int
		}
		var lines []line // in the order in which an input gives them
		off := int64(0)
		for range rapid.IntRange(1, 40).Draw(t, "lines") {
			n := rapid.IntRange(1, 300).Draw(t, "text")
			to := off + int64(n) + 40
			if rapid.IntRange(0, 4).Draw(t, "joined") == 0 {
				// First part, a line of the other stream, second part.
				inner := line{span{to, to + 100}, 60}
				lines = append(lines, inner, line{span{off, to + 100 + 200}, n + 150})
				off = to + 300
				continue
			}
			lines = append(lines, line{span{off, to}, n})
			off = to
		}
		var s sources
		var have []bool
		for range lines {
			have = append(have, false)
		}
		for range rapid.IntRange(1, 5).Draw(t, "readings") {
			from := rapid.IntRange(0, len(lines)-1).Draw(t, "from")
			to := rapid.IntRange(from, len(lines)-1).Draw(t, "to")
			for i := from; i <= to; i++ {
				if rapid.IntRange(0, 6).Draw(t, "elsewhere") == 0 {
					continue // another route
				}
				b := record.NewBatch(nil)
				sp := b.Append(bytes.Repeat([]byte("x"), lines[i].text))
				st := b.AddStream(record.StreamRef{Stream: worldStream, Generation: record.ID{Lo: 1}})
				b.Add(record.Record{Start: lines[i].at.from, End: lines[i].at.to, Body: sp, Source: sp, Stream: st})
				s.batch()
				switch isNew := s.take(b, 0, int64(1+i)); {
				case !isNew && !have[i]:
					t.Fatalf("line %d at %v was never taken", i, lines[i].at)
				case isNew && have[i]:
					t.Fatalf("line %d at %v is new again", i, lines[i].at)
				}
				have[i] = true
			}
			s.settled()
			var again sources
			if !again.parse(s.append(nil, 100)) {
				t.Fatal("snapshot cannot be read")
			}
			s = again
		}
	})
}

func FuzzSegment(f *testing.F) {
	f.Fuzz(func(t *testing.T, segment, cursor []byte) {
		synctest.Test(t, func(t *testing.T) {
			fs := fsOf(map[string][]byte{segmentName(0): segment, cursorName: cursor})
			d, err := OpenDisk(DiskConfig{FS: fs, MaxBytes: 1 << 30, Memory: 1 << 16})
			if err != nil {
				return
			}
			for {
				synctest.Wait()
				p, ok := d.TryNext()
				if !ok {
					break
				}
				for _, i := range p.Index() {
					plainOf(p.Batch(), int(i))
				}
				p.Settle(0, ack.Delivered)
			}
			if err := d.Shut(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s := d.Stats(); s.Waiting != 0 {
				t.Fatalf("%+v", s)
			}
		})
	})
}

func FuzzDecode(f *testing.F) {
	w := newWorld(f, 1)
	w.lines = 4
	p := w.part(0, 4, new(ack.Token))
	f.Add(new(encoder).frame(nil, p.Batch(), p.Index(), 9, place{})[frameHead:], 4)
	f.Fuzz(func(t *testing.T, payload []byte, records int) {
		if records < 0 || records > len(payload) {
			return
		}
		b := record.NewBatch(nil)
		b.Append(payload)
		if new(decoder).decode(b, 0, records, nil) != nil {
			return
		}
		b.Freeze()
		for i := range b.Records() {
			plainOf(b, i)
		}
		if b.Size() > 1<<20+200*len(payload) {
			t.Fatalf("%d bytes became %d", len(payload), b.Size())
		}
	})
}

// TestWriteCorpus writes the seeds of FuzzSegment as files if asked to.
func TestWriteCorpus(t *testing.T) {
	if os.Getenv("WEIR_WRITE_CORPUS") == "" {
		t.Skip("WEIR_WRITE_CORPUS is not set")
	}
	synctest.Test(t, func(t *testing.T) {
		files, _ := filled(t, 1500, 4, 2)
		name := segmentsOf(files)[0]
		good := files[name]
		flip := func(at int, to ...byte) []byte {
			p := slices.Clone(good)
			copy(p[at:], to)
			return p
		}
		first := headerSize
		dir := "testdata/fuzz/FuzzSegment"
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for what, p := range map[string][]byte{
			"intact": good, "cut": good[:len(good)-7], "empty": {}, "header_only": good[:headerSize],
			"length_of_a_gigabyte": flip(first+4, 0, 0, 0, 0x40), "length_of_all": flip(first+4, 0xff, 0xff, 0xff, 0xff),
			"version": flip(8, 2), "no_header": flip(0, make([]byte, headerSize)...),
			"nothing_but_magic": bytes.Repeat(frameMagic[:], 2000), "twice": append(slices.Clone(good), good...),
		} {
			text := fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n[]byte(%q)\n", p, files[cursorName])
			if err := os.WriteFile(filepath.Join(dir, what), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
}
