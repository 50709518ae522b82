package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirlog/weir/bench/mark"
)

const lines = 100

// body returns the container's line n: JSON and text in turn.
func body(n int) string {
	p := fmt.Sprintf(`order "%d" accepted`, n)
	marked := string(mark.Append(nil, mark.Mark{Stream: 0, Seq: uint32(n)}, []byte(p))) + p
	if n%2 == 0 {
		b, _ := json.Marshal(map[string]any{"msg": marked, "n": n})
		return string(b)
	}
	return "2026-11-22 INFO " + marked
}

func doc(line string) string {
	if line[0] == '{' {
		return `{"pod":"x",` + line[1:]
	}
	b, _ := json.Marshal(map[string]string{"log": line})
	return string(b)
}

func msg(num protowire.Number, parts ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), bytes.Join(parts, nil))
}

// protocols make a request body of lines; ids says whether documents have some.
var protocols = map[string]struct {
	path, contentType, encoding string
	encode                      func(lines []string) []byte
}{
	"elastic": {"/_bulk", "application/x-ndjson", "gzip", func(lines []string) []byte {
		var b []byte
		for _, l := range lines {
			b = fmt.Appendf(b, "{\"create\":{\"_index\":\"i\"}}\n%s\n", doc(l))
		}
		return b
	}},
	"jsonl": {"/insert/jsonline", "application/x-ndjson", "zstd", func(lines []string) []byte {
		var b []byte
		for _, l := range lines {
			b = append(append(b, doc(l)...), '\n')
		}
		return b
	}},
	"array": {"/x", "application/json", "", func(lines []string) []byte {
		var docs []string
		for _, l := range lines {
			docs = append(docs, doc(l))
		}
		return []byte("[" + strings.Join(docs, ",") + "]")
	}},
	"otlp": {"/v1/logs", "application/x-protobuf", "gzip", func(lines []string) []byte {
		var recs []byte
		for i, l := range lines {
			val := msg(1, []byte(l)) // string_value
			rec := append(protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), 1), msg(5, val)...)
			if i%3 == 0 { // in an attribute of a map
				rec = msg(6, msg(1, []byte("attr")), msg(2, msg(6, msg(1, msg(1, []byte("k")), msg(2, val)))))
			}
			recs = append(recs, msg(2, rec)...)
		}
		return msg(1, msg(1, msg(1, nil)), msg(2, recs))
	}},
	"otlp JSON": {"/v1/logs", "application/json", "", func(lines []string) []byte {
		var recs []string
		for _, l := range lines {
			b, _ := json.Marshal(map[string]any{"body": map[string]string{"stringValue": l}})
			recs = append(recs, string(b))
		}
		return []byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[` + strings.Join(recs, ",") + `]}]}]}`)
	}},
	"native": {"/insert/native", "application/octet-stream", "zstd", func(lines []string) []byte {
		var b []byte
		str := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
		for _, l := range lines {
			b = append(b, make([]byte, 8)...) // tenant
			str("the stream's tags")
			b = append(b, make([]byte, 8)...) // time
			b = binary.AppendUvarint(b, 2)
			str("pod")
			str("web-0")
			str("_msg")
			str(l)
		}
		return b
	}},
	"loki": {"/loki/api/v1/push", "application/x-protobuf", "snappy", func(lines []string) []byte {
		entries := msg(1, []byte(`{a="b"}`))
		for _, l := range lines {
			entries = append(entries, msg(2, msg(1, nil), msg(2, []byte(l)))...)
		}
		return msg(1, entries)
	}},
	"loki JSON of documents": {"/loki/api/v1/push", "application/json", "", func(lines []string) []byte {
		var values [][]string
		for _, l := range lines {
			d, _ := json.Marshal(map[string]string{"log": l, "stream": "stdout"})
			values = append(values, []string{"1", string(d)})
		}
		b, _ := json.Marshal(map[string]any{"streams": []any{map[string]any{"values": values}}})
		return b
	}},
	"loki JSON": {"/loki/api/v1/push", "application/json", "gzip", func(lines []string) []byte {
		var values [][]string
		for _, l := range lines {
			values = append(values, []string{"1", l})
		}
		b, _ := json.Marshal(map[string]any{"streams": []any{map[string]any{"stream": map[string]string{}, "values": values}}})
		return b
	}},
}

func compressed(t *testing.T, encoding string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch encoding {
	case "":
		return b
	case "snappy":
		return s2.EncodeSnappy(nil, b)
	case "gzip":
		w = gzip.NewWriter(&out)
	case "zstd":
		w, err = zstd.NewWriter(&out)
	}
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func post(t *testing.T, url, contentType, encoding string, b []byte) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(compressed(t, encoding, b)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// spoil are what may go wrong on the way, and what the verdict must say then.
var spoil = map[string]struct {
	change                                            func(lines []string) []string
	records, lost, doubled, altered, foreign, written int
}{
	"nothing": {func(l []string) []string { return l }, lines, 0, 0, 0, 0, lines},
	"missing": {func(l []string) []string { return append(l[:50:50], l[51:]...) }, lines - 1, 1, 0, 0, 0, lines},
	"doubled": {func(l []string) []string { return append(l, l[51]) }, lines, 0, 1, 0, 0, lines},
	"altered": {func(l []string) []string { l[51] = strings.Replace(l[51], "accepted", "acceptes", 1); return l }, lines, 0, 0, 1, 0, lines},
	"altered JSON": {func(l []string) []string { l[50] = strings.Replace(l[50], "accepted", "acceptes", 1); return l },
		lines, 0, 0, 1, 0, lines},
	"cut":     {func(l []string) []string { l[51] = l[51][:len(l[51])-1]; return l }, lines, 0, 0, 1, 0, lines},
	"foreign": {func(l []string) []string { return append(l, "the second half of something") }, lines, 0, 0, 0, 1, lines},
}

func TestOneLineSpoilsTheVerdict(t *testing.T) {
	s := newSink()
	srv := httptest.NewServer(s)
	defer srv.Close()
	for name, p := range protocols {
		for what, c := range spoil {
			s.reset()
			var all []string
			for n := range lines {
				all = append(all, body(n))
			}
			all = c.change(all)
			for half := range 2 {
				part := all[len(all)/2*half:]
				if half == 0 {
					part = all[:len(all)/2]
				}
				if code, answer := post(t, srv.URL+p.path, p.contentType, p.encoding, p.encode(part)); code/100 != 2 {
					t.Fatalf("%s, %s: %d %s", name, what, code, answer)
				}
			}
			v := s.acct.Judge([]uint32{lines})
			got := []int{int(v.Records), int(v.Lost), int(v.Doubled), int(v.Altered), int(v.Foreign), int(v.Written)}
			want := []int{c.records, c.lost, c.doubled, c.altered, c.foreign, c.written}
			if fmt.Sprint(got) != fmt.Sprint(want) || v.Clean() != (what == "nothing") {
				t.Errorf("%s, %s: %+v", name, what, v)
			}
			if st := s.stats(); st.Requests != 2 || st.Plain < 5000 || len(st.Bad) > 0 {
				t.Errorf("%s, %s: %+v", name, what, st)
			}
		}
	}
}

func TestLinesOverTCP(t *testing.T) {
	s := newSink()
	g, err := newGate("127.0.0.1:0", s.serveLines)
	if err != nil {
		t.Fatal(err)
	}
	defer g.shut()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	for n := range lines {
		end := "\n"
		if n == lines-1 {
			end = "" // cut by the close
		}
		if _, err := fmt.Fprintf(c, "<14>Nov 22 10:00:00 host tag: %s%s", body(n), end); err != nil {
			t.Fatal(err)
		}
	}
	// The sink hangs up when it has taken everything.
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if v := s.acct.Judge([]uint32{lines}); !v.Clean() {
		t.Errorf("%+v", v)
	}
}

func TestBulkAnswers(t *testing.T) {
	s := newSink()
	srv := httptest.NewServer(s)
	defer srv.Close()
	bulk := func(op, id string, n int) string {
		return fmt.Sprintf("{%q:{\"_index\":\"i\",\"_id\":%q}}\n%s\n", op, id, doc(body(n)))
	}
	type item struct {
		ID     string `json:"_id"`
		Index  string `json:"_index"`
		Status int    `json:"status"`
		Error  *struct{ Type string }
	}
	var a struct {
		Errors bool
		Items  []map[string]item
	}
	ask := func(filter, b string) {
		t.Helper()
		code, answer := post(t, srv.URL+"/_bulk"+filter, "application/json", "", []byte(b))
		if !strings.HasPrefix(answer, `{"errors":`) {
			t.Errorf("the answer begins otherwise than Elasticsearch's: %.60s", answer)
		}
		a.Items = nil
		if err := json.Unmarshal([]byte(answer), &a); err != nil || code != 200 {
			t.Fatalf("%d %s: %v", code, answer, err)
		}
	}
	ask("", bulk("create", "a", 0)+bulk("create", "b", 1)+bulk("create", "a", 0)+bulk("index", "b", 1))
	var got []int
	for _, i := range a.Items {
		for op, x := range i {
			got = append(got, x.Status)
			if x.Index != "i" || x.ID == "" || (x.Status == 409) != (x.Error != nil && x.Error.Type == "version_conflict_engine_exception") {
				t.Errorf("%s %+v", op, x)
			}
		}
	}
	if fmt.Sprint(got) != "[201 201 409 200]" || !a.Errors {
		t.Errorf("%v, errors %v", got, a.Errors)
	}
	ask("?filter_path=errors,items.*.status", bulk("create", "c", 2))
	if a.Errors || len(a.Items) != 1 || a.Items[0]["create"] != (item{Status: 201}) {
		t.Errorf("%+v", a)
	}
	if v := s.acct.Judge([]uint32{3}); v.Resent != 2 || v.Doubled != 0 || v.Lost != 0 {
		t.Errorf("%+v", v)
	}
	for _, bad := range []string{"", "{}\n", bulk("delete", "x", 3), strings.TrimSuffix(bulk("create", "x", 3), "\n"), "{\"create\":{}}\nno object\n"} {
		if code, _ := post(t, srv.URL+"/_bulk", "application/json", "", []byte(bad)); code != 400 {
			t.Errorf("%q is answered with %d", bad, code)
		}
	}
}

func TestFaults(t *testing.T) {
	s := newSink()
	data, err := newGate("127.0.0.1:0", s.serve)
	if err != nil {
		t.Fatal(err)
	}
	defer data.shut()
	ctl := httptest.NewServer(s.control(data))
	defer ctl.Close()
	send := func() (int, error) {
		b := doc(body(0)) + "\n"
		resp, err := http.Post("http://"+data.addr+"/x", "application/json", strings.NewReader(b))
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	set := func(f string) {
		t.Helper()
		if code, answer := post(t, ctl.URL+"/faults", "application/json", "", []byte(f)); code != 200 {
			t.Fatalf("%d %s", code, answer)
		}
	}
	set(`{"status":503}`)
	if code, err := send(); code != 503 || err != nil {
		t.Errorf("%d %v", code, err)
	}
	set(`{"down":true}`)
	if _, err := send(); err == nil {
		t.Error("a sink that is down answered")
	}
	set(`{"down":true}`) // again
	set(`{"latency_ms":30}`)
	began := time.Now()
	if code, err := send(); code != 200 || err != nil || time.Since(began) < 30*time.Millisecond {
		t.Errorf("%d %v after %v", code, err, time.Since(began))
	}
	if st := s.stats(); st.Records != 1 || st.Refused != 1 {
		t.Errorf("%+v", st)
	}
	if _, err := newGate("0.0.0.0:0", s.serve); err == nil {
		t.Error("it listens beyond loopback")
	}
}
