package demo

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"
)

// Config is what a Cluster is made from.
type Config struct {
	// Seed chooses what happens. The same seed, times and rate give the same
	// events.
	Seed uint64
	// Start is when the logs begin, Now when their past ends and what is live
	// begins: the stories stand between. Now is not before Start.
	Start, Now time.Time
	// Rate is about how many lines are written in a second; 0 means 10.
	Rate float64
}

// Kind says what an Event is.
type Kind uint8

// The kinds of events.
const (
	// Created: the pod begins to exist, its containers run.
	Created Kind = iota
	// Line: a container writes a line.
	Line
	// Restarted: a container has ended and begins again.
	Restarted
	// Deleted: the pod and its logs are removed.
	Deleted
)

// Event is something that happens to a pod.
type Event struct {
	Time time.Time
	Kind Kind
	Pod  *Pod
	// Container and Restart, its restart number from then on, say where of the
	// pod; not for Created and Deleted.
	Container *Container
	Restart   int
	// Stderr says that Text was written there, else to stdout. Text has no
	// newline at its end. It stays valid.
	Stderr bool
	Text   string
	// Story is the number of the story that the line tells, from 1; 0 for none.
	Story int
}

// Pod is a pod of the cluster.
type Pod struct {
	Namespace, Name, UID string
	// Workload is what it belongs to, such as deployment/web.
	Workload   string
	Containers []*Container

	version string // of orders
	ended   bool
}

// Container is one container of a pod.
type Container struct {
	Name    string
	restart int
	pod     *Pod
}

// Story is something that happened and can be found in the logs.
type Story struct {
	Name, What string
	// From and To are when; To is zero if it goes on.
	From, To time.Time
	// Query finds its lines, and nothing else, in LogQL.
	Query string
}

// Cluster is the simulation. It is for one goroutine.
type Cluster struct {
	cfg     Config
	rng     *rand.Rand
	now     time.Time
	queue   queue
	seq     uint64
	out     []Event
	taken   int
	stories []Story
	shop    shop
}

// task is something to do at a time.
type task struct {
	at  time.Time
	seq uint64
	do  func()
}

type queue []task

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].seq < q[j].seq
	}
	return q[i].at.Before(q[j].at)
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(task)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = task{}
	*q = (*q)[:last]
	return t
}

// New returns a cluster whose first event is at c.Start.
func New(c Config) *Cluster {
	if c.Rate <= 0 {
		c.Rate = 10
	}
	if c.Now.Before(c.Start) {
		c.Now = c.Start
	}
	k := &Cluster{cfg: c, now: c.Start, rng: rand.New(rand.NewPCG(c.Seed, 0x6465_6d6f))}
	k.begin()
	return k
}

// Stories returns what happens between Start and Now, in the order of time.
func (k *Cluster) Stories() []Story { return k.stories }

// Next returns the next event. There is always one.
func (k *Cluster) Next() Event {
	for k.taken == len(k.out) {
		k.out, k.taken = k.out[:0], 0
		t := heap.Pop(&k.queue).(task)
		k.now = t.at
		t.do()
	}
	k.taken++
	return k.out[k.taken-1]
}

// after does something later. Tasks of one moment are done in the order in which
// they were given.
func (k *Cluster) after(d time.Duration, do func()) { k.at(k.now.Add(d), do) }

func (k *Cluster) at(t time.Time, do func()) {
	if t.Before(k.now) {
		t = k.now
	}
	k.seq++
	heap.Push(&k.queue, task{t, k.seq, do})
}

// every does something again and again, at random distances of this mean.
func (k *Cluster) every(mean time.Duration, while func() bool, do func()) {
	var step func()
	step = func() {
		if !while() {
			return
		}
		do()
		k.after(k.around(mean), step)
	}
	k.after(time.Duration(k.rng.Float64()*float64(mean)), step)
}

// perLine is a mean distance at which one line belongs to each n of the whole.
func (k *Cluster) perLine(share float64) time.Duration {
	return time.Duration(float64(time.Second) / (k.cfg.Rate * share))
}

// around is a duration between half and one and a half of the mean.
func (k *Cluster) around(mean time.Duration) time.Duration {
	return time.Duration((0.5 + k.rng.Float64()) * float64(mean))
}

func (k *Cluster) ms(from, to int) time.Duration {
	return time.Duration(from)*time.Millisecond + time.Duration(k.rng.Int64N(int64(to-from+1)*int64(time.Millisecond)))
}

func (k *Cluster) chance(p float64) bool { return k.rng.Float64() < p }

func pick[T any](k *Cluster, list ...T) T { return list[k.rng.IntN(len(list))] }

// pod makes a pod that exists from now on.
func (k *Cluster) pod(namespace, name, workload string, containers ...string) *Pod {
	p := &Pod{Namespace: namespace, Name: name, Workload: workload, UID: k.uid()}
	for _, c := range containers {
		p.Containers = append(p.Containers, &Container{Name: c, pod: p})
	}
	k.out = append(k.out, Event{Time: k.now, Kind: Created, Pod: p})
	return p
}

// remove deletes a pod. What it was still about to write is not written.
func (k *Cluster) remove(p *Pod) {
	if !p.ended {
		p.ended = true
		k.out = append(k.out, Event{Time: k.now, Kind: Deleted, Pod: p})
	}
}

func (k *Cluster) restart(c *Container) {
	c.restart++
	k.out = append(k.out, Event{Time: k.now, Kind: Restarted, Pod: c.pod, Container: c, Restart: c.restart})
}

// say writes a line to stdout now, tell one to stderr.
func (k *Cluster) say(c *Container, format string, args ...any)  { k.line(c, 0, false, format, args) }
func (k *Cluster) tell(c *Container, format string, args ...any) { k.line(c, 0, true, format, args) }

func (k *Cluster) line(c *Container, story int, stderr bool, format string, args []any) {
	if c.pod.ended {
		return
	}
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	k.out = append(k.out, Event{Time: k.now, Kind: Line, Pod: c.pod, Container: c, Restart: c.restart, Stderr: stderr, Text: format, Story: story})
}

// tale is say or tell as part of a story; story 0 is none.
func (k *Cluster) tale(c *Container, story int, stderr bool, format string, args ...any) {
	k.line(c, story, stderr, format, args)
}

// uid is a random UUID, as of the API server.
func (k *Cluster) uid() string {
	// Another run of the same seed has other pods: what a reader knows of these is
	// not true of those.
	a, b := k.rng.Uint64()^uint64(k.cfg.Start.UnixNano()), k.rng.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48&0x3fff|0x8000, b&0xffffffffffff)
}

// hash is a random suffix as Kubernetes makes them.
func (k *Cluster) hash(n int) string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	out := make([]byte, n)
	for i := range out {
		out[i] = letters[k.rng.IntN(len(letters))]
	}
	return string(out)
}

func (k *Cluster) hex(n int) string {
	const digits = "0123456789abcdef"
	out := make([]byte, n)
	for i := range out {
		out[i] = digits[k.rng.IntN(16)]
	}
	return string(out)
}

func (k *Cluster) ip() string { return fmt.Sprintf("10.244.%d.%d", k.rng.IntN(4), 2+k.rng.IntN(250)) }
