package tail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// An application that never rotates can be helped by truncating its file: what is not
// finished yet is copied beside it first, under a name as rotation gives them, and is
// read on from there. It is opt-in, because between the last look at the file's size
// and the truncation, some microseconds, the application may write what nobody will
// read. How much that is cannot be known; that it is no more than what can be written
// to memory in that time can, and is told.
//
// The copy holds the file's first block, which its key is made from, and what is not
// finished, up to the end of a line; between them is a hole. Of a line that is not
// complete the beginning stays in the file: it is written over what stands at the
// front, and the file truncated behind it.

// writeSpeed bounds how fast an application can append to a file, in bytes a second:
// faster than a core copies into the page cache. It is for bounds, not for estimates.
const writeSpeed = 16 << 30

// Limits of a rotation.
const (
	rotatePause = time.Second // between two of a file
	rotateRest  = 64 << 20    // what is copied at most
	rotateTries = 1000        // looks for a moment in which nothing is written
	rotateWaits = 200         // of these, with a pause, for one at the end of a line
	rotateWait  = 50 * time.Microsecond
	rotatePart  = 64 << 10 // of a line without its end, at most
)

// rotatedForm is the time in the names of copies. Others that rotate write no
// nanoseconds.
const rotatedForm = "20060102T150405.000000000"

// rotatedByUs reports whether name is that of a copy of base.
func rotatedByUs(base, name string) bool {
	text, ok := strings.CutPrefix(name, base+"-")
	if !ok || len(text) != len(rotatedForm) {
		return false
	}
	_, err := time.Parse(rotatedForm, text)
	return err == nil
}

// rotate truncates files that are too large, and removes copies that are finished. It
// is called when positions have been saved.
func (in *Input) rotate() {
	if in.cfg.RotateSize <= 0 {
		return
	}
	for _, c := range in.ring {
		if !c.plain || c.container.Volume != "" || c.desc.Exclude || len(c.gens) == 0 {
			continue
		}
		in.removeCopies(c)
		g := c.gens[len(c.gens)-1]
		if c.noRotate || g.fd < 0 || g.gz || g.key.IsZero() || g.name != c.base || g.size < in.cfg.RotateSize || in.now.Sub(c.rotated) < rotatePause {
			continue
		}
		c.rotated = in.now
		if err := in.rotateFile(c, g); err != nil {
			if errors.Is(err, errBusy) {
				in.log.Warn("a file is not rotated: the application writes faster than it could be copied, or too much is not delivered yet; it is tried again", "file", c.container.Path)
				continue
			}
			c.noRotate = true
			in.errors["rotate"]++
			in.log.Warn("a file cannot be rotated, and keeps growing", "file", c.container.Path, "error", err)
		}
	}
}

var errBusy = errors.New("the application is too busy")

// rotateFile copies what is not finished of the file, and truncates it.
func (in *Input) rotateFile(c *chain, g *generation) error {
	w, err := in.sys.writable(g.fd)
	if err != nil {
		return err
	}
	defer func() { unix.Close(w) }()
	from := max(reclaimHead, c.reclaimable(g))
	st, err := fstat(g.fd)
	if err != nil {
		return err
	}
	if st.size-from > rotateRest {
		return errBusy
	}
	if same, err := in.unchanged(c, g, 0); err != nil || !same {
		return nil // reading finds out what it is
	}
	path := filepath.Join(c.dir, c.base+"-"+in.cfg.Clock().UTC().Format(rotatedForm))
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, fs.FileMode(st.mode&0o777))
	if err != nil {
		return err
	}
	// What is finished is freed before: a truncation of little takes no time.
	_ = in.sys.punch(w, reclaimHead, from-reclaimHead)
	done := false
	defer func() {
		err := out.Close()
		if !done {
			err = errors.Join(err, os.Remove(path))
		}
		if err != nil {
			in.log.Warn("copy of a rotated file", "path", path, "error", err)
		}
	}()
	if err := in.copyRange(g.fd, out, 0, reclaimHead); err != nil {
		return err
	}
	// What has waited for long may be on the disk already, and must be before it goes
	// from the file; what comes in the last moment need not be.
	if err := in.copyRange(g.fd, out, from, st.size); err != nil {
		return err
	}
	if err := errors.Join(out.Sync(), syncDir(c.dir)); err != nil {
		return err
	}
	end := st.size
	for try := range rotateTries {
		part, err := in.partOfLine(g.fd, from, end)
		if err != nil {
			return err
		}
		if len(part) > 0 && try < rotateWaits {
			time.Sleep(rotateWait) // most applications write whole lines
		}
		begin := time.Now()
		if st, err = fstat(g.fd); err != nil {
			return err
		}
		switch {
		case st.size < end:
			return nil // somebody else has truncated it
		case st.size-from > 2*rotateRest:
			return errBusy
		case st.size > end:
			if err := in.copyRange(g.fd, out, end, st.size); err != nil {
				return err
			}
			end = st.size
			continue
		}
		if len(part) > 0 {
			if try < rotateWaits {
				continue
			}
			if len(part) > rotatePart {
				return errBusy
			}
			if err := out.Truncate(end - int64(len(part))); err != nil {
				return err
			}
			if _, err := unix.Pwrite(w, part, 0); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
		if err := in.sys.truncate(w, int64(len(part))); err != nil {
			return fmt.Errorf("truncate: %w", err)
		}
		took := time.Since(begin)
		done = true
		most := int64(took.Seconds() * writeSpeed)
		in.rotations++
		in.maybeLost += most
		in.log.Warn("a file was rotated by truncation: what was written to it in the last moment may be lost", "file", c.container.Path, "bytes", end, "copy", path, "window", took, "lost_at_most_bytes", most)
		in.rescan(c)
		c.nextPoll = in.now
		return nil
	}
	return errBusy
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// partOfLine returns the bytes behind the last line feed before end, at most a little
// more than rotatePart of them.
func (in *Input) partOfLine(fd int, from, end int64) ([]byte, error) {
	for n := int64(256); ; n *= 16 {
		n = min(n, rotatePart+1, end-from)
		buf := make([]byte, n)
		if m, err := in.sys.preadFull(fd, buf, end-n); err != nil || int64(m) < n {
			return nil, err // it has been truncated, which is seen soon
		}
		if i := bytes.LastIndexByte(buf, '\n'); i >= 0 {
			return buf[i+1:], nil
		}
		if n > rotatePart || n == end-from {
			return buf, nil
		}
	}
}

// copyRange copies the bytes from from to to, as far as they are there.
func (in *Input) copyRange(fd int, out io.WriterAt, from, to int64) error {
	buf := make([]byte, min(1<<20, to-from))
	for from < to {
		n, err := in.sys.preadFull(fd, buf[:min(int64(len(buf)), to-from)], from)
		if n == 0 {
			return err
		}
		if _, err := out.WriteAt(buf[:n], from); err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// removeCopies removes copies of which everything is finished, but for those to keep.
func (in *Input) removeCopies(c *chain) {
	var finished []*generation
	for _, g := range c.gens[:len(c.gens)-1] {
		if g.sealed && g.acked >= g.size-g.lost && !c.pending(g) && rotatedByUs(c.base, g.name) && !c.needs(g) {
			finished = append(finished, g)
		}
	}
	slices.SortFunc(finished, func(a, b *generation) int { return strings.Compare(a.name, b.name) })
	for _, g := range finished[:max(0, len(finished)-in.cfg.RotateKeep)] {
		if err := os.Remove(filepath.Join(c.dir, g.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			in.log.Warn("cannot remove the copy of a rotated file", "file", g.name, "error", err)
		}
		in.rescan(c)
	}
}

// needs reports whether a restart would read in g again.
func (c *chain) needs(g *generation) bool {
	for _, o := range c.state.Open {
		if o.Open && (o.Generation == g.key || c.follows(g, o.Generation)) {
			return true
		}
	}
	return c.state.Mid.Generation == g.key
}
