package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weirlog/weir/show"
)

// scope is what is listed of one namespace, or of all.
type scope struct {
	namespace      string // "" for all
	labels, fields string
	objects        []object // any of them; none means every pod
	every          bool     // whatever objects says
}

// object is an Object as it is looked for.
type object struct {
	Object
	selector labels.Selector // of a service
}

// scopes makes of a Pick what has to be listed. It asks for services, whose
// pods only their selector tells.
func (l *Logs) scopes(ctx context.Context, p *Pick) ([]scope, error) {
	namespaces := slices.Compact(slices.Sorted(slices.Values(p.Namespaces)))
	if len(namespaces) == 0 && !p.All {
		everyNamed := len(p.Objects) > 0
		for _, o := range p.Objects {
			everyNamed = everyNamed && (o.Namespace != "" || o.Kind == "node")
		}
		if !everyNamed {
			namespaces = []string{l.namespace}
		}
	}
	if p.All {
		namespaces = []string{""}
	}
	by := make(map[string]*scope)
	get := func(ns string) *scope {
		if p.All {
			ns = ""
		}
		if by[ns] == nil {
			by[ns] = &scope{namespace: ns, labels: p.Labels}
		}
		return by[ns]
	}
	for _, ns := range namespaces {
		get(ns).every = len(p.Objects) == 0
	}
	for _, o := range p.Objects {
		in := namespaces
		switch {
		case o.Namespace != "":
			in = []string{o.Namespace}
		case len(in) == 0:
			in = []string{l.namespace}
		}
		for _, ns := range in {
			s := get(ns)
			of := object{Object: o}
			if o.Kind == "service" {
				var err error
				if of.selector, err = l.service(ctx, ns, o.Name); err != nil {
					return nil, err
				}
			}
			s.objects = append(s.objects, of)
		}
	}
	var out []scope
	for _, ns := range slices.Sorted(maps.Keys(by)) {
		s := by[ns]
		var err error
		if s.fields, err = s.fieldSelector(p); err != nil {
			return nil, err
		}
		if _, err := labels.Parse(s.labels); err != nil {
			return nil, fmt.Errorf("label selector %q: %w", s.labels, err)
		}
		out = append(out, *s)
	}
	return out, nil
}

// fieldSelector leaves to the server what it can do.
func (s *scope) fieldSelector(p *Pick) (string, error) {
	sel, err := fields.ParseSelector(p.Fields)
	if err != nil {
		return "", fmt.Errorf("field selector %q: %w", p.Fields, err)
	}
	list := []fields.Selector{sel}
	if p.Node != "" {
		list = append(list, fields.OneTermEqualSelector("spec.nodeName", p.Node))
	}
	if len(s.objects) == 1 && !s.every {
		switch o := s.objects[0]; o.Kind {
		case "pod":
			list = append(list, fields.OneTermEqualSelector("metadata.name", o.Name))
		case "node":
			list = append(list, fields.OneTermEqualSelector("spec.nodeName", o.Name))
		}
	}
	return fields.AndSelectors(list...).String(), nil
}

// service returns the selector of a service's pods.
func (l *Logs) service(ctx context.Context, namespace, name string) (labels.Selector, error) {
	if namespace == "" {
		return nil, fmt.Errorf("service/%s: say in which namespace, with -n", name)
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var svc corev1.Service
	err := l.rest.Get().Namespace(namespace).Resource("services").Name(name).Do(ctx).Into(&svc)
	if apierrors.IsNotFound(err) {
		return nil, l.missing(ctx, namespace, Object{Kind: "service", Name: name})
	}
	if err != nil {
		return nil, l.explain(err, "get", "services", namespace)
	}
	if len(svc.Spec.Selector) == 0 {
		return nil, &NotFoundError{fmt.Sprintf("service/%s in namespace %s selects no pods: it has no selector", name, namespace)}
	}
	return labels.SelectorFromSet(svc.Spec.Selector), nil
}

// missing makes an error for an object of which there is no pod, nil if there
// is such an object or it cannot be known.
func (l *Logs) missing(ctx context.Context, namespace string, o Object) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	names, err := l.Names(ctx, plural(o.Kind), namespace)
	if err != nil || slices.Contains(names, o.Name) {
		return nil
	}
	where := "namespace " + namespace
	if namespace == "" || o.Kind == "node" {
		where = l.name
	}
	what := o.String()
	if o.Kind == "namespace" {
		what = "namespace " + o.Name
	}
	msg := fmt.Sprintf("there is no %s in %s", what, where)
	if best := nearest(o.Name, names); best != "" {
		return &NotFoundError{fmt.Sprintf("%s, did you mean %s?", msg, strings.TrimSuffix(what, o.Name)+best)}
	}
	switch {
	case len(names) == 0:
		msg += ", which has no " + plural(o.Kind)
	case len(names) <= 10:
		msg += "; it has " + strings.Join(names, ", ")
	}
	return &NotFoundError{msg}
}

func plural(kind string) string { return kind + "s" }

// matches reports whether the pod is wanted.
func (s *scope) matches(o *corev1.Pod, workload string) bool {
	if s.every {
		return true
	}
	for i := range s.objects {
		if s.objects[i].has(o, workload) {
			return true
		}
	}
	return false
}

func (b *object) has(o *corev1.Pod, workload string) bool {
	if b.Namespace != "" && b.Namespace != o.Namespace {
		return false
	}
	switch b.Kind {
	case "pod":
		return o.Name == b.Name
	case "node":
		return o.Spec.NodeName == b.Name
	case "service":
		return b.selector != nil && b.selector.Matches(labels.Set(o.Labels))
	}
	if workload == b.Kind+"/"+b.Name {
		return true
	}
	owner := controller(o)
	return owner != nil && strings.ToLower(owner.Kind) == b.Kind && owner.Name == b.Name
}

// role of a container in its pod.
type role uint8

const (
	roleMain role = iota
	roleInit
	roleEphemeral
)

// condition is what is known of the life of a container.
type condition struct {
	state           string // one of stateRunning …, "" if nothing is known
	reason, message string // of waiting, or of how it ended
	restarts        int32
	lived           bool // it has started at least once, so that there is a log
	former          bool // there is a log of its former life
	over            bool // it will not be started again
	gone            bool // the pod was deleted
	exit            int32
	started         time.Time
}

// ended reports whether the life with that number is over.
func (s *condition) ended(life int32) bool {
	return s.gone || s.restarts > life || s.state != stateRunning
}

// seenContainer is a container of a pod as the API tells it.
type seenContainer struct {
	name string
	role role
	condition
}

// podContainers lists the containers in the order of the spec.
func podContainers(o *corev1.Pod) []seenContainer {
	var out []seenContainer
	add := func(name string, r role, statuses []corev1.ContainerStatus, restarts bool) {
		c := seenContainer{name: name, role: r}
		for i := range statuses {
			if statuses[i].Name == name {
				c.condition = containerStatus(&statuses[i])
			}
		}
		done := o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed || o.DeletionTimestamp != nil
		c.over = c.state == stateTerminated && (done || !restarts || o.Spec.RestartPolicy == corev1.RestartPolicyNever ||
			o.Spec.RestartPolicy == corev1.RestartPolicyOnFailure && c.exit == 0)
		out = append(out, c)
	}
	for i := range o.Spec.InitContainers {
		c := &o.Spec.InitContainers[i]
		always := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		exited := containerExit(o.Status.InitContainerStatuses, c.Name)
		add(c.Name, roleInit, o.Status.InitContainerStatuses, always || exited != 0)
		if always {
			out[len(out)-1].role = roleMain // a sidecar
		}
	}
	for i := range o.Spec.Containers {
		add(o.Spec.Containers[i].Name, roleMain, o.Status.ContainerStatuses, true)
	}
	for i := range o.Spec.EphemeralContainers {
		add(o.Spec.EphemeralContainers[i].Name, roleEphemeral, o.Status.EphemeralContainerStatuses, false)
	}
	return out
}

func containerExit(list []corev1.ContainerStatus, name string) int32 {
	for i := range list {
		if t := list[i].State.Terminated; list[i].Name == name && t != nil {
			return t.ExitCode
		}
	}
	return 0
}

func containerStatus(s *corev1.ContainerStatus) condition {
	out := condition{restarts: s.RestartCount}
	last := s.LastTerminationState.Terminated
	out.former = last != nil && last.ContainerID != ""
	switch {
	case s.State.Running != nil:
		out.state, out.lived, out.started = stateRunning, true, s.State.Running.StartedAt.Time
	case s.State.Terminated != nil:
		t := s.State.Terminated
		out.state, out.lived, out.started = stateTerminated, t.ContainerID != "", t.StartedAt.Time
		out.reason, out.message, out.exit = t.Reason, t.Message, t.ExitCode
	case s.State.Waiting != nil:
		out.state, out.reason, out.message = stateWaiting, s.State.Waiting.Reason, s.State.Waiting.Message
		// kubelet hands out the log of the life that ended last.
		out.lived, out.former = out.former, false
		if out.lived {
			out.exit, out.started = last.ExitCode, last.StartedAt.Time
		}
	}
	return out
}

// wanted reports whether the container's kind and state are picked.
func (p *Pick) wanted(c *seenContainer) bool {
	switch {
	case c.role == roleInit && !p.Init, c.role == roleEphemeral && !p.Ephemeral:
		return false
	case len(p.States) == 0:
		return true
	}
	return slices.Contains(p.States, c.state) || c.state == "" && slices.Contains(p.States, stateWaiting)
}

// target is a container.
type target struct {
	uid                       types.UID
	namespace, pod, container string
	stream                    *show.Stream
}

// newTarget gives the container its labels, those of an agent's records.
func newTarget(o *corev1.Pod, workload, container string) target {
	l := map[string]string{
		"namespace": o.Namespace, "pod": o.Name, "container": container, "pod_uid": string(o.UID),
		"workload": workload, "input": "kubernetes",
	}
	if o.Spec.NodeName != "" {
		l["node"] = o.Spec.NodeName
	}
	if app := firstLabel(o, "app.kubernetes.io/name", "app", "k8s-app"); app != "" {
		l["app"] = app
	}
	if s := service(o, workload); s != "" {
		l["service_name"] = s
	}
	s := show.NewStream(l)
	s.PodLabels, s.PodAnnotations = o.Labels, o.Annotations
	return target{o.UID, o.Namespace, o.Name, container, s}
}

// isStatic tells pods that kubelet did not get from the API.
func isStatic(o *corev1.Pod) bool {
	return o.Annotations[annConfigMirror] != "" || o.Annotations[annConfigSource] != "" && o.Annotations[annConfigSource] != "api"
}

// unschedulable returns why no node takes the pod, "" if that is not so.
func unschedulable(o *corev1.Pod) string {
	for i := range o.Status.Conditions {
		c := &o.Status.Conditions[i]
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return c.Message
		}
	}
	return ""
}

// listPods lists the pods of a scope, in pages, and calls f for each.
func (l *Logs) listPods(ctx context.Context, s *scope, f func(*corev1.Pod)) error {
	o := metav1.ListOptions{Limit: 500}
	for {
		page, err := l.podPage(ctx, s, o)
		if err != nil {
			return l.explain(err, "list", "pods", s.namespace)
		}
		for i := range page.Items {
			f(&page.Items[i])
		}
		if o.Continue = page.Continue; o.Continue == "" {
			return nil
		}
	}
}

func (l *Logs) podPage(ctx context.Context, s *scope, o metav1.ListOptions) (*corev1.PodList, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	o.LabelSelector, o.FieldSelector = s.labels, s.fields
	list := &corev1.PodList{}
	err := l.rest.Get().NamespaceIfScoped(s.namespace, s.namespace != "").Resource("pods").VersionedParams(&o, metav1.ParameterCodec).Do(ctx).Into(list)
	return list, err
}
