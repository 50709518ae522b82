// Package deliver brings the Parts of one output's queue to one of the output's
// endpoints. It is the only place with batching, retry, backoff, balancing over
// endpoints, concurrency and dead letters.
//
//	queue ─► batch being collected ─► ready ─┐                       ┌─► endpoint 0
//	                                         ├─► slots (AIMD limit) ─┼─► endpoint 1
//	             ┌─► delayed (heap by due) ──┘                       └─► endpoint …
//	             └──────────── retry, split, bisect ◄──── answer ◄───────┘
//	                                                        ├─► delivered: settled
//	                                                        └─► dead: dead letters, then settled
//
// One goroutine (Run) owns everything drawn here but the attempts, each of
// which has a goroutine of its own for as long as it lasts, and the write of
// dead letters.
//
// # What becomes of a record
//
// Every record of every Part ends in exactly one ack.Status, counted on its
// token, or stays open. It stays open only when Run was stopped: then its token
// is never done and its input reads it again. Stopping never drops a record and
// never makes a dead letter of one.
//
//   - The attempt succeeded, the record is not among the failures: Delivered.
//   - The destination failed this record for now (429 or 503 of an item): it is
//     sent again with the others of its request that failed so, after a delay.
//   - The destination refused this record for good: dead letter, DeadRejected.
//   - The request was too large: it is sent again in two halves; a single
//     record: dead letter, DeadTooLarge.
//   - The request was refused for what is in it: it is bisected until the
//     culprits are alone; they are dead letters, all others are delivered. k
//     culprits among n records cost at most 2·k·(log₂(n)+1)+1 attempts.
//   - Credentials are missing or wrong: it waits Retry.MaxDelay between
//     attempts and is never given up.
//   - Anything else: it is sent again, the same records, after a delay. An
//     attempt whose answer was lost may have been stored; that is where
//     at-least-once comes from, and why records have ids.
//   - Retry.For has passed since its first attempt: dead letter, DeadExpired.
//
// Without a place for dead letters they are dropped and counted as
// DroppedRejected.
//
// # Order
//
// Requests run concurrently and a retried one is overtaken by others, so the
// order of a stream's records at the destination may change. Fresh requests and
// retried ones take turns at the slots: neither keeps the other waiting.
//
// # Endpoints
//
// Each endpoint has a limit of requests in flight of its own, which follows its
// answers (additive increase, multiplicative decrease), so one that is overloaded
// does not slow down what the others get. SetEndpoints changes them at any time.
//
// Endpoints are in groups. The first group with an endpoint that works is in use;
// a better one that comes back is tried with a request now and then, and used again
// when it has worked for Failback. What a group cannot take while it only starts
// goes to the next.
//
// With Hash, what was collected is cut by the endpoints of its keys (rendezvous
// hashing over those of the group that work) when it is due, and each piece waits
// for its endpoint. At most four wait for one; further keys go to the next endpoint
// in their order, so that one that is slow does not stop the others.
//
// # An outage
//
// An endpoint that failed Eject.Errors times in a row is ejected: for Eject.For
// nothing is sent there, then one real request probes it. With all endpoints
// ejected one request at a time is sent, to the one ejected least recently,
// with delays that grow up to Retry.MaxDelay (full jitter), however many
// requests wait. After the first answer all of them are due at once, and an
// endpoint, also one that is new, takes one request, then two, then four, and so on.
package deliver
