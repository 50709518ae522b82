package main

import (
	"encoding/json"
	"net/url"
	"strings"
)

var zeroURL url.URL

// filterPath keeps of a JSON answer what one of the paths selects, as the
// common option filter_path does: names by dots, * within a name, ** for any
// number of names. Objects of which nothing is left go away, also as elements
// of arrays; clients that count on positions must know.
func filterPath(p []byte, paths []string) ([]byte, error) {
	var v any
	if err := json.Unmarshal(p, &v); err != nil {
		return nil, err
	}
	var split [][]string
	for _, s := range paths {
		split = append(split, strings.Split(s, "."))
	}
	out, ok := filter(v, split)
	if !ok {
		return []byte("{}"), nil
	}
	return json.Marshal(out)
}

func filter(v any, paths [][]string) (any, bool) {
	if len(paths) == 0 {
		return nil, false
	}
	for _, p := range paths {
		if len(p) == 0 || len(p) == 1 && p[0] == "**" {
			return v, true
		}
	}
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any)
		for k, e := range v {
			var sub [][]string
			for _, p := range paths {
				if p[0] == "**" {
					sub = append(sub, p)
					if wildcard(p[1], k) {
						sub = append(sub, p[2:])
					}
				} else if wildcard(p[0], k) {
					sub = append(sub, p[1:])
				}
			}
			if f, ok := filter(e, sub); ok {
				out[k] = f
			}
		}
		return out, len(out) > 0
	case []any:
		var out []any
		for _, e := range v {
			if f, ok := filter(e, paths); ok {
				out = append(out, f)
			}
		}
		return out, len(out) > 0
	}
	return nil, false
}
