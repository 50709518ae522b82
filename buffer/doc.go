// Package buffer holds what waits for an output: a bounded queue of Parts.
//
// Memory keeps them in memory. Every queue of this package passes the suite of
// package buffertest, which is the exact contract.
//
// A queue knows only what has not been taken from it yet. What was taken and
// not settled is in the hands of whoever took it, who counts it as waiting.
package buffer
