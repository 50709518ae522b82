package main

import (
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/output"
	"github.com/weirlog/weir/wire/syslog"
)

func syslogOutput(s *config.SyslogOutput, h output.HTTPConfig) (deliver.Output, error) {
	e := syslog.Config{
		Format: syslog.RFC5424, Facility: syslog.Facility(s.Facility), StructuredData: s.StructuredData,
		Counted: s.Framing == "octet_counting", MaxBytes: int(s.MaxMessage), Zone: time.Local, IDs: true,
		Params: s.JSON == "params",
	}
	if s.Format == "rfc3164" {
		e.Format = syslog.RFC3164
	}
	return output.NewSyslog(output.SyslogConfig{HTTPConfig: h, Encoding: e})
}
