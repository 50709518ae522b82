package main

import (
	"fmt"
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/output"
	"github.com/weirlog/weir/wire"
)

func splunkOutput(s *config.SplunkOutput, h output.HTTPConfig) (deliver.Output, error) {
	h.Compression = s.Compression
	c := output.SplunkConfig{
		HTTPConfig: h, Token: output.Secret(s.Token), TokenFile: string(s.TokenFile),
		Ack: s.Ack.Enabled, AckEvery: time.Duration(s.Ack.Every), AckTimeout: time.Duration(s.Ack.Timeout),
	}
	for _, n := range []struct {
		name, text string
		rules      *wire.Sanitizer
		to         **wire.Template
	}{
		{"index", string(s.Index), wire.SanitizeSplunkIndex, &c.Encoding.Index}, {"source", string(s.Source), wire.SanitizeText, &c.Encoding.Source},
		{"sourcetype", string(s.Sourcetype), wire.SanitizeText, &c.Encoding.Sourcetype}, {"host", string(s.Host), wire.SanitizeText, &c.Encoding.Host},
	} {
		if n.text == "" {
			continue
		}
		t, err := wire.ParseTemplate(n.text, n.rules)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.name, err)
		}
		*n.to = t
	}
	return output.NewSplunk(c)
}
