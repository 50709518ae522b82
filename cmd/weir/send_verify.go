package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/show"
)

// verifyReport says which lines of a run were found, and how.
type verifyReport struct {
	// Wanted are the lines that must be there: those that were acknowledged, or
	// sent if the server does not say.
	Wanted  int64 `json:"wanted"`
	Found   int64 `json:"found"` // of them, at least once
	Missing int64 `json:"missing"`
	// Doubled are lines that are there more than once; Resent of them were sent
	// more than once, after an attempt of which nobody knows what became.
	Doubled int64 `json:"doubled"`
	Resent  int64 `json:"doubled_resent"`
	Altered int64 `json:"altered"`
	// Unconfirmed are lines that were found although they were not acknowledged.
	Unconfirmed int64   `json:"unconfirmed"`
	Seconds     float64 `json:"seconds"`
	// The first of them: CLIENT/NUMBER, and ranges CLIENT/FIRST-LAST.
	MissingLines []string `json:"missing_lines,omitempty"`
	DoubledLines []string `json:"doubled_lines,omitempty"`
	AlteredLines []string `json:"altered_lines,omitempty"`
}

// good reports whether every line that must be there is, once, and as it was.
// What was sent again for want of an answer may be there twice.
func (v *verifyReport) good() bool {
	return v.Missing == 0 && v.Altered == 0 && v.Doubled == v.Resent
}

func (v *verifyReport) print(b *strings.Builder) {
	if v.Missing+v.Doubled+v.Altered == 0 {
		fmt.Fprintf(b, "%-13s all %s are there, once and whole\n", "verified", grouped(v.Wanted))
	} else {
		fmt.Fprintf(b, "%-13s %s of %s are there\n", "verified", grouped(v.Found), grouped(v.Wanted))
	}
	list := func(name string, n int64, more string, which []string) {
		if n == 0 {
			return
		}
		text := strings.Join(which, " ")
		if len(which) == mostListed {
			text += " …"
		}
		fmt.Fprintf(b, "%-13s %s%s: %s\n", name, grouped(n), more, text)
	}
	list("missing", v.Missing, "", v.MissingLines)
	more := ""
	if v.Resent > 0 {
		more = fmt.Sprintf(" (%s of them were sent again for want of an answer)", grouped(v.Resent))
	}
	list("doubled", v.Doubled, more, v.DoubledLines)
	list("altered", v.Altered, "", v.AlteredLines)
	if v.Unconfirmed > 0 {
		fmt.Fprintf(b, "%-13s %s are there although nothing was acknowledged\n", "unconfirmed", grouped(v.Unconfirmed))
	}
}

// mostListed is how many lines of each kind are named.
const mostListed = 10

// canVerify finds out before anything is sent whether the server can be asked.
func (o *sendOptions) canVerify(ctx context.Context, errOut io.Writer) error {
	if o.verifyWait == 0 {
		o.verifyWait = time.Nanosecond
	}
	return o.from.use(ctx, wanted{}, errOut, func(c *read.Client) error {
		_, err := c.Names(ctx, 0, 0)
		return err
	})
}

// found is what a look at the server has seen of one client's lines.
type foundLines struct{ once, twice, altered bits }

// verify looks for the lines of the run until all that must be there are, or the
// time for it is over.
func (r *sendRun) verify(ctx context.Context, errOut io.Writer) (*verifyReport, error) {
	began := time.Now()
	if ctx.Err() != nil { // Ctrl-C ended the sending: look once
		ctx = context.WithoutCancel(ctx)
		r.o.verifyWait = time.Nanosecond
	}
	deadline := began.Add(r.o.verifyWait)
	p := newProgress(errOut)
	defer p.clear()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		rep, err := r.look(ctx, errOut, p)
		if err != nil {
			return rep, err
		}
		rep.Seconds = time.Since(began).Seconds()
		if rep.Missing > 0 && !r.wide { // not every protocol carries labels
			r.wide = true
			continue
		}
		if rep.Missing == 0 || time.Now().After(deadline) {
			return rep, nil
		}
		p.show("%s of %s are there", grouped(rep.Found), grouped(rep.Wanted))
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return rep, nil
		case <-t.C:
		}
	}
}

// look reads every line of the run that the server has.
func (r *sendRun) look(ctx context.Context, errOut io.Writer, p *progress) (*verifyReport, error) {
	seen := make([]foundLines, len(r.fate))
	foreign := int64(0)
	want := read.Want{
		From: r.began.Add(-time.Minute).UnixNano(), To: time.Now().Add(time.Hour).UnixNano(), Forward: true,
	}
	n := int64(0)
	err := r.o.from.use(ctx, wanted{}, errOut, func(c *read.Client) error {
		selector, err := r.selector(ctx, c)
		if err != nil || selector == "" { // the server has nothing yet
			return err
		}
		want.Query = selector + " |= `" + r.o.run + "/`"
		var cost read.Cost
		return c.Lines(ctx, want, &cost, func(page []show.Entry) error {
			n += int64(len(page))
			p.show("%s lines read back", grouped(n))
			for i := range page {
				client, number, whole, ok := readMark([]byte(page[i].Line), r.o.run)
				if !ok {
					continue
				}
				if client >= len(seen) || !r.fate[client].sent.has(number) {
					foreign++
					continue
				}
				s := &seen[client]
				if s.once.has(number) {
					s.twice.add(number)
				}
				s.once.add(number)
				if !whole {
					s.altered.add(number)
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	rep := &verifyReport{Altered: foreign} // lines that nobody sent
	if foreign > 0 {
		rep.AlteredLines = append(rep.AlteredLines, "of numbers that were not sent")
	}
	for c, f := range r.fate {
		must := &f.sent
		if r.target.tells() {
			must = &f.acked
		}
		s := &seen[c]
		var missing, doubled, altered ranges
		for w := range f.sent.words {
			for b := range uint32(64) {
				i := uint32(w)*64 + b
				if !f.sent.has(i) {
					continue
				}
				here := s.once.has(i)
				switch {
				case must.has(i):
					rep.Wanted++
					if here {
						rep.Found++
					} else {
						rep.Missing++
						missing.add(i)
					}
				case here:
					rep.Unconfirmed++
				}
				if s.twice.has(i) {
					rep.Doubled++
					if f.again.has(i) {
						rep.Resent++
					}
					doubled.add(i)
				}
				if s.altered.has(i) {
					rep.Altered++
					altered.add(i)
				}
			}
		}
		rep.MissingLines = missing.list(rep.MissingLines, c)
		rep.DoubledLines = doubled.list(rep.DoubledLines, c)
		rep.AlteredLines = altered.list(rep.AlteredLines, c)
	}
	return rep, nil
}

// selector selects the lines of the run: by the label that all of them have if
// the server knows it, else among everything.
func (r *sendRun) selector(ctx context.Context, c *read.Client) (string, error) {
	from, to := r.began.Add(-time.Minute).UnixNano(), time.Now().Add(time.Hour).UnixNano()
	service := r.o.attributes()["service_name"]
	if r.wide {
		return c.Everything(ctx, from, to)
	}
	names, err := c.Values(ctx, "service_name", from, to)
	if err != nil {
		return "", err
	}
	for _, n := range names {
		if n == service {
			return fmt.Sprintf("{service_name=%q}", service), nil
		}
	}
	return c.Everything(ctx, from, to)
}

// ranges collects ascending numbers.
type ranges struct{ pairs [][2]uint32 }

func (r *ranges) add(n uint32) {
	if k := len(r.pairs); k > 0 && r.pairs[k-1][1]+1 == n {
		r.pairs[k-1][1] = n
		return
	}
	if len(r.pairs) < mostListed+1 {
		r.pairs = append(r.pairs, [2]uint32{n, n})
	}
}

func (r *ranges) list(dst []string, client int) []string {
	for _, p := range r.pairs {
		if len(dst) >= mostListed {
			break
		}
		text := fmt.Sprintf("%d/%d", client, p[0])
		if p[1] > p[0] {
			text += fmt.Sprintf("-%d", p[1])
		}
		dst = append(dst, text)
	}
	return dst
}
