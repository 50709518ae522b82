package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/weirlog/weir/kube"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/show"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/store"
)

// kubeSink writes what is fetched from a cluster into a store.
type kubeSink struct {
	store    *store.Store
	ctx      context.Context
	cancel   context.CancelCauseFunc
	most     int64 // bytes of lines
	progress *progress
	errOut   io.Writer

	mu       sync.Mutex
	batch    *record.Batch
	streams  map[*show.Stream]*record.Stream
	bytes    int64
	total    int // containers
	done     int
	warnings []string // what is missing, each once
	more     int
	rotated  []string // containers whose logs begin later than asked for
	empty    int64    // containers whose logs hold nothing
}

// kubeBatch is how many bytes of lines go into the store at once.
const kubeBatch = 4 << 20

// maxWarnings is how many are told one by one.
const maxWarnings = 8

// Planned implements kube.Planner.
func (k *kubeSink) Planned(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.total = n
}

// Lines implements kube.Sink.
func (k *kubeSink) Lines(entries []show.Entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bytes > k.most || len(entries) == 0 {
		return
	}
	if k.batch == nil {
		k.batch = record.NewBatch(nil)
	}
	b := k.batch
	ref := b.AddStream(record.StreamRef{Stream: k.stream(entries[0].Stream)})
	for i := range entries {
		e := &entries[i]
		line := b.AppendString(e.Line)
		r := record.Record{Time: e.Time, Observed: e.Time, Body: line, Source: line, Stream: ref}
		if e.Meta["partial"] != "" {
			r.Flags |= record.Partial
		}
		at := b.Add(r)
		for _, name := range slices.Sorted(maps.Keys(e.Meta)) {
			switch name {
			case "partial":
			case "level":
				if sev, ok := stage.ParseLevel([]byte(e.Meta[name])); ok {
					b.Record(at).Severity = sev
				}
			default:
				if key, ok := b.Key([]byte(name)); ok {
					b.AddField(at, record.Field{Key: key, Kind: record.String, Val: b.AppendString(e.Meta[name])})
				}
			}
		}
		k.bytes += int64(len(e.Line))
	}
	if k.bytes > k.most {
		k.cancel(errKubeFull)
	}
	if b.Len() >= kubeBatch || len(b.Streams()) > 60_000 {
		k.put()
	}
	k.show()
}

// stream returns the record's stream of an entry's.
func (k *kubeSink) stream(s *show.Stream) *record.Stream {
	if got := k.streams[s]; got != nil {
		return got
	}
	attrs := func(m map[string]string) (out []record.Attr) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			out = append(out, record.Attr{Name: name, Value: m[name]})
		}
		return out
	}
	if k.streams == nil {
		k.streams = make(map[*show.Stream]*record.Stream)
	}
	got := record.NewStream(attrs(s.Labels), attrs(s.PodLabels), nil)
	k.streams[s] = got
	return got
}

// put stores the batch. k.mu is held: one at a time bounds the memory.
func (k *kubeSink) put() {
	b := k.batch
	k.batch = nil
	if b == nil || b.NumRecords() == 0 {
		return
	}
	stage.DetectLevels(b)
	b.Freeze()
	part := record.NewPart(b, b.Live())
	defer part.Finish()
	// A batch that was read is kept even if reading was cut at the limit.
	res, err := k.store.Append(context.WithoutCancel(k.ctx), []record.Part{part})
	if err == nil && len(res.Failures) > 0 {
		err = errors.New(res.Failures[0].Reason)
	}
	if err != nil {
		k.cancel(fmt.Errorf("temporary store in %s (TMPDIR names another place): %w", os.TempDir(), err))
	}
}

func (k *kubeSink) flush() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put()
}

// show shows the progress. k.mu is held.
func (k *kubeSink) show() {
	k.progress.show("%d of %d containers, %s", k.done, k.total, size(k.bytes))
}

// Notice implements kube.Sink.
func (k *kubeSink) Notice(n kube.Notice) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch n.Kind {
	case kube.NoticeLeft:
		k.done++
		k.show()
	case kube.NoticeRotated:
		l := n.Stream.Labels
		k.rotated = append(k.rotated, l["namespace"]+"/"+l["pod"]+" "+l["container"])
	case kube.NoticeEmpty:
		k.empty++
	case kube.NoticeError:
		k.miss(n)
	}
}

// miss notes that something is missing.
func (k *kubeSink) miss(n kube.Notice) {
	text := n.Text
	if s := n.Stream; s != nil {
		text = fmt.Sprintf("%s/%s %s: %s", s.Labels["namespace"], s.Labels["pod"], s.Labels["container"], text)
	}
	switch {
	case slices.Contains(k.warnings, text):
	case len(k.warnings) < maxWarnings:
		k.warnings = append(k.warnings, text)
	default:
		k.more++
	}
}

func (k *kubeSink) warn(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.warnings = append(k.warnings, text)
}

// tell writes what is missing before the answer, which is long.
func (k *kubeSink) tell() {
	for _, w := range k.warnings {
		fmt.Fprintln(k.errOut, strings.TrimSpace(w))
	}
	if k.more > 0 {
		fmt.Fprintf(k.errOut, "and %d more\n", k.more)
	}
	if k.empty > 0 && k.bytes == 0 {
		fmt.Fprintf(k.errOut, "the cluster hands out nothing of %s: nothing was written, or all of it was rotated away\n", plural(k.empty, "container"))
	}
	if n := len(k.rotated); n > 0 {
		slices.Sort(k.rotated)
		list := strings.Join(k.rotated[:min(n, 3)], ", ")
		if n > 3 {
			list += ", …"
		}
		logs := "the log of 1 container begins"
		if n > 1 {
			logs = fmt.Sprintf("the logs of %d containers begin", n)
		}
		fmt.Fprintf(k.errOut, "%s later than asked for (%s): a cluster hands out the newest file of each only, and may have rotated away what was before\n", logs, list)
	}
}

// incomplete is an error if something is missing that was asked for.
func (k *kubeSink) incomplete() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.warnings) + k.more
	if n == 0 {
		return nil
	}
	if n == 1 {
		return &exitError{exitDropped, errors.New("not everything could be read, as said above")}
	}
	return &exitError{exitDropped, fmt.Errorf("not everything could be read, for the %d reasons above", n)}
}
