// Package ack carries acknowledgements backwards: from what became of each
// record at each output to the position up to which an input is finished.
//
// An input calls Tracker.Track once per piece it read, in order, and puts the
// Token on the batch. Whoever settles records counts them on the token
// (Token.Count); when the last user of the batch is gone the token is Done.
// Tracker.Advance returns the highest position up to which every token is
// done, together with the sum of what was counted on the tokens it passed, so
// that a checkpoint and the counters stored beside it always agree.
//
// A token that nobody finishes stalls its tracker: nothing is lost, the piece
// is read again after a restart, and Tracker.Open shows it.
package ack
