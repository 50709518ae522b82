package read

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/weirlog/weir/columns"
)

// Plan is what an export has been told and how far it is: a small file beside
// the output, so that the same command goes on where it stopped. Everything
// before Next is in Parts and in the first Length bytes of the part that is being
// written, durably.
type Plan struct {
	Version  int      `json:"version"`
	Query    string   `json:"query"`
	Range    string   `json:"range"` // as it was said
	From     int64    `json:"from"`  // as it was understood at the first start
	To       int64    `json:"to"`
	Format   string   `json:"format"`
	Columns  []string `json:"columns,omitempty"`
	Compress string   `json:"compress,omitempty"`
	Part     string   `json:"part,omitempty"`
	Source   string   `json:"source"`

	Next   int64      `json:"next"`
	Length int64      `json:"length"`
	Groups []int64    `json:"groups,omitempty"` // sizes of row groups in it
	Rows   int64      `json:"rows"`             // in all parts
	Raw    int64      `json:"raw"`
	Here   PlanPart   `json:"here"`            // what is in the part so far
	Parts  []PlanPart `json:"parts,omitempty"` // finished
	Done   bool       `json:"done,omitempty"`
}

// PlanPart is a file of an export.
type PlanPart struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	Rows  int64  `json:"rows"`
	First int64  `json:"first"` // time of the first line
	Last  int64  `json:"last"`
}

const planVersion = 1

// Same reports what differs between what was begun and what is wanted, "" if
// nothing does.
func (p *Plan) Same(want *Plan) string {
	for _, d := range []struct{ what, was, is string }{
		{"query", p.Query, want.Query}, {"range", p.Range, want.Range}, {"format", p.Format, want.Format},
		{"columns", fmt.Sprint(p.Columns), fmt.Sprint(want.Columns)}, {"compression", p.Compress, want.Compress},
		{"part", p.Part, want.Part}, {"source", p.Source, want.Source},
	} {
		if d.was != d.is {
			return fmt.Sprintf("%s %q, not %q", d.what, d.was, d.is)
		}
	}
	return ""
}

// Files writes an export to files: to a name of its own first, which becomes the
// real one when the part is complete and durable.
type Files struct {
	Plan *Plan
	// Path is the plan's file. Dir is where the parts are; Name names a part by
	// its number, from 1, and the time of its first line.
	Path string
	Dir  string
	Name func(n int, first int64) string
	// Span and Size bound a part: a multiple of nanoseconds within which its
	// lines are, and bytes; 0 for no bound.
	Span, Size int64
	// Head is what stands at the front of every file. Parquet says that chunks
	// are row groups.
	Head    []byte
	Parquet bool
	// SaveBytes and SaveEvery bound how much an abrupt end costs: bytes written
	// and time. Defaults 256 MiB, 5 s.
	SaveBytes int64
	SaveEvery time.Duration

	f       *os.File
	length  int64 // written to f
	groups  []int64
	pending Plan    // what the plan will be: as of the last safe chunk
	safe    bool    // the last chunk was
	held    []Chunk // before the one that will be
	saved   time.Time
	unsaved int64 // bytes since
}

// ErrBusy says that another process writes the same export.
var ErrBusy = errors.New("another weir is writing this export")

// LoadPlan reads a plan. There may be none: fs.ErrNotExist.
func LoadPlan(path string) (*Plan, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var p Plan
	if err := json.Unmarshal(b, &p); err != nil || p.Version != planVersion {
		return nil, fmt.Errorf("%s is not the plan of an export by this version of weir; --restart begins anew", path)
	}
	return &p, nil
}

// Open begins, or goes on with, what the plan says.
func (s *Files) Open() error {
	if s.SaveBytes == 0 {
		s.SaveBytes = 256 << 20
	}
	if s.SaveEvery == 0 {
		s.SaveEvery = 5 * time.Second
	}
	p := s.Plan
	if n := len(p.Parts); n > 0 { // it may have been cut before it was renamed
		last := p.Parts[n-1].Name
		_, err := os.Stat(s.path(last))
		if errors.Is(err, fs.ErrNotExist) {
			err = os.Rename(s.partial(last), s.path(last))
		}
		if err != nil {
			return err
		}
	}
	s.pending, s.safe = *p, true
	if p.Here.Name == "" || p.Done {
		return s.save()
	}
	f, err := os.OpenFile(s.partial(p.Here.Name), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("go on with an export: %w; --restart begins anew", err)
	}
	if err := lockFile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if size, err := f.Seek(0, io.SeekEnd); err != nil || size < p.Length {
		if err == nil {
			err = fmt.Errorf("%s has %d bytes, and had %d; --restart begins anew", f.Name(), size, p.Length)
		}
		return errors.Join(err, f.Close())
	}
	err = f.Truncate(p.Length)
	if err == nil {
		_, err = f.Seek(p.Length, io.SeekStart)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.f, s.length, s.groups = f, p.Length, append([]int64(nil), p.Groups...)
	return nil
}

func (s *Files) path(name string) string    { return filepath.Join(s.Dir, name) }
func (s *Files) partial(name string) string { return s.path(name) + ".partial" }

// Write implements Out. What ends amid the lines of one nanosecond waits for the
// rest of them, so that a part may end before it.
func (s *Files) Write(c *Chunk) error {
	size := int64(len(c.Data))
	for _, h := range s.held {
		size += int64(len(h.Data))
	}
	if !c.Safe && size < maxHeld {
		own := *c
		own.Data = append([]byte(nil), c.Data...)
		s.held = append(s.held, own)
		return nil
	}
	first := c.First
	if len(s.held) > 0 {
		first = s.held[0].First
	}
	here := &s.pending.Here
	if s.f != nil && s.safe && here.Rows > 0 && (s.Span > 0 && floorDiv(here.First, s.Span) != floorDiv(first, s.Span) ||
		s.Size > 0 && s.length+size > s.Size) {
		if err := s.finish(); err != nil {
			return err
		}
	}
	if s.f == nil {
		if err := s.create(first); err != nil {
			return err
		}
	}
	for i := range s.held {
		if err := s.add(&s.held[i]); err != nil {
			return err
		}
	}
	s.held = nil
	if err := s.add(c); err != nil {
		return err
	}
	if s.safe = c.Safe; c.Safe {
		return s.Reached(c.Last + 1)
	}
	return nil
}

// add writes a chunk into the part.
func (s *Files) add(c *Chunk) error {
	here := &s.pending.Here
	if here.Rows == 0 {
		here.First = c.First
	}
	if err := s.write(c.Data); err != nil {
		return err
	}
	if s.Parquet {
		s.groups = append(s.groups, int64(len(c.Data)))
	}
	s.pending.Rows += c.Rows
	s.pending.Raw += c.Raw
	here.Rows += c.Rows
	here.Last = c.Last
	return nil
}

func (s *Files) write(p []byte) error {
	n, err := s.f.Write(p)
	s.length += int64(n)
	s.unsaved += int64(n)
	return err
}

// create begins a part.
func (s *Files) create(first int64) error {
	name := s.Name(len(s.pending.Parts)+1, first)
	if _, err := os.Lstat(s.path(name)); err == nil {
		return fmt.Errorf("%s exists already; --restart writes it anew", s.path(name))
	}
	f, err := os.OpenFile(s.partial(name), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := lockFile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Truncate(0); err != nil {
		return errors.Join(err, f.Close())
	}
	s.f, s.length, s.groups = f, 0, nil
	s.pending.Here = PlanPart{Name: name}
	if err := s.write(s.Head); err != nil {
		return err
	}
	return nil
}

// Reached implements Out. What is written is saved now and then.
func (s *Files) Reached(next int64) error {
	s.safe = true
	s.pending.Next = next
	s.mark()
	if s.saved.IsZero() {
		s.saved = time.Now()
	}
	if s.unsaved < s.SaveBytes && time.Since(s.saved) < s.SaveEvery {
		return nil
	}
	return s.Save()
}

// mark notes that what is written up to here may be gone on with.
func (s *Files) mark() {
	s.pending.Length = s.length
	s.pending.Groups = append([]int64(nil), s.groups...)
	*s.Plan = s.pending
	s.Plan.Parts = append([]PlanPart(nil), s.pending.Parts...)
}

// Save makes durable what is written as far as an export can go on from there.
func (s *Files) Save() error {
	if s.f != nil {
		if err := s.f.Sync(); err != nil {
			return err
		}
	}
	if err := s.save(); err != nil {
		return err
	}
	s.saved, s.unsaved = time.Now(), 0
	return nil
}

// save writes the plan.
func (s *Files) save() error {
	b, err := json.MarshalIndent(s.Plan, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.Create(s.Path + ".tmp") // what a dead one left is written over
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), s.Path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(s.Path))
}

// finish ends a part.
func (s *Files) finish() error {
	if s.Parquet {
		if err := s.join(); err != nil {
			return err
		}
	}
	if err := s.f.Sync(); err != nil {
		return err
	}
	if err := s.f.Close(); err != nil {
		return err
	}
	s.f = nil
	part := s.pending.Here
	part.Bytes = s.length
	s.length, s.groups = 0, nil
	s.pending.Here = PlanPart{}
	s.pending.Parts = append(s.pending.Parts, part)
	s.mark()
	if err := s.save(); err != nil {
		return err
	}
	if err := os.Rename(s.partial(part.Name), s.path(part.Name)); err != nil {
		return err
	}
	s.saved, s.unsaved = time.Now(), 0
	return syncDir(s.Dir)
}

// join makes one file of row groups that are files; one is that as it stands.
func (s *Files) join() error {
	if len(s.groups) == 1 {
		return nil
	}
	var list []columns.Group
	off := int64(0)
	for _, size := range s.groups {
		foot, err := footer(s.f, off, size)
		if err != nil {
			return err
		}
		list = append(list, columns.Group{Off: off, Footer: foot})
		off += size
	}
	tail, err := columns.Join(list, off)
	if err != nil {
		return err
	}
	return s.write(tail)
}

// footer reads the footer of a Parquet file within f.
func footer(f *os.File, off, size int64) ([]byte, error) {
	for n := min(size, 64<<10); ; n = min(size, 4*n) {
		b := make([]byte, n)
		if _, err := f.ReadAt(b, off+size-n); err != nil {
			return nil, err
		}
		foot, err := columns.SegmentFooter(b)
		if err == nil || n == size {
			return foot, err
		}
	}
}

// Close ends the export, whose last line has been written. Without a line there
// is a file all the same if empty says so.
func (s *Files) Close(empty bool) error {
	if s.f == nil && empty && len(s.pending.Parts) == 0 && !s.Parquet {
		if err := s.create(s.Plan.From); err != nil {
			return err
		}
	}
	s.pending.Next = s.pending.To
	s.pending.Done = true
	if s.f != nil {
		return s.finish()
	}
	s.mark()
	return s.save()
}

// Stop ends the export before its end: the same one goes on from there.
func (s *Files) Stop() error {
	if s.f == nil {
		return s.save()
	}
	// What is amid something goes: on a full disk that makes room for the plan.
	err := s.f.Truncate(s.Plan.Length)
	if err == nil {
		err = s.Save()
	}
	err = errors.Join(err, s.f.Close())
	s.f = nil
	return err
}

// Forget removes what an export has left.
func (s *Files) Forget() error {
	var errs []error
	remove := func(path string) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	for _, p := range s.Plan.Parts {
		remove(s.path(p.Name))
		remove(s.partial(p.Name))
	}
	if s.Plan.Here.Name != "" {
		remove(s.partial(s.Plan.Here.Name))
	}
	remove(s.Path)
	return errors.Join(errs...)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	// Not every file system can.
	_ = d.Sync()
	return d.Close()
}
