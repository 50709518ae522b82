package kube

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Annotations of injection, beside AnnotationSidecar and AnnotationFiles.
const (
	// AnnotationConfig names a ConfigMap in the pod's namespace with the rest of a
	// shipping sidecar's configuration: outputs, pipeline, routes.
	AnnotationConfig = "weir.dev/config"
	// AnnotationInjected marks a pod that has got its sidecar.
	AnnotationInjected = "weir.dev/injected"
)

// ownVolumes are the names of the volumes that are added.
var ownVolumes = []string{sidecarName + "-podinfo", sidecarName + "-state", sidecarName + "-config"}

// sidecarName is the name of the injected container, and of its volumes' prefix.
const sidecarName = "weir"

// InjectOptions are what differs between installations.
type InjectOptions struct {
	// Image of the sidecar.
	Image string
	// ShipConfig is the configuration of shipping sidecars without a ConfigMap of
	// their own, as JSON by top-level key: {"outputs": {…}}. Nil: they need one.
	ShipConfig map[string]json.RawMessage
	// CPU and Memory are requested, MemoryLimit bounds. Quantities of Kubernetes;
	// empty ones stand for 10m, 32Mi and 96Mi.
	CPU, Memory, MemoryLimit string
	// NoNative says that the cluster has no native sidecars, so that there is none.
	NoNative bool
	// Check finds what is wrong with the options of an entry of weir.dev/files; nil
	// checks nothing.
	Check func(FileSpec) error
}

// SetDefaults fills in what is empty, and says what cannot be used.
func (o *InjectOptions) SetDefaults() error {
	o.CPU, o.Memory, o.MemoryLimit = cmp.Or(o.CPU, "10m"), cmp.Or(o.Memory, "32Mi"), cmp.Or(o.MemoryLimit, "96Mi")
	if o.Image == "" {
		return fmt.Errorf("kube: the sidecar has no image")
	}
	for name, q := range map[string]string{"cpu": o.CPU, "memory": o.Memory, "memory limit": o.MemoryLimit} {
		if _, err := resource.ParseQuantity(q); err != nil {
			return fmt.Errorf("kube: %s %q is no quantity: %w", name, q, err)
		}
	}
	if limit := resource.MustParse(o.MemoryLimit); limit.Cmp(resource.MustParse(o.Memory)) < 0 {
		return fmt.Errorf("kube: the sidecar's memory limit (%s) is less than what it requests (%s)", o.MemoryLimit, o.Memory)
	}
	return nil
}

// Injection is what Inject found.
type Injection struct {
	// Patch is the patch (RFC 6902), nil if the pod stays as it is.
	Patch []PatchOp
	// Warnings are for whoever made the pod: what is wrong, and what would be right.
	Warnings []string
	// Asked says that the pod asks for a sidecar.
	Asked bool
}

// PatchOp is an operation of a JSON patch. All of ours add.
type PatchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// Inject returns how the pod gets the sidecar that its annotations ask for: a native
// sidecar container before all others, which reads the volumes that are annotated. It
// is pure, and injects once: a pod that has been injected stays as it is. What is
// wrong with the annotations gives a warning and never an error; the pod is admitted.
func Inject(pod *corev1.Pod, o InjectOptions) (in Injection) {
	mode, asked := pod.Annotations[AnnotationSidecar]
	if !asked {
		return in
	}
	in.Asked = true
	if pod.Annotations[AnnotationInjected] != "" {
		return in
	}
	warn := func(format string, args ...any) {
		in.Warnings = append(in.Warnings, fmt.Sprintf("weir: "+format, args...))
	}
	mode = strings.TrimSpace(mode)
	if mode != "stream" && mode != "ship" {
		warn("annotation %s is %q; want stream or ship. The pod gets no sidecar.", AnnotationSidecar, shorten(mode))
		return in
	}
	if o.NoNative {
		warn("this cluster has no native sidecars, which Kubernetes has from 1.29 on. The pod gets no sidecar.")
		return in
	}
	if os := pod.Spec.OS; os != nil && os.Name == corev1.Windows || pod.Spec.NodeSelector["kubernetes.io/os"] == "windows" {
		warn("pods of Windows get no sidecar")
		return in
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		if slices.ContainsFunc(list, func(c corev1.Container) bool { return c.Name == sidecarName }) {
			warn("the pod has a container %q already, and gets no sidecar", sidecarName)
			return in
		}
	}
	for _, v := range pod.Spec.Volumes {
		if slices.Contains(ownVolumes, v.Name) {
			warn("the pod has a volume %q already, and gets no sidecar", v.Name)
			return in
		}
	}
	b := &injector{pod: pod, o: o, mode: mode, warn: warn, mounts: make(map[string]*corev1.VolumeMount)}
	b.files()
	if len(b.inputs) == 0 {
		if len(in.Warnings) == 0 {
			warn("annotation %s is missing: write <volume>:<pattern>, such as logs:*.log. The pod gets no sidecar.", AnnotationFiles)
		}
		return in
	}
	if mode == "ship" && pod.Annotations[AnnotationConfig] == "" && o.ShipConfig == nil {
		warn("a shipping sidecar needs a destination: name a ConfigMap with its configuration in annotation %s. The pod gets no sidecar.", AnnotationConfig)
		return in
	}
	c, err := b.container()
	if err != nil {
		warn("%v. The pod gets no sidecar.", err)
		return in
	}
	in.Patch = b.patch(c)
	return in
}

// injector makes the sidecar of one pod.
type injector struct {
	pod    *corev1.Pod
	o      InjectOptions
	mode   string
	warn   func(format string, args ...any)
	inputs map[string]any                 // of the configuration, by id
	mounts map[string]*corev1.VolumeMount // by volume
	apps   map[string]bool                // containers whose files they are
	state  bool                           // all volumes go with the pod, and so may the positions
	paths  []string
}

// files reads the annotations about files.
func (b *injector) files() {
	b.inputs, b.apps, b.state = make(map[string]any), make(map[string]bool), true
	for _, key := range slices.Sorted(maps.Keys(b.pod.Annotations)) {
		container, of := strings.CutPrefix(key, AnnotationFiles+".")
		if key != AnnotationFiles && !of {
			continue
		}
		if !of {
			container = ""
		}
		if of && b.containerNamed(container) == nil {
			b.warn("annotation %s: the pod has no container %q", key, shorten(container))
			continue
		}
		specs, err := ParseFiles(b.pod.Annotations[key])
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				b.warn("annotation %s: %s", key, strings.TrimSpace(line))
			}
		}
		for _, s := range specs {
			b.file(key, container, s)
		}
	}
}

func (b *injector) containerNamed(name string) *corev1.Container {
	for _, list := range [][]corev1.Container{b.pod.Spec.Containers, b.pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// file takes one entry.
func (b *injector) file(key, container string, s FileSpec) {
	i := slices.IndexFunc(b.pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == s.Volume })
	if i < 0 {
		b.warn("annotation %s: the pod has no volume %q; it has: %s", key, s.Volume, volumeNames(b.pod))
		return
	}
	if b.o.Check != nil {
		if err := b.o.Check(s); err != nil {
			b.warn("annotation %s: %s:%s: %v", key, s.Volume, s.Glob, err)
			return
		}
	}
	if b.mode == "stream" && s.Parser != "" {
		b.warn("annotation %s: parser=%s is for sidecars that ship; a stream is of lines as they are", key, shorten(s.Parser))
	}
	mount, app := b.mountOf(s.Volume, container)
	if b.pod.Spec.Volumes[i].EmptyDir == nil {
		b.state = false
	}
	b.mounts[s.Volume] = mount
	b.apps[app] = true
	path := path.Join(mount.MountPath, s.Glob)
	if slices.Contains(b.paths, path) {
		return
	}
	b.paths = append(b.paths, path)
	input := map[string]any{"paths": []string{path}}
	if b.pod.Spec.Volumes[i].EmptyDir != nil {
		input["reclaim"] = "punch" // it goes with the pod, and must not fill up
	}
	if s.Multiline != "" {
		input["multiline"] = s.Multiline
	}
	if s.Rate != "" {
		input["rate_limit"] = s.Rate
	}
	if s.Parser != "" && b.mode == "ship" {
		input["parse"] = s.Parser
	}
	if app != "" {
		input["labels"] = map[string]string{"container": app}
	}
	b.inputs["file/"+strconv.Itoa(len(b.inputs)+1)] = input
}

func volumeNames(pod *corev1.Pod) string {
	var names []string
	for _, v := range pod.Spec.Volumes {
		if !strings.HasPrefix(v.Name, "kube-api-access-") {
			names = append(names, v.Name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// mountOf returns where the sidecar mounts a volume, and the container whose files
// are in it: where the application has it, so that paths are those that its people
// know, unless only a part of it is mounted there or the place is taken.
func (b *injector) mountOf(volume, container string) (*corev1.VolumeMount, string) {
	if m := b.mounts[volume]; m != nil && container == "" {
		for i := range b.pod.Spec.Containers {
			if c := &b.pod.Spec.Containers[i]; slices.ContainsFunc(c.VolumeMounts, func(v corev1.VolumeMount) bool { return v.Name == volume }) {
				return m, c.Name
			}
		}
		return m, ""
	}
	at, app := b.own(volume), container
	for i := range b.pod.Spec.Containers {
		c := &b.pod.Spec.Containers[i]
		if container != "" && c.Name != container {
			continue
		}
		j := slices.IndexFunc(c.VolumeMounts, func(v corev1.VolumeMount) bool { return v.Name == volume })
		if j < 0 {
			continue
		}
		app = c.Name
		if v := c.VolumeMounts[j]; v.SubPath == "" && v.SubPathExpr == "" && !b.taken(v.MountPath) {
			at = path.Clean(v.MountPath)
		}
		break
	}
	if m := b.mounts[volume]; m != nil {
		return m, app
	}
	return &corev1.VolumeMount{Name: volume, MountPath: at}, app
}

// own returns where the sidecar mounts a volume that it cannot have where the
// application has it.
func (b *injector) own(volume string) string {
	at := path.Join("/weir", volume)
	for b.mounted(at) {
		at += "-volume"
	}
	return at
}

// mounted reports whether a mount of the sidecar is at that path, above or below it.
func (b *injector) mounted(at string) bool {
	for _, m := range b.mounts {
		if within(m.MountPath, at) || within(at, m.MountPath) {
			return true
		}
	}
	return false
}

// within reports whether a path is another or lies below it.
func within(at, above string) bool { return at == above || strings.HasPrefix(at, above+"/") }

// taken reports whether the sidecar has something at that path, or needs it itself.
func (b *injector) taken(at string) bool {
	at = path.Clean(at)
	if at == "/" {
		return true
	}
	for _, own := range []string{"/var/lib/weir", "/etc/weir", "/etc/podinfo", "/dev", "/proc", "/sys", "/weir"} {
		if within(own, at) || within(at, own) {
			return true
		}
	}
	return b.mounted(at)
}

// container returns the sidecar.
func (b *injector) container() (*corev1.Container, error) {
	pod := b.pod
	args := []string{"sidecar"}
	set := func(key string, value any) error {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		// References are the configuration's own; an annotation has none.
		args = append(args, "--set", key+"="+strings.ReplaceAll(string(text), "${", "$${"))
		return nil
	}
	if b.mode == "ship" && pod.Annotations[AnnotationConfig] != "" {
		args = append(args, "-c", "/etc/weir")
	}
	if err := set("inputs", b.inputs); err != nil {
		return nil, err
	}
	if b.mode == "stream" {
		output := map[string]any{"stdout": map[string]any{"format": "raw", "prefix": len(b.paths) > 1 || strings.ContainsAny(b.paths[0], "*?[")}}
		if err := set("outputs", output); err != nil {
			return nil, err
		}
		args = append(args, "--set", "log.level=warn")
	} else if pod.Annotations[AnnotationConfig] == "" {
		for _, key := range slices.Sorted(maps.Keys(b.o.ShipConfig)) {
			args = append(args, "--set", key+"="+string(b.o.ShipConfig[key]))
		}
	}
	args = append(args, "--set", "sidecar.native=true", "--deadline", deadline(pod))
	quantity := resource.MustParse // SetDefaults has checked them
	c := &corev1.Container{
		Name: sidecarName, Image: b.o.Image, ImagePullPolicy: corev1.PullIfNotPresent, Args: args,
		Env: []corev1.EnvVar{
			field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"), field("POD_UID", "metadata.uid"),
			field("NODE_NAME", "spec.nodeName"), {Name: "POD_LABELS_FILE", Value: "/etc/podinfo/labels"},
		},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: quantity(b.o.CPU), corev1.ResourceMemory: quantity(b.o.Memory)},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: quantity(b.o.MemoryLimit)},
		},
		SecurityContext: b.security(),
	}
	if w := podWorkload(pod); w != "" {
		c.Env = append(c.Env, corev1.EnvVar{Name: "POD_WORKLOAD", Value: w})
	}
	always := corev1.ContainerRestartPolicyAlways
	c.RestartPolicy = &always
	for _, name := range slices.Sorted(maps.Keys(b.mounts)) {
		c.VolumeMounts = append(c.VolumeMounts, *b.mounts[name])
	}
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: sidecarName + "-podinfo", MountPath: "/etc/podinfo", ReadOnly: true})
	if b.state || b.mode == "ship" {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: sidecarName + "-state", MountPath: "/var/lib/weir"})
	}
	if b.mode == "ship" && pod.Annotations[AnnotationConfig] != "" {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: sidecarName + "-config", MountPath: "/etc/weir", ReadOnly: true})
	}
	return c, nil
}

func field(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
}

// deadline is how long the sidecar's end may take: a native sidecar has what the
// application leaves of the grace period, and needs a moment for its last word.
func deadline(pod *corev1.Pod) string {
	grace := int64(30)
	if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		grace = *g
	}
	return strconv.FormatInt(min(13, max(1, grace-2)), 10) + "s"
}

// podWorkload returns the workload as far as the pod tells at its creation.
func podWorkload(pod *corev1.Pod) string {
	if controller(pod) == nil {
		return ""
	}
	return workload(pod, false)
}

// security is what the most restrictive Pod Security level asks for. The user is the
// application's, whose files it reads; without one it is the image's, root without any
// capability, unless the pod does not allow that.
func (b *injector) security() *corev1.SecurityContext {
	no, yes := false, true
	s := &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	nonRoot := false
	if p := b.pod.Spec.SecurityContext; p != nil {
		nonRoot = p.RunAsNonRoot != nil && *p.RunAsNonRoot
		s.RunAsUser, s.RunAsGroup = p.RunAsUser, p.RunAsGroup
	}
	for i := range b.pod.Spec.Containers {
		c := &b.pod.Spec.Containers[i]
		if !b.apps[c.Name] || c.SecurityContext == nil {
			continue
		}
		if c.SecurityContext.RunAsNonRoot != nil { // it counts instead of the pod's
			nonRoot = *c.SecurityContext.RunAsNonRoot
		}
		if c.SecurityContext.RunAsUser != nil {
			s.RunAsUser = c.SecurityContext.RunAsUser
		}
		if c.SecurityContext.RunAsGroup != nil {
			s.RunAsGroup = c.SecurityContext.RunAsGroup
		}
		break
	}
	if p := b.pod.Spec.SecurityContext; nonRoot || p != nil && p.RunAsNonRoot != nil {
		s.RunAsNonRoot = &nonRoot // also false: the pod may say true
	}
	if nonRoot {
		if s.RunAsUser == nil {
			user := int64(65532)
			s.RunAsUser = &user
		}
	}
	return s
}

// patch returns the operations that add the container and its volumes.
func (b *injector) patch(c *corev1.Container) (ops []PatchOp) {
	add := func(path string, value any) { ops = append(ops, PatchOp{"add", path, value}) }
	if len(b.pod.Spec.InitContainers) == 0 {
		add("/spec/initContainers", []corev1.Container{*c})
	} else {
		add("/spec/initContainers/0", c) // before all others: they may write files, too
	}
	volumes := []corev1.Volume{{Name: sidecarName + "-podinfo", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
		Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}},
	}}}}
	if b.state || b.mode == "ship" {
		size := resource.MustParse("256Mi")
		volumes = append(volumes, corev1.Volume{Name: sidecarName + "-state", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &size}}})
	}
	if name := b.pod.Annotations[AnnotationConfig]; b.mode == "ship" && name != "" {
		volumes = append(volumes, corev1.Volume{Name: sidecarName + "-config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: name},
		}}})
	}
	have := make(map[string]bool)
	for _, v := range b.pod.Spec.Volumes {
		have[v.Name] = true
	}
	for _, v := range volumes {
		if !have[v.Name] {
			add("/spec/volumes/-", v) // there is one: the files'
		}
	}
	add("/metadata/annotations/"+strings.ReplaceAll(AnnotationInjected, "/", "~1"), b.mode) // there are some: ours
	return ops
}
