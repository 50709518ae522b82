package output

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/splunk"
)

func splunkTemplate(t testing.TB, s string, rules *wire.Sanitizer) *wire.Template {
	t.Helper()
	tm, err := wire.ParseTemplate(s, rules)
	if err != nil {
		t.Fatal(err)
	}
	return tm
}

func newSplunk(t testing.TB, url string, change func(*SplunkConfig)) *Splunk {
	t.Helper()
	c := SplunkConfig{HTTPConfig: HTTPConfig{URL: url, Timeout: 5 * time.Second}, Token: "canary-token", AckEvery: 10 * time.Millisecond, Encoding: splunk.EncoderConfig{
		Source:     splunkTemplate(t, "${namespace}/${pod}", wire.SanitizeText),
		Sourcetype: splunkTemplate(t, "kube:${container}", wire.SanitizeText),
		Host:       splunkTemplate(t, "${node:-none}", wire.SanitizeText),
	}}
	if change != nil {
		change(&c)
	}
	o, err := NewSplunk(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

type hecEvent struct {
	Time                            json.Number
	Host, Source, Sourcetype, Index string
	Event                           any
	Fields                          map[string]string
}

func TestSplunkSends(t *testing.T) {
	for _, method := range []string{"", "none"} {
		var body []byte
		var r0 *http.Request
		s := server(t, func(w http.ResponseWriter, r *http.Request) {
			body, r0 = bodyOf(t, r), r
			if len(body) == 0 {
				w.WriteHeader(400)
				_, _ = io.WriteString(w, `{"text":"No data","code":5}`)
				return
			}
			_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
		})
		o := newSplunk(t, s.URL+"/prefix", func(c *SplunkConfig) {
			c.Compression = method
			c.Encoding.Index = splunkTemplate(t, "k8s_${namespace}", wire.SanitizeSplunkIndex)
		})
		if err := o.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		b := batchOf(testStream, "one \"q\"\n\xff", `{"k":1}`, "", "{}")
		res, err := o.Send(t.Context(), partsOf(b))
		if err != nil || res.Bytes == 0 {
			t.Fatal(res, err)
		}
		if r0.URL.Path != "/prefix/services/collector/event" || r0.Header.Get("Authorization") != "Splunk canary-token" {
			t.Errorf("%s %v", r0.URL, r0.Header)
		}
		d := json.NewDecoder(strings.NewReader(string(body)))
		d.UseNumber()
		var got []hecEvent
		for d.More() {
			var e hecEvent
			if err := d.Decode(&e); err != nil {
				t.Fatalf("%v in %s", err, body)
			}
			got = append(got, e)
		}
		if len(got) != 4 {
			t.Fatalf("%d events", len(got))
		}
		e := got[0]
		if e.Time != "1795000000.000000000" || e.Host != "none" || e.Source != "shop/api-1" || e.Sourcetype != "kube:api" || e.Index != "k8s_shop" || e.Event != "one \"q\"\n\ufffd" {
			t.Errorf("%+v", e)
		}
		if e.Fields["namespace"] != "shop" || e.Fields["weir_id"] != wire.RecordID(b, 0).String() {
			t.Errorf("fields %v", e.Fields)
		}
		if got[1].Time != "1795000000.001000000" || fmt.Sprint(got[1].Event) != "map[k:1]" || fmt.Sprint(got[2].Event) != "map[message:]" || got[3].Event != "{}" {
			t.Errorf("%+v", got[1:])
		}
	}
}

// Rows 79, 80, 83, 85: codes of the collector.
func TestFailure80_SplunkCodes(t *testing.T) {
	templated := func(c *SplunkConfig) {
		c.Encoding.Index = splunkTemplate(t, "${namespace}", wire.SanitizeSplunkIndex)
	}
	for _, c := range []struct {
		status int
		body   string
		change func(*SplunkConfig)
		kind   ack.ErrorKind
		text   string
	}{
		{400, `{"text":"Invalid data format","code":6,"invalid-event-number":1}`, nil, ack.Rejected, "code 6"},
		{400, `{"text":"Event field is required","code":12}`, nil, ack.Rejected, ""},
		{400, `{"text":"Event field cannot be blank","code":13}`, nil, ack.Rejected, ""},
		{400, `{"text":"Error in handling indexed fields","code":15}`, nil, ack.Rejected, ""},
		{400, `{"text":"Incorrect index","code":7}`, nil, ack.Retry, "check index"},
		{400, `{"text":"Incorrect index","code":7}`, templated, ack.Rejected, "check index"},
		{400, `{"text":"Data channel is missing","code":10}`, nil, ack.Retry, "enabled: true"},
		{400, `{"text":"ACK is disabled","code":14}`, nil, ack.Retry, "enabled: false"},
		{403, `{"text":"Invalid token","code":4}`, nil, ack.Unauthorized, "token"},
		{401, `{"text":"Token is required","code":2}`, nil, ack.Unauthorized, "token"},
		{503, `{"text":"Server is busy","code":9}`, nil, ack.Retry, "code 9"},
		{500, `{"text":"Internal server error","code":8}`, nil, ack.Retry, ""},
		{413, `<html>too big</html>`, nil, ack.TooLarge, "413"},
		{200, `<html>Sign in</html>`, nil, ack.Retry, "proxy"},
		{200, ``, nil, ack.Retry, "proxy"},
		{200, `{"text":"Success"}`, nil, ack.Retry, ""},
		{400, `secretcontent`, nil, ack.Retry, "400"},
	} {
		t.Run(c.body, func(t *testing.T) {
			s := server(t, func(w http.ResponseWriter, r *http.Request) {
				bodyOf(t, r)
				w.Header().Set("Retry-After", "3")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			o := newSplunk(t, s.URL, c.change)
			_, err := o.Send(t.Context(), someParts("secretcontent"))
			se := wantKind(t, err, c.kind)
			if text := fmt.Sprintf("%v %v %#v", se, o, o); !strings.Contains(text, c.text) || strings.Contains(text, "secretcontent") || strings.Contains(text, "canary") {
				t.Errorf("%q", text)
			}
		})
	}
}

func TestSplunkAcknowledgement(t *testing.T) {
	var asked, events atomic.Int64
	var mode atomic.Value
	mode.Store("late")
	var channel string
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		body := bodyOf(t, r)
		if strings.HasSuffix(r.URL.Path, "/event") {
			channel = r.URL.Query().Get("channel")
			fmt.Fprintf(w, `{"text":"Success","code":0,"ackId":%d}`, 40+events.Add(1))
			return
		}
		if r.URL.Path != "/services/collector/ack" || r.URL.Query().Get("channel") != channel || !strings.HasPrefix(string(body), `{"acks":[4`) {
			t.Errorf("asked %s %s", r.URL, body)
		}
		n := asked.Add(1)
		id := string(body[len(`{"acks":[`) : len(body)-2])
		switch {
		case mode.Load() == "never" || n == 1:
			fmt.Fprintf(w, `{"acks":{"%s":false}}`, id)
		case n == 2:
			w.WriteHeader(503) // does not end it
		default:
			fmt.Fprintf(w, `{"acks":{"%s":true}}`, id)
		}
	})
	o := newSplunk(t, s.URL, func(c *SplunkConfig) { c.Ack, c.AckTimeout = true, 300*time.Millisecond })
	if _, err := o.Send(t.Context(), someParts("a")); err != nil || asked.Load() != 3 || len(channel) != 36 {
		t.Fatalf("%v after %d questions", err, asked.Load())
	}
	mode.Store("never")
	_, err := o.Send(t.Context(), someParts("a"))
	if se := wantKind(t, err, ack.Retry); !errors.Is(se, context.DeadlineExceeded) {
		t.Errorf("%q", se)
	}
	without := server(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, `{"text":"Success","code":0}`) })
	_, err = newSplunk(t, without.URL, func(c *SplunkConfig) { c.Ack = true }).Send(t.Context(), someParts("a"))
	if se := wantKind(t, err, ack.Retry); !strings.Contains(se.Error(), "enabled: false") {
		t.Errorf("%q", se)
	}
}

// Row 83: a new token in the file is used.
func TestFailure83_SplunkTokenFile(t *testing.T) {
	var want atomic.Value
	want.Store("Splunk one")
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != want.Load() {
			w.WriteHeader(403)
			_, _ = io.WriteString(w, `{"text":"Invalid token","code":4}`)
			return
		}
		_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
	})
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "one\n")
	o := newSplunk(t, s.URL, func(c *SplunkConfig) { c.Token, c.TokenFile = "", file })
	if _, err := o.Send(t.Context(), someParts("a")); err != nil {
		t.Fatal(err)
	}
	want.Store("Splunk second")
	replace(t, file, "second")
	_, err := o.Send(t.Context(), someParts("a"))
	if err != nil { // noticed at once, or with the refusal
		wantKind(t, err, ack.Unauthorized)
		if _, err := o.Send(t.Context(), someParts("a")); err != nil {
			t.Fatal(err)
		}
	}
}

// Row 111: what a program logs does not become another event or another index.
func TestFailure111_SplunkInjection(t *testing.T) {
	var body []byte
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		body = bodyOf(t, r)
		_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
	})
	evil := record.NewStream([]record.Attr{{Name: "namespace", Value: `_internal","event":"x`}, {Name: "pod", Value: "a\"}{\"event\":\"forged\"}\n"}, {Name: "level", Value: "x"}}, nil, nil)
	o := newSplunk(t, s.URL, func(c *SplunkConfig) {
		c.Encoding.Index = splunkTemplate(t, "${namespace}", wire.SanitizeSplunkIndex)
	})
	if _, err := o.Send(t.Context(), partsOf(batchOf(evil, "\"}\n{\"event\":\"forged\",\"index\":\"_internal\"}"))); err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	n := 0
	for d.More() {
		var e hecEvent
		if err := d.Decode(&e); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if n++; e.Index == "" || strings.HasPrefix(e.Index, "_") || strings.ContainsAny(e.Index, "\",") {
			t.Errorf("index %q", e.Index)
		}
	}
	if n != 1 {
		t.Errorf("%d events: %s", n, body)
	}
}

func BenchmarkSplunk(b *testing.B) {
	for _, method := range []string{"none", "gzip"} {
		b.Run(method, func(b *testing.B) {
			url := discard(b, []byte(`{"text":"Success","code":0}`))
			benchmarkSend(b, newSplunk(b, url, func(c *SplunkConfig) { c.Compression = method }))
		})
	}
}
