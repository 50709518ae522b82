package deliver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// ErrReplaying says that another process replays these dead letters.
var ErrReplaying = errors.New("another replay of these dead letters is running")

const replayLock = "replay.lock"

// List calls fn with every dead letter, oldest first, until it returns an
// error. The letter's memory is not used again. List may run beside writers and
// a replay: it sees what is durable when it comes to it.
func (d *DeadLetters) List(ctx context.Context, fn func(*Letter) error) (Damage, error) {
	var sum Damage
	if d.dir == nil {
		return sum, nil
	}
	all, err := d.dir.List()
	if err != nil {
		return sum, fmt.Errorf("list dead letters of output %s: %w", d.c.Output, err)
	}
	for _, s := range all {
		if s.suffix == tempSuffix {
			continue
		}
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		data, err := d.dir.Read(s.name)
		if errors.Is(err, fs.ErrNotExist) {
			// Closed or removed since it was listed.
			if data, err = d.dir.Read(strings.TrimSuffix(s.name, openSuffix) + closedSuffix); errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		if err != nil {
			return sum, fmt.Errorf("read dead letters %s: %w", s.name, err)
		}
		damage, err := readSegment(s, data, func(l *Letter, _ []byte) error { return fn(l) })
		sum.add(damage)
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// readSegment calls fn with every letter that can be read and its payload. A
// letter of an unknown version is nil.
func readSegment(s segmentInfo, data []byte, fn func(l *Letter, payload []byte) error) (Damage, error) {
	unknown := 0
	_, damage, err := scanSegment(data, func(off int, payload []byte) error {
		l, err := parseLetter(payload)
		if err != nil {
			unknown++
			return fn(nil, payload)
		}
		l.Segment, l.Offset = s.name, int64(off)
		return fn(&l, payload)
	})
	damage.Unknown = unknown
	if s.suffix == closedSuffix && damage.Torn > 0 {
		// A closed segment has no torn end: this was written and is damaged.
		damage.Places++
		damage.Bytes += damage.Torn
		damage.Torn = 0
	}
	return damage, err
}

// ReplayReport says what a replay did.
type ReplayReport struct {
	Selected  int // letters the filter chose
	Delivered int // of them delivered, and removed
	Refused   int // of them refused again, and kept
	Open      int // of them not decided when the replay ended, and kept
	Damage    Damage
}

// Replay delivers the letters that keep chooses (nil: all) with c and removes
// those that were delivered; all others stay. c.Queue and c.DeadLetters are not
// used; c.Retry.For bounds how long an unreachable destination is tried, after
// which Replay ends with an error. Letters that are buried while it runs are
// not seen.
//
// The letters go segment by segment: a segment is removed or rewritten after
// its letters were delivered. When the process ends in between, those of one
// segment are delivered again, with the same ids.
func (d *DeadLetters) Replay(ctx context.Context, c Config, keep func(*Letter) bool) (ReplayReport, error) {
	var report ReplayReport
	if d.c.ReadOnly {
		return report, errors.New("dead letters are open for reading only")
	}
	lock, err := d.dir.OpenLock(replayLock)
	if err != nil {
		return report, fmt.Errorf("replay dead letters of output %s: %w", d.c.Output, err)
	}
	defer lock.Close()
	if ok, err := lock.TryLock(); err != nil || !ok {
		return report, errors.Join(ErrReplaying, err)
	}
	all, err := d.dir.List()
	if err != nil {
		return report, fmt.Errorf("list dead letters of output %s: %w", d.c.Output, err)
	}
	for _, s := range all {
		if s.suffix == tempSuffix {
			if err := d.dir.Remove(s.name); err != nil {
				return report, fmt.Errorf("remove what an interrupted replay left: %w", err)
			}
			continue
		}
		if s.suffix == openSuffix {
			if err := d.seal(s.name, true); err != nil {
				return report, err
			}
			s.name, s.suffix = segmentName(s.seq, closedSuffix), closedSuffix
		}
		data, err := d.dir.Read(s.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was empty
		}
		if err != nil {
			return report, fmt.Errorf("read dead letters %s: %w", s.name, err)
		}
		r := replay{segment: s, config: c}
		if err := r.run(ctx, data, keep); err != nil {
			return report, err
		}
		report.Selected += len(r.letters)
		report.Damage.add(r.damage)
		if err := d.keepRest(&r); err != nil {
			return report, err
		}
		delivered, refused, open := r.counts()
		report.Delivered += delivered
		report.Refused += refused
		report.Open += open
		if err := ctx.Err(); err != nil {
			return report, err
		}
		if open > 0 {
			return report, fmt.Errorf("replay dead letters of output %s: the destination cannot be reached, %d letters of %s are kept: %s", d.c.Output, open, s.name, r.lastError)
		}
	}
	return report, nil
}

// replay is the replay of one segment.
type replay struct {
	segment segmentInfo
	config  Config
	damage  Damage

	payloads [][]byte // of all frames
	letters  []int    // indexes of payloads that were chosen

	mu        sync.Mutex
	where     map[*record.Batch][]int // index of payload by record
	status    map[int]ack.Status      // by index of payload
	lastError string
}

// replayBatch bounds the batches that are made of letters, in bytes.
const replayBatch = 1 << 20

func (r *replay) run(ctx context.Context, data []byte, keep func(*Letter) bool) error {
	r.where, r.status = make(map[*record.Batch][]int), make(map[int]ack.Status)
	var parts []record.Part
	var b *record.Batch
	var scan json.Scanner
	streams := make(map[uint64]*record.Stream)
	fields := 0 // of b, at least as many as there are keys in its table
	flush := func() {
		fields = 0
		if b != nil {
			b.Freeze()
			parts = append(parts, record.NewPart(b, b.Live()))
			b.Release()
			b = nil
		}
	}
	var err error
	r.damage, err = readSegment(r.segment, data, func(l *Letter, payload []byte) error {
		r.payloads = append(r.payloads, payload)
		if l == nil || keep != nil && !keep(l) {
			return nil
		}
		n := len(r.payloads) - 1
		r.letters = append(r.letters, n)
		if fields += len(l.Fields); fields > record.MaxKeys {
			flush()
			fields = len(l.Fields)
		}
		if b == nil {
			b = record.NewBatch(nil)
		}
		s := record.NewStream(l.Attrs, l.Labels, l.Annotations)
		if known, ok := streams[s.Hash()]; ok {
			s = known
		} else {
			streams[s.Hash()] = s
		}
		l.addTo(b, b.AddStream(record.StreamRef{Stream: s, Generation: l.Generation}), &scan)
		r.where[b] = append(r.where[b], n)
		if b.Len() >= replayBatch || len(b.Streams()) >= 1<<15 {
			flush()
		}
		return nil
	})
	flush()
	if err != nil || len(parts) == 0 {
		return err
	}
	c := r.config
	c.Queue = &partList{parts: parts, since: time.Now()}
	c.DeadLetters = stays{}
	c.onSettle = func(b *record.Batch, idx []uint32, s ack.Status) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, i := range idx {
			r.status[r.where[b][i]] = s
		}
	}
	d, err := New(c)
	if err != nil {
		return err
	}
	err = d.Run(ctx)
	r.lastError = d.Stats().LastError
	if err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// counts returns how many of the chosen letters were delivered, refused for
// good, and neither.
func (r *replay) counts() (delivered, refused, open int) {
	for _, n := range r.letters {
		switch r.status[n] {
		case ack.Delivered:
			delivered++
		case ack.DeadRejected, ack.DeadTooLarge:
			refused++
		default:
			open++
		}
	}
	return delivered, refused, open
}

// keepRest removes what was delivered from a segment.
func (d *DeadLetters) keepRest(r *replay) error {
	delivered, _, _ := r.counts()
	if delivered == 0 {
		return nil
	}
	bad := func(err error) error {
		return fmt.Errorf("%d letters of %s were delivered and could not be removed, the next replay delivers them again: %w", delivered, r.segment.name, err)
	}
	if r.damage.Places > 0 {
		d.c.Logger.Warn("damaged dead letters are given up", "output", d.c.Output, "segment", r.segment.name, "places", r.damage.Places, "bytes", r.damage.Bytes)
	}
	if delivered == len(r.payloads) {
		if err := d.dir.Remove(r.segment.name); err != nil {
			return bad(err)
		}
		if err := d.dir.Sync(); err != nil {
			return bad(err)
		}
		return nil
	}
	s := newSalt()
	buf := appendHeader(nil, s)
	for n, payload := range r.payloads {
		if r.status[n] != ack.Delivered {
			buf = appendFrame(buf, s, payload)
		}
	}
	temp := segmentName(r.segment.seq, tempSuffix)
	if err := d.replace(temp, r.segment.name, buf); err != nil {
		return bad(err)
	}
	return nil
}

// replace puts data durably in name's place.
func (d *DeadLetters) replace(temp, name string, data []byte) error {
	f, err := d.dir.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = d.dir.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, d.dir.Remove(temp))
	}
	return d.dir.Sync()
}

// stays is the Burier of a replay: what is refused stays where it is.
type stays struct{}

func (stays) Bury(context.Context, []Dead) error { return nil }

// partList is a closed Queue of given Parts.
type partList struct {
	mu    sync.Mutex
	parts []record.Part
	since time.Time
}

func (q *partList) TryNext() (record.Part, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.parts) == 0 {
		return record.Part{}, false
	}
	p := q.parts[0]
	q.parts = q.parts[1:]
	return p, true
}

func (q *partList) Ready() <-chan struct{} { return nil }
func (q *partList) Close()                 {}

func (q *partList) Drained() bool {
	parts, _, _ := q.Len()
	return parts == 0
}

func (q *partList) Len() (parts, records, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range q.parts {
		records += p.Len()
		bytes += p.Size()
	}
	return len(q.parts), records, bytes
}

func (q *partList) OldestSince() (time.Time, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.since, len(q.parts) > 0
}
