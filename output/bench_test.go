package output

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/elastic"
)

// benchParts returns about a megabyte of lines, 60 % of them JSON, in parts of
// 256 KiB, and the bytes of their bodies.
func benchParts() (parts []record.Part, size int64, records int) {
	var bs []*record.Batch
	for p := range 4 {
		var bodies []string
		n := 0
		for i := 0; n < 256<<10; i++ {
			body := fmt.Sprintf("2026-11-22 12:00:00 GET /api/v1/orders/%d 200 %dms user=%d", p*1000+i, i%97, i*7919%1000)
			if i%5 < 3 {
				body = fmt.Sprintf(`{"ts":"2026-11-22T12:00:00.%03dZ","msg":"order accepted","order":%d,"user":"u%d","path":"/api/v1/orders","pad":%q}`,
					i%1000, p*1000+i, i*7919%1000, strings.Repeat("x", i*31%300))
			}
			bodies = append(bodies, body)
			n += len(body)
		}
		size += int64(n)
		records += len(bodies)
		bs = append(bs, batchOf(testStream, bodies...))
	}
	return partsOf(bs...), size, records
}

// benchmarkSend measures one Send after the other, encoding, compressing and
// loopback included.
func benchmarkSend(b *testing.B, o sender) {
	parts, size, records := benchParts()
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		res, err := o.Send(b.Context(), parts)
		if err != nil || len(res.Failures) != 0 {
			b.Fatal(res, err)
		}
	}
	b.ReportMetric(float64(records), "records/op")
}

func discard(b *testing.B, answer []byte) string {
	return server(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(answer)
	}).URL
}

func BenchmarkSend(b *testing.B) {
	_, _, n := benchParts()
	ok := []byte(`{"errors":false,"items":[` + strings.TrimSuffix(strings.Repeat(`{"create":{"status":201}},`, n), ",") + `]}`)
	some := bytes.Replace(ok, []byte(`{"status":201}`), []byte(`{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"x"}}`), n/2)
	some = bytes.Replace(some, []byte("false"), []byte("true"), 1)
	tmpl, err := wire.ParseTemplate("kubernetes-${namespace}-%Y.%m.%d", wire.SanitizeIndex)
	if err != nil {
		b.Fatal(err)
	}
	es := func(answer []byte, method string) func(*testing.B) {
		return func(b *testing.B) {
			o, err := NewElasticsearch(ElasticsearchConfig{
				HTTPConfig: HTTPConfig{URL: discard(b, answer), Compression: method},
				Encoding:   elastic.Config{Index: tmpl, IDs: true},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = o.Close() }()
			benchmarkSend(b, o)
		}
	}
	b.Run("elasticsearch/none", es(ok, "none"))
	b.Run("elasticsearch/gzip", es(ok, "gzip"))
	b.Run("elasticsearch/gzip/half409", es(some, "gzip"))
	for _, method := range []string{"none", "gzip", "zstd"} {
		b.Run("jsonl/"+method, func(b *testing.B) {
			benchmarkSend(b, newJSONL(b, JSONLConfig{HTTPConfig: HTTPConfig{URL: discard(b, nil), Compression: method}}))
		})
	}
	b.Run("loki", func(b *testing.B) { benchmarkSend(b, newLoki(b, HTTPConfig{URL: discard(b, nil)}, "")) })
	b.Run("loki/tenants", func(b *testing.B) {
		benchmarkSend(b, newLoki(b, HTTPConfig{URL: discard(b, nil)}, "${namespace}"))
	})
	for _, method := range []string{"none", "gzip"} {
		b.Run("otlp/http/"+method, func(b *testing.B) {
			benchmarkSend(b, newOTLP(b, HTTPConfig{URL: discard(b, nil), Compression: method}))
		})
		b.Run("otlp/grpc/"+method, func(b *testing.B) { benchmarkSend(b, newOTLP(b, HTTPConfig{URL: grpcDiscard(b), Compression: method})) })
	}
	for _, f := range []string{"json", "raw"} {
		b.Run("file/"+f, func(b *testing.B) {
			benchmarkSend(b, newFile(b, FileConfig{Path: filepath.Join(b.TempDir(), "out"), NoSync: true, Keep: 1, Format: Format{Name: f}}))
		})
		b.Run("stdout/"+f, func(b *testing.B) {
			o, err := NewStdout(StdoutConfig{W: io.Discard, Format: Format{Name: f}})
			if err != nil {
				b.Fatal(err)
			}
			benchmarkSend(b, o)
		})
	}
}

// grpcDiscard serves any method with an empty answer.
func grpcDiscard(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(64<<20), grpc.ForceServerCodecV2(rawCodec{}),
		grpc.UnknownServiceHandler(func(_ any, st grpc.ServerStream) error {
			var p []byte
			if err := st.RecvMsg(&p); err != nil {
				return err
			}
			return st.SendMsg(getWork())
		}))
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	b.Cleanup(func() { s.Stop(); <-done })
	return "grpc://" + l.Addr().String()
}
