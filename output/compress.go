package output

import (
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// compressor is a reusable writer of one compression method.
type compressor interface {
	io.WriteCloser
	Reset(w io.Writer)
}

// compressors keeps the compressors of one output for reuse.
type compressors struct {
	method string
	level  int
	pool   sync.Pool
}

// zstdWindow bounds the memory of both sides; log lines repeat within it.
const zstdWindow = 1 << 20

func newCompressors(method string, level int) (*compressors, error) {
	c := &compressors{method: method, level: level}
	switch method {
	case compressNone, compressSnappy:
	case compressGzip:
		if level == 0 {
			c.level = gzip.BestSpeed // 3 times as fast as the default for a tenth more bytes
		}
	case compressZstd:
		if level < 0 || level > 4 {
			return nil, fmt.Errorf("output: compression level %d: zstd has 1 to 4", level)
		}
		if level == 0 {
			c.level = int(zstd.SpeedFastest)
		}
	default:
		return nil, fmt.Errorf("output: unknown compression %q", method)
	}
	if method == compressGzip || method == compressZstd {
		z, err := c.make()
		if err != nil {
			return nil, fmt.Errorf("output: compression %s level %d: %w", method, level, err)
		}
		c.put(z)
	}
	return c, nil
}

func (c *compressors) make() (compressor, error) {
	if c.method == compressGzip {
		return gzip.NewWriterLevel(nil, c.level)
	}
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow),
		zstd.WithEncoderLevel(zstd.EncoderLevel(c.level)))
}

func (c *compressors) get() (compressor, error) {
	if z, ok := c.pool.Get().(compressor); ok {
		return z, nil
	}
	return c.make()
}

func (c *compressors) put(z compressor) {
	z.Reset(nil) // hold no buffer of a request
	c.pool.Put(z)
}
