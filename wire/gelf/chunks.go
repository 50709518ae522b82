package gelf

import (
	"errors"
	"fmt"
)

// maxParts is how many chunks a message may have.
const maxParts = 128

// chunkHead is the length of what is before a chunk's bytes: two bytes of magic,
// eight of the message's id, the chunk's number and how many there are.
const chunkHead = 12

// IsChunk reports whether a datagram is a chunk.
func IsChunk(p []byte) bool { return len(p) >= 2 && p[0] == 0x1e && p[1] == 0x0f }

// Chunks puts messages together that came in several datagrams. What it holds is
// bounded in number, memory and time: a message whose chunks do not come within
// Age is given up, as the format says, and where there is no room the oldest goes.
// The zero Chunks is ready; it is for one goroutine.
type Chunks struct {
	MaxMessages int   // put together at a time; 0: 1 024
	MaxBytes    int   // held for all of them; 0: 16 MiB
	MaxMessage  int   // of one; 0: 8 MiB
	Age         int64 // nanoseconds; 0: 5 s

	open  map[chunkKey]*set
	first *set // in the order in which they began
	last  *set
	bytes int
	lost  uint64
}

// chunkKey is a message: ids are only as unique as the sender makes them.
type chunkKey struct {
	from string
	id   [8]byte
}

type set struct {
	key        chunkKey
	next, prev *set
	since      int64
	parts      [][]byte
	have       int
	size       int
}

// Errors of Add.
var (
	errChunk  = errors.New("not a chunk: cut short, or a number that cannot be")
	errLarge  = errors.New("message too large")
	errSource = errors.New("chunks of one message that do not agree")
)

// setCost is what a message costs beside its bytes.
const setCost = 512

// Lost returns how many messages were given up because chunks were missing or
// there was no room.
func (c *Chunks) Lost() uint64 { return c.lost }

// Held returns how many messages wait for chunks, and how many bytes they hold.
func (c *Chunks) Held() (messages, bytes int) { return len(c.open), c.bytes }

// Add takes a chunk from that sender and returns the message if it was the last
// that was missing. The parts lie one behind the other in it; p is copied.
func (c *Chunks) Add(from string, p []byte, now int64) (parts [][]byte, err error) {
	c.Expire(now)
	if len(p) < chunkHead || !IsChunk(p) {
		return nil, errChunk
	}
	k := chunkKey{from: from, id: [8]byte(p[2:10])}
	n, of := int(p[10]), int(p[11])
	body := p[chunkHead:]
	if of == 0 || of > maxParts || n >= of {
		return nil, errChunk
	}
	if of == 1 {
		return [][]byte{append([]byte(nil), body...)}, nil
	}
	s := c.open[k]
	if s == nil {
		s = &set{key: k, since: now, parts: make([][]byte, of)}
		if c.open == nil {
			c.open = make(map[chunkKey]*set)
		}
		c.open[k] = s
		if s.prev = c.last; s.prev != nil {
			s.prev.next = s
		} else {
			c.first = s
		}
		c.last = s
		c.bytes += setCost + 24*of
	}
	if len(s.parts) != of {
		return nil, errSource
	}
	if s.parts[n] != nil {
		return nil, nil // twice
	}
	if s.size+len(body) > or(c.MaxMessage, 8<<20) {
		c.drop(s)
		c.lost++
		return nil, fmt.Errorf("%w: chunks of more than %d bytes", errLarge, or(c.MaxMessage, 8<<20))
	}
	s.parts[n] = append(make([]byte, 0, len(body)), body...)
	s.have++
	s.size += len(body)
	c.bytes += len(body)
	if s.have == of {
		c.drop(s)
		return s.parts, nil
	}
	for c.bytes > or(c.MaxBytes, 16<<20) || len(c.open) > or(c.MaxMessages, 1024) {
		c.lost++
		c.drop(c.first)
	}
	return nil, nil
}

// Expire gives up the messages that began longer than Age ago and returns how many
// those were.
func (c *Chunks) Expire(now int64) (n int) {
	age := c.Age
	if age <= 0 {
		age = 5e9
	}
	for c.first != nil && now-c.first.since > age {
		c.drop(c.first)
		n++
	}
	c.lost += uint64(n)
	return n
}

func (c *Chunks) drop(s *set) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		c.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		c.last = s.prev
	}
	s.next, s.prev = nil, nil
	delete(c.open, s.key)
	c.bytes -= s.size + setCost + 24*len(s.parts)
}

func or(n, def int) int {
	if n > 0 {
		return n
	}
	return def
}
