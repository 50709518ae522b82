package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// seen are the lines that came by a way, by number.
type seen struct {
	mu sync.Mutex
	at map[int]time.Time
}

// line notes a line's first coming.
func (s *seen) line(text string, now time.Time) {
	var n int
	if _, err := fmt.Sscanf(text, "line %d ", &n); err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.at[n]; !ok {
		s.at[n] = now
	}
}

// latency writes single lines, and looks when they come by tail and by query.
func (o *options) latency(ctx context.Context, dir string, chosen []participant) error {
	u, err := o.up(ctx, dir, chosen)
	if err != nil {
		return err
	}
	defer u.stop()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	tailed, queried := &seen{at: make(map[int]time.Time)}, &seen{at: make(map[int]time.Time)}
	errs := make(chan error, 2)
	query := fmt.Sprintf("{app=%q}", upLabel)
	c, _, err := websocket.Dial(ctx, strings.Replace(u.url, "http", "ws", 1)+"/loki/api/v1/tail?"+url.Values{"query": {query}}.Encode(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = c.CloseNow() }() // the server stops anyway
	wg.Go(func() { errs <- tail(ctx, c, tailed) })
	wg.Go(func() { errs <- poll(ctx, u, query, queried) })

	f, err := os.Create(filepath.Join(u.dir, "1.log"))
	if err != nil {
		return err
	}
	defer f.Close()
	var written []time.Time
	rng := rand.New(rand.NewPCG(o.seed, 5))
	for began := time.Now(); time.Since(began) < o.duration; {
		written = append(written, time.Now())
		if _, err := fmt.Fprintf(f, "line %d is written, and nothing else happens\n", len(written)-1); err != nil {
			return err
		}
		pause := time.NewTimer(10*time.Millisecond + time.Duration(rng.IntN(80))*time.Millisecond)
		select {
		case err := <-errs:
			pause.Stop()
			return err
		case <-pause.C:
		}
	}
	for range 100 { // the last ones
		if tailed.len() == len(written) && queried.len() == len(written) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	fmt.Printf("%s. weir up, a line every 10 to 90 ms, %v.\n\n| visible in | lines | missing | p50, ms | p99, ms | longest |\n|---|---|---|---|---|---|\n", machine(), o.duration)
	tailed.print("tail", written)
	queried.print("query, asked every 5 ms", written)
	if a, b := tailed.len(), queried.len(); a != len(written) || b != len(written) {
		return fmt.Errorf("%d lines came by tail and %d by query, of %d", a, b, len(written))
	}
	return nil
}

func (s *seen) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at)
}

func (s *seen) print(way string, written []time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var took []time.Duration
	for n, at := range s.at {
		if n < len(written) {
			took = append(took, at.Sub(written[n]))
		}
	}
	slices.Sort(took)
	if len(took) == 0 {
		fmt.Printf("| %s | 0 | %d | | | |\n", way, len(written))
		return
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	fmt.Printf("| %s | %d | %d | %.0f | %.0f | %.0f |\n", way, len(took), len(written)-len(took), ms(took[len(took)/2]), ms(took[len(took)*99/100]), ms(took[len(took)-1]))
}

// streams is what answers and frames of the tail have.
type streams []struct {
	Values [][2]string `json:"values"`
}

func (all streams) note(s *seen) {
	now := time.Now()
	for _, st := range all {
		for _, v := range st.Values {
			s.line(v[1], now)
		}
	}
}

func tail(ctx context.Context, c *websocket.Conn, s *seen) error {
	c.SetReadLimit(16 << 20)
	for {
		_, frame, err := c.Read(ctx)
		if err != nil {
			return ended(ctx, err)
		}
		var m struct {
			Streams streams `json:"streams"`
		}
		if err := json.Unmarshal(frame, &m); err != nil {
			return err
		}
		m.Streams.note(s)
	}
}

func poll(ctx context.Context, u *upped, query string, s *seen) error {
	for {
		var answer struct {
			Data struct {
				Result streams `json:"result"`
			} `json:"data"`
		}
		if err := u.get(ctx, "/loki/api/v1/query_range", url.Values{"query": {query}, "limit": {"50"}}, &answer); err != nil {
			return ended(ctx, err)
		}
		answer.Data.Result.note(s)
		t := time.NewTimer(5 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// ended is nil if it is over because it should be.
func ended(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return err
}
