package store

import (
	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

// A tenant is the streams whose label record.AttrTenant has its name. It sees
// these alone, and not that label; the empty tenant sees everything as it is.

// visible returns the labels of a stream as the tenant sees them, and whether it
// sees the stream at all.
func visible(tenant string, labels []logql.Label) ([]logql.Label, bool) {
	if tenant == "" {
		return labels, true
	}
	for i := range labels {
		if labels[i].Name != record.AttrTenant {
			continue
		}
		if labels[i].Value != tenant {
			return nil, false
		}
		switch i {
		case 0: // as nearly always: names mostly begin with a small letter, behind _
			return labels[1:], true
		case len(labels) - 1:
			return labels[:i:i], true
		}
		out := make([]logql.Label, 0, len(labels)-1)
		return append(append(out, labels[:i]...), labels[i+1:]...), true
	}
	return nil, false
}

// matching is what a selector says of the streams that a tenant sees. Of streams
// with a number it is asked once. It is for one goroutine.
type matching struct {
	sel    *logql.Selector
	tenant string
	pages  [][]matched // by number: see streamTable
}

type matched struct {
	asked   bool
	verdict logql.Verdict
	labels  []logql.Label // as the tenant sees them
	stream  *logql.Stream // of a cursor, when it was needed
	stats   *StreamStats  // of Streams
}

const matchedPage = 512

// numbered returns what is known of the stream with that number.
func (m *matching) numbered(number uint32, st *columns.Stream) *matched {
	// Numbers grow for as long as the process lives, and what is read has a few
	// of them.
	page := int(number / matchedPage)
	if page >= len(m.pages) {
		m.pages = append(m.pages, make([][]matched, page+1-len(m.pages))...)
	}
	if m.pages[page] == nil {
		m.pages[page] = make([]matched, matchedPage)
	}
	v := &m.pages[page][number%matchedPage]
	if !v.asked {
		*v = m.ask(st)
	}
	return v
}

// ask is numbered for a stream that has none.
func (m *matching) ask(st *columns.Stream) matched {
	v := matched{asked: true}
	var ok bool
	if v.labels, ok = visible(m.tenant, st.Labels); ok {
		v.verdict = m.sel.Stream(v.labels)
	}
	return v
}
