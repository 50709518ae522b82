// Package syslog reads and writes syslog: messages of RFC 5424 with structured
// data and of RFC 3164 with its dialects (Decoder, Encoder), and their boundaries
// in a stream, which RFC 6587 has two ways of (Framer). It does no input and
// output and reads no clock.
//
// # What a message becomes
//
//	HOSTNAME           the Stream's node; without one, who sent it
//	APP-NAME, or TAG   the Stream's app
//	facility           the Stream's facility, by its name
//	severity           the severity, as OpenTelemetry maps it
//	TIMESTAMP          Time; see Decoder for a year and zone that are not there
//	PROCID, MSGID      the fields procid and msgid; msgid is Cisco's %NAME too
//	structured data    fields named id_name
//	MSG                the body, byte for byte, without a byte order mark
//
// A line that is no syslog is kept as it is, flagged ParseError.
package syslog

import "github.com/weirlog/weir/record"

// facilities are the names of the facilities, by number.
var facilities = [24]string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"ntp", "security", "console", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}

// Facility returns the number of the facility with that name, negative if there
// is none.
func Facility(name string) int {
	for n, f := range facilities {
		if f == name {
			return n
		}
	}
	return -1
}

// severities are those of syslog, emergency first, as OpenTelemetry maps them.
// https://opentelemetry.io/docs/specs/otel/logs/data-model-appendix/#appendix-b-severitynumber-example-mappings
var severities = [8]record.Severity{record.Fatal, record.Error + 2, record.Error + 1, record.Error, record.Warn, record.Info + 1, record.Info, record.Debug}

// Severity returns the severity for a level of syslog, 0 to 7; Unknown for others.
func Severity(level int) record.Severity {
	if level < 0 || level > 7 {
		return record.Unknown
	}
	return severities[level]
}

// levelOf returns the level for a severity. What is unknown is informational.
func levelOf(s record.Severity) int {
	switch {
	case s == record.Unknown:
		return 6
	case s >= record.Fatal:
		return 0
	case s >= record.Error+2:
		return 1
	case s >= record.Error+1:
		return 2
	case s >= record.Error:
		return 3
	case s >= record.Warn:
		return 4
	case s >= record.Info+1:
		return 5
	case s >= record.Info:
		return 6
	}
	return 7
}
