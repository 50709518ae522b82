// Package export is what rows of logs look like when they leave in bulk: JSON
// lines, CSV and bare text; rows for another weir, which makes something else of
// them; and the frames in which a server sends any of these, so that a reader
// whose connection breaks knows from where to go on. docs/loki-api.md describes
// the endpoint.
//
// Encoders are for one goroutine and allocate nothing in steady state.
package export
