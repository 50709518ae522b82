//go:build !debugbatch

package record

const debug = false

func poison([]byte) {}
