// Package json reads and writes JSON text as bytes, for the paths that touch
// every record: it checks that a log line is one JSON object and finds its
// top-level members without decoding them, and it quotes strings and times for
// the encoders. Everything else in weir that deals with JSON (configuration,
// API answers) uses encoding/json.
//
// Nothing here allocates in steady state, recurses over its input, reads a
// clock or keeps global state that changes.
package json
