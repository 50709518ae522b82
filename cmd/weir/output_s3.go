package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/output"
	"github.com/weirlog/weir/wire"
)

func s3Output(s *config.S3Output, log *slog.Logger) (deliver.Endpoint, error) {
	prefix, err := wire.ParseTemplate(string(s.Prefix), wire.SanitizeObjectKey)
	if err != nil {
		return deliver.Endpoint{}, fmt.Errorf("prefix: %w", err)
	}
	keys := jsonlConfig(s.Keys)
	keys.IDs = true
	out, err := output.NewS3(output.S3Config{
		HTTPConfig: output.HTTPConfig{
			URL: string(s.Endpoint), TLS: clientTLS(s.TLS), Timeout: time.Duration(s.Timeout), Version: version(), Logger: log,
		},
		Bucket: s.Bucket, Region: s.Region, Prefix: prefix, Format: s.Format, Zip: s.Compression, JSON: keys,
		PathStyle: s.PathStyle, StorageClass: s.StorageClass, SSE: s.SSE.Type, KMSKey: s.SSE.KeyID,
		Credentials: output.S3Credentials{
			AccessKey: s.Credentials.AccessKey, SecretKey: output.Secret(s.Credentials.SecretKey),
			SessionToken: output.Secret(s.Credentials.SessionToken), File: string(s.Credentials.File), Profile: s.Credentials.Profile,
		},
	})
	if err != nil {
		return deliver.Endpoint{}, err
	}
	return deliver.Endpoint{Name: string(s.Endpoint) + "/" + s.Bucket, Output: out}, nil
}
