package wire

import (
	"slices"
	"testing"
)

func TestPositions(t *testing.T) {
	for text, at := range map[string][]uint32{"0": {0}, "0-1": {0, 1}, "0-3,7,9-12": {0, 1, 2, 3, 7, 9, 10, 11, 12}, "5,7": {5, 7}} {
		if got := string(AppendPositions(nil, at)); got != text {
			t.Errorf("%v: %s, want %s", at, got, text)
		}
		if got, ok := ParsePositions(text, 13); !ok || !slices.Equal(got, at) {
			t.Errorf("%s: %v %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "-", "1-", "-1", "2,1", "1,1", "3-2", "13", "0-13", "a", "1, 2", "0-99999999999999", "1-2-3"} {
		if got, ok := ParsePositions(text, 13); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
}
