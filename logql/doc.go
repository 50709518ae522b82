// Package logql is the one language of weir: LogQL, as Grafana Loki documents
// it (https://grafana.com/docs/loki/latest/query/).
//
//	{namespace="shop", container!~"istio-.*"} |= "timeout" or "refused" | json | status >= 500 and level != "debug"
//	topk(10, sum by (path) (rate({namespace="shop"} | logfmt [5m])))
//
// Parse makes an Expr of a text, whose String is the usual form of the query.
// Run answers it from a Source: the store, or several merged into one. Entries
// streams lines, Pipeline applies a query to single rows, and a Condition
// decides about records on their way, as in the configuration's when, drop and
// keep.
//
// Parsed expressions, selectors and needles may be used concurrently;
// conditions and pipelines are for one goroutine. Nothing here reads a clock or
// starts a goroutine.
//
// # Names
//
// In a query a name means: a label that a stage made; the row's structured
// metadata; the label of its stream. level means detected_level unless there is
// something called level, and detected_level is the row's severity. In a
// selector, a name that a stream does not have is looked for in the row's
// metadata, so that conditions are queries.
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
// # Evaluation
//
// A function over a range looks, at each step t, at the rows in (t-range, t],
// shifted by its offset. Lines are those in [start, end). Rows that a stage
// failed for carry __error__ and __error_details__; a metric query that meets
// one fails, unless a filter takes it out.
//
// What is needed of a row is known before anything is read: a count reads only
// times, a filter on a JSON key a column if the source has one, and texts that
// a line must contain (Needles) let a source pass over blocks.
//
// # Differences from Loki
//
// docs/logql.md lists them, and how they were found. Those that matter most: a
// label without value is none; stages work strictly in the order written; what
// cannot mean anything is refused when it is parsed; where a comparison in a
// condition with a number, a duration or a size meets a value that is none, the
// condition does not match (a query keeps such a row and labels it with an
// error, which is the wrong side to err on when lines are to be dropped).
//
// The only thing that is read from the machine are the rules of time zones, for
// the template function toDateInZone; they are also built in.
package logql
