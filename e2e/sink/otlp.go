package main

import (
	"context"
	"mime"
	"net/http"
	"strconv"

	"github.com/zeebo/xxh3"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weirlog/weir/e2e/internal/journal"
)

func (s *sink) otlp(mediaType string, body []byte) ([]arrival, error) {
	var req collogs.ExportLogsServiceRequest
	var err error
	switch mediaType {
	case "application/x-protobuf":
		err = proto.Unmarshal(body, &req)
	case "application/json":
		err = protojson.Unmarshal(body, &req)
	default:
		return nil, &badRequest{http.StatusUnsupportedMediaType, "content type " + mediaType}
	}
	if err != nil {
		return nil, bad("%v", err)
	}
	return otlpRecords(&req)
}

// otlpRecords finds the marks in the bodies or the attributes. The id is that
// of log.record.uid.
func otlpRecords(req *collogs.ExportLogsServiceRequest) ([]arrival, error) {
	var got []arrival
	for _, rl := range req.ResourceLogs {
		if err := unique("resource", rl.GetResource().GetAttributes()); err != nil {
			return nil, err
		}
		for _, sl := range rl.ScopeLogs {
			for _, lr := range sl.LogRecords {
				if lr.TimeUnixNano == 0 && lr.ObservedTimeUnixNano == 0 {
					return nil, bad("a record has no time")
				}
				if len(lr.TraceId) != 0 && len(lr.TraceId) != 16 || len(lr.SpanId) != 0 && len(lr.SpanId) != 8 {
					return nil, bad("bad length of a trace or span id")
				}
				if err := unique("record", lr.Attributes); err != nil {
					return nil, err
				}
				var a arrival
				note := func(m journal.Mark, ok bool) error {
					if ok && a.marked && m != a.mark {
						return bad("two marks that differ")
					}
					if ok {
						a.mark, a.marked = m, true
					}
					return nil
				}
				var err error
				switch b := lr.GetBody().GetValue().(type) {
				case *common.AnyValue_StringValue:
					err = note(journal.ParseLine([]byte(b.StringValue)))
				case *common.AnyValue_BytesValue:
					err = note(journal.ParseLine(b.BytesValue))
				case *common.AnyValue_KvlistValue:
					err = note(members(b.KvlistValue.Values))
				}
				if err == nil {
					err = note(members(lr.Attributes))
				}
				if err != nil {
					return nil, err
				}
				for _, kv := range lr.Attributes {
					if kv.Key == "log.record.uid" {
						a.id = xxh3.HashString(kv.GetValue().GetStringValue()) | 1
					}
				}
				got = append(got, a)
			}
		}
	}
	return got, nil
}

func unique(what string, attrs []*common.KeyValue) error {
	seen := make(map[string]bool, len(attrs))
	for _, kv := range attrs {
		if kv.Key == "" || seen[kv.Key] {
			return bad("%s attribute %q twice or without a name", what, kv.Key)
		}
		seen[kv.Key] = true
	}
	return nil
}

func members(kvs []*common.KeyValue) (m journal.Mark, ok bool) {
	found := 0
	for _, kv := range kvs {
		switch kv.Key {
		case "s":
			m.Stream = kv.GetValue().GetStringValue()
		case "n":
			switch v := kv.GetValue().GetValue().(type) {
			case *common.AnyValue_IntValue:
				m.Seq = uint64(v.IntValue)
			case *common.AnyValue_StringValue:
				n, err := strconv.ParseUint(v.StringValue, 10, 64)
				if err != nil {
					return m, false
				}
				m.Seq = n
			default:
				return m, false
			}
		case "p":
			m.Hash = journal.HashPayload([]byte(kv.GetValue().GetStringValue()))
		default:
			continue
		}
		found++
	}
	return m, found == 3
}

func otlpAnswer(w http.ResponseWriter, r *http.Request) {
	mt, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	w.Header().Set("Content-Type", mt)
	if mt == "application/json" {
		w.Write([]byte("{}"))
	}
}

// grpcLogs is the OTLP service. Of the faults it has the whole-request refusals
// and freezing; poison is answered as partial success.
type grpcLogs struct {
	collogs.UnimplementedLogsServiceServer
	sink *sink
}

func (g *grpcLogs) Export(ctx context.Context, req *collogs.ExportLogsServiceRequest) (*collogs.ExportLogsServiceResponse, error) {
	s := g.sink
	s.mu.Lock()
	s.requests["grpc"]++
	s.mu.Unlock()
	cfg := s.in.Config()
	switch {
	case cfg.Down, s.in.Draw(cfg.P503, "whole_503"):
		return nil, status.Error(codes.Unavailable, "down")
	case s.in.Draw(cfg.P429, "whole_429"):
		return nil, status.Error(codes.ResourceExhausted, "too much")
	case s.in.Draw(cfg.P401, "whole_401"):
		return nil, status.Error(codes.Unauthenticated, "who?")
	case cfg.Freeze:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	got, err := otlpRecords(req)
	if err != nil {
		s.violate("grpc: %v", err)
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	var keep []arrival
	for _, a := range got {
		if !s.poisoned([]arrival{a}) {
			keep = append(keep, a)
		}
	}
	s.store(keep)
	if s.in.Draw(cfg.PFreezeAfter, "freeze_after") {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	resp := new(collogs.ExportLogsServiceResponse)
	if n := len(got) - len(keep); n > 0 {
		resp.PartialSuccess = &collogs.ExportLogsPartialSuccess{RejectedLogRecords: int64(n), ErrorMessage: "poison"}
	}
	return resp, nil
}
