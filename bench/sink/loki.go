package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"
)

// loki takes a push request: protobuf in a snappy block, or JSON.
//
// https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs
func (s *sink) loki(w *work, r *http.Request, body []byte) error {
	if strings.Contains(r.Header.Get("Content-Type"), "json") {
		return s.lokiJSON(w, body)
	}
	size, err := s2.DecodedLen(body)
	if err != nil || size > maxBody {
		return fmt.Errorf("snappy: %d bytes, %v", size, err)
	}
	if cap(w.plain) < size {
		w.plain = make([]byte, size)
	}
	msg, err := s2.Decode(w.plain[:cap(w.plain)], body)
	if err != nil {
		return fmt.Errorf("snappy: %w", err)
	}
	s.mu.Lock()
	s.plain += uint64(len(msg) - len(body)) // what its encoding hid from took
	s.mu.Unlock()
	s.acct.Batch(func(add addFunc) {
		err = each(msg, func(_ protowire.Number, stream []byte) error {
			return each(stream, func(num protowire.Number, entry []byte) error {
				if num != 2 { // entries
					return nil
				}
				return each(entry, func(num protowire.Number, line []byte) error {
					if num == 2 { // line
						m, v := w.find.InLine(line)
						add(m, v, 0)
					}
					return nil
				})
			})
		})
	})
	return err
}

func (s *sink) lokiJSON(w *work, body []byte) error {
	var req struct {
		Streams []struct {
			Values [][]any `json:"values"`
		} `json:"streams"`
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return err
	}
	s.acct.Batch(func(add addFunc) {
		for _, stream := range req.Streams {
			for _, v := range stream.Values {
				if len(v) > 1 {
					m, verdict := w.inValue(v[1])
					add(m, verdict, 0)
				}
			}
		}
	})
	return nil
}
