package output

import (
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"google.golang.org/grpc/encoding"
)

// gRPC finds compressors by name in a registry of the process; this is the only
// way to give it one that is fast. Decompression is here because the registry
// wants both; gRPC bounds its result.
func init() { encoding.RegisterCompressor(&grpcGzip{}) }

type grpcGzip struct{ writers sync.Pool }

func (*grpcGzip) Name() string { return compressGzip }

func (c *grpcGzip) Compress(w io.Writer) (io.WriteCloser, error) {
	z, ok := c.writers.Get().(*pooledGzip)
	if !ok {
		gz, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return nil, err
		}
		return &pooledGzip{gz, &c.writers}, nil
	}
	z.Reset(w)
	return z, nil
}

type pooledGzip struct {
	*gzip.Writer
	pool *sync.Pool
}

// Close ends the stream and the writer's use.
func (z *pooledGzip) Close() error {
	err := z.Writer.Close()
	z.Reset(nil)
	z.pool.Put(z)
	return err
}

func (c *grpcGzip) Decompress(r io.Reader) (io.Reader, error) {
	return gzip.NewReader(r)
}
