package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"hash/crc32"

	"github.com/weirlog/weir/columns"
)

// CheckReport is what Check found.
type CheckReport struct {
	Segments int
	Rows     int64
	Bytes    int64 // read
	Bad      []BadSegment
}

// BadSegment is a segment with damage and what was done about it.
type BadSegment struct {
	File     string
	Problem  string
	Repaired string // what was done; empty: nothing
	Rows     int64  // in the segment, as far as the manifest knows
	Saved    int64  // of them, after a repair
}

// CheckOptions say how to check.
type CheckOptions struct {
	// Repair repairs what is damaged.
	Repair bool
	// Progress, if not nil, is called before each segment and at the end with how
	// many bytes of data and index have been dealt with, of how many.
	Progress func(done, total int64)
}

// Check reads every byte of every segment and compares all sums. With Repair, a
// segment whose index is damaged gets a new one, and one whose Parquet file is
// becomes a segment of the rows that can still be read; the damaged files are put
// aside, never removed.
func (s *Store) Check(ctx context.Context, o CheckOptions) (CheckReport, error) {
	s.keepMu.Lock()
	defer s.keepMu.Unlock()
	var rep CheckReport
	s.mu.Lock()
	all := append([]*segment(nil), s.segments...)
	for _, g := range all {
		g.hold()
	}
	s.mu.Unlock()
	defer func() {
		for _, g := range all {
			g.drop()
		}
	}()
	var done, total int64
	for _, g := range all {
		total += g.info.Size
	}
	progress := func() {
		if o.Progress != nil {
			o.Progress(done, total)
		}
	}
	defer progress()
	for _, g := range all {
		if err := ctx.Err(); err != nil {
			return rep, err
		}
		progress()
		done += g.info.Size
		rep.Segments++
		rep.Rows += g.info.Rows
		x, err := g.loadIndex()
		if err == nil {
			err = g.checkData(x, &rep.Bytes)
		}
		if err == nil {
			err = g.checkFilter(x, &rep.Bytes)
		}
		if err == nil {
			continue
		}
		bad := BadSegment{File: g.info.dataName(), Problem: err.Error(), Rows: g.info.Rows}
		if o.Repair {
			if err := s.repair(ctx, g, &bad); err != nil {
				rep.Bad = append(rep.Bad, bad)
				return rep, fmt.Errorf("repair %s: %w", bad.File, err)
			}
		}
		rep.Bad = append(rep.Bad, bad)
	}
	return rep, nil
}

// checkData compares the sum of the whole Parquet file.
func (g *segment) checkData(x *columns.Index, read *int64) error {
	data, _, err := g.files()
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	crc := uint32(0)
	for off := int64(0); off < x.FileSize; {
		n := min(int64(len(buf)), x.FileSize-off)
		if err := readFull(data, buf[:n], off); err != nil {
			return fmt.Errorf("read %s: %w", g.info.dataName(), err)
		}
		crc = crc32.Update(crc, castagnoli, buf[:n])
		off += n
		*read += n
	}
	if crc != x.FileCRC {
		return fmt.Errorf("%s: sum of the file: %w", g.info.dataName(), columns.ErrDamaged)
	}
	return nil
}

// checkFilter compares the sums of the filter's groups.
func (g *segment) checkFilter(x *columns.Index, read *int64) error {
	_, idx, err := g.files()
	if err != nil {
		return err
	}
	b := make([]byte, x.Filter.Size())
	if err := readFull(idx, b, x.Filter.Off); err != nil {
		return fmt.Errorf("read %s: %w", g.info.idxName(), err)
	}
	*read += int64(len(b))
	if !x.Filter.Intact(b) {
		return fmt.Errorf("%s: filter: %w", g.info.idxName(), columns.ErrDamaged)
	}
	return nil
}

// repair replaces a damaged segment by what can be read of it.
func (s *Store) repair(ctx context.Context, g *segment, bad *BadSegment) error {
	info := segmentInfo{Seq: s.newSegment(), Day: g.info.Day, Level: min(g.info.Level+1, maxLevel)}
	sw := &segmentWriter{fs: s.fs}
	how := "the rows that can be read were written anew"
	x, err := g.parseIndex()
	if err == nil {
		err = s.rewriteByIndex(ctx, sw, g, x, &info)
	}
	if err != nil && ctx.Err() == nil {
		how = "written anew, with a new index, from the Parquet file"
		err = rewriteByParquet(ctx, sw, g, &info)
	}
	e := &edit{Remove: []uint64{g.info.Seq}}
	var add []*segment
	switch {
	case errors.Is(err, columns.ErrDamaged) || notExist(err) || errors.Is(err, io.ErrUnexpectedEOF):
		how = "nothing can be read of it"
		s.discard([]segmentInfo{info})
	case err != nil:
		s.discard([]segmentInfo{info})
		return err
	default:
		e.Add = []segmentInfo{info}
		add = s.newSegments(e.Add)
		bad.Saved = info.Rows
	}
	// Aside first: what the manifest has forgotten is removed at the next start.
	if err := s.linkAside(g); err != nil {
		return err
	}
	if err := s.commitEdit(e); err != nil {
		return err
	}
	s.mu.Lock()
	s.publish(add, map[uint64]bool{g.info.Seq: true})
	s.mu.Unlock()
	s.cache.forget(g)
	g.retire()
	bad.Repaired = how
	return nil
}

// linkAside copies a segment's files into quarantine.
func (s *Store) linkAside(g *segment) error {
	if err := s.fs.MkdirAll(quarantineDir); err != nil {
		return err
	}
	for _, name := range []string{g.info.dataName(), g.info.idxName()} {
		f, err := s.fs.Open(name, false)
		if notExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		err = s.copyFile(f, asideName(name))
		f.Close()
		if err != nil {
			return fmt.Errorf("put %s aside: %w", name, err)
		}
	}
	return s.fs.SyncDir(quarantineDir)
}

func (s *Store) copyFile(from File, name string) error {
	size, err := from.Size()
	if err != nil {
		return err
	}
	to, err := s.fs.Create(name)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for off := int64(0); off < size && err == nil; {
		n := min(int64(len(buf)), size-off)
		if err = readFull(from, buf[:n], off); err == nil {
			_, err = to.WriteAt(buf[:n], off)
		}
		off += n
	}
	if err == nil {
		err = to.Sync()
	}
	if e := to.Close(); err == nil {
		err = e
	}
	return err
}

// rewriteByIndex writes the rows of the blocks that are whole.
func (s *Store) rewriteByIndex(ctx context.Context, sw *segmentWriter, g *segment, x *columns.Index, info *segmentInfo) error {
	dec, err := columns.NewDecoder()
	if err != nil {
		return err
	}
	defer dec.Close()
	it := &segmentRows{g: g, x: x, dec: dec}
	var streams []columns.Stream
	for i := range x.Streams {
		streams = append(streams, x.Streams[i].Stream)
		it.rank = append(it.rank, uint32(i))
	}
	n := 0
	err = sw.write(info, streams, func(r *columns.Row) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for {
			err := it.advance()
			if errors.Is(err, columns.ErrDamaged) {
				it.skipBlock()
				continue
			}
			if err == nil {
				n++
				*r = it.row
			}
			return err
		}
	})
	if err == nil && n == 0 {
		return fmt.Errorf("no row: %w", columns.ErrDamaged)
	}
	return err
}

// skipBlock goes behind the block that the next row is in.
func (it *segmentRows) skipBlock() {
	for i := range it.x.Blocks {
		if b := &it.x.Blocks[i]; b.Row+b.Rows > it.next {
			it.next = b.Row + b.Rows
			return
		}
	}
}

// rewriteByParquet writes the rows that parquet-go reads.
func rewriteByParquet(ctx context.Context, sw *segmentWriter, g *segment, info *segmentInfo) error {
	data, err := g.fs.Open(g.info.dataName(), false)
	if err != nil {
		return err
	}
	defer data.Close()
	size, err := data.Size()
	if err != nil {
		return err
	}
	// The writer wants to know the streams first; they come in its order.
	var streams []columns.Stream
	var last *columns.Stream
	if err := columns.ReadParquet(data, size, func(st *columns.Stream, _ *columns.Row) error {
		if st != last {
			streams, last = append(streams, *st), st
		}
		return ctx.Err()
	}); err != nil {
		return err
	}
	// A goroutine that ends with this call hands rows over one by one.
	type item struct {
		row columns.Row
		err error
	}
	rows, taken, quit := make(chan item), make(chan struct{}), make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		n := -1
		var last *columns.Stream
		err := columns.ReadParquet(data, size, func(st *columns.Stream, r *columns.Row) error {
			if st != last {
				n, last = n+1, st
			}
			r.Stream = uint32(n)
			select {
			case rows <- item{row: *r}:
			case <-quit:
				return io.EOF
			}
			select {
			case <-taken:
				return nil
			case <-quit:
				return io.EOF
			}
		})
		if err == nil {
			err = io.EOF
		}
		select {
		case rows <- item{err: err}:
		case <-quit:
		}
	}()
	err = sw.write(info, streams, func(r *columns.Row) error {
		i := <-rows
		*r = i.row
		return i.err
	}, func() error {
		taken <- struct{}{}
		return nil
	})
	close(quit)
	<-done
	return err
}
