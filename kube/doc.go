// Package kube knows the pods of this node: their labels, owners and
// containers, and whether their logs are wanted. It watches the API server for
// the pods with spec.nodeName of this node and nothing else, and keeps what it
// learns in a durable cache, so that a restart while the API server is away
// keeps the right labels. It is the only importer of client-go.
//
// Nothing waits for the API server: New does not talk to it, Run retries for
// ever, and Pod answers from what is known.
//
// Permissions needed: get, list and watch of pods.
package kube
