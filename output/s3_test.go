package output

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/minio/minio-go/v7"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// fakeS3 is as much of S3 as the output needs, with path style.
type fakeS3 struct {
	*httptest.Server
	t  testing.TB
	mu sync.Mutex
	// answer may answer a request before it is looked at.
	answer  func(w http.ResponseWriter, r *http.Request) bool
	objects map[string][]byte
	headers map[string]http.Header
	puts    int
	uploads map[string]map[int][]byte // upload id → part
	last    int
}

func newFakeS3(t testing.TB) *fakeS3 {
	f := &fakeS3{t: t, objects: map[string][]byte{}, headers: map[string]http.Header{}, uploads: map[string]map[int][]byte{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeS3) keys() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ks []string
	for k := range f.objects {
		ks = append(ks, k)
	}
	sort.Strings(ks)
	return ks
}

func s3Error(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>secretcontent of "this"</Message></Error>`, code)
}

// answers has f answer the requests of which it is true that way.
func (f *fakeS3) answers(answer func(http.ResponseWriter, *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	answer := f.answer
	f.mu.Unlock()
	if answer != nil && answer(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	switch {
	case bucket != "logs":
		s3Error(w, 404, "NoSuchBucket")
	case r.Method == http.MethodHead && key == "":
	case r.Method == http.MethodGet && q.Has("location"):
		_, _ = io.WriteString(w, `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">eu-west-1</LocationConstraint>`)
	case r.Method == http.MethodGet && q.Has("uploads"):
		_, _ = io.WriteString(w, `<ListMultipartUploadsResult><Bucket>logs</Bucket>`)
		for id := range f.uploads {
			fmt.Fprintf(w, `<Upload><Key>%s</Key><UploadId>%s</UploadId></Upload>`, q.Get("prefix"), id)
		}
		_, _ = io.WriteString(w, `</ListMultipartUploadsResult>`)
	case r.Method == http.MethodPost && q.Has("uploads"):
		f.last++
		id := "up" + strconv.Itoa(f.last)
		f.uploads[id] = map[int][]byte{}
		f.headers[key] = r.Header
		fmt.Fprintf(w, `<InitiateMultipartUploadResult><Bucket>logs</Bucket><Key>%s</Key><UploadId>%s</UploadId></InitiateMultipartUploadResult>`, key, id)
	case r.Method == http.MethodPut && q.Has("uploadId"):
		n, _ := strconv.Atoi(q.Get("partNumber"))
		f.uploads[q.Get("uploadId")][n] = body
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum(body)))
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		delete(f.uploads, q.Get("uploadId"))
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPost && q.Has("uploadId"):
		var all []byte
		parts := f.uploads[q.Get("uploadId")]
		for n := 1; n <= len(parts); n++ {
			all = append(all, parts[n]...)
		}
		delete(f.uploads, q.Get("uploadId"))
		f.objects[key] = all
		f.puts++
		_, _ = io.WriteString(w, `<CompleteMultipartUploadResult><Bucket>logs</Bucket><Key>k</Key><ETag>"x-1"</ETag></CompleteMultipartUploadResult>`)
	case r.Method == http.MethodPut:
		sum := md5.Sum(body)
		if r.Header.Get("Content-Md5") != base64.StdEncoding.EncodeToString(sum[:]) {
			s3Error(w, 400, "BadDigest")
			return
		}
		f.objects[key], f.headers[key] = body, r.Header
		f.puts++
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
	default:
		s3Error(w, 400, "NotImplemented")
	}
}

func newS3(t testing.TB, url string, change func(*S3Config)) *S3 {
	t.Helper()
	prefix, err := wire.ParseTemplate("app/%Y/%m/%d/", wire.SanitizeObjectKey)
	if err != nil {
		t.Fatal(err)
	}
	c := S3Config{
		HTTPConfig: HTTPConfig{URL: url, Timeout: 10 * time.Second}, Bucket: "logs", Prefix: prefix, PathStyle: "always", Region: "eu-west-1",
		Credentials: S3Credentials{AccessKey: "ak", SecretKey: "canary-secret"},
	}
	if change != nil {
		change(&c)
	}
	o, err := NewS3(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

func objectTemplate(t testing.TB, s string) *wire.Template {
	t.Helper()
	tm, err := wire.ParseTemplate(s, wire.SanitizeObjectKey)
	if err != nil {
		t.Fatal(err)
	}
	return tm
}

func TestS3Parquet(t *testing.T) {
	f := newFakeS3(t)
	o := newS3(t, f.URL, func(c *S3Config) { c.StorageClass, c.SSE, c.KMSKey, c.Version = "STANDARD_IA", "kms", "key-1", "1.2.3" })
	other := record.NewStream([]record.Attr{{Name: "namespace", Value: "a"}, {Name: "pod_uid", Value: "u"}}, []record.Attr{{Name: "app.kubernetes.io/name", Value: "n"}}, nil)
	b := batchOf(testStream, "one", `{"k":1,"level":"info"}`, "bad \xff utf-8")
	parts := partsOf(b, batchOf(other, "zwei"))
	if err := o.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	res, err := o.Send(t.Context(), parts)
	if err != nil || len(res.Failures) > 0 {
		t.Fatal(res, err)
	}
	keys := f.keys()
	day := time.Unix(0, testTime).UTC().Format("app/2006/01/02/20060102T150405Z-")
	if len(keys) != 1 || !strings.HasPrefix(keys[0], day) || !strings.HasSuffix(keys[0], ".parquet") || len(keys[0]) != len(day)+32+8 {
		t.Fatalf("keys %q", keys)
	}
	h := f.headers[keys[0]]
	if h.Get("X-Amz-Storage-Class") != "STANDARD_IA" || h.Get("X-Amz-Server-Side-Encryption") != "aws:kms" || h.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id") != "key-1" ||
		h.Get("X-Amz-Meta-Weir-Records") != "4" || !strings.Contains(h.Get("User-Agent"), "weir/1.2.3") || !strings.Contains(h.Get("Authorization"), "/eu-west-1/s3/") {
		t.Errorf("headers %v", h)
	}
	data := f.objects[keys[0]]
	if res.Bytes != len(data) {
		t.Errorf("%d bytes for %d", res.Bytes, len(data))
	}
	var got []string
	err = columns.ReadParquet(bytes.NewReader(data), int64(len(data)), func(st *columns.Stream, row *columns.Row) error {
		got = append(got, fmt.Sprintf("%v %v %d %s %s", st.Labels, st.Resource, row.Time-testTime, row.Attrs, row.Body))
		return nil
	})
	if err != nil || len(got) != 4 {
		t.Fatalf("%q %v", got, err)
	}
	all := strings.Join(got, "\n")
	for _, want := range []string{"[{namespace a}] [{label_app_kubernetes_io_name n} {pod_uid u}] 0", `{"k":1,"level":"info"}`, "bad \xff utf-8", wire.RecordID(b, 1).String(), "{container api}"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in\n%s", want, all)
		}
	}
	// The same records again are the same object.
	if _, err := o.Send(t.Context(), parts); err != nil {
		t.Fatal(err)
	}
	if len(f.keys()) != 1 || f.puts != 2 || !bytes.Equal(f.objects[keys[0]], data) {
		t.Errorf("keys %q after %d writes", f.keys(), f.puts)
	}
}

func TestS3JSONL(t *testing.T) {
	for method, ext := range map[string]string{"": ".jsonl.zst", "zstd": ".jsonl.zst", "gzip": ".jsonl.gz", "none": ".jsonl"} {
		f := newFakeS3(t)
		o := newS3(t, f.URL, func(c *S3Config) { c.Format, c.Zip = "jsonl", method })
		if _, err := o.Send(t.Context(), someParts("one", "two")); err != nil {
			t.Fatal(err)
		}
		keys := f.keys()
		if len(keys) != 1 || !strings.HasSuffix(keys[0], ext) {
			t.Fatalf("keys %q", keys)
		}
		data := f.objects[keys[0]]
		switch ext {
		case ".jsonl.zst":
			z, err := zstd.NewReader(nil)
			if err != nil {
				t.Fatal(err)
			}
			if data, err = z.DecodeAll(data, nil); err != nil {
				t.Fatal(err)
			}
			z.Close()
		case ".jsonl.gz":
			z, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if data, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if bytes.Count(data, []byte("\n")) != 2 || !bytes.Contains(data, []byte(`"_msg":"one"`)) {
			t.Errorf("%s: %q", method, data)
		}
	}
}

// A record's prefix is its own: other hours and namespaces are other objects.
func TestS3Prefixes(t *testing.T) {
	f := newFakeS3(t)
	o := newS3(t, f.URL, func(c *S3Config) { c.Prefix = objectTemplate(t, "ns=${namespace}/%H-%M/") })
	other := record.NewStream([]record.Attr{{Name: "namespace", Value: "other"}}, nil, nil)
	var fail string
	f.answers(func(w http.ResponseWriter, r *http.Request) bool {
		if fail != "" && strings.Contains(r.URL.Path, fail) {
			s3Error(w, 503, "SlowDown")
			return true
		}
		return false
	})
	fail = "ns=other"
	parts := partsOf(batchOf(testStream, "a"), batchOf(other, "b"))
	_, err := o.Send(t.Context(), parts)
	wantKind(t, err, ack.Retry)
	fail = ""
	if _, err = o.Send(t.Context(), parts); err != nil {
		t.Fatal(err)
	}
	if keys := f.keys(); len(keys) != 2 || !strings.HasPrefix(keys[0], "ns=other/") || !strings.HasPrefix(keys[1], "ns=shop/") || f.puts != 2 {
		t.Errorf("keys %q after %d writes", keys, f.puts)
	}
	if len(o.done) != 0 {
		t.Errorf("remembers %v", o.done)
	}
}

// Row 92: a bucket that wants less, an upload that stops half way, and a success
// that is none.
func TestFailure92_S3(t *testing.T) {
	t.Run("slow down", func(t *testing.T) {
		f := newFakeS3(t)
		o := newS3(t, f.URL, nil)
		f.answers(func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Retry-After", "7")
			s3Error(w, 503, "SlowDown")
			return true
		})
		_, err := o.Send(t.Context(), someParts("a"))
		se := wantKind(t, err, ack.Retry)
		if se.RetryAfter != 7*time.Second || se.Code != 503 || !strings.Contains(se.Error(), "SlowDown") || strings.Contains(se.Error(), "secretcontent") {
			t.Errorf("%+v %q", se, se)
		}
	})
	t.Run("200 with an error in a single request", func(t *testing.T) {
		f := newFakeS3(t)
		o := newS3(t, f.URL, nil)
		f.answers(func(w http.ResponseWriter, r *http.Request) bool { s3Error(w, 200, "InternalError"); return true })
		_, err := o.Send(t.Context(), someParts("a"))
		wantKind(t, err, ack.Retry)
	})
	t.Run("login page", func(t *testing.T) {
		f := newFakeS3(t)
		o := newS3(t, f.URL, nil)
		f.answers(func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.WriteString(w, "<html>Sign in</html>")
			return true
		})
		_, err := o.Send(t.Context(), someParts("a"))
		wantKind(t, err, ack.Retry)
	})
	big := make([]byte, s3Single+3*s3Part/2)
	for i := range big {
		big[i] = byte(i * 7 >> 3)
	}
	opts := func(o *S3, ctx context.Context) (string, error) {
		info, err := o.multipart(ctx, "big", big, minio.PutObjectOptions{})
		return info.ETag, err
	}
	t.Run("in parts", func(t *testing.T) {
		f := newFakeS3(t)
		o := newS3(t, f.URL, nil)
		if etag, err := opts(o, t.Context()); err != nil || etag == "" || !bytes.Equal(f.objects["big"], big) || len(f.uploads) != 0 {
			t.Errorf("%q %v, %d bytes, %d uploads", etag, err, len(f.objects["big"]), len(f.uploads))
		}
	})
	t.Run("half done", func(t *testing.T) {
		f := newFakeS3(t)
		o := newS3(t, f.URL, nil)
		f.answers(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("partNumber") == "3" {
				s3Error(w, 500, "InternalError")
				return true
			}
			return false
		})
		if _, err := opts(o, t.Context()); err == nil || len(f.uploads) != 0 || len(f.objects) != 0 {
			t.Errorf("%v, %d uploads, %d objects", err, len(f.uploads), len(f.objects))
		}
	})
	t.Run("given up half way", func(t *testing.T) {
		f := newFakeS3(t)
		o := newS3(t, f.URL, nil)
		ctx, cancel := context.WithCancel(t.Context())
		f.answers(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("partNumber") == "2" {
				cancel()
			}
			return false
		})
		if _, err := opts(o, ctx); !errors.Is(err, context.Canceled) || len(f.uploads) != 0 {
			t.Errorf("%v, %d uploads", err, len(f.uploads))
		}
	})
	t.Run("abort fails, and is done later", func(t *testing.T) {
		f := newFakeS3(t)
		o := newS3(t, f.URL, nil)
		broken := true
		f.answers(func(w http.ResponseWriter, r *http.Request) bool {
			if broken && (r.Method == http.MethodDelete || r.URL.Query().Has("partNumber")) {
				s3Error(w, 503, "SlowDown")
				return true
			}
			return false
		})
		if _, err := opts(o, t.Context()); err == nil || len(f.uploads) != 1 {
			t.Fatalf("%v, %d uploads", err, len(f.uploads))
		}
		broken = false
		if _, err := o.Send(t.Context(), someParts("a")); err != nil || len(f.uploads) != 0 {
			t.Errorf("%v, %d uploads", err, len(f.uploads))
		}
	})
	t.Run("200 with an error at the end", func(t *testing.T) {
		f := newFakeS3(t)
		o := newS3(t, f.URL, nil)
		f.answers(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost && r.URL.Query().Has("uploadId") {
				s3Error(w, 200, "InternalError")
				return true
			}
			return false
		})
		_, err := opts(o, t.Context())
		if err == nil || len(f.uploads) != 0 || len(f.objects) != 0 {
			t.Errorf("%v, %d uploads, %d objects", err, len(f.uploads), len(f.objects))
		}
		wantKind(t, o.failed(t.Context(), err), ack.Retry)
	})
}

func TestS3Classification(t *testing.T) {
	for _, x := range []struct {
		status int
		code   string
		kind   ack.ErrorKind
		text   string
	}{
		{403, "AccessDenied", ack.Unauthorized, "s3:PutObject"},
		{403, "SignatureDoesNotMatch", ack.Unauthorized, "credentials"},
		{403, "RequestTimeTooSkewed", ack.Unauthorized, "clock"},
		{400, "ExpiredToken", ack.Unauthorized, "credentials"},
		{404, "NoSuchBucket", ack.Retry, "create it"},
		{400, "EntityTooLarge", ack.TooLarge, ""},
		{413, "Whatever", ack.TooLarge, ""},
		{400, "InvalidStorageClass", ack.Retry, "settings"},
		{301, "PermanentRedirect", ack.Retry, "region"},
		{500, "InternalError", ack.Retry, "500"},
		{503, "ServiceUnavailable", ack.Retry, "503"},
	} {
		t.Run(x.code, func(t *testing.T) {
			f := newFakeS3(t)
			o := newS3(t, f.URL, nil)
			f.answers(func(w http.ResponseWriter, r *http.Request) bool { s3Error(w, x.status, x.code); return true })
			_, err := o.Send(t.Context(), someParts("secretcontent"))
			se := wantKind(t, err, x.kind)
			if se.Code != x.status || !strings.Contains(se.Error(), x.text) || strings.Contains(se.Error(), "secretcontent") || strings.Contains(se.Error(), "canary") {
				t.Errorf("code %d, %q", se.Code, se)
			}
		})
	}
}

// Row 76, 77, 87: no answer, a connection that is cut, nobody there.
func TestFailure87_S3NoAnswer(t *testing.T) {
	f := newFakeS3(t)
	hang := make(chan struct{})
	o := newS3(t, f.URL, func(c *S3Config) { c.Timeout = 300 * time.Millisecond })
	f.answers(func(w http.ResponseWriter, r *http.Request) bool { <-hang; return true })
	_, err := o.Send(t.Context(), someParts("a"))
	close(hang)
	if se := wantKind(t, err, ack.Retry); !errors.Is(se, context.DeadlineExceeded) {
		t.Errorf("%q", se)
	}
	f.answers(func(w http.ResponseWriter, r *http.Request) bool { panic(http.ErrAbortHandler) })
	_, err = o.Send(t.Context(), someParts("a"))
	wantKind(t, err, ack.Retry)
	f.answers(nil)
	if _, err := o.Send(t.Context(), someParts("a")); err != nil {
		t.Errorf("after it: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.Send(ctx, someParts("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Row 110: no value makes a folder, or leads out of one.
func TestFailure110_S3Keys(t *testing.T) {
	f := newFakeS3(t)
	o := newS3(t, f.URL, func(c *S3Config) { c.Prefix = objectTemplate(t, "x/${namespace}/${pod}/") })
	for _, evil := range []string{"..", "../../etc", "/", "a/../b", ".", "a\x00\r\nb", strings.Repeat("l", 2000), "é%2e%2e"} {
		s := record.NewStream([]record.Attr{{Name: "namespace", Value: evil}, {Name: "pod", Value: "p"}}, nil, nil)
		if _, err := o.Send(t.Context(), partsOf(batchOf(s, "a"))); err != nil {
			t.Fatalf("%q: %v", evil, err)
		}
	}
	for _, k := range f.keys() {
		if len(k) > 1024 || filepath.Clean(k) != k || strings.ContainsAny(k, "\x00\r\n%") {
			t.Errorf("key %q", k)
		}
		if n := strings.Count(k, "/"); n != 3 && len(k) < 700 {
			t.Errorf("key %q has %d slashes", k, n)
		}
	}
}

func TestS3Credentials(t *testing.T) {
	f := newFakeS3(t)
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("[default]\naws_access_key_id = fileak\naws_secret_access_key = s\n[two]\naws_access_key_id = twoak\naws_secret_access_key = s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sent := func(change func(*S3Config)) string {
		t.Helper()
		if _, err := newS3(t, f.URL, change).Send(t.Context(), someParts("a")); err != nil {
			t.Fatal(err)
		}
		return f.headers[f.keys()[0]].Get("Authorization")
	}
	if a := sent(func(c *S3Config) { c.Credentials = S3Credentials{File: file, Profile: "two"} }); !strings.Contains(a, "Credential=twoak/") {
		t.Error(a)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "envak")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	if a := sent(func(c *S3Config) { c.Credentials = S3Credentials{} }); !strings.Contains(a, "Credential=envak/") {
		t.Error(a)
	}
}

// A web identity, as IRSA gives pods one.
func TestS3WebIdentity(t *testing.T) {
	sts := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("WebIdentityToken") != "jwt" || r.FormValue("RoleArn") != "arn:aws:iam::1:role/x" {
			t.Errorf("form %v", r.Form)
		}
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>webak</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>tok</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
			time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	})
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, "jwt")
	for k, v := range map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn:aws:iam::1:role/x", "AWS_REGION": "eu-west-1",
		"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "none"), "AWS_ENDPOINT_URL_STS": sts.URL, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""} {
		t.Setenv(k, v)
	}
	f := newFakeS3(t)
	o := newS3(t, f.URL, func(c *S3Config) { c.Credentials = S3Credentials{stsEndpoint: sts.URL} })
	if _, err := o.Send(t.Context(), someParts("a")); err != nil {
		t.Fatal(err)
	}
	h := f.headers[f.keys()[0]]
	if !strings.Contains(h.Get("Authorization"), "Credential=webak/") || h.Get("X-Amz-Security-Token") != "tok" {
		t.Errorf("headers %v", h)
	}
}

func BenchmarkS3(b *testing.B) {
	for _, f := range []string{"parquet", "jsonl"} {
		b.Run(f, func(b *testing.B) {
			s := server(b, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("ETag", `"x"`)
			})
			benchmarkSend(b, newS3(b, s.URL, func(c *S3Config) { c.Format = f }))
		})
	}
}
