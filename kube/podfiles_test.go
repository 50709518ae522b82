package kube

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestFilesOfPods(t *testing.T) {
	for name, c := range map[string]struct {
		edit  func(*corev1.Pod)
		files []PodFiles
		wrong []string
	}{
		"an emptyDir": {func(p *corev1.Pod) { delete(p.Annotations, AnnotationSidecar) },
			[]PodFiles{{AnnotationFiles, "web", FileSpec{Volume: "logs", Glob: "*.log"}}}, nil},
		"of a container": {func(p *corev1.Pod) {
			p.Annotations = map[string]string{AnnotationFiles + ".web": "logs:a;parser=json", AnnotationFiles + ".db": "logs:b"}
		}, []PodFiles{{AnnotationFiles + ".web", "web", FileSpec{Volume: "logs", Glob: "a", Parser: "json"}}}, []string{"weir.dev/files.db: the pod has no container"}},
		"no emptyDir, no volume, no entry": {func(p *corev1.Pod) {
			p.Annotations = map[string]string{AnnotationFiles: "kube-api-access-x:token,nothing:x,bad,logs:*.log"}
		}, []PodFiles{{AnnotationFiles, "web", FileSpec{Volume: "logs", Glob: "*.log"}}},
			[]string{`"bad": write <volume>:<glob>`, "kube-api-access-x is no emptyDir", "no volume nothing; it has: logs"}},
		"a sidecar reads them":        {func(p *corev1.Pod) { p.Annotations[AnnotationInjected] = "stream" }, nil, nil},
		"a sidecar that is not there": {nil, nil, []string{"weir.dev/sidecar: the pod has no sidecar"}},
		"a word that means nothing":   {func(p *corev1.Pod) { p.Annotations[AnnotationSidecar] = "yes" }, nil, []string{`it is "yes"; want stream or ship`}},
		"a sidecar and a missing volume": {func(p *corev1.Pod) {
			p.Annotations[AnnotationFiles] = "lgos:x"
		}, nil, []string{"no volume lgos"}},
		"nothing": {func(p *corev1.Pod) { p.Annotations = nil }, nil, nil},
	} {
		o := aPod(c.edit)
		p := (&filter{}).pod(slim(o)) // as the watch has it
		if !reflect.DeepEqual(p.Files, c.files) {
			t.Errorf("%s: %+v", name, p.Files)
		}
		text := strings.Join(p.FileErrors, "\n")
		for _, want := range c.wrong {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q, want %q", name, p.FileErrors, want)
			}
		}
		if len(p.FileErrors) != len(c.wrong) {
			t.Errorf("%s: %q", name, p.FileErrors)
		}
		if o.Annotations == nil && len(slim(o).Spec.Volumes) > 0 {
			t.Error("volumes are kept that nobody asks for")
		}
	}
}
