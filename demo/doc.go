// Package demo makes the logs of a small cluster that does not exist: a shop
// with its payments, what Kubernetes itself runs, and some monitoring, in the
// formats that such programs write. People without a cluster see with it what
// weir does, and the tutorial of docs/ tells of its stories.
//
// A Cluster is a simulation: it knows no clock and no file, and gives one event
// after the other in the order of time. The same Config gives the same events. A
// Node writes events as kubelet and containerd do: a directory per pod and
// container, a file per restart, CRI lines cut at 16 KiB, rotation to names with
// a date, gzip, and directories that go with their pods.
package demo
