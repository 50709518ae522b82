// Package output holds the destinations: one file per kind. An output encodes
// the parts it is given with the wire packages, makes one attempt and
// classifies the answer per record. Batching, retrying, balancing over several
// endpoints and limits on concurrency are deliver's.
//
// # Contract of every output
//
// Send(ctx, parts) is safe for concurrent use. It never changes or finishes
// the parts. A nil error means that the destination answered for the request
// as a whole: every record that Result.Failures does not name is delivered,
// as durably as the destination tells. An error means that nothing is known to
// be delivered; an *ack.SendError says what that means for the records, any
// other error means try again.
//
// Whether an answer blames the records decides what happens to them, so the
// rule is the cautious one: only answers about the content (400, 422, OTLP's
// INVALID_ARGUMENT, an item's 4xx) reject records; an answer that blames the
// request's way (404, 405, a redirect, credentials) keeps them and says what to
// change.
//
// Probe(ctx) sends an empty request the same way, so that address, path,
// certificates and credentials are checked without writing anything. Close
// lets go of connections, files and goroutines; Sends after or during it fail
// and may be retried elsewhere.
//
// # What is logged
//
// Errors and reasons name the destination and its status, never content of a
// record and never a secret: user names and passwords, query arguments and
// quoted text of answers are left out.
package output
