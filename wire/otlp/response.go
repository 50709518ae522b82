package otlp

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirlog/weir/wire"
)

const (
	maxMessage = 512
	maxSeconds = math.MaxInt64/1_000_000_000 - 1
)

// ParseResponse reads an ExportLogsServiceResponse, the answer to a request
// that was taken at least in part: rejected records were refused for good, the
// message says why (cut at 512 bytes). The answer does not say which records.
func ParseResponse(body []byte) (rejected int64, message string, err error) {
	err = fields(body, func(num protowire.Number, val []byte, n uint64) error {
		if num != 1 || val == nil {
			return nil
		}
		return fields(val, func(num protowire.Number, val []byte, n uint64) error {
			switch {
			case num == 1 && val == nil:
				rejected = int64(n)
			case num == 2 && val != nil:
				message = text(val)
			}
			return nil
		})
	})
	if err == nil && rejected < 0 {
		err = errors.New("negative count of rejected records")
	}
	if err != nil {
		return 0, "", fmt.Errorf("otlp: answer: %w", err)
	}
	return rejected, message, nil
}

// Status is a google.rpc.Status, the body of a refusal over HTTP.
type Status struct {
	Code    int32 // as google.rpc.Code; 0 if there is none
	Message string
	// RetryAfter is the delay the server asks for in nanoseconds, valid if
	// HasRetryAfter. A server that wants no retry gives none.
	RetryAfter    int64
	HasRetryAfter bool
}

// ParseStatus reads the google.rpc.Status of an answer that is not 2xx.
// https://opentelemetry.io/docs/specs/otlp/#failures-1
func ParseStatus(body []byte) (Status, error) {
	var s Status
	err := fields(body, func(num protowire.Number, val []byte, n uint64) error {
		switch {
		case num == 1 && val == nil:
			s.Code = int32(n)
		case num == 2 && val != nil:
			s.Message = text(val)
		case num == 3 && val != nil:
			return s.detail(val)
		}
		return nil
	})
	if err != nil {
		return Status{}, fmt.Errorf("otlp: status: %w", err)
	}
	return s, nil
}

// detail reads a google.protobuf.Any and, in it, a google.rpc.RetryInfo.
func (s *Status) detail(p []byte) error {
	var url, value []byte
	err := fields(p, func(num protowire.Number, val []byte, _ uint64) error {
		switch num {
		case 1:
			url = val
		case 2:
			value = val
		}
		return nil
	})
	if err != nil || string(url) != "type.googleapis.com/google.rpc.RetryInfo" {
		return err
	}
	return fields(value, func(num protowire.Number, val []byte, _ uint64) error {
		if num != 1 || val == nil {
			return nil
		}
		var sec, nano int64
		err := fields(val, func(num protowire.Number, val []byte, n uint64) error {
			switch {
			case num == 1 && val == nil:
				sec = int64(n)
			case num == 2 && val == nil:
				nano = int64(int32(n))
			}
			return nil
		})
		sec = min(max(sec, 0), maxSeconds)
		nano = min(max(nano, 0), 999999999)
		s.RetryAfter, s.HasRetryAfter = sec*1e9+nano, true
		return err
	})
}

// fields calls f for each field of a message, with the bytes of one that has
// bytes (not nil then) and the value of one that is a number.
func fields(p []byte, f func(num protowire.Number, val []byte, n uint64) error) error {
	for len(p) > 0 {
		num, typ, k := protowire.ConsumeTag(p)
		if k < 0 {
			return protowire.ParseError(k)
		}
		p = p[k:]
		var val []byte
		var n uint64
		switch typ {
		case protowire.BytesType:
			val, k = protowire.ConsumeBytes(p)
			if val == nil {
				val = []byte{}
			}
		case protowire.VarintType:
			n, k = protowire.ConsumeVarint(p)
		default:
			k = protowire.ConsumeFieldValue(num, typ, p)
		}
		if k < 0 {
			return protowire.ParseError(k)
		}
		p = p[k:]
		if typ != protowire.BytesType && typ != protowire.VarintType {
			continue
		}
		if err := f(num, val, n); err != nil {
			return err
		}
	}
	return nil
}

func text(p []byte) string {
	if len(p) > maxMessage {
		p = p[:maxMessage]
	}
	return string(wire.AppendText(nil, p))
}
