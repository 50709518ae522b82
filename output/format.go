package output

import (
	"fmt"

	"github.com/weirlog/weir/wire/jsonl"
	"github.com/weirlog/weir/wire/line"
)

// Format says how NewFile and NewStdout write a record.
type Format struct {
	// Name is json (wire/jsonl; the default), line (for people, wire/line) or
	// raw (the message as it stands and a newline).
	Name string
	JSON jsonl.Config // for json
	Line line.Style   // for line
	// Prefix, for raw, writes "[name] " before each line: the file it stood in.
	Prefix bool
}

func (f Format) encoders() (*encoders, error) {
	switch f.Name {
	case "", "json":
		e := jsonl.New(f.JSON)
		return newEncoders(e, func() encoder { return e.Clone() }), nil
	case "line", "raw":
		e := line.New(line.Config{Raw: f.Name == "raw", RawPrefix: f.Prefix, Style: f.Line})
		return newEncoders(e, func() encoder { return e.Clone() }), nil
	}
	return nil, fmt.Errorf("output: unknown format %q, want json, line or raw", f.Name)
}
