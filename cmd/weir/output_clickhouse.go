package main

import (
	"slices"
	"strings"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/output"
	"github.com/weirlog/weir/wire/clickhouse"
)

func clickHouseOutput(s *config.ClickHouseOutput, h output.HTTPConfig) (deliver.Output, error) {
	h.Compression = s.Compression
	c := output.ClickHouseConfig{
		HTTPConfig: h, Database: s.Database, Table: s.Table, Deduplicate: s.Deduplicate, AsyncInsert: s.AsyncInsert, Settings: s.Settings,
	}
	for name, source := range s.Columns {
		c.Columns = append(c.Columns, clickhouse.Column{Name: name, Source: source})
	}
	slices.SortFunc(c.Columns, func(a, b clickhouse.Column) int { return strings.Compare(a.Name, b.Name) })
	return output.NewClickHouse(c)
}
