// Package kube is what weir knows from the API of Kubernetes. It is the only
// importer of client-go.
//
// Pods knows the pods of this node: their labels, owners and containers, and
// whether their logs are wanted. It watches the API server for the pods with
// spec.nodeName of this node and nothing else, and keeps what it learns in a
// durable cache, so that a restart while the API server is away keeps the right
// labels. Nothing waits for the API server: New does not talk to it, Run retries
// for ever, and Pod answers from what is known. Permissions needed: get, list
// and watch of pods.
//
// Logs reads logs of any pods over the API, as kubectl logs does, with nothing
// installed in the cluster:
//
//	listing (pods) ─► reader.pick ─► container.follow ─► puller ─► Sink
//	                                  one goroutine each, with a cursor
//
// What the API cannot do, and Logs tells of where it can be known: kubelet hands
// out the newest file of a container only, not what it has rotated away, and of
// former lives the last one; it has no names for lines, so that a cut is joined
// by the lines that come again; it does not say whether a line was written to
// stdout or stderr; and while a log is followed it skips files that come and go
// while its reader is slow, and, it seems, sometimes the last lines before a rotation. An agent on the node has none of these limits.
package kube
