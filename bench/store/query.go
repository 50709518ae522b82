package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weirlog/weir/bench/stores"
)

// How often a query is repeated: until it has taken so much, but not more often
// and not less; what takes seconds once more. What is cheap is repeated often
// and divided.
const (
	enoughCPU = 400 * time.Millisecond
	mostRuns  = 300
	leastRuns = 3
)

// query asks once, compares the answer, and asks again many times.
func (r *run) query(ctx context.Context, q stores.Query, ask *stores.Ask) (query, error) {
	m := query{Query: string(q), Label: ask.Label, Text: ask.Text}
	if r.o.verb {
		say("%s: %s", r.p.Name, ask.Text)
	}
	if err := r.calm(ctx, time.Second); err != nil {
		return m, err
	}
	if err := r.proc.ResetPeak(); err != nil {
		return m, err
	}
	before, began := r.proc.Usage().CPU, time.Now()
	body, err := r.ask(ctx, ask)
	if err != nil {
		select {
		case <-r.proc.Done():
			return m, err
		default:
		}
		m.Wrong = oneLine(err)
		return m, nil
	}
	m.FirstWall = time.Since(began).Seconds()
	m.First = r.cpu(before, began)
	m.Size = len(body)
	answer, err := ask.Decode(body)
	if err == nil {
		err = stores.Check(q, r.truth, answer)
	}
	if err != nil {
		m.Wrong = oneLine(err)
		return m, nil
	}
	var walls []float64
	enough, least := enoughCPU, leastRuns
	if m.First > 3 {
		least = 1
	}
	if r.o.hurry {
		enough = 0
	}
	before, began = r.proc.Usage().CPU, time.Now()
	for n := 0; n < mostRuns && (n < least || r.proc.Usage().CPU-before < enough); n++ {
		at := time.Now()
		again, err := r.ask(ctx, ask)
		if err != nil {
			return m, err
		}
		walls = append(walls, time.Since(at).Seconds())
		if len(again) < m.Size*9/10 {
			return m, fmt.Errorf("%d bytes the first time, %d later", m.Size, len(again))
		}
	}
	m.Runs = len(walls)
	m.Warm = r.cpu(before, began) / float64(m.Runs)
	slices.Sort(walls)
	m.Wall = walls[len(walls)/2]
	m.Peak = r.proc.Usage().Peak
	return m, nil
}

func oneLine(err error) string {
	s := strings.Join(strings.Fields(err.Error()), " ")
	return s[:min(len(s), 300)]
}

// cpu is what was used since, without what it takes anyway.
func (r *run) cpu(before time.Duration, began time.Time) float64 {
	used := (r.proc.Usage().CPU - before).Seconds()
	return max(0, used-r.idle*time.Since(began).Seconds())
}

func (r *run) ask(ctx context.Context, ask *stores.Ask) ([]byte, error) {
	req, err := ask.Request(ctx, r.job.URL())
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", resp.Status, body[:min(len(body), 300)])
	}
	return body, nil
}
