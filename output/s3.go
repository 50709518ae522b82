package output

import (
	"bytes"
	"context"
	"crypto/md5" // #nosec G501: Content-MD5 is the protocol's
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/jsonl"
)

// S3Config configures NewS3.
type S3Config struct {
	// HTTPConfig has the service's URL, without the bucket, and how it is
	// reached; Auth, Headers and Compression are not used.
	HTTPConfig
	Bucket string
	Region string // "": asked for
	// Prefix of the objects' keys; made with wire.SanitizeObjectKey.
	Prefix *wire.Template
	// Format: parquet (the default; the layout of package columns) or jsonl.
	Format string
	// Zip compresses jsonl: zstd (the default), gzip or none.
	Zip  string
	JSON jsonl.Config
	// PathStyle: auto (the default), always or never.
	PathStyle    string
	StorageClass string
	// SSE: none (the default), s3 or kms, with KMSKey.
	SSE, KMSKey string
	Credentials S3Credentials
}

// S3Credentials say who writes. The zero value looks in the environment, for a
// web identity, in ~/.aws and asks the instance.
type S3Credentials struct {
	AccessKey               string
	SecretKey, SessionToken Secret
	File, Profile           string

	stsEndpoint string // for tests
}

// S3 writes the records of a Send to a bucket: one object for each prefix that
// the template makes of them. An object's key ends in the time of its first
// record and a hash of its records' ids, so that the same records written again
// are the same object and stand there once. deliver repeats a request as it was
// until it is answered; should one of several objects fail, all of them count as
// failed, and those that are there already are not written again.
//
// An object up to 64 MiB is one request, whose Content-MD5 the server checks;
// what is longer is written in parts, and their remains are removed when
// something fails.
type S3 struct {
	*client
	conf   S3Config
	s3     minio.Core
	sse    encrypt.ServerSide
	enc    *encoders
	zip    *compressors
	ext    string
	ctype  string
	groups sync.Pool // *grouping

	mu    sync.Mutex
	done  map[string]bool   // keys written by Sends that then failed
	stale map[string]string // upload ids whose abort failed, and their keys
}

const (
	s3Single = 64 << 20 // the largest object written with one request
	s3Part   = 16 << 20
	s3Kept   = 4096 // keys remembered at most
)

// NewS3 returns an output to one bucket.
func NewS3(c S3Config) (*S3, error) {
	conf, u, err := c.HTTPConfig.checked("http", "https")
	if err != nil {
		return nil, err
	}
	if c.Bucket == "" || c.Prefix == nil {
		return nil, errors.New("output: s3: bucket or prefix is missing")
	}
	o := &S3{conf: c, done: make(map[string]bool), stale: make(map[string]string)}
	o.groups.New = func() any { return &grouping{byName: map[string]int{}} }
	switch c.Format {
	case "", "parquet":
		o.ext, o.ctype = ".parquet", "application/vnd.apache.parquet"
	case "jsonl":
		method := c.Zip
		if method == "" {
			method = compressZstd
		}
		if o.zip, err = newCompressors(method, 0); err != nil || method == compressSnappy {
			return nil, fmt.Errorf("output: s3: unknown compression %q, want zstd, gzip or none", method)
		}
		o.ext = ".jsonl" + map[string]string{compressZstd: ".zst", compressGzip: ".gz"}[method]
		o.ctype = map[string]string{compressZstd: "application/zstd", compressGzip: "application/gzip", compressNone: "application/x-ndjson"}[method]
		e := jsonl.New(c.JSON)
		o.enc = newEncoders(e, func() encoder { return e.Clone() })
	default:
		return nil, fmt.Errorf("output: s3: unknown format %q, want parquet or jsonl", c.Format)
	}
	switch c.SSE {
	case "", "none":
	case "s3":
		o.sse = encrypt.NewSSE()
	case "kms":
		if o.sse, err = encrypt.NewSSEKMS(c.KMSKey, nil); err != nil {
			return nil, fmt.Errorf("output: s3: sse: %w", err)
		}
	default:
		return nil, fmt.Errorf("output: s3: unknown sse %q, want none, s3 or kms", c.SSE)
	}
	lookup, ok := map[string]minio.BucketLookupType{"": minio.BucketLookupAuto, "auto": minio.BucketLookupAuto, "always": minio.BucketLookupPath, "never": minio.BucketLookupDNS}[c.PathStyle]
	if !ok {
		return nil, fmt.Errorf("output: s3: unknown path style %q, want auto, always or never", c.PathStyle)
	}
	if o.client, err = newClient(conf, u); err != nil {
		return nil, err
	}
	o.shown = strings.TrimSuffix(o.shown, "/") + "/" + c.Bucket
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds: c.Credentials.provider(), Secure: u.Scheme == "https", Transport: s3Transport{o.client}, Region: c.Region,
		BucketLookup: lookup, MaxRetries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("output: s3: %w", err)
	}
	core.SetAppInfo("weir", orUnknown(conf.Version))
	o.s3 = *core
	return o, nil
}

func (c S3Credentials) provider() *credentials.Credentials {
	switch {
	case c.AccessKey != "":
		return credentials.NewStaticV4(c.AccessKey, string(c.SecretKey), string(c.SessionToken))
	case c.File != "" || c.Profile != "":
		return credentials.NewFileAWSCredentials(c.File, c.Profile)
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.EnvMinio{}, &credentials.FileAWSCredentials{},
		&credentials.IAM{Endpoint: c.stsEndpoint}, // web identity (IRSA), ECS, EC2
	})
}

// s3Transport makes the requests of the library on the client's connections.
type s3Transport struct{ c *client }

// RoundTrip makes one request.
func (t s3Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	g, _, err := t.c.generation()
	if err != nil {
		return nil, err
	}
	resp, err := g.rt.RoundTrip(req)
	switch {
	case err != nil && !errors.Is(err, context.Canceled):
		t.c.drop(g)
		t.c.files.look()
	case err == nil && resp.StatusCode >= 500:
		t.c.drop(g)
	}
	if after, ok := req.Context().Value(retryAfterKey{}).(*time.Duration); ok && err == nil {
		*after = max(*after, parseRetryAfter(resp.Header.Get("Retry-After"), t.c.conf.Now()))
	}
	return resp, err
}

type retryAfterKey struct{}

// Send writes the objects of parts.
func (o *S3) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.client.conf.Timeout, errAttemptTimeout)
	defer cancel()
	var after time.Duration
	ctx = context.WithValue(ctx, retryAfterKey{}, &after)
	o.abortStale(ctx)
	g := o.groups.Get().(*grouping)
	defer o.groups.Put(g)
	defer g.reset()
	g.split(o.conf.Prefix, parts)
	var res ack.Result
	var keys []string
	var worst error
	for i := range g.groups {
		sub := g.groups[i].parts(parts)
		key, n, err := o.write(ctx, g.groups[i].tenant, sub)
		for _, p := range sub {
			p.Finish()
		}
		res.Bytes += n
		if err != nil {
			if worst == nil || severity(o.failed(ctx, err).Kind) > severity(o.failed(ctx, worst).Kind) {
				worst = err
			}
			continue
		}
		keys = append(keys, key)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if worst == nil {
		for _, k := range keys {
			delete(o.done, k)
		}
		return res, nil
	}
	if len(o.done)+len(keys) > s3Kept {
		clear(o.done)
	}
	for _, k := range keys {
		o.done[k] = true
	}
	e := o.failed(ctx, worst)
	if e.Kind == ack.Retry {
		e.RetryAfter = after
	}
	return ack.Result{}, e
}

// write writes one object, unless it is there.
func (o *S3) write(ctx context.Context, prefix string, parts []record.Part) (key string, size int, err error) {
	key = objectKey(prefix, parts) + o.ext
	o.mu.Lock()
	there := o.done[key]
	o.mu.Unlock()
	if there {
		return key, 0, nil
	}
	body, err := o.object(parts)
	if err != nil {
		return key, 0, err
	}
	opts := minio.PutObjectOptions{
		ContentType: o.ctype, StorageClass: o.conf.StorageClass, ServerSideEncryption: o.sse,
		DisableContentSha256: true, // no chunks with signatures of their own: the body's sum is signed
		UserMetadata:         map[string]string{"weir-records": strconv.Itoa(count(parts))},
	}
	var info minio.UploadInfo
	if len(body) > s3Single {
		info, err = o.multipart(ctx, key, body, opts)
	} else {
		sum, sha := sums(body)
		info, err = o.s3.PutObject(ctx, o.conf.Bucket, key, bytes.NewReader(body), int64(len(body)), sum, sha, opts)
	}
	if err == nil && info.ETag == "" {
		err = errNoETag
	}
	return key, len(body), err
}

var errNoETag = errors.New("the answer has no ETag: it is not of S3")

// sums returns what the server is to compare a body with: the first by its own
// sum, the second because it is part of what is signed.
func sums(body []byte) (md5Base64, sha256Hex string) {
	m, s := md5.Sum(body), sha256.Sum256(body) // #nosec G401: Content-MD5 is the protocol's
	return base64.StdEncoding.EncodeToString(m[:]), hex.EncodeToString(s[:])
}

// multipart writes an object in parts.
func (o *S3) multipart(ctx context.Context, key string, body []byte, opts minio.PutObjectOptions) (info minio.UploadInfo, err error) {
	// What a process before us may have left of the very object.
	if err := o.s3.RemoveIncompleteUpload(ctx, o.conf.Bucket, key); err != nil {
		o.log.Debug("looking for an unfinished upload failed", "url", o.shown, "error", err)
	}
	id, err := o.s3.NewMultipartUpload(ctx, o.conf.Bucket, key, opts)
	if err != nil {
		return info, err
	}
	defer func() {
		if err != nil {
			o.abort(ctx, key, id)
		}
	}()
	var parts []minio.CompletePart
	for n := 1; len(body) > 0; n++ {
		p := body[:min(s3Part, len(body))]
		body = body[len(p):]
		sum, sha := sums(p)
		done, err := o.s3.PutObjectPart(ctx, o.conf.Bucket, key, id, n, bytes.NewReader(p), int64(len(p)), minio.PutObjectPartOptions{Md5Base64: sum, Sha256Hex: sha, DisableContentSha256: true})
		if err != nil {
			return info, err
		}
		if done.ETag == "" {
			return info, errNoETag
		}
		parts = append(parts, minio.CompletePart{PartNumber: n, ETag: done.ETag})
	}
	return o.s3.CompleteMultipartUpload(ctx, o.conf.Bucket, key, id, parts, minio.PutObjectOptions{})
}

// abort removes the parts of an upload, also if ctx has ended.
func (o *S3) abort(ctx context.Context, key, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := o.s3.AbortMultipartUpload(ctx, o.conf.Bucket, key, id)
	if err == nil || minio.ToErrorResponse(err).Code == "NoSuchUpload" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.stale) < s3Kept {
		o.stale[id] = key
	}
}

// abortStale tries again what abort could not do.
func (o *S3) abortStale(ctx context.Context) {
	o.mu.Lock()
	var id, key string
	for id, key = range o.stale {
		break
	}
	delete(o.stale, id)
	o.mu.Unlock()
	if id != "" {
		o.abort(ctx, key, id)
	}
}

// object returns the bytes of the object with the records of parts.
func (o *S3) object(parts []record.Part) ([]byte, error) {
	if o.enc == nil {
		return parquetObject(parts)
	}
	// The library may go on reading after it has answered: the memory is for
	// this object only.
	w := new(work)
	body, _, err := o.zip.encode(w, o.enc, parts, false)
	return body, err
}

// objectKey returns the key of the object with the records of parts, without its
// extension.
func objectKey(prefix string, parts []record.Part) string {
	first := int64(math.MaxInt64)
	for _, p := range parts {
		for _, i := range p.Index() {
			first = min(first, p.Batch().Record(int(i)).Time)
		}
	}
	// A folder named .. would lead elsewhere when the bucket is copied to a disk.
	segs := strings.Split(strings.TrimLeft(prefix, "/"), "/")
	for i, s := range segs {
		if s != "" && strings.Trim(s, ".") == "" {
			segs[i] = strings.Repeat("_", len(s))
		}
	}
	key := []byte(strings.Join(segs, "/"))
	key = time.Unix(0, first).UTC().AppendFormat(key, "20060102T150405Z-")
	return string(wire.AppendID(key, contentHash(parts)))
}

// failed says what an error means for a request.
func (o *S3) failed(ctx context.Context, err error) *ack.SendError {
	e := &ack.SendError{}
	if errors.As(err, &e) {
		return e
	}
	e = &ack.SendError{}
	var r minio.ErrorResponse
	if !errors.As(err, &r) {
		if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
			err = cause
		}
		var se *ack.SendError
		if errors.As(o.noAnswer(err), &se) {
			se.Err = fmt.Errorf("PUT%s", strings.TrimPrefix(se.Err.Error(), "POST"))
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
				se.Err = fmt.Errorf("%w: %w", se.Err, err)
			}
			return se
		}
	}
	e.Code = r.StatusCode
	s := plainWord(r.Code)
	switch {
	case r.Code == "RequestTimeTooSkewed":
		e.Kind = ack.Unauthorized
		s += "; the clocks differ too much: set this host's"
	case r.StatusCode == http.StatusUnauthorized, r.StatusCode == http.StatusForbidden,
		r.Code == "ExpiredToken", r.Code == "InvalidToken", r.Code == "TokenRefreshRequired":
		e.Kind = ack.Unauthorized
		s += "; the credentials are wrong or do not allow this: check credentials, and that s3:PutObject is allowed on the bucket"
		o.files.look()
	case r.Code == "EntityTooLarge", r.StatusCode == http.StatusRequestEntityTooLarge:
		e.Kind = ack.TooLarge
	case r.Code == "NoSuchBucket":
		s += "; there is no such bucket: create it, or check bucket, region and endpoint"
	case r.StatusCode >= 300 && r.StatusCode < 400:
		s += "; the bucket is elsewhere: check region and endpoint"
	case r.StatusCode == http.StatusBadRequest:
		s += "; check the output's settings"
	}
	e.Err = fmt.Errorf("PUT %s: %d %s", o.shown, r.StatusCode, s)
	return e
}

// Probe asks whether the bucket is there.
func (o *S3) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.client.conf.Timeout, errAttemptTimeout)
	defer cancel()
	ok, err := o.s3.BucketExists(ctx, o.conf.Bucket)
	if err != nil {
		return fmt.Errorf("probe: %w", o.failed(ctx, err))
	}
	if !ok {
		return fmt.Errorf("probe: %w", o.failed(ctx, minio.ErrorResponse{Code: "NoSuchBucket", StatusCode: http.StatusNotFound}))
	}
	return nil
}
