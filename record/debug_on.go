//go:build debugbatch

package record

// debug turns on the checks for writes after Freeze and use after release.
const debug = true

func poison(p []byte) {
	for i := range p {
		p[i] = 0xdb
	}
}
