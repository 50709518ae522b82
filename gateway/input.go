package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// Listen says where an Input listens; addresses that are empty are none.
type Listen struct {
	HTTP, GRPC, TCP, UDP string // host:port
	Unix                 string // path of a socket
	// TLS is for HTTP, GRPC and TCP; nil for none.
	TLS *tls.Config
}

// Input is a configured input that others push to: the listeners of one protocol,
// or none of its own (see Handler). It is a pipeline's input.
type Input struct {
	cfg      Config
	listen   Listen
	protocol string
	settings any
	http     *HTTP // nil if the protocol is not over HTTP
	sink     atomic.Pointer[pipeSink]
	stats    statistics // of what is not HTTP
	shakes   bool       // who is there is found out in a handshake of the protocol

	mu    sync.Mutex
	sum   ack.Tally // of what is finished
	addrs []net.Addr
}

// NewInput returns the input of that protocol. Settings are what a protocol that
// is not over HTTP wants to know (such as *SyslogConfig); may be nil. The protocol
// "push" is all of those over HTTP, on no listener of its own.
func NewInput(cfg Config, protocol string, listen Listen, settings any) (*Input, error) {
	in := &Input{listen: listen, protocol: protocol, settings: settings}
	cfg = cfg.withDefaults()
	cfg.Sink = (*inputSink)(in)
	in.cfg = cfg
	var names []string
	if protocol != "push" {
		names = []string{protocol}
	}
	if protocol == "push" || httpProtocols[protocol] != nil {
		h, err := NewHTTP(cfg, names...)
		if err != nil {
			return nil, err
		}
		in.http = h
	} else if socketProtocols[protocol] == nil {
		return nil, fmt.Errorf("there is no protocol %s", protocol)
	}
	return in, nil
}

// Pushed says that senders can be told to come again.
func (in *Input) Pushed() bool { return true }

// Handler returns what answers HTTP requests, nil if the protocol is another.
func (in *Input) Handler() *HTTP { return in.http }

// Stats returns the numbers of now, by protocol.
func (in *Input) Stats() []Stats {
	out := in.stats.all()
	if in.http != nil {
		out = append(out, in.http.Stats()...)
	}
	return out
}

// Tally returns what became of all records that were pushed and are finished, and
// how many are not.
func (in *Input) Tally() (sum ack.Tally, waiting int64) {
	in.mu.Lock()
	sum.Add(&in.sum)
	in.mu.Unlock()
	if s := in.sink.Load(); s != nil {
		waiting = s.waiting.Load()
	}
	return sum, waiting
}

func (in *Input) tally(sum *ack.Tally) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.sum.Add(sum)
}

// Addrs returns the addresses that Run listens on, once it does.
func (in *Input) Addrs() []net.Addr {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]net.Addr(nil), in.addrs...)
}

// inputSink is the Input as a Sink: that of the pipeline while Run runs.
type inputSink Input

func (s *inputSink) Batch() *record.Batch {
	if p := s.sink.Load(); p != nil {
		return p.Batch()
	}
	return nil
}

func (s *inputSink) Take(ctx context.Context, b *record.Batch) ([]Refusal, error) {
	if p := s.sink.Load(); p != nil {
		return p.Take(ctx, b)
	}
	b.Abandon()
	return nil, &ack.SendError{Code: 503, Err: errors.New("not running")}
}

// stopPatience is how long pushes that are under way may take when Run ends.
const stopPatience = 5 * time.Second

// Run listens and takes what is pushed, until ctx ends.
func (in *Input) Run(ctx context.Context, sink record.Sink) error {
	in.sink.Store(&pipeSink{sink: sink, tally: in.tally, patience: in.cfg.Limits.Answer})
	g := &group{in: in, base: context.WithoutCancel(ctx)}
	err := in.open(g)
	if err == nil {
		<-ctx.Done()
	}
	g.stop()
	if in.http != nil {
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		if e := in.http.Close(patience); e != nil {
			in.cfg.Log.Warn("pushes that are not safe yet are cut: their senders will send them again", "input", in.cfg.Name)
		}
	}
	return err
}

// open opens all listeners.
func (in *Input) open(g *group) error {
	l := &in.listen
	if l.HTTP != "" {
		ln, err := in.tcp("http", l.HTTP)
		if err != nil {
			return err
		}
		g.http(ln, in.http, l.TLS)
	}
	if l.GRPC != "" {
		ln, err := in.tcp("grpc", l.GRPC)
		if err != nil {
			return err
		}
		g.http(ln, in.http, l.TLS) // gRPC is HTTP/2
	}
	if f := socketProtocols[in.protocol]; f != nil {
		return f(in, g)
	}
	return nil
}

// tcp opens a listener and says so.
func (in *Input) tcp(kind, address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("%s: %s is in use: another program, perhaps another weir, listens there; end that, or give this input another port", kind, address)
		}
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	if err := in.cfg.here(address, ln.Addr()); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", kind, err), ln.Close())
	}
	in.opened(kind, ln.Addr())
	return ln, nil
}

// here makes sure that what was taken for an address of this machine, because it is
// called localhost, is one.
func (c *Config) here(address string, a net.Addr) error {
	if c.Local && !Loopback(a) {
		return fmt.Errorf("%s is %s, which others may reach: say 127.0.0.1 or [::1]", address, a)
	}
	return nil
}

// Loopback reports whether only this machine reaches the address that a listener
// has.
func Loopback(a net.Addr) bool {
	ap, err := netip.ParseAddrPort(a.String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// opened notes and tells that the input listens there.
func (in *Input) opened(kind string, a net.Addr) {
	in.mu.Lock()
	in.addrs = append(in.addrs, a)
	in.mu.Unlock()
	in.cfg.Log.Info("listening", "input", in.cfg.Name, "protocol", kind, "address", a.String(), "tls", in.listen.TLS != nil && a.Network() == "tcp")
}

// socketProtocols are the protocols that have listeners other than HTTP and gRPC,
// by the name of their input, each with what opens those that are configured; it
// leaves them to the group.
var socketProtocols = map[string]func(*Input, *group) error{}

// group is what an Input has running. Its stop ends everything in it.
type group struct {
	in    *Input
	base  context.Context
	wg    sync.WaitGroup
	stops []func(patience context.Context) // in any order, each for itself
}

// add runs serve until stop makes it return; stop may take as long as patience
// allows.
func (g *group) add(serve func(), stop func(patience context.Context)) {
	g.stops = append(g.stops, stop)
	g.wg.Go(serve)
}

func (g *group) stop() {
	patience, cancel := context.WithTimeout(g.base, stopPatience)
	defer cancel()
	var wg sync.WaitGroup
	for _, stop := range g.stops {
		wg.Go(func() { stop(patience) })
	}
	wg.Wait()
	g.wg.Wait()
}

// http serves h on ln, with TLS if secure is not nil.
func (g *group) http(ln net.Listener, h http.Handler, secure *tls.Config) {
	log := g.in.cfg.Log
	s := &http.Server{Handler: h, BaseContext: func(net.Listener) context.Context { return g.base }}
	if g.in.cfg.Conns != nil {
		ln = g.in.cfg.Conns.Listen(ln)
	}
	ln = PrepareHTTP(s, ln, secure, log, "input", g.in.cfg.Name)
	g.add(func() {
		var err error
		if secure != nil {
			err = s.ServeTLS(ln, "", "")
		} else {
			err = s.Serve(ln)
		}
		if err != nil && !errors.Is(err, http.ErrServerClosed) {
			log.Error("listener failed", "input", g.in.cfg.Name, "address", ln.Addr().String(), "error", err)
		}
	}, func(patience context.Context) {
		if s.Shutdown(patience) != nil {
			_ = s.Close() // those that are left had their time
		}
	})
}
