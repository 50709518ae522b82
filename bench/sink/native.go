package main

import (
	"encoding/binary"
	"errors"
	"net/http"

	"github.com/weirlog/weir/bench/mark"
)

var errNative = errors.New("not VictoriaLogs' native format")

// native takes what vlagent sends to VictoriaLogs: rows of tenant (8 bytes),
// the stream's tags (a string), time (8 bytes), number of fields, and a name and
// a value for each. Numbers and the lengths of strings are varints.
func (s *sink) native(w *work, _ *http.Request, body []byte) (err error) {
	s.acct.Batch(func(add addFunc) {
		for len(body) > 0 && err == nil {
			var m mark.Mark
			var v mark.Verdict
			if m, v, body, err = w.row(body); err == nil {
				add(m, v, 0)
			}
		}
	})
	return err
}

func (w *work) row(b []byte) (m mark.Mark, v mark.Verdict, rest []byte, err error) {
	if len(b) < 8 {
		return m, v, nil, errNative
	}
	if _, b, err = bytesField(b[8:]); err != nil {
		return m, v, nil, err
	}
	if len(b) < 8 {
		return m, v, nil, errNative
	}
	b = b[8:]
	fields, n := binary.Uvarint(b)
	if n <= 0 || fields > 10_000 {
		return m, v, nil, errNative
	}
	b = b[n:]
	for range fields {
		var value []byte
		if _, b, err = bytesField(b); err == nil {
			value, b, err = bytesField(b)
		}
		if err != nil {
			return m, v, nil, err
		}
		if v == mark.None {
			m, v = w.find.InLine(value)
		}
	}
	return m, v, b, nil
}

func bytesField(b []byte) (field, rest []byte, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, errNative
	}
	return b[n : n+int(size)], b[n+int(size):], nil
}
