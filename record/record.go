package record

// Span is a range of bytes in the buffer of one Batch. The zero Span is empty.
type Span struct {
	Off, Len uint32
}

// End returns the offset behind the span's last byte.
func (s Span) End() uint32 { return s.Off + s.Len }

// Record is one row of a Batch. It holds no pointers; its spans and indexes
// mean something only together with the batch it stands in.
type Record struct {
	// Time is the record's own time in nanoseconds since the Unix epoch: the
	// one parsed from the body if that is believable, else Observed.
	Time int64
	// Observed is when the container runtime (or the reader, where there is
	// none) saw the record, in nanoseconds since the Unix epoch.
	Observed int64
	// Start and End are the uncompressed byte offsets of the record in its
	// generation. A record that spans a rotation belongs to the generation of
	// its first part; its End then counts on through the later generations.
	Start, End int64
	// Body is the message as it stands now; steps may point it elsewhere.
	Body Span
	// Source is the message as it was read, after joining partial lines. It is
	// what the record's id is made from and never changes.
	Source Span
	// KnownKeys is, for a body flagged JSONObject, the set of its well-known
	// top-level keys, one bit each as numbered by wire/json.Known. Encoders
	// learn from it without looking whether a name of theirs stands in the
	// body already.
	KnownKeys uint64

	fieldOff uint32
	fieldLen uint16
	// Stream is the index of the record's StreamRef in the batch.
	Stream   uint16
	Flags    Flags
	Severity Severity
}

// Flags are properties of a Record.
type Flags uint16

const (
	// Dropped marks a record that a step removed; Freeze leaves it out of
	// every Part.
	Dropped Flags = 1 << iota
	// Partial marks a piece of a line whose rest follows as another record.
	Partial
	// Continued marks a piece of a line whose beginning went before it.
	Continued
	// JSONObject says that Body is exactly one JSON object, checked: valid
	// UTF-8, valid syntax, nesting at most 64, no surrounding space, no
	// top-level key twice. Encoders may splice its bytes.
	JSONObject
	// InvalidUTF8 says that Body is known not to be valid UTF-8.
	InvalidUTF8
	// ValidUTF8 says that Body is known to be valid UTF-8.
	ValidUTF8
	// Gap marks a record that weir made itself to say that bytes are missing.
	Gap
	// TimeParsed says that Time was parsed from the body.
	TimeParsed
	// ParseError says that the line did not have its container format; Body
	// is the line as it stood in the file.
	ParseError
	// HasID says that the record carries an id of its sender's (Batch.SetID).
	HasID
	// Generated marks a record that weir made itself, not read from a source.
	Generated
	// Parsed says that a parser chosen for the record's stream has been at it:
	// those of the pipeline leave it alone.
	Parsed
	// RateLimited says of a record that is Dropped, that a rate limit did it.
	RateLimited
)

// Has reports whether all flags of g are set in f.
func (f Flags) Has(g Flags) bool { return f&g == g }

// Kind is the type of a Field's value. Values keep their text.
type Kind uint8

// The kinds of field values.
const (
	String Kind = iota
	Int
	Float
	Bool
	Null
	JSON // an object or array, as its JSON text
)

// Field is a named value of a Record.
type Field struct {
	Val  Span
	Key  uint16 // index into the batch's key table, see Batch.KeyName
	Kind Kind
}

// Severity is OpenTelemetry's severity number, 0 (unknown) to 24.
// https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber
type Severity uint8

// The lowest number of each severity range.
const (
	Unknown Severity = 0
	Trace   Severity = 1
	Debug   Severity = 5
	Info    Severity = 9
	Warn    Severity = 13
	Error   Severity = 17
	Fatal   Severity = 21
)

var levelNames = [...]string{"unknown", "trace", "debug", "info", "warn", "error", "fatal"}

// Level returns the record's level as people type it: trace, debug, info,
// warn, error, fatal, or unknown.
func (s Severity) Level() string {
	if s == 0 || s > 24 {
		return levelNames[0]
	}
	return levelNames[(s-1)/4+1]
}

// ID is a 128-bit identifier: of a record or of a generation. Its text form is
// 32 lower-case hexadecimal digits. The zero ID means "none".
type ID struct{ Hi, Lo uint64 }

const hexDigits = "0123456789abcdef"

// AppendText appends the 32 hexadecimal digits of the id to dst.
func (id ID) AppendText(dst []byte) []byte {
	for _, w := range [2]uint64{id.Hi, id.Lo} {
		for sh := 56; sh >= 0; sh -= 8 {
			c := byte(w >> uint(sh))
			dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return dst
}

// String returns the 32 hexadecimal digits of the id.
func (id ID) String() string { return string(id.AppendText(make([]byte, 0, 32))) }

// IsZero reports whether the id is "none".
func (id ID) IsZero() bool { return id == ID{} }

// ParseID reads what String writes.
func ParseID(s string) (ID, bool) {
	if len(s) != 32 {
		return ID{}, false
	}
	var w [2]uint64
	for i := range 32 {
		var d byte
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			d = c - '0'
		case c >= 'a' && c <= 'f':
			d = c - 'a' + 10
		default:
			return ID{}, false
		}
		w[i/16] = w[i/16]<<4 | uint64(d)
	}
	return ID{w[0], w[1]}, true
}
