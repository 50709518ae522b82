package gateway

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// httpProtocols are the protocols over HTTP, by the name of their input, each with
// the method that registers its paths.
var httpProtocols = map[string]func(*HTTP){
	"loki": (*HTTP).loki,
	"otlp": (*HTTP).otlp,
}

// HTTPProtocols returns the names of all protocols over HTTP, sorted.
func HTTPProtocols() []string { return slices.Sorted(maps.Keys(httpProtocols)) }

func (h *HTTP) register(protocols []string) error {
	for _, p := range protocols {
		f := httpProtocols[p]
		if f == nil {
			return fmt.Errorf("%s is no protocol over HTTP; these are: %s", p, strings.Join(HTTPProtocols(), ", "))
		}
		f(h)
	}
	return nil
}
