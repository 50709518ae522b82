package config

import (
	"net/url"
	"strings"

	"github.com/weirlog/weir/wire"
)

// S3Output writes objects to S3 or what speaks its protocol.
type S3Output struct {
	Endpoint     URL           `yaml:"endpoint" scheme:"http,https" default:"https://s3.amazonaws.com" doc:"Address of the service, without the bucket."`
	Bucket       string        `yaml:"bucket" required:"true" doc:"Bucket; it must exist."`
	Region       string        `yaml:"region" doc:"Region of the bucket; asked for if empty."`
	Prefix       Template      `yaml:"prefix" default:"logs/%Y/%m/%d/%H/" doc:"How the keys of objects begin; ${namespace} and other attributes are filled in, and %Y %m %d %H from the record's time in UTC. Records of different prefixes become different objects."`
	Format       string        `yaml:"format" enum:"parquet,jsonl" default:"parquet" doc:"parquet: as the embedded store keeps logs. jsonl: an object per line."`
	Compression  string        `yaml:"compression" enum:"zstd,gzip,none" default:"zstd" doc:"Compression of jsonl; parquet is compressed inside."`
	PathStyle    string        `yaml:"path_style" enum:"auto,always,never" default:"auto" doc:"Whether the bucket stands in the path of URLs (MinIO, Ceph) or in the host name."`
	StorageClass string        `yaml:"storage_class" doc:"Storage class of objects, such as STANDARD_IA; the bucket's if empty."`
	SSE          S3Encryption  `yaml:"sse" doc:"Encryption by the server."`
	Credentials  S3Credentials `yaml:"credentials" doc:"Credentials; if none are given they come from the environment, a web identity (IRSA), ~/.aws or the instance."`
	TLS          TLS           `yaml:"tls" doc:"Settings of TLS, at least 1.2."`
	Timeout      Duration      `yaml:"timeout" default:"5m" min:"1s" max:"1h" doc:"Longest time for one attempt, with all its objects."`
	Concurrency  Concurrency   `yaml:"concurrency" doc:"Requests at the same time."`
	Keys         Keys          `yaml:"keys" doc:"Names of the members that every line has, for jsonl."`
	Delivery     `yaml:",inline"`
}

// S3Encryption says how the server encrypts objects.
type S3Encryption struct {
	Type  string `yaml:"type" enum:"none,s3,kms" default:"none" doc:"none: as the bucket does. s3: SSE-S3. kms: SSE-KMS."`
	KeyID string `yaml:"key_id" doc:"Key of KMS; the account's default if empty."`
}

// S3Credentials are credentials for S3.
type S3Credentials struct {
	AccessKey    string `yaml:"access_key" doc:"Access key."`
	SecretKey    Secret `yaml:"secret_key" doc:"Secret key."`
	SessionToken Secret `yaml:"session_token" doc:"Session token of temporary credentials."`
	File         Path   `yaml:"file" doc:"Credentials file in the form of ~/.aws/credentials."`
	Profile      string `yaml:"profile" doc:"Profile in that file."`
}

// Attempts returns how many attempts there are at the same time, and how long one
// takes at most.
func (o *S3Output) Attempts() (concurrency int, timeout Duration) {
	return o.Concurrency.Max, o.Timeout
}

func (o *S3Output) check(k *checker, p string) {
	if len(o.Bucket) < 3 || len(o.Bucket) > 63 || strings.Trim(o.Bucket, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		if o.Bucket != "" {
			k.err(p+".bucket", "bad name of a bucket %q", shorten(o.Bucket)).Hint = "3 to 63 lower-case letters, digits, dots and hyphens; what goes before the objects' names is the prefix"
		}
	}
	if u, err := url.Parse(string(o.Endpoint)); err == nil {
		if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
			k.err(p+".endpoint", "only scheme://host:port: the bucket has a setting of its own")
		}
		if u.User != nil {
			k.err(p+".endpoint", "there are credentials in the URL").Hint = "credentials: {access_key: …, secret_key: '${env:…}'}"
		}
		if u.Scheme == "http" && !loopbackHost(u.Hostname()) {
			k.warn(p+".endpoint", "logs are sent without TLS")
		}
	}
	k.name(p+".prefix", string(o.Prefix), wire.SanitizeObjectKey)
	for _, bad := range []string{"/../", "/./", "//"} {
		if strings.Contains("/"+string(o.Prefix), bad) {
			k.err(p+".prefix", "%q in an object's key", strings.TrimSuffix(bad[1:], "/"))
			break
		}
	}
	c := o.Credentials
	if (c.AccessKey == "") != (c.SecretKey == "") {
		k.err(p+".credentials", "access_key and secret_key go together")
	}
	if c.AccessKey != "" && c.File != "" {
		k.err(p+".credentials.file", "contradicts access_key").Hint = "keep one"
	}
	if c.SessionToken != "" && c.AccessKey == "" {
		k.err(p+".credentials.session_token", "needs access_key and secret_key too")
	}
	if o.SSE.KeyID != "" && o.SSE.Type != "kms" {
		k.err(p+".sse.key_id", "needs type: kms")
	}
	if o.Format == "parquet" && k.given(p+".compression") {
		k.warn(p+".compression", "says nothing: parquet is compressed inside")
	}
	k.keys(p, o.Keys)
	if !o.Buffer.OnDisk() {
		k.warn(p+".buffer", "what waits for an object (%s of records, or %s) is only in memory: pushed records are not acknowledged before the object is written", o.Batch.Bytes, o.Batch.Wait).
			Hint = "buffer: {disk: 1GiB}"
	}
}
