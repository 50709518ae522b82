package main

import (
	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/pipeline"
	"github.com/weirlog/weir/stage"
)

// parseStep returns the step of a parser, nil for one that does nothing.
func parseStep(p *config.Parser) (pipeline.Stage, error) {
	switch {
	case p.None():
		return nil, nil
	case p.Regex != "":
		return stage.NewRegex(stage.RegexConfig{Pattern: p.Regex, Time: p.Time, Types: p.Types})
	case p.Format == "access":
		return stage.NewAccess(stage.AccessConfig{}), nil
	}
	return stage.NewParse(stage.ParseConfig{Format: p.Format})
}
