package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"
)

// pushedText is the text of a record that was pushed: who sent it, its number, and
// as many bytes as follow from these. So whoever gets it can say whether it is
// whole, and whether somebody made it up.
func pushedText(sender, n int) string {
	h := uint64(sender+1)*0x9e3779b97f4a7c15 + uint64(n)*0xbf58476d1ce4e5b9
	h ^= h >> 31
	pad := strings.Repeat(`größe "q" \ {x} 😀 tab`+"\t", 1+int(h%7))
	pad = pad[:len(pad)-int(h>>8%16)]
	for !utf8.ValidString(pad) {
		pad = pad[:len(pad)-1]
	}
	return fmt.Sprintf("mark %d/%d/%x %s.", sender, n, h, pad)
}

// arrivals is what came to one destination: for each sender and number, how often.
// It keeps counts for each record, so that a double cannot hide a loss.
type arrivals struct {
	name string
	down atomic.Bool
	slow atomic.Int64 // nanoseconds before an answer
	url  string

	mu      sync.Mutex
	times   [][]uint8           // by sender and number
	ids     map[string]struct{} // of Elasticsearch's documents
	strange []string            // what nobody sent, the first few
	batches int
	records int
}

func newArrivals(t *testing.T, name string, senders int) *arrivals {
	a := &arrivals{name: name, times: make([][]uint8, senders), ids: make(map[string]struct{})}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	a.url = s.URL
	return a
}

// textOf returns the text of a record as the destinations name it.
func textOf(doc []byte) string {
	var v struct {
		Msg     string `json:"_msg"`
		Log     string `json:"log"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(doc, &v)
	return v.Msg + v.Log + v.Message
}

// got books one record. The caller holds mu.
func (a *arrivals) got(text string, raw []byte) {
	var sender, n int
	_, err := fmt.Sscanf(text, "mark %d/%d/", &sender, &n)
	if err != nil || sender < 0 || sender >= len(a.times) || n < 0 || n > 1<<28 || text != pushedText(sender, n) {
		if len(a.strange) < 5 {
			a.strange = append(a.strange, string(raw))
		}
		return
	}
	for len(a.times[sender]) <= n {
		a.times[sender] = append(a.times[sender], make([]uint8, 1024)...)
	}
	if a.times[sender][n] < 255 {
		a.times[sender][n]++
	}
}

// ServeHTTP is Elasticsearch's _bulk, idempotent by _id, or takes JSON lines.
func (a *arrivals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender was killed meanwhile
	}
	if a.down.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		_, _ = io.WriteString(w, `{"version":{"number":"8.15.0"},"tagline":"You Know, for Search"}`)
		return
	}
	if d := a.slow.Load(); d > 0 {
		<-time.After(time.Duration(d))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.batches++
	lines := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	if !strings.HasSuffix(r.URL.Path, "_bulk") {
		for _, l := range lines {
			a.records++
			a.got(textOf(l), l)
		}
		return
	}
	var items []string
	for i := 0; i+1 < len(lines); i += 2 {
		var op struct {
			Create struct {
				Index string  `json:"_index"`
				ID    *string `json:"_id"`
			} `json:"create"`
		}
		if json.Unmarshal(lines[i], &op) != nil {
			a.strange = append(a.strange, string(lines[i])+" "+string(lines[i+1]))
		}
		if id := op.Create.ID; id != nil {
			if _, there := a.ids[*id]; there {
				items = append(items, `{"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"there"}}}`)
				continue
			}
			a.ids[*id] = struct{}{}
		}
		a.got(textOf(lines[i+1]), lines[i+1])
		items = append(items, `{"create":{"status":201}}`)
	}
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"took":1,"errors":%t,"items":[%s]}`, strings.Contains(strings.Join(items, ""), "409"), strings.Join(items, ","))
}

// missing says which of the acknowledged records has not come, "" if all have.
func (a *arrivals) missing(senders []*pusher) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range senders {
		for _, n := range s.ackedBatches() {
			for k := n * perPush; k < (n+1)*perPush; k++ {
				if k >= len(a.times[s.number]) || a.times[s.number][k] == 0 {
					return fmt.Sprintf("%s: %s: record %d was acknowledged and has not come; what nobody sent: %.1000q\n", a.name, s.name, k, a.strange)
				}
			}
		}
	}
	return ""
}

// check fails the test if something came that nobody sent, or twice what has an
// id and must be there once; it returns how many came more than once.
func (a *arrivals) check(t *testing.T, senders []*pusher, once bool) (distinct, doubled int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.strange {
		t.Errorf("%s got what nobody sent: %q", a.name, s)
	}
	for _, s := range senders {
		begun, own := int(s.begun.Load())*perPush, 0
		for n, c := range a.times[s.number] {
			if c == 0 {
				continue
			}
			distinct++
			if n >= begun {
				t.Errorf("%s: %s never sent record %d", a.name, s.name, n)
			}
			if c > 1 {
				own++
			}
		}
		doubled += own
		if once && s.ids && own > 0 {
			t.Errorf("%s: %d records of %s, which have ids, are there more than once", a.name, own, s.name)
		}
	}
	return distinct, doubled
}
