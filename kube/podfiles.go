package kube

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// PodFiles are log files of a container in one of its pod's volumes.
type PodFiles struct {
	// Annotation is where it stands, Container whose files they are.
	Annotation, Container string
	FileSpec
}

// hasFiles reports whether a pod says something about files in volumes.
func hasFiles(o *corev1.Pod) bool {
	for name := range o.Annotations {
		if name == AnnotationFiles || strings.HasPrefix(name, AnnotationFiles+".") {
			return true
		}
	}
	return false
}

// slimVolumes keeps of the volumes what files looks at, of pods that have any.
func slimVolumes(from, to *corev1.Pod) {
	if !hasFiles(from) {
		return
	}
	for _, v := range from.Spec.Volumes {
		kept := corev1.Volume{Name: v.Name}
		if v.EmptyDir != nil {
			kept.EmptyDir = &corev1.EmptyDirVolumeSource{}
		}
		to.Spec.Volumes = append(to.Spec.Volumes, kept)
	}
}

func slimMounts(o *corev1.Pod, mounts []corev1.VolumeMount) (out []corev1.VolumeMount) {
	if !hasFiles(o) {
		return nil
	}
	for _, m := range mounts {
		out = append(out, corev1.VolumeMount{Name: m.Name})
	}
	return out
}

// files reads the annotations about files in volumes. Of what is wrong the rest is
// kept: it must never stop the collection. A pod that asks for a sidecar is read by
// that; what is wrong with its annotations is told all the same, as who made the pod
// may not have seen the webhook's warnings.
func (p *Pod) files(o *corev1.Pod) {
	sidecar, asks := o.Annotations[AnnotationSidecar]
	if !hasFiles(o) && !asks {
		return
	}
	wrong := func(annotation, text string) {
		if len(p.FileErrors) < maxBadAnnotations {
			p.FileErrors = append(p.FileErrors, annotation+": "+text)
		}
	}
	switch sidecar = strings.TrimSpace(sidecar); {
	case !asks:
	case sidecar != "stream" && sidecar != "ship":
		wrong(AnnotationSidecar, "it is "+strconv.Quote(shorten(sidecar))+"; want stream or ship")
	case o.Annotations[AnnotationInjected] == "":
		defer func() {
			if len(p.FileErrors) == 0 { // else that is why
				wrong(AnnotationSidecar, "the pod has no sidecar: weir's webhook is not installed, did not answer, or leaves this namespace out; or weir.dev/files is missing")
			}
		}()
	}
	for _, name := range sortedKeys(o.Annotations) {
		container, of := strings.CutPrefix(name, AnnotationFiles+".")
		if !of {
			if container = ""; name != AnnotationFiles {
				continue
			}
		}
		if _, there := p.Containers[container]; of && !there {
			wrong(name, "the pod has no container of that name")
			continue
		}
		specs, err := ParseFiles(o.Annotations[name])
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				wrong(name, strings.TrimSpace(line))
			}
		}
		for _, s := range specs {
			i := slices.IndexFunc(o.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == s.Volume })
			switch {
			case i < 0:
				wrong(name, "the pod has no volume "+s.Volume+"; it has: "+volumeNames(o))
				continue
			case asks:
				continue // the sidecar's
			case o.Spec.Volumes[i].EmptyDir == nil:
				wrong(name, "volume "+s.Volume+" is no emptyDir: the node's agent reads no others; weir.dev/sidecar: stream does")
				continue
			}
			f := PodFiles{Annotation: name, Container: container, FileSpec: s}
			if f.Container == "" {
				f.Container = mounts(o, s.Volume)
			}
			p.Files = append(p.Files, f)
		}
	}
}

// mounts returns the first container that has the volume, else the first.
func mounts(o *corev1.Pod, volume string) string {
	for i := range o.Spec.Containers {
		if slices.ContainsFunc(o.Spec.Containers[i].VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volume }) {
			return o.Spec.Containers[i].Name
		}
	}
	if len(o.Spec.Containers) > 0 {
		return o.Spec.Containers[0].Name
	}
	return ""
}
