package read

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/weirlog/weir/show"
	wirejson "github.com/weirlog/weir/wire/json"
)

// maxFrame bounds a message of a tail, in bytes.
const maxFrame = 64 << 20

// readFrame reads a message; hint is how long the last ones were.
func readFrame(r io.Reader, hint int) ([]byte, error) {
	b := make([]byte, 0, hint+512)
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		if len(b) == cap(b) {
			b = slices.Grow(b, len(b))
		}
	}
}

// frame is a message of a tail.
type frame struct {
	entries []show.Entry
	dropped int64 // lines that the server left out, as it was too slow to get rid of them
}

// decodeFrame reads {"streams": […], "dropped_entries": […]}; raw must not change
// any more.
// https://grafana.com/docs/loki/latest/reference/loki-http-api/#stream-logs
func (c *Client) decodeFrame(raw []byte) (frame, error) {
	streams, dropped, ok := fastFrame(raw)
	if !ok {
		var msg struct {
			Streams json.RawMessage `json:"streams"`
			Dropped json.RawMessage `json:"dropped_entries"`
		}
		if err := json.Unmarshal(raw, &msg); err != nil {
			return frame{}, fmt.Errorf("the tail of %s cannot be read: %w", c.What, err)
		}
		streams, dropped = msg.Streams, msg.Dropped
	}
	var f frame
	var err error
	if len(streams) > 0 && !bytes.Equal(streams, []byte("null")) {
		if f.entries, err = c.decodeOwned(streams); err != nil {
			return f, fmt.Errorf("the tail of %s cannot be read: %w", c.What, err)
		}
	}
	if len(dropped) > 0 {
		f.dropped, err = countDropped(dropped)
		if err != nil {
			return f, fmt.Errorf("the tail of %s cannot be read: %w", c.What, err)
		}
	}
	return f, nil
}

// fastFrame finds the parts of a message without decoding them.
func fastFrame(raw []byte) (streams, dropped []byte, ok bool) {
	var r wirejson.Reader
	r.Reset(raw)
	if r.Kind() != '{' || !r.Enter('{') {
		return nil, nil, false
	}
	for {
		name, esc, more := r.Name()
		if !more {
			break
		}
		key := string(of(raw, name))
		s, good := r.Skip()
		if !good || esc {
			return nil, nil, false
		}
		part := of(raw, s)
		switch key {
		case "streams":
			if streams != nil {
				return nil, nil, false
			}
			streams = part
		case "dropped_entries":
			if dropped != nil {
				return nil, nil, false
			}
			dropped = part
		}
	}
	return streams, dropped, r.End()
}

// countDropped counts the lines that were left out: Loki names some of them, a
// weir says in a label how many they were.
func countDropped(raw []byte) (int64, error) {
	var list []struct {
		Labels map[string]string `json:"labels"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return 0, err
	}
	n := int64(0)
	for _, d := range list {
		many, err := strconv.ParseInt(d.Labels["dropped"], 10, 64)
		if err != nil || many < 1 || len(d.Labels) > 1 {
			many = 1
		}
		n += many
	}
	return n, nil
}
