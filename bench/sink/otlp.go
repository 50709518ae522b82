package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirlog/weir/bench/mark"
)

var errProto = errors.New("not the protobuf message expected")

// each calls f for every length-delimited field of a protobuf message.
func each(msg []byte, f func(num protowire.Number, v []byte) error) error {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return errProto
		}
		msg = msg[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, msg); n < 0 {
				return errProto
			}
			msg = msg[n:]
			continue
		}
		v, n := protowire.ConsumeBytes(msg)
		if n < 0 {
			return errProto
		}
		msg = msg[n:]
		if err := f(num, v); err != nil {
			return err
		}
	}
	return nil
}

// otlp takes an ExportLogsServiceRequest. The mark may stand in a record's body
// or in any of its attributes.
//
// https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/logs/v1/logs.proto
func (s *sink) otlp(w *work, r *http.Request, body []byte) (err error) {
	if strings.Contains(r.Header.Get("Content-Type"), "json") {
		w.answer = append(w.answer, "{}"...)
		return s.otlpJSON(w, body)
	}
	s.acct.Batch(func(add addFunc) {
		err = each(body, func(num protowire.Number, resource []byte) error { // resource_logs
			return each(resource, func(num protowire.Number, scope []byte) error {
				if num != 2 { // scope_logs
					return nil
				}
				return each(scope, func(num protowire.Number, rec []byte) error {
					if num != 2 { // log_records
						return nil
					}
					m, v, err := w.logRecord(rec)
					if err == nil {
						add(m, v, 0)
					}
					return err
				})
			})
		})
	})
	return err
}

func (w *work) logRecord(rec []byte) (m mark.Mark, v mark.Verdict, err error) {
	err = each(rec, func(num protowire.Number, f []byte) error {
		switch {
		case v != mark.None:
			return nil
		case num == 5: // body
			m, v, err = w.anyValue(f)
		case num == 6: // attributes
			m, v, err = w.keyValue(f)
		}
		return err
	})
	return m, v, err
}

// keyValue looks into the value of a KeyValue.
func (w *work) keyValue(kv []byte) (m mark.Mark, v mark.Verdict, err error) {
	err = each(kv, func(num protowire.Number, f []byte) (err error) {
		if num == 2 && v == mark.None {
			m, v, err = w.anyValue(f)
		}
		return err
	})
	return m, v, err
}

func (w *work) anyValue(val []byte) (m mark.Mark, v mark.Verdict, err error) {
	err = each(val, func(num protowire.Number, f []byte) (err error) {
		switch {
		case v != mark.None:
		case num == 1, num == 7: // string, bytes
			m, v = w.find.InLine(f)
		case num == 5: // array of values
			return each(f, func(_ protowire.Number, e []byte) (err error) {
				if v == mark.None {
					m, v, err = w.anyValue(e)
				}
				return err
			})
		case num == 6: // list of KeyValues
			return each(f, func(_ protowire.Number, e []byte) (err error) {
				if v == mark.None {
					m, v, err = w.keyValue(e)
				}
				return err
			})
		}
		return err
	})
	return m, v, err
}

func (s *sink) otlpJSON(w *work, body []byte) error {
	var req struct {
		ResourceLogs []struct {
			ScopeLogs []struct {
				LogRecords []any `json:"logRecords"`
			} `json:"scopeLogs"`
		} `json:"resourceLogs"`
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return err
	}
	s.acct.Batch(func(add addFunc) {
		for _, res := range req.ResourceLogs {
			for _, scope := range res.ScopeLogs {
				for _, rec := range scope.LogRecords {
					m, v := w.inValue(rec)
					add(m, v, 0)
				}
			}
		}
	})
	return nil
}

// inValue finds the mark in one of the strings of a decoded JSON value.
func (w *work) inValue(v any) (mark.Mark, mark.Verdict) {
	switch v := v.(type) {
	case string:
		return w.find.InLine([]byte(v))
	case []any:
		for _, e := range v {
			if m, verdict := w.inValue(e); verdict != mark.None {
				return m, verdict
			}
		}
	case map[string]any:
		for _, e := range v {
			if m, verdict := w.inValue(e); verdict != mark.None {
				return m, verdict
			}
		}
	}
	return mark.Mark{}, mark.None
}
