package gateway

import (
	"slices"
	"sync"

	"github.com/weirlog/weir/record"
)

// restreamer gives streams the attributes that the process adds to what senders
// say: those of the configuration, and who the sender is. Safe for concurrent use;
// the zero restreamer is ready.
type restreamer struct {
	mu    sync.Mutex
	known map[restreamKey]*record.Stream // used since old was known
	old   map[restreamKey]*record.Stream // used before
}

type restreamKey struct {
	stream *record.Stream
	who    string
}

// maxRestreamed bounds half of what is kept.
const maxRestreamed = 1 << 14

func (r *restreamer) apply(b *record.Batch, c *Config, id *Identity) {
	if len(c.Defaults) == 0 && len(c.Attrs) == 0 && len(id.Attrs) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, ref := range b.Streams() {
		k := restreamKey{ref.Stream, id.Name}
		s := r.known[k]
		if s == nil {
			if s = r.old[k]; s == nil {
				s = withAttrs(ref.Stream, c, id)
			}
			if len(r.known) >= maxRestreamed {
				r.old, r.known = r.known, nil
			}
			if r.known == nil {
				r.known = make(map[restreamKey]*record.Stream)
			}
			r.known[k] = s
		}
		b.SetStream(uint16(i), s)
	}
}

// withAttrs: of two attributes with one name the later stands.
func withAttrs(s *record.Stream, c *Config, id *Identity) *record.Stream {
	return record.NewStream(slices.Concat(c.Defaults, s.Attrs(), c.Attrs, id.Attrs), s.Labels(), s.Annotations())
}
