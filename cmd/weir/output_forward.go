package main

import (
	"fmt"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/output"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/forward"
)

func forwardOutput(s *config.ForwardOutput, h output.HTTPConfig) (deliver.Output, error) {
	tag, err := wire.ParseTemplate(string(s.Tag), wire.SanitizeText)
	if err != nil {
		return nil, fmt.Errorf("tag: %w", err)
	}
	h.Compression = s.Compression
	return output.NewForward(output.ForwardConfig{
		HTTPConfig: h, Encoding: forward.Config{Key: s.Key, Labels: every, Annotations: every, IDs: true, Merge: s.JSON == "merge"},
		Tag: tag, SharedKey: output.Secret(s.SharedKey), Hostname: s.Hostname, NoAck: !s.RequireAck,
	})
}
