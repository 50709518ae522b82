// Package read reads logs back: from a server that speaks Loki's HTTP API (a
// weir, a Loki, a store in this process), page by page or as they come in, as
// entries of package show. cmd/weir makes commands of it.
package read
