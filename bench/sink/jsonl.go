package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"github.com/weirlog/weir/bench/mark"
	"github.com/weirlog/weir/bench/verify"
)

type addFunc = func(mark.Mark, mark.Verdict, uint64) verify.Result

// sampled is every how many documents one is checked to be valid JSON: all of
// them would cost more than all the rest.
const sampled = 512

// checkDoc reports whether a document, the n-th of its request, may be taken.
func checkDoc(n int, doc []byte) error {
	if len(doc) < 2 || doc[0] != '{' || doc[len(doc)-1] != '}' {
		return fmt.Errorf("document %d is not an object", n)
	}
	if n%sampled == 0 && !json.Valid(doc) {
		return fmt.Errorf("document %d is not JSON", n)
	}
	return nil
}

// cutLine returns the first line without its end, and the rest.
func cutLine(body []byte) (line, rest []byte) {
	i := bytes.IndexByte(body, '\n')
	if i < 0 {
		return body, nil
	}
	line, rest = body[:i], body[i+1:]
	if i > 0 && line[i-1] == '\r' {
		line = line[:i-1]
	}
	return line, rest
}

// jsonl takes an object per line, or an array of objects as some clients send
// it.
func (s *sink) jsonl(w *work, _ *http.Request, body []byte) error {
	if len(body) > 0 && body[0] == '[' {
		return s.array(w, body)
	}
	var err error
	s.acct.Batch(func(add addFunc) {
		for n := 0; len(body) > 0; n++ {
			var doc []byte
			if doc, body = cutLine(body); len(doc) == 0 {
				continue
			}
			if err = checkDoc(n, doc); err != nil {
				return
			}
			m, v := w.find.InDoc(doc)
			add(m, v, 0)
		}
	})
	return err
}

func (s *sink) array(w *work, body []byte) error {
	var docs []json.RawMessage
	if err := json.Unmarshal(body, &docs); err != nil {
		return err
	}
	s.acct.Batch(func(add addFunc) {
		for _, d := range docs {
			m, v := w.find.InDoc(d)
			add(m, v, 0)
		}
	})
	return nil
}

// serveLines takes connections on which a record is a line.
func (s *sink) serveLines(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return // the gate shuts
		}
		go s.readLines(c)
	}
}

func (s *sink) readLines(c net.Conn) {
	defer func() { _ = c.Close() }() // nothing was written
	find := mark.Finder{Strange: s.note}
	buf := make([]byte, 0, 1<<20)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := c.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		end := bytes.LastIndexByte(buf, '\n') + 1
		if err != nil {
			end = len(buf) // the last line has no end
		}
		s.sample(buf[:end])
		s.acct.Batch(func(add addFunc) {
			for part := buf[:end]; len(part) > 0; {
				var line []byte
				if line, part = cutLine(part); len(line) > 0 {
					m, v := find.InLine(line)
					add(m, v, 0)
				}
			}
		})
		if n > 0 {
			s.took(n, n)
		}
		buf = append(buf[:0], buf[end:]...)
		if err != nil {
			return
		}
	}
}
