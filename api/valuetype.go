package api

import (
	"strconv"
	"strings"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// valueType is what all values of a field are.
type valueType uint8

const (
	typeAny valueType = iota // no value was met
	typeString
	typeInt
	typeFloat
	typeBool
	typeDuration
	typeBytes
)

func (t valueType) String() string {
	return [...]string{"string", "string", "int", "float", "boolean", "duration", "bytes"}[t]
}

// and is what values of both types are.
func (t valueType) and(u valueType) valueType {
	switch {
	case t == u || u == typeAny:
		return t
	case t == typeAny:
		return u
	case t == typeInt && u == typeFloat || t == typeFloat && u == typeInt:
		return typeFloat
	}
	return typeString
}

func typeOf(v string) valueType {
	if v == "" || len(v) > 64 {
		return typeString
	}
	switch v {
	case "true", "false", "True", "False", "TRUE", "FALSE":
		return typeBool
	}
	if c := v[0]; !(c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.') {
		return typeString
	}
	if _, err := strconv.ParseInt(v, 10, 64); err == nil {
		return typeInt
	}
	if _, ok := parseFloat(v); ok {
		return typeFloat
	}
	if _, ok := parseDuration(v); ok {
		return typeDuration
	}
	num := strings.TrimRight(v, "BKMGTPEbkmgtpei ")
	if _, ok := parseFloat(num); ok {
		if byteUnits[strings.ToLower(strings.TrimSpace(v[len(num):]))] {
			return typeBytes
		}
	}
	return typeString
}

var byteUnits = map[string]bool{
	"b": true, "k": true, "kb": true, "kib": true, "m": true, "mb": true, "mib": true, "g": true, "gb": true, "gib": true,
	"t": true, "tb": true, "tib": true, "p": true, "pb": true, "pib": true, "e": true, "eb": true, "eib": true,
}

// jsonPaths finds out where in an object a label of the stage json comes from.
type jsonPaths struct {
	scan  [json.MaxDepth]json.Scanner
	paths map[string][]string
	path  []string
	name  []byte
}

// of returns the path of each label, nil if the line is no object.
func (j *jsonPaths) of(line []byte) map[string][]string {
	for len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		line = line[1:]
	}
	if len(line) == 0 || line[0] != '{' || !j.scan[0].Object(line) {
		return nil
	}
	j.paths = make(map[string][]string)
	j.object(line, 0)
	return j.paths
}

// object walks the members of the object that the scanner of this depth has
// scanned.
func (j *jsonPaths) object(p []byte, depth int) {
	for i := range j.scan[depth].Members {
		m := &j.scan[depth].Members[i]
		key := p[m.Key.Off:m.Key.End()]
		if m.Escaped {
			key = json.Unescape(nil, key)
		}
		length := len(j.name)
		if depth > 0 {
			j.name = append(j.name, '_')
		}
		j.name = append(j.name, record.SanitizeName(string(key))...)
		j.path = append(j.path, string(key))
		if m.Kind == record.JSON {
			inner := p[m.Val.Off:m.Val.End()]
			if inner[0] == '{' && depth+1 < len(j.scan) && j.scan[depth+1].Object(inner) {
				j.object(inner, depth+1)
			}
		} else if _, ok := j.paths[string(j.name)]; !ok {
			j.paths[string(j.name)] = append([]string(nil), j.path...)
		}
		j.name = j.name[:length]
		j.path = j.path[:len(j.path)-1]
	}
}
