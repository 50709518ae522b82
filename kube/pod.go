package kube

import (
	"strings"

	"github.com/weirlog/weir/record"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pod is what is known about a pod. It is immutable; its slices and maps must
// not be modified.
type Pod struct {
	// UID is the pod's uid as the API knows it. The folder of a static pod is
	// named by ConfigHash instead.
	UID        string `json:"uid"`
	ConfigHash string `json:"config_hash,omitempty"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	Node       string `json:"node,omitempty"`
	// Labels and Annotations are those that the configuration lets through,
	// sorted by name.
	Labels      []record.Attr `json:"labels,omitempty"`
	Annotations []record.Attr `json:"annotations,omitempty"`
	// Workload is the kind and name of what the pod belongs to, such as
	// deployment/api, or pod/name.
	Workload string `json:"workload"`
	// App is the first of the labels app.kubernetes.io/name, app, k8s-app.
	App string `json:"app,omitempty"`
	// Service is OpenTelemetry's service.name for the pod.
	// https://opentelemetry.io/docs/specs/semconv/non-normative/k8s-attributes/
	Service    string               `json:"service,omitempty"`
	Containers map[string]Container `json:"containers,omitempty"`
	// Static says that the pod comes from a file on the node.
	Static bool `json:"static,omitempty"`
	// Exclude says that the pod's logs are not wanted; ExcludeContainers says
	// so, or the opposite, of single containers. Use Excluded.
	Exclude           bool            `json:"exclude,omitempty"`
	ExcludeContainers map[string]bool `json:"exclude_containers,omitempty"`
	// Asked are the annotations about the lines of containers, by name. Use Wishes.
	Asked map[string]string `json:"asked,omitempty"`
	// Files are the log files in volumes that the pod's annotations name, for who reads
	// them from the node; FileErrors says what is wrong with the annotations.
	Files      []PodFiles `json:"files,omitempty"`
	FileErrors []string   `json:"file_errors,omitempty"`
	// BadAnnotations names the annotations whose value was not understood.
	BadAnnotations []string `json:"bad_annotations,omitempty"`
}

// Container is one container of a pod, of whichever kind.
type Container struct {
	Image    string `json:"image,omitempty"`
	ID       string `json:"id,omitempty"` // without the runtime's scheme; "" before it started
	Restarts int32  `json:"restarts,omitempty"`
}

// Excluded reports whether the pod asks not to collect the container's logs.
func (p *Pod) Excluded(container string) bool {
	if v, ok := p.ExcludeContainers[container]; ok {
		return v
	}
	return p.Exclude
}

// Attrs returns the attributes of a stream of the container, under their
// canonical names. Cluster, stream, restart number and input are not known
// here.
func (p *Pod) Attrs(container string) []record.Attr {
	c := p.Containers[container]
	return []record.Attr{
		{Name: record.AttrNode, Value: p.Node},
		{Name: record.AttrNamespace, Value: p.Namespace},
		{Name: record.AttrPod, Value: p.Name},
		{Name: record.AttrPodUID, Value: p.UID},
		{Name: record.AttrContainer, Value: container},
		{Name: record.AttrContainerID, Value: c.ID},
		{Name: record.AttrImage, Value: c.Image},
		{Name: record.AttrWorkload, Value: p.Workload},
		{Name: record.AttrApp, Value: p.App},
		{Name: record.AttrService, Value: p.Service},
	}
}

const (
	annConfigHash   = "kubernetes.io/config.hash"
	annConfigMirror = "kubernetes.io/config.mirror"
	annConfigSource = "kubernetes.io/config.source"
)

// filter says which labels and annotations are kept.
type filter struct {
	labels      []string // nil: all
	annotations []string
}

// pod makes a Pod of the API's object.
func (f *filter) pod(o *corev1.Pod) *Pod {
	p := &Pod{
		UID:       string(o.UID),
		Namespace: o.Namespace,
		Name:      o.Name,
		Node:      o.Spec.NodeName,
		App:       firstLabel(o, "app.kubernetes.io/name", "app", "k8s-app"),
	}
	if hash := o.Annotations[annConfigHash]; hash != "" {
		// Only pods that kubelet did not get from the API have it.
		p.ConfigHash = hash
		p.Static = o.Annotations[annConfigMirror] != "" || o.Annotations[annConfigSource] != "" && o.Annotations[annConfigSource] != "api"
	}
	if mirror := o.Annotations[annConfigMirror]; mirror != "" {
		p.ConfigHash, p.Static = mirror, true
	}
	p.Labels = chosen(o.Labels, f.labels, f.labels == nil)
	p.Annotations = chosen(o.Annotations, f.annotations, false)
	p.Workload = workload(o, p.Static)
	p.Service = service(o, p.Workload)
	p.Containers = containers(o)
	p.exclusion(o)
	p.files(o)
	p.wishes(o)
	return p
}

// chosen returns the entries whose name matches one of the globs, sorted.
func chosen(m map[string]string, globs []string, all bool) []record.Attr {
	var out []record.Attr
	for _, k := range sortedKeys(m) {
		keep := all
		for i := 0; !keep && i < len(globs); i++ {
			keep = glob(globs[i], k)
		}
		if keep {
			out = append(out, record.Attr{Name: k, Value: m[k]})
		}
	}
	return out
}

// glob reports whether s matches pattern, in which * stands for any text.
func glob(pattern, s string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	s = s[len(head):]
	for {
		part, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], more
	}
}

func firstLabel(o *corev1.Pod, names ...string) string {
	for _, n := range names {
		if v := o.Labels[n]; v != "" {
			return v
		}
	}
	return ""
}

// workload returns the kind and name of what the pod belongs to.
func workload(o *corev1.Pod, static bool) string {
	owner := controller(o)
	if static {
		// The mirror of a static pod carries the node's name behind its own
		// and belongs to the node.
		return "pod/" + strings.TrimSuffix(o.Name, "-"+o.Spec.NodeName)
	}
	if owner == nil {
		return "pod/" + o.Name
	}
	switch owner.Kind {
	case "ReplicaSet":
		if name, ok := cutHash(owner.Name, o.Labels["pod-template-hash"]); ok {
			return "deployment/" + name
		}
		if name, ok := cutHash(owner.Name, o.Labels["rollouts-pod-template-hash"]); ok {
			return "rollout/" + name // argoproj.io
		}
	case "Job":
		if name, ok := cutSchedule(owner.Name); ok {
			return "cronjob/" + name
		}
	}
	return strings.ToLower(owner.Kind) + "/" + owner.Name
}

func controller(o *corev1.Pod) *metav1.OwnerReference {
	for i := range o.OwnerReferences {
		if r := &o.OwnerReferences[i]; r.Controller != nil && *r.Controller {
			return r
		}
	}
	if len(o.OwnerReferences) > 0 {
		return &o.OwnerReferences[0]
	}
	return nil
}

func cutHash(name, hash string) (string, bool) {
	if hash == "" {
		return "", false
	}
	return strings.CutSuffix(name, "-"+hash)
}

// cutSchedule cuts the scheduled time that a CronJob puts behind its name: in
// minutes since 1970, formerly in seconds. Eight digits are enough for every
// date since 1989; shorter numbers are somebody's own.
func cutSchedule(name string) (string, bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 || len(name)-i-1 < 8 {
		return "", false
	}
	for _, c := range name[i+1:] {
		if c < '0' || c > '9' {
			return "", false
		}
	}
	return name[:i], true
}

// service follows the order of OpenTelemetry's Kubernetes attributes.
func service(o *corev1.Pod, workload string) string {
	if v := o.Annotations["resource.opentelemetry.io/service.name"]; v != "" {
		return v
	}
	if v := firstLabel(o, "app.kubernetes.io/instance", "app.kubernetes.io/name"); v != "" {
		return v
	}
	_, name, _ := strings.Cut(workload, "/")
	return name
}

func containers(o *corev1.Pod) map[string]Container {
	n := len(o.Spec.InitContainers) + len(o.Spec.Containers) + len(o.Spec.EphemeralContainers)
	out := make(map[string]Container, n)
	for i := range o.Spec.InitContainers {
		out[o.Spec.InitContainers[i].Name] = Container{Image: o.Spec.InitContainers[i].Image}
	}
	for i := range o.Spec.Containers {
		out[o.Spec.Containers[i].Name] = Container{Image: o.Spec.Containers[i].Image}
	}
	for i := range o.Spec.EphemeralContainers {
		out[o.Spec.EphemeralContainers[i].Name] = Container{Image: o.Spec.EphemeralContainers[i].Image}
	}
	for _, statuses := range [][]corev1.ContainerStatus{o.Status.InitContainerStatuses, o.Status.ContainerStatuses, o.Status.EphemeralContainerStatuses} {
		for i := range statuses {
			s := &statuses[i]
			c, ok := out[s.Name]
			if !ok {
				continue
			}
			c.ID, c.Restarts = s.ContainerID, s.RestartCount
			if _, id, ok := strings.Cut(c.ID, "://"); ok {
				c.ID = id
			}
			out[s.Name] = c
		}
	}
	return out
}

// slim returns the object with nothing but what pod looks at, so that a list
// of all pods does not stand in memory with their whole specs.
func slim(o *corev1.Pod) *corev1.Pod {
	s := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		UID: o.UID, Namespace: o.Namespace, Name: o.Name, ResourceVersion: o.ResourceVersion,
		Labels: o.Labels, Annotations: o.Annotations, OwnerReferences: o.OwnerReferences,
	}}
	s.Spec.NodeName = o.Spec.NodeName
	slimVolumes(o, s)
	for _, c := range o.Spec.InitContainers {
		s.Spec.InitContainers = append(s.Spec.InitContainers, corev1.Container{Name: c.Name, Image: c.Image})
	}
	for _, c := range o.Spec.Containers {
		s.Spec.Containers = append(s.Spec.Containers, corev1.Container{Name: c.Name, Image: c.Image, VolumeMounts: slimMounts(o, c.VolumeMounts)})
	}
	for _, c := range o.Spec.EphemeralContainers {
		e := corev1.EphemeralContainer{}
		e.Name, e.Image = c.Name, c.Image
		s.Spec.EphemeralContainers = append(s.Spec.EphemeralContainers, e)
	}
	status := func(in []corev1.ContainerStatus) (out []corev1.ContainerStatus) {
		for _, c := range in {
			out = append(out, corev1.ContainerStatus{Name: c.Name, ContainerID: c.ContainerID, RestartCount: c.RestartCount})
		}
		return out
	}
	s.Status.InitContainerStatuses = status(o.Status.InitContainerStatuses)
	s.Status.ContainerStatuses = status(o.Status.ContainerStatuses)
	s.Status.EphemeralContainerStatuses = status(o.Status.EphemeralContainerStatuses)
	return s
}
