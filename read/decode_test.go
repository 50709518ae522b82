package read

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// seeds are texts that a decoder may take wrongly.
var seeds = []string{
	`[]`, ` [ ] `, `null`, `{}`, `[null]`, `[[]]`, `[{}]`, ``, `[`, `[]]`, `[] x`,
	`[{"stream":{"app":"shop"},"values":[["1","line"]]}]`,
	`[{"stream":{"app":"shop"},"values":[["1","line",{}]]}]`,
	`[{"stream":{},"values":[]}]`,
	"[ {\t\"stream\" : { \"a\" : \"b\" } ,\n \"values\" : [ [ \"1\" , \"x\" , { } ] , [ \"2\" , \"y\" ] ] } ]",
	`[{"stream":{"app":"shop","pod":"a\"b\\\/\b\f\n\r\t"},"values":[["1700000000000000000","\u0041\u00e9\ud83d\ude00\ud83d \ude00\ud83dA\ud83d\u0041",{"structuredMetadata":{"detected_level":"info"},"parsed":{"status":"500"}}]]}]`,
	`[{"stream":{"a":"b"},"values":[["1","x",{"structuredMetadata":{"k":"v"}}],["2","x",{"structuredMetadata":{"k":"v"}}],["3","x",{"structuredMetadata":{"k":"w"},"parsed":{}}]]},{"stream":{"a":"b"},"values":[["4","z"]]}]`,
	`[{"values":[["1","x"]],"stream":{"a":"b"}}]`,
	`[{"stream":{"a":"b"}}]`, `[{"values":[["1","x"]]}]`,
	`[{"Stream":{"a":"b"},"VALUES":[["1","x"]]}]`,
	`[{"stream":{"a":"b","a":"c"},"values":[["1","x"]]}]`,
	`[{"stream":{"a":"b"},"stream":{"c":"d"},"values":[["1","x"]],"values":[["2","y"]]}]`,
	`[{"stream":{"a":null},"values":[["1","x"]]}]`, `[{"stream":null,"values":null}]`,
	`[{"stream":{"a":1},"values":[["1","x"]]}]`,
	`[{"str\u0065am":{"a":"b"},"values":[["1","x"]]}]`,
	`[{"stream":{"a":"b"},"more":[1,{"x":null}],"values":[["1","x"]]}]`,
	`[{"stream":{"a":"b"},"values":[["x","y"]]}]`, `[{"stream":{"a":"b"},"values":[["","y"]]}]`,
	`[{"stream":{"a":"b"},"values":[["+5","y"],["-5","y"],["0x5","y"],["1_0","y"]]}]`,
	`[{"stream":{"a":"b"},"values":[["-9223372036854775808","y"],["9223372036854775808","y"]]}]`,
	`[{"stream":{"a":"b"},"values":[["1"]]}]`, `[{"stream":{"a":"b"},"values":[[]]}]`, `[{"stream":{"a":"b"},"values":[[1,"x"]]}]`,
	`[{"stream":{"a":"b"},"values":[["1","x",{},{}]]}]`, `[{"stream":{"a":"b"},"values":[["1","x",null]]}]`, `[{"stream":{"a":"b"},"values":[["1",null]]}]`,
	`[{"stream":{"a":"b"},"values":[["1","x",{"structuredMetadata":null,"parsed":{"a":null}}]]}]`,
	`[{"stream":{"a":"b"},"values":[["1","x",{"parsed":{"a":"1"},"parsed":{"b":"2"}}]]}]`,
	`[{"stream":{"a":"b"},"values":[["1","x",{"other":{"a":"1"}}]]}]`,
	`[{"stream":{"a":"b"},"values":[["1","x",[]]]}]`,
	"[{\"stream\":{\"a\":\"\xff\"},\"values\":[[\"1\",\"\xc3\\u0041\xe2\\u0080\x80 \xf0\x9f\x98\"]]}]",
	"[{\"stream\":{\"a\xff\":\"b\"},\"values\":[[\"1\",\"a\x00b\"]]}]",
	`[{"stream":{"a":"b"},"values":[["1","\x"]]}]`, `[{"stream":{"a":"b"},"values":[["1","\u12"]]}]`,
	`[{"stream":{"a":"b"},"values":[["1","x"],]}]`, `[{"stream":{"a":"b",},"values":[["1","x"]]}]`,
	`[{"stream":{"a":"b"},"values":[["1","x"`, `[{"stream":{"a":"b"},"values":[["1","x"]]}`,
	`[{"stream":{"a":"b"},"values":[["1","x",{"deep":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}]]}]`,
	`[{"stream":{"a":"b"},"values":[["1","x",{"deep":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}]]}]`,
	"[{\"stream\":{\"a\":\"b\"},\"values\":[[\"1\",\"\u2028\u2029\ufffd\ufeff\"]]}]",
}

// sameAsStd compares the decoder with encoding/json, twice: the second time
// streams are known.
func sameAsStd(t *testing.T, text []byte) {
	var c, std Client
	want, wantErr := std.decodeSlowly(text)
	in := bytes.Clone(text)
	for range 2 {
		got, err := c.decodeStreams(in)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: error %v, encoding/json says %v", text, err, wantErr)
		}
		if err != nil {
			continue
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%q:\n%s", text, d)
		}
		if !bytes.Equal(in, text) {
			t.Fatalf("%q was changed", text)
		}
		for i := range in {
			in[i] = 'x' // it may be used again
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%q: it is still used:\n%s", text, d)
		}
		copy(in, text)
	}
}

func TestDecodeStreamsIsEncodingJSON(t *testing.T) {
	for _, s := range seeds {
		sameAsStd(t, []byte(s))
	}
	// Every prefix, and every byte replaced.
	for _, s := range seeds {
		if len(s) > 1000 {
			continue
		}
		for i := range len(s) {
			sameAsStd(t, []byte(s[:i]))
			for _, c := range []byte("\"\\{}[],:x\x00\xff") {
				b := []byte(s)
				b[i] = c
				sameAsStd(t, b)
			}
		}
	}
}

// What servers write must be read the fast way, or the speed is for nothing.
func TestDecodeStreamsFast(t *testing.T) {
	for _, s := range []string{seeds[0], seeds[11], seeds[12], seeds[13], seeds[14], seeds[15], seeds[16]} {
		d := decoder{c: new(Client), raw: []byte(s)}
		if !d.streams() {
			t.Errorf("not the fast way: %s", s)
		}
	}
}

func FuzzDecodeStreams(f *testing.F) {
	for _, s := range seeds {
		if len(s) < 1000 {
			f.Add([]byte(s))
		}
	}
	f.Fuzz(sameAsStd)
}

var envelopes = []string{
	`{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{"stream":{"a":"b"},"values":[["1","x"]]}],"stats":{"summary":{"totalBytesProcessed":5,"totalLinesProcessed":6,"execTime":0.25}}}}` + "\n",
	`{"status":"success","warnings":["careful"],"data":{"resultType":"matrix","result":[],"stats":{}}}`,
	`{"data":{"result":[1,2,{"x":[]}],"resultType":"vector"},"status":"success"}`,
	`{"status":"success","data":{"resultType":"streams","result":null,"stats":null}}`,
	`{"status":"success","data":null}`, `{"Status":"x"}`, `{"status":"a","status":"b"}`, `{"status":1}`, `{"status":"success","data":{"resultType":"streams","result":[}}`,
	`{"status":"\u0041"}`, `{"other":1,"status":"x"}`, `{}`, `null`, `[]`, ``, `{"status":"x"} trailing`, "{\"status\":\"\xff\"}",
	`{"status":"s","warnings":[1]}`, `{"status":"s","data":{"stats":{"summary":{"totalBytesProcessed":"x"}}}}`,
	`{"status":"s","data":{"stats":{"querier":{"store":{"deep":[{"a":null}]}}}}}`,
}

func sameEnvelope(t *testing.T, text []byte) {
	var want, got Answer
	wantErr := json.NewDecoder(bytes.NewReader(text)).Decode(&want)
	err := decodeAnswer(text, &got)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q: error %v, encoding/json says %v", text, err, wantErr)
	}
	if err != nil {
		return
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%q:\n%s", text, d)
	}
}

func TestDecodeAnswerIsEncodingJSON(t *testing.T) {
	for _, s := range envelopes {
		sameEnvelope(t, []byte(s))
		for i := range len(s) {
			sameEnvelope(t, []byte(s[:i]))
		}
	}
	for _, s := range envelopes[:3] {
		if !fastAnswer([]byte(s), new(Answer)) {
			t.Errorf("not the fast way: %s", s)
		}
	}
}

func FuzzDecodeAnswer(f *testing.F) {
	for _, s := range envelopes {
		f.Add([]byte(s))
	}
	f.Fuzz(sameEnvelope)
}

func TestReadAnswer(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 300_000)
	for _, size := range []int64{-1, 0, 5, int64(len(big)), int64(len(big)) + 7, 1 << 40} {
		got, err := readAnswer(iotest.HalfReader(bytes.NewReader(big)), size)
		if err != nil || !bytes.Equal(got, big) {
			t.Fatalf("size %d: %d bytes, %v", size, len(got), err)
		}
	}
	cut := errors.New("cut")
	if _, err := readAnswer(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(cut)), -1); err != cut {
		t.Fatalf("error %v", err)
	}
}

// page is an answer as a store writes it: JSON lines of some pods.
func page(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	b.WriteByte('[')
	for s := range 20 {
		if s > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"stream":{"namespace":"shop","pod":"web-%d","container":"web","node":"node-1","app":"web","stream":"stdout"},"values":[`, s)
		for i := range n / 20 {
			if i > 0 {
				b.WriteByte(',')
			}
			line := fmt.Sprintf(`{"level":"info","msg":"request done","path":"/cart/%d","status":200,"duration_ms":%d,"trace_id":"%016x"}`, r.IntN(1000), r.IntN(500), r.Uint64())
			text, _ := json.Marshal(line)
			fmt.Fprintf(&b, `["%d",%s,{"structuredMetadata":{"detected_level":"%s"}}]`, 1_700_000_000_000_000_000+int64(i)*1_000_000, text, []string{"info", "warn"}[r.IntN(2)])
		}
		b.WriteString("]}")
	}
	b.WriteByte(']')
	return b.Bytes()
}

func BenchmarkDecodeStreams(b *testing.B) {
	raw := page(5000)
	if p := os.Getenv("WEIR_BENCH_ANSWER"); p != "" {
		var err error
		if raw, err = os.ReadFile(p); err != nil {
			b.Fatal(err)
		}
	}
	for _, way := range []struct {
		name string
		f    func(c *Client) error
	}{
		{"encoding-json", func(c *Client) error { _, err := c.decodeSlowly(raw); return err }},
		{"weir", func(c *Client) error { _, err := c.decodeOwned(raw); return err }},
	} {
		b.Run(way.name, func(b *testing.B) {
			var c Client
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if err := way.f(&c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
