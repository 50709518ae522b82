// Package logql is the one language of weir: LogQL, as Grafana Loki documents
// it (https://grafana.com/docs/loki/latest/query/log_queries/). At present it
// knows what conditions are made of: a stream selector, line filters and label
// filters.
//
//	{namespace="shop", container!~"istio-.*"} |= "timeout" or "refused" | status >= 500 and level != "debug"
//
// # Conditions
//
// In a condition the braces may be empty, and every attribute of a record may
// stand in them. A name means, in this order: the attribute of the record's
// stream (record.Stream.Get); for level and detected_level the record's
// severity; the record's field; the top-level key of a body that is a JSON
// object. Fields and keys are also found by their name with everything but
// letters, digits and underscores replaced by underscores. A name that nothing
// has is the empty string.
//
// Regular expressions are RE2. Those that look at values match the whole
// value, those of line filters match anywhere in the line.
//
// # Differences from Loki
//
// Where a comparison with a number, a duration or a size meets a value that is
// none, the condition does not match; Loki keeps such a line and labels it
// with an error, which is the wrong side to err on when matching lines are to
// be dropped. As in Loki's engine (not its older documentation), and binds
// stronger than or.
package logql
