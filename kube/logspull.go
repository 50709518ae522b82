package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weirlog/weir/show"
)

const (
	readBuffer    = 4 << 10  // to begin with
	maxReadBuffer = 64 << 10 // unless a line needs more
	// maxLine is the longest line that stays whole; a longer one becomes several,
	// each but the last marked partial="true".
	maxLine   = 1 << 20
	maxPrefix = 64 // a time and a space
)

// ask is what of a container's log is asked for.
type ask struct {
	follow, previous bool
	same             bool // goes on with what the cursor has read; see overlap
	tail             int64
	bytes            int64 // at most; 0 for all
}

// open requests a log. The body is the caller's to close.
func (l *Logs) open(ctx context.Context, t *target, a ask, since time.Time) (io.ReadCloser, error) {
	q := url.Values{"container": {t.container}, "timestamps": {"true"}}
	if a.follow {
		q.Set("follow", "true")
	}
	if a.previous {
		q.Set("previous", "true")
	}
	if a.tail >= 0 {
		q.Set("tailLines", strconv.FormatInt(a.tail, 10))
	}
	if a.bytes > 0 {
		q.Set("limitBytes", strconv.FormatInt(a.bytes, 10))
	}
	if !since.IsZero() {
		q.Set("sinceTime", since.UTC().Format(time.RFC3339)) // the server has no finer grain
	}
	u := l.base.JoinPath("api/v1/namespaces", t.namespace, "pods", t.pod, "log")
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "*/*")
	req.Header.Set("User-Agent", "weir")
	resp, err := l.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, statusError(resp)
	}
	return resp.Body, nil
}

// errEnough ends reading when the upper bound has been passed.
var errEnough = errors.New("enough")

// pull makes one request and gives what is new to the sink. The error is
// errEnough if a line behind Until has come; it is nil if
// the answer ended properly, which does not say that the log has: kubelet's
// connection may have been cut behind the API server. whole says that it has,
// so that text without an end of line is a line.
func (c *container) pull(ctx context.Context, a ask, whole bool) error {
	since := c.cur.since()
	if !c.cur.any {
		since = later(c.rd.r.Since, since)
	}
	body, err := c.rd.l.open(ctx, &c.target, a, since)
	if err != nil {
		return err
	}
	defer body.Close()
	c.rd.back()
	p := puller{c: c, o: c.cur.overlap(a.same), buf: make([]byte, readBuffer), live: a.follow, known: a.previous && c.whole}
	err = p.read(ctx, body)
	if err == nil && whole {
		p.rest()
	}
	return err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// puller splits an answer into lines.
type puller struct {
	c     *container
	o     *overlap
	buf   []byte
	n     int    // bytes in buf
	long  string // time, as text, of a line of which parts have been given out
	live  bool   // it is followed
	known bool   // it has been read to its end before
	out   []show.Entry
}

func (p *puller) read(ctx context.Context, body io.Reader) error {
	var before time.Time
	for {
		n, err := body.Read(p.buf[p.n:])
		if p.live && err == nil && n < readBuffer {
			// kubelet sends a line at a time, and each costs as much as hundreds that
			// come together. When lines are close together, some are waited for.
			if now := time.Now(); now.Sub(before) < gather {
				time.Sleep(gather)
				before = time.Now()
			} else {
				before = now
			}
		}
		p.n += n
		if n > 0 {
			if e := p.lines(); e != nil {
				return e
			}
			if p.live {
				p.c.grown(ctx, n)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// lines takes the complete lines from the buffer and makes room in it.
func (p *puller) lines() error {
	end := bytes.LastIndexByte(p.buf[:p.n], '\n') + 1
	var err error
	if end > 0 {
		// One string for all of them.
		text := string(p.buf[:end])
		p.out = make([]show.Entry, 0, strings.Count(text, "\n"))
		for text != "" && err == nil {
			var l string
			l, text, _ = strings.Cut(text, "\n")
			err = p.line(l, false)
		}
		p.n = copy(p.buf, p.buf[end:p.n])
	}
	for p.n >= maxLine+maxPrefix && err == nil {
		cut := maxLine + maxPrefix
		if p.long == "" {
			if i := bytes.IndexByte(p.buf[:maxPrefix], ' '); i >= 0 {
				cut = i + 1 + maxLine
			}
		} else {
			cut = maxLine
		}
		l := string(p.buf[:cut])
		err = p.line(l, true)
		p.n = copy(p.buf, p.buf[cut:p.n])
	}
	p.flush()
	switch {
	case p.n == len(p.buf) && len(p.buf) < maxReadBuffer, p.n > len(p.buf)/2 && len(p.buf) < 2*maxLine+maxPrefix:
		p.buf = append(p.buf, make([]byte, len(p.buf))...)
	case end == len(p.buf) && len(p.buf) < maxReadBuffer:
		p.buf = make([]byte, 2*len(p.buf)) // the log is faster than we are
	case len(p.buf) > maxReadBuffer && p.n < maxReadBuffer/2:
		p.buf = append(make([]byte, 0, maxReadBuffer), p.buf[:p.n]...)[:maxReadBuffer]
	}
	return err
}

// rest takes what stands behind the last end of line, and what is held back.
func (p *puller) rest() {
	if p.n > 0 {
		_ = p.line(string(p.buf[:p.n]), false)
	}
	for _, r := range p.o.end() {
		p.take(r)
	}
	p.flush()
}

func (p *puller) flush() {
	if len(p.out) > 0 {
		p.c.rd.s.Lines(p.out)
		if p.live {
			p.c.lag()
		}
	}
	p.out = nil
}

// How far behind its container a log is when it is told of, and when it has
// caught up.
const (
	lagging  = 5 * time.Second
	caughtUp = 2 * time.Second
)

// lag warns when what is read is old, though it was not before: kubelet follows
// a file through one rotation, but skips those that were made and rotated away
// while nobody took what it read.
func (c *container) lag() {
	behind := c.rd.l.serverTime().Sub(time.Unix(0, c.cur.newest))
	switch {
	case behind < caughtUp:
		c.current = true
	case behind > lagging && c.current:
		c.current = false
		c.notice(NoticeWarning, fmt.Sprintf("is read %s after it was written; if that goes on, kubelet rotates lines away before they are read", behind.Round(time.Second)))
	}
}

// line takes a line, or a part of one that is too long: more says that it goes
// on.
func (p *puller) line(text string, more bool) error {
	stamp, rest, ok := strings.Cut(text, " ")
	if p.long != "" {
		stamp, rest, ok = p.long, text, true
	}
	t, err := time.Parse(time.RFC3339Nano, stamp)
	if !ok && err == nil {
		rest = ""
	}
	if err != nil {
		if trouble := kubeletTrouble(text); trouble {
			if !p.known {
				p.c.notice(NoticeError, "kubelet: "+plain(text))
			}
			return nil
		}
		rest, t = text, time.Now()
		if p.c.cur.any {
			t = time.Unix(0, p.c.cur.newest)
		}
	}
	p.long = ""
	if more && err == nil {
		p.long = stamp
	}
	// Parts are always of the same length, so that they are known again.
	for len(rest) > maxLine {
		if err := p.decide(raw{t.UnixNano(), hashLine(stamp, rest[:maxLine]), rest[:maxLine], true}); err != nil {
			return err
		}
		rest = rest[maxLine:]
	}
	return p.decide(raw{t.UnixNano(), hashLine(stamp, rest), rest, more})
}

// decide gives out a line if it is new.
func (p *puller) decide(r raw) error {
	held, pass := p.o.next(r)
	if p.o.missing {
		p.o.missing = false
		p.c.notice(NoticeError, fmt.Sprintf("lines between %s and %s may be missing: the connection was cut and kubelet, which hands out the newest file only, has rotated the log since",
			clock(p.c.cur.newest), clock(r.ns)))
	}
	for _, h := range held {
		p.take(h)
	}
	if pass {
		return p.take(r)
	}
	return nil
}

func clock(ns int64) string { return time.Unix(0, ns).Format("15:04:05.000") }

// partial marks a line that goes on in the next entry.
var partial = map[string]string{"partial": "true"}

// take gives out a line that is new.
func (p *puller) take(r raw) error {
	b := &p.c.rd.bounds
	p.c.cur.add(r.ns, r.hash)
	switch {
	case r.ns < b.since:
		return nil
	case r.ns >= b.until:
		if r.ns >= b.until+2e9 && b.until < b.until+2e9 {
			return errEnough
		}
		return nil
	}
	e := show.Entry{Time: r.ns, Line: r.text, Stream: p.c.stream}
	if r.part {
		e.Meta = partial
	}
	p.out = append(p.out, e)
	return nil
}

// kubeletTrouble recognises what kubelet writes into the answer in place of a
// log, with status 200 and no time before it.
func kubeletTrouble(s string) bool {
	for _, p := range []string{"unable to retrieve container logs for", "failed to try resolving symlinks", "failed to create fsnotify", "failed to watch file", "failed to open log file", "failed to get container", "rpc error:"} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
