package kube

import "context"

// Names returns the names there are, sorted: of namespaces, nodes, pods,
// deployments, statefulsets, daemonsets, replicasets, jobs, cronjobs, services,
// containers, or of the pods' labels ("labels": name=value). It is for
// completion: it answers soon, perhaps not with everything.
func (l *Logs) Names(ctx context.Context, what, namespace string) ([]string, error) {
	return nil, ctx.Err()
}
