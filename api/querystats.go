package api

import (
	"time"

	"github.com/weirlog/weir/logql"
)

// queryStats is the object "stats" of an answer, in Loki's shape: what looks at
// it (logcli --stats, Grafana's inspector) expects all of it. What weir has no
// counterpart of stays zero: it neither splits nor shards queries and has no
// caches. Chunks are the store's units of reading; all of it is told as the
// querier's work, as there is no ingester.
type queryStats struct {
	Summary  statsSummary  `json:"summary"`
	Querier  statsQuerier  `json:"querier"`
	Ingester statsIngester `json:"ingester"`
	Cache    statsCaches   `json:"cache"`
	Index    statsIndex    `json:"index"`
}

type statsSummary struct {
	BytesPerSecond   int64   `json:"bytesProcessedPerSecond"`
	LinesPerSecond   int64   `json:"linesProcessedPerSecond"`
	Bytes            int64   `json:"totalBytesProcessed"`
	Lines            int64   `json:"totalLinesProcessed"`
	ExecTime         float64 `json:"execTime"`  // seconds
	QueueTime        float64 `json:"queueTime"` // seconds
	Subqueries       int64   `json:"subqueries"`
	EntriesReturned  int64   `json:"totalEntriesReturned"`
	Splits           int64   `json:"splits"`
	Shards           int64   `json:"shards"`
	PostFilterLines  int64   `json:"totalPostFilterLines"`
	StructuredMDSize int64   `json:"totalStructuredMetadataBytesProcessed"`
}

type statsQuerier struct {
	Store statsStore `json:"store"`
}

type statsIngester struct {
	Reached       int64      `json:"totalReached"`
	ChunksMatched int64      `json:"totalChunksMatched"`
	Batches       int64      `json:"totalBatches"`
	LinesSent     int64      `json:"totalLinesSent"`
	Store         statsStore `json:"store"`
}

type statsStore struct {
	ChunksRef            int64      `json:"totalChunksRef"`
	ChunksDownloaded     int64      `json:"totalChunksDownloaded"`
	ChunksDownloadTime   int64      `json:"chunksDownloadTime"`
	StructuredMD         bool       `json:"queryReferencedStructuredMetadata"`
	UsedV2Engine         bool       `json:"queryUsedV2Engine"`
	Chunk                statsChunk `json:"chunk"`
	ChunkRefsFetchTime   int64      `json:"chunkRefsFetchTime"`
	CongestionLatency    int64      `json:"congestionControlLatency"`
	WrapperFilteredLines int64      `json:"pipelineWrapperFilteredLines"`
}

type statsChunk struct {
	HeadBytes         int64 `json:"headChunkBytes"`
	HeadLines         int64 `json:"headChunkLines"`
	DecompressedBytes int64 `json:"decompressedBytes"`
	DecompressedLines int64 `json:"decompressedLines"`
	CompressedBytes   int64 `json:"compressedBytes"`
	Duplicates        int64 `json:"totalDuplicates"`
	PostFilterLines   int64 `json:"postFilterLines"`
	HeadMD            int64 `json:"headChunkStructuredMetadataBytes"`
	DecompressedMD    int64 `json:"decompressedStructuredMetadataBytes"`
}

type statsCaches struct {
	Chunk         statsCache `json:"chunk"`
	Index         statsCache `json:"index"`
	Result        statsCache `json:"result"`
	Stats         statsCache `json:"statsResult"`
	Volume        statsCache `json:"volumeResult"`
	Series        statsCache `json:"seriesResult"`
	Label         statsCache `json:"labelResult"`
	InstantMetric statsCache `json:"instantMetricResult"`
}

type statsCache struct {
	Found         int64 `json:"entriesFound"`
	Requested     int64 `json:"entriesRequested"`
	Stored        int64 `json:"entriesStored"`
	BytesReceived int64 `json:"bytesReceived"`
	BytesSent     int64 `json:"bytesSent"`
	Requests      int64 `json:"requests"`
	DownloadTime  int64 `json:"downloadTime"`
	LengthServed  int64 `json:"queryLengthServed"`
}

type statsIndex struct {
	Chunks           int64 `json:"totalChunks"`
	PostFilterChunks int64 `json:"postFilterChunks"`
	ShardsDuration   int64 `json:"shardsDuration"`
	UsedBloomFilters bool  `json:"usedBloomFilters"`
	Streams          int64 `json:"totalStreams"`
	ChunkRefsLookup  int64 `json:"chunkRefsLookupTime"`
	BloomFilterTime  int64 `json:"bloomFilterTime"`
}

// queryStats makes the object of what a query cost, and counts it.
func (s *Server) queryStats(q *request, st logql.Stats, returned int) *queryStats {
	s.stats.rows.Add(st.Rows)
	s.stats.bytes.Add(max(st.Bytes, st.Source.Bytes))
	took := time.Since(q.began) - q.queued
	out := &queryStats{}
	sum := &out.Summary
	sum.Bytes, sum.Lines = st.Bytes, st.Rows
	sum.ExecTime, sum.QueueTime = took.Seconds(), q.queued.Seconds()
	if took > 0 {
		sum.BytesPerSecond = int64(float64(st.Bytes) / took.Seconds())
		sum.LinesPerSecond = int64(float64(st.Rows) / took.Seconds())
	}
	sum.Subqueries = max(0, st.Selects-1)
	sum.EntriesReturned, sum.PostFilterLines = int64(returned), st.Kept
	store := &out.Querier.Store
	store.ChunksRef = st.Source.Blocks
	store.ChunksDownloaded = st.Source.Blocks - st.Source.BlocksPruned
	store.Chunk = statsChunk{DecompressedBytes: st.Source.Bytes, DecompressedLines: st.Source.Rows, CompressedBytes: st.Source.BytesRead, PostFilterLines: st.Kept}
	out.Index = statsIndex{Chunks: store.ChunksRef, PostFilterChunks: store.ChunksDownloaded, Streams: st.Source.Streams}
	return out
}
