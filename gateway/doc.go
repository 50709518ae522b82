// Package gateway takes the logs that others push: its listeners speak the
// protocols that applications, agents and devices have already, find out who is
// there, bound what everybody may use, and answer when the records are safe.
//
//	HTTP ─ body ─┐                                   ┌─► pipeline (Input)
//	gRPC ────────┼─ wire/<proto> ─► batch ─► Sink ───┤
//	TCP, unix ───┤   (decodes)        identity,      └─► the embedded store
//	UDP ─────────┘                    limits, ids
//
// A protocol is a file of its own here and decodes with a package of its own
// below wire. What is the same for all of them is in http.go, stream.go and
// packet.go.
//
// An answer of success means that every record that it does not name as refused
// is durable: on the disk of this process, or with the destination. Where a
// protocol has no answers (syslog, GELF, lines over a socket), not reading is all
// that can be said; what does not fit is dropped and counted if it came by UDP.
package gateway
