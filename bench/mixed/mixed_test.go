package mixed

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"
)

func small() Config {
	return Config{Seed: 1, Streams: 60, Bytes: 4e6, Start: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), Span: time.Hour, Clients: 3, BodyBytes: 100_000}
}

// fields calls f for every field of a message.
func fields(t *testing.T, b []byte, f func(n protowire.Number, v []byte, u uint64)) {
	t.Helper()
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		b = b[n:]
		switch typ {
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				t.Fatal(protowire.ParseError(n))
			}
			f(num, v, 0)
			b = b[n:]
		case protowire.VarintType:
			u, n := protowire.ConsumeVarint(b)
			if n < 0 {
				t.Fatal(protowire.ParseError(n))
			}
			f(num, nil, u)
			b = b[n:]
		default:
			t.Fatalf("wire type %d", typ)
		}
	}
}

// TestTruth counts in the bodies what Truth says of them.
func TestTruth(t *testing.T) {
	p, truth, err := Write(filepath.Join(t.TempDir(), "pushes"), small())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var rows, size, literal, needle, absent, json503, meta int64
	var inBodies int
	last := make(map[string]int64)
	labels := make(map[string]int)
	var buf []byte
	for _, b := range p.Bodies {
		inBodies += b.Rows
		if buf, err = p.Read(b, buf); err != nil {
			t.Fatal(err)
		}
		plain, err := s2.Decode(nil, buf)
		if err != nil {
			t.Fatal(err)
		}
		fields(t, plain, func(_ protowire.Number, s []byte, _ uint64) {
			var stream string
			fields(t, s, func(n protowire.Number, v []byte, _ uint64) {
				if n == 1 {
					stream = string(v)
					labels[stream]++
					return
				}
				var at int64
				var line []byte
				fields(t, v, func(n protowire.Number, v []byte, _ uint64) {
					switch n {
					case 1:
						fields(t, v, func(n protowire.Number, _ []byte, u uint64) {
							if n == 1 {
								u *= 1e9
							}
							at += int64(u)
						})
					case 2:
						line = v
					case 3:
						fields(t, v, func(_ protowire.Number, v []byte, _ uint64) { meta += int64(len(v)) })
					}
				})
				if at <= last[stream] || at%int64(time.Minute) == 0 || at <= truth.Config.Start.UnixNano() || at >= truth.End().UnixNano() {
					t.Fatalf("time %d after %d", at, last[stream])
				}
				last[stream] = at
				rows++
				size += int64(len(line))
				if bytes.Contains(line, []byte(Literal)) {
					literal++
				}
				if bytes.Contains(line, []byte(Absent)) {
					absent++
				}
				if bytes.Contains(line, []byte(truth.Needle)) {
					needle++
				}
				if line[0] == '{' {
					var v struct {
						Status int `json:"http_status"`
					}
					if err := json.Unmarshal(line, &v); err != nil {
						t.Fatalf("%s: %v", line, err)
					}
					if v.Status == 503 {
						json503++
					}
				}
			})
		})
	}
	if rows != truth.Rows || rows != int64(inBodies) || size != truth.Bytes || literal != truth.LiteralRows || json503 != truth.Status[503] || meta != truth.Metadata {
		t.Errorf("%d rows (%d), %d bytes, %d with the literal, %d answered 503, %d metadata; %+v", rows, inBodies, size, literal, json503, meta, truth.Rows)
	}
	if needle != 1 || absent != 0 || !strings.Contains(truth.NeedleLine, truth.Needle) {
		t.Errorf("the needle is in %d lines, the absent phrase in %d", needle, absent)
	}
	if literal*30 < rows || json503 == 0 || len(labels) != 60 || len(truth.LastTimes) != Last || truth.LastTimes[0] < truth.LastTimes[1] {
		t.Errorf("%d of %d lines with the literal, %d streams, last %d", literal, rows, len(labels), len(truth.LastTimes))
	}
	if d := float64(size)/4e6 - 1; d < -0.03 || d > 0.03 {
		t.Errorf("%d bytes", size)
	}
	var perMinute, perLevel int64
	for _, m := range truth.Minutes {
		for _, n := range m {
			perMinute += int64(n)
		}
	}
	for _, m := range truth.Levels {
		for _, n := range m {
			perLevel += n
		}
	}
	if perMinute != rows || perLevel != rows {
		t.Errorf("%d by minute, %d by level, of %d", perMinute, perLevel, rows)
	}
	for _, w := range strings.Fields(Absent) {
		if !strings.Contains(strings.Join(templates, " "), w) {
			t.Errorf("no template has %q", w)
		}
	}
}

// TestSame makes it twice.
func TestSame(t *testing.T) {
	a, err := New(small())
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(small())
	if err != nil {
		t.Fatal(err)
	}
	for x := a.Next(); x != nil; x = a.Next() {
		if y := b.Next(); y == nil || !bytes.Equal(x.Line, y.Line) || x.Time != y.Time || x.Stream != y.Stream || x.Trace != y.Trace {
			t.Fatalf("%+v\n%+v", x, y)
		}
	}
	if b.Next() != nil {
		t.Error("the second is longer")
	}
}
