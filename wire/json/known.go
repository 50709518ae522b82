package json

// NoBit is the Bit of a Member whose name is not well known.
const NoBit = 64

// knownNames are the well-known top-level names in the order of their bits:
// those that weir's encoders write beside a record's body, and those that its
// parsers look for. The numbers are private to one process; nothing stores
// them.
var knownNames = [...]string{
	// Time.
	"@timestamp", "_time", "time", "timestamp", "ts", "datetime", "date", "eventTime", "t",
	// Message.
	"message", "msg", "_msg", "log", "body",
	// Level.
	"level", "severity", "lvl", "loglevel", "log.level", "levelname", "severity_text", "priority",
	// Who wrote it.
	"stream", "kubernetes", "cluster", "node", "namespace", "pod", "pod_uid", "container",
	"container_id", "restart", "workload", "app", "service_name", "service", "service.name",
	"input", "tags", "host", "hostname", "labels", "image", "file", "docker", "agent",
	"ecs", "orchestrator", "data_stream",
	// Traces and ids.
	"trace_id", "span_id", "trace", "span", "trace.id", "span.id", "traceId", "spanId", "traceID",
	"weir", "log_record_uid", "_id", "_index",
	// What many applications write and mappings trip over.
	"event", "error",
}

const (
	hashMul   = 0x54f534a73fd9e7c5
	knownBits = 9
)

// known is a perfect hash table: slot → bit and the words of its name.
var known = func() (t struct {
	slot  [1 << knownBits]uint8
	words [NoBit]keyWords
}) {
	for i := range t.slot {
		t.slot[i] = NoBit
	}
	for bit, name := range knownNames {
		w := wordsOf([]byte(name))
		t.words[bit] = w
		t.slot[slotOf(w.hash())] = uint8(bit)
	}
	return t
}()

func slotOf(h uint64) uint64 { return h >> (64 - knownBits) }

func lookup(w keyWords, h uint64) uint8 {
	bit := known.slot[slotOf(h)]
	if bit < NoBit && known.words[bit] != w {
		return NoBit
	}
	return bit
}

// Known returns the number, below 64, of a well-known name; ok is false if it
// is not one. key holds no escapes.
func Known(key []byte) (bit uint8, ok bool) {
	w := wordsOf(key)
	bit = lookup(w, w.hash())
	return bit, bit != NoBit
}

// KnownName returns the name with that number, "" if there is none.
func KnownName(bit uint8) string {
	if int(bit) < len(knownNames) {
		return knownNames[bit]
	}
	return ""
}

// KnownMask returns the set of those of the names that are well known. all is
// false if some are not: about them a record's KnownKeys says nothing.
func KnownMask(names ...string) (mask uint64, all bool) {
	all = true
	for _, name := range names {
		if bit, ok := Known([]byte(name)); ok {
			mask |= 1 << bit
		} else {
			all = false
		}
	}
	return mask, all
}
