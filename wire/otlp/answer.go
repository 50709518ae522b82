package otlp

import (
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// AppendResponse appends an ExportLogsServiceResponse, as protobuf or JSON: the
// answer to a request of which rejected records were refused for good, for the
// reason that message tells. Without either it says that all is well, which is
// the empty message.
// https://opentelemetry.io/docs/specs/otlp/#partial-success-1
func AppendResponse(dst []byte, rejected int64, message string, asJSON bool) []byte {
	if asJSON {
		if rejected == 0 && message == "" {
			return append(dst, "{}"...)
		}
		dst = append(dst, `{"partialSuccess":{"rejectedLogRecords":"`...)
		dst = strconv.AppendInt(dst, rejected, 10)
		dst = append(dst, `","errorMessage":`...)
		return append(json.AppendStringString(dst, message), "}}"...)
	}
	if rejected == 0 && message == "" {
		return dst
	}
	var p []byte
	if rejected != 0 {
		p = protowire.AppendVarint(protowire.AppendTag(p, 1, protowire.VarintType), uint64(rejected))
	}
	if message != "" {
		p = protowire.AppendBytes(protowire.AppendTag(p, 2, protowire.BytesType), wire.AppendText(nil, []byte(message)))
	}
	return protowire.AppendBytes(protowire.AppendTag(dst, 1, protowire.BytesType), p)
}

const retryInfo = "type.googleapis.com/google.rpc.RetryInfo"

// AppendStatus appends a google.rpc.Status, as protobuf or JSON: the body of an
// answer to a request that failed. It says after how long to try again if
// HasRetryAfter is set.
// https://opentelemetry.io/docs/specs/otlp/#failures-1
func AppendStatus(dst []byte, s Status, asJSON bool) []byte {
	sec, nano := s.RetryAfter/1e9, s.RetryAfter%1e9
	if asJSON {
		dst = append(dst, `{"code":`...)
		dst = strconv.AppendInt(dst, int64(s.Code), 10)
		dst = append(dst, `,"message":`...)
		dst = json.AppendStringString(dst, s.Message)
		if s.HasRetryAfter {
			dst = append(dst, `,"details":[{"@type":"`+retryInfo+`","retryDelay":"`...)
			dst = strconv.AppendFloat(dst, float64(s.RetryAfter)/1e9, 'f', -1, 64)
			dst = append(dst, `s"}]`...)
		}
		return append(dst, '}')
	}
	if s.Code != 0 {
		dst = protowire.AppendVarint(protowire.AppendTag(dst, 1, protowire.VarintType), uint64(s.Code))
	}
	if s.Message != "" {
		dst = protowire.AppendBytes(protowire.AppendTag(dst, 2, protowire.BytesType), wire.AppendText(nil, []byte(s.Message)))
	}
	if !s.HasRetryAfter {
		return dst
	}
	var delay []byte
	if sec != 0 {
		delay = protowire.AppendVarint(protowire.AppendTag(delay, 1, protowire.VarintType), uint64(sec))
	}
	if nano != 0 {
		delay = protowire.AppendVarint(protowire.AppendTag(delay, 2, protowire.VarintType), uint64(nano))
	}
	info := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), delay)
	any := appendString(nil, 1, retryInfo)
	any = protowire.AppendBytes(protowire.AppendTag(any, 2, protowire.BytesType), info)
	return protowire.AppendBytes(protowire.AppendTag(dst, 3, protowire.BytesType), any)
}
