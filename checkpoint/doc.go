// Package checkpoint keeps a small set of keys and values durably in a
// directory: the positions up to which inputs are finished and the counters
// that belong to them.
//
// The whole set lives in memory. Sync appends one frame with all changes since
// the last successful Sync to a log and fsyncs it, so what one Sync carries is
// found again together or not at all. When the log has grown well beyond the
// live data it is rewritten. The format is described in
// docs/formats/checkpoint.md.
//
// One process at a time may open a directory for writing; Read looks into it
// beside a running writer.
package checkpoint
