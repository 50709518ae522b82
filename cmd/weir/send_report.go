package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// sendReport is what weir send says at the end; -o json prints it as it is.
type sendReport struct {
	Run          string        `json:"run"` // names the run in the lines it made
	Target       string        `json:"target"`
	Protocol     string        `json:"protocol"`
	Clients      int           `json:"clients"`
	Seconds      float64       `json:"seconds"`
	Sent         int64         `json:"sent"`       // lines
	SentBytes    int64         `json:"sent_bytes"` // of lines
	WireBytes    int64         `json:"wire_bytes"` // as they went over the wire, as far as they were answered
	Requests     int64         `json:"requests"`   // attempts
	Answers      bool          `json:"answers"`    // the server says what it has taken
	Acknowledged int64         `json:"acknowledged"`
	Refused      int64         `json:"refused"`
	Resent       int64         `json:"resent"` // lines, as often as they were
	GivenUp      int64         `json:"given_up"`
	LinesPerSec  float64       `json:"lines_per_second"`
	BytesPerSec  float64       `json:"bytes_per_second"`
	Latency      sendLatency   `json:"latency_seconds"`
	Errors       []sendError   `json:"errors,omitempty"`
	Verify       *verifyReport `json:"verify,omitempty"`
}

type sendLatency struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

type sendError struct {
	Times int64  `json:"times"`
	What  string `json:"what"`
}

// report says how the run went.
func (r *sendRun) report() *sendReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep := &sendReport{
		Run: r.o.run, Target: r.target.String(), Protocol: r.target.proto.name, Clients: r.o.clients,
		Seconds: time.Since(r.began).Seconds(), Sent: r.sent.Load(), SentBytes: r.sentBytes.Load(), WireBytes: r.wire.Load(),
		Requests: r.requests.Load(), Answers: r.target.tells(), Refused: r.refused.Load(), Resent: r.resent.Load(), GivenUp: r.gaveUp.Load(),
		Latency: sendLatency{r.latency.quantile(.5).Seconds(), r.latency.quantile(.95).Seconds(), r.latency.quantile(.99).Seconds(), r.latency.max.Seconds()},
	}
	if rep.Answers {
		rep.Acknowledged = r.acked.Load()
	}
	rep.LinesPerSec, rep.BytesPerSec = float64(rep.Sent)/rep.Seconds, float64(rep.SentBytes)/rep.Seconds
	for what, n := range r.errors {
		rep.Errors = append(rep.Errors, sendError{n, what})
	}
	slices.SortFunc(rep.Errors, func(a, b sendError) int { return cmp.Or(cmp.Compare(b.Times, a.Times), cmp.Compare(a.What, b.What)) })
	rep.Errors = rep.Errors[:min(len(rep.Errors), 10)]
	return rep
}

// add adds what another run did.
func (r *sendRun) add(o *sendRun) {
	if r.began.IsZero() {
		r.began = o.began
	}
	r.sent.Add(o.sent.Load())
	r.sentBytes.Add(o.sentBytes.Load())
	r.acked.Add(o.acked.Load())
	r.refused.Add(o.refused.Load())
	r.resent.Add(o.resent.Load())
	r.gaveUp.Add(o.gaveUp.Load())
	r.requests.Add(o.requests.Load())
	r.wire.Add(o.wire.Load())
	for i, n := range o.latency.counts {
		r.latency.counts[i] += n
	}
	r.latency.n += o.latency.n
	r.latency.max = max(r.latency.max, o.latency.max)
	for what, n := range o.errors {
		r.failed(what, n)
	}
}

func (r *sendReport) print(w io.Writer, format string) error {
	if format == "json" {
		return json.NewEncoder(w).Encode(r)
	}
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-13s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("sent", "%s, %s, in %s: %s/s, %s/s", pluralGrouped(r.Sent, "line"), perSecond(float64(r.SentBytes)), seconds(r.Seconds), groupedLines(r.LinesPerSec), perSecond(r.BytesPerSec))
	if r.Answers {
		row("acknowledged", "%s", grouped(r.Acknowledged))
	} else {
		row("acknowledged", "unknown: %s has no answer", r.Protocol)
	}
	row("refused", "%s", grouped(r.Refused))
	if r.Resent > 0 {
		row("sent again", "%s", grouped(r.Resent))
	}
	if r.GivenUp > 0 {
		row("given up", "%s", grouped(r.GivenUp))
	}
	row("requests", "%s, %s on the wire", grouped(r.Requests), perSecond(float64(r.WireBytes)))
	if r.Answers {
		row("latency", "p50 %s  p95 %s  p99 %s  max %s", seconds(r.Latency.P50), seconds(r.Latency.P95), seconds(r.Latency.P99), seconds(r.Latency.Max))
	}
	for i, e := range r.Errors {
		name := ""
		if i == 0 {
			name = "errors"
		}
		row(name, "%s× %s", grouped(e.Times), printableText(e.What))
	}
	if r.Verify != nil {
		r.Verify.print(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func pluralGrouped(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return grouped(n) + " " + what
}

func groupedLines(n float64) string {
	if n < 10 {
		return fmt.Sprintf("%.1f lines", n)
	}
	return grouped(int64(n)) + " lines"
}

// seconds prints a time with three digits.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d >= time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return fmt.Sprintf("%.3g s", s)
	case d >= time.Millisecond:
		return fmt.Sprintf("%.3g ms", s*1e3)
	}
	return fmt.Sprintf("%.3g µs", s*1e6)
}
