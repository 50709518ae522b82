// Package cluster tells stories about weir on a real Kubernetes node: kubelet
// and containerd write and rotate the logs, the manifests of deploy/agent run
// the agent, pods come and go. README.md says how the node is made and run.
package cluster
