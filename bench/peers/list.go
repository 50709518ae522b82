package peers

// All returns every participant but weir and the floor, in the order of the
// report.
func All() []Peer {
	return []Peer{otelcol(), fluentBit(), promtail(), vlagent(), rsyslog(), syslogNG()}
}
