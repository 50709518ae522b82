// Package config holds weir's configuration: one tree of structs, read from
// YAML files, the environment and flags, with every value's origin kept so that
// all errors are reported at once, each with its file, line and column.
//
// The tree is described once, in the struct tags of this package:
//
//	yaml      the key
//	doc       one sentence for the reference
//	default   the value when nothing is given, as it would be written in a file
//	enum      the allowed words, separated by commas
//	word      word=number: a word that stands for a number ("forever")
//	min, max  the allowed range, as it would be written in a file
//	scheme    the allowed schemes of a URL
//	lookup    true: dns+ and srv+ may stand before the scheme of a URL
//	required  "true": there is no default
//
// Decoding, checking, `weir config show` and docs/reference/configuration.md
// all come from them. Everything here is synchronous; a Config is not changed
// after Load and may be read concurrently.
package config

//go:generate go test -run TestReferenceIsCurrent -update .
