// Command floor is the yardstick: the least that a process can do to bring the
// container logs of a directory to a sink. It reads files in large pieces, takes
// the CRI framing off, joins pieces, puts the names from the path before each
// record, merges JSON bodies by splicing, compresses and posts: the same bytes
// as weir's jsonl and elasticsearch outputs, from the same compressor at the
// same level, in requests of the same size. It has none of what makes that
// safe: no ids (random ones of the same length stand in), no acknowledgements,
// positions, ledger, metadata, retries, limits, checks of UTF-8 or of names that
// clash. It uses nothing of weir, knows only the lines of package corpus, and
// ends when it has read everything.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func main() {
	log.SetFlags(0)
	var f floor
	root := flag.String("root", "", "log directory of the node")
	flag.StringVar(&f.url, "url", "", "where to post; empty: to standard output")
	flag.StringVar(&f.format, "format", "jsonl", "jsonl, elastic or raw")
	flag.StringVar(&f.compression, "compression", "none", "zstd, gzip or none")
	flag.IntVar(&f.request, "request", 1<<20, "bytes of log file per request")
	chunk := flag.Int("chunk", 256<<10, "bytes per read")
	flag.Parse()
	paths, err := filepath.Glob(filepath.Join(*root, "*", "*", "*.log"))
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("no log files in %s", *root)
	}
	if err == nil {
		err = f.run(paths, *chunk)
	}
	if err != nil {
		log.Fatal("floor: ", err)
	}
}

type floor struct {
	url, format, compression string
	request                  int

	client http.Client
	zip    interface {
		io.WriteCloser
		Reset(io.Writer)
	}
	out  bytes.Buffer // the compressed request
	raw  []byte       // encoded records
	read int          // bytes of log file in the request
	enc  encoder
}

func (f *floor) run(paths []string, chunk int) (err error) {
	f.client.Transport = &http.Transport{DisableCompression: true, WriteBufferSize: 64 << 10}
	switch f.compression {
	case "zstd":
		f.zip, err = zstd.NewWriter(&f.out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithEncoderLevel(zstd.SpeedFastest))
	case "gzip":
		f.zip, err = gzip.NewWriterLevel(&f.out, gzip.BestSpeed)
	case "none":
	default:
		err = fmt.Errorf("unknown compression %q", f.compression)
	}
	if err != nil {
		return err
	}
	f.enc.format = f.format
	buf := make([]byte, chunk)
	for _, p := range paths {
		if err := f.file(p, buf); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	if f.read > 0 {
		return f.post()
	}
	return nil
}

// file reads one file; its last bytes without a line feed are left out.
func (f *floor) file(path string, buf []byte) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := f.enc.begin(path); err != nil {
		return err
	}
	for carry := 0; ; {
		n, err := in.Read(buf[carry:])
		if n == 0 {
			if err == io.EOF {
				return nil
			}
			return err
		}
		full := buf[:carry+n]
		rest := f.enc.frame(&f.raw, full)
		carry = copy(buf, rest)
		if carry == len(buf) {
			return fmt.Errorf("a line of more than %d bytes", carry)
		}
		if err := f.flush(n); err != nil {
			return err
		}
	}
}

// flush takes what was encoded of n bytes of log file.
func (f *floor) flush(n int) error {
	f.read += n
	if f.url == "" {
		_, err := os.Stdout.Write(f.raw)
		f.raw, f.read = f.raw[:0], 0
		return err
	}
	if f.zip != nil {
		if _, err := f.zip.Write(f.raw); err != nil {
			return err
		}
		f.raw = f.raw[:0]
	}
	if f.read < f.request {
		return nil
	}
	return f.post()
}

func (f *floor) post() error {
	body := f.raw
	if f.zip != nil {
		if err := f.zip.Close(); err != nil {
			return err
		}
		body = f.out.Bytes()
	}
	req, err := http.NewRequest(http.MethodPost, f.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	if f.zip != nil {
		req.Header.Set("Content-Encoding", f.compression)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("POST: %s", resp.Status)
	}
	f.raw, f.read = f.raw[:0], 0
	f.out.Reset()
	if f.zip != nil {
		f.zip.Reset(&f.out)
	}
	return nil
}
