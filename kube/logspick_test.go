package kube

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/weirlog/weir/show"
)

// Why a pod waits for a node is told of those that would be read, not of every
// pod beside them.
func TestLogsUnschedulable(t *testing.T) {
	waits := func(p *corev1.Pod) {
		p.Spec.NodeName, p.Status.Phase, p.Status.ContainerStatuses = "", corev1.PodPending, nil
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "no node fits"}}
	}
	c := newCluster(t)
	c.put(running("other", waits))
	c.put(running("wanted", waits))
	keep := func(s *show.Stream) bool { return s.Labels["pod"] == "wanted" }
	s, stop := follow(t, openCluster(t, c, ""), Reading{Tail: -1, Pick: Pick{Keep: keep}})
	s.until("the wanted one is told of", s.has("warning wanted/ waits for a node: no node fits"))
	c.write("wanted/main", at(0, "1"))
	c.put(running("wanted"))
	s.until("it is read when it runs", s.got("wanted/main", 1))
	if err := stop(); err != nil {
		t.Error(err)
	}
	if s.has("other")() {
		t.Errorf("%q", s.notices)
	}
}
