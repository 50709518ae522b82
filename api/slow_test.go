package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// slowly is a client that takes its time, which the test's clock does not show.
type slowly struct {
	httptest.ResponseRecorder
	by []time.Time
}

func (c *slowly) SetWriteDeadline(t time.Time) error {
	c.by = append(c.by, t)
	return nil
}

// TestDeadlinesOfAnAnswer looks at the deadlines that a large answer sets: each
// piece has its time, and all together have what a slow line needs.
func TestDeadlinesOfAnAnswer(t *testing.T) {
	s := newServer(t, Config{Store: large(1 << 20), Limits: Limits{Write: time.Hour}})
	c := &slowly{ResponseRecorder: *httptest.NewRecorder()}
	began := time.Now()
	s.ServeHTTP(c, httptest.NewRequest("GET", v1+"query_range?"+form("query", `{app="large"}`, "limit", "50000").Encode(), nil))
	if len(c.by) < 10 || !c.by[len(c.by)-1].IsZero() {
		t.Fatalf("deadlines %v", c.by)
	}
	for _, by := range c.by[:len(c.by)-1] {
		if by.Before(began.Add(time.Hour)) || by.After(time.Now().Add(time.Hour)) {
			t.Errorf("a deadline %v from now", time.Until(by))
		}
	}
	a := &answer{s: s, q: &request{w: c}, rc: http.NewResponseController(c), since: began.Add(-time.Hour), bytes: 10 * slowest}
	if _, err := (deadlineWriter{a}).Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if by := c.by[len(c.by)-1]; !by.Equal(began.Add(10 * time.Second)) {
		t.Errorf("after an hour and ten times what a second takes: %v from the begin", by.Sub(began))
	}
}

// TestSlowReader asks for a large answer and does not read it: the answer is
// given up, and the slot is free again.
func TestSlowReader(t *testing.T) {
	var log logged
	s := newServer(t, Config{Store: large(40 << 20), Limits: Limits{Write: 50 * time.Millisecond}, Log: log.logger()})
	srv := httptest.NewServer(s)
	defer srv.Close()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %squery_range?%s HTTP/1.1\r\nHost: x\r\n\r\n", v1, form("query", `{app="large"}`, "limit", "50000").Encode())
	deadline := time.Now().Add(30 * time.Second)
	for s.Stats().Requests[[2]string{"query_range", "499"}] != 1 {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting: %+v", s.Stats())
		}
		time.Sleep(5 * time.Millisecond) // until the server gives up
	}
	if st := s.Stats(); st.Running != 0 {
		t.Errorf("%+v", st)
	}
	// What has arrived must not look complete.
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
		if _, err = io.Copy(io.Discard, resp.Body); err == nil {
			t.Error("the answer seems complete")
		}
	}
}

// TestSlowForm sends the beginning of a form.
func TestSlowForm(t *testing.T) {
	s := newServer(t, Config{Store: shop(), Limits: Limits{Write: 20 * time.Millisecond}})
	srv := httptest.NewServer(s)
	defer srv.Close()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %squery_range HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nquery=", v1)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 408 {
		t.Errorf("status %d", resp.StatusCode)
	}
}
