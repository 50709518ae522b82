package stage

import "github.com/weirlog/weir/record"

// ParseLevel returns the severity that a level's name means: the words and
// abbreviations that logging libraries write, in any case, and slog's form with
// an offset ("INFO+2"). ok is false for anything else. Words that mean the
// process or the whole system is unusable (critical, alert, emergency, panic)
// are fatal: that is what the libraries that have them say.
func ParseLevel(name []byte) (sev record.Severity, ok bool) {
	var offset int
	if n := len(name); n > 2 && name[n-1]-'0' <= 9 && (name[n-2] == '+' || name[n-2] == '-') {
		offset = int(name[n-1] - '0')
		if name[n-2] == '-' {
			offset = -offset
		}
		name = name[:n-2]
	}
	var buf [11]byte // "information" is the longest
	if len(name) > len(buf) {
		return 0, false
	}
	for i, c := range name {
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		}
		buf[i] = c
	}
	switch string(buf[:len(name)]) {
	case "info", "information", "informational", "inf", "i", "config", "log":
		sev = record.Info
	case "notice", "n":
		sev = record.Info + 1
	case "warn", "warning", "wrn", "w":
		sev = record.Warn
	case "error", "err", "e", "severe", "fail", "failure":
		sev = record.Error
	case "debug", "dbg", "dbug", "d", "fine":
		sev = record.Debug
	case "trace", "trc", "trce", "t", "verbose", "vrb", "v", "finer", "finest", "silly":
		sev = record.Trace
	case "fatal", "ftl", "f", "critical", "crit", "c", "panic", "dpanic", "alert", "emerg", "emergency":
		sev = record.Fatal
	default:
		return 0, false
	}
	if offset != 0 {
		// slog's levels are four apart, as OpenTelemetry's are.
		return record.Severity(min(24, max(1, int(sev)+offset))), true
	}
	return sev, true
}

// numberLevel returns the severity of a number under a level's name: 10 to 60
// as bunyan and pino write them.
func numberLevel(n int) (record.Severity, bool) {
	if n < 10 || n > 69 {
		return 0, false
	}
	return [...]record.Severity{record.Trace, record.Debug, record.Info, record.Warn, record.Error, record.Fatal}[n/10-1], true
}

// syslogLevel returns the severity of a syslog number (RFC 5424 §6.2.1), 0 to
// 7; the words of ParseLevel and the numbers agree.
func syslogLevel(n int) (record.Severity, bool) {
	if n < 0 || n > 7 {
		return 0, false
	}
	return [...]record.Severity{record.Fatal, record.Fatal, record.Fatal, record.Error, record.Warn, record.Info + 1, record.Info, record.Debug}[n], true
}

// smallInt returns the value of one to three digits.
func smallInt(p []byte) (n int, ok bool) {
	if len(p) == 0 || len(p) > 3 {
		return 0, false
	}
	for _, c := range p {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
