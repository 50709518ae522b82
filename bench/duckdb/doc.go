//go:build !cgo

// Command duckdb needs cgo: DuckDB is a C++ library.
package main

import "log"

func main() { log.Fatal("duckdb: built without cgo") }
