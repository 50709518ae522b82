package wire

import "github.com/weirlog/weir/record"

// Notable are the flags of a record that a reader of it must know about.
const Notable = record.Partial | record.Continued | record.Gap | record.ParseError

// FlagsName is the member in which documents carry the notable flags.
const FlagsName = "weir"

// notable pairs the flags with their names, in the order they are written.
var notable = [...]struct {
	flag record.Flags
	name string
}{
	{record.Partial, "partial"},
	{record.Continued, "continued"},
	{record.Gap, "gap"},
	{record.ParseError, "parse_error"},
}

// EachFlag calls f with the name of each notable flag in flags.
func EachFlag(flags record.Flags, f func(name string)) {
	for _, n := range &notable {
		if flags.Has(n.flag) {
			f(n.name)
		}
	}
}

// AppendFlags appends `"weir":{"partial":true}`, with the notable flags that
// are set.
func AppendFlags(dst []byte, flags record.Flags) []byte {
	dst = append(dst, `"`+FlagsName+`":`...)
	sep := byte('{')
	for _, n := range &notable {
		if flags.Has(n.flag) {
			dst = append(dst, sep, '"')
			dst = append(dst, n.name...)
			dst = append(dst, `":true`...)
			sep = ','
		}
	}
	return append(dst, '}')
}

// AppendLevel appends prefix, the severity's level and a quote.
func AppendLevel(dst []byte, prefix string, s record.Severity) []byte {
	dst = append(dst, prefix...)
	dst = append(dst, s.Level()...)
	return append(dst, '"')
}
