package gateway

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/weirlog/weir/wire/elastic"
	"github.com/weirlog/weir/wire/json"
)

// bulkAnswer writes the answer to a bulk request.
type bulkAnswer struct {
	all    bool // no filter
	filter [][]string

	took, errors, items            bool
	index, id, version, result     bool
	shards, seq, term, status, err bool

	p       []byte
	marks   []bulkMark
	failing bool
}

// bulkMark says where an item begins, and where what comes of success does.
type bulkMark struct{ from, head int }

// newBulkAnswer returns one that writes what the parameter filter_path lets
// through: paths with commas between them, in which * stands for a name and ** for
// any number.
// https://www.elastic.co/docs/reference/elasticsearch/rest-apis/common-options#common-options-response-filtering
func newBulkAnswer(filter string) *bulkAnswer {
	a := &bulkAnswer{all: filter == ""}
	for f := range strings.SplitSeq(filter, ",") {
		if f = strings.TrimSpace(f); f != "" && !strings.HasPrefix(f, "-") {
			a.filter = append(a.filter, strings.Split(f, "."))
		}
	}
	a.all = len(a.filter) == 0
	a.took, a.errors = a.lets("took"), a.lets("errors")
	field := func(name string) bool {
		ok := a.lets("items", "create", name) || a.lets("items", "index", name)
		a.items = a.items || ok
		return ok
	}
	a.index, a.id, a.version, a.result = field("_index"), field("_id"), field("_version"), field("result")
	a.shards, a.seq, a.term, a.status = field("_shards"), field("_seq_no"), field("_primary_term"), field("status")
	a.err = field("error") || a.lets("items", "create", "error", "type") || a.lets("items", "create", "error", "reason")
	a.items = a.items || a.err
	a.p = append(a.p, '[')
	return a
}

// lets reports whether the path passes the filter.
func (a *bulkAnswer) lets(path ...string) bool {
	if a.all {
		return true
	}
	for _, f := range a.filter {
		if matchPath(f, path) {
			return true
		}
	}
	return false
}

// matchPath reports whether the filter is the path or leads to it.
func matchPath(f, path []string) bool {
	for len(f) > 0 {
		if f[0] == "**" {
			for i := range len(path) + 1 {
				if matchPath(f[1:], path[i:]) {
					return true
				}
			}
			return false
		}
		if len(path) == 0 || !matchName(f[0], path[0]) {
			return false
		}
		f, path = f[1:], path[1:]
	}
	return true
}

func matchName(f, name string) bool {
	before, after, star := strings.Cut(f, "*")
	if !star {
		return f == name
	}
	return len(name) >= len(before)+len(after) && strings.HasPrefix(name, before) && strings.HasSuffix(name, after)
}

// madeID is the id that is answered where none was sent.
func madeID(now int64, i int) string {
	var b [10]byte
	binary.BigEndian.PutUint64(b[:], uint64(now)^uint64(i)<<20)
	b[8], b[9] = byte(i>>8), byte(i)
	return hex.EncodeToString(b[:])
}

func (a *bulkAnswer) comma() {
	if c := a.p[len(a.p)-1]; c != '{' && c != '[' {
		a.p = append(a.p, ',')
	}
}

func (a *bulkAnswer) member(text string) {
	a.comma()
	a.p = append(a.p, text...)
}

// add writes an item, as if it had been taken if it has not been refused.
func (a *bulkAnswer) add(it *elastic.Action, index, id []byte, now int64, i int) {
	m := bulkMark{from: len(a.p)}
	if a.items {
		a.comma()
		a.p = append(a.p, `{"`...)
		a.p = append(append(a.p, it.Op.String()...), `":{`...)
		if a.index {
			a.p = json.AppendString(append(a.p, `"_index":`...), index)
		}
		if a.id && (len(id) > 0 || it.Status == 0) {
			a.comma()
			a.p = append(a.p, `"_id":`...)
			if len(id) > 0 {
				a.p = json.AppendString(a.p, id)
			} else {
				a.p = append(append(append(a.p, '"'), madeID(now, i)...), '"')
			}
		}
	}
	m.head = len(a.p)
	a.marks = append(a.marks, m)
	if it.Status != 0 {
		a.failed(m, it.Status, it.Type, it.Why)
		return
	}
	if !a.items {
		return
	}
	if a.version {
		a.member(`"_version":1`)
	}
	if a.result {
		a.member(`"result":"created"`)
	}
	if a.shards {
		a.member(`"_shards":{"total":1,"successful":1,"failed":0}`)
	}
	if a.seq {
		a.member(`"_seq_no":0`)
	}
	if a.term {
		a.member(`"_primary_term":1`)
	}
	if a.status {
		a.member(`"status":201`)
	}
	a.close(m)
}

// close ends an item; one in which nothing is left is none.
func (a *bulkAnswer) close(m bulkMark) {
	if a.p[len(a.p)-1] == '{' {
		a.p = a.p[:m.from]
		return
	}
	a.p = append(a.p, '}', '}')
}

func (a *bulkAnswer) failed(m bulkMark, status int, typ, why string) {
	a.failing = true
	if !a.items {
		return
	}
	if a.status {
		a.member(`"status":` + strconv.Itoa(status))
	}
	if a.err {
		a.comma()
		a.p = append(append(a.p, `"error":`...), appendCause(nil, typ, why)...)
		a.p = append(a.p, '}')
	}
	a.close(m)
}

// appendCause appends {"type":…,"reason":… without the brace at its end.
func appendCause(dst []byte, typ, why string) []byte {
	dst = json.AppendStringString(append(dst, `{"type":`...), typ)
	return json.AppendStringString(append(dst, `,"reason":`...), why)
}

// finish returns the answer. refused are records that were not taken after all.
func (a *bulkAnswer) finish(actions []elastic.Action, refused []Refusal, took int64) []byte {
	if len(refused) > 0 {
		a.mend(actions, refused)
	}
	out := make([]byte, 0, len(a.p)+64)
	out = append(out, '{')
	if a.took {
		out = strconv.AppendInt(append(out, `"took":`...), took, 10)
	}
	if a.errors {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = strconv.AppendBool(append(out, `"errors":`...), a.failing)
	}
	if a.items && (len(a.p) > 1 || a.all) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, `"items":`...), a.p...), ']')
	}
	return append(out, '}')
}

// mend writes the items of refused records anew.
func (a *bulkAnswer) mend(actions []elastic.Action, refused []Refusal) {
	old, marks := a.p, a.marks
	a.p = append(make([]byte, 0, len(old)+256*len(refused)), '[')
	next := 0
	for i := range actions {
		to := len(old)
		if i+1 < len(marks) {
			to = marks[i+1].from
		}
		m := marks[i]
		if next == len(refused) || actions[i].Record != int32(refused[next].Record) {
			item := old[m.from:to]
			if len(item) > 0 && item[0] == ',' {
				item = item[1:]
			}
			if len(item) > 0 {
				a.comma()
				a.p = append(a.p, item...)
			}
			continue
		}
		at := bulkMark{from: len(a.p)}
		if a.items {
			head := old[m.from:m.head]
			if m.head > to { // nothing was left of it
				head = []byte(`{"` + actions[i].Op.String() + `":{`)
			}
			if len(head) > 0 && head[0] == ',' {
				head = head[1:]
			}
			a.comma()
			a.p = append(a.p, head...)
		}
		why := refused[next].Reason
		if why == "" {
			why = "refused by the destination"
		}
		a.failed(at, 400, "illegal_argument_exception", why)
		next++
	}
}

func quote(s string) string { return string(json.AppendStringString(nil, s)) }
