package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirlog/weir/bench/corpus"
)

// A body is a request, encoded before anything is measured.
type body struct {
	data  []byte
	raw   int    // bytes of log text in it
	first uint32 // number of its first line in its client's stream
	lines uint32
}

// makeBodies makes the requests of one client: each either of so many lines, or
// of about so many bytes of text.
func (o *options) makeBodies(f form, client, n int) ([]body, error) {
	src := corpus.NewLines(o.seed, uint32(client), time.Now().Add(-time.Hour))
	out := make([]body, n)
	for i := range out {
		b := &out[i]
		b.first = src.Made()
		var records []byte
		for b.lines == 0 || o.records > 0 && int(b.lines) < o.records || o.records == 0 && b.raw < o.size {
			line, at := src.Next()
			b.raw += len(line)
			b.lines++
			if f.proto == "loki" {
				records = appendEntry(records, line, at)
			} else {
				records = appendRecord(records, line, at, o.severity)
			}
		}
		var err error
		if b.data, err = f.wrap(client, records); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func appendField(dst []byte, num protowire.Number, val []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, num, protowire.BytesType), val)
}

// appendPair appends a KeyValue with a text.
func appendPair(dst []byte, num protowire.Number, key, val string) []byte {
	kv := appendField(nil, 1, []byte(key))
	kv = appendField(kv, 2, appendField(nil, 1, []byte(val)))
	return appendField(dst, num, kv)
}

// appendRecord appends a LogRecord as an SDK fills it.
// https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/logs/v1/logs.proto
func appendRecord(dst, line []byte, at time.Time, severity bool) []byte {
	var r []byte
	r = protowire.AppendFixed64(protowire.AppendTag(r, 1, protowire.Fixed64Type), uint64(at.UnixNano()))
	r = protowire.AppendFixed64(protowire.AppendTag(r, 11, protowire.Fixed64Type), uint64(at.UnixNano()+20_000))
	if severity {
		r = protowire.AppendVarint(protowire.AppendTag(r, 2, protowire.VarintType), 9)
		r = appendField(r, 3, []byte("INFO"))
	}
	r = appendField(r, 5, appendField(nil, 1, line))
	r = appendPair(r, 6, "logger.name", "com.example.shop.OrderService")
	return appendField(dst, 2, r)
}

// appendEntry appends an entry of Loki's push API.
// https://github.com/grafana/loki/blob/main/pkg/push/push.proto
func appendEntry(dst, line []byte, at time.Time) []byte {
	ts := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(at.Unix()))
	ts = protowire.AppendVarint(protowire.AppendTag(ts, 2, protowire.VarintType), uint64(at.Nanosecond()))
	return appendField(dst, 2, appendField(appendField(nil, 1, ts), 2, line))
}

// wrap makes a request of records and compresses it.
func (f form) wrap(client int, records []byte) ([]byte, error) {
	var p []byte
	if f.proto == "loki" {
		labels := fmt.Sprintf(`{app="orders", cluster="bench", namespace="shop", pod="orders-%d"}`, client)
		p = appendField(nil, 1, append(appendField(nil, 1, []byte(labels)), records...))
	} else {
		var resource []byte
		for _, a := range [][2]string{{"service.name", "orders"}, {"k8s.namespace.name", "shop"}, {"k8s.pod.name", fmt.Sprintf("orders-%d", client)}, {"telemetry.sdk.language", "java"}} {
			resource = appendPair(resource, 1, a[0], a[1])
		}
		logs := appendField(nil, 1, resource)
		p = appendField(nil, 1, appendField(logs, 2, append(appendField(nil, 1, appendField(nil, 1, []byte("shop"))), records...)))
	}
	compressed := byte(0)
	switch f.encoding {
	case "snappy":
		return s2.EncodeSnappy(nil, p), nil // the block format: what Loki's clients send
	case "gzip":
		var buf bytes.Buffer
		z, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
		if err != nil {
			return nil, err
		}
		if _, err := z.Write(p); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		p, compressed = buf.Bytes(), 1
	}
	if f.proto == "grpc" {
		p = append([]byte{compressed, 0, 0, 0, 0}, p...)
		binary.BigEndian.PutUint32(p[1:], uint32(len(p)-5))
	}
	return p, nil
}
