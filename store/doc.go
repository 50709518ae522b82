// Package store keeps logs: durable before they are acknowledged, as Parquet
// files that any reader opens, and found again by label, time, severity and
// substring.
//
// # Life of a row
//
// Send encodes the rows of a request as one frame in the memory of the current
// memtable; a committer writes the frames of all requests that have come in the
// meantime to the write-ahead log, syncs once, and only then are they visible
// and acknowledged. A full or old memtable becomes segments, one per UTC day of
// the rows' times; when the MANIFEST names them, durably, the log before is
// removed. So every row is compressed once, and a crash at any instruction finds
// every acknowledged row again, in the log or in a segment.
//
// # Exactly once
//
// Rows that come from a file carry the file's key and their place in it. The
// store keeps which places it has, in the same frame as the rows, and takes no
// row twice: see finished.
//
// # Concurrency
//
// One mutex guards what is named in the manifest and the memtables. Readers take
// a version, which does not change, and hold what it names until they are done.
// The goroutines are the committer, the flusher and the keeper (retention,
// compaction); Close waits for them.
//
// The files are described in docs/formats/store.md and store-segment.md.
package store
