package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// A made line says which it is, and whether it is whole.
func TestMarks(t *testing.T) {
	for _, style := range []string{"text", "json", "mixed"} {
		lines := lineTexts(1, style, 200)
		if len(lines) != 200 {
			t.Fatalf("%d lines of style %s", len(lines), style)
		}
		for _, size := range []int{0, 64, 500} {
			g := &generator{run: "0badcafe", client: 3, lines: lines, size: size}
			for n := range uint32(300) {
				line, number, err := g.next(nil)
				if err != nil || number != n {
					t.Fatal(number, err)
				}
				client, number, whole, ok := readMark(line, "0badcafe")
				if client != 3 || number != n || !whole || !ok {
					t.Fatalf("%s: %d/%d whole %t ok %t", line, client, number, whole, ok)
				}
				if size == 500 && !isObject(line) && (len(line) > size || len(line) < size-4) {
					t.Errorf("%d bytes, want %d: %s", len(line), size, line)
				}
				if _, _, _, ok := readMark(line, "00000000"); ok {
					t.Error("it is found in another run")
				}
				bad := append([]byte(nil), line...)
				bad[0] ^= 1
				if _, n2, whole, ok := readMark(bad, "0badcafe"); whole || !ok || n2 != n {
					t.Errorf("altered: whole %t, ok %t: %s", whole, ok, bad)
				}
				if _, _, whole, _ := readMark(append(line, 'x'), "0badcafe"); whole {
					t.Errorf("with more behind it is whole: %s", line)
				}
			}
		}
	}
	a, b := lineTexts(1, "mixed", 50), lineTexts(2, "mixed", 50)
	if fmt.Sprintf("%s", a) == fmt.Sprintf("%s", b) || fmt.Sprintf("%s", a) != fmt.Sprintf("%s", lineTexts(1, "mixed", 50)) {
		t.Error("the seed does not choose the lines")
	}
}

func TestParseSendTarget(t *testing.T) {
	for _, c := range []struct{ arg, protocol, want string }{
		{"otlp://h", "", "otlp http http://h:4318/v1/logs"},
		{"otlp+https://h", "", "otlp http https://h:4318/v1/logs"},
		{"grpc://h:1", "", "otlp-grpc grpc grpc://h:1"},
		{"grpcs://h", "", "otlp-grpc grpc grpcs://h:4317"},
		{"http://h:7410", "", "otlp http http://h:7410/v1/logs"},
		{"http://h:7410/loki/api/v1/push", "", "loki http http://h:7410/loki/api/v1/push"},
		{"https://u:p@h:9200", "", "elasticsearch http https://u:xxxxx@h:9200/_bulk"},
		{"http://h/services/collector", "", "splunk http http://h:80/services/collector"},
		{"http://h:8088", "splunk-raw", "splunk-raw http http://h:8088/services/collector/raw"},
		{"syslog+tls://h", "", "syslog tcp syslog+tls://h:5514"},
		{"syslog+udp://[::1]:1", "syslog-3164", "syslog-3164 udp syslog-3164+udp://[::1]:1"},
		{"tcp://h:5", "lines", "lines tcp lines+tcp://h:5"},
		{"lines+unix:///run/x", "", "lines unix lines+unix:///run/x"},
	} {
		got, err := parseSendTarget(c.arg, c.protocol)
		if err != nil {
			t.Errorf("%s: %v", c.arg, err)
			continue
		}
		if text := got.proto.name + " " + got.via + " " + got.String(); text != c.want {
			t.Errorf("%s: %s, want %s", c.arg, text, c.want)
		}
	}
}

func TestFileSource(t *testing.T) {
	long := strings.Repeat("x", 100)
	s := &fileSource{r: bufio.NewReaderSize(strings.NewReader("a\r\n\n\nb\n"+long+"\nend"), 16), maxLine: 64}
	var got []string
	for {
		line, n, err := s.next(nil)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || int(n) != len(got) {
			t.Fatal(n, err)
		}
		got = append(got, string(line))
	}
	if strings.Join(got[2:4], "") != long || strings.Join(append(got[:2], got[4:]...), " ") != "a b end" {
		t.Errorf("%q", got)
	}
}

func TestLatencies(t *testing.T) {
	var l latencies
	for i := range 1000 {
		l.add(time.Duration(i+1) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{.5: 500 * time.Millisecond, .95: 950 * time.Millisecond, .99: 990 * time.Millisecond} {
		if got := l.quantile(q); got < want*9/10 || got > want*11/10 {
			t.Errorf("p%.0f is %s, want about %s", q*100, got, want)
		}
	}
	if l.max != time.Second {
		t.Error(l.max)
	}
}

func TestParseMetrics(t *testing.T) {
	m, err := parseMetrics(strings.NewReader("# HELP a b\na 1\nb{x=\"1\",y=\"q\\\"\\\\\\nz\"} 2.5 1700000000\nb{x=\"2\"} +Inf\n"))
	if err != nil {
		t.Fatal(err)
	}
	if m.sum("a") != 1 || m.sum("b", "x", "1") != 2.5 || m["b"][0].labels["y"] != "q\"\\\nz" || fmt.Sprint(m.values("x", "b")) != "[1 2]" {
		t.Errorf("%v", m)
	}
	if _, ok := m.get("b", "x", "3"); ok {
		t.Error("there is a value for labels that do not exist")
	}
	for _, bad := range []string{"{", "a{x=\"1} 2", "a b", "a{x} 1"} {
		if _, err := parseMetrics(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken for metrics", bad)
		}
	}
}

// What a step did is said of each thing that it changed, and nothing of others.
func TestChanges(t *testing.T) {
	a := &tapRecord{Body: "secret=1 and the rest", Level: "info", Fields: []tapField{{"x", "1"}, {"y", "1"}, {"z", "1"}}}
	b := &tapRecord{Body: "secret=* and the rest", Level: "warn", Fields: []tapField{{"x", "1"}, {"y", "2"}, {"w", "1"}}, Dropped: true}
	got := fmt.Sprint(changes(a, b))
	if want := "[{× dropped} {- body secret=1 and the rest} {+ body secret=* and the rest} {~ level=warn, was info} {+ w=1} {~ y=2, was 1} {- z=1}]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := changes(a, a); len(got) != 0 {
		t.Errorf("nothing has changed, and it says %v", got)
	}
	if got := changes(a, nil); len(got) != 1 || got[0].sign != "×" {
		t.Errorf("gone: %v", got)
	}
}
