// Package api is weir's HTTP API for queries, as Loki has it, over whatever keeps
// the logs. Pushes are gateway's.
//
// It knows the keeper as the interface Store; cmd/weir puts the embedded store
// there. Everything here may be used concurrently.
package api

import (
	"context"

	"github.com/weirlog/weir/logql"
)

// Store is what keeps the logs. A tenant is a set of logs that no other tenant
// sees; the empty tenant sees everything there is.
type Store interface {
	// Source is the tenant's logs as the query engine reads them.
	Source(tenant string) logql.Source
	// Streams calls f for every stream that has rows in [start, end) and that
	// the selector matches or may match, once per stream and in no order. Rows and
	// bytes are estimates from the index where a block is cut by the bounds.
	Streams(ctx context.Context, tenant string, sel *logql.Selector, start, end int64, f func(StreamStats) error) error
	// Tail subscribes to rows as they become durable. At most max rows wait for
	// the reader.
	Tail(tenant string, sel *logql.Selector, max int) (Tail, error)
}

// StreamStats is what a stream has in a range of time.
type StreamStats struct {
	Labels []logql.Label // sorted; valid after the call too
	Rows   int64
	Bytes  int64 // of lines
	Blocks int64 // units of storage that hold some of it
}

// Tail delivers rows that come in. It is for one reader.
type Tail interface {
	// Next waits for rows and returns those that are there, oldest first, and how
	// many were dropped since the last call because the reader was too slow.
	Next(ctx context.Context) (rows []logql.Row, dropped int64, err error)
	Close()
}
