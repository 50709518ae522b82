package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/bench/verify"
)

// bulk takes Elasticsearch's _bulk. A document whose id is there already is
// answered with 409 if it is to be created.
//
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
func (s *sink) bulk(w *work, r *http.Request, body []byte) error {
	if len(body) == 0 {
		return errors.New("empty body")
	}
	if body[len(body)-1] != '\n' {
		return errors.New("the bulk request must be terminated by a newline")
	}
	a := newAnswer(w.answer, r.URL.Query().Get("filter_path"))
	var err error
	s.acct.Batch(func(add addFunc) {
		for n := 0; len(body) > 0; n++ {
			var action, doc []byte
			if action, body = cutLine(body); len(action) == 0 {
				continue
			}
			op := "create"
			switch head := action[:min(len(action), 12)]; {
			case bytes.Contains(head, []byte(`"create"`)):
			case bytes.Contains(head, []byte(`"index"`)):
				op = "index"
			default:
				err = fmt.Errorf("action %d is neither create nor index", n)
				return
			}
			doc, body = cutLine(body)
			if err = checkDoc(n, doc); err != nil {
				return
			}
			var id uint64
			if bytes.Contains(action, []byte(`"_id"`)) {
				// Of the index's name and the id, and whatever else is told.
				id = xxh3.Hash(action[bytes.IndexByte(action, ':'):]) | 1<<63
			}
			m, v := w.find.InDoc(doc)
			a.item(op, action, add(m, v, id))
		}
	})
	w.answer = a.end()
	return err
}

// answer writes the answer to a bulk request, as far as filter_path wants it.
type answer struct {
	dst                                    []byte
	errs                                   int
	took, errors, status, index, id, whole bool
	n                                      int
	verdict                                int // where the value of errors stands
}

func newAnswer(dst []byte, filter string) *answer {
	a := &answer{dst: dst}
	if filter == "" {
		a.took, a.errors, a.status, a.index, a.id, a.whole = true, true, true, true, true, true
	}
	for f := range strings.SplitSeq(filter, ",") {
		switch f {
		case "took":
			a.took = true
		case "errors":
			a.errors = true
		case "items.*.status":
			a.status = true
		case "items.*._index":
			a.index = true
		case "items.*._id":
			a.id = true
		case "items", "items.*", "items.*.*":
			a.status, a.index, a.id, a.whole = true, true, true, true
		}
	}
	// The order is the real one: there are clients that read only the beginning.
	a.dst = append(a.dst, '{')
	if a.errors {
		a.dst = append(a.dst, `"errors":`...)
		a.verdict = len(a.dst)
		a.dst = append(a.dst, `false,`...)
	}
	if a.took {
		a.dst = append(a.dst, `"took":1,`...)
	}
	a.dst = append(a.dst, `"items":[`...)
	return a
}

func (a *answer) item(op string, action []byte, res verify.Result) {
	if a.n > 0 {
		a.dst = append(a.dst, ',')
	}
	a.n++
	a.dst = append(a.dst, `{"`...)
	a.dst = append(a.dst, op...)
	a.dst = append(a.dst, `":{`...)
	open := len(a.dst)
	if a.index {
		a.member("_index", value(action, `"_index":"`))
	}
	if a.id {
		id := value(action, `"_id":"`)
		if len(id) == 0 {
			id = strconv.AppendUint([]byte("generated-by-sink-"), uint64(a.n), 10)
		}
		a.member("_id", id)
	}
	status := "201"
	switch {
	case res == verify.Stored:
		if a.whole {
			a.dst = append(a.dst, `"_version":1,"result":"created","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":`...)
			a.dst = strconv.AppendInt(a.dst, int64(a.n), 10)
			a.dst = append(a.dst, `,"_primary_term":1,`...)
		}
	case op == "index":
		status = "200"
		if a.whole {
			a.dst = append(a.dst, `"_version":2,"result":"updated",`...)
		}
	default:
		status = "409"
		a.errs++
		a.dst = append(a.dst, `"error":{"type":"version_conflict_engine_exception","reason":"version conflict, document already exists (current version [1])"},`...)
	}
	if a.status {
		a.dst = append(a.dst, `"status":`...)
		a.dst = append(a.dst, status...)
	} else if len(a.dst) > open {
		a.dst = a.dst[:len(a.dst)-1]
	}
	a.dst = append(a.dst, '}', '}')
}

// member appends a member whose value needs no escapes.
func (a *answer) member(name string, v []byte) {
	a.dst = append(a.dst, '"')
	a.dst = append(a.dst, name...)
	a.dst = append(a.dst, `":"`...)
	a.dst = append(a.dst, v...)
	a.dst = append(a.dst, `",`...)
}

// value returns a string of the action line, still escaped.
func value(action []byte, key string) []byte {
	_, rest, ok := bytes.Cut(action, []byte(key))
	if !ok {
		return nil
	}
	v, _, _ := bytes.Cut(rest, []byte{'"'})
	return v
}

func (a *answer) end() []byte {
	if a.errors && a.errs > 0 {
		copy(a.dst[a.verdict:], "true ")
	}
	return append(a.dst, "]}"...)
}
