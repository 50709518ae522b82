// Package wire holds what the encoders in its folders share: the id of a
// record, templates for the names of indexes and tenants, the cache of what an
// encoder makes of a Stream, and the merging of a JSON body into a document.
//
// Everything in wire and beneath it is pure: bytes in, bytes out; no network,
// no clock, no goroutine. Encoders append to the slice they are given, serve
// one goroutine each (Clone makes another) and allocate nothing per record once
// they have seen the streams.
package wire
