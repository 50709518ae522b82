package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

func openDLQ(t fataler, c DLQConfig) *DeadLetters {
	t.Helper()
	if c.Output == "" {
		c.Output = "es/main"
	}
	c.ID = wire.RecordID
	d, err := OpenDeadLetters(c)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return d
}

func bury(d *DeadLetters, p record.Part, reasons ...string) error {
	return d.Bury(context.Background(), []Dead{{Part: p, Status: ack.DeadRejected, Reasons: append(reasons, "mapping conflict")[:1], Attempts: 3}})
}

// list returns the numbers of all letters.
func list(t fataler, d *DeadLetters) (all []int, damage Damage) {
	t.Helper()
	damage, err := d.List(context.Background(), func(l *Letter) error {
		var n int
		if _, err := fmt.Sscanf(string(l.Source), "%d", &n); err != nil {
			return fmt.Errorf("letter with body %q: %w", l.Body, err)
		}
		all = append(all, n)
		return nil
	})
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return all, damage
}

func TestDeadLetterKeepsEverything(t *testing.T) {
	d := openDLQ(t, DLQConfig{Dir: t.TempDir()})
	b := record.NewBatch(nil)
	st := b.AddStream(record.StreamRef{Stream: streams[0], Generation: record.ID{Hi: 7, Lo: 8}})
	src := b.AppendString(`{"msg":"raw","a":1}`)
	body := b.AppendString(`{"msg":"redacted","a":1}`)
	i := b.Add(record.Record{Time: 5, Observed: 6, Start: 100, End: 200, Source: src, Body: body, Stream: st, Severity: record.Error,
		Flags: record.JSONObject | record.TimeParsed, KnownKeys: 1})
	b.SetField(i, "team", record.String, b.AppendString("pay"))
	b.SetField(i, "n", record.Int, b.AppendString("12"))
	own := record.ID{Hi: 9, Lo: 10}
	j := b.Add(record.Record{Time: -1, Observed: 2, Source: src, Body: src, Stream: st, Flags: record.Partial})
	b.SetID(j, own)
	b.Freeze()
	p := record.NewPart(b, b.Live())
	if err := d.Bury(t.Context(), []Dead{{Part: p, Status: ack.DeadTooLarge, Reasons: []string{"r0", "r1"}, Attempts: 4}}); err != nil {
		t.Fatal(err)
	}
	var got []Letter
	if _, err := d.List(t.Context(), func(l *Letter) error { got = append(got, *l); return nil }); err != nil {
		t.Fatal(err)
	}
	common := Letter{Segment: segmentName(1, openSuffix), Output: "es/main", Status: ack.DeadTooLarge, Attempts: 4, Generation: record.ID{Hi: 7, Lo: 8},
		Attrs: streams[0].Attrs(), Labels: streams[0].Labels(), Annotations: streams[0].Annotations(), Source: b.Bytes(src)}
	want := []Letter{common, common}
	want[0].Reason, want[0].ID, want[0].Start, want[0].End, want[0].RecordTime, want[0].Observed = "r0", wire.RecordID(b, i), 100, 200, 5, 6
	want[0].Severity, want[0].Flags, want[0].Body = record.Error, record.JSONObject|record.TimeParsed, b.Bytes(body)
	want[0].Fields = []LetterField{{"team", record.String, []byte("pay")}, {"n", record.Int, []byte("12")}}
	want[1].Reason, want[1].ID, want[1].RecordTime, want[1].Observed, want[1].Flags, want[1].Body = "r1", own, -1, 2, record.Partial|record.HasID, b.Bytes(src)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Letter{}, "Time", "Offset"), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if since := time.Since(got[0].Time); since < 0 || since > time.Hour {
		t.Errorf("time %v", got[0].Time)
	}

	// And a replay delivers exactly that.
	var seen []string
	out := outputFunc(func(_ context.Context, _ int, parts []record.Part) (ack.Result, error) {
		for _, p := range parts {
			for _, i := range p.Index() {
				pb, r := p.Batch(), p.Batch().Record(int(i))
				ref := pb.Streams()[r.Stream]
				line := fmt.Sprintf("%s|%s|%s|%d %d %d %d|%v|%s|%v", wire.RecordID(pb, int(i)), pb.Body(int(i)), pb.Bytes(r.Source), r.Time, r.Observed, r.Start, r.End, ref.Generation, r.Severity.Level(), ref.Stream.Hash() == streams[0].Hash())
				for _, f := range pb.Fields(int(i)) {
					line += fmt.Sprintf("|%s %d %s", pb.KeyName(f.Key), f.Kind, pb.Bytes(f.Val))
				}
				if r.Flags.Has(record.JSONObject) {
					line += fmt.Sprintf("|json %v", r.KnownKeys != 1)
				}
				seen = append(seen, line)
			}
		}
		return ack.Result{}, nil
	})
	gen := record.ID{Hi: 7, Lo: 8}
	rep, err := d.Replay(t.Context(), Config{Name: "es/main", Endpoints: one(out)}, nil)
	if err != nil || rep.Delivered != 2 || rep.Selected != 2 {
		t.Fatalf("%+v %v", rep, err)
	}
	lines := []string{
		fmt.Sprintf(`%s|{"msg":"redacted","a":1}|{"msg":"raw","a":1}|5 6 100 200|%v|error|true|team 0 pay|n 1 12|json true`, wire.RecordID(b, i), gen),
		fmt.Sprintf(`%s|{"msg":"raw","a":1}|{"msg":"raw","a":1}|-1 2 0 0|%v|unknown|true`, own, gen),
	}
	if diff := cmp.Diff(lines, seen); diff != "" {
		t.Error(diff)
	}
	if left, _ := list(t, d); len(left) != 0 {
		t.Errorf("%v left", left)
	}
	if bytes, _, err := d.Usage(); bytes != 0 || err != nil {
		t.Errorf("%d bytes left, %v", bytes, err)
	}
}

func TestDeadLettersFullWaitsOrDrops(t *testing.T) {
	for _, when := range []WhenFull{Wait, Drop} {
		path := t.TempDir()
		d := openDLQ(t, DLQConfig{Dir: path, Max: 10000, SegmentBytes: 2000, WhenFull: when})
		src := &source{t: t}
		n := 0
		var err error
		for err == nil && n < 100 {
			err = bury(d, src.part(1, 500))
			n++
		}
		if errors.Is(err, ErrDropped) != (when == Drop) || n < 10 || n > 20 {
			t.Fatalf("%v: full after %d: %v", when, n, err)
		}
		if bytes, limit, _ := d.Usage(); bytes > limit {
			t.Errorf("%d bytes, limit %d", bytes, limit)
		}
		// Another process makes room.
		other := openDLQ(t, DLQConfig{Dir: path})
		if rep, err := other.Replay(t.Context(), Config{Name: "x", Endpoints: one(&sink{})}, nil); err != nil || rep.Delivered != n-1 {
			t.Fatalf("%+v %v", rep, err)
		}
		if err := bury(d, src.part(1, 500)); err != nil {
			t.Errorf("after a replay: %v", err)
		}
		if all, _ := list(t, d); !slices.Equal(all, []int{n}) {
			t.Errorf("%v", all)
		}
		for _, d := range []*DeadLetters{d, other} {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A writer and a replay of another process use the directory at the same time;
// nothing is lost and nothing is delivered twice.
func TestReplayBesideWriter(t *testing.T) {
	path := t.TempDir()
	writer := openDLQ(t, DLQConfig{Dir: path, SegmentBytes: 3000})
	defer writer.Close()
	reader := openDLQ(t, DLQConfig{Dir: path})
	defer reader.Close()
	const total = 300
	s := &sink{}
	var wg sync.WaitGroup
	wg.Go(func() {
		src := &source{t: t}
		for range total {
			if err := bury(writer, src.part(1, 100)); err != nil {
				t.Errorf("bury: %v", err)
				return
			}
		}
	})
	replayed := 0
	for replayed < total && !t.Failed() {
		rep, err := reader.Replay(t.Context(), Config{Name: "x", Endpoints: one(s), Batch: Batch{Wait: -1}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if rep.Damage != (Damage{}) {
			t.Fatalf("%+v", rep.Damage)
		}
		replayed += rep.Delivered
	}
	wg.Wait()
	for n, c := range s.got {
		if c != 1 {
			t.Errorf("record %d delivered %d times", n, c)
		}
	}
	if left, _ := list(t, reader); len(left) != 0 || len(s.got) != total {
		t.Errorf("delivered %d, left %v", len(s.got), left)
	}
}

func TestReplayKeepsWhatIsRefused(t *testing.T) {
	d := openDLQ(t, DLQConfig{Dir: t.TempDir(), SegmentBytes: 2000})
	defer d.Close()
	src := &source{t: t}
	for range 30 {
		if err := bury(d, src.part(1, 100)); err != nil {
			t.Fatal(err)
		}
	}
	s := &sink{f: func(_ context.Context, _ int, parts []record.Part) (ack.Result, error) {
		return failures(parts, func(n int) (bool, bool) { return n%3 == 0, true }), nil
	}}
	rep, err := d.Replay(t.Context(), Config{Name: "x", Endpoints: one(s), Batch: Batch{Wait: -1}}, func(l *Letter) bool { return !bytes.HasPrefix(l.Source, []byte("1")) })
	if err != nil || rep.Selected != 19 || rep.Delivered != 12 || rep.Refused != 7 {
		t.Errorf("%+v %v", rep, err)
	}
	var want []int
	for n := range 30 {
		if n%3 == 0 || n == 1 || n/10 == 1 {
			want = append(want, n)
		}
	}
	if left, _ := list(t, d); !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}
	// Only one replay at a time.
	lock, err := d.dir.OpenLock(replayLock)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := lock.TryLock(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, err := d.Replay(t.Context(), Config{Name: "x", Endpoints: one(s)}, nil); !errors.Is(err, ErrReplaying) {
		t.Errorf("second replay: %v", err)
	}
	lock.Close()
	// An unreachable destination keeps everything.
	down := &sink{f: func(context.Context, int, []record.Part) (ack.Result, error) { return ack.Result{}, errDown }}
	_, err = d.Replay(t.Context(), Config{Name: "x", Endpoints: one(down), Batch: Batch{Wait: -1}, Retry: Retry{For: time.Millisecond, MinDelay: time.Millisecond}}, nil)
	if err == nil || !strings.Contains(err.Error(), errDown.Error()) {
		t.Errorf("unreachable: %v", err)
	}
	if left, _ := list(t, d); !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}
}

// Every byte of a segment, damaged, costs at most the letter it stands in.
func TestDamageCostsOneLetter(t *testing.T) {
	path := t.TempDir()
	d := openDLQ(t, DLQConfig{Dir: path})
	src := &source{t: t}
	for range 5 {
		if err := bury(d, src.part(1, 20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(path, escapeName("es/main"), segmentName(1, closedSuffix))
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := range data {
		for _, flip := range []byte{1, 0x80, 0xff} {
			bad := bytes.Clone(data)
			bad[at] ^= flip
			var got []int
			damage, err := readSegment(segmentInfo{suffix: closedSuffix}, bad, func(l *Letter, _ []byte) error {
				if l == nil {
					return errors.New("unreadable letter in an intact frame")
				}
				got = append(got, int(l.Source[0]-'0'))
				return nil
			})
			if err != nil {
				t.Fatalf("byte %d: %v", at, err)
			}
			lost := 5 - len(got)
			if at < headerLen && lost != 0 || at >= headerLen && (lost != 1 || damage.Places != 1) || !slices.IsSorted(got) {
				t.Fatalf("byte %d ^ %x: letters %v, %+v", at, flip, got, damage)
			}
		}
	}
	// Cut anywhere, an open segment gives all letters before the cut.
	for n := range data {
		letters := 0
		damage, err := readSegment(segmentInfo{suffix: openSuffix}, data[:n], func(*Letter, []byte) error { letters++; return nil })
		if err != nil || damage.Any() || letters > 5 || n == len(data)-1 && letters != 4 {
			t.Fatalf("cut at %d: %d letters, %+v, %v", n, letters, damage, err)
		}
	}
	// Bytes of a message cannot pass for a frame: it would need the salt.
	if s, _ := parseHeader(data); bytes.Contains(data[headerLen+frameHead+1:], s[:]) {
		t.Error("the salt stands in a frame")
	}
}

// The reader looks past bytes that begin like a frame and are none.
func TestResyncLooksFurther(t *testing.T) {
	s := salt{1, 2, 3, 4, 5, 6, 7, 8}
	data := appendFrame(appendHeader(nil, s), s, []byte("first, to be damaged \x01\x02\x03\x04 and more"))
	data[headerLen+frameHead] ^= 1
	n := len(data)
	data = appendFrame(data, s, []byte("second"))
	var got []string
	_, damage, _ := scanSegment(data, func(_ int, p []byte) error { got = append(got, string(p)); return nil })
	if !slices.Equal(got, []string{"second"}) || damage.Places != 1 || damage.Bytes != int64(n-headerLen) {
		t.Errorf("%q %+v", got, damage)
	}
}

// Names of outputs cannot leave the directory or meet each other.
func TestFailure110_OutputNamesAsPaths(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"es/main", "es%2fmain", "..", "../../etc", ".", "a.b", "a_b", "a b", "\x00", "ä", "%", "ES/main", strings.Repeat("x", 200)} {
		dir := escapeName(name)
		if strings.ContainsAny(dir, "/\\.\x00 ") || dir == "" {
			t.Errorf("%q becomes %q", name, dir)
		}
		if other, ok := seen[dir]; ok {
			t.Errorf("%q and %q both become %q", name, other, dir)
		}
		seen[dir] = name
		if back, ok := unescapeName(dir); !ok || back != name {
			t.Errorf("%q becomes %q becomes %q", name, dir, back)
		}
	}
	for _, dir := range []string{"", "a.b", "%2F", "%zz", "%2", "lost+found"} {
		if name, ok := unescapeName(dir); ok {
			t.Errorf("directory %q is taken for output %q", dir, name)
		}
	}
	path := t.TempDir()
	for _, name := range []string{"es/main", "loki"} {
		openDLQ(t, DLQConfig{Dir: path, Output: name}).Close()
	}
	os.Mkdir(filepath.Join(path, "lost+found"), 0o700)
	got, err := DeadLetterOutputs(path)
	if diff := cmp.Diff([]string{"es/main", "loki"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if got, err := DeadLetterOutputs(filepath.Join(path, "none")); len(got) != 0 || err != nil {
		t.Error(got, err)
	}
}

func TestReadOnlyMakesNothing(t *testing.T) {
	path := t.TempDir()
	d, err := OpenDeadLetters(DLQConfig{Dir: path, Output: "x", ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := list(t, d); len(all) != 0 {
		t.Error(all)
	}
	if err := d.Bury(t.Context(), nil); err == nil {
		t.Error("buried")
	}
	if _, err := d.Replay(t.Context(), Config{}, nil); err == nil {
		t.Error("replayed")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(path); len(entries) != 0 {
		t.Error(entries)
	}
}

func FuzzSegment(f *testing.F) {
	src := &source{t: f}
	p := src.part(2, 30)
	s := salt{1, 2, 3, 4, 5, 6, 7, 8}
	data := appendHeader(nil, s)
	dead := Dead{Part: p, Status: ack.DeadExpired, Reasons: []string{"r"}}
	for n := range p.Len() {
		l := letterOf(&dead, n, "out", time.Unix(1, 2), wire.RecordID)
		data = appendFrame(data, s, appendLetter(nil, &l))
	}
	f.Add(data)
	f.Add(data[:len(data)-3])
	f.Add(data[headerCopy:])
	f.Fuzz(func(t *testing.T, data []byte) {
		var total int
		end, damage, err := scanSegment(data, func(off int, payload []byte) error {
			total += frameHead + len(payload)
			l, err := parseLetter(payload)
			if err != nil {
				return nil
			}
			again, err := parseLetter(appendLetter(nil, &l))
			if err != nil {
				t.Fatalf("written again it cannot be read: %v", err)
			}
			if diff := cmp.Diff(l, again); diff != "" {
				t.Fatal(diff)
			}
			return nil
		})
		if err != nil || end > len(data) {
			t.Fatalf("end %d of %d, %v", end, len(data), err)
		}
		if damage.Segments == 0 && len(data) >= headerLen && headerLen+total+int(damage.Bytes)+int(damage.Torn) != len(data) {
			t.Fatalf("%d bytes: %d in frames, %+v", len(data), total, damage)
		}
	})
}

func FuzzLetter(f *testing.F) {
	l := Letter{Time: time.Unix(1, 2), Output: "o", Status: ack.DeadRejected, Reason: "r", Source: []byte("s"), Body: []byte("b"),
		Attrs: []record.Attr{{Name: "a", Value: "b"}}, Fields: []LetterField{{"n", record.Int, []byte("1")}}}
	f.Add(appendLetter(nil, &l))
	f.Add([]byte{letterVersion, bodyIsSource})
	f.Fuzz(func(t *testing.T, p []byte) {
		l, err := parseLetter(p)
		if err != nil {
			return
		}
		b := record.NewBatch(nil)
		l.addTo(b, b.AddStream(record.StreamRef{Stream: record.NewStream(l.Attrs, l.Labels, l.Annotations)}), nil)
	})
}
