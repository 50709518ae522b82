package main

import (
	"fmt"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/output"
)

func postOutput(s *config.HTTPOutput, h output.HTTPConfig) (deliver.Output, error) {
	h.Compression = s.Compression
	c := output.PostConfig{
		HTTPConfig: h, Method: s.Method, Format: s.Format, JSON: jsonlConfig(s.Keys), Before: s.Before, Between: s.Between, After: s.After,
		ContentType: s.ContentType, Success: s.Success, Reject: s.Reject, Retry: s.RetryOn, IdempotencyKey: s.IDs,
	}
	c.JSON.IDs = s.IDs
	if s.Record != "" {
		t, err := output.ParseRecordTemplate(s.Record)
		if err != nil {
			return nil, fmt.Errorf("record: %w", err)
		}
		c.Record = t
	}
	return output.NewPost(c)
}
