package tail

import (
	"bytes"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// settling is the end of an Input's life: see Settle.
type settling struct {
	quiet time.Duration
	since time.Time // of the first step after Settle
}

// Settle lets Run come to its end by itself: it looks at all directories once
// more, and returns nil as soon as everything that was written has been read and
// nothing has been written for quiet. What then stands behind the last line feed is
// taken as a line. It may be called at any time and from anywhere; the last call
// counts.
func (in *Input) Settle(quiet time.Duration) {
	in.settleAsked.Store(int64(max(quiet, time.Millisecond)))
	select {
	case in.settleWake <- struct{}{}:
	default: // it is awake already
	}
}

// UnreadLines returns how many lines of the files have been written and not read, as
// counted when Run returned, and before that once a second after Settle. It counts
// line feeds, and a rest without one as a line. ok says whether all could be counted.
func (in *Input) UnreadLines() (lines int64, ok bool) {
	n := in.unreadLines.Load()
	return max(n, ^n), n >= 0
}

// startSettling takes over what Settle asked for.
func (in *Input) startSettling() {
	quiet := time.Duration(in.settleAsked.Load())
	if quiet == 0 || in.settling != nil && in.settling.quiet == quiet {
		return
	}
	if in.settling == nil {
		in.settling = &settling{since: in.now}
		in.hurry = true
		in.lastFull = time.Time{} // whatever directory times say
	}
	in.settling.quiet = quiet
	// The end of a line and of a message come as soon as the end of the files does.
	in.cfg.IdleLine = min(in.idleLine(), quiet)
	in.cfg.PartialAge = min(in.cfg.PartialAge, quiet)
	in.cfg.PollInterval = min(in.cfg.PollInterval, max(quiet/4, 10*time.Millisecond))
}

// idleLine is IdleLine where it is not given for plain files, the shortest.
func (in *Input) idleLine() time.Duration {
	if in.cfg.IdleLine > 0 {
		return in.cfg.IdleLine
	}
	return 5 * time.Second
}

// settled reports whether Run may return.
func (in *Input) settled() bool {
	s := in.settling
	if s == nil || in.now.Sub(s.since) < s.quiet || in.hurry || in.full {
		return false
	}
	for _, c := range in.ring {
		if c.desc.Exclude {
			continue
		}
		if c.unresolved || in.hasWork(c) || c.partial != 0 || in.now.Sub(c.lastGrowth) < s.quiet {
			return false
		}
		for _, g := range c.gens {
			if g.size-g.lost > g.pos && (g.fd >= 0 || g.onDisk()) {
				return false
			}
		}
	}
	return true
}

// countUnread counts the lines that are not read.
func (in *Input) countUnread() {
	total, whole := int64(0), true
	for _, c := range in.ring {
		if c.desc.Exclude {
			continue
		}
		for _, g := range c.gens {
			n, ok := in.linesBehind(c, g)
			total += n
			whole = whole && ok
		}
	}
	if !whole {
		total = ^total
	}
	in.unreadLines.Store(total)
}

// linesBehind counts the lines of g behind its position, in the file as it is now.
func (in *Input) linesBehind(c *chain, g *generation) (lines int64, ok bool) {
	if g.fd < 0 {
		if g.size-g.lost <= g.pos {
			return 0, true
		}
		if !g.onDisk() {
			return 0, false
		}
		if found, err := in.reopen(c, g); !found || err != nil {
			return 0, false
		}
	}
	buf := in.countBuf
	if buf == nil {
		buf = make([]byte, 64<<10)
		in.countBuf = buf
	}
	off, open := g.pos, false
	for {
		if !g.gz {
			// A hole is no lines, and reads as NULs for as long as it is.
			if data, err := unix.Seek(g.fd, off, unix.SEEK_DATA); err == nil {
				off = data
			} else if err == unix.ENXIO {
				break
			}
		}
		n, err := in.readRaw(g, buf, off)
		lines += int64(bytes.Count(buf[:n], []byte{'\n'}))
		if n > 0 {
			open = buf[n-1] != '\n'
		}
		off += int64(n)
		if n < len(buf) {
			if err != nil && err != io.EOF {
				return lines, false
			}
			break
		}
	}
	if open {
		lines++
	}
	return lines, true
}
