// Package e2e tells black-box stories about the real binary: a fake node
// writes logs (loggen, internal/fakenode), `weir agent` ships them, a strict
// and faulty destination takes them (esstub, sink), and the verdict compares
// what arrived with the generator's own journal, byte for byte. Nothing here
// imports any of weir's packages.
//
// The stories run with `go test ./e2e`, in a short form; README.md says how to
// run the full ones and the programs by hand.
package e2e
