package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/record"
)

const (
	// packetBuffer is asked of the kernel for what waits to be read, in bytes.
	packetBuffer = 16 << 20
	// packetBytes and packetCount end a batch of datagrams, packetWait does so too.
	packetBytes = 256 << 10
	packetCount = 4096
	packetWait  = gather
	// maxPacket is the largest datagram.
	maxPacket = 64 << 10
	// packetsTaken is how many batches may be on their way to be safe.
	packetsTaken = 256
	// maxPeers bounds what is known of senders.
	maxPeers = 4096
	peerLife = time.Minute
)

// packets serves one socket of datagrams: what cannot be taken is dropped, and
// counted. Nothing is ever answered but by answer, and by no more bytes than came.
type packets struct {
	in       *Input
	cfg      *Config
	pc       net.PacketConn
	counters *counters
	restream restreamer
	// decode makes records of a datagram, p, which is u.b.Bytes(s). What is no
	// message is a record that says so.
	decode func(u *intake, s record.Span, from string) error
	// begin, if not nil, is called when u has a new batch.
	begin func(u *intake)
	// answer, if not nil, is asked first whether a datagram is a question.
	answer func(p []byte) []byte

	stopping atomic.Bool
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	ended    chan struct{} // closed when run has ended, with all that it took
	slots    chan struct{}

	u        *intake
	n        int       // datagrams in u
	began    time.Time // of u
	peers    map[netip.Addr]*peer
	dropped  uint64 // here
	overflow uint32 // the kernel's count so far
	inKernel uint64
	lost     uint64 // told so far
	told     time.Time
}

// peer is what is known of a sender.
type peer struct {
	text string
	id   Identity
	err  error
	till time.Time
}

// packet adds a socket to the group; protocol names its statistics.
func (g *group) packet(pc net.PacketConn, protocol string, p *packets) {
	p.in, p.pc, p.counters = g.in, pc, g.in.stats.of(protocol)
	cfg := g.in.cfg
	cfg.IDs = false // nobody sends a datagram again
	p.cfg = &cfg
	p.ctx, p.cancel = context.WithCancel(g.base)
	p.ended = make(chan struct{})
	p.slots = make(chan struct{}, packetsTaken)
	p.peers = make(map[netip.Addr]*peer)
	g.add(p.run, p.stop)
}

// udp opens a socket and says so.
func (in *Input) udp(kind, address string) (net.PacketConn, error) {
	pc, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	if err := in.cfg.here(address, pc.LocalAddr()); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", kind, err), pc.Close())
	}
	size := widen(pc, packetBuffer)
	if size > 0 && size < 1<<20 {
		in.cfg.Log.Warn("the kernel's buffer for datagrams is small: bursts will be lost; raise net.core.rmem_max", "input", in.cfg.Name, "bytes", size)
	}
	in.opened(kind, pc.LocalAddr())
	return pc, nil
}

// unixgram opens a socket of datagrams such as /dev/log.
func (in *Input) unixgram(kind, path string, mode fs.FileMode) (net.PacketConn, error) {
	if err := clearSocket("unixgram", path); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	pc, err := net.ListenPacket("unixgram", path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	widen(pc, packetBuffer)
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", kind, err), pc.Close())
	}
	in.opened(kind, pc.LocalAddr())
	return &removing{pc, path}, nil
}

// removing removes the socket's file when it is closed.
type removing struct {
	net.PacketConn
	path string
}

func (r *removing) Close() error {
	return errors.Join(r.PacketConn.Close(), os.Remove(r.path))
}

// reader reads datagrams with what the kernel says beside them.
type reader interface {
	// read returns the datagram's length, its sender, and how many the kernel has
	// dropped since the socket was opened, if it says so.
	read(p []byte) (n int, from netip.AddrPort, dropped uint32, told bool, err error)
}

func (p *packets) run() {
	defer func() { p.wg.Wait(); close(p.ended) }()
	r := newReader(p.pc)
	buf := make([]byte, maxPacket)
	for {
		n, from, dropped, told, err := r.read(buf)
		now := time.Now()
		if told && dropped != p.overflow {
			p.inKernel += uint64(dropped - p.overflow)
			p.counters.results[pushBusy].Add(int64(dropped - p.overflow))
			p.overflow = dropped
		}
		switch {
		case err == nil:
			p.one(buf[:n], from, now)
		case errors.Is(err, os.ErrDeadlineExceeded):
			p.flush()
			if p.stopping.Load() {
				return
			}
			_ = p.pc.SetReadDeadline(time.Time{}) // until there is something
		case p.stopping.Load() || errors.Is(err, net.ErrClosed):
			p.flush()
			return
		default:
			p.cfg.Log.Warn("a datagram could not be read", "input", p.cfg.Name, "error", err)
			select { // whatever it is, it is not to spin
			case <-p.ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
		if p.u != nil && (p.n >= packetCount || p.u.b.Len() >= packetBytes || now.Sub(p.began) >= packetWait) {
			p.flush()
		}
		p.tell(now)
	}
}

// one takes a datagram.
func (p *packets) one(data []byte, from netip.AddrPort, now time.Time) {
	if p.answer != nil {
		if a := p.answer(data); len(a) > 0 {
			if len(a) <= len(data) {
				_, _ = p.pc.WriteTo(a, net.UDPAddrFromAddrPort(from)) // who does not hear it asks again
			}
			return
		}
	}
	if len(data) == 0 {
		return
	}
	who := p.peer(from.Addr().Unmap().WithZone(""), now)
	if who.err != nil {
		p.counters.results[pushDenied].Add(1)
		return
	}
	if p.u != nil && (p.u.id.Name != who.id.Name || p.u.id.Tenant != who.id.Tenant) {
		p.flush()
	}
	if p.u == nil && !p.open(who.id, now) {
		p.dropped++
		p.counters.results[pushBusy].Add(1)
		return
	}
	u := p.u
	u.read += int64(len(data))
	s := u.b.Append(data)
	u.body.Len += s.Len
	p.n++
	if err := p.safely(u, s, who.text); err != nil {
		p.dropped++
		p.counters.results[pushMalformed].Add(1)
		p.cfg.Log.Debug("a datagram was dropped", "input", p.cfg.Name, "address", who.text, "error", err)
	}
}

// safely keeps a panic to the datagram that made it.
func (p *packets) safely(u *intake, s record.Span, from string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			p.cfg.Log.Error("a datagram made the program panic", "input", p.cfg.Name, "panic", v, "stack", string(debug.Stack()))
			err = errors.New("internal error")
		}
	}()
	return p.decode(u, s, from)
}

// open begins a batch, if there is room.
func (p *packets) open(id Identity, now time.Time) bool {
	if len(p.slots) == cap(p.slots) {
		return false
	}
	u := &intake{c: p.cfg, counters: p.counters, restream: &p.restream, id: id, now: p.cfg.Now().UnixNano()}
	if u.begin() != nil {
		return false
	}
	if u.need(packetBytes) != nil {
		u.b.Abandon()
		return false
	}
	p.u, p.n, p.began = u, 0, now
	if p.begin != nil {
		p.begin(u)
	}
	if !p.stopping.Load() {
		_ = p.pc.SetReadDeadline(now.Add(packetWait)) // the read will tell
	}
	return true
}

// flush hands the batch over. Whether it becomes safe nobody waits for: there is
// nobody to be told.
func (p *packets) flush() {
	u, n := p.u, p.n
	p.u, p.n = nil, 0
	if u == nil {
		return
	}
	p.slots <- struct{}{}
	p.wg.Go(func() {
		defer func() { <-p.slots }()
		_, err := u.take(p.ctx)
		u.end(err, false)
		if err != nil {
			p.cfg.Log.Debug("datagrams were dropped", "input", p.cfg.Name, "datagrams", n, "error", err)
			p.counters.results[pushBusy].Add(int64(n - 1)) // end has counted one
		}
	})
}

// tell says now and then that datagrams are lost.
func (p *packets) tell(now time.Time) {
	sum := p.dropped + p.inKernel
	if sum == p.lost || now.Sub(p.told) < 10*time.Second {
		return
	}
	p.cfg.Log.Warn("datagrams were dropped", "input", p.cfg.Name, "for_want_of_room", p.dropped, "by_the_kernel", p.inKernel)
	p.lost, p.told = sum, now
}

// peer returns what is known of a sender.
func (p *packets) peer(a netip.Addr, now time.Time) *peer {
	if w := p.peers[a]; w != nil && now.Before(w.till) {
		return w
	}
	if len(p.peers) >= maxPeers {
		clear(p.peers)
	}
	w := &peer{till: now.Add(peerLife)}
	if a.IsValid() {
		w.text = a.String()
	}
	if p.cfg.Auth != nil {
		cr := Credentials{Addr: a}
		if !a.IsValid() {
			cr.Known = &local
		}
		w.id, w.err = p.cfg.Auth.Authenticate(p.ctx, cr, ScopeIngest)
	}
	p.peers[a] = w
	return w
}

// stop reads what the kernel has and hands it over.
func (p *packets) stop(patience context.Context) {
	p.stopping.Store(true)
	_ = p.pc.SetReadDeadline(time.Now().Add(packetWait)) // for what is there already
	select {
	case <-patience.Done():
	case <-time.After(2 * packetWait):
	}
	_ = p.pc.Close()
	select {
	case <-p.ended:
	case <-patience.Done():
		p.cancel()
		<-p.ended
	}
	p.cancel()
}
