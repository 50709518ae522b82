package main

import (
	"fmt"
	"net"
	"sync"
)

// A gate is a listening address that can be shut, so that connections are
// refused, and opened again at the same place.
type gate struct {
	addr  string
	serve func(net.Listener)

	mu    sync.Mutex
	l     *listener // nil while shut
	ended chan struct{}
}

// newGate listens on a loopback address and has serve accept connections until
// Accept fails.
func newGate(addr string, serve func(net.Listener)) (*gate, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("%s is not a loopback address", addr)
	}
	g := &gate{addr: addr, serve: serve}
	return g, g.open()
}

func (g *gate) open() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.l != nil {
		return nil
	}
	l, err := net.Listen("tcp", g.addr)
	if err != nil {
		return err
	}
	g.addr = l.Addr().String()
	g.l = &listener{Listener: l, conns: make(map[net.Conn]struct{})}
	g.ended = make(chan struct{})
	go func(l *listener, ended chan struct{}) {
		defer close(ended)
		g.serve(l)
	}(g.l, g.ended)
	return nil
}

// shut closes the address and every connection.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.l == nil {
		return
	}
	g.l.shut()
	<-g.ended
	g.l = nil
}

// listener knows its connections.
type listener struct {
	net.Listener
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	down  bool
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := &conn{TCPConn: c.(*net.TCPConn), l: l}
	if l.down {
		_ = c.Close()
	} else {
		l.conns[k] = struct{}{}
	}
	return k, nil
}

func (l *listener) shut() {
	_ = l.Listener.Close() // only says that it was closed already
	l.mu.Lock()
	l.down = true
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	for c := range conns {
		_ = c.(*conn).TCPConn.Close()
	}
}

type conn struct {
	*net.TCPConn
	l *listener
}

func (c *conn) Close() error {
	c.l.mu.Lock()
	delete(c.l.conns, c)
	c.l.mu.Unlock()
	return c.TCPConn.Close()
}
