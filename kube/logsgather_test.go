package kube

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// Little that comes often is taken together and no later than some
// milliseconds; what is alone is not held up.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		count := &countConn{Conn: near}
		c, err := gathering(func(context.Context, string, string) (net.Conn, error) { return count, nil })(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		sent := make(chan time.Time, 1)
		go func() {
			defer far.Close()
			for range 5 {
				sent <- time.Now()
				far.Write([]byte("alone"))
				time.Sleep(time.Second)
			}
			for range 1000 {
				far.Write([]byte("often"))
				time.Sleep(100 * time.Microsecond)
			}
		}()
		buf := make([]byte, 5)
		for range 5 {
			if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "alone" {
				t.Fatalf("%q %v", buf, err)
			}
			if late := time.Since(<-sent); late > 0 {
				t.Errorf("one that is alone comes %v late", late)
			}
		}
		began := time.Now()
		rest, err := io.ReadAll(c)
		if err != nil || len(rest) != 5000 {
			t.Errorf("%d bytes, %v", len(rest), err)
		}
		t.Logf("%v, %d reads", time.Since(began), count.n)
	})
}

type countConn struct {
	net.Conn
	n int
}

func (c *countConn) Read(p []byte) (int, error) {
	c.n++
	return c.Conn.Read(p)
}
