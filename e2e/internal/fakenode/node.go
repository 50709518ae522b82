// Package fakenode writes the log directories of a Kubernetes node as kubelet
// and containerd do: /var/log/pods/<namespace>_<pod>_<uid>/<container>/<n>.log
// in the CRI format, rotated, compressed and deleted in kubelet's order. Every
// line and every event goes into a journal.
//
// The order of rotation is that of kubelet's container log manager
// (pkg/kubelet/logs/container_log_manager.go): remove the excess, compress what
// is rotated but plain (x → x.tmp → x.gz, unlink x), rename the current file,
// ask the runtime to open a new one. Until it has, the container's lines go on
// into the renamed file.
package fakenode

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/weirlog/weir/e2e/internal/journal"
)

// Config configures a Node.
type Config struct {
	Root    string // becomes /var/log/pods
	Links   string // becomes /var/log/containers; "" for none
	Journal *journal.Writer
	Seed    uint64

	Pods       int // default 3
	Containers int // per pod, default 1
	Mix        Mix // zero: DefaultMix

	MaxSize  int64 // of a file before it is rotated; 0 = never
	MaxFiles int   // per container with the current one, default 5

	// OnWrite checks the size after each write and rotates in the writer's own
	// step; then a Node is deterministic but for the clock. Otherwise Kubelet
	// checks all containers per tick, beside the writer.
	OnWrite bool
	// Absent is how long the current file's name is missing in a rotation.
	Absent time.Duration
	// Both is how long the plain and the compressed file stand side by side.
	Both time.Duration
	// Torn of 10 000 writes come in two pieces.
	Torn int

	Zone *time.Location // of time stamps, default time.Local
	Now  func() time.Time
}

// Node is a set of containers that write. Write and the pod operations are for
// one goroutine; Kubelet may run beside it.
type Node struct {
	cfg     Config
	rng     *rand.Rand
	text    *content
	pods    []*pod
	next    uint32 // stream index
	podNum  int
	bytes   int64
	buf     []byte
	msg     []byte
	longBuf []byte

	mu  sync.Mutex // guards all, for Kubelet
	all []*container
}

type pod struct {
	ns, name, uid, dir string
	containers         []*container
}

type container struct {
	pod     *pod
	name    string
	dir     string
	restart uint32
	stream  journal.Stream
	seq     uint64
	id      string

	mu    sync.Mutex // guards the rest
	f     *os.File
	gen   uint32
	size  int64
	files []genFile // rotated, oldest first
	dead  []oldLife // earlier restarts whose logs are still there
	gone  bool
	// rot is held for a whole rotation and for a pod's deletion.
	rot sync.Mutex
}

type genFile struct {
	gen   uint32
	name  string // in the container's directory
	plain bool
	size  int64
}

type oldLife struct {
	stream uint32
	files  []genFile
}

// New makes the directories and the first files.
func New(cfg Config) (*Node, error) {
	if cfg.Root == "" || cfg.Journal == nil {
		return nil, errors.New("fakenode: root and journal are needed")
	}
	if cfg.Pods == 0 {
		cfg.Pods = 3
	}
	if cfg.Containers == 0 {
		cfg.Containers = 1
	}
	if cfg.MaxFiles == 0 {
		cfg.MaxFiles = 5
	}
	if cfg.Mix == (Mix{}) {
		cfg.Mix = DefaultMix
	}
	if cfg.Zone == nil {
		cfg.Zone = time.Local
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	n := &Node{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), text: newContent(cfg.Seed, cfg.Mix)}
	for range cfg.Pods {
		if err := n.CreatePod(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

var (
	namespaces = []string{"shop", "payments", "kube-system", "monitoring", "team-a"}
	workloads  = []string{"web", "orders", "cart", "coredns", "ingress-nginx", "worker", "ledger-api"}
	apps       = []string{"app", "sidecar", "proxy", "metrics"}
)

func (n *Node) random(alphabet string, k int) string {
	b := make([]byte, k)
	for i := range b {
		b[i] = alphabet[n.rng.IntN(len(alphabet))]
	}
	return string(b)
}

const (
	hexDigits  = "0123456789abcdef"
	nameDigits = "bcdfghjklmnpqrstvwxz2456789" // as in pods' names
)

// CreatePod adds a pod with its containers.
func (n *Node) CreatePod() error {
	i := n.podNum
	n.podNum++
	return n.createPod(namespaces[i%len(namespaces)],
		workloads[i%len(workloads)]+"-"+n.random(nameDigits, 9)+"-"+n.random(nameDigits, 5))
}

func (n *Node) createPod(ns, name string) error {
	p := &pod{ns: ns, name: name}
	p.uid = n.random(hexDigits, 8) + "-" + n.random(hexDigits, 4) + "-4" + n.random(hexDigits, 3) + "-a" + n.random(hexDigits, 3) + "-" + n.random(hexDigits, 12)
	p.dir = ns + "_" + name + "_" + p.uid
	for i := range n.cfg.Containers {
		c := &container{pod: p, name: apps[i%len(apps)]}
		if i >= len(apps) {
			c.name = fmt.Sprintf("%s-%d", c.name, i/len(apps))
		}
		c.dir = filepath.Join(p.dir, c.name)
		if err := os.MkdirAll(filepath.Join(n.cfg.Root, c.dir), 0o755); err != nil {
			return err
		}
		n.begin(c)
		if err := n.open(c); err != nil {
			return err
		}
		p.containers = append(p.containers, c)
	}
	n.pods = append(n.pods, p)
	n.mu.Lock()
	n.all = append(n.all, p.containers...)
	n.mu.Unlock()
	return nil
}

// begin starts a new stream for c's present restart number.
func (n *Node) begin(c *container) {
	c.stream = journal.Stream{
		Index: n.next, Name: fmt.Sprintf("%s/%s/%d~%d", c.pod.name, c.name, c.restart, n.next),
		Namespace: c.pod.ns, Pod: c.pod.name, UID: c.pod.uid, Container: c.name, Restart: c.restart,
	}
	n.next++
	c.seq, c.gen, c.files = 0, 0, nil
	c.id = n.random(hexDigits, 64)
	n.cfg.Journal.Stream(c.stream)
}

func (c *container) logName() string { return fmt.Sprintf("%d.log", c.restart) }

func (n *Node) path(c *container, name string) string { return filepath.Join(n.cfg.Root, c.dir, name) }

// link keeps the symbolic link of /var/log/containers.
func (n *Node) linkPath(c *container) string {
	return filepath.Join(n.cfg.Links, fmt.Sprintf("%s_%s_%s-%s.log", c.pod.name, c.pod.ns, c.name, c.id))
}

// open opens the current file of generation c.gen.
func (n *Node) open(c *container) error {
	f, err := os.OpenFile(n.path(c, c.logName()), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open container log: %w", err)
	}
	c.f, c.size = f, 0
	n.event(c.stream.Index, c.gen, journal.Born, 0, filepath.Join(c.dir, c.logName()))
	if n.cfg.Links != "" && c.gen == 0 {
		if err := os.MkdirAll(n.cfg.Links, 0o755); err != nil {
			return err
		}
		if err := os.Symlink(n.path(c, c.logName()), n.linkPath(c)); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) event(stream, gen uint32, kind byte, size int64, name string) {
	n.cfg.Journal.Generation(journal.Generation{
		Stream: stream, Gen: gen, Event: kind, Size: uint64(size), Time: n.cfg.Now(), Name: name,
	})
}

// Bytes returns how many bytes went into log files. For the writer's goroutine.
func (n *Node) Bytes() int64 { return n.bytes }

// piece is the most that the runtime puts into one CRI line, in bytes.
const piece = 16 << 10

// Write lets some container write one line (and others, between the pieces of
// a long one).
func (n *Node) Write() error {
	p := n.pods[n.rng.IntN(len(n.pods))]
	return n.write(p.containers[n.rng.IntN(len(p.containers))])
}

func (n *Node) write(c *container) error {
	now := n.cfg.Now()
	seq := c.seq
	c.seq++
	msg, payload := n.text.line(n.msg[:0], c.stream.Name, seq, now)
	n.msg = msg
	out, other := "stdout", "stderr"
	if n.rng.IntN(5) == 0 {
		out, other = other, out
	}
	l := journal.Line{Stream: c.stream.Index, Seq: seq, Hash: journal.HashPayload(payload), Len: uint32(len(msg))}
	if len(msg) <= piece {
		if err := n.put(c, &l, true, now, out, 'F', msg); err != nil {
			return err
		}
	} else {
		// The message is copied: lines of the other stream come in between.
		n.longBuf = append(n.longBuf[:0], msg...)
		long := n.longBuf
		for first := true; ; first = false {
			tag, k := byte('P'), piece
			if len(long) <= piece {
				tag, k = 'F', len(long)
			}
			if err := n.put(c, &l, first, n.cfg.Now(), out, tag, long[:k]); err != nil {
				return err
			}
			if long = long[k:]; tag == 'F' {
				break
			}
			for n.rng.IntN(2) == 0 {
				if err := n.short(c, other); err != nil {
					return err
				}
			}
		}
	}
	n.cfg.Journal.Line(l)
	return nil
}

// short writes a line of one piece to the given stream of c.
func (n *Node) short(c *container, out string) error {
	now := n.cfg.Now()
	seq := c.seq
	c.seq++
	p := n.text.cut(40)
	msg := fmt.Appendf(n.msg[:0], "s=%s n=%d p=%s", c.stream.Name, seq, p)
	n.msg = msg
	l := journal.Line{Stream: c.stream.Index, Seq: seq, Hash: journal.HashPayload(p), Len: uint32(len(msg))}
	if err := n.put(c, &l, true, now, out, 'F', msg); err != nil {
		return err
	}
	n.cfg.Journal.Line(l)
	return nil
}

// put writes one CRI line and counts it in l.
func (n *Node) put(c *container, l *journal.Line, first bool, now time.Time, out string, tag byte, msg []byte) error {
	b := now.In(n.cfg.Zone).AppendFormat(n.buf[:0], time.RFC3339Nano)
	b = append(b, ' ')
	b = append(b, out...)
	b = append(b, ' ', tag, ' ')
	b = append(b, msg...)
	b = append(b, '\n')
	n.buf = b
	c.mu.Lock()
	if first {
		l.Gen, l.Start = c.gen, uint64(c.size)
	}
	l.Last = c.gen
	l.Bytes += uint32(len(b))
	if l.Last == l.Gen {
		l.Head += uint32(len(b))
	}
	var err error
	if n.cfg.Torn > 0 && n.rng.IntN(10000) < n.cfg.Torn {
		k := n.rng.IntN(len(b))
		if _, err = c.f.Write(b[:k]); err == nil {
			_, err = c.f.Write(b[k:])
		}
	} else {
		_, err = c.f.Write(b)
	}
	c.size += int64(len(b))
	full := n.cfg.OnWrite && n.cfg.MaxSize > 0 && c.size >= n.cfg.MaxSize
	c.mu.Unlock()
	n.bytes += int64(len(b))
	if err != nil {
		return fmt.Errorf("write container log: %w", err)
	}
	if full {
		return n.rotate(c)
	}
	return nil
}

// rotate does what kubelet does to one container's log.
func (n *Node) rotate(c *container) error {
	c.rot.Lock()
	defer c.rot.Unlock()
	c.mu.Lock()
	gone, files := c.gone, c.files
	c.mu.Unlock()
	if gone {
		return nil
	}
	for len(files) > max(n.cfg.MaxFiles-2, 0) {
		if err := n.remove(c, c.stream.Index, files[0]); err != nil {
			return err
		}
		files = files[1:]
	}
	for i := range files {
		if files[i].plain {
			if err := n.compress(c, &files[i]); err != nil {
				return err
			}
		}
	}
	// kubelet's stamps have seconds; two rotations in one must not meet.
	now := n.cfg.Now().In(n.cfg.Zone)
	name := c.logName() + "." + now.Format("20060102-150405")
	for len(files) > 0 && strings.TrimSuffix(files[len(files)-1].name, ".gz") >= name {
		now = now.Add(time.Second)
		name = c.logName() + "." + now.Format("20060102-150405")
	}
	if err := os.Rename(n.path(c, c.logName()), n.path(c, name)); err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	c.mu.Lock()
	size := c.size
	c.mu.Unlock()
	n.event(c.stream.Index, c.gen, journal.Rotated, size, filepath.Join(c.dir, name))
	if n.cfg.Absent > 0 {
		time.Sleep(n.cfg.Absent)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.f
	c.files = append(files, genFile{gen: c.gen, name: name, plain: true, size: c.size})
	n.event(c.stream.Index, c.gen, journal.Closed, c.size, filepath.Join(c.dir, name))
	c.gen++
	if err := n.open(c); err != nil {
		return err
	}
	return old.Close()
}

func (n *Node) remove(c *container, stream uint32, g genFile) error {
	if err := os.Remove(n.path(c, g.name)); err != nil {
		return fmt.Errorf("remove rotated log: %w", err)
	}
	n.event(stream, g.gen, journal.Deleted, g.size, filepath.Join(c.dir, g.name))
	return nil
}

func (n *Node) compress(c *container, g *genFile) error {
	plain := n.path(c, g.name)
	in, err := os.Open(plain)
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	defer in.Close()
	tmp, err := os.OpenFile(plain+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	z, err := gzip.NewWriterLevel(tmp, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if _, err = io.Copy(z, in); err == nil {
		err = z.Close()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("compress %s: %w", g.name, err)
	}
	if err := os.Rename(plain+".tmp", plain+".gz"); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	if n.cfg.Both > 0 {
		time.Sleep(n.cfg.Both)
	}
	if err := os.Remove(plain); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	g.name += ".gz"
	g.plain = false
	n.event(c.stream.Index, g.gen, journal.Compressed, g.size, filepath.Join(c.dir, g.name))
	return nil
}

// Kubelet looks once at every container and rotates those that are too big.
func (n *Node) Kubelet() error {
	if n.cfg.MaxSize <= 0 {
		return nil
	}
	n.mu.Lock()
	all := append([]*container(nil), n.all...)
	n.mu.Unlock()
	for _, c := range all {
		c.mu.Lock()
		full := !c.gone && c.size >= n.cfg.MaxSize
		c.mu.Unlock()
		if full {
			if err := n.rotate(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// RotateAll rotates every container's log now, whatever its size.
func (n *Node) RotateAll() error {
	n.mu.Lock()
	all := append([]*container(nil), n.all...)
	n.mu.Unlock()
	for _, c := range all {
		if err := n.rotate(c); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the files, which stay, and notes their final sizes. Nothing else
// may run.
func (n *Node) Close() error {
	var errs []error
	for _, p := range n.pods {
		for _, c := range p.containers {
			n.event(c.stream.Index, c.gen, journal.Closed, c.size, filepath.Join(c.dir, c.logName()))
			errs = append(errs, c.f.Close())
		}
	}
	return errors.Join(errs...)
}
